//! Writing a snapshot's file.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::{self, File, Fs};
use crate::secret::{SecretBytes, SecretKey};
use crate::swarm::log::{Keys, Members, SnapshotPoint};
use crate::swarm::record::{Sealed, Sealer};
use crate::wal::encode::{Message, field_len};

/// A snapshot that is durable under a temporary name, which Swarm ignores, until
/// [`Draft::publish`].
#[derive(Debug)]
pub(crate) struct Draft {
    dir: PathBuf,
    temp: PathBuf,
    path: PathBuf,
}

impl Draft {
    /// Seals `content`, the store, writes it with `point`, and opens what was written, so that
    /// nothing that it replaces goes before it is known to be readable. Holds the store once.
    ///
    /// # Errors
    ///
    /// What the system says; [`Error::Damaged`] if it cannot be read again.
    pub(crate) fn write(
        fs: &dyn Fs,
        dir: &Path,
        point: &SnapshotPoint,
        members: Members,
        with: Sealer<'_>,
        content: SecretBytes,
    ) -> Result<Self> {
        let path = dir.join(format!("{:016x}-{:016x}.snap", point.term, point.index));
        let temp = {
            let mut temp = path.clone().into_os_string();
            temp.push(".tmp");
            PathBuf::from(temp)
        };
        fs::remove_if_there(fs, &temp)?;
        let file = fs.create_new(&temp).map_err(|e| Error::io("create", &temp, e))?;
        let draft = Self { dir: dir.to_owned(), temp, path };
        let written = Sealed::new(Some(with), content)
            .and_then(|sealed| draft.fill(&*file, &sealed, &point.encode_metadata(members)));
        drop(file);
        let written = written.and_then(|()| draft.read_back(fs, point, with.key));
        match written {
            Ok(()) => Ok(draft),
            Err(error) => {
                draft.discard(fs);
                Err(error)
            }
        }
    }

    fn read_back(&self, fs: &dyn Fs, point: &SnapshotPoint, key: &SecretKey) -> Result<()> {
        let keys = Keys { pending: None, current: Some(key) };
        match super::open_file(fs, &self.temp, keys)? {
            Some((_, found)) if found == *point => Ok(()),
            _ => {
                let what = "a snapshot that was just written and cannot be read again";
                Err(Error::damaged(what).in_file(&self.temp))
            }
        }
    }

    /// The file's parts one after the other: the longest is not copied.
    fn fill(&self, file: &dyn File, sealed: &Sealed, metadata: &[u8]) -> Result<()> {
        let mut inner = Message::new();
        inner.head(1, sealed.len());
        let mut end = Message::new();
        end.bytes(2, metadata);
        let [head, body, tail] = sealed.parts();
        let parts = [inner.as_bytes(), head, body, tail, end.as_bytes()];
        let crc = parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        let mut outer = Message::new();
        outer.uint(1, u64::from(crc));
        outer.head(2, field_len(1, sealed.len()) + field_len(2, metadata.len()));
        let mut at = 0;
        for part in [outer.as_bytes()].iter().chain(&parts) {
            file.write_all_at(part, at).map_err(|e| Error::io("write", &self.temp, e))?;
            at = at.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
        }
        file.sync().map_err(|e| Error::io("sync", &self.temp, e))
    }

    /// Gives the snapshot its name, replacing one of the same point, and makes that durable, which
    /// Swarm does not.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn publish(self, fs: &dyn Fs) -> Result<PathBuf> {
        fs.rename(&self.temp, &self.path).map_err(|e| Error::io("rename", &self.temp, e))?;
        fs.sync_dir(&self.dir).map_err(|e| Error::io("sync", &self.dir, e))?;
        Ok(self.path)
    }

    /// Removes what was written, after a failure.
    pub(crate) fn discard(self, fs: &dyn Fs) {
        let _ = fs.remove(&self.temp);
    }
}
