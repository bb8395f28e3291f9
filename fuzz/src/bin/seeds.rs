//! Writes what stands in the corpora from the beginning: the same bytes at every run. What a fuzzer
//! added beside it, under names of 40 hexadecimal digits, stays.
//!
//! `cargo +nightly run --bin seeds`, in this folder. Needs `tar` and `xz`, for the captures.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nodeseal::secret::SecretKey;
use nodeseal::{LockRecord, UnlockKey};
use nodeseal_fuzz::fixed::{self, ACTIVE, DEKS, KEK, RETIRING};
use nodeseal_fuzz::key_file::Field;
use nodeseal_fuzz::reference::{self, Key, Place, StreamFacts};
use nodeseal_fuzz::segment::{self, ENTRY, Writer};
use nodeseal_fuzz::store::Damage;
use nodeseal_fuzz::swarm::{
    self, DEK, Value, boxed_record, clear_record, fernet_record, fields, put_bytes, put_uint,
};

/// The longest seed, in bytes.
const LONGEST: usize = 64 << 10;
/// Requests and stores of a capture that become seeds, at most.
const REQUESTS: usize = 16;

fn main() -> io::Result<()> {
    let mut seeds = Seeds::default();
    native(&mut seeds);
    sealed(&mut seeds);
    stores(&mut seeds);
    cluster(&mut seeds);
    swarm_made(&mut seeds);
    captures(&mut seeds)?;
    seeds.write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"))
}

#[derive(Default)]
struct Seeds(BTreeMap<(&'static str, String), Vec<u8>>);

impl Seeds {
    fn add(&mut self, target: &'static str, name: impl Into<String>, seed: impl Into<Vec<u8>>) {
        let (name, seed) = (name.into(), seed.into());
        if seed.len() <= LONGEST {
            assert!(self.0.insert((target, name.clone()), seed).is_none(), "{target}/{name}");
        }
    }

    fn write(&self, corpus: &Path) -> io::Result<()> {
        for ((target, name), seed) in &self.0 {
            let folder = corpus.join(target);
            fs::create_dir_all(&folder)?;
            #[expect(clippy::disallowed_methods, reason = "nothing depends on its durability")]
            fs::write(folder.join(name), seed)?;
        }
        Ok(())
    }
}

/// A seed of a target whose first byte chooses what it does.
fn with_mode(mode: u8, seed: &[u8]) -> Vec<u8> {
    [&[mode], seed].concat()
}

fn native(seeds: &mut Seeds) {
    let key = fixed::unlock_key();
    seeds.add("unlock_key_text", "key", key.to_text().as_bytes());
    let zeros = UnlockKey::from_key(SecretKey::init(|_| ()));
    seeds.add("unlock_key_text", "zeros", zeros.to_text().as_bytes());

    seeds.add("lock_record", "off", LockRecord::off(1).encode().expose());
    seeds.add("lock_record", "locked", LockRecord::locked(2, &key).encode().expose());
    seeds.add("lock_record", "retrievable", LockRecord::retrievable(3, &key).encode().expose());
    let other = UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(9)));
    let pending = LockRecord::retrievable(3, &key).with_pending(&other).expect("a next version");
    seeds.add("lock_record", "pending", pending.with_leak().encode().expose());

    for (mode, name) in [(0, "clear"), (1, "locked")] {
        let file = fixed::node_keys(mode);
        seeds.add("key_file", name, file.clone());
        let set = fixed::key_set(mode);
        for steps in [0, 0b10, 0b1110, 0b1110_0010, 0xfe] {
            let seed = with_mode(steps | mode, &Field::encode(&set));
            seeds.add("key_set", format!("{name}-{steps:02x}"), seed);
        }
        let text = String::from_utf8(file).expect("ASCII");
        let (lines, sealed) = text.split_once("commit").expect("a commitment");
        let slot = "slot passphrase AAAAAAAAAAAAAAAAAAAAAA 65536,3,4";
        let zeros = "A".repeat(43);
        let more = format!(
            "{lines}{slot} - {zeros} {} {}\nslot later x y\ncommit{sealed}",
            "A".repeat(1494),
            "A".repeat(64)
        );
        seeds.add("key_file", format!("{name}-more-slots"), more);
    }
    let mut set = fixed::key_set(1);
    set.push(Field { tag: 0x80, value: b"of a later version".to_vec() });
    seeds.add("key_set", "optional", with_mode(1, &Field::encode(&set)));
    let mut set = fixed::key_set(1);
    set[2] = Field::rotation(2, 9, 0x81, 0x42);
    seeds.add("key_set", "unlocking", with_mode(0xff, &Field::encode(&set)));
}

