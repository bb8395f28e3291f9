//! openraft's own suite for storage, and what it does not ask of the log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::result_large_err,
    reason = "a test says that it failed by panicking"
)]

mod support;

mod suite {
    pub mod binding;
    pub mod holes;
    pub mod lenient;
    pub mod order;
    pub mod reading;
}

use std::sync::Arc;

use nodeseal::Store;
use nodeseal::fs::RealFs;
use nodeseal_openraft::{LogStore, Settings};
use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};
use suite::lenient::Lenient;
use support::machine::{Machine, Types};
use tempfile::TempDir;

/// A store in a directory.
fn store(dir: &TempDir) -> Store {
    support::open_in(Arc::new(RealFs::default()), dir.path(), 4096).1
}

/// Log and snapshots in one store.
struct Together;

impl StoreBuilder<Types, Lenient, Machine, TempDir> for Together {
    async fn build(&self) -> Result<(TempDir, Lenient, Machine), StorageError<u64>> {
        let dir = tempfile::tempdir().unwrap();
        let log = LogStore::new(store(&dir)).unwrap();
        let machine = Machine::new(log.snapshots()).await?;
        Ok((dir, Lenient(log), machine))
    }
}

/// The snapshots in another store than the log.
struct Apart;

impl StoreBuilder<Types, Lenient, Machine, (TempDir, TempDir)> for Apart {
    async fn build(&self) -> Result<((TempDir, TempDir), Lenient, Machine), StorageError<u64>> {
        let dirs = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let settings = Settings::new().snapshots_elsewhere();
        let log = LogStore::with(store(&dirs.0), settings).unwrap();
        let other = LogStore::<Types>::new(store(&dirs.1)).unwrap();
        let machine = Machine::new(other.snapshots()).await?;
        Ok((dirs, Lenient(log), machine))
    }
}

#[test]
fn openrafts_suite_passes() {
    Suite::test_all(Together).unwrap();
}

#[test]
fn openrafts_suite_passes_with_snapshots_elsewhere() {
    Suite::test_all(Apart).unwrap();
}
