//! The first pass: what the log holds, as far as that can be told without a key.

use std::path::{Path, PathBuf};

use super::message::{Entry, EntryKind, HardState, RaftMember, SnapshotPoint};
use crate::error::{Error, Place, Result};
use crate::fs::Fs;
use crate::swarm::finding::{FindingKind, Findings, Loss, at};
use crate::wal::{self, Check, Kind, Record, Segment, SegmentReader, Step, Tail};

/// A segment of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SegmentFacts {
    /// File name.
    pub name: String,
    /// Its place in the sequence of segments.
    pub sequence: u64,
    /// Index of the first entry that it can hold.
    pub first_index: u64,
    /// Length of the file, in bytes, most of which may be zeros.
    pub size: u64,
    /// Where its last readable frame ends, in bytes.
    pub used: u64,
    /// How many records it has, of all types.
    pub records: u64,
    /// How many of them are entries.
    pub entries: u64,
}

/// Where an entry stands, and whether it counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntryRecord {
    /// Number of the segment.
    pub(crate) segment: usize,
    pub(crate) offset: u64,
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) kind: EntryKind,
    /// Not damaged, and no later entry replaced it.
    pub(crate) live: bool,
    /// Not damaged.
    pub(crate) sound: bool,
}

/// A record of any type, as the first pass comes by it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// Number of the segment.
    pub(crate) segment: usize,
    pub(crate) record: Record,
    pub(crate) data: &'a [u8],
}

/// What the first pass found.
#[derive(Debug, Default)]
pub(crate) struct LogScan {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) segments: Vec<SegmentFacts>,
    /// Files of the folder that are no segments.
    pub(crate) others: Vec<PathBuf>,
    pub(crate) member: Option<RaftMember>,
    pub(crate) hard_state: Option<HardState>,
    /// The greatest commit index that was ever written.
    pub(crate) committed: u64,
    pub(crate) snapshots: Vec<SnapshotPoint>,
    pub(crate) entries: Vec<EntryRecord>,
    /// The record that says which node's log it is, as it stands in every segment.
    pub(crate) metadata: Option<Vec<u8>>,
    /// The CRC behind the last frame, from which the log goes on; `None` where it was lost.
    pub(crate) chain: Option<u32>,
}

impl LogScan {
    /// Term of the entry of this index, if it counts.
    pub(crate) fn term_of(&self, index: u64) -> Option<u64> {
        let found = self.entries.iter().rev().find(|entry| entry.live && entry.index == index);
        found.map(|entry| entry.term)
    }

    /// Index of the last entry that counts, if there is any.
    pub(crate) fn last_index(&self) -> Option<u64> {
        self.entries.iter().rev().find(|entry| entry.live).map(|entry| entry.index)
    }
}

/// As [`scan_watched`], with nobody who looks on.
#[cfg(test)]
pub(crate) fn scan(fs: &dyn Fs, dir: &Path, base: u64, findings: &mut Findings) -> Result<LogScan> {
    scan_watched(fs, dir, base, findings, &mut |_| {})
}

/// Reads the log in `dir`, and shows every record that can be read. Entries up to `base` are in the
/// snapshot, so that their loss is none.
///
/// # Errors
///
/// [`Error::Missing`] when there is no such folder, and what the system says. Damage is a finding.
pub(crate) fn scan_watched(
    fs: &dyn Fs,
    dir: &Path,
    base: u64,
    findings: &mut Findings,
    seen: &mut dyn FnMut(&Seen<'_>),
) -> Result<LogScan> {
    let (segments, others) = wal::list(fs, dir)?;
    let mut scanner = Scanner {
        base,
        findings,
        seen,
        log: LogScan { others, ..LogScan::default() },
        live: Vec::new(),
        doubts: Vec::new(),
    };
    let mut chain = Some(0);
    let mut before: Option<&Segment> = None;
    for (number, segment) in segments.iter().enumerate() {
        if scanner.gap_between(before, segment) {
            chain = None;
        }
        chain = scanner.segment(fs, segment, number + 1 == segments.len(), chain)?;
        before = Some(segment);
    }
    scanner.end();
    scanner.log.chain = chain;
    Ok(scanner.log)
}

struct Scanner<'a> {
    base: u64,
    findings: &'a mut Findings,
    seen: &'a mut dyn FnMut(&Seen<'_>),
    log: LogScan,
    /// Numbers of the entries that count so far, their indices increasing.
    live: Vec<usize>,
    /// Damage since the last sound entry: what is lost shows at the next one.
    doubts: Vec<Option<usize>>,
}

