//! Events as lines of a file, each with a code over itself and the line before.

use core::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{AuditKey, Event, Sink};
use crate::error::{Error, Result};
use crate::fs::{self, File, Fs, Lock, RealFs};
use crate::process::Process;
use crate::secret::SecretKey;

mod end;
mod line;
mod read;
#[cfg(test)]
mod tests;

use end::End;

/// An audit file: one event a line, as JSON, in which a line that was altered, added, moved or
/// removed shows, and a cut.
///
/// # Format
///
/// ```text
/// {"n":1,"time":"2026-11-24T23:26:50Z","action":"secret.create","index":7,"secret":"…","chain":"…"}
/// ```
///
/// `n` counts from 1; then what [`Event::fields`] gives, those that are there, in its order. `chain` is
/// the last field, 64 hexadecimal digits: HMAC-SHA256 under a key derived from the [`AuditKey`], over
/// the `chain` of the line before (32 bytes; zeros before the first) and the line's bytes up to the
/// comma before `"chain"`.
///
/// Beside it stands `<file>.end`, which says how far the file had come: two places of 512 bytes,
/// written in turn, each `lines 8 · length 8 · chain 32 · code 32`, numbers little-endian, the code
/// being HMAC-SHA256 under another derived key. It is written after a line is durable and not synced
/// itself, so it costs no fsync and is never ahead; a power cut may leave it some seconds behind.
/// `<file>.lock` is the lock of the process that writes.
///
/// # Durability
///
/// A line is durable when [`Sink::record`] returns: one fsync an event, or one for all of
/// [`FileSink::record_all`]. After a write that failed everything more is refused until it is opened
/// anew. Opening cuts off a write that did not finish.
///
/// # Security
///
/// A writer on the disk without the key can do one thing unseen: put back an older file together with
/// an older end mark. [`FileSink::anchor`], kept where it cannot be put back with them (among a store's
/// metadata, which its state cell guards), closes that. Whoever has the key, so also root on a
/// running node, can write everything anew.
///
/// ```
/// use nodeseal::audit::{Action, AuditKey, Event, FileSink, Sink};
/// use nodeseal::grant::Time;
///
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("audit.log");
/// let key = AuditKey::generate()?;
/// let sink = FileSink::create(&path, &key)?;
/// sink.record(&Event::new(Action::PayloadKeyRotated, Time::now()))?;
/// let anchor = sink.anchor();
/// assert_eq!(FileSink::verify(&path, &key, Some(&anchor))?.lines, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileSink {
    path: PathBuf,
    lines: SecretKey,
    inner: Mutex<Inner>,
    /// The process that may write.
    process: Process,
    _lock: Box<dyn Lock>,
}

struct Inner {
    file: Box<dyn File>,
    end: End,
    at: Anchor,
    last_index: Option<u64>,
    poisoned: bool,
}

/// Where an audit file ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// How many lines it has.
    pub(crate) lines: u64,
    /// Its length, in bytes.
    pub(crate) len: u64,
    /// The last line's chain.
    pub(crate) chain: [u8; 32],
}

impl Anchor {
    const START: Self = Self { lines: 0, len: 0, chain: [0; 32] };

    /// How many lines the file has.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// 48 bytes to keep: lines 8, length 8 (little-endian), chain 32.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 48] {
        let mut bytes = [0; 48];
        bytes[..8].copy_from_slice(&self.lines.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..].copy_from_slice(&self.chain);
        bytes
    }

    /// Reads what [`Anchor::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] for another number of bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::damaged("an anchor of another length");
        let (numbers, chain) = bytes.split_first_chunk::<16>().ok_or_else(damaged)?;
        let [lines, len] =
            [0, 8].map(|at| u64::from_le_bytes(core::array::from_fn(|n| numbers[at + n])));
        Ok(Self { lines, len, chain: chain.try_into().map_err(|_| damaged())? })
    }
}

/// What [`FileSink::verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Lines, all of them whole and in their places.
    pub lines: u64,
    /// Bytes behind them that are no whole line: a write that is not finished, or never was.
    pub unfinished: u64,
}

impl FileSink {
    /// Makes a new audit file in a folder that is there.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if it is there, or if its end mark says that it was; [`Error::Busy`];
    /// [`Error::Io`].
    pub fn create(path: impl Into<PathBuf>, key: &AuditKey) -> Result<Self> {
        Self::create_on(Arc::new(RealFs), path.into(), key)
    }

    /// Opens an audit file to go on writing, and checks all of it.
    ///
    /// # Errors
    ///
    /// As [`FileSink::verify`]; [`Error::Busy`]; [`Error::Io`].
    pub fn open(path: impl Into<PathBuf>, key: &AuditKey, anchor: Option<&Anchor>) -> Result<Self> {
        Self::open_on(Arc::new(RealFs), path.into(), key, anchor)
    }

