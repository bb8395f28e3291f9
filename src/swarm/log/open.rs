//! The second pass: every entry is opened once, and those that count are handed on.

use core::ops::Range;
use std::collections::BTreeMap;

use super::message::Entry;
use super::scan::{EntryRecord, LogScan};
use crate::crypto::TAG_LEN;
use crate::error::{Error, Place, Result};
use crate::fs::Fs;
use crate::secret::{SecretBytes, SecretKey};
use crate::swarm::finding::{FindingKind, Findings, Loss, at};
use crate::swarm::record::{self, Algorithm, Record};
use crate::wal::{BlockFile, Raw, read_raw};

/// The keys of a key file, in the order in which they are tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys<'a> {
    pub(crate) pending: Option<&'a SecretKey>,
    pub(crate) current: Option<&'a SecretKey>,
}

/// Which key opened a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenedBy {
    Pending,
    Current,
}

/// Why a record was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unopened {
    NoKeyOpens,
    Plaintext,
    NotARecord,
    UnknownAlgorithm,
}

impl Keys<'_> {
    /// Opens a sealed record with the first key that does.
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<(SecretBytes, OpenedBy), Unopened> {
        let record = openable(sealed)?;
        self.each(|key| record.open(Some(key)))
    }

    /// Opens the sealed record that stands at `at` in `buffer`, where it stands if it can be.
    pub(crate) fn open_in_place(
        &self,
        mut buffer: SecretBytes,
        at: &Range<usize>,
    ) -> Result<SecretBytes, Unopened> {
        openable(buffer.expose().get(at.clone()).unwrap_or_default())?;
        self.each(|key| record::open_in_place(&mut buffer, at, key))?;
        Ok(buffer)
    }

    fn each<T>(
        &self,
        mut open: impl FnMut(&SecretKey) -> Result<T>,
    ) -> Result<(T, OpenedBy), Unopened> {
        let mut reason = Unopened::NoKeyOpens;
        for (key, by) in [(self.pending, OpenedBy::Pending), (self.current, OpenedBy::Current)] {
            match key.map(&mut open) {
                Some(Ok(opened)) => return Ok((opened, by)),
                Some(Err(Error::Damaged { .. })) => reason = Unopened::NotARecord,
                Some(Err(_)) | None => {}
            }
        }
        Err(reason)
    }
}

/// A record that is sealed in a way that is known.
fn openable(sealed: &[u8]) -> Result<Record<'_>, Unopened> {
    let record = Record::parse(sealed).map_err(|_| Unopened::NotARecord)?;
    match record.algorithm {
        Algorithm::None => Err(Unopened::Plaintext),
        Algorithm::Other(_) => Err(Unopened::UnknownAlgorithm),
        Algorithm::SecretBox | Algorithm::Fernet => Ok(record),
    }
}

/// How many entries the log has, and how they are sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EntryFacts {
    /// All entries, also those that others replaced or that a snapshot covers.
    pub total: u64,
    /// By the algorithm that the record names: `none`, `secretbox`, `fernet`, `unknown`, or
    /// `damaged` where there is no record. It stands there in the clear.
    pub by_algorithm: BTreeMap<&'static str, u64>,
    /// Opened with the pending DEK. None without keys.
    pub opened_by_pending: EntryRange,
    /// Opened with the current DEK. None without keys.
    pub opened_by_current: EntryRange,
    /// Not opened by any key. None without keys.
    pub unopened: EntryRange,
}

/// Some of a log's entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EntryRange {
    /// How many.
    pub count: u64,
    /// The least index among them.
    pub first: Option<u64>,
    /// The greatest index among them.
    pub last: Option<u64>,
}

impl EntryRange {
    pub(crate) fn add(&mut self, index: u64) {
        self.count += 1;
        self.first = Some(self.first.map_or(index, |first| first.min(index)));
        self.last = self.last.max(Some(index));
    }
}

/// The name of the algorithm that a record states in the clear.
pub(crate) fn algorithm_name(sealed: &[u8]) -> &'static str {
    match Record::parse(sealed).map(|record| record.algorithm) {
        Ok(Algorithm::None) => "none",
        Ok(Algorithm::SecretBox) => "secretbox",
        Ok(Algorithm::Fernet) => "fernet",
        Ok(Algorithm::Other(_)) => "unknown",
        Err(_) => "damaged",
    }
}

/// An entry, as the second pass comes by it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit<'a> {
    pub(crate) entry: &'a EntryRecord,
    pub(crate) place: &'a Place,
    /// Nothing without keys, and of an entry that is damaged.
    pub(crate) opened: Option<Result<&'a SecretBytes, Unopened>>,
    /// Neither a later entry nor the snapshot stands in its place.
    pub(crate) counts: bool,
}

