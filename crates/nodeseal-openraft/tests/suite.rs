//! openraft's own suite for storage, and what it does not ask.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::result_large_err,
    reason = "a test says that it failed by panicking"
)]

mod suite {
    pub mod binding;
    pub mod machine;
    pub mod order;
    pub mod raft;
}

use std::path::Path;

use nodeseal::secret::SecretKey;
use nodeseal::store::Options;
use nodeseal::{Identity, Keyring, LockPolicy, Opened, Protector, Store, UnlockKey};
use nodeseal_openraft::{LogStore, Snapshots};
use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};
use suite::machine::{Machine, Types};
use tempfile::TempDir;

fn open(dir: &Path) -> (Keyring, Store) {
    let me = Identity::new("prod", "m1").unwrap();
    let key = UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(3)));
    let (keys, raft) = (dir.join("keys"), dir.join("raft"));
    // Small, so that a few entries fill a segment.
    let options = || Options::new("raft").segment_size(4096);
    if !keys.exists() {
        let keyring = Keyring::create(&keys, &me, Protector::unlock_key(&key), &[]).unwrap();
        let store = Store::create(&raft, &keyring, options()).unwrap();
        return (keyring, store);
    }
    let keyring = match Keyring::open(&keys, &me, LockPolicy::Locked).unwrap() {
        Opened::Locked(locked) => locked.unlock(&key).unwrap(),
        Opened::Unlocked(_) => panic!("not locked"),
    };
    let store = Store::open(&raft, &keyring, options()).unwrap();
    (keyring, store)
}

struct Builder;

impl StoreBuilder<Types, LogStore<Types>, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore<Types>, Machine), StorageError<u64>> {
        let dir = tempfile::tempdir().unwrap();
        let (_, store) = open(dir.path());
        let machine = Machine::new(Snapshots::new(store.clone())).unwrap();
        Ok((dir, LogStore::new(store).unwrap(), machine))
    }
}

#[test]
fn openrafts_suite_passes() {
    Suite::test_all(Builder).unwrap();
}
