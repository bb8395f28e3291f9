use std::io;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::error::{ErrorKind, Misuse};
use crate::fs::SimFs;
use crate::key::{Identity, Reason, UnlockKey};
use crate::keyring::{Location, LockPolicy, Opened, Protector};
use crate::seal::Era;
use crate::secret::SecretKey;

mod attacks;
mod basics;
mod contradicted;
mod crash;
mod exposed;
mod gate;
mod grows;
mod keyspaces;
mod mixed;
mod model;
mod readers;
mod rescue;
mod rotations;
mod syncs;

const NAME: &str = "raft";
/// Small, so that a few entries fill a segment.
const SEGMENT: u64 = 2048;

fn me(node: &str) -> Identity {
    Identity::new("prod", node).unwrap()
}

fn unlock_key() -> UnlockKey {
    UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(7)))
}

fn keys(disk: &SimFs) -> Location {
    Location::on(Arc::new(disk.clone()), "/keys")
}

fn place(disk: &SimFs) -> Location {
    Location::on(Arc::new(disk.clone()), "/raft")
}

fn options<'a>() -> Options<'a> {
    Options::new(NAME).segment_size(SEGMENT).prepare_ahead(false)
}

fn new_keyring(disk: &SimFs) -> Keyring {
    Keyring::create(keys(disk), &me("m1"), Protector::unlock_key(&unlock_key()), &[]).unwrap()
}

fn open_keyring(disk: &SimFs) -> Result<Keyring> {
    match Keyring::open(keys(disk), &me("m1"), LockPolicy::Locked)? {
        Opened::Locked(locked) => Ok(locked.unlock(&unlock_key())?),
        Opened::Unlocked(_) => panic!("not locked"),
    }
}

/// A disk with keys and an empty store.
fn fresh() -> (SimFs, Keyring, Store) {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let store = Store::create(place(&disk), &keyring, options()).unwrap();
    (disk, keyring, store)
}

fn reopen(disk: &SimFs) -> Result<(Keyring, Store)> {
    let keyring = open_keyring(disk)?;
    let store = Store::open(place(disk), &keyring, options())?;
    Ok((keyring, store))
}

fn id(index: u64, term: u64) -> LogId {
    LogId::new(index, Era::term(term))
}

/// What entry `index` of `term` holds; lengths differ.
fn payload(index: u64, term: u64) -> Vec<u8> {
    let mut bytes = format!("entry {index} of {term} ").into_bytes();
    bytes.resize(bytes.len() + usize::try_from(index * 37 % 300).unwrap(), b'.');
    bytes
}

fn entries(range: impl IntoIterator<Item = u64>, term: u64) -> Change {
    let mut change = Change::new();
    for index in range {
        let bytes = payload(index, term);
        change.push(id(index, term), |out| out.extend_from_slice(&bytes)).unwrap();
    }
    change
}

fn change(edit: impl FnOnce(&mut Change) -> &mut Change) -> Change {
    let mut change = Change::new();
    edit(&mut change);
    change
}

/// All entries, each checked to hold what it held when it was written.
fn all(store: &Store) -> Result<Vec<LogId>> {
    let mut ids = Vec::new();
    store.read(.., |id, plain| {
        assert_eq!(plain, payload(id.index, id.era.get()), "{id:?}");
        ids.push(id);
        Ok::<(), Error>(())
    })?;
    Ok(ids)
}

fn ids(range: impl IntoIterator<Item = u64>, term: u64) -> Vec<LogId> {
    range.into_iter().map(|index| id(index, term)).collect()
}

fn segments(disk: &SimFs) -> Vec<PathBuf> {
    let all = disk.paths().into_iter();
    all.filter(|path| path.extension().is_some_and(|ext| ext == "wal")).collect()
}

fn take_snapshot(store: &Store, at: LogId, content: &[u8]) -> Snapshot {
    use std::io::Write;
    let mut writer = store.write_snapshot().unwrap();
    writer.write_all(content).unwrap();
    writer.finish(at, b"meta").unwrap()
}

fn read_snapshot(store: &Store) -> Result<Option<(LogId, Vec<u8>)>> {
    use std::io::Read;
    let Some(mut reader) = store.snapshot()? else { return Ok(None) };
    reader.verify()?;
    let mut content = Vec::new();
    reader.read_to_end(&mut content).map_err(Error::Stream)?;
    Ok(Some((reader.info().at, content)))
}

/// Rotates until one DEK is left, some entries a step.
fn rotate(store: &Store) {
    let mut rotation = store.rotation().budget(1000);
    for _ in 0..10_000 {
        if rotation.step().unwrap() == Step::Done {
            return;
        }
    }
    panic!("the rotation does not end");
}
