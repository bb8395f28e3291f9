use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind};
use crate::key::DekId;
use crate::seal::Log;

/// What a store did since it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// For each DEK, what was sealed and opened under it.
    pub deks: BTreeMap<DekId, DekStats>,
    /// How often the log was made durable.
    pub fsyncs: u64,
    /// How many changes were written.
    pub changes: u64,
    /// Segments that a rotation wrote anew.
    pub segments_resealed: u64,
    /// Bytes of records that a rotation sealed again.
    pub bytes_resealed: u64,
    /// Snapshots that a rotation copied under a new content key, because the old one was exposed.
    pub snapshots_rewritten: u64,
    /// Entries in segments that a rotation has still to write anew, as of its last step.
    pub entries_to_reseal: u64,
    /// Failed calls by kind.
    pub failures: BTreeMap<ErrorKind, u64>,
}

/// What was done under one DEK, by a rotation too. Bytes are those of the sealed records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DekStats {
    /// Records sealed.
    pub records_sealed: u64,
    /// Their bytes.
    pub bytes_sealed: u64,
    /// Records opened.
    pub records_opened: u64,
    /// Their bytes.
    pub bytes_opened: u64,
}

/// The counters behind [`Stats`], taken once a batch.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Stats>);

impl Counters {
    pub(super) fn add(&self) -> MutexGuard<'_, Stats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a failure.
    pub(super) fn failed(&self, error: &Error) {
        *self.add().failures.entry(error.kind()).or_default() += 1;
    }

    /// Counts records that were opened.
    pub(super) fn opened<'a>(&self, records: impl Iterator<Item = &'a [u8]>) {
        let mut stats = self.add();
        for record in records {
            let Ok(dek) = Log::dek_of(record) else { continue };
            let stats = stats.deks.entry(dek).or_default();
            stats.records_opened += 1;
            stats.bytes_opened += u64::try_from(record.len()).unwrap_or(u64::MAX);
        }
    }
}

impl Stats {
    pub(super) fn sealed(&mut self, dek: DekId, records: u64, bytes: u64) {
        let stats = self.deks.entry(dek).or_default();
        stats.records_sealed += records;
        stats.bytes_sealed += bytes;
    }
}
