//! How far an audit file had come, in a file of its own.

use std::path::{Path, PathBuf};

use super::Anchor;
use crate::crypto::hmac;
use crate::error::{Error, Result};
use crate::fs::{self, File, Fs};
use crate::secret::SecretKey;

/// An anchor and its code, in bytes.
const MARK: usize = 48 + hmac::CODE_LEN;
/// What a disk writes whole or not at all, in bytes.
const PLACE: usize = 512;

pub(super) struct End {
    file: Box<dyn File>,
    path: PathBuf,
    key: SecretKey,
    second: bool,
}

pub(super) fn path(log: &Path) -> PathBuf {
    super::beside(log, ".end")
}

impl End {
    /// Writes the file anew, durably.
    pub(super) fn create(fs: &dyn Fs, log: &Path, key: SecretKey, at: &Anchor) -> Result<Self> {
        let path = path(log);
        fs::remove_stale(fs, &path)?;
        let mark = mark(&key, at);
        let mut bytes = mark.to_vec();
        bytes.resize(PLACE, 0);
        bytes.extend_from_slice(&mark);
        fs::replace(fs, &path, &bytes)?;
        let file = fs.open_write(&path).map_err(|e| Error::io("open", &path, e))?;
        Ok(Self { file, path, key, second: false })
    }

    /// What the file says.
    pub(super) fn read(fs: &dyn Fs, log: &Path, key: &SecretKey) -> Result<Anchor> {
        let path = path(log);
        let bytes = fs::read(fs, &path, 2 * PLACE)?;
        let marks = [0, PLACE].map(|at| {
            let (anchor, code) = bytes.get(at..at + MARK)?.split_at(48);
            let whole = hmac::is_code(key, &[anchor], code);
            whole.then(|| Anchor::from_bytes(anchor).ok()).flatten()
        });
        let latest = marks.into_iter().flatten().max_by_key(|anchor| anchor.lines);
        latest.ok_or_else(|| Error::damaged("the audit file's end mark").in_file(&path))
    }

    pub(super) fn write(&mut self, at: &Anchor) -> Result<()> {
        let place = if self.second { 512 } else { 0 };
        let written = self.file.write_all_at(&mark(&self.key, at), place);
        self.second = !self.second;
        written.map_err(|e| Error::io("write", &self.path, e))
    }
}

fn mark(key: &SecretKey, at: &Anchor) -> [u8; MARK] {
    let anchor = at.to_bytes();
    let mut mark = [0; MARK];
    mark[..48].copy_from_slice(&anchor);
    mark[48..].copy_from_slice(&hmac::code(key, &[&anchor]));
    mark
}
