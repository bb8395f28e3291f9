//! The folder below which every task has its own.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;

use super::mountinfo::{self, Mount};
use super::report::{Missing, Report};
use super::tree::{self, Item, Tree};
use super::{Options, mount};
use crate::error::{Error, Misuse, Result};
use crate::fs::{Fs, Lock, RealFs};
use crate::key::valid_name;
use crate::process::Process;

/// Shows that the folder is one of deliveries, and keeps others out.
const LOCK: &str = "nodeseal.lock";
/// Room for the largest payload, in bytes.
const ROOM: u64 = 512 << 10;
const TMPFS_MAGIC: u64 = 0x0102_1994;
const RAMFS_MAGIC: u64 = 0x8584_58f6;
const SEEN: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

pub(super) struct Folder {
    base: OwnedFd,
    path: PathBuf,
    options: Options,
    /// The process that may write.
    process: Process,
    _lock: Box<dyn Lock>,
}

/// Where one task's files stand.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Its files, writable.
    pub(super) tree: Tree,
    pub(super) report: Report,
}

impl Folder {
    pub(super) fn open(path: PathBuf, options: Options) -> Result<Self> {
        RealFs.create_dir_all(&path).map_err(|e| Error::io("create", &path, e))?;
        let base = fs::open(&path, SEEN, Mode::empty()).map_err(failed("open", &path))?;
        let stat = fs::fstat(&base).map_err(failed("stat", &path))?;
        if stat.st_mode & 0o077 != 0 || stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(Misuse::State("the folder of deliveries is not its owner's alone").into());
        }
        let names = tree::names(&base).map_err(failed("list", &path))?;
        if !names.is_empty() && !names.iter().any(|name| name.to_bytes() == LOCK.as_bytes()) {
            return Err(Misuse::State("the folder holds what is not of deliveries").into());
        }
        if options.in_place && !options.disk && !in_memory(&base).map_err(failed("stat", &path))? {
            return Err(Error::NotInMemory(path));
        }
        let lock = path.join(LOCK);
        match RealFs.try_lock(&lock) {
            Ok(Some(held)) => {
                Ok(Self { base, path, options, process: Process::current(), _lock: held })
            }
            Ok(None) => Err(Error::Busy(lock)),
            Err(e) => Err(Error::io("lock", &lock, e)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails in a forked process.
    pub(super) fn own(&self) -> Result<()> {
        self.process.check()
    }

    /// Lays files out in a place that does not exist yet. After an error nothing is left of it.
    pub(super) fn create(&self, name: &str, items: &[Item<'_>]) -> Result<Place> {
        valid_name("task", name)?;
        if name == LOCK {
            return Err(Misuse::Name("task").into());
        }
        let mut targets = BTreeSet::new();
        if !items.iter().all(|item| targets.insert(item.target)) {
            return Err(Misuse::State("two secrets for one target").into());
        }
        let items: Vec<&Item<'_>> = items.iter().collect();
        let items = items.as_slice();
        if self.options.in_place { self.in_place(name, items) } else { self.mounted(name, items) }
    }

    fn in_place(&self, name: &str, items: &[&Item<'_>]) -> Result<Place> {
        let path = self.path.join(name);
        let tree = Tree::new(self.make(name, &path, 0o755)?, &path);
        let report = tree.put(items).and_then(|()| self.report(name, None));
        match report {
            Ok(report) => Ok(Place { name: name.to_owned(), path, tree, report }),
            Err(error) => {
                // The first error says why. What could not be removed either, `recover` finds.
                let _ = tree.wipe();
                let _ = self.take_away(name);
                Err(error)
            }
        }
    }

    fn mounted(&self, name: &str, items: &[&Item<'_>]) -> Result<Place> {
        let path = self.path.join(name);
        let count = u64::try_from(items.len()).unwrap_or(u64::MAX).max(1);
        // Every file twice, for the time in which a new version stands beside the one before.
        let bytes = self.options.size.unwrap_or_else(|| count.saturating_mul(2 * ROOM));
        let parts: usize = items.iter().map(|item| item.target.split('/').count()).sum();
        let inodes = u64::try_from(parts).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(8);
        let tmpfs = mount::tmpfs(bytes, inodes).map_err(failed("mount a tmpfs for", &path))?;
        if tmpfs.swaps.is_some() && self.options.no_swap {
            return Err(Error::unsupported("tmpfs", "noswap was not taken"));
        }
        // As long as it is attached nowhere, it is gone with its handles, whatever fails.
        let root = tree::open_dir(&tmpfs.mount, ".").map_err(failed("open", &path))?;
        let detached = Tree::new(root, &path);
        if let Err(error) = detached.put(items) {
            let _ = detached.wipe();
            return Err(error);
        }
        drop(self.make(name, &path, 0o700)?);
        let attached = mount::attach(&tmpfs.mount, &self.base, name)
            .and_then(|writable| tree::open_dir(&writable, "."))
            .map_err(failed("attach the tmpfs to", &path))
            .and_then(|root| {
                let tree = Tree::new(root, &path);
                match self.report(name, Some(tree.root())) {
                    Ok(report) => Ok((tree, report)),
                    Err(error) => {
                        let _ = tree.wipe();
                        Err(error)
                    }
                }
            });
        match attached {
            Ok((tree, report)) => Ok(Place { name: name.to_owned(), path, tree, report }),
            Err(error) => {
                let _ = detached.wipe();
                let _ = self.take_away(name);
                Err(error)
            }
        }
    }

    /// The names of the tasks that have a place.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for name in tree::names(&self.base).map_err(failed("list", &self.path))? {
            let stat = fs::statat(&self.base, &*name, AtFlags::SYMLINK_NOFOLLOW);
            let folder = stat.is_ok_and(|stat| fs::FileType::from_raw_mode(stat.st_mode).is_dir());
            if let (true, Ok(name)) = (folder, name.into_string()) {
                found.push(name);
            }
        }
        found.sort();
        Ok(found)
    }

    /// A place that is there already, and whether its files stand where they should: in a mount of
    /// their own, or in place.
    pub(super) fn reopen(&self, name: &str) -> Result<(Place, bool)> {
        let path = self.path.join(name);
        let seen = fs::openat(&self.base, name, SEEN, Mode::empty());
        let seen = seen.map_err(failed("open", &path))?;
        let mounted = self.is_mount(&seen).map_err(|e| Error::io("stat", &path, e))?;
        let root = if mounted {
            let mount = Mount::of(&seen).map_err(|e| Error::io("stat", &path, e))?;
            if !mount.is_whole("tmpfs", mount::SOURCE) {
                return Err(Misuse::State("what is mounted there is not of deliveries").into());
            }
            mount::reopen(&seen)
                .and_then(|writable| tree::open_dir(&writable, "."))
                .map_err(failed("open", &path))?
        } else {
            seen
        };
        let report = self.report(name, mounted.then_some(&root))?;
        let tree = Tree::new(root, &path);
        Ok((Place { name: name.to_owned(), path, tree, report }, mounted != self.options.in_place))
    }

    /// Wipes a place's files and removes it. Goes on after an error, and gives the first one.
    pub(super) fn remove(&self, place: Place) -> Result<()> {
        let wiped = place.tree.wipe();
        let Place { name, tree, .. } = place;
        drop(tree);
        wiped.and(self.take_away(&name))
    }

    fn make(&self, name: &str, path: &Path, mode: u32) -> Result<OwnedFd> {
        match tree::make_dir(&self.base, name, Mode::from_raw_mode(mode)) {
            Err(Errno::EXIST) => Err(Error::Exists(path.to_owned())),
            made => made.map_err(failed("create", path)),
        }
    }

    /// Unmounts what is on a name and removes the name.
    fn take_away(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        let seen = fs::openat(&self.base, name, SEEN, Mode::empty());
        let seen = seen.map_err(failed("open", &path))?;
        let mounted = self.is_mount(&seen).map_err(|e| Error::io("stat", &path, e))?;
        drop(seen);
        if mounted {
            mount::detach(&self.base, name).map_err(failed("unmount", &path))?;
        }
        fs::unlinkat(&self.base, name, AtFlags::REMOVEDIR).map_err(failed("remove", &path))
    }

    fn is_mount(&self, seen: &OwnedFd) -> io::Result<bool> {
        Ok(mountinfo::id(seen)? != mountinfo::id(&self.base)?)
    }

    /// What holds for the files below `name`, as one sees it who comes by the name; for a mount of
    /// their own, which must be that of `own`.
    fn report(&self, name: &str, own: Option<&OwnedFd>) -> Result<Report> {
        let path = self.path.join(name);
        let stat = |e| failed("stat", &path)(e);
        let seen = fs::openat(&self.base, name, SEEN, Mode::empty()).map_err(stat)?;
        let mount = Mount::of(&seen).map_err(|e| Error::io("stat", &path, e))?;
        let mut missing = Vec::new();
        if let Some(own) = own {
            let device = |folder: &OwnedFd| fs::fstat(folder).map(|stat| stat.st_dev);
            if device(own).map_err(stat)? != device(&seen).map_err(stat)? {
                return Err(Misuse::State("something else is mounted over the tmpfs").into());
            }
            if mount.shared {
                missing.push(Missing::Private);
            }
        } else {
            missing.push(Missing::OwnMount);
        }
        if !in_memory(&seen).map_err(stat)? {
            missing.push(Missing::Memory);
        } else if mount.kind == "tmpfs" && !mount.has("noswap") {
            missing.push(Missing::NoSwap { swap_in_use: mountinfo::swap_in_use() });
        }
        let set = fs::fstatvfs(&seen).map_err(stat)?.f_flag;
        for (flag, name) in [
            (StatVfsMountFlags::RDONLY, "ro"),
            (StatVfsMountFlags::NODEV, "nodev"),
            (StatVfsMountFlags::NOSUID, "nosuid"),
            (StatVfsMountFlags::NOEXEC, "noexec"),
        ] {
            if !set.contains(flag) {
                missing.push(Missing::Flag(name));
            }
        }
        Ok(Report { missing })
    }
}

/// Whether a folder is on a file system that stores nothing on a disk.
fn in_memory(folder: &OwnedFd) -> Result<bool, Errno> {
    let kind = u64::try_from(fs::fstatfs(folder)?.f_type).unwrap_or(0);
    Ok(matches!(kind & 0xffff_ffff, TMPFS_MAGIC | RAMFS_MAGIC))
}

fn failed(op: &'static str, path: &Path) -> impl FnOnce(Errno) -> Error {
    move |error| Error::io(op, path, io::Error::from(error))
}
