//! Opening many records on several threads.

use core::num::NonZeroUsize;

use super::log::Log;
use super::log_id::LogId;
use super::ordered::ordered;
use crate::error::{Error, Result};

/// How much a thread opens in one go at most: records, and bytes unless one record is longer.
const RECORDS: usize = 4096;
const BYTES: usize = 256 << 10;

/// Records that one thread opens in one go.
struct Piece<'p, 'r> {
    /// How many records stand before them, and the entry that does.
    start: usize,
    after: LogId,
    records: &'p mut [(LogId, &'r mut [u8])],
}

impl Log {
    /// Opens records in place on `threads` threads, the caller's among them, each as
    /// [`Log::open_batch`] does: for the many small ones of a start-up. `after` is the entry that
    /// comes before the first.
    ///
    /// `progress` is told, now and then and at the end, how many records are open, counted from the
    /// first.
    ///
    /// # Errors
    ///
    /// As [`Log::open_batch`]: the number of the first record that does not open, with its error. It
    /// is then as it was, those before it are open, and those after it may be either.
    ///
    /// ```
    /// # use nodeseal::{Identity, Keyring, Protector, UnlockKey};
    /// use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let me = Identity::new("prod", "m1")?;
    /// # let protector = Protector::unlock_key(&UnlockKey::generate()?);
    /// # let keyring = Keyring::create(dir.path(), &me, protector, &[])?;
    /// let log = keyring.keyspace("raft")?.log();
    /// let mut file = vec![7; 10_000 * (RECORD_OVERHEAD + 100)];
    /// let mut records: Vec<_> = (1..)
    ///     .map(|index| LogId::new(index, Era::term(1)))
    ///     .zip(file.chunks_mut(RECORD_OVERHEAD + 100))
    ///     .collect();
    /// log.seal_batch(LogId::START, &mut records)?.durable();
    ///
    /// let threads = std::thread::available_parallelism()?;
    /// log.open_bulk(LogId::START, &mut records, threads, |open| println!("{open} of 10000"))
    ///     .map_err(|(number, error)| format!("record {number}: {error}"))?;
    /// assert_eq!(records[9_999].1[RECORD_OVERHEAD..], [7; 100]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_bulk(
        &self,
        after: LogId,
        records: &mut [(LogId, &mut [u8])],
        threads: NonZeroUsize,
        mut progress: impl FnMut(usize) + Send,
    ) -> Result<(), (usize, Error)> {
        let (mut rest, mut start, mut after) = (records, 0, after);
        ordered(
            threads,
            |job: &mut Option<Piece<'_, '_>>| {
                let all = core::mem::take(&mut rest);
                let (records, more) = all.split_at_mut(piece(all));
                rest = more;
                let Some((last, _)) = records.last() else { return Ok(false) };
                let next = (start + records.len(), *last);
                *job = Some(Piece { start, after, records });
                (start, after) = next;
                Ok(true)
            },
            |job| {
                let Some(Piece { start, after, records }) = job else { return Ok(()) };
                self.open_batch(*after, records).map_err(|(at, error)| (*start + at, error))
            },
            |job| {
                let open = job.as_ref().map(|piece| piece.start + piece.records.len());
                open.into_iter().for_each(&mut progress);
                Ok(())
            },
        )
    }
}

/// How many of `records` make the next piece.
fn piece(records: &[(LogId, &mut [u8])]) -> usize {
    let mut bytes = 0_usize;
    let fit = records.iter().take(RECORDS).take_while(|(_, record)| {
        bytes = bytes.saturating_add(record.len());
        bytes <= BYTES
    });
    fit.count().max(1).min(records.len())
}