fn cluster(seeds: &mut Seeds) {
    let commands = nodeseal_fuzz::cluster::commands();
    let framed = |command: &Vec<u8>| [&(command.len() as u16).to_le_bytes(), &command[..]].concat();
    for count in [1, 3, 8, 16, commands.len()] {
        let history: Vec<u8> = commands[..count].iter().flat_map(framed).collect();
        seeds.add("cluster_command", format!("first-{count}"), history);
        seeds.add("cluster_state", format!("after-{count}"), nodeseal_fuzz::cluster::state(count));
    }
    let assignment = nodeseal_fuzz::cluster::assignment();
    for mode in 0..3 {
        let name = ["plain", "to-be-sealed", "not-sealed"][usize::from(mode)];
        seeds.add("assignment", name, with_mode(mode, &assignment));
    }
    let mut event = vec![1, 5, 1, 9, 2, b'm', b'e', 7, 1, 2, b's', b'1', 1, 3, 0];
    event.extend_from_slice(&[1, 2, b't', b'1', 1, 2, b'w', b'1', 1, 1, b'x']);
    seeds.add("assignment", "event", with_mode(3, &event));
}

fn sealed(seeds: &mut Seeds) {
    let place = Place { index: 5, era: 3, prev: 2 };
    let head = [place.index, place.era, place.prev].map(u64::to_le_bytes).concat();
    for (dek, name) in [(ACTIVE, "active"), (RETIRING, "retiring")] {
        for plain in [&b""[..], b"a raft entry", &[7; 300]] {
            let record = reference::record(&dek, place, &[1; 16], plain);
            seeds.add("record", format!("{name}-{}", plain.len()), [&head, &record[..]].concat());
            let cell = reference::cell(&dek, "table", b"row", &[1; 24], plain);
            let seed = with_mode(3, &[b"row", &cell[..]].concat());
            seeds.add("cell", format!("{name}-{}", plain.len()), seed);
        }
    }

    let numbers: Vec<u8> = (1..=7_u64).chain([5]).flat_map(u64::to_le_bytes).collect();
    let state = |snapshot: &[u8], vote: &[u8]| [&[1], &numbers[..], snapshot, vote].concat();
    seeds.add("state_cell", "plain", state(&[0], b""));
    seeds.add("state_cell", "vote", state(&[0], b"term 3, node 2"));
    seeds.add("state_cell", "snapshot", state(&[1; 17], b"term 3, node 2"));

    let plain: Vec<u8> = (0..3000_u16).map(|n| n as u8).collect();
    for len in [0, 1, 1024, 1025, 3000] {
        let facts = StreamFacts {
            content: [8; 32],
            index: 42,
            era: 3,
            len: len as u64,
            chunk_size: 1024,
            meta: b"meta".to_vec(),
        };
        let plain = &plain[..len];
        let body = facts.seal(plain, &[6; 16]);
        for (dek, name) in DEKS.iter().zip(["active", "retiring"]) {
            let header = reference::stream_header(dek, "snapshot", &[5; 24], &facts.encode());
            seeds.add(
                "stream",
                format!("{name}-{len}"),
                with_mode(0, &[header, body.clone()].concat()),
            );
        }
        let header = [&(len as u64).to_le_bytes()[..], &[0, 0], &body].concat();
        seeds.add("stream", format!("body-{len}"), with_mode(1, &header));
        seeds.add(
            "stream",
            format!("damaged-{len}"),
            with_mode(2, &[&[9, 16, 1, 0], plain].concat()),
        );
        seeds.add("stream_header", format!("{len}"), with_mode((len % 2) as u8, &facts.encode()));
    }
    for n in 0..4_u8 {
        let seed: Vec<u8> = (0..400_u16).map(|i| (i as u8).wrapping_mul(n * 2 + 1)).collect();
        seeds.add("seal_open", format!("{n}"), seed);
    }
}

