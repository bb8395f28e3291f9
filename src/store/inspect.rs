//! What is in a store's directory, file by file and frame by frame, whatever its condition.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::accept::Accept;
use super::format::{self, META, RECORD, SNAPSHOT, STATE, SnapshotHeader, TABLE};
use super::open::{look, missing_or};
use super::options::Options;
use super::snapshot::{STREAM, open_stream};
use super::witness::{self, Witness};
use super::{Store, frames, names, table};
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::keyring::{Keyring, Keyspace, Location};
use crate::seal::{Cells, Log, LogId, StreamId, Streams};
use crate::wal::{self, Check, Kind as Frame, SegmentReader, Step, Tail};

/// What a file in a store's directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A part of the log.
    Segment,
    /// A snapshot.
    Snapshot,
    /// How far the log had come.
    Witness,
    /// The lock, or a file that was being made.
    Temporary,
    /// Not the store's.
    Foreign,
}

/// What a file or frame turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It opens.
    Good,
    /// It is well formed; without the keys more cannot be said.
    Unopened,
    /// It is left over: a snapshot that the log does not name, a file that was being made.
    Unused,
    /// A write that did not finish, at the end of the log.
    Torn(&'static str),
    /// It is not as it was written; says what is wrong.
    Corrupted(&'static str),
    /// It is well formed and does not authenticate: it was altered, moved, or is another node's.
    Unauthentic,
    /// It is sealed under a DEK that the keyring does not hold (id in hexadecimal).
    UnknownDek(String),
    /// It should be there and is not.
    Missing,
}

/// A frame of a segment, or one of the two places of the witness.
#[derive(Debug)]
#[non_exhaustive]
pub struct FrameReport<'a> {
    /// The file.
    pub path: &'a Path,
    /// Where in it, in bytes.
    pub offset: u64,
    /// The entry that it says it is, if it is one.
    pub entry: Option<LogId>,
    /// What it is found to be.
    pub verdict: Verdict,
}

/// A file in a store's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// The worst that was found in it.
    pub verdict: Verdict,
    /// How many frames were found.
    pub frames: u64,
}

/// What [`Store::inspect`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The files, in the order of their names, and those that are missing.
    pub files: Vec<FileReport>,
    /// Why [`Store::open`] would refuse the store with these options; `None` if it would open, or
    /// without the keys.
    pub refusal: Option<Error>,
}

/// What frames are opened with.
struct Keys {
    keyspace: Keyspace,
    log: Log,
    cells: Cells,
    streams: Streams,
}

impl Store {
    /// Looks at every file and frame in a store's directory, in whatever condition, and reports each
    /// frame to `each`. With the keys everything that is sealed is opened; without them only its
    /// form is judged. Takes no lock and writes nothing, also beside a process that has it open.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if there is no such directory; [`Error::Io`];
    /// [`Misuse::Name`](crate::Misuse::Name). What is wrong with the store is no error.
    pub fn inspect(
        location: impl Into<Location>,
        keyring: Option<&Keyring>,
        options: &Options<'_>,
        mut each: impl FnMut(&FrameReport<'_>),
    ) -> Result<Inspection> {
        options.check()?;
        let (fs, dir) = location.into().into_parts();
        let keyspace = keyring.map(|keyring| keyring.keyspace_to_read(&options.name));
        let (keyspace, mut refusal) = match keyspace {
            Some(Ok(keyspace)) => (Some(keyspace), None),
            Some(Err(error)) => (None, Some(missing_or(error, &*fs, &dir))),
            None => (None, None),
        };
        let keys = keyspace.clone().map(|keyspace| Keys {
            log: keyspace.log(),
            cells: keyspace.cells(),
            streams: keyspace.streams(),
            keyspace,
        });
        let mut looking = Looking { fs: &*fs, keys, each: &mut each, headers: BTreeMap::new() };
        let mut files = Vec::new();
        let segments = names::segments(&*fs, &dir)?;
        let count = segments.len();
        for (n, segment) in segments.iter().enumerate() {
            files.push(looking.segment(&segment.path, n + 1 == count)?);
        }
        let others = wal::list(&*fs, &dir)?.1.into_iter();
        for path in others.filter(|path| names::settled(path).is_none()) {
            files.push(looking.other(&dir, path)?);
        }
        for path in [Witness::path(&dir)].into_iter().filter(|_| count > 0) {
            if files.iter().all(|file| file.path != path) {
                files.push(FileReport::of(path, Kind::Witness, Verdict::Missing));
            }
        }
        if let Some(keyspace) = keyspace {
            match look(&*fs, &dir, &keyspace, options, false) {
                Ok(looked) => {
                    let opened = looked.snapshot().map(|(id, header)| {
                        let path = dir.join(format!("{id}.snap"));
                        if files.iter().all(|known| known.path != path) {
                            files.push(FileReport::of(
                                path.clone(),
                                Kind::Snapshot,
                                Verdict::Missing,
                            ));
                        }
                        let file = fs.open_read(&path).map_err(|e| Error::io("open", &path, e))?;
                        let header = header
                            .ok_or_else(|| Error::damaged("a snapshot without its header"))?;
                        open_stream(&keyspace.streams(), file.into(), header)
                            .map_err(|e| e.in_file(&path))
                    });
                    let accepted = options.accept.has(Accept::Snapshot);
                    refusal = opened.and_then(Result::err).filter(|_| !accepted);
                }
                Err(error) => refusal = Some(error),
            }
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Inspection { files, refusal })
    }
}

struct Looking<'a> {
    fs: &'a dyn Fs,
    keys: Option<Keys>,
    each: &'a mut dyn FnMut(&FrameReport<'_>),
    /// Headers of snapshots that the log has, the last of each.
    headers: BTreeMap<StreamId, SnapshotHeader>,
}

