//! Files below a folder, through handles of folders: no name is ever looked up twice, and no
//! symbolic link is followed.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use subtle::ConstantTimeEq;

use crate::error::{Error, Misuse, Result};
use crate::secret::SecretBytes;

/// Where files are written before they get their names. No target begins so.
pub(super) const STAGING: &str = ".nodeseal";
/// How deep folders are, at most.
const MAX_DEPTH: usize = 32;
/// Written over what is to be forgotten, again and again.
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// One file that is to be there.
pub(super) struct Item<'a> {
    pub(super) target: &'a str,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) content: &'a [u8],
}

/// A folder that holds files of secrets, by its handle.
pub(super) struct Tree {
    root: OwnedFd,
    /// For errors.
    path: PathBuf,
}

impl Tree {
    pub(super) fn new(root: OwnedFd, path: &Path) -> Self {
        Self { root, path: path.to_owned() }
    }

    pub(super) const fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// The items whose files are not as they should be.
    pub(super) fn changed<'i, 'a>(&self, items: &'i [Item<'a>]) -> Result<Vec<&'i Item<'a>>> {
        let mut changed = Vec::new();
        for item in items {
            if !self.is(item)? {
                changed.push(item);
            }
        }
        Ok(changed)
    }

    /// Makes every item's file what it says. All are written before the first one gets its name,
    /// each of them with one rename: who reads a file finds the old one or the new one, whole.
    pub(super) fn put(&self, items: &[&Item<'_>]) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        self.clear_staging()?;
        let staging = make_dir(&self.root, STAGING, Mode::RWXU)
            .map_err(|e| self.error("create", STAGING, e))?;
        let placed = self.stage_and_name(&staging, items);
        drop(staging);
        // What did not get its name is wiped, also after an error, which counts more than this one's.
        let cleared = self.clear_staging();
        placed.and(cleared)
    }

    fn stage_and_name(&self, staging: &OwnedFd, items: &[&Item<'_>]) -> Result<()> {
        let mut folders = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            let (name, folder) = self.folder_of(item.target, true)?;
            write_new(staging, &n.to_string(), item)
                .map_err(|(op, e)| self.refused(op, item, e))?;
            folders.push((name, folder));
        }
        for (n, (item, (name, folder))) in items.iter().zip(&folders).enumerate() {
            fs::renameat(staging, n.to_string(), folder, *name)
                .map_err(|e| self.error("rename", item.target, e))?;
        }
        Ok(())
    }

    /// Whether an item's file is there as it should be.
    fn is(&self, item: &Item<'_>) -> Result<bool> {
        let (name, folder) = match self.folder_of(item.target, false) {
            Err(Error::Missing(_)) => return Ok(false),
            found => found?,
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match fs::openat(&folder, name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::LOOP | Errno::ACCESS) => return Ok(false),
            opened => opened.map_err(|e| self.error("open", item.target, e))?,
        };
        let stat = fs::fstat(&file).map_err(|e| self.error("stat", item.target, e))?;
        let same = is_file(&stat)
            && (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777) == (item.uid, item.gid, item.mode)
            && usize::try_from(stat.st_size).is_ok_and(|len| len == item.content.len());
        if !same {
            return Ok(false);
        }
        let mut found = SecretBytes::new();
        found.resize(item.content.len());
        let mut rest = found.expose_mut();
        while !rest.is_empty() {
            match rustix::io::read(&file, &mut *rest) {
                Ok(0) => return Ok(false),
                Ok(read) => rest = rest.get_mut(read..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(e) => return Err(self.error("read", item.target, e)),
            }
        }
        Ok(found.expose().ct_eq(item.content).into())
    }

    /// The last part of a target, and the folder that it stands in; with `create`, folders that are
    /// missing are made.
    fn folder_of<'a>(&self, target: &'a str, create: bool) -> Result<(&'a str, OwnedFd)> {
        let mut parts = parts(target)?;
        let name = parts.pop().unwrap_or_default();
        let mut folder = open_dir(&self.root, ".").map_err(|e| self.error("open", target, e))?;
        for part in parts {
            if create {
                match make_dir(&folder, part, Mode::from_raw_mode(0o755)) {
                    Err(Errno::EXIST) => {}
                    Err(e) => return Err(self.error("create", target, e)),
                    Ok(made) => {
                        folder = made;
                        continue;
                    }
                }
            }
            folder = open_dir(&folder, part).map_err(|e| self.error("open", target, e))?;
        }
        Ok((name, folder))
    }

    /// Wipes and removes what a process that was killed left behind before it had a name.
    pub(super) fn clear_staging(&self) -> Result<()> {
        match remove(&self.root, STAGING, 0) {
            Err(Errno::NOENT) | Ok(()) => Ok(()),
            Err(e) => Err(self.error("wipe", STAGING, e)),
        }
    }

    /// Overwrites and removes every file that is not an item's, and the folders that are then empty.
    pub(super) fn retain(&self, items: &[Item<'_>]) -> Result<()> {
        let targets: BTreeSet<&[u8]> = items.iter().map(|item| item.target.as_bytes()).collect();
        remove_others(&self.root, &mut Vec::new(), &targets, 0)
            .map_err(|e| Error::io("wipe", &self.path, io::Error::from(e)))
    }

    /// Overwrites and removes everything below the folder. Goes on after an error, and gives the
    /// first one.
    pub(super) fn wipe(&self) -> Result<()> {
        remove_content(&self.root, 0).map_err(|e| Error::io("wipe", &self.path, io::Error::from(e)))
    }

    fn error(&self, op: &'static str, name: &str, error: Errno) -> Error {
        Error::io(op, &self.path.join(name), io::Error::from(error))
    }

    fn refused(&self, op: &'static str, item: &Item<'_>, error: Errno) -> Error {
        if op == "chown" && error == Errno::INVAL {
            let found = format!("uid {}, gid {}", item.uid, item.gid);
            return Error::Unsupported { what: "owner in this user namespace", found };
        }
        self.error(op, item.target, error)
    }
}

/// The parts of a target: what leads out of the folder, or to the folder's own files, is refused,
/// whoever checked it before.
fn parts(target: &str) -> Result<Vec<&str>> {
    let parts: Vec<&str> = target.split('/').collect();
    let fits = |part: &&str| {
        !matches!(*part, "" | "." | "..") && part.len() <= 255 && !part.contains('\0')
    };
    let own = parts.first() == Some(&STAGING);
    if parts.len() > MAX_DEPTH || !parts.iter().all(fits) || own {
        return Err(Misuse::OutOfBounds("a target's path").into());
    }
    Ok(parts)
}

/// Creates a file with its content, owner and mode.
fn write_new(folder: &OwnedFd, name: &str, item: &Item<'_>) -> Result<(), (&'static str, Errno)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR).map_err(|e| ("create", e))?;
    let mut rest = item.content;
    while !rest.is_empty() {
        match rustix::io::write(&file, rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(e) => return Err(("write", e)),
        }
    }
    let (uid, gid) = (fs::Uid::from_raw(item.uid), fs::Gid::from_raw(item.gid));
    fs::fchown(&file, Some(uid), Some(gid)).map_err(|e| ("chown", e))?;
    // After the owner, whose change may take bits away.
    fs::fchmod(&file, Mode::from_raw_mode(item.mode)).map_err(|e| ("chmod", e))
}

