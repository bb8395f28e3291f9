//! Closed stores whose whole history is known, and corruption of their files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nodeseal::fs::SimFs;
use nodeseal::keyring::Location;
use nodeseal::seal::{Era, LogId, State};
use nodeseal::store::{Change, Options};
use nodeseal::{Keyring, Store};

use crate::segment::{self, records};

mod build;
mod damage;
pub mod oracle;

pub use build::scenes;
pub use damage::Damage;

/// Where the stores are.
pub const DIR: &str = "/raft";
/// The frame of an entry.
const RECORD: u64 = 16;

/// Type and data of a segment's frames.
pub type Frames = Vec<(u64, Vec<u8>)>;

/// A closed store.
pub struct Scene {
    pub keyring: Keyring,
    pub segment_size: u64,
    /// The segments in their order, the witness, the snapshot if there is one, then the lock.
    pub files: Vec<File>,
    /// What the store held after each change; the last one is what was closed.
    pub history: Vec<Point>,
    /// Frames of the segments as they were earlier.
    pub older: Vec<Frames>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Segment,
    Witness,
    Snapshot,
    Lock,
}

pub struct File {
    pub path: PathBuf,
    pub kind: Kind,
    pub bytes: Vec<u8>,
    /// How many bytes come before the zeros at the end.
    pub used: usize,
}

/// What a store held at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub state: State,
    pub meta: Option<Vec<u8>>,
    /// What the snapshot covers, and its content.
    pub snapshot: Option<(LogId, Vec<u8>)>,
    pub entries: Vec<LogId>,
}

/// The content of each of a scene's files; `None` for one that is gone.
pub type Contents = Vec<Option<Vec<u8>>>;

impl Scene {
    #[must_use]
    pub fn options<'a>(&self) -> Options<'a> {
        Options::new("raft").segment_size(self.segment_size).prepare_ahead(false)
    }

    /// What was closed.
    #[must_use]
    pub fn closed(&self) -> &Point {
        self.history.last().expect("a history")
    }

    #[must_use]
    pub fn contents(&self) -> Contents {
        self.files.iter().map(|file| Some(file.bytes.clone())).collect()
    }

    /// Numbers of the segments among the files.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = usize> + Clone {
        (0..self.files.len()).filter(|n| self.files[*n].kind == Kind::Segment)
    }

    /// A new disk with these contents.
    #[must_use]
    pub fn disk(&self, contents: &Contents) -> SimFs {
        let disk = SimFs::new();
        for (file, bytes) in self.files.iter().zip(contents) {
            if let Some(bytes) = bytes {
                disk.write_file(&file.path, bytes).expect("a new disk");
            }
        }
        disk
    }

    /// The entries that were closed and of which the last frame is stored behind the segment `n`.
    #[must_use]
    pub fn stored_behind(&self, n: usize) -> Vec<LogId> {
        let behind: Vec<LogId> =
            self.segments().filter(|other| *other > n).flat_map(|n| self.entries_in(n)).collect();
        self.closed().entries.iter().copied().filter(|id| behind.contains(id)).collect()
    }

    pub fn entries_in(&self, segment: usize) -> Vec<LogId> {
        let frames = records(&self.files[segment].bytes).into_iter();
        let number = |data: &[u8], at: usize| {
            u64::from_le_bytes(data[at..at + 8].try_into().expect("eight bytes"))
        };
        frames
            .filter(|(kind, _)| *kind == RECORD)
            .map(|(_, data)| LogId::new(number(&data, 0), Era::term(number(&data, 8))))
            .collect()
    }
}

#[must_use]
pub fn place(disk: &SimFs) -> Location {
    Location::on(Arc::new(disk.clone()), DIR)
}

/// The payload of every entry `id` that was ever written.
#[must_use]
pub fn payload(id: LogId) -> Vec<u8> {
    let repeated = 1 + usize::try_from(id.index % 4).expect("less than four");
    format!("entry {} of {} ", id.index, id.era.get()).repeat(repeated).into_bytes()
}

/// Adds an entry to a change.
pub fn push(change: &mut Change, id: LogId) {
    change.push(id, |out| out.extend_from_slice(&payload(id))).expect("in order");
}

/// A segment of these frames, its CRCs right.
#[must_use]
pub fn segment_of(frames: &Frames) -> Vec<u8> {
    let mut writer = segment::Writer::default();
    for (kind, data) in frames {
        if *kind != segment::CRC || data.is_empty() {
            writer.record(*kind, data);
        }
    }
    writer.end()
}

/// The files of a store's directory with their contents.
#[must_use]
pub fn files(disk: &SimFs) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = disk.paths().into_iter().filter(|path| path.starts_with(DIR));
    paths.filter_map(|path| disk.read_file(&path).map(|bytes| (path, bytes))).collect()
}

fn kind_of(path: &Path) -> Kind {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("wal") => Kind::Segment,
        Some("witness") => Kind::Witness,
        Some("snap") => Kind::Snapshot,
        _ => Kind::Lock,
    }
}

fn open(scene_disk: &SimFs, keyring: &Keyring, options: Options<'_>) -> Store {
    Store::open(place(scene_disk), keyring, options).expect("a whole store")
}
