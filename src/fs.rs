//! The one seam for files.
//!
//! Everything that this crate writes to a disk passes [`Fs`]: the real one ([`RealFs`]) or one in
//! memory that loses power and fails on demand ([`SimFs`]), with which an author can test his own
//! recovery too.

use core::fmt;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

mod real;
mod sim;

pub use real::RealFs;
pub use sim::{Loss, SimFs};

/// A file system.
///
/// Paths are used as they are given. Every method maps to one operation of the operating system,
/// whose error it returns.
pub trait Fs: fmt::Debug + Send + Sync {
    /// Creates a file that must not exist, readable and writable by its owner alone (0600).
    ///
    /// # Errors
    ///
    /// `AlreadyExists`, or what the system says.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens a file to read it.
    ///
    /// # Errors
    ///
    /// `NotFound`, or what the system says.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens a file to read and write it.
    ///
    /// # Errors
    ///
    /// `NotFound`, or what the system says.
    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Renames a file, atomically replacing what has the new name.
    ///
    /// # Errors
    ///
    /// What the system says.
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

    /// Creates a folder (0700) and those above it.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names of the plain files in a folder, sorted.
    ///
    /// # Errors
    ///
    /// `NotFound`, or what the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Takes the exclusive lock on a lock file, creating it where it is missing. `None`: another
    /// holds it, in this process or in another. Dropping the guard releases it.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
}

/// An open file.
pub trait File: fmt::Debug + Send + Sync {
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

    /// Reads at most `buf.len()` bytes from `offset`; 0 at the end.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `buf` at `offset`, growing the file where needed.
    ///
    /// # Errors
    ///
    /// What the system says; how much was written is unknown then.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file's bytes and length durable.
    ///
    /// # Errors
    ///
    /// What the system says. What is durable is then unknown, also after a later success.
    fn sync(&self) -> io::Result<()>;
}

/// Holds a lock until it is dropped.
pub trait Lock: fmt::Debug + Send + Sync {}

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read(fs: &dyn Fs, path: &Path, limit: usize) -> Result<Vec<u8>> {
    let file = fs.open_read(path).map_err(|e| Error::io("open", path, e))?;
    let len = file.len().map_err(|e| Error::io("stat", path, e))?;
    let len = usize::try_from(len)
        .ok()
        .filter(|len| *len <= limit)
        .ok_or(Error::damaged("the file is larger than its format allows").in_file(path))?;
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        let offset = u64::try_from(filled).unwrap_or(u64::MAX);
        match file.read_at(&mut bytes[filled..], offset) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("read", path, e)),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Replaces a file, so that after a crash either the old or the new one is there, whole.
///
/// Writes a temporary file beside it, syncs it, renames it over, syncs the folder. The temporary
/// file has a fixed name, so the caller must hold the lock that guards `path`; one left behind by
/// a crash is removed first.
pub(crate) fn replace(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> Result<()> {
    let temp = temp_name(path);
    remove_stale(fs, path)?;
    let file = fs.create_new(&temp).map_err(|e| Error::io("create", &temp, e))?;
    file.write_all_at(bytes, 0).map_err(|e| Error::io("write", &temp, e))?;
    file.sync().map_err(|e| Error::io("sync", &temp, e))?;
    drop(file);
    fs.rename(&temp, path).map_err(|e| Error::io("rename", &temp, e))?;
    let dir = folder(path);
    fs.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))
}

/// Removes the temporary file that a crash within [`replace`] left behind.
pub(crate) fn remove_stale(fs: &dyn Fs, path: &Path) -> Result<()> {
    let temp = temp_name(path);
    match fs.remove(&temp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &temp, e)),
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
