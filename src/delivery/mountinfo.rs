//! What the kernel says of a mount, in `/proc/thread-self/mountinfo` (proc_pid_mountinfo(5)).

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    id: u64,
    /// Which part of the file system is mounted; `/` for all of it.
    root: String,
    options: Vec<String>,
    /// Whether what is mounted below it also appears elsewhere.
    pub(super) shared: bool,
    pub(super) kind: String,
    pub(super) source: String,
    super_options: Vec<String>,
}

impl Mount {
    /// The mount that an open file or folder is on.
    pub(super) fn of(file: &OwnedFd) -> io::Result<Self> {
        let id = id(file)?;
        let text = fs::read("/proc/thread-self/mountinfo")?;
        let mut lines = text.split(|byte| *byte == b'\n').filter_map(Self::parse);
        lines.find(|mount| mount.id == id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ');
        let id = fields.next()?.parse().ok()?;
        let root = fields.nth(2)?.to_owned();
        let options = list(fields.nth(1)?);
        let shared = fields.any(|field| field.starts_with("shared:"));
        let mut fields = after.split(' ');
        let (kind, source) = (fields.next()?.to_owned(), fields.next()?.to_owned());
        let super_options = list(fields.next()?);
        Some(Self { id, root, options, shared, kind, source, super_options })
    }

    /// Whether it is a whole file system of this kind and name.
    pub(super) fn is_whole(&self, kind: &str, source: &str) -> bool {
        self.root == "/" && self.kind == kind && self.source == source
    }

    /// Whether an option is set for the mount or for its file system.
    pub(super) fn has(&self, option: &str) -> bool {
        self.options.iter().chain(&self.super_options).any(|set| set == option)
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

/// The number of the mount that an open file or folder is on.
pub(super) fn id(file: &OwnedFd) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", file.as_raw_fd()))?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether any swap is in use; `None` if the kernel does not say.
pub(super) fn swap_in_use() -> Option<bool> {
    // One line of heading.
    fs::read_to_string("/proc/swaps").ok().map(|text| text.lines().count() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_and_without_optional_fields() {
        let line = b"63 43 0:39 / /run/a\\040b ro,nosuid,nodev shared:7 master:1 - tmpfs nodeseal rw,size=4k,noswap";
        let mount = Mount::parse(line).unwrap();
        assert_eq!((mount.id, mount.shared), (63, true));
        assert!(mount.is_whole("tmpfs", "nodeseal"));
        assert!(mount.has("nosuid") && mount.has("noswap") && !mount.has("noexec"));
        let line = b"27 1 254:0 /sub / rw,relatime - ext4 /dev/vda rw";
        let mount = Mount::parse(line).unwrap();
        assert!(!mount.shared && !mount.is_whole("ext4", "/dev/vda"));
        for short in ["", "1 2", "x 1 0:1 / / rw - a b c", "1 2 0:1 / / rw - tmpfs"] {
            assert_eq!(Mount::parse(short.as_bytes()), None, "{short:?}");
        }
    }
}
