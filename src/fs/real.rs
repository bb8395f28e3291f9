use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{ChangeTime, Dir, File, FileId, Fs, Lock, folder};

#[cfg(not(unix))]
compile_error!("nodeseal needs a unix system: elsewhere folders cannot be synced");

/// The operating system's.
///
/// The lock is `flock(2)`'s, but for [`Fs::try_lock_open`], which works on Linux with the feature
/// `swarm`. A forked child shares it until it ends or execs.
#[derive(Debug, Default, Clone, Copy)]
#[non_exhaustive]
pub struct RealFs;

impl Fs for RealFs {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile(create_new(path)?)))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>> {
        open(path, OpenOptions::new().read(true))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        open(path, OpenOptions::new().read(true).write(true))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if folder(from) != folder(to) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        open_dir(dir)?.sync_all()
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name());
            }
        }
        names.sort();
        Ok(names)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = match create_new(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                open_lock(path, OpenOptions::new().read(true).write(true))?
            }
            created => created?,
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(RealLock { _file: file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn try_lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = open_lock(path, OpenOptions::new().read(true))?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(Box::new(RealLock { _file: file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn id_of(&self, path: &Path) -> io::Result<Option<FileId>> {
        Ok(Some(id(&fs::symlink_metadata(path)?)))
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Option<Box<dyn Dir>>> {
        Ok(Some(Box::new(RealDir(open_dir(dir)?))))
    }

    #[cfg(all(feature = "swarm", target_os = "linux"))]
    fn try_lock_open(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        try_lock_open(path)
    }
}

#[cfg(all(feature = "swarm", target_os = "linux"))]
fn try_lock_open(path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
    use nix::errno::Errno;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    match ofd_lock(&file, true) {
        Ok(()) => Ok(Some(Box::new(OfdLock { file, owner: std::process::id() }))),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Sets or releases the lock of an open file over its whole length.
#[cfg(all(feature = "swarm", target_os = "linux"))]
fn ofd_lock(file: &fs::File, held: bool) -> nix::Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc::{F_UNLCK, F_WRLCK, SEEK_SET, flock};

    #[expect(clippy::cast_possible_truncation, reason = "the system's own constants")]
    let whole = flock {
        l_type: if held { F_WRLCK } else { F_UNLCK } as _,
        l_whence: SEEK_SET as _,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole)).map(drop)
}

/// Released as it is dropped, although a child that another thread has just forked still shares the
/// open file, until it execs; but not by such a child.
#[cfg(all(feature = "swarm", target_os = "linux"))]
#[derive(Debug)]
struct OfdLock {
    file: fs::File,
    owner: u32,
}

#[cfg(all(feature = "swarm", target_os = "linux"))]
impl Lock for OfdLock {}

#[cfg(all(feature = "swarm", target_os = "linux"))]
impl Drop for OfdLock {
    fn drop(&mut self) {
        if std::process::id() == self.owner {
            // If it fails, closing the file releases it.
            let _ = ofd_lock(&self.file, false);
        }
    }
}

/// `O_EXCL`, which never follows a symbolic link.
fn create_new(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

fn open(path: &Path, options: &OpenOptions) -> io::Result<Box<dyn File>> {
    let file = options.open(path)?;
    // A folder can be opened to read, and would fail only later.
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(Box::new(RealFile(file)))
}

fn open_dir(dir: &Path) -> io::Result<fs::File> {
    let dir = fs::File::open(dir)?;
    if !dir.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(dir)
}

/// Opens a lock file that exists. Creates nothing, not even where a symbolic link points.
fn open_lock(path: &Path, options: &OpenOptions) -> io::Result<fs::File> {
    let strange = || io::Error::new(io::ErrorKind::InvalidInput, "the lock is not a plain file");
    let named = fs::symlink_metadata(path)?;
    if !named.is_file() {
        return Err(strange());
    }
    let file = options.open(path)?;
    // The name may have become a link in between.
    if id(&file.metadata()?) != id(&named) {
        return Err(strange());
    }
    Ok(file)
}

fn id(metadata: &fs::Metadata) -> FileId {
    FileId::new(metadata.dev(), metadata.ino())
}

#[derive(Debug)]
struct RealDir(fs::File);

impl Dir for RealDir {
    fn changed(&self) -> io::Result<Option<ChangeTime>> {
        let found = self.0.metadata()?;
        Ok(Some(ChangeTime::new(found.ctime(), found.ctime_nsec())))
    }
}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn id(&self) -> io::Result<Option<FileId>> {
        Ok(Some(id(&self.0.metadata()?)))
    }

    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    /// Writes zeros: a file that only became longer would still have to be given its blocks, one
    /// change of the file system's own journal a write.
    fn allocate(&self, len: u64) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut at = self.len()?;
        while at < len {
            let rest = usize::try_from(len - at).unwrap_or(usize::MAX);
            let zeros = ZEROS.get(..rest).unwrap_or(&ZEROS);
            self.0.write_all_at(zeros, at)?;
            at += u64::try_from(zeros.len()).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// Closing the file releases the lock. Unlocking it would do so too, but a forked child that runs
/// its destructors would then unlock its parent's.
#[derive(Debug)]
struct RealLock {
    _file: fs::File,
}

impl Lock for RealLock {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn only_the_owner_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        RealFs.create_new(&at("file")).unwrap();
        RealFs.try_lock(&at("lock")).unwrap().unwrap();
        RealFs.create_dir_all(&at("a/b")).unwrap();
        assert_eq!(mode(&at("file")), 0o600);
        assert_eq!(mode(&at("lock")), 0o600);
        assert_eq!(mode(&at("a")), 0o700);
        assert_eq!(mode(&at("a/b")), 0o700);
    }

    #[cfg(all(feature = "swarm", target_os = "linux"))]
    #[test]
    fn an_open_files_lock_is_held_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let missing = RealFs.try_lock_open(&path).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        RealFs.create_new(&path).unwrap();
        let held = RealFs.try_lock_open(&path).unwrap();
        assert!(held.is_some() && RealFs.try_lock_open(&path).unwrap().is_none());
        // As etcd's readers do.
        RealFs.open_read(&path).unwrap();
        drop(held);
        assert!(RealFs.try_lock_open(&path).unwrap().is_some());

        // As a child has it that was forked and has not got to exec yet.
        let owner = std::process::id();
        let open = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let lock = |file| OfdLock { file, owner };
        let mine = lock(open());
        ofd_lock(&mine.file, true).unwrap();
        let shared = mine.file.try_clone().unwrap();
        let childs = OfdLock { file: shared.try_clone().unwrap(), owner: owner.wrapping_add(1) };
        drop(childs);
        assert!(RealFs.try_lock_open(&path).unwrap().is_none(), "the child's end is not the end");
        drop(mine);
        assert!(RealFs.try_lock_open(&path).unwrap().is_some());
        drop(shared);
    }

    #[test]
    fn nothing_is_created_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        symlink(at("target"), at("link")).unwrap();
        let taken = io::ErrorKind::AlreadyExists;
        assert_eq!(RealFs.create_new(&at("link")).unwrap_err().kind(), taken);
        assert_eq!(RealFs.create_dir(&at("link")).unwrap_err().kind(), taken);
        let refused = io::ErrorKind::InvalidInput;
        assert_eq!(RealFs.try_lock(&at("link")).unwrap_err().kind(), refused);
        assert!(!at("target").exists());

        RealFs.create_new(&at("target")).unwrap();
        assert_eq!(RealFs.try_lock(&at("link")).unwrap_err().kind(), refused);
        assert_eq!(RealFs.list(dir.path()).unwrap(), ["target"]);
    }

    #[test]
    fn a_replaced_link_does_not_touch_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        super::super::replace(&RealFs, &at("target"), b"theirs").unwrap();
        symlink(at("target"), at("keys.tmp")).unwrap();
        super::super::replace(&RealFs, &at("keys"), b"ours").unwrap();
        assert_eq!(fs::read(at("target")).unwrap(), b"theirs");
        assert_eq!(fs::read(at("keys")).unwrap(), b"ours");
        assert!(fs::symlink_metadata(at("keys")).unwrap().is_file());
    }
}
