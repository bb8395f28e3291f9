//! Disks that are served, attached, formatted and mounted, and that are always taken away again.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::disk::Disk;
use crate::fuse;

/// A file system under test.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileSystem {
    pub(crate) name: &'static str,
    kind: &'static str,
    make: &'static [&'static str],
    options: &'static str,
    /// Of the disk, in bytes: small, but as large as it must be.
    size: u64,
}

/// With blocks of a page, so that a request of the loop device becomes one write.
const EXT4: &[&str] = &[
    "-q",
    "-F",
    "-b",
    "4096",
    "-J",
    "size=4",
    "-E",
    "nodiscard,lazy_itable_init=0,lazy_journal_init=0",
];

pub(crate) const FILE_SYSTEMS: [FileSystem; 4] = [
    FileSystem { name: "ext4", kind: "ext4", make: EXT4, options: "loop", size: 64 << 20 },
    FileSystem {
        name: "ext4-writeback",
        kind: "ext4",
        make: EXT4,
        options: "loop,data=writeback",
        size: 64 << 20,
    },
    FileSystem {
        name: "xfs",
        kind: "xfs",
        make: &["-q", "-f", "-K"],
        options: "loop,nouuid",
        size: 320 << 20,
    },
    FileSystem {
        name: "btrfs",
        kind: "btrfs",
        make: &["-q", "-f", "-K"],
        options: "loop",
        size: 256 << 20,
    },
];

/// Runs a command that may take a minute.
fn run(program: &str, arguments: &[&str], stdin: Stdio) -> Result<String, String> {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "60", program]).args(arguments).stdin(stdin);
    let out = command.output().map_err(|e| format!("{program}: {e}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
    }
    Err(format!("{program}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim()))
}

/// Runs `test` again in a mount namespace of its own: what it mounts goes with its last process,
/// whatever ends that. `false` if this is that run.
pub(crate) fn in_namespace(test: &str) -> bool {
    const INSIDE: &str = "NODESEAL_DISK_INSIDE";
    if std::env::var_os(INSIDE).is_some() || !usable() {
        return false;
    }
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    true
}

/// Whether this machine can do it; what is missing is said.
pub(crate) fn usable() -> bool {
    let root = run("id", &["-u"], Stdio::null()).is_ok_and(|id| id == "0");
    let device = |name: &str| Path::new(name).exists();
    let usable = root && device("/dev/fuse") && device("/dev/loop-control");
    if !usable {
        eprintln!("SKIPPED: needs root, /dev/fuse and loop devices");
    }
    usable
}

impl FileSystem {
    pub(crate) fn is_there(&self) -> bool {
        let there = run(&format!("mkfs.{}", self.kind), &["-V"], Stdio::null());
        there.inspect_err(|e| eprintln!("SKIPPED: {}: {e}", self.name)).is_ok()
    }

    /// Mounts a file by way of a loop device, which goes when it is unmounted.
    pub(crate) fn mount(&self, file: &Path, at: &Path) -> Result<Mounted, String> {
        fs::create_dir_all(at).map_err(|e| e.to_string())?;
        let (file, dir) = (file.to_str().unwrap(), at.to_str().unwrap());
        run("mount", &["-t", self.kind, "-o", self.options, file, dir], Stdio::null())?;
        Ok(Mounted(at.to_owned()))
    }
}

/// A mount point.
#[derive(Debug)]
pub(crate) struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let dir = self.0.to_str().unwrap();
        let mut unmounted = Ok(String::new());
        for _ in 0..20 {
            unmounted = run("umount", &[dir], Stdio::null());
            if unmounted.is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let lazily = run("umount", &["-l", dir], Stdio::null());
        eprintln!("{unmounted:?}, lazily: {lazily:?}");
    }
}

/// A recorded disk with a file system on it. What was set up last is taken away first.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) disk: Arc<Mutex<Disk>>,
    pub(crate) system: FileSystem,
    mounted: Option<Mounted>,
    /// The file that is the disk.
    file: PathBuf,
    served: Option<Mounted>,
    server: Option<JoinHandle<()>>,
    /// Where the file system's files are.
    pub(crate) root: PathBuf,
    /// A file whose content is how many events were recorded.
    pub(crate) position: PathBuf,
}

impl Device {
    pub(crate) fn new(system: FileSystem, dir: &Path) -> Result<Self, String> {
        let disk = Arc::new(Mutex::new(Disk::of(system.size)));
        let serves = dir.join("fuse");
        fs::create_dir_all(&serves).map_err(|e| e.to_string())?;
        let fuse = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let fuse = fuse.map_err(|e| format!("/dev/fuse: {e}"))?;
        let handle = fuse.try_clone().map_err(|e| e.to_string())?;
        // The kernel takes its end of the connection from the mounting process's standard input.
        let options = "fd=0,rootmode=40000,user_id=0,group_id=0";
        let at = serves.to_str().unwrap();
        run("mount", &["-i", "-t", "fuse", "-o", options, "nodeseal", at], Stdio::from(handle))?;
        let served = Some(Mounted(serves.clone()));
        let shared = Arc::clone(&disk);
        let server = Some(thread::spawn(move || fuse::serve(&fuse, &shared)));
        let mut device = Self {
            disk,
            system,
            mounted: None,
            file: serves.join("disk"),
            served,
            server,
            root: dir.join("mounted"),
            position: serves.join("position"),
        };
        let arguments = [system.make, &[device.file.to_str().unwrap()]].concat();
        run(&format!("mkfs.{}", system.kind), &arguments, Stdio::null())?;
        device.mount()?;
        Ok(device)
    }

    pub(crate) fn mount(&mut self) -> Result<(), String> {
        self.mounted = Some(self.system.mount(&self.file, &self.root)?);
        Ok(())
    }

    pub(crate) fn unmount(&mut self) {
        self.mounted = None;
    }

    /// Writes out everything that the kernel holds.
    pub(crate) fn sync(&self) {
        run("sync", &["-f", self.root.to_str().unwrap()], Stdio::null()).unwrap();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.mounted = None;
        self.served = None;
        if let Some(server) = self.server.take()
            && server.join().is_err()
        {
            eprintln!("the server of the disk panicked");
        }
    }
}