/// Makes a folder that is not there yet, of exactly this mode.
pub(super) fn make_dir(folder: &OwnedFd, name: &str, mode: Mode) -> Result<OwnedFd, Errno> {
    fs::mkdirat(folder, name, mode)?;
    let made = open_dir(folder, name)?;
    fs::fchmod(&made, mode)?;
    Ok(made)
}

/// Opens a folder; not through a symbolic link.
pub(super) fn open_dir(folder: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(folder, name, flags, Mode::empty())
}

/// The names in a folder.
pub(super) fn names(folder: &OwnedFd) -> Result<Vec<std::ffi::CString>, Errno> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn remove_content(folder: &OwnedFd, depth: usize) -> Result<(), Errno> {
    let mut first = Ok(());
    for name in names(folder)? {
        let removed = remove(folder, &*name, depth);
        first = first.and(removed);
    }
    first
}

fn remove_others(
    folder: &OwnedFd,
    path: &mut Vec<u8>,
    targets: &BTreeSet<&[u8]>,
    depth: usize,
) -> Result<(), Errno> {
    let mut first = Ok(());
    for name in names(folder)? {
        let len = path.len();
        path.extend_from_slice(name.to_bytes());
        let below = [path.as_slice(), b"/"].concat();
        let removed = if targets.contains(path.as_slice()) {
            Ok(())
        } else if targets.iter().any(|target| target.starts_with(&below)) && depth < MAX_DEPTH {
            path.push(b'/');
            open_dir(folder, &*name)
                .and_then(|inner| remove_others(&inner, path, targets, depth + 1))
        } else {
            remove(folder, &*name, depth)
        };
        first = first.and(removed);
        path.truncate(len);
    }
    first
}

/// Removes what has a name, files after they were overwritten.
fn remove(
    folder: &OwnedFd,
    name: impl rustix::path::Arg + Copy,
    depth: usize,
) -> Result<(), Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let stat = fs::statat(folder, name, flags)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        if depth == MAX_DEPTH {
            return Err(Errno::NAMETOOLONG);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = fs::openat(folder, name, flags, Mode::empty())?;
        let emptied = remove_content(&inner, depth + 1);
        drop(inner);
        return emptied.and(fs::unlinkat(folder, name, AtFlags::REMOVEDIR));
    }
    let overwritten = if is_file(&stat) { overwrite(folder, name) } else { Ok(()) };
    overwritten.and(fs::unlinkat(folder, name, AtFlags::empty()))
}

/// Writes zeros over a file, unless it has another name: then it is not ours alone.
fn overwrite(folder: &OwnedFd, name: impl rustix::path::Arg + Copy) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match fs::openat(folder, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // Its mode lets not even its owner write.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let path = fs::openat(folder, name, flags, Mode::empty())?;
            let own = format!("/proc/thread-self/fd/{}", path.as_raw_fd());
            fs::chmod(&own, Mode::RUSR | Mode::WUSR)?;
            fs::open(&own, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?
        }
        opened => opened?,
    };
    let stat = fs::fstat(&file)?;
    if !is_file(&stat) || stat.st_nlink > 1 {
        return Ok(());
    }
    let len = u64::try_from(stat.st_size).unwrap_or(0);
    let mut at = 0;
    while at < len {
        let left = usize::try_from(len - at).unwrap_or(usize::MAX).min(ZEROS.len());
        match rustix::io::pwrite(&file, ZEROS.get(..left).unwrap_or_default(), at) {
            Ok(written) => at += u64::try_from(written).unwrap_or(0),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Targets are checked when they are made; here they are checked again, where files are opened.
    #[test]
    fn a_path_that_leads_elsewhere_has_no_parts() {
        assert_eq!(parts("a/b").unwrap(), ["a", "b"]);
        let deep = ["d"; MAX_DEPTH + 1].join("/");
        let long = "x".repeat(256);
        for path in
            ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/./b", "a\0b", &deep, &long]
        {
            assert!(parts(path).is_err(), "{path:?}");
        }
        assert!(parts(STAGING).is_err() && parts(".nodeseal/0").is_err());
    }
}
