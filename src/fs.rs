//! The one seam for files.
//!
//! Everything that this crate writes to a disk passes [`Fs`]: the real one ([`RealFs`]) or one in
//! memory that loses power and fails on demand ([`SimFs`]), with which an author can test his own
//! recovery too.
//!
//! # What is durable
//!
//! Bytes are durable once [`File::sync`] returned, names once [`Fs::sync_dir`] of their folder
//! did. Neither implies the other. A sync that failed leaves what is durable unknown for good: on
//! Linux the bytes that could not be written count as written afterwards, so that a repeated sync
//! succeeds without them. What a process finds when it starts may not be durable either: one that
//! was killed may have left it so.

use core::fmt;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::{Error, Result};

mod real;
mod sim;
#[cfg(test)]
mod tests;

pub use real::RealFs;
pub use sim::{Loss, SimFs};

/// How much is copied at once, in bytes.
const COPIED: usize = 64 << 10;

/// A file system.
///
/// Paths are used as they are given. Every method but [`create_dir_all`](Self::create_dir_all)
/// maps to one operation of the operating system, whose error it returns. Calls block.
pub trait Fs: fmt::Debug + Send + Sync {
    /// Creates a file that must not exist, readable and writable by its owner alone (0600), and
    /// opens it to read and write. A symbolic link of that name is not followed.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if the name is taken, or what the system says.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens a file to read it.
    ///
    /// # Errors
    ///
    /// `NotFound`, `IsADirectory`, or what the system says.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens a file to read and write it.
    ///
    /// # Errors
    ///
    /// `NotFound`, `IsADirectory`, or what the system says.
    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Renames a file or folder within its folder, atomically replacing what has the new name (a
    /// folder replaces only an empty folder). One [`sync_dir`](Self::sync_dir) makes it durable.
    ///
    /// # Errors
    ///
    /// `CrossesDevices` if the paths do not name the same folder, since the rename would not be
    /// durable as one; or what the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// `NotFound`, or what the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Creates a folder that must not exist, open to its owner alone (0700).
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if the name is taken, `NotFound` if the folder above is missing, or what
    /// the system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    ///
    /// `NotFound`, `DirectoryNotEmpty`, `NotADirectory`, `Unsupported` where it is not provided, or
    /// what the system says.
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let _ = dir;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Creates a directory (0700) and those missing above it, and makes their names durable. One that
    /// exists is left as it is; its name is made durable too, because a process may have been killed
    /// between its creation and that, unless the directory above may not be read.
    ///
    /// # Errors
    ///
    /// What the system says. A directory whose name could not be made durable is removed again, since
    /// after a failed sync a second one would succeed without it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let above = folder(dir);
        let sync_found = |found: &Path| match found.parent().map(|_| self.sync_dir(folder(found))) {
            Some(Err(e)) if e.kind() != io::ErrorKind::PermissionDenied => Err(e),
            _ => Ok(()),
        };
        match self.create_dir(dir) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound && above != dir => {
                self.create_dir_all(above)?;
                self.create_dir(dir)?;
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                // Fails if what is there is not a folder.
                self.list(dir)?;
                return sync_found(dir);
            }
            Err(e) => return Err(e),
        }
        sync_found(above).and_then(|()| self.sync_dir(above)).inspect_err(|_| {
            // If this fails too, the caller has the first error.
            let _ = self.remove_dir(dir);
        })
    }

    /// The names of the plain files in a folder, sorted; neither folders nor symbolic links.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotADirectory`, or what the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Takes the exclusive lock on a lock file, creating it (0600) where it is missing. `None`:
    /// another holds it, in this process or in another. Dropping the guard releases it, and leaves
    /// the file; the file must never be renamed or removed, or two could hold the lock.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the name is not a plain file's (a symbolic link is not followed), or what
    /// the system says.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;

    /// Takes a shared lock on a lock file that exists, opened only to read: it conflicts with that of
    /// [`try_lock`](Self::try_lock) and with nothing else. `None`: another holds the exclusive lock.
    /// Nothing is created or written.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Unsupported` where the file system has no such locks, or what the system says.
    fn try_lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns the id of the file that has this name now; `None` where files have no ids. With
    /// [`File::id`] it shows whether an open file still has its name.
    ///
    /// # Errors
    ///
    /// `NotFound`, or what the system says.
    fn id_of(&self, path: &Path) -> io::Result<Option<FileId>> {
        let _ = path;
        Ok(None)
    }

    /// Opens a directory, to ask it later whether a name in it may have changed. `None` where
    /// directories cannot tell.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotADirectory`, or what the system says.
    fn open_dir(&self, dir: &Path) -> io::Result<Option<Box<dyn Dir>>> {
        let _ = dir;
        Ok(None)
    }

    /// Takes the exclusive lock on a file that is there, as etcd takes it on the segments of its log:
    /// of the open file (`F_OFD_SETLK`), over its whole length. It does not conflict with the lock
    /// of [`try_lock`](Self::try_lock). `None`: another holds it. Dropping the guard releases it.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Unsupported` where the file system has no such locks, or what the system says.
    fn try_lock_open(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Tells two files that exist at the same time apart: on a system its device and inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    device: u64,
    number: u64,
}

