//! A snapshot file of a manager, beside a log that knows it.
//!
//! The first byte chooses: the input is the file; a raft snapshot, put behind a CRC that is right;
//! or the store, sealed as a manager does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nodeseal::fuzzing::swarm_objects;
use nodeseal_fuzz::segment::{CRC, METADATA, SNAPSHOT, STATE, Writer};
use nodeseal_fuzz::split_mode;
use nodeseal_fuzz::swarm::{
    DEK, Value, boxed_record, bytes_field, content, disk, leading_fields, open_record, put,
    raft_snapshot, read, segment_path, snapshot_file, snapshot_path, uints,
};

const TERM: u64 = 2;
const INDEX: u64 = 17;

fuzz_target!(|data: &[u8]| {
    let (mode, rest) = split_mode(data);
    let snapshot = match mode % 3 {
        0 | 1 => rest.to_vec(),
        _ => raft_snapshot(TERM, INDEX, &[1], &boxed_record(&DEK, &[9; 24], rest)),
    };
    let file = if mode % 3 == 0 { snapshot } else { snapshot_file(&snapshot) };
    let disk = disk();
    let mut log = Writer::default();
    log.record(CRC, b"");
    log.record(METADATA, &[uints(&[(1, 1)]), bytes_field(2, b"node")].concat());
    log.record(SNAPSHOT, &uints(&[(1, INDEX), (2, TERM)]));
    log.record(STATE, &uints(&[(1, TERM), (2, 1), (3, INDEX)]));
    put(&disk, segment_path(0, 0), &log.end());
    put(&disk, snapshot_path(TERM, INDEX), &file);

    let state = read(&disk);
    let [facts] = &state.raft.snapshots[..] else { panic!("there is one file") };
    assert_eq!(facts.size, file.len() as u64);
    let expected = opened(&file);
    if mode % 3 == 2 {
        assert_eq!(expected.as_deref(), Some(rest));
        assert_eq!((facts.term, facts.index), (Some(TERM), Some(INDEX)));
        assert!(facts.used);
    }
    assert!(!facts.used || expected.is_some());
    let (objects, findings) = swarm_objects(expected.as_deref().unwrap_or_default(), &[]);
    if facts.used {
        assert_eq!(content(&state.objects), content(&objects));
        assert!(findings.len() <= state.findings.len());
    } else {
        assert!(!state.findings.is_empty(), "an unused snapshot is told");
        assert_eq!(state.objects.counts().len(), 0);
    }
});

/// The store in a snapshot file, whatever its CRC says and as far as it can be taken apart: the last
/// one that opens.
fn opened(file: &[u8]) -> Option<Vec<u8>> {
    fn parts(message: &[u8], wanted: u64) -> impl DoubleEndedIterator<Item = &[u8]> {
        leading_fields(message).0.into_iter().filter_map(move |(number, value)| match value {
            Value::Bytes(bytes) if number == wanted => Some(bytes),
            _ => None,
        })
    }
    parts(file, 2)
        .flat_map(|raft| parts(raft, 1))
        .rev()
        .find_map(|sealed| open_record(&DEK, sealed))
}
