//! Many threads seal while one rotates and sweeps.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::*;

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
            let log = keyring.log("raft").unwrap();
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
            match keyring.sweep() {
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
