use core::fmt;
use std::path::{Path, PathBuf};

use super::super::block::wide;
use super::super::frame::Kind;
use super::super::name::SegmentName;
use super::{Draft, Segment, cut_off};
use crate::error::{Error, Result};
use crate::fs::{self, Fs};

/// Writes a log from its beginning: one segment after the other, each as large as etcd's.
///
/// Entries, states and snapshot points are etcd's, encoded, and whatever they seal is sealed. The
/// folder has its name only after [`Writer::finish`].
pub(crate) struct Writer<'a> {
    fs: &'a dyn Fs,
    dir: PathBuf,
    temp: PathBuf,
    size: u64,
    metadata: Vec<u8>,
    /// The last state, which every later segment repeats.
    state: Option<Vec<u8>>,
    last_index: u64,
    out: Segment,
}

impl<'a> Writer<'a> {
    /// Begins the log that will stand in `dir`, which must not exist. It is made as `<dir>.tmp`; one
    /// that a crash left there is removed. `metadata` is the node's; `size` is
    /// [`SEGMENT_SIZE`], but for tests.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if there is such a folder, and what the system says.
    pub(crate) fn create(fs: &'a dyn Fs, dir: &Path, metadata: &[u8], size: u64) -> Result<Self> {
        if fs.list(dir).is_ok() {
            return Err(Error::Exists(dir.to_owned()));
        }
        let mut temp = dir.as_os_str().to_owned();
        temp.push(".tmp");
        let temp = PathBuf::from(temp);
        match fs.create_dir(&temp) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => clear(fs, &temp)?,
            made => made.map_err(|e| Error::io("create", &temp, e))?,
        }
        let first = SegmentName { sequence: 0, first_index: 0 };
        let mut draft = Draft::begin(fs, &temp, first, 0, metadata, size)?;
        // A snapshot of nothing, index and term zero: so begins every log of etcd's.
        draft.put(Kind::Snapshot, &[&[8, 0, 16, 0]])?;
        draft.sync()?;
        let out = draft.named()?;
        let metadata = metadata.to_vec();
        Ok(Self { fs, dir: dir.to_owned(), temp, size, metadata, state: None, last_index: 0, out })
    }

    /// Adds an entry.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn entry(&mut self, index: u64, entry: &[u8]) -> Result<()> {
        self.last_index = index;
        self.put(Kind::Entry, entry)
    }

    /// Adds a state.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn state(&mut self, state: &[u8]) -> Result<()> {
        self.state = Some(state.to_vec());
        self.put(Kind::State, state)
    }

    /// Adds the point of a snapshot, whose file is written afterwards.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn snapshot(&mut self, index: u64, point: &[u8]) -> Result<()> {
        self.last_index = self.last_index.max(index);
        self.put(Kind::Snapshot, point)
    }

    fn put(&mut self, kind: Kind, data: &[u8]) -> Result<()> {
        self.out.put(kind, &[data])?;
        if self.end() >= self.size { self.cut() } else { Ok(()) }
    }

    /// Offset behind all frames, also those that are not written yet.
    fn end(&self) -> u64 {
        self.out.written.saturating_add(wide(self.out.frames.bytes().len()))
    }

    /// Ends the segment and begins the next one.
    fn cut(&mut self) -> Result<()> {
        self.end_segment()?;
        let name = SegmentName {
            sequence: self.out.name.sequence.saturating_add(1),
            first_index: self.last_index.saturating_add(1),
        };
        let chain = self.out.frames.chain();
        let mut next = Draft::begin(self.fs, &self.temp, name, chain, &self.metadata, self.size)?;
        if let Some(state) = &self.state {
            next.put(Kind::State, &[state])?;
        }
        next.sync()?;
        self.out = next.named()?;
        Ok(())
    }

    /// A segment that is followed by another one ends with its last frame.
    fn end_segment(&mut self) -> Result<()> {
        self.out.flush()?;
        cut_off(&*self.out.file, &self.out.path, self.out.written)
    }

    /// Makes everything durable and gives the folder its name.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.out.flush()?;
        self.out.file.sync().map_err(|e| Error::io("sync", &self.out.path, e))?;
        self.fs.rename(&self.temp, &self.dir).map_err(|e| Error::io("rename", &self.temp, e))?;
        let above = fs::folder(&self.dir);
        self.fs.sync_dir(above).map_err(|e| Error::io("sync", above, e))
    }
}

/// Removes the files of a folder that a crash left behind.
fn clear(fs: &dyn Fs, dir: &Path) -> Result<()> {
    for name in fs.list(dir).map_err(|e| Error::io("list", dir, e))? {
        fs::remove_if_there(fs, &dir.join(name))?;
    }
    Ok(())
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("dir", &self.dir).finish_non_exhaustive()
    }
}
