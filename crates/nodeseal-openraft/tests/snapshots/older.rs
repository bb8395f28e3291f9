//! A snapshot gives way only to one that covers more, in whatever order they are done.

use nodeseal::fs::{Loss, SimFs};
use openraft::SnapshotMeta;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use tokio::io::AsyncWriteExt;

use crate::support::machine::Types;
use crate::support::{entry, log_id, snapshot_meta};
use crate::{content, on, told};

#[tokio::test]
async fn a_slower_build_gives_back_the_newer_snapshot_that_was_installed() {
    let disk = SimFs::new();
    let (mut log, store) = on(&disk);
    log.blocking_append((0..=50).map(entry)).await.unwrap();
    let snapshots = log.snapshots();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let building = snapshots.clone();
    // It writes its state, and takes its time.
    let build = tokio::spawn(async move {
        let built = building.build::<Types>(snapshot_meta(50), move |out| {
            out.write_all(b"state at 50")?;
            wait.recv().map_err(std::io::Error::other)
        });
        built.await.unwrap()
    });
    // The leader's comes meanwhile, and the log is purged.
    let mut data = snapshots.begin::<Types>().await.unwrap();
    data.write_all(b"state at 100").await.unwrap();
    data.shutdown().await.unwrap();
    let installed = snapshots.install::<Types>(&snapshot_meta(100), data).await.unwrap();
    assert_eq!(told(installed).await, (100, b"state at 100".to_vec()));
    log.purge(log_id(100)).await.unwrap();

    go_on.send(()).unwrap();
    assert_eq!(told(build.await.unwrap()).await, (100, b"state at 100".to_vec()));
    assert_eq!(store.snapshot_at().unwrap().index, 100);
    // And so after a crash.
    let (_, store) = on(&disk.after_power_cut(Loss::Dropped, 0));
    assert_eq!(store.snapshot_at().unwrap().index, 100);
    assert_eq!(store.state().purged.index, 100);
}

#[tokio::test]
async fn an_older_snapshot_that_is_received_changes_nothing() {
    let (log, _) = on(&SimFs::new());
    let snapshots = log.snapshots();
    for (index, content, then) in [(7, "seven", 7), (5, "five", 7), (7, "again", 7), (9, "nine", 9)]
    {
        let mut data = snapshots.begin::<Types>().await.unwrap();
        data.write_all(content.as_bytes()).await.unwrap();
        data.shutdown().await.unwrap();
        let installed = snapshots.install::<Types>(&snapshot_meta(index), data).await.unwrap();
        let expected = match then {
            9 => "nine",
            _ if index == 7 => content,
            _ => "seven",
        };
        assert_eq!(told(installed).await, (then, expected.into()));
        let current = snapshots.current::<Types>().await.unwrap().unwrap();
        assert_eq!(told(current).await, (then, expected.into()));
    }
}

/// openraft builds one if it is told to before anything was applied.
#[tokio::test]
async fn a_snapshot_that_covers_nothing_can_be_read_and_is_not_kept() {
    let disk = SimFs::new();
    let (mut log, _) = on(&disk);
    log.blocking_append([entry(0)]).await.unwrap();
    let before = disk.paths();
    let meta = SnapshotMeta { last_log_id: None, ..snapshot_meta(0) };
    let snapshots = log.snapshots();
    let built = snapshots.build::<Types>(meta.clone(), |out| out.write_all(b"nothing"));
    let built = built.await.unwrap();
    assert_eq!(built.meta, meta);
    assert_eq!(content(*built.snapshot).await, b"nothing");
    assert!(snapshots.current::<Types>().await.unwrap().is_none());
    assert_eq!(disk.paths(), before);
}

/// Many at once, each done when it is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_snapshots_that_are_built_at_once_the_newest_stays() {
    for round in 0..20 {
        let (log, store) = on(&SimFs::new());
        let tasks = (1..=8_u64).map(|n| {
            let snapshots = log.snapshots();
            let index = 10 + n * (round + 3) % 8;
            tokio::spawn(async move {
                let built = snapshots.build::<Types>(snapshot_meta(index), move |out| {
                    out.write_all(&index.to_le_bytes())
                });
                let (at, content) = told(built.await.unwrap()).await;
                assert_eq!(content, at.to_le_bytes());
                assert!(at >= index);
                index
            })
        });
        let mut newest = 0;
        for task in tasks.collect::<Vec<_>>() {
            newest = newest.max(task.await.unwrap());
        }
        assert_eq!(store.snapshot_at().unwrap().index, newest);
    }
}
