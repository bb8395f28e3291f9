use core::fmt;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{File, FileId, Fs, Lock, folder};

mod content;
mod disk;
mod handle;
mod journal;
mod names;
mod prng;
#[cfg(test)]
mod tests;

use disk::{Disk, Node, When};
use handle::{SimFile, SimLock};
use journal::Journal;
use names::NameChange;

/// A disk in memory that fails and loses power on demand, to test recovery with.
///
/// A clone is another handle on the same disk. Paths begin at its root, with or without a leading
/// `/`; there are no symbolic links and no permissions. The same calls always give the same.
///
/// # What survives
///
/// A disk keeps what programs see apart from what is durable. [`File::sync`] makes a file's bytes
/// and length durable, and [`Fs::sync_dir`] the names in a folder; nothing else makes anything
/// durable. [`after_power_cut`](Self::after_power_cut) gives the disk that comes up again. What
/// became of all that was not durable is drawn for each file and folder on its own, so that a
/// name may survive without the bytes that were written first, and the other way round. A sector
/// of 512 bytes survives whole or not at all, and so does a rename: a durable name is never lost
/// to one. [`after_kill`](Self::after_kill) gives the same disk to the next process instead.
///
/// # Faults
///
/// Operations are counted from 0: each call of a method of [`Fs`] or [`File`], where
/// [`Fs::create_dir_all`] is the calls that it makes, and dropping is none. A write that fails, or
/// that the power cut comes amid, may have been done in part. After a sync that failed, what
/// should have become durable is lost or not, and a later sync that succeeds does not change
/// that, as on Linux. Any other operation that fails did nothing.
///
/// # Security
///
/// Made for tests: the memory is not wiped.
///
/// # Examples
///
/// A counter that must never go back. Whichever operation is the last before the power cut, and
/// whatever the disk makes of what it was not told to sync, the counter is the old or the new one;
/// once `save` returned, the new one.
///
/// ```
/// use std::io;
/// use std::path::Path;
/// use nodeseal::fs::{Fs, Loss, SimFs};
///
/// fn save(fs: &dyn Fs, counter: u64) -> io::Result<()> {
///     let temp = Path::new("counter.tmp");
///     match fs.remove(temp) {
///         Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
///         _ => {}
///     }
///     let file = fs.create_new(temp)?;
///     file.write_all_at(&counter.to_le_bytes(), 0)?;
///     file.sync()?; // without this, or
///     fs.rename(temp, Path::new("counter"))?;
///     fs.sync_dir(Path::new(".")) // without this, the loop below fails
/// }
///
/// fn load(fs: &dyn Fs) -> io::Result<u64> {
///     let mut bytes = [0; 8];
///     let read = fs.open_read(Path::new("counter"))?.read_at(&mut bytes, 0)?;
///     assert_eq!(read, bytes.len());
///     Ok(u64::from_le_bytes(bytes))
/// }
///
/// let disk = SimFs::new();
/// save(&disk, 1)?;
/// let operations = disk.operations();
///
/// for last in 0..=operations {
///     let disk = SimFs::new();
///     disk.write_file(Path::new("counter"), &1_u64.to_le_bytes())?;
///     disk.cut_at(last);
///     let saved = save(&disk, 2);
///     for loss in Loss::ALL {
///         for seed in 0..16 {
///             let disk = disk.after_power_cut(*loss, seed);
///             let counter = load(&disk)?;
///             assert!(counter == 2 || (counter == 1 && saved.is_err()));
///             save(&disk, 3)?; // and it goes on from there
///         }
///     }
/// }
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct SimFs {
    disk: Arc<Mutex<Disk>>,
}

/// What a power cut makes of all that was not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// It is gone.
    Dropped,
    /// It is there: the system wrote it back in time.
    Kept,
    /// Of each file the first writes survive, up to some sector of 512 bytes; of each folder the
    /// first changes of names. The seed draws how many.
    Torn,
    /// Each sector, each length and each change of a name survives or not. The seed tosses.
    Reordered,
}

impl Loss {
    /// Every kind of loss, to loop over.
    pub const ALL: &'static [Self] = &[Self::Dropped, Self::Kept, Self::Torn, Self::Reordered];
}

impl SimFs {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many operations there were.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Lets one operation fail with an error of this kind: 0 the next one, 1 the one after it, and
    /// so on. Those after it work again. May be called for several.
    ///
    /// `StorageFull` stands for a full disk (`ENOSPC`), `Other` for a broken one (`EIO`).
    pub fn fail_at(&self, n: u64, kind: io::ErrorKind) {
        let mut disk = self.disk();
        let at = disk.operations.saturating_add(n);
        disk.failures.insert(at, kind);
    }

    /// Cuts the power amid an operation: 0 the next one, 1 the one after it, and so on. It and all
    /// later ones fail.
    pub fn cut_at(&self, n: u64) {
        let mut disk = self.disk();
        disk.cut = Some(disk.operations.saturating_add(n));
    }

    /// The disk as it comes up after a power cut now, or where [`cut_at`](Self::cut_at) cut it.
    ///
    /// It is a new disk: without locks and faults, its operations counted from 0. This one stays
    /// as it is. The seed matters for [`Loss::Torn`] and [`Loss::Reordered`].
    #[must_use]
    pub fn after_power_cut(&self, loss: Loss, seed: u64) -> Self {
        let survivor = self.disk().survivor(loss, seed);
        Self { disk: Arc::new(Mutex::new(survivor)) }
    }