/// How a store's files are changed: see the target.
fn stores(seeds: &mut Seeds) {
    // The store, the mode, limits of reading.
    let head = |scene: u8, mode: u8| [scene, mode, 2, 60, 7, 3];
    let damage = |scene: u8, damage: &[u8]| [&head(scene, 2), damage].concat();
    for scene in 0..6 {
        seeds.add("store", format!("whole-{scene}"), head(scene, 2));
        for kind in 0..7 {
            let edit = [1, kind, 2 + scene, 3 + kind, 24];
            seeds.add(
                "store",
                format!("edit-{kind}-{scene}"),
                [&head(scene, 1), &edit[..]].concat(),
            );
        }
        for kind in 0..6 {
            // A segment amid others, the witness or the snapshot, whatever has this number.
            for file in [1, 4, 7] {
                let one = Damage::encode(kind, file, 3 + kind, 300 * u16::from(kind), 500);
                seeds.add("store", format!("lost-{kind}-{file}-{scene}"), damage(scene, &one));
            }
        }
        let two = [Damage::encode(1, 0, 0, 200, 90), Damage::encode(2, 2, 9, 0, u16::MAX)];
        seeds.add("store", format!("lost-twice-{scene}"), damage(scene, &two.concat()));
    }
    let mut writer = Writer::default();
    writer.record(segment::CRC, b"");
    writer.record(segment::METADATA, b"nodeseal store 1\n0123456789abcdef");
    for kind in 16..20 {
        writer.record(kind, &[kind as u8; 200]);
    }
    seeds.add("store", "raw", [&head(0, 0)[..], &[1], &writer.end()[..]].concat());
}

fn swarm_made(seeds: &mut Seeds) {
    let plain = b"a plaintext of Swarm's";
    let records = [
        ("boxed", boxed_record(&KEK, &[3; 24], plain)),
        ("fernet", fernet_record(&KEK, &[3; 16], plain)),
        ("clear", clear_record(plain)),
    ];
    for (name, record) in records {
        seeds.add("swarm_record", name, with_mode(0, &record));
    }
    seeds.add("swarm_record", "boxed-made", with_mode(1, &[&[0, 0, 0], &plain[..]].concat()));
    seeds.add("swarm_record", "fernet-made", with_mode(2, &[&[0, 0, 0], &plain[..]].concat()));
    for n in 0..8_u8 {
        let bytes: Vec<u8> = (0..200_u16).map(|i| (i as u8).wrapping_mul(n * 2 + 1)).collect();
        seeds.add("swarm_key_file", format!("made-{n}"), with_mode(1, &bytes));
        // Odd: the log is one that a manager could have written.
        seeds.add("swarm_state", format!("{n}"), with_mode(n, &bytes));
    }
}

/// Key files, logs, snapshots and their content, of genuine managers.
fn captures(seeds: &mut Seeds) -> io::Result<()> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    for folder in sorted(&data.join("swarm-keys"))? {
        for file in sorted(&folder).unwrap_or_default() {
            if file.extension().is_some_and(|extension| extension == "key") {
                let name = format!("{}-{}", name_of(&folder), name_of(&file));
                seeds.add("swarm_key_file", name, with_mode(0, &fs::read(file)?));
            }
        }
    }
    for folder in sorted(&data.join("swarm"))? {
        if folder.join("state.tar.xz").exists() {
            capture(seeds, &folder)?;
        }
    }
    Ok(())
}

