//! A log has no hole, and a purge needs the snapshot that covers it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nodeseal::Store;
use nodeseal::fs::{Loss, SimFs};
use nodeseal::seal::LogId as SealedId;
use nodeseal_openraft::{LogStore, Settings, SnapshotData, Snapshots};
use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use tokio::io::AsyncWriteExt;

use crate::support::machine::Types;
use crate::support::{entry, log_id, open, snapshot_meta};

fn on(disk: &SimFs) -> (LogStore<Types>, Store) {
    with(disk, Settings::new())
}

fn with(disk: &SimFs, settings: Settings) -> (LogStore<Types>, Store) {
    let store = open(Arc::new(disk.clone()));
    (LogStore::with(store.clone(), settings).unwrap(), store)
}

fn indices(store: &Store) -> Vec<u64> {
    (0..200).filter(|index| store.id_at(*index).is_some()).collect()
}

async fn received(snapshots: &Snapshots) -> SnapshotData {
    let mut data = snapshots.begin::<Types>().await.unwrap();
    data.write_all(b"the state").await.unwrap();
    data.shutdown().await.unwrap();
    data
}

#[tokio::test]
async fn a_hole_is_an_error_and_changes_nothing() {
    let (mut log, store) = on(&SimFs::new());
    log.blocking_append((1..=10).map(entry)).await.unwrap();
    assert!(log.blocking_append([entry(15)]).await.is_err());
    assert_eq!(indices(&store), (1..=10).collect::<Vec<_>>());
    assert_eq!(store.state().purged, SealedId::START);
    log.blocking_append([entry(11)]).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(11)));
}

#[tokio::test]
async fn an_empty_log_may_begin_anywhere() {
    let (mut log, store) = on(&SimFs::new());
    log.blocking_append([entry(7), entry(8)]).await.unwrap();
    assert_eq!(indices(&store), [7, 8]);
}

#[tokio::test]
async fn a_purge_waits_for_the_snapshot_that_openraft_has_not_installed_yet() {
    let disk = SimFs::new();
    let (mut log, store) = on(&disk);
    log.blocking_append((0..=50).map(entry)).await.unwrap();
    let data = received(&log.snapshots()).await;
    // openraft's order: the purge does not wait for the installation.
    log.purge(log_id(100)).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(100)));
    assert!(log.try_get_log_entries(0..200).await.unwrap().is_empty());

    // A crash now: neither the snapshot nor what it covers must be missing.
    let crashed = disk.after_power_cut(Loss::Dropped, 0);
    let (mut found, of_crashed) = on(&crashed);
    assert_eq!(indices(&of_crashed), (0..=50).collect::<Vec<_>>());
    assert_eq!(found.get_log_state().await.unwrap().last_log_id, Some(log_id(50)));

    // An entry behind the snapshot waits for it.
    let mut appending = log.clone();
    let append = tokio::spawn(async move { appending.blocking_append([entry(101)]).await });
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!append.is_finished());
    }
    log.snapshots().install::<Types>(&snapshot_meta(100), data).await.unwrap();
    append.await.unwrap().unwrap();
    assert_eq!(indices(&store), [101]);
    let (_, of_crashed) = on(&disk.after_power_cut(Loss::Dropped, 0));
    assert_eq!(indices(&of_crashed), [101]);
    assert_eq!(of_crashed.snapshot().unwrap().unwrap().info().at.index, 100);
}

#[tokio::test]
async fn an_entry_behind_a_snapshot_that_does_not_come_is_refused() {
    let (mut log, store) = on(&SimFs::new());
    log.blocking_append((0..=50).map(entry)).await.unwrap();
    let data = received(&log.snapshots()).await;
    log.purge(log_id(100)).await.unwrap();
    let mut appending = log.clone();
    let append = tokio::spawn(async move { appending.blocking_append([entry(101)]).await });
    drop(data);
    let refused = append.await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("no snapshot covers that"), "{refused}");
    assert_eq!(indices(&store), (0..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_entry_behind_a_snapshot_whose_installation_fails_is_refused() {
    let disk = SimFs::new();
    let (mut log, store) = on(&disk);
    log.blocking_append((0..=50).map(entry)).await.unwrap();
    let snapshots = log.snapshots();
    // Another transfer was given up, and is still there.
    let _other = received(&snapshots).await;
    let data = received(&snapshots).await;
    log.purge(log_id(100)).await.unwrap();
    let mut appending = log.clone();
    let append = tokio::spawn(async move { appending.blocking_append([entry(101)]).await });
    // It waits by then.
    tokio::time::sleep(Duration::from_millis(20)).await;
    disk.fail_at(0, io::ErrorKind::StorageFull);
    assert!(snapshots.install::<Types>(&snapshot_meta(100), data).await.is_err());
    let patience = Duration::from_secs(60);
    let appended = tokio::time::timeout(patience, append).await;
    assert!(appended.expect("it waits for ever").unwrap().is_err());
    // One that comes later is refused too.
    let appended = tokio::time::timeout(patience, log.blocking_append([entry(101)])).await;
    assert!(appended.expect("it waits for ever").is_err());
    assert_eq!(indices(&store), (0..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_log_whose_snapshots_are_elsewhere_is_purged_at_once() {
    let disk = SimFs::new();
    let (mut log, store) = with(&disk, Settings::new().snapshots_elsewhere());
    log.blocking_append((0..=50).map(entry)).await.unwrap();
    log.purge(log_id(20)).await.unwrap();
    assert_eq!(indices(&store), (21..=50).collect::<Vec<_>>());
    log.purge(log_id(20)).await.unwrap();
    log.purge(log_id(100)).await.unwrap();
    assert_eq!(indices(&store), [0_u64; 0]);
    log.blocking_append([entry(101)]).await.unwrap();
    let crashed = disk.after_power_cut(Loss::Dropped, 0);
    let (mut log, _) = with(&crashed, Settings::new().snapshots_elsewhere());
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(100)));
    assert_eq!(state.last_log_id, Some(log_id(101)));
}
