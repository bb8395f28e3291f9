//! A manager's whole state, from its folder.

mod key;

use std::path::Path;

use crate::error::{Error, Place, Result};
use crate::fs::{self, Fs, RealFs};
use crate::key::UnlockKey;
use crate::secret::SecretBytes;
use crate::swarm::finding::{Finding, FindingKind, Findings, Loss, at};
use crate::swarm::folder::{Folder, report_others};
use crate::swarm::key_file::{KeyFile, NodeKeys};
use crate::swarm::log::{
    self, EntryFacts, EntryKind, EntryRecord, HardState, Keys, LogScan, RaftMember, Seen,
    SegmentFacts, Visit,
};
use crate::swarm::record::Cipher;
use crate::swarm::replay::{Objects, Replay};
use crate::swarm::snapshot::{self, Loaded, SnapshotFacts, SnapshotScan};

pub(crate) use key::{PLAUSIBLE_LAG, compare_key, compare_unlock_key};

/// The longest key file that is read, in bytes.
const MAX_KEY_FILE: usize = 1 << 20;

/// The state of a Docker Swarm manager, as its folder holds it.
///
/// The folder is only read: nothing is created, repaired, locked or removed. It should not be in
/// use by a running daemon.
///
/// # Damage
///
/// What can be read is read, and what cannot is told by a [`Finding`] with file, offset and index.
/// Ask [`State::is_complete`] before relying on what is *not* in a state.
///
/// Not everything shows. Swarm's records are not bound to their places, and nothing outside the
/// folder says how long the log was: a folder that was replaced by an older copy of itself, or a
/// log that was cut exactly between two frames, is noticed only if the node's own commit index or
/// a snapshot tells of entries that the log does not have.
///
/// # Which entries count
///
/// Those behind the snapshot, up to the commit index that the node last wrote. Later ones may have
/// been replaced by the cluster; they are not applied, and reported. If the node was the only
/// manager at its commit index they cannot have been, and a daemon would commit them all at its
/// start, a membership change among them too: so does this.
#[derive(Debug)]
#[non_exhaustive]
pub struct State {
    /// Secrets, services and all other objects.
    pub objects: Objects,
    /// What log and snapshots are like.
    pub raft: RaftFacts,
    /// What was found, in the order in which it was.
    pub findings: Vec<Finding>,
}

/// What a manager's log and snapshots are like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RaftFacts {
    /// Who the node is, by its log.
    pub member: Option<RaftMember>,
    /// Term, vote and commit index as they were last written.
    pub hard_state: Option<HardState>,
    /// Index of the log's last entry.
    pub last_index: Option<u64>,
    /// How many entries at the log's end are not known to be committed.
    pub uncommitted: u64,
    /// The log's segments, in their order.
    pub segments: Vec<SegmentFacts>,
    /// The snapshots, the newest first.
    pub snapshots: Vec<SnapshotFacts>,
    /// How many entries there are, and how they are sealed.
    pub entries: EntryFacts,
}

impl RaftFacts {
    /// What the node seals with, as far as log and snapshots tell.
    pub(crate) fn cipher(&self) -> Cipher {
        cipher(&self.entries, &self.snapshots)
    }
}

impl State {
    /// Reads the state in `dir`, the folder that holds `certificates` and `raft`; for Docker
    /// `/var/lib/docker/swarm`. The key is not looked at when the key file is not locked.
    ///
    /// # Errors
    ///
    /// [`Error::KeyRequired`] and [`Error::WrongKey`] are of the unlock key; whether it is right,
    /// the key file decides, so that everything after it is damage and not a wrong key.
    /// [`Error::Damaged`] when the key file is, or has no DEK. [`Error::Missing`] when there is no
    /// key file, or neither log nor snapshot. [`Error::Io`] is what the system says.
    pub fn read(dir: impl AsRef<Path>, key: Option<&UnlockKey>) -> Result<Self> {
        Self::read_in(&RealFs::default(), dir.as_ref(), key)
    }