impl Scanner<'_> {
    fn gap_between(&mut self, before: Option<&Segment>, segment: &Segment) -> bool {
        let Some(before) = before else { return false };
        let expected = before.name.sequence.wrapping_add(1);
        if expected == segment.name.sequence {
            return false;
        }
        let text =
            format!("segments are missing before it: the sequence should go on at {expected}");
        let place = at(&segment.path, None, None);
        self.doubt(FindingKind::SegmentGap, place, text);
        true
    }

    fn segment(
        &mut self,
        fs: &dyn Fs,
        segment: &Segment,
        last: bool,
        chain: Option<u32>,
    ) -> Result<Option<u32>> {
        let path = segment.path.as_path();
        let file = fs.open_read(path).map_err(|e| Error::io("open", path, e))?;
        let mut reader = SegmentReader::new(&*file, path, last, chain)?;
        let mut facts = SegmentFacts {
            name: segment.name.to_string(),
            sequence: segment.name.sequence,
            first_index: segment.name.first_index,
            size: reader.len(),
            used: 0,
            records: 0,
            entries: 0,
        };
        while let Some(step) = reader.next()? {
            match step {
                Step::Record(record) => {
                    facts.records += 1;
                    facts.entries += u64::from(record.kind == Kind::Entry);
                    let segment = self.log.paths.len();
                    (self.seen)(&Seen { segment, record, data: reader.data() });
                    self.record(path, &record, reader.data());
                }
                Step::ChainBroken { offset } => {
                    let text = "the segment does not continue the one before it: one of the two \
                                was replaced or cut";
                    self.doubt(FindingKind::ChainBroken, at(path, Some(offset), None), text);
                }
                Step::Damage { offset, end, what, cuttable } => {
                    let mut text = format!("{what}, unreadable up to offset {end}");
                    if cuttable {
                        text.push_str("; Swarm would cut the file here and lose what follows");
                    }
                    self.doubt(FindingKind::FrameDamaged, at(path, Some(offset), None), text);
                }
                Step::End { offset, tail } => {
                    facts.used = offset;
                    self.tail(path, offset, tail);
                }
            }
        }
        self.log.paths.push(path.to_owned());
        self.log.segments.push(facts);
        Ok(reader.chain())
    }

    fn tail(&mut self, path: &Path, offset: u64, tail: Tail) {
        let place = at(path, Some(offset), None);
        match tail {
            Tail::Clean => {}
            Tail::Torn(what) => {
                let text = format!("{what}: a write that did not finish; a repair cuts it off");
                self.doubt(FindingKind::TornTail, place, text);
            }
            Tail::Damaged(what) => {
                let text = format!("{what}; nothing behind it can be read");
                self.doubt(FindingKind::FrameDamaged, place, text);
            }
            Tail::Garbage { frame: true, .. } => {
                let text = "zeros where a frame should be, and one frame behind them that \
                            nothing vouches for";
                self.doubt(FindingKind::FrameDamaged, place, text);
            }
            Tail::Garbage { at: from, frame: false } => {
                let place = at(path, Some(from), None);
                let text = format!("bytes behind the end of the segment, which is at {offset}");
                self.findings.warn(FindingKind::Garbage, place, text);
            }
        }
    }

    fn record(&mut self, path: &Path, record: &Record, data: &[u8]) {
        let place = at(path, Some(record.offset), None);
        if record.odd_word {
            let text = "bits of a length word were altered that its CRC does not cover";
            self.findings.warn(FindingKind::ChecksumDamaged, place.clone(), text);
        }
        match record.check {
            Check::Good => {}
            Check::FieldAltered => {
                let text = "the CRC of a record was altered, the record itself was not";
                self.findings.warn(FindingKind::ChecksumDamaged, place.clone(), text);
            }
            Check::DataAltered | Check::Unfollowed => {
                let text = match record.kind {
                    Kind::Entry => "an entry was altered: its CRC is wrong",
                    _ => "a record was altered: its CRC is wrong",
                };
                let index = Entry::parse(data).ok().map(|entry| entry.index);
                let index = index.filter(|_| record.kind == Kind::Entry);
                self.doubt(FindingKind::RecordDamaged, Place { index, ..place.clone() }, text);
            }
            // It follows damage, which was reported, and says nothing of its own.
            Check::Unverified => {}
        }
        let sound = record.check.is_sound();
        let parsed = match record.kind {
            Kind::Entry => self.entry(path, record, data, sound),
            _ if !sound => Ok(()),
            Kind::Metadata => self.metadata(&place, data),
            Kind::State => HardState::parse(data).map(|state| self.state(&place, state)),
            Kind::Snapshot => SnapshotPoint::parse_record(data).map(|point| {
                if point.index > 0 {
                    self.log.snapshots.push(point);
                }
            }),
            Kind::Crc if data.is_empty() => Ok(()),
            Kind::Crc => Err(Error::damaged("a CRC record with data")),
            Kind::Own(number) => Err(Error::unsupported("type of a log record", number)),
            Kind::Other(number) => Err(Error::unsupported("type of a log record", number)),
        };
        if let Err(error) = parsed {
            let text = format!("a record is not well formed although its CRC is right: {error}");
            self.doubt(FindingKind::RecordMalformed, place, text);
        }
    }

    fn metadata(&mut self, place: &Place, data: &[u8]) -> Result<()> {
        match &self.log.metadata {
            None => {
                self.log.member = Some(RaftMember::parse(data)?);
                self.log.metadata = Some(data.to_owned());
            }
            Some(first) if first == data => {}
            Some(_) => {
                let text = "the log names another node than at its start";
                self.doubt(FindingKind::MetadataDiffers, place.clone(), text);
            }
        }
        Ok(())
    }

    fn state(&mut self, place: &Place, state: HardState) {
        if state == HardState::default() {
            return;
        }
        let before = self.log.hard_state.unwrap_or_default();
        if state.commit < before.commit || state.term < before.term {
            let text = "the commit index or the term goes back";
            self.findings.error(FindingKind::RaftViolated, place.clone(), text, None);
        }
        self.log.hard_state = Some(state);
        self.log.committed = self.log.committed.max(state.commit);
    }

    fn entry(&mut self, path: &Path, record: &Record, data: &[u8], sound: bool) -> Result<()> {
        let entry = match Entry::parse(data) {
            Ok(entry) => entry,
            Err(_) if !sound => return Ok(()),
            Err(error) => return Err(error),
        };
        let sound = sound || record.check == Check::Unverified && self.continues(&entry);
        if sound {
            self.follow(&at(path, Some(record.offset), Some(entry.index)), &entry);
        }
        let number = self.log.entries.len();
        self.log.entries.push(EntryRecord {
            segment: self.log.paths.len(),
            offset: record.offset,
            index: entry.index,
            term: entry.term,
            kind: entry.kind,
            live: sound,
            sound,
        });
        if sound {
            self.live.push(number);
        }
        Ok(())
    }

    /// Whether an entry that only its successor vouches for is the next one, or the next but one
    /// where what was lost was an entry too.
    fn continues(&self, entry: &Entry<'_>) -> bool {
        let last = self.live.last().and_then(|number| self.log.entries.get(*number));
        last.is_some_and(|last| {
            (1..=2).contains(&entry.index.saturating_sub(last.index)) && entry.term >= last.term
        })
    }

    /// Fits a sound entry behind those that count so far.
    fn follow(&mut self, place: &Place, entry: &Entry<'_>) {
        let last = self.last().unwrap_or(0);
        let reach = last.max(self.base);
        // Before `base` nothing can be lost, and a follower's log has a gap where it was sent a
        // snapshot.
        let missing = entry.index > reach + 1;
        let loss = missing.then(|| Loss::Entries { first: reach + 1, last: Some(entry.index - 1) });
        for doubt in self.doubts.drain(..) {
            self.findings.set_loss(doubt, loss);
        }
        if missing {
            let text = format!("entries {} to {} are missing", reach + 1, entry.index - 1);
            self.findings.error(FindingKind::IndexGap, place.clone(), text, loss);
        }
        if entry.index <= last && entry.index <= self.log.committed {
            let text = "an entry replaces one that was committed";
            self.findings.error(FindingKind::RaftViolated, place.clone(), text, None);
        }
        while let Some(number) = self.live.last().copied() {
            let Some(top) = self.log.entries.get_mut(number) else { break };
            if top.index < entry.index {
                if top.term > entry.term {
                    let text = format!("term {} after term {}", entry.term, top.term);
                    self.findings.error(FindingKind::RaftViolated, place.clone(), text, None);
                }
                break;
            }
            top.live = false;
            self.live.pop();
        }
    }

    fn last(&self) -> Option<u64> {
        let number = self.live.last().copied()?;
        self.log.entries.get(number).map(|entry| entry.index)
    }

    /// Reports damage whose loss is not known yet.
    fn doubt(&mut self, kind: FindingKind, place: Place, text: impl Into<String>) {
        let finding = self.findings.error(kind, place, text, None);
        self.doubts.push(finding);
    }

    /// No entry follows, so whatever came after the last one may be lost.
    fn end(&mut self) {
        let reach = self.last().unwrap_or(0).max(self.base);
        let loss = Some(Loss::Entries { first: reach + 1, last: None });
        for doubt in self.doubts.drain(..) {
            self.findings.set_loss(doubt, loss);
        }
    }
}
