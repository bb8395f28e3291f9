//! A verdict on every file and every record of a manager's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::{Fs, RealFs};
use crate::key::UnlockKey;
use crate::swarm::finding::{Finding, FindingKind, Severity};
use crate::swarm::folder::Folder;
use crate::swarm::inspect::{Inspection, inspect_watched};
use crate::swarm::log::{Entry, Seen, Unopened, Visit};
use crate::swarm::state::Watch;
use crate::wal::Kind;

/// What [`doctor()`] found. Public facts only.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Diagnosis {
    /// What [`inspect`](crate::swarm::inspect()) finds; its findings say what is lost.
    pub inspection: Inspection,
    /// The files: key file and certificates, the log's segments in their order, the snapshots, what
    /// else lies there, and what is missing.
    pub files: Vec<FileVerdict>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum FileKind {
    /// `swarm-node.key`.
    Key,
    /// A certificate.
    Certificate,
    /// A segment of the log.
    Segment,
    /// A snapshot.
    Snapshot,
    /// Anything else, folders of older formats included.
    Other,
}

/// A verdict on a file or a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Verdict {
    /// As it was written, and opened where it is sealed.
    Good,
    /// A later entry or a snapshot stands in its place. It may still be sealed under a retired key.
    Replaced,
    /// As it was written as far as its checksum tells; no key was there to open it.
    Sealed,
    /// A crash, a repair or an upgrade left it behind.
    Leftover,
    /// It belongs to another place, node or cluster, or to no Swarm at all.
    Foreign,
    /// It ends too early.
    Truncated,
    /// It does not follow what stands before it.
    OutOfChain,
    /// Its checksum is right and the key does not open it: it is sealed under another one, or was
    /// altered by somebody who made the checksum fit.
    WrongKey,
    /// Altered or not readable.
    Damaged,
    /// It should be there and is not.
    Missing,
}

/// A verdict on a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct FileVerdict {
    /// The file or folder.
    #[cfg_attr(feature = "serde", serde(serialize_with = "path_text"))]
    pub path: PathBuf,
    /// What it is.
    pub kind: FileKind,
    /// The worst that holds for it or one of its records.
    pub verdict: Verdict,
    /// Why, for people; nothing where the records say it.
    pub text: Option<String>,
    /// Of a segment: what stands in it, in its order.
    pub records: Vec<RecordVerdict>,
}

/// A verdict on a record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RecordVerdict {
    /// Where it begins in its file, in bytes.
    pub offset: u64,
    /// What it is: `metadata`, `entry`, `state`, `crc`, `snapshot`, `unknown`, or `bytes` that
    /// cannot be read as a record.
    pub kind: &'static str,
    /// Index of an entry, as it says itself.
    pub index: Option<u64>,
    /// Term of an entry, as it says itself.
    pub term: Option<u64>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, for people.
    pub text: Option<String>,
}

impl Diagnosis {
    /// Whether nothing is wrong. What is left over or sealed without a key is not wrong.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.files.iter().all(|file| file.verdict < Verdict::Foreign)
    }
}

/// Judges every file and every record in `dir`, the folder that holds `certificates` and `raft`.
///
/// Without the unlock key of a locked folder what is sealed is [`Verdict::Sealed`]: checksums and
/// order are judged all the same. Nothing is changed.
///
/// ```no_run
/// let diagnosis = nodeseal::swarm::doctor("/var/lib/docker/swarm", None)?;
/// for file in &diagnosis.files {
///     println!("{:?} {}", file.verdict, file.path.display());
/// }
/// # Ok::<(), nodeseal::Error>(())
/// ```
///
/// # Errors
///
/// As for [`inspect`](crate::swarm::inspect()): a wrong key and damage are no errors here.
pub fn doctor(dir: impl AsRef<Path>, key: Option<&UnlockKey>) -> Result<Diagnosis> {
    doctor_in(&RealFs::default(), dir.as_ref(), key)
}

