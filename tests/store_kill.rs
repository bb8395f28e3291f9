//! A process that is killed in the middle of its appends, over and over, on the real file system.
//!
//! The test runs itself as a child that appends, and rotates its DEK, and says each entry that was
//! acknowledged; then it kills the child and looks.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nodeseal::seal::{Era, LogId};
use nodeseal::secret::SecretKey;
use nodeseal::store::{Change, Options};
use nodeseal::{Error, Identity, Keyring, LockPolicy, Opened, Protector, Reason, Store, UnlockKey};

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