impl Looking<'_> {
    fn segment(&mut self, path: &Path, last: bool) -> Result<FileReport> {
        let mut report = FileReport::of(path.to_owned(), Kind::Segment, Verdict::Good);
        let file = self.fs.open_read(path).map_err(|e| Error::io("open", path, e))?;
        let mut reader = SegmentReader::new(&*file, path, last, Some(0))?;
        while let Some(step) = reader.next()? {
            let (offset, entry, verdict) = match step {
                Step::Record(record) => {
                    let (entry, opened) = self.frame(record.kind, reader.data());
                    let verdict = match record.check {
                        Check::DataAltered | Check::Unfollowed => {
                            Verdict::Corrupted("an altered frame")
                        }
                        Check::FieldAltered => Verdict::Corrupted("an altered CRC"),
                        Check::Good | Check::Unverified => Verdict::of(opened),
                    };
                    (record.offset, entry, verdict)
                }
                Step::ChainBroken { offset } => {
                    (offset, None, Verdict::Corrupted("a broken chain of CRCs"))
                }
                Step::Damage { offset, what, .. } => (offset, None, Verdict::Corrupted(what)),
                Step::End { offset, tail } => match tail {
                    Tail::Clean => continue,
                    Tail::Torn(what) => (offset, None, Verdict::Torn(what)),
                    Tail::Damaged(what) => (offset, None, Verdict::Corrupted(what)),
                    Tail::Garbage { at, .. } if last => {
                        (at, None, Verdict::Torn("bytes behind the last frame"))
                    }
                    Tail::Garbage { at, .. } => {
                        (at, None, Verdict::Corrupted("bytes behind the last frame"))
                    }
                },
            };
            self.report(&mut report, offset, entry, verdict);
        }
        Ok(report)
    }

    fn report(
        &mut self,
        file: &mut FileReport,
        offset: u64,
        entry: Option<LogId>,
        verdict: Verdict,
    ) {
        (self.each)(&FrameReport { path: &file.path, offset, entry, verdict: verdict.clone() });
        file.frames += 1;
        if verdict.severity() > file.verdict.severity() {
            file.verdict = verdict;
        }
    }

    /// The entry that a frame says it is, and whether it opens; `None`: there are no keys.
    fn frame(&mut self, kind: Frame, data: &[u8]) -> (Option<LogId>, Option<Result<()>>) {
        let short = || Error::damaged("too short for its kind");
        let mut entry = None;
        let mut open = || match kind {
            RECORD => {
                let (id, prev, sealed) = format::parse_record(data)?;
                entry = Some(id);
                Log::dek_of(sealed)?;
                let mut record = sealed.to_vec();
                let Some(keys) = &self.keys else { return Ok(false) };
                let after = LogId { era: prev, ..LogId::START };
                let opened = keys.log.open_batch(after, &mut [(id, &mut record)]);
                let opened = opened.map_err(|(_, error)| error);
                // What was opened is plaintext.
                drop(crate::secret::SecretBytes::from_vec(record));
                opened.map(|()| true)
            }
            STATE => {
                let sealed = data.get(16..).ok_or_else(short)?;
                Cells::dek_of(sealed)?;
                let Some(keys) = &self.keys else { return Ok(false) };
                format::without_extra(keys.cells.open_state(sealed)?).map(|_| true)
            }
            META => {
                let (sequence, sealed) = format::number(data).ok_or_else(short)?;
                Cells::dek_of(sealed)?;
                let Some(keys) = &self.keys else { return Ok(false) };
                frames::open_meta(&keys.cells, sequence, sealed).map(|_| true)
            }
            SNAPSHOT => {
                let header = format::parse_snapshot(data)?;
                Streams::dek_of(&header[..])?;
                let Some(keys) = &self.keys else { return Ok(false) };
                let id = keys.streams.id_of(STREAM, &header)?;
                self.headers.insert(id, header);
                Ok(true)
            }
            TABLE => table::decode(data).map(|_| true),
            Frame::Metadata => {
                let owner = format::parse_owner(data)?;
                match &self.keys {
                    Some(keys) if keys.keyspace.id() != owner => {
                        Err(Error::damaged("of another keyspace"))
                    }
                    _ => Ok(true),
                }
            }
            _ => Ok(true),
        };
        let opened = match open() {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        };
        (entry, opened)
    }

    fn other(&mut self, dir: &Path, path: PathBuf) -> Result<FileReport> {
        if path == Witness::path(dir) {
            return self.witness(dir, path);
        }
        if names::is_temp(&path) || path == dir.join("store.lock") {
            return Ok(FileReport::of(path, Kind::Temporary, Verdict::Unused));
        }
        if !names::is_snapshot(&path) {
            return Ok(FileReport::of(path, Kind::Foreign, Verdict::Unused));
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let named = self.headers.iter().find(|(id, _)| id.to_string() == stem);
        let verdict = match (&self.keys, named) {
            (Some(keys), Some((_, header))) => {
                let file = self.fs.open_read(&path).map_err(|e| Error::io("open", &path, e))?;
                let reader = open_stream(&keys.streams, Arc::from(file), header.clone());
                Verdict::of(Some(reader.and_then(|mut reader| reader.verify())))
            }
            (None, _) => Verdict::Unopened,
            (Some(_), None) => Verdict::Unused,
        };
        Ok(FileReport::of(path, Kind::Snapshot, verdict))
    }

    fn witness(&mut self, dir: &Path, path: PathBuf) -> Result<FileReport> {
        let mut report = FileReport::of(path, Kind::Witness, Verdict::Good);
        let mut verdicts = Vec::new();
        for cell in Witness::sealed(self.fs, dir)? {
            verdicts.push(Verdict::of(match &self.keys {
                Some(keys) => Some(witness::open(&keys.cells, &cell).map(drop)),
                None => Cells::dek_of(&cell).map(drop).map_or_else(|e| Some(Err(e)), |()| None),
            }));
        }
        for (offset, verdict) in [0, 512].into_iter().zip(&verdicts) {
            self.report(&mut report, offset, None, verdict.clone());
        }
        // One of the two is enough.
        if let Some(verdict) = verdicts.into_iter().min_by_key(Verdict::severity) {
            report.verdict = verdict;
        }
        Ok(report)
    }
}

impl FileReport {
    const fn of(path: PathBuf, kind: Kind, verdict: Verdict) -> Self {
        Self { path, kind, verdict, frames: 0 }
    }
}

impl Verdict {
    fn of(opened: Option<Result<()>>) -> Self {
        match opened {
            None => Self::Unopened,
            Some(Ok(())) => Self::Good,
            Some(Err(Error::Damaged { what, .. })) => Self::Corrupted(what),
            Some(Err(Error::UnknownDek(id))) => Self::UnknownDek(id),
            Some(Err(Error::Unauthentic)) => Self::Unauthentic,
            Some(Err(Error::RolledBack { .. })) => Self::Corrupted("newer than the key file"),
            Some(Err(Error::Unsupported { .. })) => Self::Corrupted("of another version"),
            Some(Err(_)) => Self::Corrupted("it cannot be read"),
        }
    }

    const fn severity(&self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Unopened => 1,
            Self::Unused => 2,
            Self::Torn(_) => 3,
            Self::UnknownDek(_) => 4,
            Self::Unauthentic => 5,
            Self::Corrupted(_) => 6,
            Self::Missing => 7,
        }
    }
}
