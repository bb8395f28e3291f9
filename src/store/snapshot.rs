//! Snapshots: a sealed stream in a file, whose header is in the log.
//!
//! So a snapshot takes effect, is replaced and is sealed under another DEK by a change of the log,
//! whole or not at all; the file itself is written once. In the place of the header it has a mark that
//! tells whose it is: what a crash left behind is removed, another's file is not.

use core::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::change::Change;
use super::format::SnapshotHeader;
use super::read::read_exact;
use super::write::Installed;
use super::{Inner, Store, names};
use crate::error::{Error, Misuse, Result};
use crate::fs::{self, File, Fs};
use crate::process::Process;
use crate::seal::{
    LogId, STREAM_HEADER_LEN, SealedStream, StreamId, StreamInfo, StreamReader, StreamWriter,
    Streams,
};
use crate::wal;

/// The name of the streams of snapshots.
pub(super) const STREAM: &str = "snapshot";
/// Length of a header, as files count.
const HEADER: u64 = 4096;
const _: () = assert!(STREAM_HEADER_LEN == 4096);

/// Writes a new snapshot, the node's own or one that it receives. What is written is plaintext.
///
/// One that is dropped leaves nothing behind.
pub struct SnapshotWriter {
    stream: Option<StreamWriter<SnapshotFile>>,
    file: Arc<dyn File>,
    temp: Temp,
}

/// A snapshot that was written, read back and made durable, but not installed.
///
/// One that is dropped leaves nothing behind.
#[must_use = "install it"]
pub struct Snapshot {
    info: StreamInfo,
    header: SnapshotHeader,
    sealed: SealedStream,
    temp: Temp,
}

/// Reads the snapshot: the plaintext, from any position of it.
pub type SnapshotReader = StreamReader<SnapshotFile>;

/// The file of a snapshot, its header coming from elsewhere.
pub struct SnapshotFile {
    file: Arc<dyn File>,
    header: SnapshotHeader,
    position: u64,
    /// The process that may write.
    process: Process,
}

/// A file that goes if nobody keeps it.
struct Temp {
    store: Store,
    path: PathBuf,
    keep: bool,
}

impl Store {
    /// Begins a snapshot. What it covers is said only in [`SnapshotWriter::finish`].
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Random`], [`Error::Poisoned`].
    pub fn write_snapshot(&self) -> Result<SnapshotWriter> {
        self.inner.writable()?;
        let path = self.inner.temp();
        let file: Arc<dyn File> =
            self.inner.fs.create_new(&path).map_err(|e| Error::io("create", &path, e))?.into();
        let temp = Temp { store: self.clone(), path, keep: false };
        let out = SnapshotFile::new(Arc::clone(&file), Box::new([0; STREAM_HEADER_LEN]));
        let stream = Some(self.inner.streams.create(STREAM, out)?);
        Ok(SnapshotWriter { stream, file, temp })
    }

    /// Makes a snapshot the store's, in place of the one before, together with `change`: for one
    /// that was received that is a purge up to what it covers. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotIncreasing`] for a snapshot that covers less than the one before, or less than
    /// was purged: nothing was changed then. [`Misuse::State`] for a snapshot of another store; and as
    /// [`Store::apply`].
    pub fn install(&self, snapshot: Snapshot, change: Change) -> Result<()> {
        if !Arc::ptr_eq(&self.inner, &snapshot.temp.store.inner) {
            return Err(Misuse::State("a snapshot of another store").into());
        }
        let installed = self.put_in_place(snapshot, change, None);
        installed.inspect_err(|e| self.inner.stats.failed(e))
    }

    /// As [`Store::install`]; a copy takes the place of the snapshot that it is of, and of no other.
    pub(super) fn put_in_place(
        &self,
        mut snapshot: Snapshot,
        change: Change,
        copy_of: Option<StreamId>,
    ) -> Result<()> {
        let inner = &*self.inner;
        inner.writable()?;
        let StreamInfo { id, at, .. } = snapshot.info;
        snapshot.temp.rename(inner.snapshot_path(id))?;
        inner.sync_dir()?;
        let installed = Installed { id, at, header: snapshot.header.clone(), copy_of };
        let written = inner.write(change, Some(installed));
        // Also if the write fails the log may name it.
        snapshot.temp.keep = written.is_ok() || inner.intact().is_err();
        inner.sync(written?)?;
        snapshot.sealed.durable();
        Ok(())
    }

    /// Returns the snapshot that is installed; `None` if there is none. It can be read on when it is
    /// replaced.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Damaged`], [`Error::Unauthentic`], [`Error::UnknownDek`],
    /// [`Error::Io`]; [`Error::Busy`] as for [`Cursor::read`](super::Cursor::read).
    pub fn snapshot(&self) -> Result<Option<SnapshotReader>> {
        self.inner.snapshot().map_err(|error| self.inner.read_failed(error))
    }

    pub(super) fn check_snapshot(&self, whole: bool) -> Result<()> {
        match self.snapshot()? {
            Some(mut reader) if whole => reader.verify(),
            _ => Ok(()),
        }
    }
}

