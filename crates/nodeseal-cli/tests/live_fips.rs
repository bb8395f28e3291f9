//! A folder that is sealed as a node in FIPS mode does it, and a dockerd that reads it.
//!
//! Docker's own build has no FIPS mode to be switched on, but reads fernet wherever it reads secretboxes:
//! that shows that what is written here is what Swarm takes for fernet.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "live/daemon.rs"]
mod daemon;

use std::fs;
use std::path::Path;

use daemon::Docker;
use nodeseal::keyring::Inspection;
use nodeseal::store::{Change, Options};
use nodeseal::swarm::{self, Algorithm, DekHeader, DekSlot, KeyFile, Manager, Salvage, State};
use nodeseal::{Keyring, LockPolicy, Opened, Store, UnlockKey};

fn entries(dir: &Path, key: &UnlockKey) -> (u64, u64) {
    let state = State::read(dir, Some(key)).unwrap();
    assert!(state.is_complete(), "{:?}", state.findings);
    let entries = state.raft.entries;
    (entries.by_algorithm.get("fernet").copied().unwrap_or(0), entries.total)
}

/// How the key file's DEK is wrapped.
fn wrapped(dir: &Path) -> DekHeader {
    let text = fs::read(dir.join("certificates/swarm-node.key")).unwrap();
    KeyFile::parse(&text).unwrap().dek(DekSlot::Current)
}

#[test]
fn dockerd_starts_from_what_is_sealed_as_in_fips_mode() {
    let Some(docker) = Docker::find() else { return };
    let mut daemon = docker.daemon(1);
    daemon.init(&["--autolock"]);
    for n in 0..5_u8 {
        daemon.create_secret(&format!("before{n}"), "env=prod", &[n + 1; 100]);
    }
    let text = daemon.docker(&["swarm", "unlock-key", "-q"]);
    let key = UnlockKey::from_text(&text).unwrap();
    daemon.stop();

    // Into the native store, where it is noted what the node seals with, and back.
    let dir = daemon.swarm();
    let native = dir.with_file_name("native");
    swarm::export(&dir, &native, Some(&key)).unwrap();
    {
        let identity = Inspection::read(native.join("node.keys")).unwrap().identity;
        let opened = Keyring::open(&native, &identity, LockPolicy::Locked).unwrap();
        let Opened::Locked(locked) = opened else { panic!("it is locked") };
        let keyring = locked.unlock(&key).unwrap();
        let store = Store::open(native.join("raft"), &keyring, Options::new("raft")).unwrap();
        let mut change = Change::new();
        change.put_meta("swarm.cipher", b"fernet");
        store.apply(change).unwrap();
    }
    fs::remove_dir_all(&dir).unwrap();
    swarm::import(&native, &dir, Some(&key)).unwrap();
    let fernet = DekHeader::Record(Algorithm::Fernet);
    let (sealed, all) = entries(&dir, &key);
    assert!(sealed == all && all > 5 && wrapped(&dir) == fernet);

    let names = |daemon: &daemon::Daemon<'_>| daemon.docker(&["secret", "ls", "-q"]);
    let goes_on = |daemon: &mut daemon::Daemon<'_>, name: &str, count: usize| {
        daemon.start();
        assert!(daemon.unlock(&text));
        daemon.ready();
        daemon.create_secret(name, "env=prod", &[9; 100]);
        assert_eq!(names(daemon).lines().count(), count);
        daemon.stop();
        entries(&dir, &key)
    };
    // It goes on in its own way, so that the log is mixed.
    let (sealed, all) = goes_on(&mut daemon, "after1", 6);
    assert!(sealed > 5 && sealed < all);
    // A change, and a salvage, are fernet again: snapshot, entries and key file.
    let manager = Manager::open(&dir, Some(&key)).unwrap();
    manager.apply(swarm::Change::RotateDek, &mut |_| {}).unwrap();
    let state = State::read(&dir, Some(&key)).unwrap();
    assert_eq!(state.raft.snapshots[0].algorithm, Some("fernet"));
    assert_eq!(wrapped(&dir), fernet);
    goes_on(&mut daemon, "after2", 7);
    let saved = dir.with_file_name("saved");
    Salvage::read(&dir, Some(&key)).unwrap().write(&saved).unwrap();
    assert_eq!(wrapped(&saved), fernet);
    fs::remove_dir_all(&dir).unwrap();
    // Nothing else stands in that name any more.
    #[expect(clippy::disallowed_methods, reason = "the folders are the test's own")]
    fs::rename(&saved, &dir).unwrap();
    goes_on(&mut daemon, "after3", 8);
}
