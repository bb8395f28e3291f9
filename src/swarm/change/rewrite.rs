//! Log and snapshot written anew: a snapshot of the whole state and one segment that goes on from
//! it. What stood there before is removed.
//!
//! The new segment continues the chain of the last one, so that at every moment either the old files
//! or the new ones are a whole log: first the segment gets its name, then the snapshot, then the old
//! files go.
//!
//! A sole manager's segment has one more entry behind the snapshot, committed and empty as a new leader's.
//! Newer dockerds find out that they are alone, and lead, when they apply something; with nothing to apply
//! they wait until an election is due, for which `docker swarm unlock` may not wait.

use std::path::PathBuf;

use super::report::{Progress, Report};
use crate::crypto::random;
use crate::error::{Error, Result};
use crate::fs::{self, Fs, Lock};
use crate::key::UnlockKey;
use crate::secret::SecretBytes;
use crate::swarm::finding::{Finding, FindingKind, Findings, Severity};
use crate::swarm::folder::Folder;
use crate::swarm::image::Image;
use crate::swarm::key_file::NodeKeys;
use crate::swarm::log::{
    Entry, EntryKind, HardState, Members, MembershipChange, RaftMember, SnapshotPoint,
};
use crate::swarm::objects::{ObjectKind, update_request, with_unlock_key};
use crate::swarm::record::{self, Cipher, Sealer};
use crate::swarm::replay::Replay;
use crate::swarm::snapshot;
use crate::swarm::state::{Gathered, gather};
use crate::wal::etcd::{self, cut_off};
use crate::wal::{Kind, SegmentName};

/// What changes in the state beside the DEK.
#[derive(Clone, Copy)]
pub(super) enum Edit<'a> {
    Nothing,
    /// The cluster has another unlock key, or none.
    UnlockKey(Option<&'a UnlockKey>),
    /// This node is the only member.
    Alone,
}

/// How log and snapshot are written anew.
pub(super) struct Rewrite<'a> {
    pub(super) edit: Edit<'a>,
    pub(super) sealer: Sealer<'a>,
    pub(super) segment_size: u64,
    /// Whether a write that did not finish is kept aside: under a DEK that goes nobody could read
    /// it, and it would outlive the rotation.
    pub(super) keep_torn: bool,
}

/// All of a folder's log and snapshots, read.
pub(super) struct Reading {
    pub(super) image: Image,
    gathered: Gathered,
    pub(super) findings: Vec<Finding>,
    pub(super) member: RaftMember,
    state: HardState,
    snapshots: PathBuf,
    /// Index and term of the last entry that counts.
    pub(super) index: u64,
    term: u64,
}

impl Reading {
    /// Reads everything, and refuses what would not be kept whole.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if anything is lost, or a record of the log is damaged or violates raft's
    /// rules.
    pub(super) fn of(fs: &dyn Fs, folder: &Folder, keys: &NodeKeys) -> Result<Self> {
        let (mut findings, mut image) = (Findings::default(), Image::default());
        let gathered = gather(fs, folder, Some(keys), &mut image, &mut findings)?;
        let findings = findings.finish();
        if let Some(finding) = findings.iter().find(|finding| prevents(finding)) {
            let what = "something in log or snapshots cannot be read, and would be lost";
            return Err(Error::Damaged { what, place: finding.place.clone() });
        }
        let damaged = |what| Error::damaged(what).in_file(&folder.log());
        let member = gathered.log.member.clone().ok_or_else(|| damaged("a log without a node"))?;
        let state = gathered.log.hard_state.ok_or_else(|| damaged("a log without a state"))?;
        let index = gathered.counted;
        let base = gathered.snapshots.files.iter().filter(|file| file.used);
        let base = base.map(|file| file.term).next().flatten();
        let term = if index == gathered.base { base } else { gathered.log.term_of(index) };
        let term = term.ok_or_else(|| damaged("a log that holds no entry"))?;
        let snapshots = folder.snapshots();
        Ok(Self { image, gathered, findings, member, state, snapshots, index, term })
    }

    /// What the node seals with, as far as log and snapshots tell.
    pub(super) fn cipher(&self) -> Cipher {
        self.gathered.cipher()
    }

    /// Index of the last entry that there is.
    pub(super) fn end(&self) -> u64 {
        self.gathered.log.last_index().unwrap_or(0).max(self.gathered.base)
    }

    /// Whether this node is the cluster's only manager.
    pub(super) fn is_alone(&self) -> bool {
        self.image.is_sole_member(self.member.raft_id)
    }

    /// Index of the last entry that counts, after a snapshot at `index` was made: a sole manager has the
    /// one behind it with which it begins.
    pub(super) fn last_index_after(&self, index: u64) -> u64 {
        if self.is_alone() { index.saturating_add(1) } else { index }
    }

