//! The segments of a manager's log.
//!
//! Bit 0 of the first byte: the records that can be made out get a CRC chain that is right, and
//! then every one of them must be read. Bit 1: the input is cut in two segments, at the place that
//! the next two bytes say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nodeseal::swarm::FindingKind;
use nodeseal_fuzz::segment::{Writer, repaired};
use nodeseal_fuzz::swarm::{disk, put, read, segment_path};
use nodeseal_fuzz::{split_mode, take};

/// What can only be wrong with frames and their chain.
const FRAMES: [FindingKind; 6] = [
    FindingKind::ChainBroken,
    FindingKind::FrameDamaged,
    FindingKind::RecordDamaged,
    FindingKind::ChecksumDamaged,
    FindingKind::TornTail,
    FindingKind::Garbage,
];

fuzz_target!(|data: &[u8]| {
    let (mode, mut rest) = split_mode(data);
    let at = usize::from(u16::from_le_bytes(take(&mut rest))) % (rest.len() + 1);
    let parts = if mode & 2 != 0 { vec![&rest[..at], &rest[at..]] } else { vec![rest] };
    let disk = disk();
    let (mut writer, mut counts) = (Writer::default(), Vec::new());
    for (sequence, part) in (0..).zip(parts) {
        let segment = if mode & 1 != 0 {
            let (segment, count) = repaired(&mut writer, part);
            counts.push(count);
            segment
        } else {
            part.to_vec()
        };
        put(&disk, segment_path(sequence, sequence), &segment);
    }
    let state = read(&disk);
    if mode & 1 != 0 {
        let records: Vec<u64> = state.raft.segments.iter().map(|one| one.records).collect();
        assert_eq!(records, counts);
        assert!(state.findings.iter().all(|finding| !FRAMES.contains(&finding.kind)));
    }
});
