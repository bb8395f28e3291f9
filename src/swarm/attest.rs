//! Attestations of a manager's folder, and their verification.
//!
//! Swarm binds a sealed record to no place: a log whose entries were exchanged, dropped or put back
//! from an older copy is accepted, as long as its checksums fit. An [`Attestation`] is a keyed
//! digest over everything that gives a record its place. It is made while the daemon is stopped and
//! kept elsewhere; [`verify`] later says what of it still stands.

mod compare;
mod see;
mod tags;
mod text;

use std::path::Path;

use see::See;
use tags::Tag;

use crate::error::{Error, Result};
use crate::fs::{Fs, RealFs};
use crate::key::UnlockKey;
use crate::key::valid_name;
use crate::swarm::finding::{Finding, Severity};
use crate::swarm::folder::Folder;
use crate::swarm::inspect::Inspection;

/// Length of a record's digest, in bytes: SHA-256, cut.
const DIGEST: usize = 16;

/// What a manager's folder held when it was stopped: every record of its log in order, its
/// snapshots, the facts of its key file. No secret is in it.
///
/// # Format
///
/// Text, ASCII, lines that end in LF, fields parted by one blank, one canonical form.
///
/// ```text
/// nodeseal-swarm-attestation 1
/// node <Swarm node id>
/// key-file <locked|clear> <kek-version|-> <rotate|settled>
/// segment <file name>                              each followed by its records, CRC records left out
/// entry <index> <term> <type> <digest>
/// metadata|state|snapshot-point <digest>
/// snapshot <file name> <digest>
/// tag dek|unlock <key id> <tag>                    one to three
/// ```
///
/// A record's digest is the first 16 bytes of SHA-256 over its type (one byte) and data, which has
/// term, index and the sealed content with its tag in it; a snapshot's over its file. A tag is
/// HKDF-SHA256 of the key with the label `nodeseal/v1/swarm-attest`, the word `dek` or `unlock` and
/// SHA-256 over all lines before the first `tag`; a key's id the first 8 bytes with the label
/// `nodeseal/v1/swarm-attest-id` and that word. Numbers are decimal, bytes hexadecimal.
///
/// # Security
///
/// There is a tag for each key that the folder has: current DEK, pending DEK, unlock key. So an
/// attestation outlives a change of the unlock key, which in Swarm keeps the DEK, and a change of
/// the DEK that keeps the unlock key; after a change of both, or once records were sealed anew, a
/// new one is needed. Whoever has one of the keys can make attestations; of a folder that is not
/// locked, that is everybody who can read it. An attestation that lies in the folder is put back
/// together with it: keep it elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    body: Body,
    tags: Vec<Tag>,
}

/// What is attested.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Body {
    node: String,
    locked: bool,
    kek_version: Option<u64>,
    needs_rotation: bool,
    segments: Vec<SegmentDigest>,
    /// Name and digest of each, the newest first.
    snapshots: Vec<(String, [u8; DIGEST])>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct SegmentDigest {
    name: String,
    records: Vec<RecordDigest>,
}

impl SegmentDigest {
    /// Index of the last entry.
    fn last_index(&self) -> Option<u64> {
        self.records.iter().rev().find_map(RecordDigest::index)
    }
}

/// A record that is attested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RecordDigest {
    kind: RecordKind,
    digest: [u8; DIGEST],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordKind {
    Metadata,
    Entry { index: u64, term: u64, kind: u64 },
    State,
    SnapshotPoint,
}

/// What [`verify`] found.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Verification {
    /// How many records were attested.
    pub attested: u64,
    /// How many of them stand where they stood, unaltered.
    pub standing: u64,
    /// How many went with segments that a snapshot covers, as Swarm removes them.
    pub compacted: u64,
    /// How many records came after the attested ones: the daemon ran since.
    pub added: u64,
    /// Index of the last entry that was attested.
    pub attested_to: Option<u64>,
    /// What contradicts the attestation, and what changed as it may while the daemon runs.
    pub findings: Vec<Finding>,
    /// What the folder is like apart from the attestation. Its findings count too.
    pub inspection: Inspection,
}

impl Verification {
    /// Whether nothing contradicts the attestation and nothing is damaged.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.faults().next().is_none()
    }

    /// What contradicts the attestation, and what is damaged.
    pub fn faults(&self) -> impl Iterator<Item = &Finding> {
        let all = self.findings.iter().chain(&self.inspection.findings);
        all.filter(|finding| finding.severity == Severity::Error)
    }
}

