//! Logs of several segments.

use std::fs;
use std::path::PathBuf;

use nodeseal::swarm::{FindingKind, Loss};

use crate::segment::{self, CRC, ENTRY, Frame, METADATA, STATE};
use crate::{AUTOLOCKED, Patient, find, has, names};

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