impl SnapshotWriter {
    /// Ends the snapshot, reads it back, and makes its file durable. `at` is the last entry that it
    /// covers, `meta` up to 3985 bytes of the caller's.
    ///
    /// # Errors
    ///
    /// As [`StreamWriter::finish`]; [`Error::Unauthentic`] if it does not read back; [`Error::Io`].
    pub fn finish(self, at: LogId, meta: &[u8]) -> Result<Snapshot> {
        let (snapshot, mut reader) = self.end(at, meta)?;
        reader.verify()?;
        Ok(snapshot)
    }

    /// Ends the snapshot and makes its file durable. It must be read back before it is installed.
    pub(super) fn end(mut self, at: LogId, meta: &[u8]) -> Result<(Snapshot, SnapshotReader)> {
        let inner = Arc::clone(&self.temp.store.inner);
        inner.process.check()?;
        let stream = self.stream.take().ok_or(Misuse::State("a snapshot that has ended"))?;
        let (file, sealed) = stream.finish(at, meta)?;
        let SnapshotFile { file, header, .. } = file;
        let mark = mark(&inner.name);
        file.write_all_at(&mark, 0).map_err(|e| Error::io("write", &self.temp.path, e))?;
        file.sync().map_err(|e| Error::io("sync", &self.temp.path, e))?;
        let reader = inner.open_snapshot(file, header.clone())?;
        let info = reader.info().clone();
        Ok((Snapshot { info, header, sealed, temp: self.temp }, reader))
    }

    /// Adds plaintext.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let ended = Misuse::State("a snapshot that has ended");
        self.stream.as_mut().ok_or(ended)?.put(bytes).map_err(|error| match error {
            Error::Stream(source) => Error::io("write", &self.temp.path, source),
            other => other,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.temp.path
    }

    /// Makes what was written durable, so that the end has less to do.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io("sync", &self.temp.path, e))
    }

    fn stream(&mut self) -> io::Result<&mut StreamWriter<SnapshotFile>> {
        self.stream.as_mut().ok_or_else(|| io::Error::other("a snapshot that has ended"))
    }
}

impl Snapshot {
    /// What its header tells.
    #[must_use]
    pub const fn info(&self) -> &StreamInfo {
        &self.info
    }

    /// Reads it, before it is installed.
    ///
    /// # Errors
    ///
    /// As [`Store::snapshot`].
    pub fn reader(&self) -> Result<SnapshotReader> {
        let inner = &self.temp.store.inner;
        let path = &self.temp.path;
        let file = inner.fs.open_read(path).map_err(|e| Error::io("open", path, e))?;
        inner.open_snapshot(file.into(), self.header.clone())
    }
}

impl Inner {
    pub(super) fn snapshot_path(&self, id: StreamId) -> PathBuf {
        self.dir.join(format!("{id}.snap"))
    }

    /// Opens the snapshot that is installed.
    pub(super) fn snapshot(&self) -> Result<Option<SnapshotReader>> {
        loop {
            let (header, id, at) = {
                let seen = self.view.seen();
                let Some(id) = seen.state.snapshot else { return Ok(None) };
                (seen.header.clone(), id, seen.snapshot_at)
            };
            let header = header.ok_or_else(|| Error::damaged("a snapshot without its header"))?;
            let opened = self.open_installed(id, at, SnapshotHeader::clone(&header));
            let same = |now: &Arc<SnapshotHeader>| Arc::ptr_eq(now, &header);
            match opened {
                // Replaced or sealed again meanwhile, the old file or DEK is gone.
                Err(Error::Missing(_) | Error::UnknownDek(_))
                    if !self.view.seen().header.as_ref().is_some_and(same) => {}
                opened => return opened.map(Some),
            }
        }
    }

