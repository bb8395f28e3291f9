//! A tmpfs of a few MiB.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Unmounted when it is dropped.
pub(crate) struct Tmpfs {
    dir: TempDir,
}

impl Tmpfs {
    /// `None` where it cannot be mounted; the output then says so.
    #[expect(clippy::explicit_write, reason = "the test runner keeps what `eprintln!` writes")]
    pub(crate) fn mount(mebibytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let arguments = ["-t", "tmpfs", "-o", &size, "nodeseal-test"];
        let mounted = Command::new("mount").args(arguments).arg(dir.path()).output();
        match mounted {
            Ok(out) if out.status.success() => Some(Self { dir }),
            other => {
                writeln!(std::io::stderr(), "SKIPPED: no tmpfs here: {other:?}").unwrap();
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        let out = Command::new("mount").args(["-o", &options]).arg(self.path()).output().unwrap();
        assert!(out.status.success(), "{out:?}");
    }

    /// Free room, in bytes.
    pub(crate) fn free(&self) -> u64 {
        let df = ["--output=avail", "-B1"];
        let out = Command::new("df").args(df).arg(self.path()).output().unwrap();
        String::from_utf8(out.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

/// Every file below a directory, and its content.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}