    /// As [`State::read`], through a given file system.
    ///
    /// # Errors
    ///
    /// As for [`State::read`].
    pub fn read_in(fs: &dyn Fs, dir: &Path, key: Option<&UnlockKey>) -> Result<Self> {
        let folder = Folder::new(dir);
        let path = folder.key_file();
        let file = read_key_file(fs, &path)?;
        let keys = file.unlock(key).map_err(|error| error.in_file(&path))?;
        if keys.current.is_none() {
            // A worker has none, but it has no log either.
            fs.list(&folder.log()).map_err(|e| Error::io("list", &folder.log(), e))?;
            return Err(Error::damaged("the key file has no DEK").in_file(&path));
        }
        let mut findings = Findings::default();
        let mut objects = Objects::default();
        let raft = gather(fs, &folder, Some(&keys), &mut objects, &mut findings)?.into_facts();
        compare_key(&file, &path, &raft, &objects, &mut findings);
        compare_unlock_key(&file, key, &path, &raft, &objects, &mut findings);
        Ok(Self { objects, raft, findings: findings.finish() })
    }

    /// Whether all is there that can be known to have been there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.losses().next().is_none()
    }

    /// The findings that say that something is lost.
    pub fn losses(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.loss.is_some())
    }
}

pub(crate) fn read_key_file(fs: &dyn Fs, path: &Path) -> Result<KeyFile> {
    let bytes = SecretBytes::from_vec(fs::read(fs, path, MAX_KEY_FILE)?);
    KeyFile::parse(bytes.expose()).map_err(|error| error.in_file(path))
}

/// Looks on while a state is read.
pub(crate) trait Watch {
    /// A record of the log, in the order in which they stand.
    fn record(&mut self, _: &Seen<'_>) {}
    /// The snapshot that the state starts from.
    fn snapshot(&mut self, _: &Loaded) {}
    /// An entry, in the order in which they stand.
    fn entry(&mut self, _: &Visit<'_>) {}
}

/// Nobody looks on.
pub(crate) struct Unwatched;

impl Watch for Unwatched {}

/// What was found in log and snapshots, without what they hold.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) log: LogScan,
    pub(crate) snapshots: SnapshotScan,
    /// Index of the newest entry that is in the snapshot that the state starts from.
    pub(crate) base: u64,
    /// The greatest index that the node knows to be committed.
    pub(crate) commit: u64,
    /// Index of the last entry that counts: those that a sole manager saved beyond its commit index do.
    pub(crate) counted: u64,
    pub(crate) entries: EntryFacts,
}

impl Gathered {
    /// What the node seals with, as far as log and snapshots tell.
    pub(crate) fn cipher(&self) -> Cipher {
        cipher(&self.entries, &self.snapshots.files)
    }

