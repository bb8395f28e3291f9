//! An attacker who has an old key file, and writes to the disk while the node is down.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::path::Path;
use std::sync::Arc;

use nodeseal::fs::{Fs, Loss, SimFs};
use nodeseal::keyring::Location;
use nodeseal::seal::{Era, LogId};
use nodeseal::secret::SecretBytes;
use nodeseal::store::{Change, Options};
use nodeseal::{
    Costs, Error, Identity, Keyring, LockPolicy, LockRecord, Opened, Passphrase, Protector, Reason,
    Result, Store, UnlockKey,
};

const KEYS: &str = "/keys/node.keys";

fn me() -> Identity {
    Identity::new("prod", "m1").unwrap()
}

fn at(disk: &SimFs, dir: &str) -> Location {
    Location::on(Arc::new(disk.clone()), dir)
}

fn passphrase() -> Passphrase {
    Passphrase::new(SecretBytes::from(&b"correct horse battery"[..])).unwrap()
}

struct Owner {
    disk: SimFs,
    key: UnlockKey,
}

/// What is open, in the order in which it is dropped.
struct Node {
    store: Store,
    keyring: Keyring,
}

impl Owner {
    fn new() -> (Self, Node) {
        let owner = Self { disk: SimFs::new(), key: UnlockKey::generate().unwrap() };
        let protector = Protector::unlock_key(&owner.key);
        let keyring = Keyring::create(at(&owner.disk, "/keys"), &me(), protector, &[]).unwrap();
        let store =
            Store::create(at(&owner.disk, "/raft"), &keyring, Options::new("raft")).unwrap();
        let mut change = Change::new();
        change.push(LogId::new(1, Era::term(1)), |out| out.extend_from_slice(b"one")).unwrap();
        store.apply(change).unwrap();
        (owner, Node { store, keyring })
    }

    fn open(&self, disk: &SimFs) -> Result<Node> {
        let Opened::Locked(locked) = Keyring::open(at(disk, "/keys"), &me(), LockPolicy::Locked)?
        else {
            panic!("not locked")
        };
        let keyring = locked.unlock(&self.key).map_err(|e| e.error)?;
        let store = Store::open(at(disk, "/raft"), &keyring, Options::new("raft"))?;
        Ok(Node { store, keyring })
    }
}

type Changes = [(&'static str, fn(&Keyring) -> Result<()>)];

/// Each follows on a passphrase that was added before.
const CHANGES: &Changes = &[
    ("a leaked DEK is replaced", |keyring| keyring.rotate_dek(Reason::Leaked).map(drop)),
    ("something is attached", |keyring| keyring.attach("tls", b"pem").map(drop)),
    ("the passphrases are removed", |keyring| keyring.remove_passphrases().map(drop)),
];

fn is_older(error: &Error) -> bool {
    matches!(error, Error::RolledBack { what: "key file", .. } | Error::UnknownDek(_))
}

#[test]
fn a_key_file_that_is_put_back_alone_is_refused_at_once() {
    for (what, change) in CHANGES {
        let (owner, node) = Owner::new();
        node.keyring.add_passphrase(&passphrase(), Costs::FLOOR).unwrap();
        let old = owner.disk.read_file(Path::new(KEYS)).unwrap();
        change(&node.keyring).unwrap();
        // Nothing is written to the log.
        drop(node);
        let new = owner.disk.read_file(Path::new(KEYS)).unwrap();
        owner.disk.write_file(Path::new(KEYS), &old).unwrap();
        let error = owner.open(&owner.disk).map(drop).expect_err(what);
        assert!(is_older(&error), "{what}: {error}");
        owner.disk.write_file(Path::new(KEYS), &new).unwrap();
        owner.open(&owner.disk).unwrap();
    }
}

/// The same for keys that were changed while the store was shut: from its next opening on.
#[test]
fn a_store_that_was_shut_records_the_change_when_it_opens() {
    for (what, change) in CHANGES {
        let (owner, node) = Owner::new();
        let Node { store, keyring } = node;
        drop(store);
        keyring.add_passphrase(&passphrase(), Costs::FLOOR).unwrap();
        let old = owner.disk.read_file(Path::new(KEYS)).unwrap();
        change(&keyring).unwrap();
        drop(keyring);
        drop(owner.open(&owner.disk).unwrap());
        owner.disk.write_file(Path::new(KEYS), &old).unwrap();
        let error = owner.open(&owner.disk).map(drop).expect_err(what);
        assert!(is_older(&error), "{what}: {error}");
    }
}

/// Power fails between any two writes of the change: the owner is never locked out, and what
/// returned is recorded.
#[test]
fn no_power_cut_during_a_change_locks_the_owner_out() {
    for (what, change) in CHANGES {
        for cut in 0.. {
            let (owner, node) = Owner::new();
            node.keyring.add_passphrase(&passphrase(), Costs::FLOOR).unwrap();
            let old = owner.disk.read_file(Path::new(KEYS)).unwrap();
            owner.disk.cut_at(owner.disk.operations() + cut);
            let changed = change(&node.keyring).is_ok();
            drop(node);
            for loss in Loss::ALL {
                let up = owner.disk.after_power_cut(*loss, cut);
                let keys = up.read_file(Path::new(KEYS)).unwrap();
                drop(
                    owner.open(&up).unwrap_or_else(|e| panic!("{what}, cut {cut}, {loss:?}: {e}")),
                );
                // Opened once, it has recorded what it found.
                if changed || keys != old {
                    up.write_file(Path::new(KEYS), &old).unwrap();
                    assert!(owner.open(&up).is_err(), "{what}, cut {cut}, {loss:?}");
                }
            }
            if changed {
                break;
            }
        }
    }
}

/// One that cannot record it keeps neither the change nor the other stores from it.
#[test]
fn a_store_that_cannot_record_a_change_is_named() {
    let (owner, node) = Owner::new();
    let other =
        Store::create(at(&owner.disk, "/other"), &node.keyring, Options::new("other")).unwrap();
    // Its directory is gone: as a poisoned store, it records nothing.
    let raft = Path::new("/raft");
    for name in owner.disk.list(raft).unwrap() {
        owner.disk.remove(&raft.join(name)).unwrap();
    }
    let before = other.anchor();
    let error = node.keyring.attach("tls", b"pem").unwrap_err();
    assert!(matches!(&error, Error::Unrecorded { store, .. } if store == raft), "{error}");
    assert!(node.keyring.attachment("tls").is_some());
    let after = other.anchor();
    assert!(after.0 > before.0 && after.1 > before.1);
    // What could not be recorded is tried again, also by a call that changes nothing.
    drop(node.store);
    node.keyring.attach("tls", b"pem").unwrap();
}

#[test]
fn a_lock_record_of_the_cluster_is_recorded_too() {
    let (owner, node) = Owner::new();
    let old = owner.disk.read_file(Path::new(KEYS)).unwrap();
    let other = UnlockKey::generate().unwrap();
    let record = LockRecord::locked(1, &other);
    let _ = node.keyring.reconcile(&record);
    let new = owner.disk.read_file(Path::new(KEYS)).unwrap();
    assert_ne!(old, new);
    drop(node);
    owner.disk.write_file(Path::new(KEYS), &old).unwrap();
    let error = owner.open(&owner.disk).map(drop).unwrap_err();
    assert!(is_older(&error), "{error}");
}
