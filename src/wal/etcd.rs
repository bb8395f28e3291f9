//! Writing etcd's own segments.

mod writer;

use core::fmt;
use std::path::{Path, PathBuf};

use super::block::wide;
use super::frame::Kind;
use super::frames::Frames;
use super::name::SegmentName;
use super::segment::{SegmentReader, Step, Tail};
use crate::error::{Error, Result};
use crate::fs::{self, File, Fs, Lock};

#[allow(unused_imports, reason = "for whole logs: what is salvaged or imported")]
pub(crate) use writer::Writer;

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
    pub(crate) const fn chain(&self) -> u32 {
        self.out.frames.chain()
    }

    /// Takes the lock that whoever opens the log must have; it stays with the segment under its
    /// name.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`], and what the system says.
    pub(crate) fn lock(&self) -> Result<Box<dyn Lock>> {
        let lock =
            self.fs.try_lock_open(&self.temp).map_err(|e| Error::io("lock", &self.temp, e))?;
        lock.ok_or_else(|| Error::Busy(self.temp.clone()))
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

    /// Reads it again as it is on the disk: every frame, and that the chain ends where it should.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if it does not, and what the system says.
    pub(crate) fn read_back(&self) -> Result<()> {
        let file = self.fs.open_read(&self.temp).map_err(|e| Error::io("open", &self.temp, e))?;
        let mut reader = SegmentReader::new(&*file, &self.temp, true, None)?;
        let mut sound = true;
        while let Some(step) = reader.next()? {
            sound &= match step {
                Step::Record(record) => record.check.is_sound(),
                Step::End { tail, .. } => tail == Tail::Clean,
                Step::Damage { .. } | Step::ChainBroken { .. } => false,
            };
        }
        if sound && reader.chain() == Some(self.chain()) {
            return Ok(());
        }
        let what = "a segment that was just written and cannot be read again";
        Err(Error::damaged(what).in_file(&self.temp))
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
