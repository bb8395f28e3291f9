//! A disk on which something happens before each operation.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

use nodeseal::fs::{File, Fs, Lock, SimFs};

/// An operation that makes a program wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A file is read.
    Read,
    /// A file is written.
    Write,
    /// A file, or a directory, is made durable.
    Sync,
    /// A file is created, opened, renamed or removed, or a directory is listed.
    Name,
}

type Before = Arc<dyn Fn(Operation) + Send + Sync>;

#[derive(Clone)]
pub struct Hooked {
    pub disk: SimFs,
    before: Before,
}

struct HookedFile {
    file: Box<dyn File>,
    before: Before,
}

impl Hooked {
    pub fn new(before: impl Fn(Operation) + Send + Sync + 'static) -> Self {
        Self { disk: SimFs::new(), before: Arc::new(before) }
    }

    fn file(&self, file: io::Result<Box<dyn File>>) -> io::Result<Box<dyn File>> {
        Ok(Box::new(HookedFile { file: file?, before: Arc::clone(&self.before) }))
    }

    fn named(&self) -> &SimFs {
        (self.before)(Operation::Name);
        &self.disk
    }
}

impl Fs for Hooked {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.file(self.named().create_new(path))
    }
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.file(self.named().open_read(path))
    }
    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.file(self.named().open_write(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.named().rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.named().remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        (self.before)(Operation::Sync);
        self.disk.sync_dir(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.named().create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.named().list(dir)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.named().try_lock(path)
    }
}

impl File for HookedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        (self.before)(Operation::Read);
        self.file.read_at(buf, offset)
    }
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        (self.before)(Operation::Write);
        self.file.write_all_at(buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        (self.before)(Operation::Sync);
        self.file.sync()
    }
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.disk.fmt(f)
    }
}

impl std::fmt::Debug for HookedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}
