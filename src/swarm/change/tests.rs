//! Changes on the folders of genuine managers, on a disk that fails on demand.

mod crash;
mod fips;
mod half_written;
mod interrupted;
mod joining;
mod large;
mod read_back;
mod refused;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::fs::SimFs;
use crate::key::Protection;
use crate::secret::SecretKey;
use crate::swarm::tests::capture::Capture;
use crate::swarm::{FindingKind, KeyFile, ObjectKind, Secret, State};
use crate::wal::proto::Fields;

const DIR: &str = "/swarm";

pub(super) fn key(byte: u8) -> UnlockKey {
    UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(byte)))
}

/// A capture's folder on a simulated disk, its segments without most of the zeros behind them.
pub(super) struct Folder {
    pub(super) disk: SimFs,
    pub(super) key: Option<UnlockKey>,
    /// Every secret's payload, by name.
    secrets: BTreeMap<String, Vec<u8>>,
}

pub(super) fn load(name: &str) -> Folder {
    let capture = Capture::unpack(name);
    let disk = SimFs::new();
    copy(&capture.dir(), Path::new(DIR), &disk);
    let key = capture.key();
    let secrets = secrets(&disk, key.as_ref()).unwrap();
    Folder { disk, key, secrets }
}

fn copy(from: &Path, to: &Path, disk: &SimFs) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            // Also where there is nothing in it.
            disk.create_dir_all(&to).unwrap();
            copy(&path, &to, disk);
        } else if ["key", "crt", "wal", "snap"]
            .iter()
            .any(|end| path.extension() == Some(end.as_ref()))
        {
            let mut bytes = std::fs::read(&path).unwrap();
            while bytes.ends_with(&[0; 1024]) {
                bytes.truncate(bytes.len() - 512);
            }
            disk.write_file(&to, &bytes).unwrap();
        }
    }
}

/// Every secret's payload, if nothing is lost.
pub(super) fn secrets(
    disk: &SimFs,
    key: Option<&UnlockKey>,
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let state = State::read_in(disk, Path::new(DIR), key)?;
    let lost = state.losses().find(|finding| finding.kind != FindingKind::TornTail);
    assert!(lost.is_none(), "{lost:?}");
    let secrets = state.objects.secrets.into_values();
    Ok(secrets.map(|one| (one.facts.name, one.payload.expose().to_vec())).collect())
}

pub(super) fn open(disk: &SimFs, key: Option<&UnlockKey>) -> Result<Manager> {
    let mut manager = Manager::open_in(Arc::new(disk.clone()), Path::new(DIR), key)?;
    manager.segment_size = 1 << 16;
    Ok(manager)
}

pub(super) fn apply(disk: &SimFs, key: Option<&UnlockKey>, change: Change<'_>) -> Result<Report> {
    open(disk, key)?.apply(change, &mut |_| {})
}

pub(super) fn dek(disk: &SimFs, key: Option<&UnlockKey>) -> SecretKey {
    let text = disk.read_file(&Path::new(DIR).join("certificates/swarm-node.key")).unwrap();
    let keys = KeyFile::parse(&text).unwrap().unlock(key).unwrap();
    assert!(keys.pending.is_none());
    keys.current.unwrap()
}

/// The files in which a record opens with `key`, wherever it begins.
pub(super) fn opened_by(disk: &SimFs, key: &SecretKey) -> Vec<PathBuf> {
    let opens = |bytes: &[u8]| {
        let sealed = |window: &[u8]| matches!(window, [8, 1 | 2, 0x12]);
        let starts = bytes.windows(3).enumerate().filter(|(_, window)| sealed(window));
        starts.into_iter().any(|(at, _)| any_len(&bytes[at..], key))
    };
    disk.paths().into_iter().filter(|path| opens(&disk.read_file(path).unwrap())).collect()
}

/// All that `key` opens, in whatever file it stands.
fn opened(disk: &SimFs, key: &SecretKey) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for path in disk.paths() {
        let bytes = disk.read_file(&path).unwrap();
        for at in 0..bytes.len() {
            found.extend(record_at(&bytes[at..], key));
        }
    }
    found
}

/// A record says how long its data is; a secretbox ends with a nonce of 24 bytes.
fn any_len(rest: &[u8], key: &SecretKey) -> bool {
    record_at(rest, key).is_some()
}