/// Reads every entry again, in the order in which they stand, opens it where there are `keys`, and
/// shows it.
///
/// # Errors
///
/// What the system says. An entry that does not open is a finding.
pub(crate) fn open_entries(
    fs: &dyn Fs,
    log: &LogScan,
    keys: Option<Keys<'_>>,
    base: u64,
    findings: &mut Findings,
    mut show: impl FnMut(&Visit<'_>, &mut Findings),
) -> Result<EntryFacts> {
    let mut facts = EntryFacts::default();
    let mut retired = Retired::default();
    let mut contents = BTreeMap::new();
    let mut body = SecretBytes::new();
    let mut entries = log.entries.iter().peekable();
    for (number, path) in log.paths.iter().enumerate() {
        let file = fs.open_read(path).map_err(|e| Error::io("open", path, e))?;
        let mut file = BlockFile::new(&*file, path)?;
        while let Some(entry) = entries.next_if(|entry| entry.segment == number) {
            facts.total += 1;
            let place = at(path, Some(entry.offset), Some(entry.index));
            let raw = read_raw(&mut file, entry.offset, &mut body)?;
            let Raw::Frame(frame) = raw else { return Err(changed(&place)) };
            let message = body.expose().get(frame.data.unwrap_or(0..0)).unwrap_or_default();
            let sealed = match Entry::parse(message) {
                Ok(again) if again.index == entry.index && again.term == entry.term => again.data,
                _ => return Err(changed(&place)),
            };
            *facts.by_algorithm.entry(algorithm_name(sealed)).or_default() += 1;
            let counts = entry.live && entry.index > base;
            if entry.sound {
                copied(&mut contents, sealed, entry, &place, findings);
            }
            let opened = keys.filter(|_| entry.sound).map(|keys| keys.open(sealed));
            match &opened {
                None => {}
                Some(Ok((_, OpenedBy::Pending))) => facts.opened_by_pending.add(entry.index),
                Some(Ok((_, OpenedBy::Current))) => facts.opened_by_current.add(entry.index),
                Some(Err(reason)) => {
                    facts.unopened.add(entry.index);
                    if *reason == Unopened::NoKeyOpens && !counts {
                        retired.entries.add(entry.index);
                        retired.place.get_or_insert_with(|| place.clone());
                    } else {
                        report(findings, place.clone(), entry.index, *reason, counts);
                    }
                }
            }
            let opened = opened.as_ref().map(|opened| match opened {
                Ok((plaintext, _)) => Ok(plaintext),
                Err(reason) => Err(*reason),
            });
            show(&Visit { entry, place: &place, opened, counts }, findings);
        }
    }
    retired.report(findings);
    Ok(facts)
}

/// Every record has a nonce of its own, so that no two are equal unless one was copied. Where a
/// later entry replaced one of the two, nothing is lost by it.
fn copied(
    contents: &mut BTreeMap<[u8; TAG_LEN], (u64, bool)>,
    sealed: &[u8],
    entry: &EntryRecord,
    place: &Place,
    findings: &mut Findings,
) {
    let tag = Record::parse(sealed).ok().and_then(|record| record.tag());
    let Some((other, live)) = tag.and_then(|tag| contents.insert(tag, (entry.index, entry.live)))
    else {
        return;
    };
    let text = format!(
        "entries {other} and {} have the same sealed content: one is a copy, and what stood in its \
         place is not there",
        entry.index
    );
    if live && entry.live {
        let loss = Some(Loss::Unknown);
        findings.error(FindingKind::RecordCopied, place.clone(), text, loss);
    } else {
        findings.warn(FindingKind::RecordCopied, place.clone(), text);
    }
}

fn changed(place: &Place) -> Error {
    Error::Damaged { what: "the log was changed while it was read", place: place.clone() }
}

fn report(findings: &mut Findings, place: Place, index: u64, reason: Unopened, counts: bool) {
    let (kind, text) = match reason {
        Unopened::NoKeyOpens => (
            FindingKind::EntryUnopened,
            "no key of the key file opens the entry: it was altered, or sealed under another key",
        ),
        Unopened::Plaintext => (
            FindingKind::EntryPlaintext,
            "the entry is not sealed, which no manager writes; it is not used",
        ),
        Unopened::NotARecord => {
            (FindingKind::EntryNotARecord, "the entry's content is not a sealed record")
        }
        Unopened::UnknownAlgorithm => {
            (FindingKind::EntryNotARecord, "the entry is sealed with an unknown algorithm")
        }
    };
    if counts {
        let loss = Loss::Entries { first: index, last: Some(index) };
        findings.error(kind, place, text, Some(loss));
    } else {
        findings.warn(kind, place, text);
    }
}

/// Entries that do not count any more and that no key opens: what a rotation leaves behind.
#[derive(Default)]
struct Retired {
    entries: EntryRange,
    /// Of the first.
    place: Option<Place>,
}

impl Retired {
    fn report(self, findings: &mut Findings) {
        let EntryRange { count, first: Some(first), last: Some(last) } = self.entries else {
            return;
        };
        let text = format!(
            "no key of the key file opens {count} entries between {first} and {last}, which a \
             snapshot or later entries replaced: whoever kept their old key can still read them"
        );
        findings.warn(FindingKind::RetiredKey, self.place.unwrap_or_default(), text);
    }
}
