//! A snapshot that is received, in pieces.
//!
//! openraft sends the piece again whose reply it did not get, at the same offset, and begins again at
//! 0 after a longer failure; a network that repeats messages delivers old pieces late. Nothing that
//! was written can be read back, so the hash of each piece is kept, 24 bytes, and a piece that comes
//! again must be the same. If it is not, a snapshot of the same id has other bytes (a state machine
//! may write the same state in another order): all must come again, from 0.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};

use nodeseal::store::SnapshotWriter;
use nodeseal::{Error, Store};

#[derive(Default)]
pub(super) struct Incoming {
    writer: Option<SnapshotWriter>,
    hashing: RandomState,
    pieces: Vec<Piece>,
    /// How much was written.
    len: u64,
    /// Why it must begin again.
    failed: Option<String>,
}

struct Piece {
    start: u64,
    len: usize,
    hash: u64,
}

impl Incoming {
    pub(super) fn new(store: &Store) -> Result<Self, Error> {
        Ok(Self { writer: Some(store.write_snapshot()?), ..Self::default() })
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Refuses a piece that cannot be taken, without a look at the disk.
    pub(super) fn admit(&self, at: u64) -> io::Result<()> {
        match &self.failed {
            Some(_) if at == 0 => Ok(()),
            Some(failed) => Err(io::Error::other(failed.clone())),
            None if at > self.len => {
                Err(invalid("a piece of a snapshot comes after a missing one"))
            }
            None => Ok(()),
        }
    }

    /// Takes a piece. The next call reports a failure.
    pub(super) fn take(&mut self, store: &Store, at: u64, bytes: &[u8]) {
        if let Err(error) = self.try_take(store, at, bytes) {
            self.failed = Some(error.to_string());
        }
    }

    fn try_take(&mut self, store: &Store, at: u64, bytes: &[u8]) -> io::Result<()> {
        let hash = self.hashing.hash_one(bytes);
        if at < self.len && self.failed.is_none() {
            let known = self.pieces.binary_search_by_key(&at, |piece| piece.start).ok();
            let known = known.and_then(|n| self.pieces.get(n));
            if known.is_some_and(|piece| piece.len == bytes.len() && piece.hash == hash) {
                return Ok(());
            }
            if at != 0 {
                return Err(invalid("a piece of a snapshot came again with other bytes"));
            }
        }
        if at == 0 && (self.failed.is_some() || self.len > 0) {
            *self = Self::default();
        }
        self.admit(at)?;
        if self.writer.is_none() {
            self.writer = Some(store.write_snapshot().map_err(io::Error::other)?);
        }
        let writer = self.writer.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writer.write_all(bytes)?;
        self.pieces.push(Piece { start: at, len: bytes.len(), hash });
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Refuses a snapshot that is not whole: all that was written must have come in the transfer
    /// that ends at `end`.
    pub(super) fn check(&self, end: u64) -> io::Result<()> {
        self.admit(end)?;
        if end == self.len { Ok(()) } else { Err(invalid("a snapshot ends before its end")) }
    }

    /// The writer, and how much was written.
    pub(super) fn into_writer(self, store: &Store) -> Result<(SnapshotWriter, u64), Error> {
        let writer = self.writer.map_or_else(|| store.write_snapshot(), Ok);
        Ok((writer?, self.len))
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
