//! Genuine states with one fault each: what is damaged and what is lost is told to the entry.
#![cfg(feature = "swarm")]
#![allow(clippy::unwrap_used, reason = "the helpers belong to the tests")]

#[path = "support/capture.rs"]
mod capture;
#[path = "support/segment.rs"]
mod segment;

use std::fs;
use std::path::PathBuf;

use capture::Capture;
use nodeseal::swarm::{self, Finding, FindingKind, Loss, State};
use nodeseal::{Error, UnlockKey};
use segment::{CRC, ENTRY, Frame, METADATA, STATE, only};

const AUTOLOCKED: &str = "1-autolocked";
const SNAPSHOTS: &str = "2-snapshots";
const ROTATED: &str = "4-dek-rotated";

/// A capture that a test damages.
struct Patient {
    capture: Capture,
    wal: PathBuf,
    frames: Vec<Frame>,
}

impl Patient {
    fn new(name: &str) -> Self {
        let capture = Capture::unpack(name);
        let wal = only(&capture.dir());
        let frames = segment::frames(&wal);
        Self { capture, wal, frames }
    }

    fn read(&self) -> State {
        State::read(self.capture.dir(), self.capture.key().as_ref()).unwrap()
    }

    fn entry(&self, index: u64) -> &Frame {
        self.frames.iter().find(|f| f.kind == ENTRY && f.index() == index).unwrap()
    }

    fn last_entry(&self) -> &Frame {
        self.frames.iter().rfind(|frame| frame.kind == ENTRY).unwrap()
    }

    fn end(&self) -> u64 {
        self.frames.last().unwrap().range.end
    }

    /// Writes the frames back, as one segment with a good chain.
    fn rewrite(&self) {
        segment::replace(&self.wal, &segment::encode(&self.frames, 0).0);
    }

    /// The entry that made the secret; its index is the secret's version plus one.
    fn entry_of(&self, secret: &str) -> u64 {
        self.capture.expected["secrets"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == secret)
            .and_then(|one| one["version"].as_u64())
            .unwrap()
            + 1
    }

    fn expected_secrets(&self) -> usize {
        self.capture.expected["secrets"].as_array().unwrap().len()
    }

    fn snapshot(&self) -> PathBuf {
        let dir = self.capture.dir().join("raft/snap-v3-encrypted");
        fs::read_dir(dir).unwrap().next().unwrap().unwrap().path()
    }
}

fn find(state: &State, kind: FindingKind) -> &Finding {
    match state.findings.iter().find(|finding| finding.kind == kind) {
        Some(finding) => finding,
        None => panic!("no {kind:?} in {:#?}", state.findings),
    }
}

fn has(state: &State, kind: FindingKind) -> bool {
    state.findings.iter().any(|finding| finding.kind == kind)
}

