//! What of an attestation still stands.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::see::{Placed, See};
use super::{Attestation, Body, DIGEST, RecordDigest, RecordKind, SegmentDigest, Verification};
use crate::error::Result;
use crate::swarm::finding::{FindingKind, Findings, Loss, at};
use crate::swarm::folder::Folder;

/// Compares what was attested with what is there.
pub(super) fn compare(
    attestation: &Attestation,
    seen: See,
    folder: &Folder,
) -> Result<Verification> {
    let mut compared = Compared {
        attested: &attestation.body,
        seen: &seen,
        folder,
        findings: Findings::default(),
        standing: 0,
        compacted: 0,
        added: 0,
    };
    compared.node();
    compared.log();
    compared.snapshots();
    compared.key_file();
    let Compared { standing, compacted, added, findings, .. } = compared;
    Ok(Verification {
        attested: attestation.records(),
        standing,
        compacted,
        added,
        attested_to: attestation.last_index(),
        findings: findings.finish(),
        inspection: seen.inspection,
    })
}

struct Compared<'a> {
    attested: &'a Body,
    seen: &'a See,
    folder: &'a Folder,
    findings: Findings,
    standing: u64,
    compacted: u64,
    added: u64,
}

/// A segment that is there.
struct Present<'a> {
    path: PathBuf,
    records: &'a [Placed],
}

