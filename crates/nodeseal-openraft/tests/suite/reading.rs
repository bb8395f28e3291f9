//! Reading: limited in bytes, and beside changes.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use nodeseal::fs::SimFs;
use nodeseal::seal::LogId as SealedId;
use nodeseal::store::Change;
use nodeseal::{Error, Store};
use nodeseal_openraft::{LogReader, LogStore, Settings, era};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{CommittedLeaderId, Entry, EntryPayload, LogId, RaftLogId, RaftLogReader};

use crate::support::disk::{Hooked, Operation};
use crate::support::machine::{Types, Value};
use crate::support::open;

fn new(settings: Settings) -> LogStore<Types> {
    let store = open(Arc::new(SimFs::new()));
    LogStore::with(store, settings).unwrap()
}

fn entry(term: u64, index: u64, len: usize) -> Entry<Types> {
    let log_id = LogId::new(CommittedLeaderId::new(term, 1), index);
    Entry { log_id, payload: EntryPayload::Normal(Value("v".repeat(len))) }
}

async fn limited(log: &mut LogReader<Types>, start: u64, end: u64) -> Vec<u64> {
    let entries = log.limited_get_log_entries(start, end).await.unwrap();
    entries.iter().map(|entry| entry.get_log_id().index).collect()
}

#[tokio::test]
async fn a_read_for_a_follower_is_limited_in_bytes() {
    let mut log = new(Settings::new().read_limit(NonZeroUsize::new(10_000).unwrap()));
    let lens = [1000, 1000, 1000, 50_000, 9000, 2000, 100];
    let entries = lens.iter().zip(0..).map(|(len, index)| entry(1, index, *len));
    log.blocking_append(entries).await.unwrap();
    let mut reader = log.get_log_reader().await;
    assert_eq!(limited(&mut reader, 0, 7).await, [0, 1, 2]);
    assert_eq!(limited(&mut reader, 3, 7).await, [3], "one at least");
    assert_eq!(limited(&mut reader, 4, 7).await, [4]);
    assert_eq!(limited(&mut reader, 5, 7).await, [5, 6]);
    assert_eq!(limited(&mut reader, 0, 2).await, [0, 1]);
    assert_eq!(limited(&mut reader, 2, 2).await, [0_u64; 0]);
    // A read that is not limited returns all.
    assert_eq!(log.try_get_log_entries(..).await.unwrap().len(), 7);
}

#[tokio::test]
async fn a_read_for_a_follower_begins_where_it_is_to_begin_or_is_empty() {
    let mut log = new(Settings::new().snapshots_elsewhere());
    log.blocking_append((0..20).map(|index| entry(1, index, 10))).await.unwrap();
    log.purge(entry(1, 9, 0).log_id).await.unwrap();
    let mut reader = log.get_log_reader().await;
    assert_eq!(limited(&mut reader, 5, 15).await, [0_u64; 0], "a hole for the follower");
    assert_eq!(limited(&mut reader, 10, 12).await, [10, 11]);
    assert_eq!(limited(&mut reader, 30, 40).await, [0_u64; 0]);
    // This one may leave out what was purged.
    assert_eq!(reader.try_get_log_entries(5..12).await.unwrap().len(), 2);
}

/// What happens amid a read, once, as if another thread were faster.
type Amid = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A log whose disk does something amid the next read, and which is longer than what is read at once.
async fn disturbed() -> (LogStore<Types>, Store, Amid) {
    let amid = Amid::default();
    let hook = Arc::clone(&amid);
    let fs = Hooked::new(move |operation| {
        let disturb = (operation == Operation::Read).then(|| hook.lock().unwrap().take());
        if let Some(disturb) = disturb.flatten() {
            disturb();
        }
    });
    let store = open(Arc::new(fs));
    let settings = Settings::new().snapshots_elsewhere();
    let mut log = LogStore::with(store.clone(), settings).unwrap();
    log.blocking_append((0..100).map(|index| entry(1, index, 10_000))).await.unwrap();
    (log, store, amid)
}

async fn read(log: &LogStore<Types>) -> Vec<(u64, u64)> {
    let entries = log.clone().try_get_log_entries(0..100).await.unwrap();
    entries.iter().map(|entry| (entry.log_id.leader_id.term, entry.log_id.index)).collect()
}

#[tokio::test]
async fn a_read_that_a_truncation_overtakes_is_of_the_new_log() {
    let (log, store, amid) = disturbed().await;
    let other = LogId::new(CommittedLeaderId::new(2, 1), 0).leader_id;
    let era = era::<Types>(&other).unwrap();
    *amid.lock().unwrap() = Some(Box::new(move || {
        let mut change = Change::new();
        change.truncate(10);
        for index in 10..90 {
            let place = SealedId::new(index, era);
            let pushed = change.try_push(place, |out| {
                let written = postcard::to_io(&entry(2, index, 10_000), out);
                written.map(drop).map_err(|e| Error::Stream(io::Error::other(e)))
            });
            pushed.unwrap();
        }
        store.apply(change).unwrap();
    }));
    let mut expected: Vec<_> = (0..10).map(|index| (1, index)).collect();
    expected.extend((10..90).map(|index| (2, index)));
    assert_eq!(read(&log).await, expected);
    assert!(amid.lock().unwrap().is_none());
}

#[tokio::test]
async fn a_read_that_a_purge_overtakes_has_no_gap() {
    let (log, store, amid) = disturbed().await;
    *amid.lock().unwrap() = Some(Box::new(move || {
        let mut change = Change::new();
        let place = store.id_at(70).unwrap();
        change.committed(place).purge(place);
        store.apply(change).unwrap();
    }));
    assert_eq!(read(&log).await, (71..100).map(|index| (1, index)).collect::<Vec<_>>());
    assert!(amid.lock().unwrap().is_none());
    let mut reader = log.clone().get_log_reader().await;
    assert_eq!(limited(&mut reader, 60, 80).await, [0_u64; 0]);
}