fn record_at(rest: &[u8], key: &SecretKey) -> Option<Vec<u8>> {
    let [8, kind @ (1 | 2), 0x12, ..] = rest else { return None };
    let (mut len, mut at) = (0_usize, 3);
    let nonce = if *kind == 1 { 26 } else { 0 };
    while let Some(byte) = rest.get(at).filter(|_| at < 7) {
        len |= usize::from(byte & 0x7f) << (7 * (at - 3));
        at += 1;
        if byte & 0x80 == 0 {
            let record = rest.get(..at + len + nonce);
            let record = record.and_then(|record| crate::swarm::record::Record::parse(record).ok());
            return record?.open(Some(key)).ok().map(|opened| opened.expose().to_vec());
        }
    }
    None
}

/// The unlock key that the cluster's object has.
fn cluster_key(disk: &SimFs, key: Option<&UnlockKey>) -> (Option<UnlockKey>, u64, bool) {
    let state = State::read_in(disk, Path::new(DIR), key).unwrap();
    let mut cluster = state.objects.clusters.into_values().next().unwrap();
    let key = cluster.unlock_keys.pop().map(|entry| entry.key);
    (key, cluster.facts.meta.version, cluster.facts.autolock)
}

/// Applies a change, and gives what was planned too: it is what is done, but that what finishes first is
/// planned as one.
#[track_caller]
fn as_planned(folder: &Folder, change: Change<'_>) -> (Report, Report) {
    let key = folder.key.as_ref();
    let planned = open(&folder.disk, key).unwrap().plan(change).unwrap();
    let report = apply(&folder.disk, key, change).unwrap();
    assert_eq!(planned.snapshot_index, report.snapshot_index);
    let after = match change {
        Change::RotateUnlockKey { new, .. } | Change::Lock { new } => Some(new),
        _ => key,
    };
    let state = State::read_in(&folder.disk, Path::new(DIR), after).unwrap();
    assert_eq!(state.raft.snapshots[0].index, Some(report.snapshot_index));
    // Behind it there is the entry with which a sole manager begins.
    let behind = u64::from(state.objects.members.len() == 1);
    assert_eq!(state.raft.hard_state.unwrap().commit, report.snapshot_index + behind);
    (planned, report)
}

impl Folder {
    /// Applies a change, and sees that all is there, under new keys alone.
    #[track_caller]
    fn check(&self, change: Change<'_>, after: Option<&UnlockKey>) -> Report {
        let old = dek(&self.disk, self.key.as_ref());
        let was_empty = opened_by(&self.disk, &old).is_empty();
        assert!(!was_empty, "the search finds what is there");
        let (planned, report) = as_planned(self, change);
        assert_eq!(planned, report, "what is planned is done");
        assert_eq!(secrets(&self.disk, after).unwrap(), self.secrets);
        let new = dek(&self.disk, after);
        assert_eq!(report.new_dek, !new.ct_eq(&old));
        if report.new_dek {
            assert_eq!(opened_by(&self.disk, &old), Vec::<PathBuf>::new());
        }
        let (cluster, version, autolock) = cluster_key(&self.disk, after);
        if !matches!(change, Change::RotateDek | Change::ForceNewCluster | Change::FinishRotation) {
            assert_eq!(cluster.is_some(), after.is_some());
            assert!(cluster.zip(after).is_none_or(|(one, other)| one.ct_eq(other)));
            assert_eq!((autolock, version), (after.is_some(), report.kek_version));
        }
        let state = State::read_in(&self.disk, Path::new(DIR), after).unwrap();
        assert_eq!((state.raft.segments.len(), state.raft.snapshots.len()), (1, 1));
        report
    }
}

#[test]
fn the_unlock_key_changes_with_and_without_the_dek() {
    for name in ["1-autolocked", "2-snapshots", "5-kek-rotated-killed", "docker-26-2-snapshots"] {
        let folder = load(name);
        let new = key(9);
        let change = Change::RotateUnlockKey { new: &new, rekey: Rekey::NewDek };
        let report = folder.check(change, Some(&new));
        assert!(report.new_dek && !report.finishes_rotation, "{name}");
        assert_eq!(report.protection, Protection::Locked);
        // Once more, without anything in between.
        let newer = key(10);
        let change = Change::RotateUnlockKey { new: &newer, rekey: Rekey::KeepDek };
        let folder = Folder { key: Some(new), ..folder };
        let again = folder.check(change, Some(&newer));
        assert!(!again.new_dek && again.kek_version > report.kek_version, "{name}");
        assert!(matches!(secrets(&folder.disk, folder.key.as_ref()), Err(Error::WrongKey)));
    }
}

#[test]
fn the_dek_changes_in_any_cluster() {
    for name in ["1-autolocked", "3-unlocked", "4-dek-rotated", "three-managers-m1"] {
        let folder = load(name);
        let report = folder.check(Change::RotateDek, folder.key.as_ref());
        assert!(report.new_dek && report.members_removed.is_empty(), "{name}");
        folder.check(Change::RotateDek, folder.key.as_ref());
    }
}

