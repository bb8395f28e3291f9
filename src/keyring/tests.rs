use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::text::{Header, KeyFile, SlotLine, Slots};
use super::*;
use crate::crypto::{random, xchacha};
use crate::fs::SimFs;
use crate::key::UnlockKey;
use crate::seal::{Era, InFlight, Log, LogId, RECORD_OVERHEAD};
use crate::secret::SecretKey;

mod crash;
mod errors;
mod forged;
mod format;
mod full;
mod later;
mod life;
mod model;
mod passphrases;
mod rotation;
mod threads;
mod traits;

const FILE: &str = "/keys/node.keys";
const PEM: &[u8] = b"-----BEGIN PRIVATE KEY-----";
const TERM: Era = Era::term(3);

fn me() -> Identity {
    Identity::new("prod", "m1").unwrap()
}

fn place(disk: &SimFs) -> Location {
    Location::on(Arc::new(disk.clone()), Path::new("/keys"))
}

/// The unlock key number `n`.
fn key(n: u8) -> UnlockKey {
    UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(n)))
}

/// A key file with a keyspace in it from the beginning.
fn create(disk: &SimFs, protector: Protector) -> Keyring {
    let keyring = Keyring::create(place(disk), &me(), protector, &[("tls", PEM)]).unwrap();
    let mut writer = keyring.shared().writer();
    let id = KeyspaceId::from_bytes([9; 16]);
    writer.set.keyspaces.insert("raft".to_owned(), keyspace::Registered { id, made: true });
    put(disk, shared::encode(&me(), 1, &writer.set).unwrap().expose());
    drop(writer);
    keyring
}

/// The keyspace of all that is sealed here, also while another handle has it open.
fn raft(keyring: &Keyring) -> Result<Keyspace> {
    match keyring.keyspace_to_read("raft") {
        Err(Error::UnknownKeyspace(_)) => keyring.keyspace("raft"),
        found => found,
    }
}

/// A sweep to which everything was shown that there is of the keyspace.
fn shown(keyring: &Keyring) -> Result<Sweep> {
    let mut sweep = keyring.sweep()?;
    sweep.shown("raft");
    Ok(sweep)
}

/// A disk with a key file that is locked with `key(1)`.
fn locked() -> (SimFs, Keyring) {
    let disk = SimFs::new();
    let keyring = create(&disk, Protector::unlock_key(&key(1)));
    (disk, keyring)
}

/// Opens a key file whatever protects it; `key` is used if it is needed.
fn open(disk: &SimFs, key: &UnlockKey) -> Result<Keyring> {
    match Keyring::open(place(disk), &me(), LockPolicy::Any)? {
        Opened::Locked(locked) => Ok(locked.unlock(key)?),
        Opened::Unlocked(keyring) => Ok(keyring),
    }
}

/// Opens a key file that must be locked.
fn unlock(disk: &SimFs, key: &UnlockKey) -> Result<Keyring> {
    match Keyring::open(place(disk), &me(), LockPolicy::Locked)? {
        Opened::Locked(locked) => Ok(locked.unlock(key)?),
        Opened::Unlocked(_) => panic!("opened without a key"),
    }
}

/// Drops `keyring`, opens its file anew and finds the same state.
fn restart(disk: &SimFs, keyring: Keyring, key: &UnlockKey) -> Keyring {
    let before = keyring.status();
    drop(keyring);
    let keyring = open(disk, key).unwrap();
    let mut after = keyring.status();
    for (old, new) in before.deks.iter().zip(&mut after.deks) {
        // What was reserved counts as used.
        assert!(new.uses >= old.uses);
        new.uses = old.uses;
    }
    assert_eq!(after, before);
    keyring
}

fn bytes(disk: &SimFs) -> Vec<u8> {
    disk.read_file(Path::new(FILE)).unwrap()
}

fn put(disk: &SimFs, bytes: &[u8]) {
    disk.write_file(Path::new(FILE), bytes).unwrap();
}

/// A key file's lines above the check.
fn above(disk: &SimFs) -> String {
    let text = String::from_utf8(bytes(disk)).unwrap();
    text[..text.find("\ncheck ").unwrap() + 1].to_owned()
}

/// Those lines with the check that belongs to them, which anybody can compute.
fn checked(above: &[u8]) -> Vec<u8> {
    let hex: String = Sha256::digest(above).iter().map(|byte| format!("{byte:02x}")).collect();
    [above, b"check ", hex.as_bytes(), b"\n"].concat()
}