fn names(state: &State) -> Vec<&str> {
    let mut names: Vec<_> =
        state.objects.secrets.values().map(|secret| secret.facts.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn only_entry(index: u64) -> Option<Loss> {
    Some(Loss::Entries { first: index, last: Some(index) })
}

fn from(first: u64) -> Option<Loss> {
    Some(Loss::Entries { first, last: None })
}

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
fn a_record_that_is_none_any_more_does_not_cost_the_next_one() {
    let patient = Patient::new("three-managers-m2");
    let pairs = patient.frames.windows(3).filter(|w| w.iter().all(|frame| frame.kind == ENTRY));
    let [lost, ..] = pairs.last().unwrap() else { unreachable!() };
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

/// Cuts the log into segments of `each` frames, as Swarm does when one is full.
fn split(patient: &Patient, each: usize) -> Vec<PathBuf> {
    let dir = patient.wal.parent().unwrap();
    fs::remove_file(&patient.wal).unwrap();
    let metadata = patient.frames.iter().find(|frame| frame.kind == METADATA).unwrap();
    let mut state = None;
    let (mut chain, mut next_index, mut paths) = (0, 0, Vec::new());
    for (number, part) in patient.frames.chunks(each).enumerate() {
        let mut frames = Vec::new();
        if number > 0 {
            frames.push(Frame { kind: CRC, data: Vec::new(), ..metadata.clone() });
            frames.push(metadata.clone());
            frames.extend(state.clone());
        }
        frames.extend_from_slice(part);
        let path = dir.join(format!("{number:016x}-{next_index:016x}.wal"));
        let (content, end) = segment::encode(&frames, chain);
        segment::replace(&path, &content);
        paths.push(path);
        chain = end;
        state = frames.iter().rfind(|frame| frame.kind == STATE).cloned();
        let last = frames.iter().rfind(|frame| frame.kind == ENTRY).map(Frame::index);
        next_index = last.map_or(next_index, |index| index + 1);
    }
    paths
}

#[test]
fn a_log_of_several_segments() {
    let patient = Patient::new(AUTOLOCKED);
    let paths = split(&patient, 10);
    assert!(paths.len() >= 4);
    let state = patient.read();
    assert!(state.is_complete(), "{:?}", state.findings);
    assert_eq!(state.raft.segments.len(), paths.len());
    assert_eq!(names(&state).len(), patient.expected_secrets());

    // The segment before the last one.
    let gone = paths.len() - 2;
    let indices = |path| -> Vec<u64> {
        let frames = segment::frames(path);
        frames.iter().filter(|frame| frame.kind == ENTRY).map(Frame::index).collect()
    };
    let lost = indices(&paths[gone]);
    let loss = Some(Loss::Entries { first: lost[0], last: lost.last().copied() });
    fs::remove_file(&paths[gone]).unwrap();
    let state = patient.read();
    let gap = find(&state, FindingKind::SegmentGap);
    assert_eq!(gap.place.file.as_ref(), Some(&paths[gone + 1]));
    assert_eq!(gap.loss, loss);
    assert_eq!(find(&state, FindingKind::IndexGap).loss, loss);

    // The first segments too: what they had is in no snapshot.
    for path in &paths[..gone] {
        fs::remove_file(path).unwrap();
    }
    let state = patient.read();
    let loss = Some(Loss::Entries { first: 1, last: lost.last().copied() });
    assert_eq!(find(&state, FindingKind::IndexGap).loss, loss);
}

/// Swarm checks the sequence only after the second segment.
#[test]
fn a_gap_right_after_the_first_segment_is_told() {
    let patient = Patient::new(AUTOLOCKED);
    let paths = split(&patient, 10);
    fs::remove_file(&paths[1]).unwrap();
    assert!(has(&patient.read(), FindingKind::SegmentGap));
}

#[test]
fn a_replaced_segment_breaks_the_chain() {
    let patient = Patient::new(AUTOLOCKED);
    let paths = split(&patient, 10);
    let mut frames = segment::frames(&paths[1]);
    let at = frames.iter().rposition(|frame| frame.kind == STATE).unwrap();
    frames.remove(at);
    segment::replace(&paths[1], &segment::encode(&frames, frames[0].crc).0);
    let state = patient.read();
    let broken = find(&state, FindingKind::ChainBroken);
    assert_eq!(broken.place.file.as_ref(), Some(&paths[2]));
    assert_eq!(broken.place.offset, Some(0));
    assert_eq!(names(&state).len(), patient.expected_secrets());
}

#[test]
fn damage_in_a_segment_that_is_not_the_last_is_no_torn_write() {
    let patient = Patient::new(AUTOLOCKED);
    let paths = split(&patient, 10);
    let len = fs::metadata(&paths[1]).unwrap().len();
    segment::cut(&paths[1], len - 8);
    let state = patient.read();
    assert!(!has(&state, FindingKind::TornTail));
    assert!(!has(&state, FindingKind::ChainBroken));
    let damage = find(&state, FindingKind::FrameDamaged);
    assert_eq!(damage.place.file.as_ref(), Some(&paths[1]));
}

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
    let file = fs::read(&path).unwrap();
    let (_, at) = segment::varint(&file, 1);
    let (len, start) = segment::varint(&file, at + 1);
    let mut data = file[start..].to_vec();
    assert_eq!(u64::try_from(data.len()).unwrap(), len);
    data[5000] ^= 1;
    let mut forged = vec![0x08];
    segment::put_varint(&mut forged, u64::from(crc32c::crc32c(&data)));
    forged.push(0x12);
    segment::put_varint(&mut forged, len);
    forged.extend_from_slice(&data);
    segment::replace(&path, &forged);
    let state = patient.read();
    assert_eq!(find(&state, FindingKind::SnapshotUnopened).place.file.as_ref(), Some(&path));
    assert_eq!(names(&state).len(), patient.expected_secrets());
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
    assert!(names(&state).len() > 50);

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
fn the_key_is_judged_by_the_key_file() {
    let patient = Patient::new(AUTOLOCKED);
    let dir = patient.capture.dir();
    assert!(matches!(State::read(&dir, None), Err(Error::KeyRequired)));
    let other = UnlockKey::generate().unwrap();
    assert!(matches!(State::read(&dir, Some(&other)), Err(Error::WrongKey)));
    let inspection = swarm::inspect(&dir, Some(&other)).unwrap();
    assert!(matches!(inspection.locked_by, Some(Error::WrongKey)));

    let parent = dir.parent().unwrap();
    assert!(matches!(State::read(parent, None), Err(Error::Missing(_))));
    assert!(matches!(swarm::inspect(parent, None), Err(Error::Missing(_))));
}

#[test]
fn without_the_key_the_outside_is_still_told() {
    let patient = Patient::new(ROTATED);
    let dir = patient.capture.dir();
    let inspection = swarm::inspect(&dir, None).unwrap();
    assert!(matches!(inspection.locked_by, Some(Error::KeyRequired)));
    assert!(inspection.objects.is_none());
    let key = inspection.key.unwrap();
    assert!(key.locked && key.has_dek && !key.has_pending_dek && !key.needs_rotation);
    assert_eq!(key.kek_version, Some(16));
    let raft = inspection.raft;
    assert_eq!(raft.entries.by_algorithm["secretbox"], raft.entries.total);
    assert_eq!((raft.snapshots[0].index, raft.snapshots[0].used), (Some(17), false));
    assert_eq!(raft.member.unwrap().node_id, "smmmo6jxqjzmwqompz3wque27");

    let with_key = swarm::inspect(&dir, patient.capture.key().as_ref()).unwrap();
    assert!(with_key.locked_by.is_none());
    assert_eq!(with_key.objects.unwrap()[&swarm::ObjectKind::Secret], 10);
    assert!(with_key.findings.iter().any(|finding| finding.kind == FindingKind::RetiredKey));

    segment::replace(&dir.join("certificates/swarm-node.key"), b"");
    let inspection = swarm::inspect(&dir, None).unwrap();
    assert!(inspection.key.is_none());
    assert!(matches!(inspection.locked_by, Some(Error::Damaged { .. })));
    assert_eq!(inspection.raft.entries.total, raft.entries.total);
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

#[test]
fn leftovers_are_told() {
    let patient = Patient::new(AUTOLOCKED);
    let dir = patient.capture.dir();
    fs::create_dir(dir.join("raft/wal-v3")).unwrap();
    for (file, kind) in [
        ("raft/wal-v3/0000000000000000-0000000000000000.wal", FindingKind::LegacyFolder),
        (
            "raft/wal-v3-encrypted/0000000000000000-0000000000000000.wal.broken",
            FindingKind::Leftover,
        ),
        (
            "raft/snap-v3-encrypted/0000000000000002-0000000000000011.snap.broken",
            FindingKind::Leftover,
        ),
        ("raft/wal-v3-encrypted/notes.txt", FindingKind::UnknownFile),
        ("certificates/.tmp-swarm-node.key123", FindingKind::StaleKeyFile),
    ] {
        let before = patient.read().findings.len();
        segment::replace(&dir.join(file), b"x");
        let state = patient.read();
        assert_eq!(state.findings.len(), before + 1, "{file}");
        assert!(has(&state, kind), "{file}");
        assert!(state.is_complete());
    }
}

#[test]
fn nothing_is_written() {
    fn walk(dir: &std::path::Path, out: &mut Vec<(PathBuf, u64, std::time::SystemTime)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let data = entry.metadata().unwrap();
            if data.is_dir() {
                walk(&entry.path(), out);
            }
            out.push((entry.path(), data.len(), data.modified().unwrap()));
        }
        out.sort();
    }
    let patient = Patient::new(ROTATED);
    segment::cut(&patient.wal, patient.end() - 8);
    segment::flip(&patient.snapshot(), 2000);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    walk(&patient.capture.dir(), &mut before);
    patient.read();
    swarm::inspect(patient.capture.dir(), patient.capture.key().as_ref()).unwrap();
    walk(&patient.capture.dir(), &mut after);
    assert_eq!(before, after);
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

#[test]
fn no_altered_byte_of_a_snapshot_loses_anything_in_silence() {
    let patient = Patient::new(ROTATED);
    let snapshot = patient.snapshot();
    segment::cut(&patient.wal, patient.end());
    for at in (0..fs::metadata(&snapshot).unwrap().len()).step_by(97) {
        segment::flip(&snapshot, at);
        let state = patient.read();
        assert!(has(&state, FindingKind::SnapshotDamaged), "offset {at}");
        assert!(!state.is_complete(), "offset {at}");
        segment::flip(&snapshot, at);
    }
}
