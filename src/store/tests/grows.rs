//! Facts that only grow: what a snapshot covers, what was purged, what is committed.

use super::*;
use crate::fs::Fs;

fn refused(result: Result<()>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misuse, "{error}");
}

#[test]
fn an_older_snapshot_does_not_take_the_place_of_a_newer_one() {
    let (disk, keyring, store) = fresh();
    store.apply(entries(1..=100, 1)).unwrap();
    // Built while the newer one came in.
    let slow = take_snapshot(&store, id(50, 1), b"old");
    let same = take_snapshot(&store, id(100, 1), b"the same again");
    let other = take_snapshot(&store, id(100, 2), b"another history");
    let new = take_snapshot(&store, id(100, 1), b"new");
    store.install(new, change(|c| c.purge(id(100, 1)))).unwrap();
    for snapshot in [slow, other] {
        let error = store.install(snapshot, Change::new()).unwrap_err();
        assert!(
            matches!(error, Error::Misuse(Misuse::NotIncreasing { after: 100, .. })),
            "{error}"
        );
    }
    assert_eq!(store.snapshot_at(), Some(id(100, 1)));
    store.install(same, Change::new()).unwrap();
    drop((store, keyring));
    let snapshots =
        disk.paths().into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "snap"));
    assert_eq!(snapshots.count(), 1, "what was refused leaves nothing behind");
    let (_keyring, store) = reopen(&disk).unwrap();
    assert_eq!(read_snapshot(&store).unwrap().unwrap().1, b"the same again");
    assert_eq!(store.state().last, id(100, 1));
}

/// Also of two at once the newer one stays, and no file is left over.
#[test]
fn of_snapshots_that_come_at_once_the_newest_stays() {
    for _ in 0..20 {
        let (disk, _keyring, store) = fresh();
        store.apply(entries(1..=40, 1)).unwrap();
        let snapshots: Vec<Snapshot> =
            [10, 20, 30, 40].map(|at| take_snapshot(&store, id(at, 1), b"state")).into();
        std::thread::scope(|scope| {
            for snapshot in snapshots {
                let store = &store;
                scope.spawn(move || {
                    let at = snapshot.info().at;
                    match store.install(snapshot, change(|c| c.purge(at))) {
                        Ok(()) | Err(Error::Misuse(Misuse::NotIncreasing { .. })) => {}
                        Err(error) => panic!("{error}"),
                    }
                });
            }
        });
        assert_eq!(store.snapshot_at(), Some(id(40, 1)));
        assert_eq!(store.state().purged, id(40, 1));
        let files = disk.paths().into_iter();
        let snapshots = files.filter(|path| path.extension().is_some_and(|ext| ext == "snap"));
        assert_eq!(snapshots.count(), 1);
    }
}

/// What an earlier version could write is refused when it is found.
#[test]
fn a_log_that_was_purged_beyond_its_snapshot_is_refused() {
    let (disk, keyring, store) = fresh();
    store.apply(entries(1..=20, 1)).unwrap();
    let snapshot = take_snapshot(&store, id(20, 1), b"state");
    store.install(snapshot, change(|c| c.purge(id(20, 1)))).unwrap();
    store.inner.writer().extra.snapshot_at = id(10, 1);
    store.apply(entries(21..=21, 1)).unwrap();
    drop((store, keyring));
    let error = reopen(&disk).map(drop).unwrap_err();
    assert!(
        matches!(error, Error::RolledBack { what: "snapshot", found: 10, expected: 20 }),
        "{error}"
    );
}

#[test]
fn a_purge_goes_no_further_than_what_is_kept_elsewhere() {
    let (_disk, _keyring, store) = fresh();
    store.apply(entries(1..=30, 1)).unwrap();
    let before = store.state();
    // Nothing is committed, and there is no snapshot.
    refused(store.apply(change(|c| c.purge(id(10, 1)))));
    // Not an entry of the log.
    refused(store.apply(change(|c| c.committed(id(31, 1)))));
    refused(store.apply(change(|c| c.committed(id(30, 2)))));
    refused(store.apply(change(|c| c.committed(id(30, 1)).purge(id(10, 2)))));
    refused(store.apply(change(|c| c.committed(id(30, 1)).purge(id(31, 1)))));
    refused(store.apply(change(|c| c.restart_after(id(30, 1)))));
    assert_eq!(store.state(), before);
    store.apply(change(|c| c.committed(id(20, 1)))).unwrap();
    store.apply(change(|c| c.purge(id(10, 1)))).unwrap();
    // What is known to be committed stays, and is not taken back.
    store.apply(change(|c| c.committed(id(15, 1)))).unwrap();
    assert_eq!(store.state().committed, id(20, 1));
    refused(store.apply(change(|c| c.truncate(20))));
    store.apply(change(|c| c.truncate(25))).unwrap();

    store.install(take_snapshot(&store, id(22, 1), b"state"), Change::new()).unwrap();
    assert_eq!(store.state().committed, id(22, 1), "a snapshot covers what is committed");
    refused(store.apply(change(|c| c.truncate(22))));
    refused(store.apply(change(|c| c.purge(id(23, 1)))));
    refused(store.apply(change(|c| c.committed(id(24, 1)).purge(id(23, 1)))));
    refused(store.apply(change(|c| c.restart_after(id(99, 1)))));
    store.apply(change(|c| c.purge(id(22, 1)))).unwrap();
    assert_eq!(all(&store).unwrap(), ids(23..=24, 1));
    // One that was installed and not yet purged to: nothing is committed against it.
    store.install(take_snapshot(&store, id(23, 2), b"state"), Change::new()).unwrap();
    refused(store.apply(change(|c| c.committed(id(24, 1)))));
    // A leader's snapshot, of another history than what is left; not of another than is committed.
    let leaders = take_snapshot(&store, id(24, 2), b"state");
    store.install(leaders, change(|c| c.purge(id(24, 2)))).unwrap();
    assert_eq!(store.state().last, id(24, 2));
}