    /// The disk as the next process finds it when this one was killed while the system went on.
    ///
    /// Everything is there, and what was not durable is so no more than before: a process that
    /// relies on what it finds must sync it first. As with
    /// [`after_power_cut`](Self::after_power_cut) it is a new disk.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let next = self.disk().after_kill();
        Self { disk: Arc::new(Mutex::new(next)) }
    }

    /// A file's bytes as programs see them; `None` if there is no such file. Neither counts nor
    /// fails.
    #[must_use]
    pub fn read_file(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.disk();
        let content = disk.file(disk.find(path).ok()?).ok()?.live();
        let mut bytes = vec![0; usize::try_from(content.len()).ok()?];
        content.read_at(&mut bytes, 0);
        Some(bytes)
    }

    /// Puts a file on the disk, or other bytes in one that is there, durable at once like the
    /// folders above it that it creates. Neither counts nor fails on demand.
    ///
    /// # Errors
    ///
    /// `IsADirectory` or `NotADirectory`, if the path does not allow it.
    pub fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.disk().put(path, bytes)
    }

    /// All files, sorted, each with its path from the root (`/`). Neither counts nor fails.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let disk = self.disk();
        let named = disk.walk().into_iter().filter(|(_, inode)| !disk.is_folder(*inode));
        named.map(|(path, _)| path).collect()
    }

    /// Lets something happen once, between the next sync of a file and its caller's going on: what
    /// another thread might do then.
    #[cfg(test)]
    pub(crate) fn after_sync(&self, call: impl FnOnce() + Send + 'static) {
        self.disk().after_sync = Some(Box::new(call));
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation and, unless it fails, does it.
    fn operation<T>(&self, work: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk();
        disk.begin().map_err(|fault| fault.error)?;
        work(&mut disk)
    }

    fn open(&self, path: &Path, writable: bool) -> io::Result<Box<dyn File>> {
        let inode = self.operation(|disk| {
            let inode = disk.find(path)?;
            disk.file(inode).map(|_| inode)
        })?;
        Ok(Box::new(SimFile { fs: self.clone(), inode, writable }))
    }
}

impl Fs for SimFs {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let inode = self.operation(|disk| disk.create(path, Node::file(b"")))?;
        Ok(Box::new(SimFile { fs: self.clone(), inode, writable: true }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open(path, false)
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open(path, true)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation(|disk| {
            if folder(from) != folder(to) {
                return Err(io::ErrorKind::CrossesDevices.into());
            }
            disk.rename(from, to)
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operation(|disk| {
            let inode = disk.find(path)?;
            disk.file(inode)?;
            let (folder, name) = disk.find_name(path)?;
            disk.folder_mut(folder)?.make(NameChange::Remove { name });
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let begun = disk.begin();
        let names = disk.find(dir).and_then(|inode| disk.folder_mut(inode));
        match begun {
            Ok(()) => names.map(Journal::sync),
            Err(fault) => {
                if let Ok(names) = names
                    && fault.when == When::Failed
                {
                    names.fail_sync();
                }
                Err(fault.error)
            }
        }
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.operation(|disk| disk.create(dir, Node::folder()).map(drop))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.operation(|disk| {
            if !disk.folder(disk.find(dir)?)?.live().is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let (folder, name) = disk.find_name(dir)?;
            disk.folder_mut(folder)?.make(NameChange::Remove { name });
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.operation(|disk| {
            let names = disk.folder(disk.find(dir)?)?.live();
            let files = names.iter().filter(|(_, inode)| !disk.is_folder(*inode));
            Ok(files.map(|(name, _)| name.clone()).collect())
        })
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let locked = self.operation(|disk| {
            let inode = match disk.find(path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    disk.create(path, Node::file(b""))?
                }
                found => found?,
            };
            if disk.is_folder(inode) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            Ok(disk.lock(inode, false).then_some(inode))
        })?;
        Ok(locked.map(|inode| Box::new(SimLock { fs: self.clone(), inode }) as Box<dyn Lock>))
    }

    fn try_lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let locked = self.operation(|disk| {
            let inode = disk.find(path)?;
            disk.file(inode)?;
            Ok(disk.lock(inode, true).then_some(inode))
        })?;
        Ok(locked.map(|inode| Box::new(SimLock { fs: self.clone(), inode }) as Box<dyn Lock>))
    }

    fn id_of(&self, path: &Path) -> io::Result<Option<FileId>> {
        self.operation(|disk| Ok(Some(FileId::new(0, disk.find(path)?))))
    }

    fn try_lock_open(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let locked = self.operation(|disk| {
            let inode = disk.find(path)?;
            disk.file(inode)?;
            Ok(disk.lock(inode, false).then_some(inode))
        })?;
        Ok(locked.map(|inode| Box::new(SimLock { fs: self.clone(), inode }) as Box<dyn Lock>))
    }
}

/// Counts only: what is on the disk may be secret.
impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.paths().len();
        write!(f, "SimFs({files} files, {} operations)", self.operations())
    }
}