/// The payload of a secret in the request that creates or removes it.
fn payload_in(request: &[u8], name: &str) -> Option<Vec<u8>> {
    let fields = |message| Fields::of(message).map_while(Result::ok);
    for (_, action) in fields(request).filter(|(number, _)| *number == 2) {
        for (_, secret) in fields(action.bytes().ok()?).filter(|(number, _)| *number == 7) {
            let secret = Secret::parse(secret.bytes().ok()?).ok()?;
            if secret.facts.name == name {
                return Some(secret.payload.expose().to_vec());
            }
        }
    }
    None
}

/// In Swarm a removal is one more copy of the payload, and each stays until its segment goes.
#[test]
fn what_was_removed_is_gone() {
    let folder = load("2-snapshots");
    let old = dek(&folder.disk, folder.key.as_ref());
    assert!(!folder.secrets.contains_key("s3"));
    let named = opened(&folder.disk, &old);
    let removed = named.iter().find_map(|content| payload_in(content, "s3")).unwrap();
    let holds = |key: &SecretKey| {
        let all = opened(&folder.disk, key);
        all.iter().filter(|one| one.windows(removed.len()).any(|part| part == removed)).count()
    };
    assert!(holds(&old) >= 2, "its creation and its removal");
    apply(&folder.disk, folder.key.as_ref(), Change::RotateDek).unwrap();
    assert_eq!((holds(&old), holds(&dek(&folder.disk, folder.key.as_ref()))), (0, 0));
}

#[test]
fn a_manager_is_locked_and_unlocked_again() {
    let folder = load("3-unlocked");
    let new = key(9);
    let report = folder.check(Change::Lock { new: &new }, Some(&new));
    assert_eq!(report.protection, Protection::Locked);
    let folder = Folder { key: Some(new), ..folder };
    let report = folder.check(Change::AutolockOff, None);
    assert!(report.new_dek);
    assert_eq!(report.protection, Protection::Clear);
}

#[test]
fn the_membership_is_cut_to_one() {
    let folder = load("three-managers-m2");
    let report = folder.check(Change::ForceNewCluster, folder.key.as_ref());
    assert_eq!(report.members_removed.len(), 2);
    assert!(!report.new_dek);
    let state = State::read_in(&folder.disk, Path::new(DIR), folder.key.as_ref()).unwrap();
    let own = state.raft.member.unwrap().raft_id;
    assert_eq!(state.objects.members.keys().copied().collect::<Vec<_>>(), [own]);
    assert!(report.objects[&ObjectKind::Node] == 3, "the nodes' objects stay");
    // Alone, it may have an unlock key of its own.
    let new = key(9);
    folder.check(Change::RotateUnlockKey { new: &new, rekey: Rekey::NewDek }, Some(&new));
}

/// What is half done, and why.
fn begin(folder: &Folder, marked: bool) {
    let path = Path::new(DIR).join("certificates/swarm-node.key");
    let file = KeyFile::parse(&folder.disk.read_file(&path).unwrap()).unwrap();
    let keys = file.unlock(folder.key.as_ref()).unwrap();
    let pending = SecretKey::init(|bytes| bytes.fill(7));
    let contents = crate::swarm::key_file::Contents {
        tls_key: &keys.tls_key,
        kek_version: file.kek_version().unwrap(),
        current: keys.current.as_ref(),
        pending: Some(&pending).filter(|_| !marked),
        needs_rotation: marked,
        cipher: file.cipher(),
    };
    contents.replace(&folder.disk, &path, folder.key.as_ref()).unwrap();
}

