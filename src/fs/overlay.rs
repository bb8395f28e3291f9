//! A file system seen through changes that stay in memory: what would happen, without its happening.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{File, Fs, Lock, folder};
use crate::secret::SecretBytes;

/// How much is held in one piece and copied at once, in bytes.
const BLOCK: usize = 64 << 10;

/// Reads from another file system and keeps every change to itself.
///
/// A file that is written to is held in memory, once. Folders are not renamed, and a lock file that
/// is missing is not made: its lock is always free.
#[derive(Debug)]
pub(crate) struct Overlay {
    below: Arc<dyn Fs>,
    above: Mutex<Above>,
}

#[derive(Debug, Default)]
struct Above {
    /// `None`: it is gone, whatever is below.
    files: BTreeMap<PathBuf, Option<Content>>,
    folders: BTreeSet<PathBuf>,
}

impl Overlay {
    pub(crate) fn over(below: Arc<dyn Fs>) -> Self {
        Self { below, above: Mutex::default() }
    }

    fn above(&self) -> MutexGuard<'_, Above> {
        self.above.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is above of a file: nothing, that it is gone, or its content.
    fn known(&self, path: &Path) -> Option<Option<Content>> {
        self.above().files.get(path).cloned()
    }

    fn put(&self, path: &Path, content: Option<Content>) {
        self.above().files.insert(path.to_owned(), content);
    }

    /// The content of a file, which is above from now on.
    fn raise(&self, path: &Path) -> io::Result<Content> {
        let below = match self.known(path) {
            Some(Some(content)) => return Ok(content),
            Some(None) => return Err(ErrorKind::NotFound.into()),
            None => self.below.open_read(path)?,
        };
        let content = Content::default();
        let (mut block, mut at) = (SecretBytes::new(), 0);
        block.resize(BLOCK);
        loop {
            let read = match below.read_at(block.expose_mut(), at) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read == 0 {
                break;
            }
            content.write_all_at(block.expose().get(..read).unwrap_or_default(), at)?;
            at = at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        }
        self.put(path, Some(content.clone()));
        Ok(content)
    }
}