    /// The other members.
    pub(super) fn others(&self) -> Vec<RaftMember> {
        let others = self.image.members.values();
        others.filter(|other| other.raft_id != self.member.raft_id).cloned().collect()
    }

    /// What a change would do, or has done.
    pub(super) fn report(&self, edit: Edit<'_>) -> Report {
        let alone = matches!(edit, Edit::Alone);
        let appended = match edit {
            Edit::Nothing => 0,
            Edit::UnlockKey(_) => 1,
            Edit::Alone => self.others().len(),
        };
        let log = &self.gathered.log;
        Report {
            objects: self.image.counts(),
            members_removed: if alone { self.others() } else { Vec::new() },
            entries_discarded: if alone { self.image.tail.len() } else { 0 },
            snapshot_index: self.index.saturating_add(wide(appended)),
            replaced: self.old().collect(),
            bytes_read: log.segments.iter().map(|segment| segment.used).sum::<u64>()
                + self.gathered.snapshots.files.iter().map(|file| file.size).sum::<u64>(),
            findings: self.findings.clone(),
            ..Report::default()
        }
    }

    /// The files that the new ones replace, in the order in which they are removed: what is left of
    /// the log at any moment is its end.
    fn old(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let snapshots = self.gathered.snapshots.files.iter();
        let snapshots = snapshots.map(|file| self.snapshots.join(&file.name));
        self.gathered.log.paths.iter().cloned().chain(snapshots)
    }

    /// Files of writes that did not finish.
    fn temporary(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let others = self.gathered.log.others.iter().chain(&self.gathered.snapshots.others);
        let temporary = |path: &&PathBuf| path.extension().is_some_and(|end| end == "tmp");
        others.filter(temporary).cloned()
    }

    /// Writes the new files under temporary names and reads them back. Nothing of the folder changes.
    pub(super) fn prepare<'a>(
        mut self,
        fs: &'a dyn Fs,
        folder: &Folder,
        with: &Rewrite<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Prepared<'a>> {
        let Rewrite { edit, sealer, segment_size, keep_torn } = *with;
        let entries = self.entries(edit)?;
        let last = self.gathered.log.segments.last().zip(self.gathered.log.paths.last());
        let damaged = |what| Error::damaged(what).in_file(&folder.log());
        let (last, last_path) = last.ok_or_else(|| damaged("there is no segment"))?;
        let chain = self.gathered.log.chain.ok_or_else(|| damaged("the chain's end is lost"))?;
        let metadata = self.gathered.log.metadata.as_deref().unwrap_or_default();
        let index = self.index.saturating_add(wide(entries.len()));
        let term = if entries.is_empty() { self.term } else { self.state.term };
        let newer = self.gathered.log.snapshots.iter().any(|point| !point.voters.is_empty());
        let members = if newer { Members::VotersSettled } else { Members::Voters };
        let voters = self.image.members.keys().copied().collect();
        let point = SnapshotPoint { index, term, voters };
        let commit = self.last_index_after(index);
        let state = HardState { commit, ..self.state };
        // Etcd opens the last segment whose name's index is not above the snapshot's.
        let name = SegmentName {
            sequence: last.sequence.saturating_add(1),
            first_index: if entries.is_empty() { index } else { self.index.saturating_add(1) },
        };
        let mut tail = core::mem::take(&mut self.image.tail);
        if matches!(edit, Edit::Alone) {
            // The removals stand in their places.
            tail.clear();
        }
        let torn = self.findings.iter().any(|finding| finding.kind == FindingKind::TornTail);
        let cut = (last.used < last.size).then(|| Cut {
            path: last_path.clone(),
            end: last.used,
            kept: torn && keep_torn,
        });
        let old = self.old().chain(self.temporary()).collect();
        let files = Files { cut, old };

