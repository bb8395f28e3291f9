//! A tmpfs of its own for one task, through Linux's mount API (5.2 and newer).
//!
//! It is filled while it is nowhere: a process that is killed meanwhile leaves nothing. What is then
//! attached is read-only for everybody who comes by its name; a second mount of it, writable and
//! attached nowhere, stays with the process, for new versions and for wiping.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    mount_remount, move_mount, open_tree, unmount,
};

/// What our mounts are called in `/proc/thread-self/mountinfo`.
pub(super) const SOURCE: &str = "nodeseal";
/// How often what is mounted on a name is taken off, at most.
const MAX_STACKED: usize = 8;

/// A tmpfs that is attached nowhere.
pub(super) struct Detached {
    pub(super) mount: OwnedFd,
    /// Why the kernel did not take `noswap`; `None` if it did.
    pub(super) swaps: Option<Errno>,
}

/// Makes a tmpfs for at most `bytes` in at most `inodes` files and folders.
pub(super) fn tmpfs(bytes: u64, inodes: u64) -> Result<Detached, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", SOURCE)?;
    fsconfig_set_string(&context, "size", bytes.to_string())?;
    fsconfig_set_string(&context, "nr_inodes", inodes.to_string())?;
    // The task's own users pass; the folder above keeps others out.
    fsconfig_set_string(&context, "mode", "755")?;
    // Since 6.4, and only for the first user namespace's root.
    let swaps = fsconfig_set_flag(&context, "noswap").err();
    fsconfig_create(&context)?;
    let kept = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, kept)?;
    Ok(Detached { mount, swaps })
}

/// Puts a detached mount onto the folder `name`, read-only, and gives the writable mount of it.
pub(super) fn attach(mount: &OwnedFd, base: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    move_mount(mount, "", base, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    let writable = duplicate(mount)?;
    remount(mount, true)?;
    Ok(writable)
}

/// The writable mount of one that is attached, and perhaps read-only.
pub(super) fn reopen(mount: &OwnedFd) -> Result<OwnedFd, Errno> {
    remount(mount, false)?;
    let writable = duplicate(mount);
    remount(mount, true)?;
    writable
}

/// Takes what is mounted on the folder `name` off it. Who still uses it keeps it.
pub(super) fn detach(base: &OwnedFd, name: &str) -> Result<(), Errno> {
    let path = format!("/proc/thread-self/fd/{}/{name}", base.as_raw_fd());
    for _ in 0..MAX_STACKED {
        match unmount(path.as_str(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Err(Errno::INVAL) => return Ok(()), // nothing is mounted there
            unmounted => unmounted?,
        }
    }
    Err(Errno::BUSY)
}

fn duplicate(mount: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(mount, "", flags)
}

/// Says all flags again: those that a remount does not name, it takes away.
fn remount(mount: &OwnedFd, read_only: bool) -> Result<(), Errno> {
    let kept = MountFlags::BIND | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    let flags = if read_only { kept | MountFlags::RDONLY } else { kept };
    mount_remount(format!("/proc/thread-self/fd/{}", mount.as_raw_fd()), flags, "")
}