impl FileId {
    /// The file `number` of `device`.
    #[must_use]
    pub const fn new(device: u64, number: u64) -> Self {
        Self { device, number }
    }
}

/// An open directory.
pub trait Dir: fmt::Debug + Send + Sync {
    /// Returns when a name in the directory, or its own name, last changed: in the ticks of the file
    /// system's clock, so that two changes shortly after one another may have the same time.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn changed(&self) -> io::Result<Option<ChangeTime>>;
}

/// When a directory last changed, by its file system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeTime {
    seconds: i64,
    nanoseconds: i64,
}

impl ChangeTime {
    /// Seconds since 1970, and nanoseconds beyond them.
    #[must_use]
    pub const fn new(seconds: i64, nanoseconds: i64) -> Self {
        Self { seconds, nanoseconds }
    }
}

/// An open file.
pub trait File: fmt::Debug + Send + Sync {
    /// Returns the file's id; `None` where files have no ids.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn id(&self) -> io::Result<Option<FileId>> {
        Ok(None)
    }

    /// Length in bytes.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at most `buf.len()` bytes from `offset`, and returns how many; 0 at the end.
    ///
    /// # Errors
    ///
    /// `Interrupted`, after which it may be tried again, or what the system says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `buf` at `offset`, growing the file where needed; a gap reads as zeros.
    ///
    /// # Errors
    ///
    /// What the system says; how much was written is unknown then.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Sets the length in bytes: cuts the rest off, or adds zeros.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the file at least `len` bytes long, and sees to it that a later write up to there needs
    /// no more room on the disk. What is added reads as zeros.
    ///
    /// # Errors
    ///
    /// What the system says; how long the file is then is unknown.
    fn allocate(&self, len: u64) -> io::Result<()> {
        if self.len()? < len { self.set_len(len) } else { Ok(()) }
    }

    /// As [`sync`](Self::sync), without facts that are not needed to read the bytes again, as the
    /// time of the last write.
    ///
    /// # Errors
    ///
    /// As [`sync`](Self::sync).
    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    /// Makes the file's bytes and length durable, but not its name.
    ///
    /// # Errors
    ///
    /// What the system says. What is durable is then unknown, also after a later success.
    fn sync(&self) -> io::Result<()>;
}

/// Holds a lock until it is dropped.
pub trait Lock: fmt::Debug + Send + Sync {}

/// Reports whether a write failed because it did not fit, and so may fit once there is room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Reads a whole file of at most `limit` bytes. Allocates no more than the file's length.
///
/// What was read is wiped if the call fails, for the file may hold a key in the clear.
pub(crate) fn read(fs: &dyn Fs, path: &Path, limit: usize) -> Result<Vec<u8>> {
    let file = fs.open_read(path).map_err(|e| Error::io("open", path, e))?;
    let len = file.len().map_err(|e| Error::io("stat", path, e))?;
    let len = usize::try_from(len)
        .ok()
        .filter(|len| *len <= limit)
        .ok_or_else(|| Error::damaged("the file is larger than its format allows").in_file(path))?;
    let mut bytes = Zeroizing::new(vec![0; len]);
    let mut offset = 0;
    let mut rest = bytes.as_mut_slice();
    while !rest.is_empty() {
        match file.read_at(rest, offset) {
            Ok(0) => break,
            Ok(n) => {
                let read = n.min(rest.len());
                offset += u64::try_from(read).unwrap_or(u64::MAX);
                rest = rest.split_at_mut(read).1;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("read", path, e)),
        }
    }
    let filled = len - rest.len();
    bytes.truncate(filled);
    Ok(core::mem::take(&mut *bytes))
}

