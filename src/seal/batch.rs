use core::fmt;
use core::ops::Range;
use std::io;

use super::InFlight;
use super::log::Log;
use super::log_id::LogId;
use super::record::{self, RECORD_OVERHEAD};
use crate::error::{Error, Misuse, Result};
use crate::secret::SecretBytes;

/// Records to be sealed together: one draw of randomness, one buffer, written at once.
///
/// The plaintexts stand in memory that is wiped when it grows or is dropped.
pub struct Batch<'a> {
    log: &'a Log,
    after: LogId,
    rising: Rising,
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
        Self { log, after, rising: Rising::after(after), buffer, records }
    }

    /// Uses the memory of an earlier batch, which [`SealedBatch::durable`] gave back.
    #[must_use]
    pub fn with_buffer(mut self, mut buffer: SecretBytes) -> Self {
        buffer.clear();
        buffer.extend_from_slice(self.buffer.expose());
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
        self.try_push(id, |out| {
            write(out);
            Ok(())
        })
    }

    /// As [`Batch::push`], with a `write` that may fail; what it had written is wiped then.
    ///
    /// # Errors
    ///
    /// As [`Batch::push`], and the error of `write`. The batch is then as it was.
    pub fn try_push<E: From<Error>>(
        &mut self,
        id: LogId,
        write: impl FnOnce(&mut Plaintext<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let rising = self.rising.then(id)?;
        let mut entry = Entry::begin(&mut self.buffer, RECORD_OVERHEAD);
        write(&mut entry.plaintext())?;
        record::check(entry.bytes()).map_err(E::from)?;
        self.records.push((id, entry.end()));
        self.rising = rising;
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
            let mut rest = buffer.expose_mut();
            let parts = records.iter().map(|(id, range)| {
                let whole = core::mem::take(&mut rest);
                let (record, more) =
                    whole.split_at_mut_checked(range.len()).ok_or(Misuse::Buffer)?;
                rest = more;
                Ok((*id, record))
            });
            sealer.seal_all(after.era, parts)
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
    pub fn durable(mut self) -> SecretBytes {
        self.buffer.cut_sealed(0);
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

/// Holds indices to rise. The first entry of all may have the index 0, as some engines count.
#[derive(Clone, Copy)]
pub(super) struct Rising(Option<u64>);

impl Rising {
    pub(super) fn after(after: LogId) -> Self {
        Self((after != LogId::START).then_some(after.index))
    }

    /// The state after `id`, if `id` comes after what was before.
    pub(super) fn then(self, id: LogId) -> Result<Self> {
        match self.0 {
            Some(after) if id.index <= after => {
                Err(Misuse::NotIncreasing { index: id.index, after }.into())
            }
            _ => Ok(Self(Some(id.index))),
        }
    }
}

/// An entry that is being written; cut off again, also by a panic, if it does not become whole:
/// else its plaintext would stand between the records and be stored with them.
pub(crate) struct Entry<'a> {
    buffer: &'a mut SecretBytes,
    start: usize,
    whole: bool,
}

impl<'a> Entry<'a> {
    /// Begins one at the end of `buffer`, with `room` bytes of zeros before its plaintext.
    pub(crate) fn begin(buffer: &'a mut SecretBytes, room: usize) -> Self {
        let start = buffer.len();
        buffer.resize(start + room);
        Self { buffer, start, whole: false }
    }

    pub(crate) const fn plaintext(&mut self) -> Plaintext<'_> {
        Plaintext(self.buffer)
    }

    /// The room and the plaintext.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        self.buffer.expose_mut().get_mut(self.start..).unwrap_or_default()
    }

    /// Keeps it, and tells where it stands, the room included.
    pub(crate) fn end(mut self) -> Range<usize> {
        self.whole = true;
        self.start..self.buffer.len()
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if !self.whole {
            self.buffer.resize(self.start);
        }
    }
}
