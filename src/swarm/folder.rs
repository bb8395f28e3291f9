//! What lies in a manager's folder beside its state: the traces of crashes, repairs and upgrades.

use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::{Fs, Lock};
use crate::swarm::finding::{FindingKind, Findings, at};
use crate::wal;

/// The folders of older formats, whose content is not sealed.
const LEGACY: [&str; 4] = ["wal-v3", "snap-v3", "wal", "snap"];
/// Folders in which a conversion was being made.
const UNFINISHED: [&str; 2] = ["wal-v3-encrypted.tmp", "snap-v3-encrypted.tmp"];

/// The parts of a manager's folder.
pub(crate) struct Folder {
    pub(crate) certificates: PathBuf,
    pub(crate) raft: PathBuf,
    /// Whether snapshots are read, too, that Swarm set aside as damaged.
    pub(crate) set_aside: bool,
}

impl Folder {
    pub(crate) fn new(dir: &Path) -> Self {
        let (certificates, raft) = (dir.join("certificates"), dir.join("raft"));
        Self { certificates, raft, set_aside: false }
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.certificates.join("swarm-node.key")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.certificates.join("swarm-node.crt")
    }

    pub(crate) fn root_certificate(&self) -> PathBuf {
        self.certificates.join("swarm-root-ca.crt")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.raft.join("wal-v3-encrypted")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.raft.join("snap-v3-encrypted")
    }

    /// The locks on all segments, which a running dockerd holds; none where there is no log.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`], and what the system says.
    pub(crate) fn lock(&self, fs: &dyn Fs) -> Result<Vec<Box<dyn Lock>>> {
        let segments = match wal::list(fs, &self.log()) {
            Ok((segments, _)) => segments,
            Err(Error::Missing(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let take = |path: &PathBuf| {
            let lock = fs.try_lock_open(path).map_err(|e| Error::io("lock", path, e))?;
            lock.ok_or_else(|| Error::Busy(path.clone()))
        };
        segments.iter().map(|segment| take(&segment.path)).collect()
    }

    /// As [`Folder::lock`], for one that is only read: where nothing may be written no dockerd runs,
    /// and nothing is locked.
    ///
    /// # Errors
    ///
    /// As for [`Folder::lock`].
    pub(crate) fn lock_to_read(&self, fs: &dyn Fs) -> Result<Vec<Box<dyn Lock>>> {
        match self.lock(fs) {
            Err(Error::Io { source, .. })
                if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem) =>
            {
                Ok(Vec::new())
            }
            locked => locked,
        }
    }

    /// Reports what lies about in the folders other than those of log and snapshots.
    pub(crate) fn look_around(&self, fs: &dyn Fs, findings: &mut Findings) -> Result<()> {
        for name in names(fs, &self.certificates)?.unwrap_or_default() {
            let path = self.certificates.join(&name);
            let name = name.to_string_lossy();
            if name.starts_with(".tmp-") && name.contains(".key")
                || name == ".swarm-node.key"
                || name == "swarm-node.key.tmp"
            {
                let text = "a key file that a crash left behind; nothing removes it";
                findings.warn(FindingKind::StaleKeyFile, at(&path, None, None), text);
            } else if name.starts_with('.') {
                let text = "a certificate that a crash left behind";
                findings.note(FindingKind::Leftover, at(&path, None, None), text);
            }
        }
        for name in LEGACY {
            let path = self.raft.join(name);
            if names(fs, &path)?.is_some_and(|names| !names.is_empty()) {
                let text = "a folder of an older format, with its content in plaintext; nothing \
                            removes it";
                findings.warn(FindingKind::LegacyFolder, at(&path, None, None), text);
            }
        }
        for name in UNFINISHED {
            let path = self.raft.join(name);
            if names(fs, &path)?.is_some() {
                let text = "a folder that was being made from an older format";
                findings.note(FindingKind::Leftover, at(&path, None, None), text);
            }
        }
        Ok(())
    }
}

/// Reports the files in a folder of log or snapshots that are neither.
pub(crate) fn report_others(others: &[PathBuf], findings: &mut Findings) {
    for path in others {
        let place = at(path, None, None);
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        if name.ends_with(".broken") {
            let text = "a damaged file that was set aside with all that was in it; nothing \
                        removes it";
            findings.warn(FindingKind::Leftover, place, text);
        } else if name.ends_with(".tmp") {
            let text = "a temporary file of a manager that did not stop cleanly";
            findings.note(FindingKind::Leftover, place, text);
        } else {
            findings.warn(FindingKind::UnknownFile, place, "a file that Swarm does not put there");
        }
    }
}

/// The names in a folder; `None` when there is no such folder.
pub(crate) fn names(fs: &dyn Fs, dir: &Path) -> Result<Option<Vec<std::ffi::OsString>>> {
    match fs.list(dir).map_err(|e| Error::io("list", dir, e)) {
        Ok(names) => Ok(Some(names)),
        Err(Error::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