#[test]
fn a_hole_is_refused_but_where_nothing_was() {
    let (disk, keyring, store) = fresh();
    store.apply(entries(1..=5, 1)).unwrap();
    refused(store.apply(entries(7..=8, 1)));
    assert_eq!(all(&store).unwrap(), ids(1..=5, 1));
    drop((store, keyring));
    drop(disk);

    let (disk, keyring, store) = fresh();
    store.apply(entries(17..=20, 3)).unwrap();
    refused(store.apply(entries(22..=22, 3)));
    drop((store, keyring));
    let (_keyring, store) = reopen(&disk).unwrap();
    assert_eq!(all(&store).unwrap(), ids(17..=20, 3));
    store.apply(entries(21..=21, 3)).unwrap();
    // As a new one, but for the snapshot that it continues after.
    let (_disk, _keyring, store) = fresh();
    store.install(take_snapshot(&store, id(9, 2), b"state"), Change::new()).unwrap();
    refused(store.apply(entries(11..=11, 2)));
    store.apply(entries(10..=11, 2)).unwrap();
    assert_eq!(store.state().purged, id(9, 2));
    store.apply(change(|c| c.purge(id(9, 2)))).unwrap();
    assert_eq!(all(&store).unwrap(), ids(10..=11, 2));
}

#[test]
fn a_segment_has_bounds() {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    for size in [0, 511, (1 << 30) + 1, 1 << 36, u64::MAX] {
        let made = Store::create(place(&disk), &keyring, options().segment_size(size));
        assert!(matches!(made, Err(Error::Misuse(Misuse::OutOfBounds(_)))), "{size}");
    }
    assert!(disk.list(Path::new("/raft")).is_err(), "nothing was made");
    drop(Store::create(place(&disk), &keyring, options().segment_size(1 << 30)).unwrap());
}

/// A log may be there that is not seen: its segments are links, or elsewhere for now.
#[test]
fn no_log_is_made_over_the_witness_of_another() {
    let (disk, keyring, store) = fresh();
    store.apply(entries(1..=5, 1)).unwrap();
    drop(store);
    for path in segments(&disk) {
        disk.rename(&path, &path.with_extension("away")).unwrap();
    }
    let witness = Path::new("/raft/store.witness");
    let before = disk.read_file(witness).unwrap();
    let made = Store::create(place(&disk), &keyring, options());
    assert!(matches!(made, Err(Error::Misuse(Misuse::KeyspaceRegistered(_)))));
    keyring.forget(NAME).unwrap();
    let made = Store::create(place(&disk), &keyring, options());
    assert!(matches!(made, Err(Error::Exists(path)) if path == witness));
    assert_eq!(disk.read_file(witness).unwrap(), before);
    drop(keyring);
}

/// What is somebody else's stays, whatever it is called.
#[test]
fn files_of_others_stay() {
    let disk = SimFs::new();
    let put = |name: &str, bytes: &[u8]| disk.write_file(Path::new(name), bytes).unwrap();
    let theirs = [
        "mine.tmp",
        "7.tmp",
        "store.mine.tmp",
        "backup.snap",
        "0123456789abcdef0123456789abcdef.snap",
        "notes.txt",
        "x.wal",
    ];
    theirs.iter().for_each(|name| put(&format!("/raft/{name}"), b"theirs"));
    let ours = ["store.17.tmp", "store.next.tmp", "store.witness.tmp"];
    ours.iter().for_each(|name| put(&format!("/raft/{name}"), b"left over"));
    let keyring = new_keyring(&disk);
    let store = Store::create(place(&disk), &keyring, options()).unwrap();
    store.apply(entries(1..=9, 1)).unwrap();
    store.install(take_snapshot(&store, id(3, 1), b"old"), Change::new()).unwrap();
    let replaced = store.inner.snapshot_path(store.state().snapshot.unwrap());
    let bytes = disk.read_file(&replaced).unwrap();
    store.install(take_snapshot(&store, id(5, 1), b"new"), Change::new()).unwrap();
    drop((store, keyring));
    assert!(disk.read_file(&replaced).is_none());
    // As a crash before its removal leaves it.
    disk.write_file(&replaced, &bytes).unwrap();
    ours.iter().for_each(|name| put(&format!("/raft/{name}"), b"left over"));
    let (_keyring, store) = reopen(&disk).unwrap();
    for name in theirs {
        assert_eq!(disk.read_file(&Path::new("/raft").join(name)).unwrap(), b"theirs", "{name}");
    }
    for name in ours {
        assert!(disk.read_file(&Path::new("/raft").join(name)).is_none(), "{name}");
    }
    assert!(disk.read_file(&replaced).is_none());
    assert_eq!(read_snapshot(&store).unwrap().unwrap().1, b"new");
}
