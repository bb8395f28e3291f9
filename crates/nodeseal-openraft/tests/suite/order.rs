//! What openraft's suite does not ask: when entries can be read, and when they are said to be
//! flushed.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nodeseal::fs::{File, Fs, Lock, SimFs};
use nodeseal::keyring::Location;
use nodeseal::store::Options;
use nodeseal::{Error, Identity, Keyring, Protector, Store};
use nodeseal_openraft::LogStore;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{CommittedLeaderId, Entry, EntryPayload, LogId, RaftLogReader, Vote};

use super::machine::Types;

/// A disk whose syncs wait while its gate is shut.
#[derive(Debug, Clone, Default)]
struct Gated {
    disk: SimFs,
    shut: Arc<(Mutex<bool>, Condvar)>,
}

#[derive(Debug)]
struct GatedFile {
    file: Box<dyn File>,
    gate: Gated,
}

impl Gated {
    fn set(&self, shut: bool) {
        *self.shut.0.lock().unwrap() = shut;
        self.shut.1.notify_all();
    }

    fn pass(&self) {
        let shut = self.shut.0.lock().unwrap();
        drop(self.shut.1.wait_while(shut, |shut| *shut).unwrap());
    }

    fn file(&self, file: io::Result<Box<dyn File>>) -> io::Result<Box<dyn File>> {
        Ok(Box::new(GatedFile { file: file?, gate: self.clone() }))
    }
}

impl Fs for Gated {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.file(self.disk.create_new(path))
    }
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.file(self.disk.open_read(path))
    }
    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.file(self.disk.open_write(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.disk.list(dir)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.try_lock(path)
    }
}

impl File for GatedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync()
    }
}

fn new(fs: &Gated) -> Store {
    let place = |dir| Location::on(Arc::new(fs.clone()), dir);
    let me = Identity::new("prod", "m1").unwrap();
    let keyring = Keyring::create(place("/keys"), &me, Protector::none(), &[]).unwrap();
    let options = Options::new("raft").prepare_ahead(false);
    Store::create(place("/raft"), &keyring, options).unwrap()
}

fn entry(index: u64) -> Entry<Types> {
    Entry { log_id: LogId::new(CommittedLeaderId::new(1, 1), index), payload: EntryPayload::Blank }
}

/// Waits until `what` holds.
async fn until(mut what: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it does not come");
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_can_be_read_at_once_and_share_the_fsync_that_they_wait_for() {
    let fs = Gated::default();
    let store = new(&fs);
    let log = LogStore::<Types>::new(store.clone()).unwrap();
    fs.set(true);
    let before = store.stats().fsyncs;
    let mut tasks = Vec::new();
    for index in 0..8 {
        let mut log = log.clone();
        let mut reader = log.get_log_reader().await;
        tasks.push(tokio::spawn(async move { log.blocking_append([entry(index)]).await }));
        until(|| store.id_at(index).is_some()).await;
        let read = reader.try_get_log_entries(0..=index).await.unwrap();
        assert_eq!(read.last().map(|entry| entry.log_id.index), Some(index));
    }
    let mut voter = log.clone();
    tasks.push(tokio::spawn(async move { voter.save_vote(&Vote::new(3, 1)).await }));
    let vote = || !store.state().vote.is_empty();
    until(vote).await;
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
    let fs = Gated::default();
    let store = new(&fs);
    let mut log = LogStore::<Types>::new(store.clone()).unwrap();
    log.blocking_append([entry(0)]).await.unwrap();
    // The next is the write, then the fsync.
    fs.disk.fail_at(1, io::ErrorKind::Other);
    assert!(log.blocking_append([entry(1)]).await.is_err());
    assert!(log.save_vote(&Vote::new(3, 1)).await.is_err());
    assert!(matches!(store.apply(nodeseal::store::Change::new()), Err(Error::Poisoned)));
}
