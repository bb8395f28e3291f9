//! What the tests share: a store on any disk, a state machine, a network, nodes.
#![allow(dead_code, reason = "no test needs all of it")]

pub mod disk;
pub mod machine;
pub mod network;
pub mod node;
pub mod random;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nodeseal::fs::Fs;
use nodeseal::keyring::Location;
use nodeseal::secret::SecretKey;
use nodeseal::store::Options;
use nodeseal::{Error, Identity, Keyring, LockPolicy, Opened, Protector, Store, UnlockKey};
use openraft::{
    BasicNode, CommittedLeaderId, Entry, EntryPayload, LogId, SnapshotMeta, StoredMembership,
};

use machine::Types;

/// Opens the store of a node on a disk, or creates it, with segments that a few entries fill.
pub fn open(fs: Arc<dyn Fs>) -> Store {
    open_in(fs, Path::new("/"), 4096).1
}

/// Opens the store of a node below a directory, or creates it.
pub fn open_in(fs: Arc<dyn Fs>, dir: &Path, segment_size: u64) -> (Keyring, Store) {
    let at = |name| Location::on(Arc::clone(&fs), dir.join(name));
    let me = Identity::new("prod", "m1").unwrap();
    let key = UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(3)));
    let options = || Options::new("raft").segment_size(segment_size);
    let keyring = match Keyring::open(at("keys"), &me, LockPolicy::Locked) {
        Ok(Opened::Locked(locked)) => locked.unlock(&key).unwrap(),
        Ok(Opened::Unlocked(_)) => panic!("not locked"),
        Err(Error::Missing(_)) => {
            Keyring::create(at("keys"), &me, Protector::unlock_key(&key), &[]).unwrap()
        }
        Err(error) => panic!("{error}"),
    };
    let store = match Store::open(at("raft"), &keyring, options()) {
        // The node was created, and its store was not.
        Err(Error::Missing(_)) => Store::create(at("raft"), &keyring, options()).unwrap(),
        store => store.unwrap(),
    };
    (keyring, store)
}

/// The id of an entry of node 1 in term 1.
pub fn log_id(index: u64) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(1, 1), index)
}

pub fn entry(index: u64) -> Entry<Types> {
    Entry { log_id: log_id(index), payload: EntryPayload::Blank }
}

/// The metadata of a snapshot that covers the entries up to `index`.
pub fn snapshot_meta(index: u64) -> SnapshotMeta<u64, BasicNode> {
    SnapshotMeta {
        last_log_id: Some(log_id(index)),
        last_membership: StoredMembership::default(),
        snapshot_id: index.to_string(),
    }
}

/// Waits until `what` holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come: {what}");
}
