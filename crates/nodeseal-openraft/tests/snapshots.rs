//! Snapshots: received in pieces as openraft sends them, never replaced by an older one, of any
//! membership.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::result_large_err,
    reason = "a test says that it failed by panicking"
)]

mod support;

mod snapshots {
    pub mod metadata;
    pub mod older;
    pub mod pieces;
}

use std::io::Read;
use std::sync::Arc;

use nodeseal::Store;
use nodeseal::fs::SimFs;
use nodeseal_openraft::{LogStore, SnapshotData};
use openraft::storage::Snapshot;
use support::machine::Types;

fn on(disk: &SimFs) -> (LogStore<Types>, Store) {
    let store = support::open(Arc::new(disk.clone()));
    (LogStore::new(store.clone()).unwrap(), store)
}

async fn content(data: SnapshotData) -> Vec<u8> {
    let read = data.load(|reader| {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map(|_| content)
    });
    read.await.unwrap()
}

/// Which entries a snapshot covers, and its content.
async fn told(snapshot: Snapshot<Types>) -> (u64, Vec<u8>) {
    (snapshot.meta.last_log_id.unwrap().index, content(*snapshot.snapshot).await)
}

/// Bytes that do not repeat.
fn state(seed: u64, len: usize) -> Vec<u8> {
    let mut random = support::random::Random::new(seed);
    (0..len).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
}
