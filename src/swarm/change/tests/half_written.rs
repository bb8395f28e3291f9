//! Snapshots that a crash kept from being written: Swarm names one in the log, and writes it where it
//! stands.

use super::*;
use crate::fs::Loss;
use crate::swarm::finding::Severity;
use crate::swarm::log::{HardState, Members, SnapshotPoint};
use crate::wal::etcd::Draft;
use crate::wal::{Kind, SegmentName};

fn snapshot_at(term: u64, index: u64) -> PathBuf {
    Path::new(DIR).join(format!("raft/snap-v3-encrypted/{term:016x}-{index:016x}.snap"))
}

/// The log goes on with the record of a snapshot at `index`, and its state with `commit`.
fn name_snapshot(folder: &Folder, index: u64, commit: Option<u64>) -> PathBuf {
    let state = State::read_in(&folder.disk, Path::new(DIR), folder.key.as_ref()).unwrap();
    let before = state.raft.hard_state.unwrap();
    let last = state.raft.last_index.unwrap();
    let dir = Path::new(DIR).join("raft/wal-v3-encrypted");
    let scan = crate::swarm::log::scan(&folder.disk, &dir, 0, &mut Default::default()).unwrap();
    let segment = scan.segments.last().unwrap();
    // A segment that goes on in another one ends with its frames.
    let path = dir.join(&segment.name);
    let mut bytes = folder.disk.read_file(&path).unwrap();
    bytes.truncate(usize::try_from(segment.used).unwrap());
    folder.disk.write_file(&path, &bytes).unwrap();
    let name = SegmentName { sequence: segment.sequence + 1, first_index: last + 1 };
    let metadata = scan.metadata.unwrap();
    let disk = &folder.disk;
    let mut draft =
        Draft::begin(disk, &dir, name, scan.chain.unwrap(), &metadata, 1 << 12).unwrap();
    draft.put(Kind::State, &[&before.encode()]).unwrap();
    let voters = state.objects.members.keys().copied().collect();
    let point = SnapshotPoint { index, term: before.term, voters };
    draft.put(Kind::Snapshot, &[&point.encode_record(Members::Voters)]).unwrap();
    if let Some(commit) = commit {
        draft.put(Kind::State, &[&HardState { commit, ..before }.encode()]).unwrap();
    }
    draft.sync().unwrap();
    draft.publish().unwrap();
    snapshot_at(before.term, index)
}

/// As dockerd left it that was killed within the snapshot with which a rotation ends.
fn killed_in_rotation() -> Folder {
    let folder = load("2-snapshots");
    begin(&folder, false);
    let state = State::read_in(&folder.disk, Path::new(DIR), folder.key.as_ref()).unwrap();
    let half = name_snapshot(&folder, state.raft.last_index.unwrap(), None);
    folder.disk.write_file(&half, b"").unwrap();
    folder
}

#[test]
fn a_half_written_snapshot_keeps_no_change_away() {
    let folder = killed_in_rotation();
    let (_, report) = as_planned(&folder, Change::FinishRotation);
    assert!(report.finishes_rotation && report.new_dek);
    assert_eq!(secrets(&folder.disk, folder.key.as_ref()).unwrap(), folder.secrets);
    let state = State::read_in(&folder.disk, Path::new(DIR), folder.key.as_ref()).unwrap();
    assert_eq!(state.findings.iter().find(|one| one.severity == Severity::Error), None);
    assert_eq!((state.raft.segments.len(), state.raft.snapshots.len()), (1, 1));

    // Longer, and without its end.
    let folder = load("2-snapshots");
    let state = State::read_in(&folder.disk, Path::new(DIR), folder.key.as_ref()).unwrap();
    let newest = Path::new(DIR).join("raft/snap-v3-encrypted").join(&state.raft.snapshots[0].name);
    let whole = folder.disk.read_file(&newest).unwrap();
    let half = name_snapshot(&folder, state.raft.last_index.unwrap(), None);
    folder.disk.write_file(&half, &whole[..whole.len() / 2]).unwrap();
    folder.check(Change::RotateDek, folder.key.as_ref());
}

#[test]
fn a_change_over_a_half_written_snapshot_outlives_any_cut() {
    let folder = killed_in_rotation();
    let whole = folder.disk.after_kill();
    let from = whole.operations();
    apply(&whole, folder.key.as_ref(), Change::FinishRotation).unwrap();
    let operations = whole.operations() - from;
    for n in (operations.saturating_sub(60))..operations {
        let disk = folder.disk.after_kill();
        disk.cut_at(n);
        let _ = apply(&disk, folder.key.as_ref(), Change::FinishRotation);
        let cuts = [Loss::Dropped, Loss::Kept].map(|loss| disk.after_power_cut(loss, 0));
        for left in cuts.into_iter().chain([disk.after_kill()]) {
            assert_eq!(secrets(&left, folder.key.as_ref()).unwrap(), folder.secrets, "{n}");
            apply(&left, folder.key.as_ref(), Change::FinishRotation).unwrap();
            assert_eq!(secrets(&left, folder.key.as_ref()).unwrap(), folder.secrets, "{n}");
        }
    }
}

/// A leader's snapshot stands behind what the follower has, which sends for it again.
#[test]
fn a_leaders_snapshot_that_did_not_come_through_is_not_lost() {
    for half in [None, Some(&b"\x08\x01"[..])] {
        let folder = load("three-managers-m1");
        let path = name_snapshot(&folder, 5000, None);
        if let Some(half) = half {
            folder.disk.write_file(&path, half).unwrap();
        }
        let state = State::read_in(&folder.disk, Path::new(DIR), folder.key.as_ref()).unwrap();
        assert!(state.is_complete(), "{:?}", state.findings);
        assert!(state.findings.iter().any(|one| one.kind == FindingKind::LogBehind));
        let report = folder.check(Change::RotateDek, folder.key.as_ref());
        assert!(report.snapshot_index < 5000);
    }
}

/// What the node knew to be committed is lost, and so is what only a snapshot held that was whole.
#[test]
fn a_snapshot_that_came_through_is_missed() {
    let lost = |folder: &Folder| {
        let before = folder.disk.paths();
        let error = apply(&folder.disk, folder.key.as_ref(), Change::RotateDek).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert_eq!(folder.disk.paths(), before);
    };
    let folder = load("three-managers-m1");
    name_snapshot(&folder, 5000, Some(5000));
    lost(&folder);

    // No log names it, so that no crash left it so.
    let folder = load("three-managers-m1");
    folder.disk.write_file(&snapshot_at(2, 5000), b"").unwrap();
    lost(&folder);
}
