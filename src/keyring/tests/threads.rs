//! Many threads seal while one rotates and sweeps.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::*;
use crate::fs::{File, Lock};
use crate::key::DekId;

const SEALERS: u64 = 4;
const EACH: u64 = 150;
const ROUNDS: usize = 12;

#[test]
fn everything_opens_that_was_sealed_during_rotations() {
    let (disk, keyring) = locked();
    let stored = Mutex::new(BTreeMap::new());
    let (next, finished) = (AtomicU64::new(1), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let rounds = thread::scope(|scope| {
        for _ in 0..SEALERS {
            let log = raft(&keyring).unwrap().log();
            let (stored, next, finished) = (&stored, &next, &finished);
            scope.spawn(move || {
                for _ in 0..EACH {
                    let (entry, in_flight) =
                        seal(&log, next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    thread::yield_now();
                    stored.lock().unwrap().insert(entry.index, entry);
                    in_flight.durable();
                }
                finished.fetch_add(1, Ordering::Release);
            });
        }
        // What is on the disk opens at every moment, also amid a rotation.
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                let stored = stored.lock().unwrap();
                stored.values().next_back().map_or(Ok(()), |entry| entry.open(&keyring)).unwrap();
                drop(stored);
                assert!(!keyring.status().deks.is_empty());
                thread::yield_now();
            }
        });
        let mut rounds = 0;
        while rounds < ROUNDS || finished.load(Ordering::Acquire) < SEALERS {
            keyring.rotate_dek(Reason::Requested).unwrap();
            stored.lock().unwrap().values_mut().for_each(|entry| entry.reseal(&keyring));
            match shown(&keyring) {
                Ok(mut sweep) => {
                    let seen = stored.lock().unwrap();
                    seen.values().for_each(|entry| sweep.see(&entry.record).unwrap());
                    drop(seen);
                    sweep.finish().unwrap();
                    rounds += 1;
                }
                Err(Error::Misuse(Misuse::InFlight)) => thread::yield_now(),
                Err(error) => panic!("{error:?}"),
            }
        }
        stop.store(true, Ordering::Release);
        rounds
    });
    assert!(rounds >= ROUNDS);
    let stored = stored.into_inner().unwrap();
    assert_eq!(u64::try_from(stored.len()).unwrap(), SEALERS * EACH);
    let keyring = restart(&disk, keyring, &key(1));
    stored.values().for_each(|entry| entry.open(&keyring).unwrap());
}

#[test]
fn all_threads_together_use_no_more_than_was_reserved() {
    let (disk, keyring) = locked();
    drop(keyring);
    let keyring = unlock(&disk, &key(1)).unwrap();
    let before = keyring.status().deks[0].uses;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    drop(keyring.shared().acquire(1 << 18).unwrap());
                }
            });
        }
    });
    let used = keyring.status().deks[0].uses;
    assert_eq!(used - before, 80 << 18);
    drop(keyring);
    assert!(unlock(&disk, &key(1)).unwrap().status().deks[0].uses >= used);
}

/// A disk that lets somebody seal before each name becomes durable, and notes under what.
#[derive(Debug)]
struct Watched {
    disk: SimFs,
    log: Mutex<Option<Log>>,
    sealed_under: Mutex<Vec<DekId>>,
}

impl Fs for Watched {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.disk.create_new(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.disk.open_read(path)
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.disk.open_write(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    #[expect(clippy::unwrap_in_result, reason = "what does not seal fails the test")]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if let Some(log) = &*self.log.lock().unwrap() {
            let (entry, in_flight) = seal(log, 1).unwrap();
            self.sealed_under.lock().unwrap().push(Log::dek_of(&entry.record).unwrap());
            in_flight.durable();
        }
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

#[test]
fn a_new_dek_is_used_only_once_it_is_durable() {
    let disk = SimFs::new();
    let (log, sealed_under) = (Mutex::new(None), Mutex::default());
    let watched = Arc::new(Watched { disk, log, sealed_under });
    let at = Location::on(Arc::clone(&watched) as Arc<dyn Fs>, Path::new("/keys"));
    let keyring = Keyring::create(at, &me(), Protector::unlock_key(&key(1)), &[]).unwrap();
    let old = keyring.status().deks[0].id;
    *watched.log.lock().unwrap() = Some(raft(&keyring).unwrap().log());
    keyring.rotate_dek(Reason::Requested).unwrap();
    *watched.log.lock().unwrap() = None;
    assert_eq!(*watched.sealed_under.lock().unwrap(), [old]);
    let entry = sealed(&keyring, 2);
    assert_ne!(Log::dek_of(&entry.record).unwrap(), old);
}
