//! Removing what crashes, repairs and upgrades left behind.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::{self, Fs, RealFs};
use crate::key::UnlockKey;
use crate::swarm::finding::{FindingKind, Severity};
use crate::swarm::folder::{Folder, names};
use crate::swarm::inspect::inspect_in;

/// How much is overwritten at once, in bytes.
const BLOCK: usize = 64 << 10;

/// A file that was left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Leftover {
    /// The file.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::doctor::path_text"))]
    pub path: PathBuf,
    /// Length, in bytes.
    pub size: u64,
    /// Why it is not removed; `None`: it is.
    pub kept: Option<&'static str>,
}

/// The files in `dir` that crashes, repairs and upgrades left behind. Nothing is changed.
///
/// | file | removed |
/// |---|---|
/// | `.tmp-*`, `*.tmp` | always: a file that a crash left half-written |
/// | `*.broken` | if the state is whole: else it may hold what is missing |
/// | all in `wal-v3`, `snap-v3`, `wal`, `snap` | if the state is whole: else it may not have been taken over |
/// | `.swarm-node.crt`, `.swarm-node.key` | never: Swarm may need them at its start |
///
/// # Errors
///
/// [`Error::KeyRequired`] and [`Error::WrongKey`]: without the keys it is not known whether the
/// state is whole. [`Error::Missing`], [`Error::Damaged`] for the key file, [`Error::Io`].
pub fn leftovers(dir: impl AsRef<Path>, key: Option<&UnlockKey>) -> Result<Vec<Leftover>> {
    leftovers_in(&RealFs::default(), dir.as_ref(), key)
}

/// As [`leftovers`], through a given file system.
///
/// # Errors
///
/// As for [`leftovers`].
pub fn leftovers_in(fs: &dyn Fs, dir: &Path, key: Option<&UnlockKey>) -> Result<Vec<Leftover>> {
    let found = inspect_in(fs, dir, key)?;
    if let Some(error) = found.locked_by {
        return Err(error);
    }
    let whole = found.findings.iter().all(|finding| finding.severity < Severity::Error);
    let may_be_missed =
        (!whole).then_some("the state is not whole, and this may be what is missing");
    let mut left = Vec::new();
    for finding in &found.findings {
        let Some(path) = &finding.place.file else { continue };
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let kept = match finding.kind {
            FindingKind::LegacyFolder => may_be_missed,
            FindingKind::StaleKeyFile | FindingKind::Leftover => {
                if name.starts_with(".tmp-") || name.ends_with(".tmp") {
                    None
                } else if name.ends_with(".broken") {
                    may_be_missed
                } else {
                    Some("Swarm may need it at its start")
                }
            }
            _ => continue,
        };
        // A folder, or a file.
        let files = match names(fs, path) {
            Ok(names) => {
                names.unwrap_or_default().into_iter().map(|name| path.join(name)).collect()
            }
            Err(_) => vec![path.clone()],
        };
        for path in files {
            let file = fs.open_read(&path).map_err(|e| Error::io("open", &path, e))?;
            let size = file.len().map_err(|e| Error::io("stat", &path, e))?;
            left.push(Leftover { path, size, kept });
        }
    }
    Ok(left)
}

/// Removes what [`leftovers`] says is removed, and returns all of it. Folders stay, empty.
///
/// A file's bytes are overwritten with zeros before it is unlinked, where they are not zeros.
///
/// # Security
///
/// Overwriting is a best effort. File systems that copy on write, snapshots, journals, backups and
/// a disk's own spare blocks may keep what was there: what stood in the clear is to be counted as
/// exposed, and changed.
///
/// # Errors
///
/// As for [`leftovers`]; [`Error::Busy`] while a daemon uses the folder. After a failure some files
/// are removed and the others are whole, but for one that may be overwritten in part.
pub fn clean(dir: impl AsRef<Path>, key: Option<&UnlockKey>) -> Result<Vec<Leftover>> {
    clean_in(&RealFs::default(), dir.as_ref(), key)
}

/// As [`clean`], through a given file system.
///
/// # Errors
///
/// As for [`clean`].
pub fn clean_in(fs: &dyn Fs, dir: &Path, key: Option<&UnlockKey>) -> Result<Vec<Leftover>> {
    let _locks = Folder::new(dir).lock(fs)?;
    let left = leftovers_in(fs, dir, key)?;
    for Leftover { path, .. } in left.iter().filter(|one| one.kept.is_none()) {
        overwrite(fs, path)?;
        fs::remove_if_there(fs, path)?;
        let folder = fs::folder(path);
        fs.sync_dir(folder).map_err(|e| Error::io("sync", folder, e))?;
    }
    Ok(left)
}

/// Writes zeros over all that is not zero, without filling the holes of a sparse file.
fn overwrite(fs: &dyn Fs, path: &Path) -> Result<()> {
    let file = fs.open_write(path).map_err(|e| Error::io("open", path, e))?;
    let len = file.len().map_err(|e| Error::io("stat", path, e))?;
    let (mut block, zeros) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut at = 0;
    while at < len {
        let read = match file.read_at(&mut block, at) {
            Ok(0) => break,
            Ok(read) => read.min(BLOCK),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io("read", path, e)),
        };
        let (held, zeros) = (block.get(..read), zeros.get(..read).unwrap_or_default());
        if held != Some(zeros) {
            file.write_all_at(zeros, at).map_err(|e| Error::io("write", path, e))?;
        }
        at = at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
    file.sync().map_err(|e| Error::io("sync", path, e))
}