/// The keyring's file as another version, or somebody who has every key, could write it.
fn written(
    keyring: &Keyring,
    slots: impl FnOnce(&mut Vec<SlotLine>),
    fields: impl FnOnce(&mut SecretBytes),
) -> Vec<u8> {
    let writer = keyring.shared().writer();
    let file_key = random::key().unwrap();
    let wrap = |slot: &Arc<Slot>| SlotLine::Known(slot.wrap(&me(), &file_key).unwrap());
    let mut lines = writer.set.slots.iter().map(wrap).collect();
    slots(&mut lines);
    let kek_version = writer.set.lifecycle.kek_version;
    let slots = Slots::Wrapped(lines);
    let epoch = keyring.shared().epoch();
    let header = Header::new(me(), epoch, kek_version, slots, &file_key).encode();
    let mut sealed = writer.set.encode().unwrap();
    fields(&mut sealed);
    xchacha::seal(file_key.expose(), header.expose(), sealed.expose_mut()).unwrap();
    KeyFile::encode(&header, sealed.expose()).expose().to_vec()
}

/// A field of a key set.
fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    [&[tag], &u32::try_from(value.len()).unwrap().to_le_bytes()[..], value].concat()
}

/// A log entry as an engine keeps it: sealed.
struct Entry {
    index: u64,
    record: Vec<u8>,
}

fn plaintext(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn id(index: u64) -> LogId {
    LogId::new(index, TERM)
}

fn seal(log: &Log, index: u64) -> Result<(Entry, InFlight)> {
    let mut record = [vec![0; RECORD_OVERHEAD], plaintext(index)].concat();
    let in_flight = log.seal_in_place(id(index), TERM, &mut record)?;
    Ok((Entry { index, record }, in_flight))
}

/// Seals an entry that is durable at once.
fn sealed(keyring: &Keyring, index: u64) -> Entry {
    let (entry, in_flight) = seal(&raft(keyring).unwrap().log(), index).unwrap();
    in_flight.durable();
    entry
}

impl Entry {
    fn open(&self, keyring: &Keyring) -> Result<()> {
        let (log, mut record) = (raft(keyring)?.log(), self.record.clone());
        let plain = log.open_in_place(id(self.index), TERM, &mut record)?;
        assert_eq!(plain, plaintext(self.index));
        Ok(())
    }

    fn reseal(&mut self, keyring: &Keyring) {
        let log = raft(keyring).unwrap().log();
        if let Some(sealed) = log.reseal(id(self.index), TERM, &mut self.record).unwrap() {
            sealed.durable();
        }
    }
}

/// One whole round: re-seals every entry and drops what nothing names.
fn round(keyring: &Keyring, entries: &mut [Entry]) {
    entries.iter_mut().for_each(|entry| entry.reseal(keyring));
    let mut sweep = shown(keyring).unwrap();
    entries.iter().for_each(|entry| sweep.see(&entry.record).unwrap());
    assert_eq!(sweep.finish().unwrap(), []);
}

/// Writes the key file of `seal`'s golden bytes again, with the DEK that they are sealed under.
#[test]
#[ignore = "writes tests/data/seal/node.keys again"]
fn make_the_golden_key_file() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/seal");
    let golden = std::fs::read_to_string(data.join("golden.txt")).unwrap();
    let hex = golden.lines().find_map(|line| line.strip_prefix("dek ")).unwrap();
    let id = golden.lines().find_map(|line| line.strip_prefix("keyspace ")).unwrap();
    let id = crate::crypto::testing::hex(id);
    let dek = crate::crypto::testing::hex(hex);
    let dek = crate::key::Dek::from_key(SecretKey::init(|key| key.copy_from_slice(&dek)));
    let keyring = create(&SimFs::new(), Protector::none());
    let mut set = keyring.shared().writer().set.clone();
    set.lifecycle.active.id = dek.id();
    set.deks = vec![shared::first_reserve(dek)];
    let id = KeyspaceId::from_bytes(*id.first_chunk().unwrap());
    set.keyspaces.insert("raft".to_owned(), keyspace::Registered { id, made: true });
    let id = KeyspaceId::from_bytes([0x5e; 16]);
    set.keyspaces.insert("second".to_owned(), keyspace::Registered { id, made: true });
    let file = shared::encode(&me(), 1, &set).unwrap();
    std::io::Write::write_all(
        &mut std::fs::File::create(data.join("node.keys")).unwrap(),
        file.expose(),
    )
    .unwrap();
}
