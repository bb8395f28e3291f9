use core::fmt;

use super::batch::{Batch, Rising};
use super::log_id::{Era, LogId};
use super::record::{self, Sealer};
use super::{InFlight, RECORD, key, named};
use crate::crypto::random;
use crate::error::{Error, Result};
use crate::key::DekId;
use crate::keyring::Keyspace;

/// Seals and opens the records of a keyspace's log.
///
/// A record opens only at its own index and era, after an entry of the era that came before it,
/// in its own keyspace, node and cluster. By raft's log-matching property a contiguous run of records
/// that opens is the log that ends there.
///
/// Without raft the eras are [`Era::NONE`], and an index must never be used for two records.
///
/// ```
/// # use nodeseal::{Identity, Keyring, Protector, UnlockKey};
/// use nodeseal::seal::{Era, LogId};
///
/// # let dir = tempfile::tempdir()?;
/// # let me = Identity::new("prod", "m1")?;
/// # let protector = Protector::unlock_key(&UnlockKey::generate()?);
/// # let keyring = Keyring::create(dir.path(), &me, protector, &[])?;
/// let log = keyring.keyspace("raft")?.log();
/// let term = Era::term(1);
/// let mut batch = log.batch(LogId::START);
/// batch.push(LogId::new(1, term), |out| out.extend_from_slice(b"first"))?;
/// batch.push(LogId::new(2, term), |out| out.extend_from_slice(b"second"))?;
/// let sealed = batch.seal()?;
/// let mut stored: Vec<Vec<u8>> = sealed.records().map(|record| record.bytes.to_vec()).collect();
/// sealed.durable(); // once they are
///
/// assert_eq!(log.open_in_place(LogId::new(2, term), term, &mut stored[1])?, b"second");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Log {
    keyspace: Keyspace,
}

impl Keyspace {
    /// Returns the sealer of its log.
    #[must_use]
    pub fn log(&self) -> Log {
        Log { keyspace: self.clone() }
    }
}

impl Log {
    /// A batch of records that come after the entry `after`; after a purge or a snapshot that is
    /// the last entry which it covers.
    #[must_use]
    pub fn batch(&self, after: LogId) -> Batch<'_> {
        Batch::new(self, after)
    }

    /// Seals one record in place. Its plaintext stands in `record` after
    /// [`RECORD_OVERHEAD`](super::RECORD_OVERHEAD) bytes of room; `prev` is the era of the entry
    /// before.
    ///
    /// # Errors
    ///
    /// As [`Log::seal_batch`].
    pub fn seal_in_place(&self, id: LogId, prev: Era, record: &mut [u8]) -> Result<InFlight> {
        record::check(record)?;
        self.seal_checked(1, |sealer| sealer.seal(id, prev, record))
    }

    /// Seals records in place, each as in [`Log::seal_in_place`], with one draw of randomness.
    /// `after` is the entry that comes before the first. Nothing is allocated.
    ///
    /// # Errors
    ///
    /// Before anything is sealed: [`Misuse::NotIncreasing`](crate::Misuse::NotIncreasing) if the
    /// indices do not rise, [`Misuse::Buffer`](crate::Misuse::Buffer) if there is no room for a
    /// header, [`Misuse::TooLarge`](crate::Misuse::TooLarge) for a plaintext over 1 GiB,
    /// [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Random`](crate::Error::Random); and,
    /// once in 2²⁰ records, when the key file is written, [`Error::Io`](crate::Error::Io).
    pub fn seal_batch(&self, after: LogId, records: &mut [(LogId, &mut [u8])]) -> Result<InFlight> {
        let mut rising = Rising::after(after);
        for (id, record) in records.iter_mut() {
            rising = rising.then(*id)?;
            record::check(record)?;
        }
        self.seal_checked(records.len(), |sealer| {
            let records = records.iter_mut().map(|(id, record)| Ok((*id, &mut **record)));
            sealer.seal_all(after.era, records)
        })
    }

    /// Lets `seal` seal `count` records that were checked already.
    pub(super) fn seal_checked(
        &self,
        count: usize,
        seal: impl FnOnce(&Sealer<'_>) -> Result<()>,
    ) -> Result<InFlight> {
        let pin = self.keyspace.shared().acquire(u64::try_from(count).unwrap_or(u64::MAX))?;
        let key = key(&self.keyspace, pin.dek(), RECORD);
        // Drawn here, where all plaintexts are at hand, and kept nowhere: neither a fork nor a
        // counter can repeat it.
        seal(&Sealer::new(&key, pin.dek().id(), random::array()?))?;
        Ok(InFlight(pin))
    }

    /// Opens a record in place and gives its plaintext.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownDek`](crate::Error::UnknownDek) if the keyring does not hold its DEK;
    /// [`Error::Unauthentic`](crate::Error::Unauthentic) if it was altered, or is of another
    /// place; [`Error::Damaged`](crate::Error::Damaged) and
    /// [`Error::Unsupported`](crate::Error::Unsupported) if it is no record of this version.
    /// `record` is then as it was.
    pub fn open_in_place<'a>(
        &self,
        id: LogId,
        prev: Era,
        record: &'a mut [u8],
    ) -> Result<&'a mut [u8]> {
        let dek = self.keyspace.shared().find(named(RECORD, record)?)?;
        let key = key(&self.keyspace, &dek, RECORD);
        record::open(&key, id, prev, record)
    }

    /// Opens records in place, each as [`Log::open_in_place`] does; the plaintext then stands after
    /// [`RECORD_OVERHEAD`](super::RECORD_OVERHEAD) bytes. `after` is the entry that comes before the
    /// first. Nothing is allocated.
    ///
    /// Fastest for records that were sealed together and stand in their order.
    ///
    /// # Errors
    ///
    /// The number of the first record that does not open, with its error as in
    /// [`Log::open_in_place`]. It is then as it was, those before it are open, and those after it may
    /// be either.
    pub fn open_batch(
        &self,
        after: LogId,
        records: &mut [(LogId, &mut [u8])],
    ) -> Result<(), (usize, Error)> {
        let key = |id| Ok(key(&self.keyspace, &*self.keyspace.shared().find(id)?, RECORD));
        record::open_all(key, after.era, records)
    }

    /// Re-seals a record in place under the active DEK; `None` if it is under it already.
    ///
    /// Write it back only where the record still stands that was read: the engine may have
    /// replaced it meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Log::open_in_place`] and [`Log::seal_in_place`]; `record` is then as it was.
    pub fn reseal(&self, id: LogId, prev: Era, record: &mut [u8]) -> Result<Option<InFlight>> {
        if self.keyspace.shared().is_active(named(RECORD, record)?) {
            return Ok(None);
        }
        // All that can fail comes before the plaintext stands in the caller's buffer.
        let pin = self.keyspace.shared().acquire(1)?;
        let key = key(&self.keyspace, pin.dek(), RECORD);
        let sealer = Sealer::new(&key, pin.dek().id(), random::array()?);
        self.open_in_place(id, prev, record)?;
        sealer.seal(id, prev, record)?;
        Ok(Some(InFlight(pin)))
    }

    /// The DEK that a record names.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`](crate::Error::Damaged), [`Error::Unsupported`](crate::Error::Unsupported).
    pub fn dek_of(record: &[u8]) -> Result<DekId> {
        named(RECORD, record)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("keyspace", &self.keyspace.name()).finish_non_exhaustive()
    }
}
