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
    let dek = golden("dek").try_into().unwrap();
    Node { dek, cluster: "prod".to_owned(), node: "m1".to_owned() }
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
}

#[test]
fn records_are_sealed_and_opened_as_ever() {
    let keyring = keyring();
    let log = keyring.log("raft").unwrap();
    let active = keyring.status().deks[0].id;
    let dek = keyring.shared().find(active).unwrap();
    let key = key(keyring.shared(), &dek, RECORD, "raft");
    let sealer = Sealer::new(&key, active, PREFIX);
    for (name, index, era, prev, plain) in [
        ("record-empty", 1, 1, 0, &b""[..]),
        ("record-short", 2, 1, 1, b"a raft entry"),
        ("record-far", u64::MAX, u64::MAX, 1, &[0x5a; 130]),
    ] {
        let expected = golden(name);
        let mut record = [&[0; RECORD_OVERHEAD], plain].concat();
        sealer.seal(entry(index, era), Era::term(prev), &mut record).unwrap();
        assert_eq!(record, expected, "{name}");
        assert_eq!(by_hand().record(Spot("raft", index, era, prev), &PREFIX, plain), expected);
        let opened = log.open_in_place(entry(index, era), Era::term(prev), &mut record).unwrap();
        assert_eq!(opened, plain, "{name}");
    }
}

#[test]
fn cells_are_opened_as_ever() {
    let cells = keyring().cells();
    let sealed = golden("cell");
    assert_eq!(by_hand().cell("membership", b"last", [0x24; 24], b"m1,m2,m3"), sealed);
    assert_eq!(cells.open("membership", b"last", &sealed).unwrap().expose(), b"m1,m2,m3");
    let state = cells.open_state("raft", &golden("state")).unwrap();
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
    let mut reader = keyring().streams().open("snapshot", Cursor::new(STREAM_FILE)).unwrap();
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
