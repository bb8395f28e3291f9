//! Sealed bytes that must stay what they are: the format of version 1.
//!
//! `tests/data/seal/node.keys` is a key file that is not locked, of the node `m1` of the cluster
//! `prod`; the other files there were sealed under its DEK.

use std::io::{Cursor, Read};
use std::path::Path;

use super::independent::{Plan, Spot};
use super::record::Sealer;
use super::*;
use crate::keyring::{LockPolicy, Opened};

const KEYS: &[u8] = include_bytes!("../../../tests/data/seal/node.keys");
const GOLDEN: &str = include_str!("../../../tests/data/seal/golden.txt");
const STREAM_FILE: &[u8] = include_bytes!("../../../tests/data/seal/stream.bin");

const PREFIX: [u8; 16] = *b"0123456789abcdef";
/// Index, era, era before and plaintext of each record.
const RECORDS: &[(&str, u64, u64, u64, &[u8])] = &[
    ("record-empty", 1, 1, 0, b""),
    ("record-short", 2, 1, 1, b"a raft entry"),
    ("record-far", u64::MAX, u64::MAX, 1, &[0x5a; 130]),
];
const CELL_PLAIN: &[u8] = b"m1,m2,m3";

/// The value of `name` in the file of golden bytes.
fn golden(name: &str) -> Vec<u8> {
    let lines = GOLDEN.lines().filter(|line| !line.starts_with('#'));
    let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let hex = values.next().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn keyring() -> Keyring {
    let disk = SimFs::new();
    disk.write_file(Path::new("/keys/node.keys"), KEYS).unwrap();
    let me = Identity::new("prod", "m1").unwrap();
    let place = Location::on(Arc::new(disk), "/keys");
    match Keyring::open(place, &me, LockPolicy::Any).unwrap() {
        Opened::Unlocked(keyring) => keyring,
        Opened::Locked(_) => panic!("locked"),
    }
}

fn by_hand() -> Node {
    let (dek, keyspace) = (golden("dek"), golden("keyspace"));
    let (cluster, node) = ("prod".to_owned(), "m1".to_owned());
    Node { dek: dek.try_into().unwrap(), cluster, node, keyspace: keyspace.try_into().unwrap() }
}

fn plan(plain: &[u8]) -> Plan<'_> {
    let content = [0xc5; 32];
    Plan { content, index: 1 << 40, era: 3, chunk_size: 1024, meta: b"members", plain }
}

fn stream_plain() -> Vec<u8> {
    (0..=250).cycle().take(2500).collect()
}

#[test]
fn the_dek_is_the_key_files() {
    let keyring = keyring();
    assert_eq!(node(&keyring).dek, *golden("dek"));
    assert_eq!(keyring.status().deks[0].id.to_bytes(), by_hand().dek_id());
    assert_eq!(golden("dek-id"), by_hand().dek_id());
    assert_eq!(node(&keyring).keyspace, *golden("keyspace"));
}

#[test]
fn records_are_sealed_and_opened_as_ever() {
    let keyring = keyring();
    let raft = raft(&keyring);
    let log = raft.log();
    let active = keyring.status().deks[0].id;
    let dek = keyring.shared().find(active).unwrap();
    let key = key(&raft, &dek, RECORD);
    let sealer = Sealer::new(&key, active, PREFIX);
    for &(name, index, era, prev, plain) in RECORDS {
        let expected = golden(name);
        let mut record = [&[0; RECORD_OVERHEAD], plain].concat();
        sealer.seal(entry(index, era), Era::term(prev), &mut record).unwrap();
        assert_eq!(record, expected, "{name}");
        assert_eq!(by_hand().record(Spot(index, era, prev), &PREFIX, plain), expected);
        let opened = log.open_in_place(entry(index, era), Era::term(prev), &mut record).unwrap();
        assert_eq!(opened, plain, "{name}");
    }
}

#[test]
fn cells_are_opened_as_ever() {
    let cells = raft(&keyring()).cells();
    let sealed = golden("cell");
    assert_eq!(by_hand().cell("membership", b"last", [0x24; 24], CELL_PLAIN), sealed);
    assert_eq!(cells.open("membership", b"last", &sealed).unwrap().expose(), CELL_PLAIN);
    let state = cells.open_state(&golden("state")).unwrap();
    let expected = State {
        last: entry(12, 3),
        committed: entry(11, 3),
        purged: entry(4, 2),
        snapshot: Some(StreamId::from_bytes([0x11; 16])),
        sequence: 77,
        vote: b"vote".to_vec(),
    };
    assert_eq!(state, expected);
}

#[test]
fn streams_are_opened_as_ever() {
    let plain = stream_plain();
    assert!(by_hand().stream("snapshot", &plan(&plain)) == STREAM_FILE);
    let mut reader = keyring()
        .keyspace("raft")
        .unwrap()
        .streams()
        .open("snapshot", Cursor::new(STREAM_FILE))
        .unwrap();
    reader.verify().unwrap();
    let info = reader.info();
    assert_eq!((info.at, info.chunk_size, &*info.meta), (entry(1 << 40, 3), 1024, &b"members"[..]));
    let label: &[u8] = b"nodeseal/v1/stream-id";
    assert_eq!(info.id.to_bytes(), independent::hkdf(&[0xc5; 32], &[label])[..16]);
    assert_eq!(info.id.to_bytes(), *golden("stream-id"));
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == plain);
}

/// Makes the golden bytes again, of the DEK and keyspace that the files name.
#[test]
#[ignore = "writes tests/data/seal again"]
fn make_the_golden_bytes() {
    let by_hand = by_hand();
    let plain = stream_plain();
    let numbers: [u64; 8] = [12, 3, 11, 3, 4, 2, 77, 1];
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let state = [&[1][..], &numbers, &[1], &[0x11; 16], b"vote"].concat();
    let label: &[u8] = b"nodeseal/v1/stream-id";
    let stream_id = independent::hkdf(&[0xc5; 32], &[label]);
    let mut values = vec![
        ("dek", by_hand.dek.to_vec()),
        ("dek-id", by_hand.dek_id().to_vec()),
        ("keyspace", by_hand.keyspace.to_vec()),
    ];
    values.extend(RECORDS.iter().map(|(name, index, era, prev, plain)| {
        (*name, by_hand.record(Spot(*index, *era, *prev), &PREFIX, plain))
    }));
    values.push(("cell", by_hand.cell("membership", b"last", [0x24; 24], CELL_PLAIN)));
    values.push(("state", by_hand.cell("nodeseal/state", b"", [0x25; 24], &state)));
    values.push(("stream-id", stream_id[..16].to_vec()));
    let mut text = GOLDEN.lines().next().unwrap().to_owned() + "\n";
    for (name, bytes) in values {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text += &format!("{name} {hex}\n");
    }
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/seal");
    let write = |name, bytes: &[u8]| {
        let mut file = std::fs::File::create(data.join(name)).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
    };
    write("golden.txt", text.as_bytes());
    write("stream.bin", &by_hand.stream("snapshot", &plan(&plain)));
}