impl Attestation {
    /// Index of the last entry that was attested.
    #[must_use]
    pub fn last_index(&self) -> Option<u64> {
        self.body.last_index()
    }

    /// How many records were attested.
    #[must_use]
    pub fn records(&self) -> u64 {
        let count: usize = self.body.segments.iter().map(|segment| segment.records.len()).sum();
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

impl Body {
    fn last_index(&self) -> Option<u64> {
        self.segments.iter().rev().find_map(SegmentDigest::last_index)
    }
}

impl RecordDigest {
    /// The index of an entry.
    const fn index(&self) -> Option<u64> {
        match self.kind {
            RecordKind::Entry { index, .. } => Some(index),
            _ => None,
        }
    }
}

/// Attests what is in `dir`, the folder of a manager that is stopped.
///
/// ```no_run
/// use nodeseal::UnlockKey;
/// use nodeseal::swarm::{Attestation, attest, verify};
///
/// let key = UnlockKey::from_text("SWMKEY-1-Lh2nIahpm1gNl17yUYIEjb90rMgvE9CS+rrp/d1nquo")?;
/// let kept = attest("/var/lib/docker/swarm", Some(&key))?.to_text();
/// // Later, from where it was kept:
/// let attestation = Attestation::parse(kept.as_bytes())?;
/// let found = verify("/var/lib/docker/swarm", Some(&key), &attestation)?;
/// for fault in found.faults() {
///     eprintln!("{fault}");
/// }
/// # Ok::<(), nodeseal::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::KeyRequired`], [`Error::WrongKey`]; [`Error::Damaged`] with the first place that is
/// damaged: what is not whole is not attested. [`Error::Busy`] while a dockerd runs on the folder;
/// [`Error::Missing`] and [`Error::Io`].
pub fn attest(dir: impl AsRef<Path>, key: Option<&UnlockKey>) -> Result<Attestation> {
    attest_in(&RealFs::default(), dir.as_ref(), key)
}

/// As [`attest`], through a given file system.
///
/// # Errors
///
/// As for [`attest`].
pub fn attest_in(fs: &dyn Fs, dir: &Path, key: Option<&UnlockKey>) -> Result<Attestation> {
    let _locks = Folder::new(dir).lock_to_read(fs)?;
    let seen = See::folder(fs, dir, key)?;
    let damaged = |finding: &&Finding| finding.severity == Severity::Error;
    if let Some(fault) = seen.inspection.findings.iter().find(damaged) {
        let what = "the folder is not whole, which must be settled before it is attested";
        return Err(Error::Damaged { what, place: fault.place.clone() });
    }
    let body = seen.body()?;
    // They stand as they are in the text.
    valid_name("node", &body.node)?;
    for (name, _) in &body.snapshots {
        valid_name("snapshot", name)?;
    }
    let tags = tags::of_folder(fs, dir, key, &body)?;
    Ok(Attestation { body, tags })
}

/// Compares `dir`, the folder of a manager that is stopped, with an attestation.
///
/// A daemon that ran in between has written more behind the attested records, and may have removed
/// segments that a snapshot covers. That is told and is no fault; what is still there must be as it
/// was attested. What came later is not attested: of it only copies of sealed records show.
///
/// # Errors
///
/// [`Error::WrongKey`] if the folder has none of the keys that the attestation was made under, or
/// the unlock key is wrong; [`Error::KeyRequired`]; [`Error::Unauthentic`] if the attestation was
/// altered; [`Error::Damaged`] if the key file is. [`Error::Busy`] while a dockerd runs on the
/// folder; [`Error::Missing`] and [`Error::Io`].
pub fn verify(
    dir: impl AsRef<Path>,
    key: Option<&UnlockKey>,
    attestation: &Attestation,
) -> Result<Verification> {
    verify_in(&RealFs::default(), dir.as_ref(), key, attestation)
}

/// As [`verify`], through a given file system.
///
/// # Errors
///
/// As for [`verify`].
pub fn verify_in(
    fs: &dyn Fs,
    dir: &Path,
    key: Option<&UnlockKey>,
    attestation: &Attestation,
) -> Result<Verification> {
    let folder = Folder::new(dir);
    let _locks = folder.lock_to_read(fs)?;
    tags::check(&attestation.tags, &tags::of_folder(fs, dir, key, &attestation.body)?)?;
    let seen = See::folder(fs, dir, key)?;
    compare::compare(attestation, seen, &folder)
}