    pub(crate) fn into_facts(self) -> RaftFacts {
        let Self { log, snapshots, commit, entries, .. } = self;
        let beyond = log.entries.iter().filter(|entry| entry.live && entry.index > commit);
        RaftFacts {
            last_index: log.last_index(),
            uncommitted: u64::try_from(beyond.count()).unwrap_or(u64::MAX),
            member: log.member,
            hard_state: log.hard_state,
            segments: log.segments,
            snapshots: snapshots.files,
            entries,
        }
    }
}

/// A node that ever sealed with fernet may be in FIPS mode, and then reads nothing else.
fn cipher(entries: &EntryFacts, snapshots: &[SnapshotFacts]) -> Cipher {
    let fernet = snapshots.iter().any(|file| file.used && file.algorithm == Some("fernet"));
    if fernet || entries.by_algorithm.contains_key("fernet") {
        Cipher::Fernet
    } else {
        Cipher::SecretBox
    }
}

/// Reads snapshots and log, and with keys also what they hold.
pub(crate) fn gather(
    fs: &dyn Fs,
    folder: &Folder,
    keys: Option<&NodeKeys>,
    objects: &mut dyn Replay,
    findings: &mut Findings,
) -> Result<Gathered> {
    gather_watched(fs, folder, keys, objects, &mut Unwatched, findings)
}

/// As [`gather`], with somebody who looks on.
pub(crate) fn gather_watched(
    fs: &dyn Fs,
    folder: &Folder,
    keys: Option<&NodeKeys>,
    objects: &mut dyn Replay,
    watch: &mut dyn Watch,
    findings: &mut Findings,
) -> Result<Gathered> {
    let keys =
        keys.map(|keys| Keys { pending: keys.pending.as_ref(), current: keys.current.as_ref() });
    folder.look_around(fs, findings)?;
    let snapshots =
        optional(snapshot::scan(fs, &folder.snapshots(), keys, folder.set_aside, findings))?;
    let mut snapshots = snapshots.unwrap_or_default();
    report_others(&snapshots.others, findings);
    let base = snapshots.base(keys.is_some());
    let mut seen = |seen: &Seen<'_>| watch.record(seen);
    let log = optional(log::scan_watched(fs, &folder.log(), base, findings, &mut seen))?;
    if log.is_none() && snapshots.files.is_empty() {
        return Err(Error::Missing(folder.log()));
    }
    let log = log.filter(|log| !log.segments.is_empty()).unwrap_or_else(|| {
        let text = if findings.has(FindingKind::LegacyFolder) {
            "there is no log; Swarm would make one of the folder of an older format, which is not \
             read here"
        } else {
            "there is no log; Swarm would start an empty cluster and not look at the snapshot"
        };
        let loss = Loss::Entries { first: base.saturating_add(1), last: None };
        let place = at(&folder.log(), None, None);
        findings.error(FindingKind::LogMissing, place, text, Some(loss));
        LogScan::default()
    });
    report_others(&log.others, findings);
    compare(&log, &snapshots, base, folder, findings);

    if let Some(loaded) = snapshots.loaded.take() {
        let place = at(&loaded.path, None, Some(loaded.point.index));
        objects.load(loaded.content.expose(), &place, findings);
        watch.snapshot(&loaded);
    }
    let mut applier = Applier::new(&log, base, objects);
    let entries = log::open_entries(fs, &log, keys, base, findings, |visit, findings| {
        if let Some(Ok(content)) = visit.opened.filter(|_| visit.counts) {
            applier.entry(visit.entry, visit.place, content, findings);
        }
        watch.entry(visit);
    })?;
    let commit = applier.commit;
    let end = log.last_index().unwrap_or(0).max(base);
    let counted = applier.applied.map_or(commit.min(end), |(_, last)| last);
    applier.report(folder, findings);
    Ok(Gathered { log, snapshots, base, commit, counted, entries })
}

/// Reports where log and snapshots tell of something that is not there.
fn compare(
    log: &LogScan,
    snapshots: &SnapshotScan,
    base: u64,
    folder: &Folder,
    findings: &mut Findings,
) {
    let commit = log.committed;
    let named = log.snapshots.iter().max_by_key(|point| point.index);
    let end = log.last_index().unwrap_or(0).max(base);
    let named_to = named.map_or(0, |point| point.index);
    // The log names a snapshot before it is written: a crash in between leaves the name alone, or
    // half of the file. Of a leader's snapshot the node then knows no entry to be committed.
    let reach = commit.max(snapshots.reach(&log.snapshots));
    if reach > end {
        let text =
            format!("the log ends at entry {end}, but the node has known of entries up to {reach}");
        let loss = Loss::Entries { first: end.saturating_add(1), last: Some(reach) };
        findings.error(FindingKind::LogBehind, at(&folder.log(), None, None), text, Some(loss));
    } else if named_to > end {
        let text = format!(
            "the log ends at entry {end}, and names a snapshot at {named_to} that did not come \
             through: Swarm takes it from the leader again"
        );
        findings.warn(FindingKind::LogBehind, at(&folder.log(), None, None), text);
    }
    if let Some(point) = named.filter(|point| point.index > base) {
        let name = format!("{:016x}-{:016x}.snap", point.term, point.index);
        if !snapshots.files.iter().any(|file| file.name == name) {
            let text = "the log names this snapshot, but it is not there; Swarm would not say so";
            let place = at(&folder.snapshots().join(name), None, Some(point.index));
            findings.error(FindingKind::SnapshotMissing, place, text, None);
        }
    }
    if base == 0 || log.segments.is_empty() {
        return;
    }
    let newest = snapshots.loaded.as_ref().map(|loaded| &loaded.point);
    let Some(point) = newest.or(snapshots.whole.first()) else { return };
    let name = format!("{:016x}-{:016x}.snap", point.term, point.index);
    let known = |other: &log::SnapshotPoint| (other.term, other.index) == (point.term, point.index);
    let place = at(&folder.snapshots().join(name), None, Some(point.index));
    if !log.snapshots.iter().any(known) {
        let text = "the log does not know this snapshot: it is older than it, or another node's";
        let loss = Loss::Entries { first: base.saturating_add(1), last: None };
        findings.error(FindingKind::SnapshotUnknown, place, text, Some(loss));
    } else if commit < base {
        // What a crash leaves behind that came between a snapshot and the state that goes with it.
        let text = format!("the log's commit index {commit} is older than this snapshot");
        findings.warn(FindingKind::LogBehind, place, text);
    }
}

/// Applies the entries that count.
struct Applier<'a> {
    objects: &'a mut dyn Replay,
    commit: u64,
    raft_id: Option<u64>,
    /// Whether the node was the only manager at the commit index. Etcd's raft commits what follows as a
    /// whole, before it applies a membership change in it.
    alone: Option<bool>,
    /// First and last entry beyond the commit index that were applied nevertheless.
    applied: Option<(u64, u64)>,
    /// The same of those that were not.
    left_out: Option<(u64, u64)>,
}