        let mut draft = etcd::Draft::begin(fs, &folder.log(), name, chain, metadata, segment_size)?;
        let lock = draft.lock();
        let filled = (|| {
            for (offset, (kind, content)) in entries.into_iter().enumerate() {
                let index = self.index.saturating_add(1).saturating_add(wide(offset));
                put_entry(&mut draft, sealer, kind, self.state.term, index, content)?;
            }
            if commit > index {
                let (kind, empty) = (EntryKind::Normal, SecretBytes::new());
                put_entry(&mut draft, sealer, kind, self.state.term, commit, empty)?;
            }
            draft.put(Kind::State, &[&state.encode()])?;
            draft.put(Kind::Snapshot, &[&point.encode_record(members)])?;
            for (entry, content) in tail {
                put_entry(&mut draft, sealer, entry.kind, entry.term, entry.index, content)?;
            }
            draft.sync()?;
            draft.read_back()
        })();
        let drafted = filled.and(lock).and_then(|lock| {
            let content = self.image.into_snapshot();
            progress(Progress::Sealing { bytes: wide(content.len()) });
            let dir = folder.snapshots();
            let made = fs.create_dir_all(&dir).map_err(|e| Error::io("create", &dir, e));
            made?;
            let snapshot = snapshot::Draft::write(fs, &dir, &point, members, sealer, content)?;
            Ok((lock, snapshot))
        });
        match drafted {
            Ok((lock, snapshot)) => Ok(Prepared { fs, segment: draft, lock, snapshot, files }),
            Err(error) => {
                draft.discard();
                Err(error)
            }
        }
    }

    /// The entries that make the change, in the log's own words.
    fn entries(&mut self, edit: Edit<'_>) -> Result<Vec<(EntryKind, SecretBytes)>> {
        match edit {
            Edit::Nothing => Ok(Vec::new()),
            Edit::UnlockKey(key) => {
                let cluster = with_unlock_key(self.image.cluster()?.expose(), self.index, key)?;
                self.image.put(ObjectKind::Cluster, cluster.expose())?;
                let request = update_request(u64::from_le_bytes(random::array()?), &cluster);
                Ok(vec![(EntryKind::Normal, request)])
            }
            Edit::Alone => {
                let others = self.others();
                self.image.put_member(self.member.clone());
                let removals = others.iter().map(|other| {
                    self.image.remove_member(other.raft_id);
                    let removal = MembershipChange::removal(other.raft_id);
                    (EntryKind::Membership, SecretBytes::from(&removal[..]))
                });
                Ok(removals.collect())
            }
        }
    }
}

/// Whether a folder with this finding is not rewritten.
fn prevents(finding: &Finding) -> bool {
    match finding.kind {
        // What was not finished was not acknowledged; if the node knew of more, another finding
        // says so.
        FindingKind::TornTail => false,
        // A crash leaves a snapshot half-written, or not at all. An older one and the log make up for
        // it; where they do not, another finding says what is lost.
        FindingKind::SnapshotMissing
        | FindingKind::SnapshotDamaged
        | FindingKind::SnapshotUnopened
        | FindingKind::SnapshotFallback => finding.loss.is_some(),
        // Of the log's records also what is no loss of entries: the node's vote may be among it.
        _ => finding.severity == Severity::Error || finding.loss.is_some(),
    }
}

fn put_entry(
    draft: &mut etcd::Draft<'_>,
    sealer: Sealer<'_>,
    kind: EntryKind,
    term: u64,
    index: u64,
    content: SecretBytes,
) -> Result<()> {
    let sealed = record::seal(Some(sealer), content)?;
    let head = Entry { kind, term, index, data: &[] }.head(sealed.len());
    draft.put(Kind::Entry, &[&head, sealed.expose()])
}

/// The files that stand there already.
struct Files {
    cut: Option<Cut>,
    old: Vec<PathBuf>,
}

/// The last segment, and where its frames end: what is behind is cut off.
struct Cut {
    path: PathBuf,
    end: u64,
    /// A copy is kept, as dockerd does when it repairs a write that did not finish.
    kept: bool,
}

impl Cut {
    fn make(&self, fs: &dyn Fs) -> Result<()> {
        let Self { path, end, kept } = self;
        if *kept {
            let mut copy = path.clone().into_os_string();
            copy.push(".broken");
            let copy = PathBuf::from(copy);
            fs::remove_if_there(fs, &copy)?;
            fs::copy(fs, path, &copy)?;
            let dir = fs::folder(path);
            fs.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
        }
        let file = fs.open_write(path).map_err(|e| Error::io("open", path, e))?;
        cut_off(&*file, path, *end)
    }
}

/// The new files, durable, under temporary names.
pub(super) struct Prepared<'a> {
    fs: &'a dyn Fs,
    segment: etcd::Draft<'a>,
    /// On the new segment: dockerd cannot open it before all is done.
    lock: Box<dyn Lock>,
    snapshot: snapshot::Draft,
    files: Files,
}

impl Prepared<'_> {
    /// Takes the new files back.
    pub(super) fn discard(self) {
        self.segment.discard();
        self.snapshot.discard(self.fs);
    }

    /// Puts the new files in place and removes the old ones, durably.
    pub(super) fn publish(
        self,
        folder: &Folder,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Box<dyn Lock>> {
        let fs = self.fs;
        progress(Progress::Replacing);
        self.files.cut.as_ref().map_or(Ok(()), |cut| cut.make(fs))?;
        let segment = self.segment.publish()?;
        let snapshot = self.snapshot.publish(fs)?;
        for path in self.files.old.iter().filter(|path| **path != segment && **path != snapshot) {
            fs::remove_if_there(fs, path)?;
        }
        for dir in [folder.log(), folder.snapshots()] {
            fs.sync_dir(&dir).map_err(|e| Error::io("sync", &dir, e))?;
        }
        Ok(self.lock)
    }
}

fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