/// As [`doctor`], through a given file system.
///
/// # Errors
///
/// As for [`doctor`].
pub fn doctor_in(fs: &dyn Fs, dir: &Path, key: Option<&UnlockKey>) -> Result<Diagnosis> {
    let mut records = Records::default();
    let inspection = inspect_watched(fs, dir, key, &mut records)?;
    let mut files = Files::new(&inspection, records.segments, &Folder::new(dir));
    for finding in &inspection.findings {
        files.add(finding);
    }
    let files = files.finish();
    Ok(Diagnosis { inspection, files })
}

/// Collects the records of every segment, by their offsets.
#[derive(Default)]
struct Records {
    segments: Vec<BTreeMap<u64, RecordVerdict>>,
}

impl Watch for Records {
    fn record(&mut self, seen: &Seen<'_>) {
        while self.segments.len() <= seen.segment {
            self.segments.push(BTreeMap::new());
        }
        let Some(segment) = self.segments.get_mut(seen.segment) else { return };
        let kind = match seen.record.kind {
            Kind::Metadata => "metadata",
            Kind::Entry => "entry",
            Kind::State => "state",
            Kind::Crc => "crc",
            Kind::Snapshot => "snapshot",
            Kind::Own(_) | Kind::Other(_) => "unknown",
        };
        let entry = Entry::parse(seen.data).ok().filter(|_| seen.record.kind == Kind::Entry);
        let record = RecordVerdict {
            offset: seen.record.offset,
            kind,
            index: entry.map(|entry| entry.index),
            term: entry.map(|entry| entry.term),
            verdict: Verdict::Good,
            text: None,
        };
        segment.insert(record.offset, record);
    }

    fn entry(&mut self, visit: &Visit<'_>) {
        let segment = self.segments.get_mut(visit.entry.segment);
        let Some(record) = segment.and_then(|segment| segment.get_mut(&visit.entry.offset)) else {
            return;
        };
        let (verdict, text) = match (visit.opened, visit.counts) {
            (None, _) if !visit.entry.sound => (Verdict::Damaged, None),
            _ if !visit.entry.live => {
                (Verdict::Replaced, Some("a later entry stands in its place"))
            }
            (Some(Err(Unopened::NoKeyOpens)), false) => (
                Verdict::Replaced,
                Some("the snapshot stands in its place; it is sealed under a retired key"),
            ),
            (None, _) => (Verdict::Sealed, None),
            (Some(_), _) => (Verdict::Good, None),
        };
        record.verdict = verdict;
        record.text = text.map(str::to_owned);
    }
}

/// Verdicts on files, as findings are added.
struct Files {
    files: Vec<FileVerdict>,
    records: BTreeMap<PathBuf, BTreeMap<u64, RecordVerdict>>,
}

impl Files {
    fn new(found: &Inspection, segments: Vec<BTreeMap<u64, RecordVerdict>>, at: &Folder) -> Self {
        let mut files = Self { files: Vec::new(), records: BTreeMap::new() };
        let key = match &found.locked_by {
            None => Verdict::Good,
            Some(Error::KeyRequired) => Verdict::Sealed,
            Some(Error::WrongKey) => Verdict::WrongKey,
            Some(Error::Missing(_)) => Verdict::Missing,
            Some(_) => Verdict::Damaged,
        };
        files.put(at.key_file(), FileKind::Key, key);
        files.put(at.certificate(), FileKind::Certificate, Verdict::Good);
        files.put(at.root_certificate(), FileKind::Certificate, Verdict::Good);
        let mut segments = segments.into_iter();
        for segment in &found.raft.segments {
            let path = at.log().join(&segment.name);
            files.records.insert(path.clone(), segments.next().unwrap_or_default());
            files.put(path, FileKind::Segment, Verdict::Good);
        }
        let opened = found.objects.is_some();
        for snapshot in &found.raft.snapshots {
            let path = at.snapshots().join(&snapshot.name);
            // Of several, one is opened.
            let verdict = match (snapshot.used, opened) {
                (true, _) => Verdict::Good,
                (false, true) => Verdict::Replaced,
                (false, false) => Verdict::Sealed,
            };
            files.put(path, FileKind::Snapshot, verdict);
        }
        files
    }

    fn put(&mut self, path: PathBuf, kind: FileKind, verdict: Verdict) {
        self.files.push(FileVerdict { path, kind, verdict, text: None, records: Vec::new() });
    }

