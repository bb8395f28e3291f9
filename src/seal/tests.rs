use std::sync::Arc;

use super::*;
use crate::fs::SimFs;
use crate::key::{Identity, UnlockKey};
use crate::keyring::{Keyring, Location, Protector, Sweep};

mod batches;
mod cells;
mod flips;
mod golden;
pub(crate) mod independent;
mod places;
mod records;
#[cfg(target_os = "linux")]
mod stack;
mod streams;
mod sweeps;
mod threads;

use independent::Node;

/// A keyring of `cluster` and `node` with a DEK of its own, and a keyspace.
fn keyring_of(cluster: &str, node: &str) -> Keyring {
    let place = Location::on(Arc::new(SimFs::new()), "/keys");
    let protector = Protector::unlock_key(&UnlockKey::generate().unwrap());
    let me = Identity::new(cluster, node).unwrap();
    let keyring = Keyring::create(place, &me, protector, &[]).unwrap();
    drop(raft(&keyring));
    keyring
}

fn keyring() -> Keyring {
    keyring_of("prod", "m1")
}

/// What the independent reader has to know of a keyring with one keyspace, and by hand only the DEK.
fn node(keyring: &Keyring) -> Node {
    let active = keyring.status().deks[0].id;
    let dek = *keyring.shared().find(active).unwrap().secret().expose();
    let identity = keyring.identity();
    let keyspace = keyring.status().keyspaces[0].id.to_bytes();
    let (cluster, node) = (identity.cluster().to_owned(), identity.node().to_owned());
    Node { dek, cluster, node, keyspace }
}

fn raft(keyring: &Keyring) -> Keyspace {
    keyring.keyspace("raft").unwrap()
}

/// A sweep to which everything was shown that there is of the keyspace.
fn sweep(keyring: &Keyring) -> Sweep {
    let mut sweep = keyring.sweep().unwrap();
    sweep.shown("raft");
    sweep
}

/// The entry `index` of `term`.
fn entry(index: u64, term: u64) -> LogId {
    LogId::new(index, Era::term(term))
}

/// Seals `plaintext` alone.
fn sealed(log: &Log, id: LogId, prev: u64, plaintext: &[u8]) -> Vec<u8> {
    let mut record = vec![0; RECORD_OVERHEAD];
    record.extend_from_slice(plaintext);
    log.seal_in_place(id, Era::term(prev), &mut record).unwrap().durable();
    record
}

/// The error with which `record` does not open; it must be left as it was.
fn refused(log: &Log, id: LogId, prev: u64, record: &[u8]) -> Error {
    let mut copy = record.to_vec();
    let error = log.open_in_place(id, Era::term(prev), &mut copy).map(drop).unwrap_err();
    assert_eq!(copy, record, "changed by an opening that failed: {error}");
    error
}

/// `bytes` with one bit flipped.
fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut other = bytes.to_vec();
    other[bit / 8] ^= 1 << (bit % 8);
    other
}
