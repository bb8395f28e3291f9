//! Makes the last segment that an opening found durable.
//!
//! Its bytes, and its name, may not be: a process that was killed may have left them so, and after a
//! failed fsync another one proves nothing. So every byte is written again, and the name is given
//! again; none of that needs room on the disk. The segments before it were durable before it was begun;
//! those that a rotation replaced are not relied on until they are replaced again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names;
use super::read::read_exact;
use super::replay::Found;
use crate::error::{Error, Result};
use crate::fs::{self, File, Fs};
use crate::secret::SecretBytes;
use crate::wal::Appender;

/// How much is written at once, in bytes.
const BLOCK: u64 = 1 << 20;

/// Settles the last segment, and returns it to be appended to. With `keep`, what is behind the log's
/// end is copied to `<segment>.broken` before it is overwritten.
pub(super) fn settle(fs: &dyn Fs, dir: &Path, found: &mut Found, keep: bool) -> Result<Appender> {
    let gone = || Error::damaged("no segment").in_file(dir);
    let path = found.last_path().ok_or_else(gone)?;
    let file: Arc<dyn File> = fs.open_write(&path).map_err(|e| Error::io("open", &path, e))?.into();
    let len = file.len().map_err(|e| Error::io("stat", &path, e))?;
    if !found.clean && keep {
        keep_broken(fs, dir, &path)?;
    }
    match write_again(&*file, &path, found, len) {
        // Such a disk takes nothing new, but what there is can still be read.
        Err(Error::Io { source, .. }) if fs::is_full(&source) => {}
        written => written?,
    }
    file.sync().map_err(|e| Error::io("sync", &path, e))?;
    let path = name_again(fs, path)?;
    fs.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
    if let Some(segment) = found.index.segments.get_mut(&found.last) {
        (segment.path, segment.settled) = (path.clone(), true);
    }
    let allocated = len.max(found.end);
    Ok(Appender::new(file, path, (found.end, allocated), found.chain))
}

/// Writes what counts as it is, and zeros over what does not.
fn write_again(file: &dyn File, path: &Path, found: &Found, len: u64) -> Result<()> {
    let mut block = SecretBytes::new();
    let mut at = 0;
    let end = if found.clean { found.end } else { len.max(found.end) };
    while at < end {
        let stop = if at < found.end { found.end } else { end };
        let count = usize::try_from((stop - at).min(BLOCK)).unwrap_or(0);
        block.resize(count);
        if at < found.end {
            read_exact(file, path, at, block.expose_mut())?;
        } else {
            block.expose_mut().fill(0);
        }
        file.write_all_at(block.expose(), at).map_err(|e| Error::io("write", path, e))?;
        at += u64::try_from(count).unwrap_or(u64::MAX);
    }
    Ok(())
}

/// Gives a segment its name again, by way of another one. A crash in between leaves it under that
/// one, where it is found.
fn name_again(fs: &dyn Fs, path: PathBuf) -> Result<PathBuf> {
    let (settling, path) = match names::settled(&path) {
        Some(name) => (path, name),
        None => {
            let settling = names::settling(&path);
            match fs.rename(&path, &settling) {
                // There is no room for the other name.
                Err(e) if fs::is_full(&e) => return Ok(path),
                renamed => renamed.map_err(|e| Error::io("rename", &path, e))?,
            }
            (settling, path)
        }
    };
    fs.rename(&settling, &path).map_err(|e| Error::io("rename", &settling, e))?;
    Ok(path)
}

/// Copies a segment beside itself, once.
fn keep_broken(fs: &dyn Fs, dir: &Path, path: &Path) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".broken");
    let copy = PathBuf::from(name);
    if fs.open_read(&copy).is_ok() {
        return Ok(());
    }
    let copied = fs::copy(fs, path, &copy);
    if copied.is_err() {
        // Gives a full disk its room back.
        let _ = fs.remove(&copy);
    }
    copied?;
    fs.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))
}
