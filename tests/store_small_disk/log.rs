//! A log of entries that are known by their index.

use std::path::{Path, PathBuf};

use nodeseal::seal::{Era, LogId};
use nodeseal::store::{Change, Options};
use nodeseal::{Error, Identity, Keyring, LockPolicy, Opened, Protector, Store};

pub(crate) const ERA: Era = Era::term(1);

pub(crate) fn id(index: u64) -> LogId {
    LogId::new(index, ERA)
}

pub(crate) fn me() -> Identity {
    Identity::new("prod", "m1").unwrap()
}

/// The directories of a key file and of a log.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) keys: PathBuf,
    pub(crate) raft: PathBuf,
}

impl Node {
    /// Both on one disk.
    pub(crate) fn on(dir: &Path) -> Self {
        Self { keys: dir.join("keys"), raft: dir.join("raft") }
    }

    pub(crate) fn create(&self, options: Options<'_>) -> (Keyring, Store) {
        let keyring = Keyring::create(&self.keys, &me(), Protector::none(), &[]).unwrap();
        let store = Store::create(&self.raft, &keyring, options).unwrap();
        (keyring, store)
    }

    pub(crate) fn open(&self, options: Options<'_>) -> (Keyring, Store) {
        let keyring = unlocked(Keyring::open(&self.keys, &me(), LockPolicy::Any).unwrap());
        let store = Store::open(&self.raft, &keyring, options).unwrap();
        (keyring, store)
    }

    pub(crate) fn read_only_keys(&self) -> Keyring {
        unlocked(Keyring::open_read_only(&self.keys, &me(), LockPolicy::Any).unwrap())
    }
}

fn unlocked(opened: Opened) -> Keyring {
    match opened {
        Opened::Unlocked(keyring) => keyring,
        Opened::Locked(_) => panic!("locked"),
    }
}

pub(crate) fn payload(index: u64) -> Vec<u8> {
    format!("entry {index} ").repeat(70).into_bytes()
}

/// The next entry, with everything before it known to be committed.
pub(crate) fn append(store: &Store) -> Result<u64, Error> {
    let last = store.state().last;
    let mut change = store.change();
    change.push(id(last.index + 1), |out| out.extend_from_slice(&payload(last.index + 1)))?;
    if last != LogId::START {
        change.committed(last);
    }
    store.apply(change)?;
    Ok(last.index + 1)
}

/// Reads the whole log, which must be the entries from `first` to `last`.
pub(crate) fn holds(store: &Store, first: u64, last: u64) {
    let mut next = first;
    store
        .read(first.., |found, entry| {
            assert_eq!((found, entry), (id(next), &payload(next)[..]));
            next += 1;
            Ok::<(), Error>(())
        })
        .unwrap();
    assert_eq!((next, store.state().last), (last + 1, id(last)));
}

pub(crate) fn vote(store: &Store, vote: &[u8]) -> Result<(), Error> {
    let mut change = Change::new();
    change.vote(vote);
    store.apply(change)
}
