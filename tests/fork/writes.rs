//! What a forked child does with the handles of its parent: everything that would write is an error, what
//! it drops stays, and the parent's files are as they were.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use nodeseal::audit::{Action, AuditKey, Event, FileSink, Sink};
use nodeseal::grant::Time;
use nodeseal::key::LockRecord;
use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD};
use nodeseal::secret::SecretBytes;
use nodeseal::store::{Change, Options, Step};
use nodeseal::{
    Costs, Error, Identity, Keyring, LockPolicy, Misuse, Opened, Passphrase, Protector, Reason,
    Rekey, Result, Store, UnlockKey,
};

use super::{PLAIN, TERM, alone, in_both};

const DONE: &[u8] = b"done";

fn id(index: u64) -> LogId {
    LogId::new(index, TERM)
}

/// Every file below `dir`, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(std::result::Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path(), fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// Lets a forked child do `child` with what is prepared, and returns the parent's own; nothing below
/// `dir` may have changed.
#[track_caller]
pub(crate) fn child_leaves<T>(dir: &Path, prepared: T, child: impl FnOnce(T)) -> T {
    let before = files(dir);
    let mut kept = None;
    let (_, done) = in_both(
        prepared,
        |prepared| {
            child(prepared);
            Some(DONE.to_vec())
        },
        |prepared| {
            kept = Some(prepared);
            Vec::new()
        },
    );
    assert_eq!(done, DONE);
    let after = files(dir);
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before));
    assert!(after == before, "the child wrote to one of them");
    kept.unwrap()
}

#[track_caller]
pub(crate) fn refused<T: Debug>(what: &str, done: Result<T>) {
    assert!(matches!(done, Err(Error::Misuse(Misuse::Forked))), "{what}: {done:?}");
}

struct Node {
    dir: tempfile::TempDir,
    unlock: UnlockKey,
    keyring: Keyring,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let unlock = UnlockKey::generate().unwrap();
        let protector = Protector::unlock_key(&unlock);
        let keyring = Keyring::create(dir.path().join("keys"), &me(), protector, &[]).unwrap();
        Self { dir, unlock, keyring }
    }

    fn store(&self) -> Store {
        let store = Store::create(self.dir.path().join("log"), &self.keyring, Options::new("raft"))
            .unwrap();
        store.apply(entries(1..=3)).unwrap();
        store
    }

    /// Opens the key file again, as the process that starts next does.
    fn reopened(self) -> (tempfile::TempDir, Keyring) {
        let Self { dir, unlock, keyring } = self;
        drop(keyring);
        let opened = Keyring::open(dir.path().join("keys"), &me(), LockPolicy::Locked).unwrap();
        let Opened::Locked(locked) = opened else { panic!("not locked") };
        (dir, locked.unlock(&unlock).unwrap())
    }
}

fn me() -> Identity {
    Identity::new("prod", "m1").unwrap()
}

fn entries(indices: std::ops::RangeInclusive<u64>) -> Change {
    let mut change = Change::new();
    for index in indices {
        change.push(id(index), |out| out.extend_from_slice(PLAIN)).unwrap();
    }
    change
}

/// The attack: the parent takes a new DEK and acknowledges a record under it, then the child writes the
/// set that it still has, of the same epoch, without that DEK.
#[test]
fn a_child_does_not_take_a_dek_from_its_parent() {
    let _alone = alone();
    let node = Node::new();
    let (mut turn, mut say) = super::pipe();
    let mut record = [&[0; RECORD_OVERHEAD], PLAIN].concat();
    let child = |keyring: &Keyring| {
        let mut byte = [0];
        std::io::Read::read_exact(&mut turn, &mut byte).ok()?;
        refused("attach", keyring.attach("x", b"of the child"));
        Some(DONE.to_vec())
    };
    let parent = |keyring: &Keyring| {
        keyring.rotate_dek(Reason::Requested).unwrap();
        let log = keyring.keyspace("mine").unwrap().log();
        log.seal_in_place(id(1), Era::NONE, &mut record).unwrap().durable();
        say.write_all(&[1]).unwrap();
        record.clone()
    };
    let (mut record, done) = in_both(&node.keyring, child, parent);
    assert_eq!(done, DONE);
    let (_dir, keyring) = node.reopened();
    let log = keyring.keyspace("mine").unwrap().log();
    assert_eq!(log.open_in_place(id(1), Era::NONE, &mut record).unwrap(), PLAIN);
    assert!(keyring.attachment("x").is_none());
}

#[test]
fn a_child_cannot_change_the_key_file() {
    let _alone = alone();
    let node = Node::new();
    let passphrase = Passphrase::new(SecretBytes::from(&b"correct horse"[..])).unwrap();
    node.keyring.attach("tls", b"key").unwrap();
    drop(node.keyring.keyspace("mine").unwrap());
    child_leaves(node.dir.path(), node.keyring.clone(), |keyring| {
        refused("rotate", keyring.rotate_dek(Reason::Requested));
        refused("leaked", keyring.rotate_dek(Reason::Leaked));
        let other = LockRecord::locked(7, &UnlockKey::generate().unwrap());
        refused("reconcile", keyring.reconcile(&other));
        refused("reconcile", keyring.reconcile_with(&LockRecord::off(7), Rekey::Leaked));
        refused("detach", keyring.detach("tls"));
        refused("keyspace", keyring.keyspace("new"));
        refused("forget", keyring.forget("mine"));
        refused("add", keyring.add_passphrase(&passphrase, Costs::default()));
        refused("remove", keyring.remove_passphrases());
        refused(
            "sweep",
            keyring.sweep().and_then(|mut sweep| {
                sweep.shown("mine");
                sweep.finish()
            }),
        );
        // Nothing would change, but what the file holds is not known here.
        refused("attach", keyring.attach("tls", b"key"));

        // What is in memory can be read and sealed with.
        assert_eq!(keyring.status().deks.len(), 1);
        assert_eq!(keyring.attachment("tls").unwrap().expose(), b"key");
        let log = keyring.keyspace("mine").unwrap().log();
        let mut record = [&[0; RECORD_OVERHEAD], PLAIN].concat();
        log.seal_in_place(id(1), Era::NONE, &mut record).unwrap().durable();
        assert_eq!(log.open_in_place(id(1), Era::NONE, &mut record).unwrap(), PLAIN);
        refused("destroy", keyring.destroy());
    });
}

