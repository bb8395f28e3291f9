//! Faults within a segment.

use nodeseal::swarm::{FindingKind, State};

use crate::segment::{self, CRC, ENTRY, Frame, METADATA, STATE};
use crate::{AUTOLOCKED, Patient, find, from, has, names, only_entry};

#[test]
fn a_flipped_bit_in_the_middle_costs_one_entry() {
    let patient = Patient::new(AUTOLOCKED);
    let index = patient.entry_of("db_password");
    let frame = patient.entry(index);
    segment::flip(&patient.wal, frame.range.start + 60);

    let state = patient.read();
    let damage = find(&state, FindingKind::RecordDamaged);
    assert_eq!(damage.place.file.as_ref(), Some(&patient.wal));
    assert_eq!(damage.place.offset, Some(frame.range.start));
    assert_eq!(damage.place.index, Some(index));
    assert_eq!(damage.loss, only_entry(index));
    assert_eq!(find(&state, FindingKind::IndexGap).loss, only_entry(index));
    assert!(!state.is_complete());
    assert_eq!(names(&state), ["api-token", "tls.key"]);
}

#[test]
fn a_flipped_bit_in_the_last_entry_is_no_torn_write() {
    let patient = Patient::new(AUTOLOCKED);
    let frame = patient.last_entry();
    segment::flip(&patient.wal, frame.range.start + 60);

    let state = patient.read();
    assert_eq!(find(&state, FindingKind::RecordDamaged).loss, from(frame.index()));
    assert_eq!(find(&state, FindingKind::LogBehind).loss, only_entry(frame.index()));
    assert!(!has(&state, FindingKind::TornTail));
}

#[test]
fn a_file_cut_inside_the_last_entry_is_torn() {
    let patient = Patient::new(AUTOLOCKED);
    let frame = patient.last_entry();
    for cut in [frame.range.end - 8, frame.range.start + 13, frame.range.start + 3] {
        segment::cut(&patient.wal, cut);
        let state = patient.read();
        let torn = find(&state, FindingKind::TornTail);
        assert_eq!(torn.place.offset, Some(frame.range.start));
        assert_eq!(torn.loss, from(frame.index()));
        assert_eq!(state.raft.last_index, Some(frame.index() - 1));
    }
}

/// What `State` says that it cannot tell.
#[test]
fn a_cut_between_frames_shows_only_by_the_commit_index() {
    let patient = Patient::new(AUTOLOCKED);
    let last = patient.last_entry();
    segment::cut(&patient.wal, last.range.start);
    assert!(patient.read().is_complete());

    // The same, with a commit index that was written before.
    let mut patient = Patient::new(AUTOLOCKED);
    let state = patient.frames.iter().rposition(|frame| frame.kind == STATE).unwrap();
    let entry = patient.frames.iter().rposition(|frame| frame.kind == ENTRY).unwrap();
    assert_eq!(state, entry + 1);
    let lost = patient.frames.remove(entry).index();
    patient.rewrite();
    assert_eq!(find(&patient.read(), FindingKind::LogBehind).loss, only_entry(lost));
}

#[test]
fn zeros_at_the_end_are_told_when_a_frame_is_behind_them() {
    let patient = Patient::new(AUTOLOCKED);
    let last = patient.last_entry().clone();
    segment::zero(&patient.wal, last.range.clone());
    let state = patient.read();
    let damage = find(&state, FindingKind::FrameDamaged);
    assert_eq!(damage.place.offset, Some(last.range.start));
    assert_eq!(damage.loss, from(last.index()));
    // Without the state record behind it, nothing is left that could tell.
    segment::zero(&patient.wal, last.range.start..patient.end());
    assert!(patient.read().is_complete());
}

#[test]
fn zeros_in_the_middle_do_not_hide_what_follows() {
    let patient = Patient::new(AUTOLOCKED);
    let index = patient.entry_of("db_password");
    let frame = patient.entry(index);
    segment::zero(&patient.wal, frame.range.clone());
    let state = patient.read();
    assert_eq!(find(&state, FindingKind::FrameDamaged).place.offset, Some(frame.range.start));
    assert_eq!(find(&state, FindingKind::IndexGap).loss, only_entry(index));
    assert_eq!(names(&state), ["api-token", "tls.key"]);
}

#[test]
fn an_entry_that_is_zero_from_a_sector_on_is_torn() {
    let patient = Patient::new(AUTOLOCKED);
    let crossing = |frame: &&Frame| {
        frame.kind == ENTRY && frame.range.start / 512 < (frame.range.end - 1) / 512
    };
    let frame = patient.frames.iter().rfind(crossing).unwrap();
    let sector = (frame.range.end - 1) / 512 * 512;
    assert!(sector > frame.range.start + 8);
    segment::zero(&patient.wal, sector..patient.end());
    let state = patient.read();
    let torn = find(&state, FindingKind::TornTail);
    assert_eq!(torn.place.offset, Some(frame.range.start));
    assert_eq!(torn.loss, from(frame.index()));
}