    /// Checks an audit file, which may be in use, and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], its place's index being the number of the first line that is not what it
    /// was, or is not there; [`Error::RolledBack`] if the file, or what the anchor says of it, is not
    /// what it was; [`Error::Missing`]; [`Error::Io`].
    pub fn verify(
        path: impl AsRef<Path>,
        key: &AuditKey,
        anchor: Option<&Anchor>,
    ) -> Result<Verified> {
        let path = path.as_ref();
        // First the mark: what is written meanwhile is behind it.
        let marked = End::read(&RealFs, path, &key.for_end())?;
        let found = read::check(&RealFs, path, &key.for_lines(), &marked, anchor)?;
        Ok(Verified { lines: found.at.lines, unfinished: found.unfinished })
    }

    pub(crate) fn create_on(fs: Arc<dyn Fs>, path: PathBuf, key: &AuditKey) -> Result<Self> {
        let lock = lock(&*fs, &path)?;
        match fs.open_read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("open", &path, e)),
            Ok(_) => return Err(Error::Exists(path)),
        }
        // Before the file: one without an end mark was tampered with. One that a crash left alone says
        // that nothing was written.
        match End::read(&*fs, &path, &key.for_end()) {
            Ok(marked) if marked.lines > 0 => return Err(Error::Exists(end::path(&path))),
            Err(error @ Error::Io { .. }) => return Err(error),
            _ => {}
        }
        let end = End::create(&*fs, &path, key.for_end(), &Anchor::START)?;
        let file = fs.create_new(&path).map_err(|e| Error::io("create", &path, e))?;
        file.sync().map_err(|e| Error::io("sync", &path, e))?;
        let dir = fs::folder(&path);
        fs.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
        let inner = Inner { file, end, at: Anchor::START, last_index: None, poisoned: false };
        let process = Process::current();
        Ok(Self { path, lines: key.for_lines(), inner: Mutex::new(inner), process, _lock: lock })
    }

    pub(crate) fn open_on(
        fs: Arc<dyn Fs>,
        path: PathBuf,
        key: &AuditKey,
        anchor: Option<&Anchor>,
    ) -> Result<Self> {
        let lock = lock(&*fs, &path)?;
        let lines = key.for_lines();
        let marked = End::read(&*fs, &path, &key.for_end())?;
        let found = read::check(&*fs, &path, &lines, &marked, anchor)?;
        let file = fs.open_write(&path).map_err(|e| Error::io("open", &path, e))?;
        let sync = |file: &dyn File| file.sync().map_err(|e| Error::io("sync", &path, e));
        if found.unfinished > 0 {
            file.set_len(found.at.len).map_err(|e| Error::io("cut", &path, e))?;
        }
        // What is behind the mark may not be durable, and a sync after one that failed proves nothing:
        // it is written once more.
        file.write_all_at(&found.behind, marked.len).map_err(|e| Error::io("write", &path, e))?;
        sync(&*file)?;
        let end = End::create(&*fs, &path, key.for_end(), &found.at)?;
        let inner =
            Inner { file, end, at: found.at, last_index: found.last_index, poisoned: false };
        let process = Process::current();
        Ok(Self { path, lines, inner: Mutex::new(inner), process, _lock: lock })
    }

    /// Takes several events with one fsync.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] after an earlier failure; [`Misuse::Forked`](crate::Misuse::Forked) in a
    /// forked process; [`Error::Io`], after which it is not known which of them are in the file.
    pub fn record_all<'a>(&self, events: impl IntoIterator<Item = &'a Event>) -> Result<()> {
        self.process.check()?;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.poisoned {
            return Err(Error::Poisoned);
        }
        let (mut text, mut at, mut last_index) = (Vec::new(), inner.at.clone(), inner.last_index);
        for event in events {
            line::write(event, &self.lines, &mut at, &mut text);
            last_index = last_index.max(event.index);
        }
        if text.is_empty() {
            return Ok(());
        }
        inner.poisoned = true;
        let failed = |op| move |e| Error::io(op, &self.path, e);
        inner.file.write_all_at(&text, inner.at.len).map_err(failed("write"))?;
        inner.file.sync_data().map_err(failed("sync"))?;
        inner.end.write(&at)?;
        (inner.at, inner.last_index, inner.poisoned) = (at, last_index, false);
        Ok(())
    }

    /// Where the file ends: for [`FileSink::open`], which then refuses an older file.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).at.clone()
    }

    /// The greatest [`Event::index`] that is in the file. A replica that applies its log again after a
    /// restart records only events beyond it.
    #[must_use]
    pub fn last_index(&self) -> Option<u64> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).last_index
    }
}

impl Sink for FileSink {
    fn record(&self, event: &Event) -> Result<()> {
        self.record_all([event])
    }
}

impl fmt::Debug for FileSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink").field("path", &self.path).finish_non_exhaustive()
    }
}

fn lock(fs: &dyn Fs, path: &Path) -> Result<Box<dyn Lock>> {
    let lock = beside(path, ".lock");
    match fs.try_lock(&lock) {
        Ok(Some(held)) => Ok(held),
        Ok(None) => Err(Error::Busy(lock)),
        Err(e) => Err(Error::io("lock", &lock, e)),
    }
}

/// The file whose name is longer by `suffix`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