fn capture(seeds: &mut Seeds, folder: &Path) -> io::Result<()> {
    let capture = name_of(folder);
    let unpacked = std::env::temp_dir().join(format!("nodeseal-seeds-{}", std::process::id()));
    fs::create_dir_all(&unpacked)?;
    let tar = Command::new("tar")
        .args(["--sparse", "-xJf"])
        .arg(folder.join("state.tar.xz"))
        .arg("-C")
        .arg(&unpacked)
        .status()?;
    assert!(tar.success());
    let dir = unpacked.join("swarm");
    let expected = fs::read_to_string(folder.join("expected.json"))?;
    let keys = deks(&dir, &expected);
    let attested = nodeseal::swarm::attest(&dir, unlock_key(&expected).as_ref());
    let attested = attested.expect("a genuine state").to_text();
    seeds.add("swarm_attestation", capture.clone(), attested);
    let mut requests = Vec::new();
    for file in sorted(&dir.join("raft/wal-v3-encrypted"))? {
        if file.extension().is_none_or(|extension| extension != "wal") {
            continue;
        }
        let mut segment = fs::read(file)?;
        let used = segment.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        segment.truncate(used.next_multiple_of(8));
        let segment = resealed(&segment, &keys, &mut requests);
        seeds.add("swarm_wal", capture.clone(), [&[0, 0, 0], &segment[..]].concat());
        let half = (segment.len() / 2) as u16;
        let seed = [&[3], &half.to_le_bytes()[..], &segment].concat();
        if segment.len() < LONGEST / 4 {
            seeds.add("swarm_wal", format!("{capture}-repaired"), seed);
        }
    }
    let mut batch = Vec::new();
    requests.truncate(REQUESTS);
    for request in requests.iter().filter(|request| request.len() < 4096) {
        batch.extend((request.len() as u16).to_le_bytes());
        batch.extend(request);
    }
    seeds.add("swarm_objects", format!("{capture}-requests"), with_mode(0, &batch));
    for file in sorted(&dir.join("raft/snap-v3-encrypted"))? {
        let snapshot = fs::read(file)?;
        let raft = part(&snapshot, 2);
        let store = open(&keys, part(raft, 1));
        let sealed = boxed_record(&DEK, &[7; 24], &store);
        let mut again = swarm::bytes_field(1, &sealed);
        put_bytes(&mut again, 2, part(raft, 2));
        seeds.add("swarm_snapshot", capture.clone(), with_mode(0, &swarm::snapshot_file(&again)));
        seeds.add("swarm_snapshot", format!("{capture}-raft"), with_mode(1, &again));
        seeds.add("swarm_snapshot", format!("{capture}-store"), with_mode(2, &store));
        seeds.add("swarm_objects", format!("{capture}-store"), with_mode(1, &store));
    }
    fs::remove_dir_all(unpacked)
}

/// The DEKs of a capture.
fn deks(dir: &Path, expected: &str) -> Vec<Key> {
    let text = fs::read(dir.join("certificates/swarm-node.key")).expect("a key file");
    let file = nodeseal::swarm::KeyFile::parse(&text).expect("a genuine one");
    let keys = file.unlock(unlock_key(expected).as_ref()).expect("its key");
    [keys.pending, keys.current].into_iter().flatten().map(|key| *key.expose()).collect()
}

fn unlock_key(expected: &str) -> Option<UnlockKey> {
    let at = expected.find("SWMKEY-1-");
    at.map(|at| UnlockKey::from_text(&expected[at..at + 52]).expect("an unlock key"))
}

fn open(keys: &[Key], record: &[u8]) -> Vec<u8> {
    let opened = keys.iter().find_map(|key| swarm::open_record(key, record));
    opened.unwrap_or_default()
}

/// The segment with its entries sealed under the fixed DEK; collects what was sealed.
fn resealed(segment: &[u8], keys: &[Key], requests: &mut Vec<Vec<u8>>) -> Vec<u8> {
    let mut writer = Writer::default();
    for (kind, data) in segment::records(segment) {
        if kind != ENTRY {
            writer.record(kind, &data);
            continue;
        }
        let mut entry = Vec::new();
        for field in fields(&data).expect("a genuine entry") {
            match field {
                (4, Value::Bytes(sealed)) => {
                    let plain = open(keys, sealed);
                    put_bytes(&mut entry, 4, &boxed_record(&DEK, &[7; 24], &plain));
                    requests.push(plain);
                }
                (number, Value::Bytes(bytes)) => put_bytes(&mut entry, number, bytes),
                (number, Value::Uint(value)) => put_uint(&mut entry, number, value),
            }
        }
        writer.record(kind, &entry);
    }
    writer.end()
}

/// A field of bytes.
fn part(message: &[u8], wanted: u64) -> &[u8] {
    let found =
        fields(message).expect("a genuine message").into_iter().find_map(|field| match field {
            (number, Value::Bytes(bytes)) if number == wanted => Some(bytes),
            _ => None,
        });
    found.unwrap_or_default()
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries: io::Result<Vec<_>> = fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect();
    let mut entries = entries?;
    entries.sort();
    Ok(entries)
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
