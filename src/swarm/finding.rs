use core::fmt;

use crate::error::Place;

/// More findings than this are counted, not kept: a forged file must not fill the memory.
const MAX_KEPT: usize = 4096;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing, nothing is wrong.
    Note,
    /// Nothing is lost, something should be done.
    Warning,
    /// Damage.
    Error,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum FindingKind {
    /// The key file cannot be used.
    KeyFile,
    /// The key file is not locked: the DEK stands in the clear.
    NotLocked,
    /// A rotation of the DEK has begun and is not finished.
    RotationUnfinished,
    /// A temporary file with key material was left behind by a crash.
    StaleKeyFile,
    /// A folder of an older format is still there, with its plaintext.
    LegacyFolder,
    /// A file was left behind by a crash or a repair.
    Leftover,
    /// A file is there that Swarm does not put there.
    UnknownFile,
    /// A snapshot is damaged.
    SnapshotDamaged,
    /// A snapshot is whole as far as its CRC tells, but no key opens it.
    SnapshotUnopened,
    /// A snapshot's name is not that of its content.
    SnapshotName,
    /// A snapshot could not be used, and an older one or none was used in its place.
    SnapshotFallback,
    /// The log names a snapshot that is not there.
    SnapshotMissing,
    /// A snapshot is there that the log does not know.
    SnapshotUnknown,
    /// There is no log.
    LogMissing,
    /// Segments are missing between two that are there.
    SegmentGap,
    /// A segment does not continue the one before it.
    ChainBroken,
    /// Bytes in a segment that cannot be read.
    FrameDamaged,
    /// A record's data was altered.
    RecordDamaged,
    /// A record's CRC, or bits of its length word, were altered; the record itself was not.
    ChecksumDamaged,
    /// A record is not well formed although its CRC is right.
    RecordMalformed,
    /// The log ends in a write that did not finish.
    TornTail,
    /// Something stands behind the end of a segment.
    Garbage,
    /// Entries are missing.
    IndexGap,
    /// The node knew of more entries than the log holds.
    LogBehind,
    /// A committed entry was overwritten, or terms go back: no raft log is written so.
    RaftViolated,
    /// Segments disagree about the node they are of.
    MetadataDiffers,
    /// No key opens an entry.
    EntryUnopened,
    /// An entry is not sealed although the log's entries are.
    EntryPlaintext,
    /// An entry's content is not a sealed record, or of an unknown algorithm.
    EntryNotARecord,
    /// Two entries have the same sealed content, which Swarm accepts and nobody writes.
    RecordCopied,
    /// The key file's `kek-version` is beyond the log's end: it was altered, or the log cut; or, as a
    /// warning, the node is one of several managers and lags behind.
    KekVersionAhead,
    /// A sole manager's key file has another unlock key than the cluster, as of a later version: a change
    /// was interrupted, or `kek-version` altered.
    UnlockKeyAhead,
    /// An attested record or snapshot was altered.
    AttestedAltered,
    /// Attested records or an attested snapshot are not where they were.
    AttestedMissing,
    /// Something stands among what was attested that was not there.
    AttestedInserted,
    /// A fact of the key file is not as it was attested.
    AttestedKeyFile,
    /// A certificate is missing or damaged, or is not of this key, node or cluster.
    Certificate,
    /// Entries under a retired key are still on the disk.
    RetiredKey,
    /// Entries that are not known to be committed.
    Uncommitted,
    /// What was sealed is no request or snapshot of Swarm's, or an object in it is not.
    ContentDamaged,
    /// A change does not fit the objects: one that exists is created, or one that does not is
    /// updated or removed.
    ChangeMisfit,
    /// There were more findings than are kept.
    Omitted,
}

/// What is lost by what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Loss {
    /// The log entries from `first` to `last`, both included; without `last`, all that followed.
    Entries {
        /// Index of the first.
        first: u64,
        /// Index of the last.
        last: Option<u64>,
    },
    /// An object or change within an entry or snapshot that was otherwise read.
    Content,
    /// It cannot be told.
    Unknown,
}