/// Replaces a file, so that after a crash either the old or the new one is there, whole; once it
/// returned, the new one.
///
/// Writes a temporary file beside it, syncs it, renames it over, syncs the folder. The temporary
/// file has a fixed name, so the caller must hold the lock that guards `path`; one left behind by
/// a crash is removed first.
///
/// # Errors
///
/// [`Error::Missing`] or [`Error::Io`]. Which of the two files is there is then unknown, whatever
/// a reader sees now; a later call that succeeds settles it.
pub(crate) fn replace(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> Result<()> {
    try_replace(fs, path, bytes)
        .map_err(|(Unreplaced::Full(error) | Unreplaced::Unknown(error))| error)
}

/// Why a file was not replaced.
#[derive(Debug)]
pub(crate) enum Unreplaced {
    /// There was no room for the new one; the old one is as it was.
    Full(Error),
    /// Which of the two files is there is unknown.
    Unknown(Error),
}

/// As [`replace`], but says whether the old file is surely as it was.
pub(crate) fn try_replace(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> Result<(), Unreplaced> {
    let temp = temp_name(path);
    remove_stale(fs, path).map_err(Unreplaced::Unknown)?;
    let written = fs.create_new(&temp).map_err(|e| ("create", e)).and_then(|file| {
        file.write_all_at(bytes, 0).map_err(|e| ("write", e))?;
        file.sync().map_err(|e| ("sync", e))
    });
    let full = matches!(&written, Err((_, e)) if is_full(e));
    let renamed = written.and_then(|()| fs.rename(&temp, path).map_err(|e| ("rename", e)));
    if let Err((op, e)) = renamed {
        // Gives a full disk its room back. If this fails too, the next call removes it.
        let _ = fs.remove(&temp);
        let error = Error::io(op, &temp, e);
        return Err(if full { Unreplaced::Full(error) } else { Unreplaced::Unknown(error) });
    }
    let dir = folder(path);
    fs.sync_dir(dir).map_err(|e| Unreplaced::Unknown(Error::io("sync", dir, e)))
}

/// Copies a file to a name that must not exist, durably but for the name. Blocks of zeros are not
/// written, so that a segment's preallocated end takes no room.
pub(crate) fn copy(fs: &dyn Fs, from: &Path, to: &Path) -> Result<()> {
    let source = fs.open_read(from).map_err(|e| Error::io("open", from, e))?;
    let len = source.len().map_err(|e| Error::io("stat", from, e))?;
    let copy = fs.create_new(to).map_err(|e| Error::io("create", to, e))?;
    let mut block = Zeroizing::new(vec![0; COPIED]);
    let mut at = 0;
    while at < len {
        let read = match source.read_at(&mut block, at) {
            Ok(0) => break,
            Ok(read) => read.min(COPIED),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io("read", from, e)),
        };
        let held = block.get(..read).unwrap_or_default();
        if held.iter().any(|byte| *byte != 0) {
            copy.write_all_at(held, at).map_err(|e| Error::io("write", to, e))?;
        }
        at = at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
    copy.set_len(at).map_err(|e| Error::io("truncate", to, e))?;
    copy.sync().map_err(|e| Error::io("sync", to, e))
}

/// Removes the temporary file that a crash within [`replace`] left behind.
pub(crate) fn remove_stale(fs: &dyn Fs, path: &Path) -> Result<()> {
    remove_if_there(fs, &temp_name(path))
}

/// Removes a file that may be gone already.
pub(crate) fn remove_if_there(fs: &dyn Fs, path: &Path) -> Result<()> {
    match fs.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// The folder that holds `path`.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

fn temp_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}
