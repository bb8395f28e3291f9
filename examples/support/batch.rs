//! The bytes of the plain log's file.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 and 512 | 57 | the marks: cells with the sequence of an append that is durable |
//! | 1024 | | batch after batch: `CRC-32C 4 · length 8 · frames` |
//!
//! The CRC covers the length and the frames. A frame is `kind 1 · era 8 · length 4 · sealed`; kind 1
//! is a record, kind 2 the state cell, with which every batch ends. The first record has the index
//! 1, each later one the next. Integers are little-endian.

use nodeseal::seal::{Era, LogId, SealedCell};
use nodeseal::{Error, Misuse, Result};

/// What a disk writes whole or not at all, in bytes: each mark has one of these for itself.
pub(crate) const SECTOR: usize = 512;
/// Where the batches begin.
pub(crate) const HEAD: usize = 2 * SECTOR;
/// Length of a mark: a cell with eight bytes.
const MARK: usize = 57;

const RECORD: u8 = 1;
const STATE: u8 = 2;

/// Encodes one batch.
pub(super) struct Batch(Vec<u8>);

impl Batch {
    pub(super) fn new() -> Self {
        Self(vec![0; 12])
    }

    pub(super) fn record(&mut self, era: Era, sealed: &[u8]) -> Result<()> {
        self.frame(RECORD, era, sealed)
    }

    /// Ends the batch.
    pub(super) fn state(mut self, cell: &SealedCell) -> Result<Vec<u8>> {
        self.frame(STATE, Era::NONE, cell.bytes())?;
        let mut bytes = self.0;
        let length = u64::try_from(bytes.len() - 12).map_err(|_| Misuse::Buffer)?;
        bytes[4..12].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    fn frame(&mut self, kind: u8, era: Era, sealed: &[u8]) -> Result<()> {
        let length = u32::try_from(sealed.len()).map_err(|_| Misuse::Buffer)?;
        self.0.push(kind);
        self.0.extend_from_slice(&era.get().to_le_bytes());
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(sealed);
        Ok(())
    }
}

/// Something sealed, in its place.
pub(super) enum Frame<'a> {
    Record { id: LogId, prev: Era, sealed: &'a [u8] },
    State(&'a [u8]),
}

/// What a file holds, up to the first batch that is not whole.
pub(super) struct Contents<'a> {
    pub(super) marks: [&'a [u8]; 2],
    pub(super) frames: Vec<Frame<'a>>,
    /// Offset behind the last whole batch.
    pub(super) end: usize,
    last: LogId,
}

impl<'a> Contents<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mark = |at: usize| bytes.get(at..at + MARK).unwrap_or_default();
        let marks = [mark(0), mark(SECTOR)];
        let mut contents = Self { marks, frames: Vec::new(), end: HEAD, last: LogId::START };
        let mut rest = bytes.get(HEAD..).unwrap_or_default();
        while let Some((batch, after)) = split_batch(rest) {
            contents.batch(batch).ok_or(Error::Unsupported {
                what: "batch in a plain log",
                found: format!("at offset {}", contents.end),
            })?;
            contents.end = bytes.len() - after.len();
            rest = after;
        }
        Ok(contents)
    }

    /// Everything that is sealed.
    pub(super) fn sealed(&self) -> impl Iterator<Item = &'a [u8]> {
        let frames = self.frames.iter().map(|frame| match frame {
            Frame::Record { sealed, .. } | Frame::State(sealed) => *sealed,
        });
        self.marks.into_iter().chain(frames)
    }

    fn batch(&mut self, mut batch: &'a [u8]) -> Option<()> {
        while !batch.is_empty() {
            let ([kind, numbers @ ..], rest) = batch.split_first_chunk::<13>()?;
            let (era, length) = numbers.split_first_chunk::<8>()?;
            let era = Era::term(u64::from_le_bytes(*era));
            let length = u32::from_le_bytes(length.try_into().ok()?);
            let (sealed, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            match (*kind, era) {
                (RECORD, _) => {
                    let id = LogId::new(self.last.index + 1, era);
                    self.frames.push(Frame::Record { id, prev: self.last.era, sealed });
                    self.last = id;
                }
                (STATE, Era::NONE) => self.frames.push(Frame::State(sealed)),
                _ => return None,
            }
            batch = rest;
        }
        matches!(self.frames.last(), Some(Frame::State(_))).then_some(())
    }
}

/// The frames of the first batch, and what comes after it; `None` if it is not whole. Zeros are not:
/// the CRC covers the length too.
fn split_batch(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    let (length, _) = rest.split_first_chunk::<8>()?;
    let covered = usize::try_from(u64::from_le_bytes(*length)).ok()?.checked_add(8)?;
    let (covered, rest) = rest.split_at_checked(covered)?;
    let whole = crc32c::crc32c(covered) == u32::from_le_bytes(*crc);
    whole.then(|| (covered.split_at(8).1, rest))
}