impl Fs for Overlay {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        match self.open_read(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
            Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
        }
        self.list(folder(path))?;
        let content = Content::default();
        self.put(path, Some(content.clone()));
        Ok(Box::new(content))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>> {
        match self.known(path) {
            Some(Some(content)) => Ok(Box::new(content)),
            Some(None) => Err(ErrorKind::NotFound.into()),
            None => self.below.open_read(path),
        }
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.raise(path).map(|content| Box::new(content) as Box<dyn File>)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if folder(from) != folder(to) {
            return Err(ErrorKind::CrossesDevices.into());
        }
        let content = self.raise(from)?;
        self.put(to, Some(content));
        self.put(from, None);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.open_read(path)?;
        self.put(path, None);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        match self.list(dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
            Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
        }
        self.list(folder(dir))?;
        self.above().folders.insert(dir.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let above = self.above();
        let mut names = match self.below.list(dir) {
            Err(_) if above.folders.contains(dir) => Vec::new(),
            listed => listed?,
        };
        for (path, content) in above.files.iter().filter(|(path, _)| folder(path) == dir) {
            let Some(name) = path.file_name() else { continue };
            names.retain(|other| other != name);
            if content.is_some() {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        match self.below.open_read(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Some(Box::new(Free))),
            Err(e) => Err(e),
            Ok(_) => self.below.try_lock(path),
        }
    }
}

/// The lock of a file that is not there.
#[derive(Debug)]
struct Free;

impl Lock for Free {}

/// A file's bytes in pieces, so that one that grows is not copied. Wiped in the end.
#[derive(Debug, Clone, Default)]
struct Content(Arc<Mutex<Pieces>>);

#[derive(Debug, Default)]
struct Pieces {
    pieces: Vec<SecretBytes>,
    len: u64,
}

impl Content {
    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pieces {
    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let block = u64::try_from(BLOCK).map_err(io::Error::other)?;
        let count = usize::try_from(len.div_ceil(block)).map_err(io::Error::other)?;
        self.pieces.resize_with(count, || {
            let mut piece = SecretBytes::with_capacity(BLOCK);
            piece.resize(BLOCK);
            piece
        });
        if let Some(last) = self.pieces.last_mut().filter(|_| len < self.len) {
            let used = usize::try_from(len % block).map_err(io::Error::other)?;
            last.expose_mut().get_mut(used..).filter(|_| used > 0).unwrap_or_default().fill(0);
        }
        self.len = len;
        Ok(())
    }

    /// The piece that has the byte at `offset`, and where in it.
    fn at(&mut self, offset: u64) -> Option<&mut [u8]> {
        let block = u64::try_from(BLOCK).ok()?;
        let piece = self.pieces.get_mut(usize::try_from(offset / block).ok()?)?;
        piece.expose_mut().get_mut(usize::try_from(offset % block).ok()?..)
    }
}

impl File for Content {
    fn len(&self) -> io::Result<u64> {
        Ok(self.pieces().len)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut pieces = self.pieces();
        let rest = usize::try_from(pieces.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let held = pieces.at(offset).unwrap_or_default();
        let read = held.len().min(buf.len()).min(rest);
        let (to, from) = (buf.get_mut(..read), held.get(..read));
        to.unwrap_or_default().copy_from_slice(from.unwrap_or_default());
        Ok(read)
    }

    fn write_all_at(&self, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
        let mut pieces = self.pieces();
        let more = u64::try_from(buf.len()).map_err(io::Error::other)?;
        let end = offset.checked_add(more).ok_or(ErrorKind::FileTooLarge)?;
        if end > pieces.len {
            pieces.set_len(end)?;
        }
        while !buf.is_empty() {
            let room = pieces.at(offset).ok_or(ErrorKind::UnexpectedEof)?;
            let count = room.len().min(buf.len());
            let (now, later) = buf.split_at(count);
            room.get_mut(..count).unwrap_or_default().copy_from_slice(now);
            offset = offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            buf = later;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.pieces().set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::SimFs;
    use super::*;

    fn names(fs: &dyn Fs) -> Vec<String> {
        let names = fs.list(Path::new("/d")).unwrap();
        names.into_iter().map(|name| name.into_string().unwrap()).collect()
    }

    fn read(fs: &dyn Fs, name: &str) -> Option<Vec<u8>> {
        super::super::read(fs, Path::new(name), 100).ok()
    }

    #[test]
    fn changes_are_seen_above_and_nothing_is_changed_below() {
        let below = SimFs::new();
        for name in ["/d/kept", "/d/written", "/d/renamed", "/d/removed"] {
            below.write_file(Path::new(name), name.as_bytes()).unwrap();
        }
        let top = Overlay::over(Arc::new(below.clone()));
        let at = |name: &'static str| Path::new(name);
        assert_eq!(names(&top), names(&below));

        top.open_write(at("/d/written")).unwrap().write_all_at(b"NEW", 3).unwrap();
        top.rename(at("/d/renamed"), at("/d/other")).unwrap();
        top.remove(at("/d/removed")).unwrap();
        top.create_new(at("/d/made")).unwrap().write_all_at(b"made", 0).unwrap();
        top.rename(at("/d/made"), at("/d/kept")).unwrap();
        top.sync_dir(at("/d")).unwrap();
        assert_eq!(names(&top), ["kept", "other", "written"]);
        assert_eq!(read(&top, "/d/written").unwrap(), b"/d/NEWtten");
        assert_eq!(read(&top, "/d/other").unwrap(), b"/d/renamed");
        assert_eq!(read(&top, "/d/kept").unwrap(), b"made");
        for name in ["/d/removed", "/d/renamed", "/d/made"] {
            assert!(read(&top, name).is_none(), "{name}");
            assert_eq!(top.remove(at(name)).unwrap_err().kind(), ErrorKind::NotFound);
        }
        assert_eq!(top.create_new(at("/d/kept")).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(top.create_dir(at("/d")).unwrap_err().kind(), ErrorKind::AlreadyExists);
        top.create_new(at("/d/removed")).unwrap();

        // The lock that another holds is met, and one that is not there is not made.
        let held = below.try_lock(at("/d/written")).unwrap().unwrap();
        assert!(top.try_lock(at("/d/written")).unwrap().is_none());
        drop(held);
        let _lock = top.try_lock(at("/d/lock")).unwrap().unwrap();
        assert!(!names(&below).contains(&"lock".to_owned()));

        assert_eq!(names(&below), ["kept", "removed", "renamed", "written"]);
        assert_eq!(read(&below, "/d/written").unwrap(), b"/d/written");
    }

    #[test]
    fn a_files_content_is_what_was_written_last() {
        let top = Overlay::over(Arc::new(SimFs::new()));
        top.create_dir(Path::new("/d")).unwrap();
        let file = top.create_new(Path::new("/d/file")).unwrap();
        let mut expected = Vec::new();
        let block = u64::try_from(BLOCK).unwrap();
        for (at, len, byte) in
            [(0, 10, 1), (block - 5, 10, 2), (3 * block + 7, 100_000, 3), (block, 1, 4)]
        {
            let bytes = vec![byte; len];
            file.write_all_at(&bytes, at).unwrap();
            let start = usize::try_from(at).unwrap();
            expected.resize(expected.len().max(start + len), 0);
            expected[start..start + len].fill(byte);
        }
        let whole = || {
            let mut bytes = Vec::new();
            let mut block = [0; 50_000];
            loop {
                let at = u64::try_from(bytes.len()).unwrap();
                match file.read_at(&mut block, at).unwrap() {
                    0 => return bytes,
                    read => bytes.extend_from_slice(&block[..read]),
                }
            }
        };
        assert!(whole() == expected);
        // What is cut off does not come back.
        for len in [block + 3, 2 * block, 0, 20] {
            file.set_len(len).unwrap();
            let len = usize::try_from(len).unwrap();
            expected.resize(len, 0);
            assert!(whole() == expected, "{len}");
        }
    }
}
