//! Writing etcd's own segments.

use core::fmt;
use std::path::{Path, PathBuf};

use super::append::Frames;
use super::block::wide;
use super::frame::Kind;
use super::name::SegmentName;
use crate::error::{Error, Result};
use crate::fs::{self, File, Fs};

/// The size that a segment is given when it is made, in bytes; when it is reached, the next one is
/// begun.
pub(crate) const SEGMENT_SIZE: u64 = 64_000_000;
/// How many bytes of frames are collected before they are written.
const BUFFER: usize = 128 << 10;

/// A segment that is being written, under a temporary name until [`Draft::publish`].
///
/// What is under its temporary name is ignored and overwritten by etcd, so that a crash leaves no
/// half of a segment.
pub(crate) struct Draft<'a> {
    fs: &'a dyn Fs,
    dir: PathBuf,
    temp: PathBuf,
    out: Segment,
}

/// An open segment: its frames, up to its end.
struct Segment {
    name: SegmentName,
    path: PathBuf,
    file: Box<dyn File>,
    frames: Frames,
    /// Offset behind the frames that were written.
    written: u64,
}

impl<'a> Draft<'a> {
    /// Begins the segment that will be named `name` in `dir`, preallocated to `size` bytes.
    /// `chain` is the CRC where the segment before it ends, 0 for the first one; `metadata` must
    /// be the same in all segments of a log.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn begin(
        fs: &'a dyn Fs,
        dir: &Path,
        name: SegmentName,
        chain: u32,
        metadata: &[u8],
        size: u64,
    ) -> Result<Self> {
        // Etcd's own names, which alternate.
        let temp = dir.join(format!("{}.tmp", name.sequence % 2));
        fs::remove_if_there(fs, &temp)?;
        let file = fs.create_new(&temp).map_err(|e| Error::io("create", &temp, e))?;
        // Not `allocate`, which writes zeros: dockerd reserves the blocks itself when it opens.
        file.set_len(size).map_err(|e| Error::io("allocate", &temp, e))?;
        let path = dir.join(name.to_string());
        let mut out = Segment { name, path, file, frames: Frames::new(chain), written: 0 };
        out.frames.put_crc()?;
        out.put(Kind::Metadata, &[metadata])?;
        Ok(Self { fs, dir: dir.to_owned(), temp, out })
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// What the system says, and [`Misuse::TooLarge`](crate::Misuse::TooLarge).
    pub(crate) fn put(&mut self, kind: Kind, parts: &[&[u8]]) -> Result<()> {
        self.out.put(kind, parts)
    }

    /// The CRC behind its frames.
    #[cfg(test)]
    pub(crate) const fn chain(&self) -> u32 {
        self.out.frames.chain()
    }

    /// Makes all of it durable, still under its temporary name.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.out.flush()?;
        self.out.file.sync().map_err(|e| Error::io("sync", &self.temp, e))
    }

    /// Gives the segment its name, once [`Draft::sync`] returned, and makes that durable.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn publish(self) -> Result<PathBuf> {
        self.named().map(|segment| segment.path)
    }

    fn named(self) -> Result<Segment> {
        let path = &self.out.path;
        self.fs.rename(&self.temp, path).map_err(|e| Error::io("rename", &self.temp, e))?;
        self.fs.sync_dir(&self.dir).map_err(|e| Error::io("sync", &self.dir, e))?;
        Ok(self.out)
    }

    /// Removes what was written, after a failure.
    pub(crate) fn discard(self) {
        let _ = self.fs.remove(&self.temp);
    }
}

impl Segment {
    fn put(&mut self, kind: Kind, parts: &[&[u8]]) -> Result<()> {
        self.frames.put(kind, parts)?;
        if self.frames.bytes().len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let chain = self.frames.chain();
        let frames = core::mem::replace(&mut self.frames, Frames::new(chain));
        let bytes = frames.bytes();
        self.file
            .write_all_at(bytes, self.written)
            .map_err(|e| Error::io("write", &self.path, e))?;
        self.written = self.written.saturating_add(wide(bytes.len()));
        self.frames = Frames::reuse(frames.into_bytes(), chain);
        Ok(())
    }

    fn end(&self) -> u64 {
        self.written.saturating_add(wide(self.frames.bytes().len()))
    }
}

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
        if self.out.end() >= self.size { self.cut() } else { Ok(()) }
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

/// Cuts a segment off behind its last frame, which ends at `end`: zeros that were preallocated, or a
/// write that did not finish.
///
/// # Errors
///
/// What the system says.
pub(crate) fn cut_off(file: &dyn File, path: &Path, end: u64) -> Result<()> {
    file.set_len(end).map_err(|e| Error::io("truncate", path, e))?;
    file.sync().map_err(|e| Error::io("sync", path, e))
}

impl fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft").field("name", &self.out.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("dir", &self.dir).finish_non_exhaustive()
    }
}
