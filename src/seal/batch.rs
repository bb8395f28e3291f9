use core::fmt;
use core::ops::Range;
use std::io;

use super::InFlight;
use super::log::Log;
use super::log_id::LogId;
use super::record::{self, RECORD_OVERHEAD};
use crate::error::{Misuse, Result};
use crate::secret::SecretBytes;

/// Records to be sealed together: one draw of randomness, one buffer, written at once.
///
/// The plaintexts stand in memory that is wiped when it grows or is dropped.
pub struct Batch<'a> {
    log: &'a Log,
    after: LogId,
    last: LogId,
    buffer: SecretBytes,
    records: Vec<(LogId, Range<usize>)>,
}

/// Records that were sealed together.
#[must_use = "write the records, then say that they are durable"]
pub struct SealedBatch {
    buffer: SecretBytes,
    records: Vec<(LogId, Range<usize>)>,
    #[expect(dead_code, reason = "its drop releases the DEK")]
    in_flight: Option<InFlight>,
}

/// Where the plaintext of a record is written to.
pub struct Plaintext<'a>(&'a mut SecretBytes);

/// One record of a [`SealedBatch`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SealedRecord<'a> {
    /// The entry.
    pub id: LogId,
    /// What to store.
    pub bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    pub(super) fn new(log: &'a Log, after: LogId) -> Self {
        let (buffer, records) = (SecretBytes::new(), Vec::new());
        Self { log, after, last: after, buffer, records }
    }

    /// Uses the memory of an earlier batch, which [`SealedBatch::durable`] gave back.
    #[must_use]
    pub fn with_buffer(mut self, mut buffer: SecretBytes) -> Self {
        buffer.clear();
        self.buffer = buffer;
        self
    }

    /// Adds the entry `id`, whose plaintext `write` appends to what it is given.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotIncreasing`] if `id.index` does not come after the entry before;
    /// [`Misuse::TooLarge`] for a plaintext over 1 GiB. The batch is then as it was.
    pub fn push(&mut self, id: LogId, write: impl FnOnce(&mut Plaintext<'_>)) -> Result<()> {
        let last = follows(id, self.last)?;
        let start = self.buffer.len();
        self.buffer.resize(start + RECORD_OVERHEAD);
        write(&mut Plaintext(&mut self.buffer));
        let checked = match self.buffer.expose_mut().get_mut(start..) {
            Some(record) => record::check(record).map(drop),
            None => Err(Misuse::Buffer.into()),
        };
        if let Err(error) = checked {
            self.buffer.resize(start);
            return Err(error);
        }
        self.records.push((id, start..self.buffer.len()));
        self.last = last;
        Ok(())
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Seals them all.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Random`](crate::Error::Random), or
    /// what the key file's write gives, as [`Log::seal_batch`].
    pub fn seal(self) -> Result<SealedBatch> {
        let Self { log, after, mut buffer, records, .. } = self;
        if records.is_empty() {
            return Ok(SealedBatch { buffer, records, in_flight: None });
        }
        let in_flight = log.seal_checked(records.len(), |sealer| {
            let mut prev = after.era;
            for (id, range) in &records {
                let record = buffer.expose_mut().get_mut(range.clone()).ok_or(Misuse::Buffer)?;
                sealer.seal(*id, prev, record)?;
                prev = id.era;
            }
            Ok(())
        })?;
        Ok(SealedBatch { buffer, records, in_flight: Some(in_flight) })
    }
}

impl SealedBatch {
    /// The records, in order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = SealedRecord<'_>> {
        self.records.iter().map(|(id, range)| SealedRecord {
            id: *id,
            bytes: self.buffer.expose().get(range.clone()).unwrap_or_default(),
        })
    }

    /// All records, one after the other, as they stand in memory.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.expose()
    }

    /// They have reached the disk, with what else they need to be found there.
    ///
    /// Gives the batch's memory back, for [`Batch::with_buffer`].
    pub fn durable(self) -> SecretBytes {
        self.buffer
    }
}

impl Plaintext<'_> {
    /// Appends `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl io::Write for Plaintext<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Plaintext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plaintext(..)")
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for SealedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedBatch").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

/// `id`, if it comes after `last`.
pub(super) fn follows(id: LogId, last: LogId) -> Result<LogId> {
    if id.index > last.index {
        Ok(id)
    } else {
        Err(Misuse::NotIncreasing { index: id.index, after: last.index }.into())
    }
}
