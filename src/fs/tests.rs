use super::*;

mod agreement;
mod recovery;

#[test]
fn a_file_is_read_up_to_the_limit() {
    let disk = SimFs::new();
    let path = Path::new("keys");
    assert!(matches!(read(&disk, path, 10), Err(Error::Missing(p)) if p == path));
    disk.write_file(path, b"0123456789").unwrap();
    assert_eq!(read(&disk, path, 10).unwrap(), b"0123456789");
    match read(&disk, path, 9) {
        Err(Error::Damaged { place, .. }) => assert_eq!(place.file.as_deref(), Some(path)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_allocated_is_the_files_length_and_not_the_limit() {
    let disk = SimFs::new();
    disk.write_file(Path::new("keys"), &[7; 100]).unwrap();
    let bytes = read(&disk, Path::new("keys"), usize::MAX).unwrap();
    assert_eq!((bytes.len(), bytes.capacity()), (100, 100));
    // A length that cannot be held is refused before anything is allocated for it.
    let huge = disk.open_write(Path::new("keys")).unwrap();
    huge.set_len(1 << 62).unwrap();
    assert!(matches!(read(&disk, Path::new("keys"), 100), Err(Error::Damaged { .. })));
}

#[test]
fn an_interrupted_read_goes_on_and_a_failed_one_does_not() {
    let disk = SimFs::new();
    disk.write_file(Path::new("keys"), b"whole").unwrap();
    disk.fail_at(2, io::ErrorKind::Interrupted);
    assert_eq!(read(&disk, Path::new("keys"), 10).unwrap(), b"whole");
    disk.fail_at(2, io::ErrorKind::Other);
    assert!(matches!(read(&disk, Path::new("keys"), 10), Err(Error::Io { op: "read", .. })));
}

/// Reads in pieces of at most 3 bytes, and says that it is longer than it is.
#[derive(Debug)]
struct Reluctant(Box<dyn File>);

impl File for Reluctant {
    fn len(&self) -> io::Result<u64> {
        self.0.len().map(|len| len + 5)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let n = buf.len().min(3);
        self.0.read_at(&mut buf[..n], offset)
    }
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[derive(Debug)]
struct ReluctantFs(SimFs);

impl Fs for ReluctantFs {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.0.create_new(path)
    }
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Reluctant(self.0.open_read(path)?)))
    }
    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.0.open_write(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.0.list(dir)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.0.try_lock(path)
    }
}

#[test]
fn short_reads_and_a_shrunken_file_give_what_is_there() {
    let disk = SimFs::new();
    disk.write_file(Path::new("keys"), b"0123456789").unwrap();
    assert_eq!(read(&ReluctantFs(disk), Path::new("keys"), 15).unwrap(), b"0123456789");
}