/// Something about a state that its owner should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub kind: FindingKind,
    /// Where it was found.
    #[cfg_attr(feature = "serde", serde(serialize_with = "place"))]
    pub place: Place,
    /// What it is, for people. Not part of the API.
    pub text: String,
    /// What is lost; `None`: nothing.
    pub loss: Option<Loss>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}{}: {}", self.place, self.text)?;
        match self.loss {
            None => Ok(()),
            Some(Loss::Entries { first, last: Some(last) }) if first == last => {
                write!(f, "; lost: entry {first}")
            }
            Some(Loss::Entries { first, last: Some(last) }) => {
                write!(f, "; lost: entries {first} to {last}")
            }
            Some(Loss::Entries { first, last: None }) => {
                write!(f, "; lost: whatever came from entry {first} on")
            }
            Some(Loss::Content) => f.write_str("; lost: that change or object"),
            Some(Loss::Unknown) => f.write_str("; what is lost cannot be told"),
        }
    }
}

/// Collects findings.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Vec<Finding>,
    omitted: u64,
    omitted_loss: bool,
}

impl Findings {
    pub(crate) fn note(&mut self, kind: FindingKind, place: Place, text: impl Into<String>) {
        self.push(Severity::Note, kind, place, text.into(), None);
    }

    pub(crate) fn warn(&mut self, kind: FindingKind, place: Place, text: impl Into<String>) {
        self.push(Severity::Warning, kind, place, text.into(), None);
    }

    pub(crate) fn error(
        &mut self,
        kind: FindingKind,
        place: Place,
        text: impl Into<String>,
        loss: Option<Loss>,
    ) -> Option<usize> {
        self.push(Severity::Error, kind, place, text.into(), loss)
    }

    /// Changes what an earlier finding says to be lost.
    pub(crate) fn set_loss(&mut self, finding: Option<usize>, loss: Option<Loss>) {
        match finding.and_then(|number| self.kept.get_mut(number)) {
            Some(finding) => finding.loss = loss,
            None => self.omitted_loss |= loss.is_some(),
        }
    }

    /// Whether anything of this kind is listed.
    pub(crate) fn has(&self, kind: FindingKind) -> bool {
        self.kept.iter().any(|finding| finding.kind == kind)
    }

    /// Adds others that were collected apart.
    pub(crate) fn extend(&mut self, others: Vec<Finding>) {
        for Finding { severity, kind, place, text, loss } in others {
            self.push(severity, kind, place, text, loss);
        }
    }

    /// All findings in the order in which they were made.
    pub(crate) fn finish(mut self) -> Vec<Finding> {
        if self.omitted > 0 {
            self.kept.push(Finding {
                severity: Severity::Error,
                kind: FindingKind::Omitted,
                place: Place::default(),
                text: format!("{} more findings are not listed", self.omitted),
                loss: self.omitted_loss.then_some(Loss::Unknown),
            });
        }
        self.kept
    }

    fn push(
        &mut self,
        severity: Severity,
        kind: FindingKind,
        place: Place,
        text: String,
        loss: Option<Loss>,
    ) -> Option<usize> {
        if self.kept.len() >= MAX_KEPT {
            self.omitted = self.omitted.saturating_add(1);
            self.omitted_loss |= loss.is_some();
            return None;
        }
        self.kept.push(Finding { severity, kind, place, text, loss });
        Some(self.kept.len() - 1)
    }
}

/// A place in a file.
pub(crate) fn at(file: &std::path::Path, offset: Option<u64>, index: Option<u64>) -> Place {
    Place { file: Some(file.to_owned()), offset, index }
}

#[cfg(feature = "serde")]
fn place<S: serde::Serializer>(place: &Place, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeStruct;
    let mut fields = serializer.serialize_struct("Place", 3)?;
    let file = place.file.as_ref().map(|file| file.display().to_string());
    fields.serialize_field("file", &file)?;
    fields.serialize_field("offset", &place.offset)?;
    fields.serialize_field("index", &place.index)?;
    fields.end()
}
