//! The witness: how far the log had come, in a file of its own.
//!
//! A log that is cut at the end of a change ends where a state cell says. The witness tells that
//! more was there. It is written after a change is durable and not synced itself, so it costs no
//! fsync and is never ahead of the log; a power cut may leave it some seconds behind.
//!
//! `store.witness`: a cell of 57 bytes in the table `nodeseal/witness`, its row the log's name,
//! holding the sequence. It stays within one sector, so that a write is whole or did not happen.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::{self, File, Fs};
use crate::seal::Cells;

const TABLE: &str = "nodeseal/witness";
const FILE: &str = "store.witness";

pub(super) struct Witness {
    file: Box<dyn File>,
    path: PathBuf,
}

impl Witness {
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join(FILE)
    }

    /// Writes the file anew, durably.
    pub(super) fn create(
        fs: &dyn Fs,
        dir: &Path,
        cells: &Cells,
        log: &str,
        sequence: u64,
    ) -> Result<Self> {
        let path = Self::path(dir);
        let cell = cells.seal_any(TABLE, log.as_bytes(), &sequence.to_le_bytes())?;
        fs::replace(fs, &path, cell.bytes())?;
        cell.durable();
        let file = fs.open_write(&path).map_err(|e| Error::io("open", &path, e))?;
        Ok(Self { file, path })
    }

    /// The sequence that the file tells.
    pub(super) fn read(fs: &dyn Fs, dir: &Path, cells: &Cells, log: &str) -> Result<u64> {
        let path = Self::path(dir);
        let bytes = fs::read(fs, &path, 512)?;
        let plain = cells.open_any(TABLE, log.as_bytes(), &bytes).map_err(|e| e.in_file(&path))?;
        let sequence = plain.expose().try_into().map(u64::from_le_bytes);
        sequence.map_err(|_| Error::damaged("a witness of another form").in_file(&path))
    }

    /// The file's bytes as they stand.
    pub(super) fn sealed(fs: &dyn Fs, dir: &Path) -> Result<Vec<u8>> {
        fs::read(fs, &Self::path(dir), 512)
    }

    pub(super) fn write(&self, cells: &Cells, log: &str, sequence: u64) -> Result<()> {
        let cell = cells.seal_any(TABLE, log.as_bytes(), &sequence.to_le_bytes())?;
        let written = self.file.write_all_at(cell.bytes(), 0);
        written.map_err(|e| Error::io("write", &self.path, e))
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync().map_err(|e| Error::io("sync", &self.path, e))
    }
}