#[test]
fn what_is_half_done_is_finished() {
    let folder = load("1-autolocked");
    let first = dek(&folder.disk, folder.key.as_ref());
    begin(&folder, false);
    let (_, report) = as_planned(&folder, Change::FinishRotation);
    assert!(report.finishes_rotation && report.new_dek);
    let second = dek(&folder.disk, folder.key.as_ref());
    assert!(second.ct_eq(&SecretKey::init(|bytes| bytes.fill(7))), "the pending one");
    assert!(opened_by(&folder.disk, &first).is_empty());
    assert!(!opened_by(&folder.disk, &second).is_empty());
    assert_eq!(secrets(&folder.disk, folder.key.as_ref()).unwrap(), folder.secrets);

    // Nothing is left to do, and nothing is done.
    let files = |disk: &SimFs| -> Vec<_> {
        disk.paths().into_iter().map(|path| (disk.read_file(&path), path)).collect()
    };
    let before = files(&folder.disk);
    let report = apply(&folder.disk, folder.key.as_ref(), Change::FinishRotation).unwrap();
    assert!(!report.new_dek && report.replaced.is_empty());
    assert!(files(&folder.disk) == before);

    // The mark alone asks for a new DEK.
    begin(&folder, true);
    let report = apply(&folder.disk, folder.key.as_ref(), Change::FinishRotation).unwrap();
    assert!(report.new_dek);
    assert!(opened_by(&folder.disk, &second).is_empty());

    // A change finishes first, too.
    begin(&folder, false);
    let (_, report) = as_planned(&folder, Change::RotateDek);
    assert!(report.finishes_rotation && report.new_dek);
    let last = dek(&folder.disk, folder.key.as_ref());
    assert!(!last.ct_eq(&SecretKey::init(|bytes| bytes.fill(7))), "one more round");
    assert_eq!(secrets(&folder.disk, folder.key.as_ref()).unwrap(), folder.secrets);
}

#[test]
fn a_forged_version_does_not_keep_a_key_away() {
    let folder = load("1-autolocked");
    let path = Path::new(DIR).join("certificates/swarm-node.key");
    let text = String::from_utf8(folder.disk.read_file(&path).unwrap()).unwrap();
    let forged = text.replacen("kek-version: 0", "kek-version: 18446744073709551615", 1);
    assert_ne!(forged, text);
    folder.disk.write_file(&path, forged.as_bytes()).unwrap();
    let new = key(9);
    let report =
        folder.check(Change::RotateUnlockKey { new: &new, rekey: Rekey::NewDek }, Some(&new));
    assert!(report.kek_version < 1000);
}

#[test]
fn a_forged_version_does_not_outlive_a_rotation() {
    for name in ["1-autolocked", "3-unlocked", "three-managers-m1"] {
        for change in [Change::RotateDek, Change::FinishRotation] {
            let folder = load(name);
            let path = Path::new(DIR).join("certificates/swarm-node.key");
            let file = KeyFile::parse(&folder.disk.read_file(&path).unwrap()).unwrap();
            let genuine = format!("kek-version: {}\n", file.kek_version().unwrap());
            let text = String::from_utf8(folder.disk.read_file(&path).unwrap()).unwrap();
            let forged = text.replacen(&genuine, "kek-version: 18446744073709551615\n", 1);
            assert_ne!(forged, text);
            folder.disk.write_file(&path, forged.as_bytes()).unwrap();
            let (_, report) = as_planned(&folder, change);
            let (_, version, _) = cluster_key(&folder.disk, folder.key.as_ref());
            assert_eq!(report.kek_version, version, "{name} {change:?}");
            let file = KeyFile::parse(&folder.disk.read_file(&path).unwrap()).unwrap();
            assert_eq!(file.kek_version(), Some(version), "{name} {change:?}");
            assert_eq!(report.new_dek, matches!(change, Change::RotateDek));
        }
    }
}

/// Lets the log end in a write that did not finish; gives the segment and its bytes.
fn tear(folder: &Folder) -> (PathBuf, Vec<u8>) {
    let state = State::read_in(&folder.disk, Path::new(DIR), folder.key.as_ref()).unwrap();
    let segment = state.raft.segments.last().unwrap();
    let path = Path::new(DIR).join("raft/wal-v3-encrypted").join(&segment.name);
    let mut bytes = folder.disk.read_file(&path).unwrap();
    bytes.truncate(usize::try_from(segment.used).unwrap());
    bytes.extend([0x40, 0, 0, 0, 0, 0, 0, 0, 8, 2]);
    folder.disk.write_file(&path, &bytes).unwrap();
    (path, bytes)
}

#[test]
fn a_torn_tail_is_cut_off() {
    let folder = load("5-kek-rotated-killed");
    let (path, bytes) = tear(&folder);
    let torn = folder.disk.after_kill();
    folder.check(Change::RotateDek, folder.key.as_ref());
    let mut aside = path.clone().into_os_string();
    aside.push(".broken");
    let aside = PathBuf::from(aside);
    assert!(folder.disk.read_file(&aside).is_none(), "nobody could read it");

    // Under a DEK that stays it is kept aside, as dockerd does it.
    let new = key(9);
    let keep = Change::RotateUnlockKey { new: &new, rekey: Rekey::KeepDek };
    apply(&torn, folder.key.as_ref(), keep).unwrap();
    assert_eq!(torn.read_file(&aside).unwrap(), bytes);
    assert_eq!(secrets(&torn, Some(&new)).unwrap(), folder.secrets);
}
