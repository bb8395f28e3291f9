//! A manager's folder that is made anew: beside its name, and given it once all of it is durable.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::{self, Fs};
use crate::secret::SecretBytes;
use crate::swarm::folder::Folder;
use crate::swarm::log::{Entry, EntryKind, HardState, Members, SnapshotPoint};
use crate::swarm::record::{self, Sealer};
use crate::swarm::snapshot;
use crate::wal::etcd::{SEGMENT_SIZE, Writer};

/// What is in a manager's folder, the outer ones first.
const MANAGER: &[&str] = &["", "certificates", "raft", "raft/snap-v3-encrypted", "worker"];
/// What is in one of a native keyring and store.
const NATIVE: &[&str] = &["", "raft"];
/// All that a crash may leave, the inner ones first.
const ALL: [&str; 7] = [
    "certificates",
    "raft/wal-v3-encrypted",
    "raft/wal-v3-encrypted.tmp",
    "raft/snap-v3-encrypted",
    "raft",
    "worker",
    "",
];

/// Size of a log's segments, in bytes: etcd's own, but in tests.
pub(crate) const SIZE: u64 = if cfg!(test) { 64 << 10 } else { SEGMENT_SIZE };

/// A folder that does not have its name yet. One that is dropped is removed.
pub(crate) struct NewFolder<'a> {
    fs: &'a dyn Fs,
    to: PathBuf,
    temp: PathBuf,
    folders: &'static [&'static str],
    finished: bool,
}

impl<'a> NewFolder<'a> {
    /// Begins the manager's folder that will be `to`, which must not exist or be empty. What a crash
    /// left of an earlier one is removed.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`], and what the system says.
    pub(crate) fn begin(fs: &'a dyn Fs, to: &Path) -> Result<Self> {
        Self::with(fs, to, MANAGER)
    }

    /// As [`NewFolder::begin`], for a native keyring and store.
    ///
    /// # Errors
    ///
    /// As for [`NewFolder::begin`].
    pub(crate) fn begin_native(fs: &'a dyn Fs, to: &Path) -> Result<Self> {
        Self::with(fs, to, NATIVE)
    }

    fn with(fs: &'a dyn Fs, to: &Path, folders: &'static [&'static str]) -> Result<Self> {
        check_free(fs, to)?;
        let name = to.file_name().ok_or_else(|| Error::Exists(to.to_owned()))?;
        let mut temp = OsString::from(".");
        temp.push(name);
        temp.push(".nodeseal-tmp");
        let temp = fs::folder(to).join(temp);
        remove(fs, &temp)?;
        let new = Self { fs, to: to.to_owned(), temp, folders, finished: false };
        for dir in folders {
            let dir = new.temp.join(dir);
            fs.create_dir(&dir).map_err(|e| Error::io("create", &dir, e))?;
        }
        Ok(new)
    }

    /// Where it stands until then.
    pub(crate) fn path(&self) -> &Path {
        &self.temp
    }

    pub(crate) fn folder(&self) -> Folder {
        Folder::new(&self.temp)
    }

    /// Writes a file, `name` being relative to the folder.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn file(&self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        let path = self.temp.join(name);
        let file = self.fs.create_new(&path).map_err(|e| Error::io("create", &path, e))?;
        file.write_all_at(bytes, 0).map_err(|e| Error::io("write", &path, e))?;
        file.sync().map_err(|e| Error::io("sync", &path, e))
    }

    /// Copies a file, `name` being relative to the folder.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn copy(&self, name: impl AsRef<Path>, from: &Path) -> Result<()> {
        fs::copy(self.fs, from, &self.temp.join(name))
    }

    /// Writes a snapshot, and a log that goes on from it: for a sole manager with an entry with which
    /// it can begin, as a [change](crate::swarm::Change) leaves it, else with none.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn state(
        &self,
        metadata: &[u8],
        point: &SnapshotPoint,
        mut hard_state: HardState,
        with: Sealer<'_>,
        content: SecretBytes,
    ) -> Result<()> {
        let mut log = Writer::create(self.fs, &self.folder().log(), metadata, SIZE)?;
        log.snapshot(point.index, &point.encode_record(Members::Voters))?;
        if point.voters.len() == 1 {
            let index = point.index.saturating_add(1);
            let sealed = record::seal(Some(with), SecretBytes::new())?;
            let empty = Entry { kind: EntryKind::Normal, term: point.term, index, data: &[] };
            let mut bytes = empty.head(sealed.len());
            bytes.extend_from_slice(sealed.expose());
            log.entry(index, &bytes)?;
            hard_state.commit = index;
        }
        log.state(&hard_state.encode())?;
        log.finish()?;
        self.snapshot(point, with, content)
    }

    /// Writes a snapshot.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn snapshot(
        &self,
        point: &SnapshotPoint,
        with: Sealer<'_>,
        content: SecretBytes,
    ) -> Result<()> {
        let dir = self.folder().snapshots();
        let draft = snapshot::Draft::write(self.fs, &dir, point, Members::Voters, with, content)?;
        draft.publish(self.fs).map(drop)
    }

    /// Makes all of it durable and gives it its name.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if there is a folder of that name by now, and what the system says.
    pub(crate) fn finish(mut self) -> Result<()> {
        for dir in self.folders.iter().rev() {
            let dir = self.temp.join(dir);
            self.fs.sync_dir(&dir).map_err(|e| Error::io("sync", &dir, e))?;
        }
        check_free(self.fs, &self.to)?;
        self.fs.rename(&self.temp, &self.to).map_err(|e| match e.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
                Error::Exists(self.to.clone())
            }
            _ => Error::io("rename", &self.temp, e),
        })?;
        self.finished = true;
        let above = fs::folder(&self.to);
        self.fs.sync_dir(above).map_err(|e| Error::io("sync", above, e))
    }
}

impl Drop for NewFolder<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // If this fails, the next one removes it.
            let _ = remove(self.fs, &self.temp);
        }
    }
}

/// Refuses a name at which something stands; an empty folder may be replaced.
///
/// # Errors
///
/// [`Error::Exists`], and what the system says.
pub(crate) fn check_free(fs: &dyn Fs, to: &Path) -> Result<()> {
    let taken = match fs.list(to) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => true,
        Err(e) => return Err(Error::io("list", to, e)),
        Ok(names) => {
            let mut folders = MANAGER.iter().filter(|name| !name.is_empty());
            !names.is_empty() || folders.any(|name| fs.list(&to.join(name)).is_ok())
        }
    };
    if taken { Err(Error::Exists(to.to_owned())) } else { Ok(()) }
}

/// Removes what was made so far.
fn remove(fs: &dyn Fs, temp: &Path) -> Result<()> {
    for dir in ALL {
        let dir = temp.join(dir);
        match fs.list(&dir) {
            Ok(names) => {
                for name in names {
                    fs::remove_if_there(fs, &dir.join(name))?;
                }
                fs.remove_dir(&dir).map_err(|e| Error::io("remove", &dir, e))?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("list", &dir, e)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
