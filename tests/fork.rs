//! Two processes with the same handles: a forked child repeats no nonce of its parent, and writes nothing
//! that is the parent's.
#![cfg(unix)]
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test says that it failed by panicking")]

#[cfg(all(feature = "delivery", target_os = "linux"))]
#[path = "fork/delivery.rs"]
mod delivery;
#[path = "fork/writes.rs"]
mod writes;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nodeseal::seal::{Batch, Era, Log, LogId, RECORD_OVERHEAD};
use nodeseal::{Identity, Keyring, Protector, UnlockKey};

const ROUNDS: u64 = 32;
const PLAIN: &[u8] = b"the same plaintext in both processes";
const TERM: Era = Era::term(1);

/// Lets one test fork at a time: a child shares the locks of whatever is open at its birth.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: both were just opened, and nothing else owns them.
    ends.map(|end| unsafe { File::from_raw_fd(end) }).into()
}

/// Runs `child` in a forked child and `parent` here, each with what is prepared; returns what they do.
fn in_both<T>(
    prepared: T,
    child: impl FnOnce(T) -> Option<Vec<u8>>,
    parent: impl FnOnce(T) -> Vec<u8>,
) -> (Vec<u8>, Vec<u8>) {
    let (mut output, mut input) = pipe();
    // SAFETY: the child has this thread alone, which holds no lock; it runs `child`, writes into the pipe
    // and leaves without running anything of the test harness.
    match unsafe { libc::fork() } {
        0 => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| child(prepared)));
            let written = done.ok().flatten().is_some_and(|done| input.write_all(&done).is_ok());
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!written)) }
        }
        child => {
            assert!(child > 0);
            drop(input);
            let parents = parent(prepared);
            let mut childs = Vec::new();
            output.read_to_end(&mut childs).unwrap();
            let mut status = 0;
            // SAFETY: `child` is this process's child, and `status` has room for its end.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
            (parents, childs)
        }
    }
}

fn opens(log: &Log, round: u64, sealed: &[u8]) {
    let mut record = sealed[..RECORD_OVERHEAD + PLAIN.len()].to_vec();
    assert_eq!(log.open_in_place(LogId::new(round + 1, TERM), TERM, &mut record).unwrap(), PLAIN);
}

#[test]
fn no_prefix_repeats_in_a_forked_child() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let me = Identity::new("prod", "m1").unwrap();
    let protector = Protector::unlock_key(&UnlockKey::generate().unwrap());
    let keyring = Keyring::create(dir.path(), &me, protector, &[]).unwrap();
    let log = keyring.keyspace("raft").unwrap().log();
    let prefix = |sealed: &[u8]| sealed[9..25].to_vec();
    let mut prefixes = BTreeSet::new();
    for round in 0..ROUNDS {
        let mut batch = log.batch(LogId::new(round, TERM));
        for index in round + 1..round + 5 {
            batch.push(LogId::new(index, TERM), |out| out.extend_from_slice(PLAIN)).unwrap();
        }
        let seal = |batch: Batch<'_>| Some(batch.seal().ok()?.bytes().to_vec());
        let (parents, childs) = in_both(batch, seal, |batch| seal(batch).unwrap());
        assert_eq!(parents.len(), childs.len());
        for sealed in [&parents, &childs] {
            opens(&log, round, sealed);
            assert!(prefixes.insert(prefix(sealed)), "a prefix repeats in round {round}");
        }

        let record = [&[0; RECORD_OVERHEAD], PLAIN].concat();
        let seal = |mut record: Vec<u8>| {
            let mut records = [(LogId::new(round + 1, TERM), &mut record[..])];
            log.seal_batch(LogId::new(round, TERM), &mut records).ok()?.durable();
            Some(record)
        };
        let (parents, childs) = in_both(record, seal, |record| seal(record).unwrap());
        for sealed in [&parents, &childs] {
            opens(&log, round, sealed);
            assert!(prefixes.insert(prefix(sealed)), "a prefix repeats in round {round}");
        }
    }
    assert_eq!(prefixes.len() as u64, 4 * ROUNDS);
}
