//! The key file on a real disk, through the public API.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use nodeseal::key::LockRecord;
use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD};
use nodeseal::{
    Error, Identity, Keyring, LockPolicy, Opened, Protector, Reason, Result, UnlockKey,
};

fn me() -> Identity {
    Identity::new("prod", "m1").unwrap()
}

fn unlock(dir: &Path, key: &UnlockKey) -> Result<Keyring> {
    match Keyring::open(dir, &me(), LockPolicy::Locked)? {
        Opened::Locked(locked) => Ok(locked.unlock(key)?),
        Opened::Unlocked(_) => panic!("opened without a key"),
    }
}

/// The files in `dir`, each of them its owner's alone.
fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            entry.file_name().into_string().unwrap()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn only_its_owner_reads_it_and_nothing_lies_about() {
    let above = tempfile::tempdir().unwrap();
    let dir = &above.path().join("a/b");
    let key = UnlockKey::generate().unwrap();
    let expected = ["node.keys", "node.keys.lock"];
    let keyring = Keyring::create(dir, &me(), Protector::none(), &[]).unwrap();
    assert_eq!(fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(files(dir), expected);
    let lock = fs::metadata(dir.join("node.keys.lock")).unwrap().ino();
    keyring.reconcile(&LockRecord::locked(1, &key)).unwrap();
    keyring.attach("tls", b"pem").unwrap();
    drop(keyring);
    // What one who was killed left behind goes.
    fs::copy(dir.join("node.keys"), dir.join("node.keys.tmp")).unwrap();
    drop(unlock(dir, &key).unwrap());
    assert_eq!(files(dir), expected);
    assert_eq!(fs::metadata(dir.join("node.keys.lock")).unwrap().ino(), lock, "never replaced");
}

#[test]
fn one_handle_at_a_time_until_the_last_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let key = UnlockKey::generate().unwrap();
    let keyring = Keyring::create(dir, &me(), Protector::unlock_key(&key), &[]).unwrap();
    let raft = keyring.keyspace("raft").unwrap();
    let (log, cells, streams) = (raft.log(), raft.cells(), raft.streams());
    drop(raft);
    let busy = || assert!(matches!(unlock(dir, &key), Err(Error::Busy(_))));
    busy();
    drop(keyring);
    busy();
    drop(log);
    busy();
    drop(cells);
    busy();
    // It may be inspected all the while.
    assert!(Keyring::inspect(dir).unwrap().is_locked());
    drop(streams);
    let Opened::Locked(locked) = Keyring::open(dir, &me(), LockPolicy::Locked).unwrap() else {
        panic!("not locked")
    };
    busy();
    drop(locked);
    unlock(dir, &key).unwrap();
}

#[test]
fn a_link_in_place_of_the_temporary_file_is_not_written_through() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, elsewhere) = (dir.path(), tempfile::NamedTempFile::new().unwrap());
    let key = UnlockKey::generate().unwrap();
    let keyring = Keyring::create(dir, &me(), Protector::unlock_key(&key), &[]).unwrap();
    symlink(elsewhere.path(), dir.join("node.keys.tmp")).unwrap();
    keyring.rotate_dek(Reason::Requested).unwrap();
    assert_eq!(fs::read(elsewhere.path()).unwrap(), b"");
    assert_eq!(files(dir), ["node.keys", "node.keys.lock"]);
}

#[test]
fn a_whole_life() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (first, second) = (UnlockKey::generate().unwrap(), UnlockKey::generate().unwrap());
    let (id, prev) = (LogId::new(1, Era::term(1)), Era::NONE);
    let keyring = Keyring::create(dir, &me(), Protector::unlock_key(&first), &[]).unwrap();
    let mut record = [vec![0; RECORD_OVERHEAD], b"entry".to_vec()].concat();
    keyring.keyspace("raft").unwrap().log().seal_in_place(id, prev, &mut record).unwrap().durable();
    drop(keyring);

    let keyring = unlock(dir, &first).unwrap();
    keyring.reconcile(&LockRecord::locked(1, &second)).unwrap();
    let log = keyring.keyspace("raft").unwrap().log();
    if let Some(sealed) = log.reseal(id, prev, &mut record).unwrap() {
        sealed.durable();
    }
    let mut sweep = keyring.sweep().unwrap();
    sweep.see(&record).unwrap();
    sweep.shown("raft");
    assert_eq!(sweep.finish().unwrap(), []);
    drop((log, keyring));

    assert!(matches!(unlock(dir, &first), Err(Error::WrongKey)));
    let keyring = unlock(dir, &second).unwrap();
    let log = keyring.keyspace("raft").unwrap().log();
    assert_eq!(log.open_in_place(id, prev, &mut record).unwrap(), b"entry");
    keyring.destroy().unwrap();
    assert!(matches!(unlock(dir, &second), Err(Error::Missing(_))));
    assert_eq!(files(dir), ["node.keys.lock"]);
}