    fn add(&mut self, finding: &Finding) {
        let Some(verdict) = verdict(finding) else { return };
        let Some(path) = &finding.place.file else { return };
        if let (Some(records), Some(offset)) = (self.records.get_mut(path), finding.place.offset) {
            let record = records.entry(offset).or_insert_with(|| RecordVerdict {
                offset,
                kind: "bytes",
                index: None,
                term: None,
                verdict,
                text: None,
            });
            record.verdict = record.verdict.max(verdict);
            add_text(&mut record.text, &finding.text);
            return;
        }
        if !self.files.iter().any(|file| file.path == *path) {
            self.put(path.clone(), FileKind::Other, verdict);
        }
        let Some(file) = self.files.iter_mut().find(|file| file.path == *path) else { return };
        if verdict > Verdict::Good {
            file.verdict = file.verdict.max(verdict);
        }
        add_text(&mut file.text, &finding.text);
    }

    fn finish(self) -> Vec<FileVerdict> {
        let Self { mut files, mut records } = self;
        for file in &mut files {
            let records = records.remove(&file.path).unwrap_or_default();
            file.records = records.into_values().collect();
            let verdicts: BTreeSet<Verdict> =
                file.records.iter().map(|record| record.verdict).collect();
            // That some of its entries were replaced says nothing of a segment.
            let worst = verdicts.into_iter().rfind(|verdict| *verdict != Verdict::Replaced);
            file.verdict = file.verdict.max(worst.unwrap_or(Verdict::Good));
        }
        files
    }
}

fn add_text(text: &mut Option<String>, more: &str) {
    match text {
        Some(text) => {
            text.push_str("; ");
            text.push_str(more);
        }
        None => *text = Some(more.to_owned()),
    }
}

/// What a finding makes of the place that it is about; `None`: nothing.
const fn verdict(finding: &Finding) -> Option<Verdict> {
    Some(match finding.kind {
        // What is strange in a key file that opens.
        FindingKind::KeyFile | FindingKind::KekVersionAhead
            if !matches!(finding.severity, Severity::Error) =>
        {
            Verdict::Good
        }
        FindingKind::NotLocked
        | FindingKind::RotationUnfinished
        | FindingKind::UnlockKeyAhead
        | FindingKind::Uncommitted => Verdict::Good,
        FindingKind::StaleKeyFile | FindingKind::LegacyFolder | FindingKind::Leftover => {
            Verdict::Leftover
        }
        FindingKind::UnknownFile
        | FindingKind::MetadataDiffers
        | FindingKind::EntryPlaintext
        | FindingKind::RecordCopied => Verdict::Foreign,
        FindingKind::TornTail | FindingKind::LogBehind => Verdict::Truncated,
        FindingKind::SnapshotName
        | FindingKind::SnapshotUnknown
        | FindingKind::SegmentGap
        | FindingKind::ChainBroken
        | FindingKind::IndexGap
        | FindingKind::RaftViolated
        | FindingKind::ChangeMisfit => Verdict::OutOfChain,
        FindingKind::SnapshotUnopened | FindingKind::EntryUnopened => Verdict::WrongKey,
        FindingKind::KeyFile
        | FindingKind::KekVersionAhead
        | FindingKind::Certificate
        | FindingKind::SnapshotDamaged
        | FindingKind::FrameDamaged
        | FindingKind::RecordDamaged
        | FindingKind::ChecksumDamaged
        | FindingKind::RecordMalformed
        | FindingKind::Garbage
        | FindingKind::EntryNotARecord
        | FindingKind::ContentDamaged
        | FindingKind::AttestedAltered
        | FindingKind::AttestedInserted
        | FindingKind::AttestedKeyFile => Verdict::Damaged,
        FindingKind::SnapshotMissing | FindingKind::LogMissing | FindingKind::AttestedMissing => {
            Verdict::Missing
        }
        // Said of the entries themselves, and of the snapshot that could not be used.
        FindingKind::RetiredKey | FindingKind::SnapshotFallback | FindingKind::Omitted => {
            return None;
        }
    })
}

#[cfg(feature = "serde")]
pub(crate) fn path_text<S: serde::Serializer>(
    path: &Path,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
