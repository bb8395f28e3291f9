//! The process under test: threads that append one entry at a time and wait until it is durable.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use nodeseal::seal::{Era, LogId};
use nodeseal::store::{Change, Options};
use nodeseal::{Error, Identity, Keyring, LockPolicy, Opened, Protector, Store};

/// The directory, in the environment of the process under test alone.
pub(crate) const DIR: &str = "NODESEAL_SYNC_DIR";
/// How many threads.
pub(crate) const THREADS: &str = "NODESEAL_SYNC_THREADS";

/// With this many entries a run ends that no fault has ended.
const ENTRIES: u64 = 1500;

fn me() -> Identity {
    Identity::new("prod", "m1").unwrap()
}

/// Small segments, so that many of them end.
fn options<'a>() -> Options<'a> {
    Options::new("raft").segment_size(8 << 10)
}

pub(crate) fn create(dir: &Path) {
    let keyring = Keyring::create(dir.join("keys"), &me(), Protector::none(), &[]).unwrap();
    Store::create(dir.join("raft"), &keyring, options()).unwrap();
}

fn open(dir: &Path, options: Options<'_>) -> Store {
    let keyring = match Keyring::open(dir.join("keys"), &me(), LockPolicy::Any).unwrap() {
        Opened::Unlocked(keyring) => keyring,
        Opened::Locked(_) => panic!("locked"),
    };
    Store::open(dir.join("raft"), &keyring, options).unwrap()
}

fn payload(index: u64) -> Vec<u8> {
    let len = 100 + usize::try_from(index * 97 % 600).unwrap();
    format!("entry {index} ").into_bytes().into_iter().cycle().take(len).collect()
}

/// Appends until an error comes back. Each line of the log is one write, in the order of things.
pub(crate) fn run(dir: &Path) {
    let store = open(dir, options());
    let log = OpenOptions::new().append(true).create(true).open(dir.join("log")).unwrap();
    let say = |what: char, index: u64| (&log).write_all(format!("{what} {index}\n").as_bytes());
    // From here on the fault may happen.
    File::create(dir.join("armed")).unwrap();
    let threads = std::env::var(THREADS).unwrap().parse().unwrap();
    let next = Mutex::new(1);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let (index, pending) = {
                        let mut next = next.lock().unwrap();
                        let index = *next;
                        let mut change = Change::new();
                        let id = LogId::new(index, Era::term(1));
                        change.push(id, |out| out.extend_from_slice(&payload(index))).unwrap();
                        say('<', index).unwrap();
                        let Ok(pending) = store.write(change) else { break };
                        say('>', index).unwrap();
                        *next += 1;
                        (index, pending)
                    };
                    if pending.wait().is_err() || index >= ENTRIES {
                        break;
                    }
                    say('a', index).unwrap();
                }
            });
        }
    });
}

/// Every entry that was acknowledged is there when the store is opened again.
pub(crate) fn check(dir: &Path, acknowledged: &[u64]) {
    let store = open(dir, options().verify(|_| {}));
    let mut next = 1;
    store
        .read(.., |id, entry| {
            assert_eq!((id.index, entry), (next, &payload(next)[..]));
            next += 1;
            Ok::<(), Error>(())
        })
        .unwrap();
    let last = acknowledged.iter().max().copied().unwrap_or_default();
    assert!(last < next, "{last} was acknowledged, the log ends before {next}");
}
