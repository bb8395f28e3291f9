//! What openraft's suite does not ask: when entries can be read, and when they are said to be
//! flushed.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nodeseal::keyring::Location;
use nodeseal::store::Options;
use nodeseal::{Error, Identity, Keyring, Protector, Store};
use nodeseal_openraft::LogStore;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{RaftLogReader, Vote};

use crate::support::disk::{Hooked, Operation};
use crate::support::machine::Types;
use crate::support::{entry, until};

/// A disk whose syncs wait while its gate is shut.
struct Gated {
    fs: Hooked,
    shut: Arc<(Mutex<bool>, Condvar)>,
}

impl Gated {
    fn new() -> Self {
        let shut = Arc::new((Mutex::new(false), Condvar::new()));
        let gate = Arc::clone(&shut);
        let fs = Hooked::new(move |operation| {
            if operation == Operation::Sync {
                let shut = gate.0.lock().unwrap();
                drop(gate.1.wait_while(shut, |shut| *shut).unwrap());
            }
        });
        Self { fs, shut }
    }

    fn set(&self, shut: bool) {
        *self.shut.0.lock().unwrap() = shut;
        self.shut.1.notify_all();
    }
}

fn new(fs: &Gated) -> Store {
    let place = |dir| Location::on(Arc::new(fs.fs.clone()), dir);
    let me = Identity::new("prod", "m1").unwrap();
    let keyring = Keyring::create(place("/keys"), &me, Protector::none(), &[]).unwrap();
    let options = Options::new("raft").prepare_ahead(false);
    Store::create(place("/raft"), &keyring, options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_can_be_read_at_once_and_share_the_fsync_that_they_wait_for() {
    let fs = Gated::new();
    let store = new(&fs);
    let log = LogStore::<Types>::new(store.clone()).unwrap();
    fs.set(true);
    let before = store.stats().fsyncs;
    let mut tasks = Vec::new();
    for index in 0..8 {
        let mut log = log.clone();
        let mut reader = log.get_log_reader().await;
        tasks.push(tokio::spawn(async move { log.blocking_append([entry(index)]).await }));
        until("an entry", || store.id_at(index).is_some()).await;
        let read = reader.try_get_log_entries(0..=index).await.unwrap();
        assert_eq!(read.last().map(|entry| entry.log_id.index), Some(index));
    }
    let mut voter = log.clone();
    tasks.push(tokio::spawn(async move { voter.save_vote(&Vote::new(3, 1)).await }));
    let vote = || !store.state().vote.is_empty();
    until("the vote", vote).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(tasks.iter().all(|task| !task.is_finished()), "said to be durable before the fsync");
    fs.set(false);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    // The one that the first waited for, and one for all others.
    assert_eq!(store.stats().fsyncs - before, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_fsync_that_fails_is_told_to_all_who_wait_for_it() {
    let fs = Gated::new();
    let store = new(&fs);
    let mut log = LogStore::<Types>::new(store.clone()).unwrap();
    log.blocking_append([entry(0)]).await.unwrap();
    // The next is the write, then the fsync.
    fs.fs.disk.fail_at(1, io::ErrorKind::Other);
    assert!(log.blocking_append([entry(1)]).await.is_err());
    assert!(log.save_vote(&Vote::new(3, 1)).await.is_err());
    assert!(matches!(store.apply(nodeseal::store::Change::new()), Err(Error::Poisoned)));
}
