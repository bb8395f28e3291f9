//! Makes the last segment that an opening found durable.
//!
//! Its bytes, and its name, may not be: a process that was killed may have left them so, and after a
//! failed fsync another one proves nothing. So it is copied, and the copy takes its name. Where there
//! is no room for a copy, every byte is written again in place, and the name is given again. That is
//! the second choice: where a write to a new block had failed, ext4 goes on taking the block for
//! unwritten, so that what is written there again reads as zeros after the next mount. The segments
//! before it were durable before it was begun; those that a rotation replaced are not relied on until
//! they are replaced again.

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
    match copy(fs, dir, &path, &*file, found) {
        Err(Error::Io { source, .. }) if fs::is_full(&source) => {}
        copied => {
            let (file, path) = copied?;
            if let Some(segment) = found.index.segments.get_mut(&found.last) {
                (segment.path, segment.settled) = (path.clone(), true);
            }
            return Ok(Appender::new(file, path, (found.end, found.end), found.chain));
        }
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

/// Copies what counts to a new file, which gets the segment's name.
fn copy(
    fs: &dyn Fs,
    dir: &Path,
    path: &Path,
    file: &dyn File,
    found: &Found,
) -> Result<(Arc<dyn File>, PathBuf)> {
    let temp = dir.join(names::SETTLING_COPY);
    fs::remove_if_there(fs, &temp)?;
    let copy: Arc<dyn File> =
        fs.create_new(&temp).map_err(|e| Error::io("create", &temp, e))?.into();
    let filled = fill(file, path, &*copy, &temp, found.end);
    if let Err(error) = filled {
        // Gives a full disk its room back.
        let _ = fs.remove(&temp);
        return Err(error);
    }
    let name = names::settled(path).unwrap_or_else(|| path.to_owned());
    fs.rename(&temp, &name).map_err(|e| Error::io("rename", &temp, e))?;
    if name != path {
        fs::remove_if_there(fs, path)?;
    }
    fs.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
    Ok((copy, name))
}

fn fill(file: &dyn File, path: &Path, copy: &dyn File, temp: &Path, end: u64) -> Result<()> {
    let mut block = SecretBytes::new();
    let mut at = 0;
    while at < end {
        block.resize(usize::try_from((end - at).min(BLOCK)).unwrap_or(0));
        read_exact(file, path, at, block.expose_mut())?;
        copy.write_all_at(block.expose(), at).map_err(|e| Error::io("write", temp, e))?;
        at += u64::try_from(block.len()).unwrap_or(u64::MAX);
    }
    copy.sync().map_err(|e| Error::io("sync", temp, e))
}

/// Writes what counts again as it is, and zeros over what does not.
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

/// Copies a segment beside itself, unless there is such a copy already. None takes the place of another.
fn keep_broken(fs: &dyn Fs, dir: &Path, path: &Path) -> Result<()> {
    let name = |n: u64| {
        let mut name = path.as_os_str().to_owned();
        name.push(".broken");
        if n > 0 {
            name.push(format!(".{n}"));
        }
        PathBuf::from(name)
    };
    let mut n = 0;
    while let Some(kept) = open_if_there(fs, &name(n))? {
        if same_bytes(fs, path, &*kept, &name(n))? {
            return Ok(());
        }
        n += 1;
    }
    // Under another name until it is whole.
    let temp = dir.join(names::SETTLING_COPY);
    fs::remove_if_there(fs, &temp)?;
    if let Err(error) = fs::copy(fs, path, &temp) {
        // Gives a full disk its room back.
        let _ = fs.remove(&temp);
        return Err(error);
    }
    fs.rename(&temp, &name(n)).map_err(|e| Error::io("rename", &temp, e))?;
    fs.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))
}

fn open_if_there(fs: &dyn Fs, path: &Path) -> Result<Option<Box<dyn File>>> {
    match fs.open_read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).map_err(|e| Error::io("open", path, e)),
    }
}

fn same_bytes(fs: &dyn Fs, path: &Path, other: &dyn File, other_path: &Path) -> Result<bool> {
    let file = fs.open_read(path).map_err(|e| Error::io("open", path, e))?;
    let len = file.len().map_err(|e| Error::io("stat", path, e))?;
    if other.len().map_err(|e| Error::io("stat", other_path, e))? != len {
        return Ok(false);
    }
    let (mut one, mut two) = (SecretBytes::new(), SecretBytes::new());
    let mut at = 0;
    while at < len {
        let count = usize::try_from((len - at).min(BLOCK)).unwrap_or(0);
        one.resize(count);
        two.resize(count);
        read_exact(&*file, path, at, one.expose_mut())?;
        read_exact(other, other_path, at, two.expose_mut())?;
        // What is in a segment is sealed.
        if one.expose() != two.expose() {
            return Ok(false);
        }
        at += u64::try_from(count).unwrap_or(u64::MAX);
    }
    Ok(true)
}
