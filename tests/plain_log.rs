//! The log of `examples/support/plain_log.rs`, which embedders with storage of their own copy: under
//! power cuts and errors at every operation, corruption of every byte, and on a real file system.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "plain_log/crash.rs"]
mod crash;
#[path = "plain_log/damage.rs"]
mod damage;
#[path = "delivery/namespace.rs"]
mod namespace;
#[path = "../examples/support/plain_log.rs"]
mod plain_log;
#[path = "plain_log/real.rs"]
mod real;

use std::path::Path;
use std::sync::Arc;

use nodeseal::fs::{Fs, SimFs};
use nodeseal::keyring::Location;
use nodeseal::seal::{Era, LogId};
use nodeseal::{Identity, Keyring, LockPolicy, Opened, Protector, Result};

use plain_log::PlainLog;

const FILE: &str = "/raft/log";

fn me() -> Identity {
    Identity::new("prod", "m1").unwrap()
}

fn shared(disk: &SimFs) -> Arc<dyn Fs> {
    Arc::new(disk.clone())
}

fn keys(disk: &SimFs) -> Location {
    Location::on(shared(disk), "/keys")
}

fn new_keyring(disk: &SimFs) -> Keyring {
    // The log's directory is the caller's to make, durably.
    disk.create_dir_all(Path::new("/raft")).unwrap();
    Keyring::create(keys(disk), &me(), Protector::none(), &[]).unwrap()
}

fn open_keyring(at: impl Into<Location>) -> Result<Keyring> {
    match Keyring::open(at, &me(), LockPolicy::Any)? {
        Opened::Unlocked(keyring) => Ok(keyring),
        Opened::Locked(_) => panic!("locked"),
    }
}

fn create(disk: &SimFs, keyring: &Keyring) -> Result<PlainLog> {
    PlainLog::create(shared(disk), Path::new(FILE), keyring)
}

fn open(disk: &SimFs) -> Result<(Keyring, PlainLog)> {
    let keyring = open_keyring(keys(disk))?;
    let log = PlainLog::open(shared(disk), Path::new(FILE), &keyring)?;
    Ok((keyring, log))
}

fn id(index: u64, term: u64) -> LogId {
    LogId::new(index, Era::term(term))
}

/// What entry `index` of `term` holds: from a few bytes to some sectors.
fn payload(index: u64, term: u64) -> Vec<u8> {
    let mut bytes = format!("entry {index} of {term} ").into_bytes();
    bytes.resize(bytes.len() + usize::try_from(index * 619 % 1900).unwrap(), b'.');
    bytes
}

/// Appends the next `count` entries, durably.
fn append(log: &mut PlainLog, term: u64, count: u64) -> Result<()> {
    let next = log.state().last.index + 1;
    let entries: Vec<_> = (next..next + count).map(|index| payload(index, term)).collect();
    log.append(Era::term(term), &entries)
}

/// All entries, each checked to hold what was appended.
fn view(log: &PlainLog) -> Result<Vec<LogId>> {
    let mut ids = Vec::new();
    log.read(|id, plain| {
        assert_eq!(plain, payload(id.index, id.era.get()), "{id:?}");
        ids.push(id);
    })?;
    assert_eq!(ids.last().copied().unwrap_or_default(), log.state().last);
    Ok(ids)
}

/// Re-seals everything and drops the DEKs that nothing names any more.
fn end_rotation(keyring: &Keyring, log: &mut PlainLog) -> Result<()> {
    log.reseal()?;
    let mut sweep = keyring.sweep()?;
    log.sealed(|sealed| sweep.see(sealed))?;
    sweep.shown(log.name());
    sweep.finish().map(drop)
}

/// A disk with keys and a log of four entries in two appends, as a killed process leaves it: the
/// last mark is not durable.
fn start() -> SimFs {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let mut log = create(&disk, &keyring).unwrap();
    append(&mut log, 1, 3).unwrap();
    append(&mut log, 1, 1).unwrap();
    drop((log, keyring));
    disk.after_kill()
}

/// What [`start`] holds.
fn started() -> Vec<LogId> {
    (1..=4).map(|index| id(index, 1)).collect()
}

fn bytes(disk: &SimFs) -> Vec<u8> {
    disk.read_file(Path::new(FILE)).unwrap()
}

fn write(disk: &SimFs, bytes: &[u8]) {
    disk.write_file(Path::new(FILE), bytes).unwrap();
}