    fn open_installed(
        &self,
        id: StreamId,
        at: LogId,
        header: SnapshotHeader,
    ) -> Result<SnapshotReader> {
        let path = self.snapshot_path(id);
        let file = self.fs.open_read(&path).map_err(|e| Error::io("open", &path, e))?;
        let reader = self.open_snapshot(file.into(), header).map_err(|e| e.in_file(&path))?;
        let found = reader.info();
        if found.id != id {
            let (found, expected) = (found.at.index, at.index);
            return Err(Error::RolledBack { what: "snapshot", found, expected });
        }
        if found.at != at {
            // The state may be under a better DEK than the header.
            return Err(Error::damaged("a snapshot that covers something else").in_file(&path));
        }
        Ok(reader)
    }

    /// Removes files of snapshots that were replaced, and those of snapshots that were never installed.
    pub(super) fn remove_old_snapshots(&self) -> Result<()> {
        let current = self.view.seen().state.snapshot.map(|id| self.snapshot_path(id));
        for file in wal::list(&*self.fs, &self.dir)?.1 {
            if names::is_snapshot(&file)
                && current.as_ref() != Some(&file)
                && is_marked(&*self.fs, &file, &self.name)?
            {
                fs::remove_if_there(&*self.fs, &file)?;
            }
        }
        Ok(())
    }

    fn open_snapshot(&self, file: Arc<dyn File>, header: SnapshotHeader) -> Result<SnapshotReader> {
        open_stream(&self.streams, file, header)
    }
}

/// Opens a snapshot's file, of which the header comes from the log.
pub(super) fn open_stream(
    streams: &Streams,
    file: Arc<dyn File>,
    header: SnapshotHeader,
) -> Result<SnapshotReader> {
    streams.open(STREAM, SnapshotFile::new(file, header))
}

/// What a snapshot's file of the log `name` begins with.
fn mark(name: &str) -> Vec<u8> {
    format!("nodeseal snapshot 1\n{name}\n").into_bytes()
}

/// Reports whether a file is a snapshot of the log `name`.
pub(super) fn is_marked(fs: &dyn Fs, path: &Path, name: &str) -> Result<bool> {
    let file = fs.open_read(path).map_err(|e| Error::io("open", path, e))?;
    let expected = mark(name);
    let mut found = vec![0; expected.len()];
    match read_exact(&*file, path, 0, &mut found) {
        Ok(()) => Ok(found == expected),
        Err(Error::Damaged { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

impl SnapshotFile {
    fn new(file: Arc<dyn File>, header: SnapshotHeader) -> Self {
        Self { file, header, position: 0, process: Process::current() }
    }

    /// Where in the header the position is.
    fn in_header(&self) -> Option<usize> {
        usize::try_from(self.position).ok().filter(|at| *at < STREAM_HEADER_LEN)
    }

    fn advance(&mut self, count: usize) -> io::Result<usize> {
        let more = u64::try_from(count).map_err(io::Error::other)?;
        self.position = self.position.checked_add(more).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(count)
    }
}

impl Read for SnapshotFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = match self.in_header() {
            Some(at) => {
                let rest = self.header.get(at..).unwrap_or_default();
                let count = rest.len().min(out.len());
                for (to, from) in out.iter_mut().zip(rest) {
                    *to = *from;
                }
                count
            }
            None => self.file.read_at(out, self.position)?,
        };
        self.advance(count)
    }
}

impl Write for SnapshotFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match self.in_header() {
            Some(at) => {
                let rest = self.header.get_mut(at..).unwrap_or_default();
                let count = rest.len().min(bytes.len());
                for (to, from) in rest.iter_mut().zip(bytes) {
                    *to = *from;
                }
                count
            }
            None => {
                self.process.check().map_err(io::Error::other)?;
                self.file.write_all_at(bytes, self.position)?;
                bytes.len()
            }
        };
        self.advance(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for SnapshotFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(offset) => self.file.len()?.max(HEADER).checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Write for SnapshotWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream()?.flush()
    }
}

impl Temp {
    fn rename(&mut self, path: PathBuf) -> Result<()> {
        let renamed = self.store.inner.fs.rename(&self.path, &path);
        renamed.map_err(|e| Error::io("rename", &path, e))?;
        self.path = path;
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // In a forked child the file is the parent's.
        if !self.keep && self.store.inner.process.is_current() {
            // If this fails, the next opening removes it.
            let _ = self.store.inner.fs.remove(&self.path);
        }
    }
}

impl fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotWriter").field("file", &self.temp.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("info", &self.info).finish_non_exhaustive()
    }
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotFile").field("position", &self.position).finish_non_exhaustive()
    }
}