impl<'a> Applier<'a> {
    fn new(log: &LogScan, base: u64, objects: &'a mut dyn Replay) -> Self {
        let commit = log.committed.max(base);
        let raft_id = log.member.as_ref().map(|member| member.raft_id);
        Self { objects, commit, raft_id, alone: None, applied: None, left_out: None }
    }

    fn entry(
        &mut self,
        entry: &EntryRecord,
        place: &Place,
        content: &SecretBytes,
        findings: &mut Findings,
    ) {
        if entry.index > self.commit {
            let is_alone = || self.raft_id.is_some_and(|id| self.objects.is_sole_member(id));
            let alone = *self.alone.get_or_insert_with(is_alone);
            let range = if alone { &mut self.applied } else { &mut self.left_out };
            range.get_or_insert((entry.index, entry.index)).1 = entry.index;
            if !alone {
                self.objects.left_out(entry, content);
                return;
            }
        }
        match entry.kind {
            EntryKind::Normal => self.objects.apply(content.expose(), place, findings),
            EntryKind::Membership => {
                self.objects.apply_membership(content.expose(), place, findings);
            }
            EntryKind::Other(number) => {
                let text = format!("an entry of unknown type {number}");
                let loss = Some(Loss::Content);
                findings.error(FindingKind::ContentDamaged, place.clone(), text, loss);
            }
        }
    }

    fn report(self, folder: &Folder, findings: &mut Findings) {
        let place = |index| at(&folder.log(), None, Some(index));
        if let Some((first, last)) = self.applied {
            let text = format!(
                "entries {first} to {last} come after the commit index; they are applied, as the \
                 node was the only manager there"
            );
            findings.note(FindingKind::Uncommitted, place(first), text);
        }
        if let Some((first, last)) = self.left_out {
            let text = format!(
                "entries {first} to {last} are not known to be committed; they are not applied"
            );
            findings.warn(FindingKind::Uncommitted, place(first), text);
        }
    }
}

/// What may be missing as a whole.
fn optional<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Error::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
