//! What counts among entries that are whole, and what opens.

use std::fs;

use nodeseal::swarm::{self, FindingKind};

use crate::segment::{self, ENTRY, STATE};
use crate::{AUTOLOCKED, Patient, find, has, names, only_entry};

#[test]
fn without_the_last_state_record_a_sole_manager_has_all_its_entries() {
    let patient = Patient::new(AUTOLOCKED);
    let state = patient.frames.iter().rfind(|frame| frame.kind == STATE).unwrap();
    segment::zero(&patient.wal, state.range.clone());
    let state = patient.read();
    assert_eq!(state.raft.uncommitted, 1);
    assert!(has(&state, FindingKind::Uncommitted));
    assert_eq!(names(&state).len(), patient.expected_secrets());
}

#[test]
fn among_several_managers_only_committed_entries_count() {
    let mut patient = Patient::new("three-managers-m1");
    let index = patient.entry_of("s33");
    // Take the commit index back to the entry before.
    for frame in patient.frames.iter_mut().filter(|frame| frame.kind == STATE) {
        let (commit, _) = segment::varint(&frame.data, frame.data.len() - 1);
        if commit >= index {
            *frame.data.last_mut().unwrap() = u8::try_from(index - 1).unwrap();
        }
    }
    patient.rewrite();
    let state = patient.read();
    assert!(state.is_complete(), "{:?}", state.findings);
    assert_eq!(find(&state, FindingKind::Uncommitted).place.index, Some(index));
    assert!(!names(&state).contains(&"s33"));
    assert!(names(&state).contains(&"s32"));
}

#[test]
fn a_later_entry_of_the_same_index_replaces() {
    let mut patient = Patient::new("three-managers-m1");
    let index = patient.entry_of("s33");
    let at = patient.frames.iter().position(|f| f.kind == ENTRY && f.index() == index).unwrap();
    // An uncommitted predecessor of the same index: a copy of another entry's content.
    let mut loser = patient.entry(index - 1).clone();
    let place = loser.data.iter().position(|byte| *byte == 0x18).unwrap();
    loser.data[place + 1] = u8::try_from(index).unwrap();
    assert_eq!(loser.index(), index);
    patient.frames.insert(at, loser);
    patient.rewrite();
    let state = patient.read();
    assert!(state.is_complete(), "{:?}", state.findings);
    assert_eq!(names(&state).len(), patient.expected_secrets());

    // After the commit index has passed it, nothing may replace it.
    let frame = patient.entry(index - 1).clone();
    patient.frames.push(frame);
    patient.rewrite();
    assert!(has(&patient.read(), FindingKind::RaftViolated));
}

#[test]
fn an_altered_entry_with_a_good_crc_is_damage_and_not_a_wrong_key() {
    let mut patient = Patient::new(AUTOLOCKED);
    let index = patient.entry_of("db_password");
    let offset = patient.entry(index).range.start;
    let frame = patient.frames.iter_mut().find(|f| f.range.start == offset).unwrap();
    let at = frame.data.len() - 40;
    frame.data[at] ^= 1;
    patient.rewrite();
    let state = patient.read();
    let unopened = find(&state, FindingKind::EntryUnopened);
    assert_eq!(unopened.place.offset, Some(offset));
    assert_eq!(unopened.place.index, Some(index));
    assert_eq!(unopened.loss, only_entry(index));
    assert_eq!(names(&state), ["api-token", "tls.key"]);
    assert_eq!(state.raft.entries.unopened.count, 1);
}

#[test]
fn an_entry_that_is_not_sealed_is_refused() {
    let mut patient = Patient::new(AUTOLOCKED);
    let index = patient.entry_of("db_password");
    let put = |patient: &mut Patient, record: &[u8]| {
        let offset = patient.entry(index).range.start;
        let frame = patient.frames.iter_mut().find(|f| f.range.start == offset).unwrap();
        // Type, term, index, data.
        let mut data = vec![0x08, 0, 0x10, 2, 0x18, u8::try_from(index).unwrap(), 0x22];
        data.push(u8::try_from(record.len()).unwrap());
        data.extend_from_slice(record);
        frame.data = data;
        patient.rewrite();
        patient.read()
    };
    // NONE is the default and is not written; what follows is an empty request.
    let state = put(&mut patient, &[0x12, 0]);
    assert_eq!(find(&state, FindingKind::EntryPlaintext).loss, only_entry(index));
    assert_eq!(state.raft.entries.by_algorithm["none"], 1);
    let state = put(&mut patient, &[0x08, 9, 0x12, 1, 1]);
    assert_eq!(find(&state, FindingKind::EntryNotARecord).loss, only_entry(index));
    assert_eq!(state.raft.entries.by_algorithm["unknown"], 1);
    let state = put(&mut patient, &[0xff]);
    assert_eq!(find(&state, FindingKind::EntryNotARecord).loss, only_entry(index));
    assert_eq!(state.raft.entries.by_algorithm["damaged"], 1);
}

#[test]
fn a_commit_index_that_goes_back_is_told_and_not_followed() {
    let mut patient = Patient::new("three-managers-m1");
    let frame = patient.frames.iter_mut().rfind(|frame| frame.kind == STATE).unwrap();
    *frame.data.last_mut().unwrap() = 3;
    patient.rewrite();
    let state = patient.read();
    assert!(has(&state, FindingKind::RaftViolated));
    assert!(names(&state).contains(&"s31"));
}

/// The key file of the capture that is not locked, with another pair of DEKs.
fn with_deks(patient: &Patient, change: impl Fn(&str) -> String) {
    let path = patient.capture.dir().join("certificates/swarm-node.key");
    let text = fs::read_to_string(&path).unwrap();
    let dek = text.lines().find_map(|line| line.strip_prefix("raft-dek: ")).unwrap();
    let line = format!("raft-dek: {dek}\n");
    segment::replace(&path, text.replace(&line, &change(dek)).as_bytes());
}

#[test]
fn a_half_done_rotation_is_read_with_both_keys() {
    // A record in the clear: 32 bytes of zeros.
    let other = format!("EiA{}==", "A".repeat(43));
    for (other_is_pending, current) in [(true, 13), (false, 0)] {
        let patient = Patient::new("3-unlocked");
        with_deks(&patient, |dek| {
            let (current, pending) =
                if other_is_pending { (dek, other.as_str()) } else { (other.as_str(), dek) };
            format!("raft-dek: {current}\nraft-dek-pending: {pending}\n")
        });
        let state = patient.read();
        assert!(state.is_complete(), "{:?}", state.findings);
        assert_eq!(state.raft.entries.opened_by_current.count, current);
        assert_eq!(state.raft.entries.opened_by_pending.count, 13 - current);
        assert_eq!(names(&state).len(), patient.expected_secrets());
        let inspection = swarm::inspect(patient.capture.dir(), None).unwrap();
        let kind = FindingKind::RotationUnfinished;
        assert!(inspection.findings.iter().any(|finding| finding.kind == kind));
    }
}
