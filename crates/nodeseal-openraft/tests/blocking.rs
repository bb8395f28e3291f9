//! No thread of the async runtime waits for the disk: with one worker, timers fire while each
//! operation of the disk takes its time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says that it failed by panicking"
)]

mod support;

use std::future::Future;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nodeseal::fs::SimFs;
use nodeseal_openraft::{LogStore, Snapshots};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{RaftLogReader, Vote};
use support::disk::{Hooked, Operation};
use support::machine::Types;
use support::{entry, log_id, open, snapshot_meta, until};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

/// An operation of the slow disk lasts until the timer fired so often,
const TICKS: u64 = 5;
/// or for so long: then no timer fires, since the disk keeps it from that.
const STUCK: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Slow {
    on: AtomicBool,
    ticks: AtomicU64,
    /// The operations that were slow.
    seen: Mutex<Vec<Operation>>,
    stuck: Mutex<Option<Operation>>,
}

impl Slow {
    fn operation(&self, operation: Operation) {
        if !self.on.load(Ordering::Acquire) || self.stuck.lock().unwrap().is_some() {
            return;
        }
        let (begun, ticks) = (Instant::now(), self.ticks.load(Ordering::Acquire));
        while self.ticks.load(Ordering::Acquire) < ticks + TICKS {
            if begun.elapsed() > STUCK {
                *self.stuck.lock().unwrap() = Some(operation);
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.seen.lock().unwrap().push(operation);
    }

    /// Does something on the slow disk, and returns what it made the disk do.
    async fn during<T>(&self, what: &str, work: impl Future<Output = T>) -> (T, Vec<Operation>) {
        self.on.store(true, Ordering::Release);
        let done = work.await;
        // What was dropped may still be on its way to a thread.
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.on.store(false, Ordering::Release);
        let stuck = self.stuck.lock().unwrap().take();
        assert_eq!(stuck, None, "{what}: no timer fired while the disk was slow");
        (done, std::mem::take(&mut self.seen.lock().unwrap()))
    }
}

/// A store on a slow disk, and a timer on the only worker.
async fn slow() -> (Arc<Slow>, SimFs, LogStore<Types>, Snapshots) {
    let slow = Arc::new(Slow::default());
    let hook = Arc::clone(&slow);
    let fs = Hooked::new(move |operation| hook.operation(operation));
    let disk = fs.disk.clone();
    let store = open(Arc::new(fs));
    let timer = Arc::clone(&slow);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            timer.ticks.fetch_add(1, Ordering::AcqRel);
        }
    });
    let log = LogStore::new(store).unwrap();
    let snapshots = log.snapshots();
    (slow, disk, log, snapshots)
}

/// Runs a test on a worker, of which there is one: its own thread is none.
fn on_one_worker(test: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(runtime.spawn(test)).unwrap();
}

fn waited_for(seen: &[Operation], operations: &[Operation], what: &str) {
    for operation in operations {
        assert!(seen.contains(operation), "{what} made the disk do no {operation:?}: {seen:?}");
    }
}

use Operation::{Name, Sync, Write};