impl Compared<'_> {
    fn node(&mut self) {
        let member = self.seen.inspection.raft.member.as_ref();
        if let Some(member) = member.filter(|member| member.node_id != self.attested.node) {
            let text = format!(
                "the log is of node {}, attested was one of node {}",
                member.node_id, self.attested.node
            );
            let place = at(&self.folder.log(), None, None);
            self.findings.error(FindingKind::MetadataDiffers, place, text, Some(Loss::Unknown));
        }
    }

    fn log(&mut self) {
        let names = &self.seen.inspection.raft.segments;
        let mut present: HashMap<&str, Present<'_>> = HashMap::new();
        for (facts, records) in names.iter().zip(&self.seen.records) {
            let path = self.folder.log().join(&facts.name);
            present.insert(&facts.name, Present { path, records });
        }
        let mut begun = false;
        let last = self.attested.segments.len().saturating_sub(1);
        for (number, segment) in self.attested.segments.iter().enumerate() {
            match present.remove(segment.name.as_str()) {
                Some(there) => {
                    begun = true;
                    self.segment(segment, &there, number == last);
                }
                None if !begun && self.is_compacted(segment) => {
                    self.compacted += wide(segment.records.len());
                }
                None => {
                    let path = self.folder.log().join(&segment.name);
                    self.missing(&path, &segment.records, "the segment is gone");
                }
            }
        }
        // Names grow with the sequence.
        let end = self.attested.segments.last().map_or("", |segment| segment.name.as_str());
        for (name, there) in present {
            if name > end {
                self.added += wide(there.records.len());
            } else {
                self.inserted(&there.path, there.records);
            }
        }
    }

    /// Whether Swarm itself would have removed the segment: the snapshot covers it, and the log has
    /// gone on in a later one.
    fn is_compacted(&self, segment: &SegmentDigest) -> bool {
        let raft = &self.seen.inspection.raft;
        let snapshot = raft.snapshots.iter().find(|snapshot| snapshot.used);
        let base = snapshot.and_then(|snapshot| snapshot.index).unwrap_or(0);
        let covered = segment.last_index().is_none_or(|last| last <= base);
        covered && raft.segments.first().is_some_and(|first| first.name > segment.name)
    }

    fn segment(&mut self, attested: &SegmentDigest, there: &Present<'_>, last: bool) {
        let (old, new) = (&attested.records, there.records);
        let same = old.iter().zip(new).take_while(|(old, new)| **old == new.record).count();
        self.standing += wide(same);
        let (old, new) = (old.get(same..).unwrap_or_default(), new.get(same..).unwrap_or_default());
        if old.is_empty() {
            if last {
                self.added += wide(new.len());
            } else {
                self.inserted(&there.path, new);
            }
        } else {
            self.differing(&there.path, old, new, last);
        }
    }

    /// Fits what was attested to what is there, from the first record on that differs.
    fn differing(&mut self, path: &Path, old: &[RecordDigest], new: &[Placed], last: bool) {
        let mut places: HashMap<[u8; DIGEST], Vec<usize>> = HashMap::new();
        for (number, placed) in new.iter().enumerate() {
            places.entry(placed.record.digest).or_default().push(number);
        }
        // The next place of a record at or after `from`.
        let next = |record: &RecordDigest, from: usize| {
            let places = places.get(&record.digest)?;
            places.get(places.partition_point(|place| *place < from)).copied()
        };
        let (mut i, mut j) = (0, 0);
        let mut gone = Vec::new();
        while let Some(record) = old.get(i) {
            match next(record, j) {
                Some(place) => {
                    self.changed(path, &gone, new.get(j..place).unwrap_or_default());
                    gone.clear();
                    self.standing += 1;
                    j = place + 1;
                }
                None => gone.push(*record),
            }
            i += 1;
        }
        let rest = new.get(j..).unwrap_or_default();
        if gone.is_empty() {
            if last {
                self.added += wide(rest.len());
            } else {
                self.inserted(path, rest);
            }
            return;
        }
        // One for one at the end: altered in place. More or fewer: put back and gone on from there.
        let paired = gone.len().min(rest.len());
        let in_place = last && gone.iter().zip(rest).all(|(old, new)| alike(old, &new.record));
        if in_place && gone.len() <= rest.len() {
            let (altered, more) = rest.split_at(paired);
            self.changed(path, &gone, altered);
            self.added += wide(more.len());
        } else if rest.is_empty() {
            self.missing(path, &gone, "the log was cut, or an older copy of it put back");
        } else {
            self.changed(path, &gone, rest);
        }
    }

    /// Reports records that are gone, with others in their place.
    fn changed(&mut self, path: &Path, gone: &[RecordDigest], there: &[Placed]) {
        if gone.len() == there.len() && gone.iter().zip(there).all(|(o, n)| alike(o, &n.record)) {
            for (old, new) in gone.iter().zip(there) {
                let index = old.index();
                let text = format!("{} is not the one that was attested", name(old));
                let loss = index.map(|index| Loss::Entries { first: index, last: Some(index) });
                let place = at(path, Some(new.offset), index);
                self.findings.error(FindingKind::AttestedAltered, place, text, loss);
            }
            return;
        }
        if !gone.is_empty() {
            let text = if there.is_empty() {
                "they were taken out of the log"
            } else {
                "others stand in their place: the log was altered, or an older copy put back and \
                 gone on from"
            };
            self.missing(path, gone, text);
        }
        self.inserted(path, there);
    }

    fn missing(&mut self, path: &Path, gone: &[RecordDigest], why: &str) {
        let mut entries = gone.iter().filter_map(RecordDigest::index);
        let first = entries.next();
        let last = entries.next_back().or(first);
        let text = format!(
            "{} attested records are not where they were{}: {why}",
            gone.len(),
            match (first, last) {
                (Some(first), Some(last)) if first != last =>
                    format!(", entries {first} to {last}"),
                (Some(first), _) => format!(", entry {first}"),
                _ => String::new(),
            }
        );
        let loss = first.map(|first| Loss::Entries { first, last });
        self.findings.error(FindingKind::AttestedMissing, at(path, None, first), text, loss);
    }

    fn inserted(&mut self, path: &Path, there: &[Placed]) {
        let Some(first) = there.first() else { return };
        let text =
            format!("{} records stand among the attested ones that were not there", there.len());
        let place = at(path, Some(first.offset), first.record.index());
        self.findings.error(FindingKind::AttestedInserted, place, text, None);
    }

    fn snapshots(&mut self) {
        let newest = self.seen.snapshots.first().map(|(name, _)| name.as_str());
        for (name, digest) in &self.attested.snapshots {
            let place = at(&self.folder.snapshots().join(name), None, None);
            match self.seen.snapshots.iter().find(|(there, _)| there == name) {
                Some((_, there)) if there == digest => {}
                Some(_) => {
                    let text = "the snapshot is not the one that was attested";
                    let loss = Some(Loss::Unknown);
                    self.findings.error(FindingKind::AttestedAltered, place, text, loss);
                }
                // Swarm removes those that a newer one makes needless.
                None if self.added > 0 && newest.is_some_and(|newest| newest > name.as_str()) => {
                    let text = "the attested snapshot gave way to a newer one";
                    self.findings.note(FindingKind::AttestedMissing, place, text);
                }
                None => {
                    let text = "the attested snapshot is gone";
                    let loss = Some(Loss::Unknown);
                    self.findings.error(FindingKind::AttestedMissing, place, text, loss);
                }
            }
        }
        for (name, _) in &self.seen.snapshots {
            let known = self.attested.snapshots.iter().any(|(attested, _)| attested == name);
            if !known && self.added == 0 {
                let place = at(&self.folder.snapshots().join(name), None, None);
                let text = "a snapshot that was not there, although no record was added";
                self.findings.error(FindingKind::AttestedInserted, place, text, None);
            }
        }
    }

    /// The facts that nothing in the key file protects.
    fn key_file(&mut self) {
        let Some(now) = &self.seen.inspection.key else { return };
        let was = self.attested;
        let mut changed = Vec::new();
        if was.locked != now.locked {
            changed.push(if was.locked { "it was locked and is not" } else { "it is locked now" });
        }
        let older = now.kek_version < was.kek_version;
        if older {
            changed.push("kek-version went back: an older key file was put back");
        } else if now.kek_version != was.kek_version {
            changed.push("kek-version is another");
        }
        let stripped = was.needs_rotation && !now.needs_rotation && !now.has_pending_dek;
        if stripped {
            changed.push("the mark that the DEK must be rotated is gone");
        }
        for text in changed {
            let place = at(&self.folder.key_file(), None, None);
            // A daemon that ran may have done it.
            if self.added > 0 && !older {
                self.findings.warn(FindingKind::AttestedKeyFile, place, text);
            } else {
                self.findings.error(FindingKind::AttestedKeyFile, place, text, None);
            }
        }
    }
}

/// Whether one could have been made of the other in its place.
fn alike(old: &RecordDigest, new: &RecordDigest) -> bool {
    match (old.kind, new.kind) {
        (RecordKind::Entry { index: old, .. }, RecordKind::Entry { index: new, .. }) => old == new,
        (old, new) => old == new,
    }
}

/// What a record is called.
fn name(record: &RecordDigest) -> String {
    match record.kind {
        RecordKind::Entry { index, .. } => format!("entry {index}"),
        RecordKind::Metadata => "a metadata record".to_owned(),
        RecordKind::State => "a state record".to_owned(),
        RecordKind::SnapshotPoint => "a snapshot's record".to_owned(),
    }
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