#[test]
fn garbage_behind_the_end() {
    let patient = Patient::new(AUTOLOCKED);
    segment::overwrite(&patient.wal, patient.end() + 4096, b"garbage");
    let state = patient.read();
    let garbage = find(&state, FindingKind::Garbage);
    assert_eq!(garbage.place.offset, Some(patient.end() + 4096));
    assert!(state.is_complete());

    // In place of a length word: longer than the file.
    segment::overwrite(&patient.wal, patient.end(), &[0xff; 64]);
    let state = patient.read();
    assert_eq!(find(&state, FindingKind::TornTail).place.offset, Some(patient.end()));
    assert_eq!(names(&state).len(), patient.expected_secrets());
    // A length that fits, on something that is no record.
    segment::overwrite(&patient.wal, patient.end(), &64u64.to_le_bytes());
    let state = patient.read();
    assert_eq!(find(&state, FindingKind::FrameDamaged).place.offset, Some(patient.end()));
    assert_eq!(names(&state).len(), patient.expected_secrets());
}

/// Swarm takes it for a torn write, cuts the file and loses all that follows without a word.
#[test]
fn a_damaged_length_word_costs_one_entry() {
    for top in [[0x00, 0x00], [0x02, 0x00], [0x00, 0x01], [0x11, 0x7f]] {
        let patient = Patient::new(AUTOLOCKED);
        let index = patient.entry_of("db_password");
        let frame = patient.entry(index);
        segment::overwrite(&patient.wal, frame.range.start + 2, &top);
        if top == [0, 0] {
            segment::flip(&patient.wal, frame.range.start);
        }
        let state = patient.read();
        let damage = find(&state, FindingKind::FrameDamaged);
        assert_eq!(damage.place.offset, Some(frame.range.start), "{top:?}");
        assert_eq!(damage.loss, only_entry(index), "{top:?}");
        assert_eq!(names(&state), ["api-token", "tls.key"], "{top:?}");
    }
}

#[test]
fn a_flipped_bit_that_is_not_in_the_data_costs_nothing() {
    let patient = Patient::new(AUTOLOCKED);
    let frame = patient.entry(patient.entry_of("db_password"));
    // In the CRC itself: type and CRC stand before the data.
    segment::flip(&patient.wal, frame.range.start + 8 + 3);
    let state = patient.read();
    assert_eq!(find(&state, FindingKind::ChecksumDamaged).place.offset, Some(frame.range.start));
    assert!(state.is_complete());
    assert_eq!(names(&state).len(), patient.expected_secrets());

    // In the length word's unused bits.
    let patient = Patient::new(AUTOLOCKED);
    segment::flip(&patient.wal, frame.range.start + 7);
    let state = patient.read();
    assert!(has(&state, FindingKind::ChecksumDamaged));
    assert!(state.is_complete());
}

#[test]
fn a_record_that_is_none_any_more_does_not_cost_the_next_one() {
    let patient = Patient::new("three-managers-m2");
    let in_a_row = |three: &&[Frame]| three.iter().all(|frame| frame.kind == ENTRY);
    let lost = &patient.frames.windows(3).rfind(in_a_row).unwrap()[0];
    // The tag of the record's first field.
    segment::flip(&patient.wal, lost.range.start + 8);
    let state = patient.read();
    assert_eq!(find(&state, FindingKind::FrameDamaged).loss, only_entry(lost.index()));
    assert_eq!(find(&state, FindingKind::IndexGap).loss, only_entry(lost.index()));
    assert_eq!(state.losses().count(), 2);
}

/// The CRC covers neither type nor length.
#[test]
fn a_record_of_another_type_does_not_pass_for_one() {
    let entry_type = |kind| {
        let patient = Patient::new(AUTOLOCKED);
        let index = patient.entry_of("db_password");
        segment::overwrite(&patient.wal, patient.entry(index).range.start + 9, &[kind]);
        let state = patient.read();
        assert_eq!(find(&state, FindingKind::IndexGap).loss, only_entry(index), "{kind}");
        assert_eq!(names(&state), ["api-token", "tls.key"], "{kind}");
        state
    };
    for kind in [0, STATE, CRC, 5, 34] {
        assert!(has(&entry_type(kind), FindingKind::RecordMalformed), "{kind}");
    }
    assert!(has(&entry_type(METADATA), FindingKind::MetadataDiffers));

    let patient = Patient::new(AUTOLOCKED);
    let record = patient.frames.iter().rfind(|frame| frame.kind == STATE).unwrap();
    segment::overwrite(&patient.wal, record.range.start + 9, &[ENTRY]);
    let state = patient.read();
    assert!(has(&state, FindingKind::RecordMalformed));
    assert!(!state.is_complete());
    assert_eq!(names(&state).len(), patient.expected_secrets());
}

/// Every third byte of a whole log, altered one at a time.
#[test]
fn no_altered_byte_loses_anything_in_silence() {
    let patient = Patient::new("3-unlocked");
    let end = patient.end();
    // The zeros behind it would only be read again and again.
    segment::cut(&patient.wal, end + 64);
    let payloads = |state: &State| -> Vec<(String, Vec<u8>)> {
        let secrets = state.objects.secrets.iter();
        secrets.map(|(id, secret)| (id.clone(), secret.payload.expose().to_vec())).collect()
    };
    let whole = payloads(&patient.read());
    assert_eq!(whole.len(), patient.expected_secrets());
    let mut lossy = 0;
    for at in (0..end).step_by(3) {
        segment::flip(&patient.wal, at);
        let state = patient.read();
        let left = payloads(&state);
        assert!(left.iter().all(|secret| whole.contains(secret)), "offset {at}");
        if left != whole {
            assert!(!state.is_complete(), "offset {at}");
            lossy += 1;
        }
        segment::flip(&patient.wal, at);
    }
    assert!(lossy > 100, "only {lossy} bytes matter");
}
