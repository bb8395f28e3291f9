//! The witness: how far the log had come, in a file of its own.
//!
//! A log that is cut at the end of a change ends where a state cell says. The witness tells that
//! more was there. It is written after a change is durable and not synced itself, so it costs no
//! fsync and is never ahead of the log; a power cut may leave it some seconds behind.
//!
//! `store.witness`: two places of 512 bytes, written in turn, so that one is whole whatever becomes
//! of the other. In each a cell of 57 bytes in the table `nodeseal/witness`, its row empty,
//! holding the sequence; the greater one counts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::{self, File, Fs};
use crate::seal::Cells;

const TABLE: &str = "nodeseal/witness";
const FILE: &str = "store.witness";

/// Length of a cell with a sequence, in bytes.
const CELL: usize = 57;
/// What a disk writes whole or not at all, in bytes.
const PLACE: usize = 512;

pub(super) struct Witness {
    file: Arc<dyn File>,
    path: PathBuf,
    second: bool,
}

impl Witness {
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join(FILE)
    }

    /// Writes the file anew, durably.
    pub(super) fn create(fs: &dyn Fs, dir: &Path, cells: &Cells, sequence: u64) -> Result<Self> {
        let path = Self::path(dir);
        let cell = cells.seal_any(TABLE, &[], &sequence.to_le_bytes())?;
        let mut bytes = cell.bytes().to_vec();
        bytes.resize(PLACE, 0);
        bytes.extend_from_slice(cell.bytes());
        fs::replace(fs, &path, &bytes)?;
        cell.durable();
        let file = fs.open_write(&path).map_err(|e| Error::io("open", &path, e))?;
        Ok(Self { file: file.into(), path, second: false })
    }

    pub(super) fn file(&self) -> Arc<dyn File> {
        Arc::clone(&self.file)
    }

    /// Makes the file that was found durable, with `sequence` in both places. Needs no room on the
    /// disk. Where there is none, or a part of one, it is made again.
    pub(super) fn settle_found(
        fs: &dyn Fs,
        dir: &Path,
        cells: &Cells,
        sequence: u64,
    ) -> Result<Self> {
        let path = Self::path(dir);
        let whole = u64::try_from(PLACE + CELL).unwrap_or(u64::MAX);
        let file = match fs.open_write(&path) {
            Ok(file) if file.len().map_err(|e| Error::io("stat", &path, e))? >= whole => file,
            _ => return Self::create(fs, dir, cells, sequence),
        };
        let [one, two] = Self::found(fs, dir, cells)?;
        // The one that counts so far stays until the other is there.
        let second = match (one, two) {
            (Ok(one), Ok(two)) => two < one,
            (one, _) => one.is_ok(),
        };
        let mut witness = Self { file: file.into(), path, second };
        witness.settle(cells, sequence)?;
        Ok(witness)
    }

    /// Returns the sequence that the file holds.
    pub(super) fn read(fs: &dyn Fs, dir: &Path, cells: &Cells) -> Result<u64> {
        match Self::found(fs, dir, cells)? {
            [Ok(one), Ok(two)] => Ok(one.max(two)),
            [Ok(one), Err(_)] | [Err(_), Ok(one)] => Ok(one),
            [Err(error), Err(_)] => Err(error.in_file(&Self::path(dir))),
        }
    }

    fn found(fs: &dyn Fs, dir: &Path, cells: &Cells) -> Result<[Result<u64>; 2]> {
        Ok(Self::sealed(fs, dir)?.map(|cell| open(cells, &cell)))
    }

    /// The two cells as they are stored.
    pub(super) fn sealed(fs: &dyn Fs, dir: &Path) -> Result<[Vec<u8>; 2]> {
        let bytes = fs::read(fs, &Self::path(dir), 2 * PLACE)?;
        let cell =
            |at: usize| bytes.get(at..).map(|rest| rest.get(..CELL).unwrap_or(rest).to_vec());
        Ok([0, PLACE].map(|at| cell(at).unwrap_or_default()))
    }

    pub(super) fn write(&mut self, cells: &Cells, sequence: u64) -> Result<()> {
        let cell = cells.seal_any(TABLE, &[], &sequence.to_le_bytes())?;
        let place = if self.second { 512 } else { 0 };
        let written = self.file.write_all_at(cell.bytes(), place);
        self.second = !self.second;
        written.map_err(|e| Error::io("write", &self.path, e))
    }

    /// Writes both places, one after the other, and makes each durable.
    pub(super) fn settle(&mut self, cells: &Cells, sequence: u64) -> Result<()> {
        for _ in 0..2 {
            self.write(cells, sequence)?;
            self.file.sync().map_err(|e| Error::io("sync", &self.path, e))?;
        }
        Ok(())
    }
}

/// Opens one of the two cells.
pub(super) fn open(cells: &Cells, cell: &[u8]) -> Result<u64> {
    let plain = cells.open_any(TABLE, &[], cell)?;
    let sequence = plain.expose().try_into().map(u64::from_le_bytes);
    sequence.map_err(|_| Error::damaged("a witness of another form"))
}
