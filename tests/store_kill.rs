//! A process that is killed in the middle of its appends, over and over, on the real file system.
//!
//! The test runs itself as a child that appends, and rotates its DEK, and says each entry that was
//! acknowledged; then it kills the child and looks.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/model.rs"]
mod model;
#[path = "support/oracle.rs"]
mod oracle;
#[path = "support/workload.rs"]
mod workload;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nodeseal::seal::{Era, LogId};
use nodeseal::secret::SecretKey;
use nodeseal::store::{Change, Options};
use nodeseal::{Error, Identity, Keyring, LockPolicy, Opened, Protector, Reason, Store, UnlockKey};
use oracle::Node;
use workload::{Draw, Workload};

/// One test after the other: until it execs, a process that one of them has just forked holds the
/// locks that another has open.
static TURN: Mutex<()> = Mutex::new(());

const DIR: &str = "NODESEAL_STORE_KILL_DIR";

fn options<'a>() -> Options<'a> {
    Options::new("raft").segment_size(16 << 10)
}

fn open(dir: &Path) -> (Keyring, Store) {
    let me = Identity::new("prod", "m1").unwrap();
    let key = UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(3)));
    let (keys, raft) = (dir.join("keys"), dir.join("raft"));
    if !keys.exists() {
        let keyring = Keyring::create(&keys, &me, Protector::unlock_key(&key), &[]).unwrap();
        let store = Store::create(&raft, &keyring, options()).unwrap();
        return (keyring, store);
    }
    let keyring = match Keyring::open(&keys, &me, LockPolicy::Locked).unwrap() {
        Opened::Locked(locked) => locked.unlock(&key).unwrap(),
        Opened::Unlocked(_) => panic!("not locked"),
    };
    let store = Store::open(&raft, &keyring, options().verify(|_| {})).unwrap();
    (keyring, store)
}

fn payload(index: u64) -> Vec<u8> {
    format!("entry {index} ").repeat(20).into_bytes()
}

/// Appends until it is killed; never returns in a child.
fn child(dir: &Path) {
    let (keyring, store) = open(dir);
    let mut rotation = store.rotation();
    for index in store.state().last.index + 1.. {
        let mut change = Change::new();
        let id = LogId::new(index, Era::term(1));
        change.push(id, |out| out.extend_from_slice(&payload(index))).unwrap();
        store.apply(change).unwrap();
        eprintln!("acknowledged {index}");
        if index.is_multiple_of(50) {
            keyring.rotate_dek(Reason::Requested).unwrap();
        }
        rotation.step().unwrap();
    }
}

#[test]
fn what_was_acknowledged_outlives_the_process() {
    if let Some(dir) = std::env::var_os(DIR) {
        child(Path::new(&dir));
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let mut acknowledged = 0;
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "what_was_acknowledged_outlives_the_process", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // Running; now somewhere in the next entries.
        let mut said: Vec<String> = lines.by_ref().take(5).map(Result::unwrap).collect();
        std::thread::sleep(Duration::from_millis(round * 7));
        child.kill().unwrap();
        said.extend(lines.map_while(Result::ok));
        child.wait().unwrap();
        let numbers = said.iter().filter_map(|line| line.strip_prefix("acknowledged "));
        let before = acknowledged;
        acknowledged = numbers.filter_map(|n| n.parse().ok()).max().unwrap_or(acknowledged);
        assert!(acknowledged > before, "the child did nothing: {said:?}");

        let (_keyring, store) = open(dir.path());
        let last = store.state().last.index;
        assert!(last >= acknowledged, "{last} of {acknowledged}");
        let mut next = 1;
        store
            .read(.., |id, entry| {
                assert_eq!((id.index, entry), (next, &payload(next)[..]));
                next += 1;
                Ok::<(), Error>(())
            })
            .unwrap();
        assert_eq!(next, last + 1);
    }
}

/// Eight threads that also truncate, purge, vote, save metadata and install snapshots, beside
/// rotations. `NODESEAL_KILLS=1000` for more than a few kills.
#[test]
fn a_killed_process_leaves_the_state_after_an_operation_not_before_the_last_acknowledged() {
    if Workload::run_here() {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let kills = std::env::var("NODESEAL_KILLS").map_or(15, |kills| kills.parse().unwrap());
    let mut draw = Draw(kills);
    let (mut acknowledged, mut unsaid) = (0, 0);
    // A new store now and then: the oracle grows.
    for first in (0..kills).step_by(25) {
        let dir = tempfile::tempdir().unwrap();
        let node = Node { dir: dir.path().into(), oracle: dir.path().join("oracle") };
        node.create().unwrap();
        let mut reached = 0;
        for seed in first..kills.min(first + 25) {
            let workload =
                Workload { node: node.clone(), position: None, seed, changes: 0, appends: false };
            let test = "a_killed_process_leaves_the_state_after_an_operation_not_before_the_last_\
                        acknowledged";
            let mut child = workload.start(test);
            std::thread::sleep(Duration::from_micros(20_000 + draw.below(200_000)));
            child.kill().unwrap();
            let said = child.wait_with_output().unwrap();
            assert!(said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
            let oracle = node.oracle();
            let last = oracle.acknowledged(0).max(reached);
            reached = node.check(&oracle, last).unwrap_or_else(|bad| panic!("{seed}: {bad}"));
            acknowledged += oracle.acks.len();
            unsaid += reached - last;
            node.forget_after(&oracle, reached);
        }
    }
    assert!(acknowledged > 0, "nothing was done");
    eprintln!("{kills} kills, {acknowledged} operations acknowledged, {unsaid} took effect unsaid");
}
