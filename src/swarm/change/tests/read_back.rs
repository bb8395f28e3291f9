//! What is written is read again before anything that it replaces goes.

use std::ffi::OsString;
use std::io;

use super::*;
use crate::fs::{File, Fs, Lock};

/// A disk that flips a bit in files whose name ends so, and says that all is well.
#[derive(Debug)]
struct Flipping {
    disk: SimFs,
    end: &'static str,
}

#[derive(Debug)]
struct FlippingFile(Box<dyn File>);

impl File for FlippingFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut altered = buf.to_vec();
        if let Some(byte) = altered.get_mut(40) {
            *byte ^= 1;
        }
        self.0.write_all_at(&altered, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

impl Fs for Flipping {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = self.disk.create_new(path)?;
        let hit = path.to_string_lossy().ends_with(self.end);
        Ok(if hit { Box::new(FlippingFile(file)) } else { file })
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.disk.open_read(path)
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.disk.open_write(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.disk.list(dir)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.try_lock(path)
    }

    fn try_lock_open(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.try_lock_open(path)
    }
}

#[test]
fn what_does_not_read_back_replaces_nothing() {
    let folder = load("1-autolocked");
    let files = |disk: &SimFs| -> Vec<_> {
        disk.paths().into_iter().map(|path| (disk.read_file(&path), path)).collect()
    };
    let before = files(&folder.disk);
    // The snapshot, the segment.
    for end in [".snap.tmp", "1.tmp"] {
        let fs = Flipping { disk: folder.disk.clone(), end };
        let mut manager =
            Manager::open_in(Arc::new(fs), Path::new(DIR), folder.key.as_ref()).unwrap();
        manager.segment_size = 1 << 16;
        let error = manager.apply(Change::RotateDek, &mut |_| {}).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("just written"), "{error}");
        assert!(files(&folder.disk) == before, "{end}");
    }
}