#[test]
fn timers_fire_while_the_log_is_written_and_read() {
    on_one_worker(async {
        let (slow, _, mut log, _) = slow().await;
        // 4 KiB end a segment: some of these do.
        for index in 0..40 {
            let (done, seen) = slow.during("append", log.blocking_append([entry(index)])).await;
            done.unwrap();
            waited_for(&seen, &[Write, Sync], "append");
        }
        let (done, seen) = slow.during("vote", log.save_vote(&Vote::new(3, 1))).await;
        done.unwrap();
        waited_for(&seen, &[Write, Sync], "a vote");
        let committed = log.save_committed(Some(log_id(30)));
        slow.during("committed", committed).await.0.unwrap();

        let mut reader = log.get_log_reader().await;
        let (read, seen) = slow.during("read", reader.try_get_log_entries(0..40)).await;
        assert_eq!(read.unwrap().len(), 40);
        waited_for(&seen, &[Operation::Read], "a read");
        let (read, seen) = slow.during("read", reader.limited_get_log_entries(0, 40)).await;
        assert_eq!(read.unwrap().len(), 40);
        waited_for(&seen, &[Operation::Read], "a limited read");
        let (state, seen) = slow.during("log state", log.get_log_state()).await;
        assert_eq!(state.unwrap().last_log_id, Some(log_id(39)));
        waited_for(&seen, &[Operation::Read], "the log's state");
        let (vote, _) = slow.during("read vote", log.read_vote()).await;
        assert_eq!(vote.unwrap(), Some(Vote::new(3, 1)));
        let (committed, _) = slow.during("read committed", log.read_committed()).await;
        assert_eq!(committed.unwrap(), Some(log_id(30)));

        let (done, seen) = slow.during("truncate", log.truncate(log_id(35))).await;
        done.unwrap();
        waited_for(&seen, &[Write, Sync], "a truncation");
        let drop_all = async { drop((log, reader)) };
        slow.during("drop", drop_all).await;
    });
}

#[test]
fn timers_fire_while_a_snapshot_is_received_built_and_read() {
    on_one_worker(async {
        let (slow, disk, mut log, snapshots) = slow().await;
        log.blocking_append((0..40).map(entry)).await.unwrap();

        // Longer than what is sealed at once, so that each piece is written.
        let piece = vec![7; 100_000];
        let (data, seen) = slow.during("begin", snapshots.begin::<Types>()).await;
        let mut data = data.unwrap();
        waited_for(&seen, &[Name], "the beginning of a snapshot");
        let receive = async {
            for _ in 0..3 {
                data.write_all(&piece).await.unwrap();
            }
            data.seek(std::io::SeekFrom::Start(0)).await.unwrap();
            for _ in 0..3 {
                data.write_all(&piece).await.unwrap();
            }
            data.shutdown().await.unwrap();
        };
        let ((), seen) = slow.during("receive", receive).await;
        waited_for(&seen, &[Write], "the receiving");
        let meta = snapshot_meta(10);
        let installed = snapshots.install::<Types>(&meta, data);
        let (installed, seen) = slow.during("install", installed).await;
        waited_for(&seen, &[Write, Sync, Operation::Read, Name], "an installation");
        let mut sent = *installed.unwrap().snapshot;
        let read = async {
            let mut read = Vec::new();
            sent.read_to_end(&mut read).await.unwrap();
            read.len()
        };
        let (len, seen) = slow.during("send", read).await;
        assert_eq!(len, 300_000);
        waited_for(&seen, &[Operation::Read], "the sending");

        let built = snapshots.build::<Types>(snapshot_meta(20), move |out| out.write_all(&piece));
        let (built, seen) = slow.during("build", built).await;
        built.unwrap();
        waited_for(&seen, &[Write, Sync, Operation::Read, Name], "a build");
        let (current, seen) = slow.during("current", snapshots.current::<Types>()).await;
        waited_for(&seen, &[Operation::Read, Name], "the current snapshot");
        let load = current.unwrap().unwrap().snapshot.load(|reader| {
            let mut content = Vec::new();
            reader.read_to_end(&mut content)
        });
        let (len, seen) = slow.during("load", load).await;
        assert_eq!(len.unwrap(), 100_000);
        waited_for(&seen, &[Operation::Read], "loading");

        let (purged, seen) = slow.during("purge", log.purge(log_id(15))).await;
        purged.unwrap();
        waited_for(&seen, &[Write, Sync], "a purge");

        // Dropped unfinished: its file is removed, elsewhere.
        let mut data = snapshots.begin::<Types>().await.unwrap();
        data.write_all(&[7; 100_000]).await.unwrap();
        data.flush().await.unwrap();
        let files = disk.paths().len();
        let dropped = async {
            drop(data);
            until("the file is removed", || disk.paths().len() < files).await;
        };
        let ((), seen) = slow.during("drop", dropped).await;
        waited_for(&seen, &[Name], "dropping");
        slow.during("drop", async { drop((sent, snapshots, log)) }).await;
    });
}
