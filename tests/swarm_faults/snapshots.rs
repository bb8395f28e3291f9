//! Faults of snapshots, and of logs beside them.

use std::fs;
use std::path::Path;

use nodeseal::Error;
use nodeseal::swarm::{FindingKind, State};

use crate::segment::{self, ENTRY};
use crate::{Patient, ROTATED, SNAPSHOTS, find, from, has, names, only_entry};

#[test]
fn a_damaged_snapshot_costs_nothing_where_the_log_still_has_all() {
    let patient = Patient::new(SNAPSHOTS);
    let snapshot = patient.snapshot();
    segment::flip(&snapshot, 5000);
    let state = patient.read();
    assert_eq!(find(&state, FindingKind::SnapshotDamaged).place.file.as_ref(), Some(&snapshot));
    assert!(has(&state, FindingKind::SnapshotFallback));
    assert!(state.is_complete(), "{:?}", state.findings);
    assert_eq!(names(&state).len(), patient.expected_secrets());
}

#[test]
fn a_damaged_snapshot_after_a_rotation_costs_what_the_old_key_sealed() {
    let patient = Patient::new(ROTATED);
    segment::flip(&patient.snapshot(), 2000);
    let state = patient.read();
    assert!(has(&state, FindingKind::SnapshotDamaged));
    assert!(has(&state, FindingKind::SnapshotFallback));
    let lost: Vec<_> = state.losses().map(|finding| (finding.kind, finding.loss)).collect();
    let unopened = |index| (FindingKind::EntryUnopened, only_entry(index));
    assert_eq!(lost, (1..=17).map(unopened).collect::<Vec<_>>());
    // Swarm would not start; what was written since is there.
    assert_eq!(names(&state), ["late1", "late2", "late3", "late4", "late5"]);
}

#[test]
fn a_snapshot_altered_under_a_good_crc_does_not_open() {
    let patient = Patient::new(SNAPSHOTS);
    let path = patient.snapshot();
    forge(&path, |data| data[5000] ^= 1);
    let state = patient.read();
    assert_eq!(find(&state, FindingKind::SnapshotUnopened).place.file.as_ref(), Some(&path));
    assert_eq!(names(&state).len(), patient.expected_secrets());
}

/// Damage behind the sealed store, be it a second one, costs nothing.
#[test]
fn a_store_that_opens_is_used_whatever_comes_after_it() {
    for rubbish in [&b"\x53"[..], b"\x0a\x01x\x53", b"\x0a\xff"] {
        let patient = Patient::new(ROTATED);
        forge(&patient.snapshot(), |data| data.extend_from_slice(rubbish));
        let state = patient.read();
        assert!(has(&state, FindingKind::SnapshotDamaged), "{rubbish:x?}");
        assert!(state.is_complete(), "{:?}", state.findings);
        assert_eq!(names(&state).len(), patient.expected_secrets());
    }
}

/// Changes what a snapshot's file holds, and makes its CRC right.
fn forge(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let file = fs::read(path).unwrap();
    let (_, at) = segment::varint(&file, 1);
    let (len, start) = segment::varint(&file, at + 1);
    let mut data = file[start..].to_vec();
    assert_eq!(u64::try_from(data.len()).unwrap(), len);
    change(&mut data);
    let mut forged = vec![0x08];
    segment::put_varint(&mut forged, u64::from(crc32c::crc32c(&data)));
    forged.push(0x12);
    segment::put_varint(&mut forged, u64::try_from(data.len()).unwrap());
    forged.extend_from_slice(&data);
    segment::replace(path, &forged);
}

#[test]
fn a_missing_snapshot_is_told() {
    let patient = Patient::new(ROTATED);
    let path = patient.snapshot();
    fs::remove_file(&path).unwrap();
    let state = patient.read();
    let missing = find(&state, FindingKind::SnapshotMissing);
    assert_eq!(missing.place.file.as_ref(), Some(&path));
    assert_eq!(missing.place.index, Some(17));
    assert!(!state.is_complete());
}

/// Swarm starts an empty cluster beside the snapshot.
#[test]
fn a_missing_log_is_told_and_the_snapshot_read() {
    let patient = Patient::new(SNAPSHOTS);
    fs::remove_dir_all(patient.wal.parent().unwrap()).unwrap();
    let state = patient.read();
    assert_eq!(find(&state, FindingKind::LogMissing).loss, from(73));
    assert!(find(&state, FindingKind::LogMissing).text.contains("an empty cluster"));
    assert!(names(&state).len() > 50);

    // Swarm would migrate this one instead.
    let legacy = patient.wal.parent().unwrap().with_file_name("wal-v3");
    fs::create_dir(&legacy).unwrap();
    fs::copy(patient.snapshot(), legacy.join("0000000000000000-0000000000000000.wal")).unwrap();
    let state = patient.read();
    assert!(has(&state, FindingKind::LegacyFolder));
    assert!(find(&state, FindingKind::LogMissing).text.contains("an older format"));

    fs::remove_dir_all(patient.snapshot().parent().unwrap()).unwrap();
    match State::read(patient.capture.dir(), patient.capture.key().as_ref()) {
        Err(Error::Missing(path)) => assert_eq!(Some(path.as_path()), patient.wal.parent()),
        other => panic!("{other:?}"),
    }
}

/// An older copy of the log beside a newer snapshot.
#[test]
fn a_log_that_ends_before_the_snapshot_is_told() {
    let mut patient = Patient::new(SNAPSHOTS);
    let at = patient.frames.iter().position(|f| f.kind == ENTRY && f.index() == 40).unwrap();
    patient.frames.truncate(at);
    patient.rewrite();
    let state = patient.read();
    assert!(has(&state, FindingKind::SnapshotUnknown));
    assert!(!state.is_complete());
}

#[test]
fn no_altered_byte_of_a_snapshot_loses_anything_in_silence() {
    let patient = Patient::new(ROTATED);
    let snapshot = patient.snapshot();
    segment::cut(&patient.wal, patient.end());
    for at in (0..fs::metadata(&snapshot).unwrap().len()).step_by(97).chain(0..9) {
        segment::flip(&snapshot, at);
        let state = patient.read();
        assert!(has(&state, FindingKind::SnapshotDamaged), "offset {at}");
        // Outside the seal it costs nothing.
        let all = names(&state).len() == patient.expected_secrets();
        assert_eq!(state.is_complete(), all, "offset {at}");
        segment::flip(&snapshot, at);
    }
}