#[test]
fn a_child_cannot_change_a_key_file_that_it_unlocked() {
    let _alone = alone();
    let Node { dir, unlock, keyring } = Node::new();
    drop(keyring);
    let Opened::Locked(locked) =
        Keyring::open(dir.path().join("keys"), &me(), LockPolicy::Locked).unwrap()
    else {
        panic!("not locked")
    };
    let locked = child_leaves(dir.path(), locked, |locked| {
        let keyring = locked.unlock(&unlock).unwrap();
        refused("rotate", keyring.rotate_dek(Reason::Requested));
    });
    locked.unlock(&unlock).unwrap().rotate_dek(Reason::Requested).unwrap();
}

#[test]
fn a_child_cannot_destroy_a_locked_key_file() {
    let _alone = alone();
    let Node { dir, keyring, .. } = Node::new();
    drop(keyring);
    let Opened::Locked(locked) =
        Keyring::open(dir.path().join("keys"), &me(), LockPolicy::Locked).unwrap()
    else {
        panic!("not locked")
    };
    child_leaves(dir.path(), locked, |locked| refused("destroy", locked.destroy()));
}

#[test]
fn a_child_cannot_change_the_store() {
    let _alone = alone();
    let node = Node::new();
    let store = node.store();
    let pending = store.write(entries(4..=4)).unwrap();
    let mut writer = store.write_snapshot().unwrap();
    writer.write_all(&[7; 100_000]).unwrap();
    let whole = {
        let mut writer = store.write_snapshot().unwrap();
        writer.write_all(b"the whole state").unwrap();
        writer.finish(id(3), b"").unwrap()
    };
    let unfinished = store.write_snapshot().unwrap();
    let prepared = (store.clone(), pending, writer, whole, unfinished);
    let kept = child_leaves(node.dir.path(), prepared, |prepared| {
        let (store, pending, mut writer, whole, unfinished) = prepared;
        refused("apply", store.apply(entries(5..=5)));
        refused("write", store.write(entries(5..=5)));
        refused("an empty change", store.apply(Change::new()));
        refused("wait", pending.wait());
        refused("a new snapshot", store.write_snapshot());
        refused("install", store.install(whole, Change::new()));
        assert!(writer.write_all(&[8; 200_000]).is_err(), "a snapshot's file");
        refused("finish", writer.finish(id(3), b""));
        refused("rotation", store.rotation().step());
        refused("show", node.keyring.sweep().and_then(|mut sweep| store.show(&mut sweep)));
        drop(unfinished);

        // What the parent wrote can be read.
        let mut read = 0;
        store
            .read(1..=4, |_, entry| {
                read += u64::from(entry == PLAIN);
                Ok::<(), Error>(())
            })
            .unwrap();
        assert_eq!(read, 4);
        drop(store);
    });
    let (_, pending, mut writer, whole, _) = kept;
    pending.wait().unwrap();
    store.install(whole, Change::new()).unwrap();
    writer.write_all(&[8; 200_000]).unwrap();
    drop(writer.finish(id(4), b"").unwrap());
}

/// What is half done when a process is forked belongs to the parent, which goes on with it.
#[test]
fn a_child_leaves_a_rotation_alone() {
    let _alone = alone();
    let node = Node::new();
    let store = node.store();
    node.keyring.rotate_dek(Reason::Requested).unwrap();
    let mut rotation = store.rotation().budget(1);
    while !matches!(rotation.step().unwrap(), Step::Resealed { entries: 1.., .. }) {}
    let is_temp = |path: &PathBuf| path.extension().is_some_and(|end| end == "tmp");
    assert!(files(node.dir.path()).keys().any(is_temp));
    let mut rotation = child_leaves(node.dir.path(), rotation, |mut rotation| {
        refused("rotation", rotation.step());
        drop(rotation);
    });
    while rotation.step().unwrap() != Step::Done {}
    drop(rotation);
    assert_eq!(node.keyring.status().deks.len(), 1);
    drop(store);
    let (dir, keyring) = node.reopened();
    let store =
        Store::open(dir.path().join("log"), &keyring, Options::new("raft").verify(|_| ())).unwrap();
    assert_eq!(store.state().last, id(3));
}

#[test]
fn a_child_cannot_write_to_the_audit_file() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let key = AuditKey::generate().unwrap();
    let sink = FileSink::create(&path, &key).unwrap();
    let event = Event::new(Action::Unlocked, Time::now());
    sink.record(&event).unwrap();
    child_leaves(dir.path(), &sink, |sink| {
        refused("record", sink.record(&event));
        refused("record_all", sink.record_all([]));
    });
    sink.record(&event).unwrap();
    assert_eq!(FileSink::verify(&path, &key, None).unwrap().lines, 2);
}
