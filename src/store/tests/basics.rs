use std::thread;

use super::*;

#[test]
fn what_is_appended_is_there_after_a_restart() {
    let (disk, keyring, store) = fresh();
    for n in 0..30 {
        store.apply(entries(n * 3 + 1..=n * 3 + 3, 1)).unwrap();
    }
    let mut change = Change::new();
    change.vote(b"for m2").committed(id(80, 1)).put_meta("members", b"m1,m2");
    store.apply(change).unwrap();
    assert!(segments(&disk).len() > 3, "cut into segments");
    let check = |store: &Store| {
        assert_eq!(all(store).unwrap(), ids(1..=90, 1));
        let state = store.state();
        assert_eq!((state.last, state.committed), (id(90, 1), id(80, 1)));
        assert_eq!(state.vote, b"for m2");
        assert_eq!(store.meta("members").unwrap().expose(), b"m1,m2");
        assert_eq!(store.entry(17).unwrap().unwrap().1.expose(), payload(17, 1));
        assert!(store.entry(91).unwrap().is_none());
        assert!(store.entry(0).unwrap().is_none());
    };
    check(&store);
    drop((store, keyring));
    let (keyring, store) = reopen(&disk).unwrap();
    check(&store);
    drop((store, keyring));
    let keyring = open_keyring(&disk).unwrap();
    let mut told = Vec::new();
    let options = options().verify(|progress| told.push((progress.entries, progress.of)));
    check(&Store::open(place(&disk), &keyring, options).unwrap());
    assert_eq!(told, [(90, 90)]);
}

#[test]
fn all_entries_are_opened_at_the_start_by_any_number_of_threads() {
    let (disk, keyring, store) = fresh();
    for n in 0..10 {
        store.apply(entries(n * 1000 + 1..=n * 1000 + 1000, 1)).unwrap();
    }
    drop((store, keyring));
    let keyring = open_keyring(&disk).unwrap();
    for threads in [1, 2, 5] {
        let mut told = Vec::new();
        let options = options()
            .threads(core::num::NonZeroUsize::new(threads).unwrap())
            .verify(|progress| told.push((progress.entries, progress.of)));
        let store = Store::open(place(&disk), &keyring, options).unwrap();
        assert_eq!(told, [(4096, 10_000), (8192, 10_000), (10_000, 10_000)]);
        let opened: u64 = store.stats().deks.values().map(|dek| dek.records_opened).sum();
        assert_eq!(opened, 10_000);
    }
}

#[test]
fn the_memory_of_a_change_is_used_again() {
    let (_disk, _keyring, store) = fresh();
    for n in 1..=5 {
        let mut change = store.change();
        assert!(change.entries.is_empty() && change.buffer.is_empty());
        assert_eq!(change.buffer.capacity() > 0, n > 1);
        let bytes = payload(n, 1);
        change.push(id(n, 1), |out| out.extend_from_slice(&bytes)).unwrap();
        store.apply(change).unwrap();
    }
    assert_eq!(all(&store).unwrap(), ids(1..=5, 1));
}

#[test]
fn entries_are_replaced_after_a_truncation() {
    let (disk, keyring, store) = fresh();
    store.apply(entries(1..=20, 1)).unwrap();
    store.apply(entries(21..=30, 1)).unwrap();
    let mut change = entries(15..=17, 2);
    change.truncate(15);
    store.apply(change).unwrap();
    let expected: Vec<LogId> = ids(1..=14, 1).into_iter().chain(ids(15..=17, 2)).collect();
    assert_eq!(all(&store).unwrap(), expected);
    let mut change = Change::new();
    change.truncate(16);
    store.apply(change).unwrap();
    drop((store, keyring));
    let (_keyring, store) = reopen(&disk).unwrap();
    assert_eq!(all(&store).unwrap(), expected[..15]);
    assert_eq!(store.state().last, id(15, 2));
    store.apply(entries(16..=16, 3)).unwrap();
    assert_eq!(store.id_at(16), Some(id(16, 3)));
}

#[test]
fn a_purge_drops_whole_segments() {
    let (disk, keyring, store) = fresh();
    for n in 1..=60 {
        store.apply(entries(n..=n, 1)).unwrap();
    }
    let before = segments(&disk);
    let mut change = Change::new();
    change.purge(id(50, 1)).committed(id(50, 1));
    store.apply(change).unwrap();
    assert!(segments(&disk).len() + 3 < before.len());
    assert_eq!(all(&store).unwrap(), ids(51..=60, 1));
    let mut change = Change::new();
    change.restart_after(id(100, 4));
    store.apply(change).unwrap();
    assert_eq!(segments(&disk).len(), 1);
    assert_eq!(store.state().last, id(100, 4));
    store.apply(entries(101..=103, 5)).unwrap();
    drop((store, keyring));
    let (_keyring, store) = reopen(&disk).unwrap();
    assert_eq!(all(&store).unwrap(), ids(101..=103, 5));
    assert_eq!(store.state().purged, id(100, 4));
}

#[test]
fn an_entry_that_fails_leaves_the_change_as_it_was() {
    // Behind the last one the next frame would stand where frames may begin.
    for len in [17, 25] {
        let (disk, keyring, store) = fresh();
        let mut change = entries(1..=1, 1);
        let failed: Result<()> = change.try_push(id(2, 1), |out| {
            out.extend_from_slice(&vec![b'x'; len]);
            Err(Error::damaged("the encoder failed"))
        });
        assert!(matches!(failed, Err(Error::Damaged { .. })));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            change.push(id(2, 1), |out| {
                out.extend_from_slice(&vec![b'x'; len]);
                std::panic::resume_unwind(Box::new("the encoder panicked"));
            })
        }));
        assert!(panicked.is_err());
        change.push(id(2, 1), |out| out.extend_from_slice(&payload(2, 1))).unwrap();
        store.apply(change).unwrap();
        drop((store, keyring));
        let written = disk.read_file(&segments(&disk)[0]).unwrap();
        assert!(!written.windows(len).any(|bytes| bytes.iter().all(|byte| *byte == b'x')));
        let (_keyring, store) = reopen(&disk).unwrap();
        assert_eq!(all(&store).unwrap(), ids(1..=2, 1));
    }
}

/// A leader's snapshot may end with an entry of which the log holds another one, or had.
#[test]
fn the_log_goes_on_after_an_entry_that_it_did_not_hold() {
    for truncated in [None, Some(6), Some(3)] {
        for purged in 3..=12 {
            let (disk, keyring, store) = fresh();
            store.apply(entries(1..=10, 1)).unwrap();
            if let Some(from) = truncated {
                let mut change = Change::new();
                change.truncate(from);
                store.apply(change).unwrap();
            }
            let mut change = Change::new();
            change.purge(id(purged, 2));
            store.install(take_snapshot(&store, id(purged, 2), b"state"), change).unwrap();
            store.apply(entries(purged + 1..=purged + 1, 2)).unwrap();
            store.apply(entries(purged + 2..=purged + 3, 3)).unwrap();
            drop((store, keyring));
            let (_keyring, store) = reopen(&disk).unwrap();
            let found = all(&store).unwrap();
            assert_eq!(found[0], id(purged + 1, 2), "{truncated:?}");
            assert_eq!(found[1..], ids(purged + 2..=purged + 3, 3), "{truncated:?}");
            assert_eq!(store.state().purged, id(purged, 2));
        }
    }
}

#[test]
fn what_does_not_fit_the_log_changes_nothing() {
    let (disk, _keyring, store) = fresh();
    store.apply(entries(1..=5, 1)).unwrap();
    let mut change = Change::new();
    change.purge(id(2, 1)).committed(id(2, 1));
    store.apply(change).unwrap();
    let before = (store.state(), disk.operations());
    let mut truncated = Change::new();
    truncated.truncate(2);
    let mut voted = Change::new();
    voted.vote(&[0; 4001]);
    let mut dropping = entries(6..=6, 2);
    dropping.purge(id(9, 2));
    for change in [entries(7..=7, 1), entries(5..=5, 1), truncated, voted, dropping] {
        let shown = format!("{change:?}");
        let error = store.apply(change).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misuse, "{shown}");
        assert_eq!((store.state(), disk.operations()), before, "{shown}");
    }
    let mut change = Change::new();
    assert!(change.push(LogId::START, |_| {}).is_err());
    change.push(id(6, 1), |_| {}).unwrap();
    assert!(matches!(
        change.push(id(8, 1), |_| {}),
        Err(Error::Misuse(Misuse::NotIncreasing { index: 8, after: 6 }))
    ));
    store.apply(change).unwrap();
    assert_eq!(store.entry(6).unwrap().unwrap().1.expose(), b"");
}

#[test]
fn keys_without_a_log_and_a_log_without_keys_are_refused() {
    let (disk, keyring, store) = fresh();
    let exists = Store::create(place(&disk), &keyring, options());
    assert!(matches!(exists, Err(Error::Misuse(Misuse::KeyspaceOpen(name))) if name == NAME));
    assert!(matches!(Store::open(place(&disk), &keyring, options()), Err(Error::Busy(_))));
    drop(store);
    let exists = Store::create(place(&disk), &keyring, options());
    assert!(matches!(exists, Err(Error::Misuse(Misuse::KeyspaceRegistered(name))) if name == NAME));
    assert!(keyring.forget(NAME).unwrap());
    let exists = Store::create(place(&disk), &keyring, options());
    assert!(matches!(exists, Err(Error::Exists(_))));
    let forgotten = Store::open(place(&disk), &keyring, options());
    assert!(matches!(forgotten, Err(Error::UnknownKeyspace(name)) if name == NAME));
    let elsewhere = Location::on(Arc::new(disk.clone()), "/keys");
    assert!(matches!(Store::open(elsewhere, &keyring, options()), Err(Error::Missing(_))));
    drop(keyring);
    let protector = Protector::unlock_key(&unlock_key());
    let other = Location::on(Arc::new(disk.clone()), "/other");
    let other = Keyring::create(other, &me("m1"), protector, &[]).unwrap();
    let opened = Store::open(place(&disk), &other, options());
    assert!(matches!(opened, Err(Error::UnknownKeyspace(_))));
    drop(other.keyspace(NAME).unwrap());
    match Store::open(place(&disk), &other, options()) {
        Err(Error::Damaged { what: "a segment of another keyspace", place }) => {
            assert!(place.file.is_some() && place.offset.is_some());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_writers_share_fsyncs_and_readers_see_what_is_written() {
    let (disk, keyring, store) = fresh();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    // The vote is anybody's.
                    let mut change = Change::new();
                    change.vote(b"x");
                    store.apply(change).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for n in 1..=100 {
                let pending = store.write(entries(n..=n, 1)).unwrap();
                assert_eq!(store.id_at(n), Some(id(n, 1)));
                assert_eq!(*all(&store).unwrap().last().unwrap(), id(n, 1));
                pending.wait().unwrap();
            }
        });
    });
    let stats = store.stats();
    // Some more say that a segment counts no more in which there were votes alone.
    assert!((300..400).contains(&stats.changes), "{}", stats.changes);
    assert!(stats.fsyncs <= stats.changes && stats.fsyncs > 0);
    let dek = keyring.status().deks[0].id;
    assert_eq!(stats.deks[&dek].records_sealed, 100);
    drop((store, keyring));
    let (_keyring, store) = reopen(&disk).unwrap();
    assert_eq!(all(&store).unwrap(), ids(1..=100, 1));
    assert_eq!(store.state().sequence, 1 + stats.changes);
}

#[test]
fn the_next_segment_is_there_before_it_is_needed() {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let options = Options::new(NAME).segment_size(SEGMENT);
    let store = Store::create(place(&disk), &keyring, options).unwrap();
    let next = Path::new("/raft/store.next.tmp");
    let zeros = vec![0; usize::try_from(SEGMENT + crate::wal::RESERVE).unwrap()];
    for _ in 0..3 {
        // Until more than half is full, and then until the thread has done its part.
        let begin = store.state().last.index + 1;
        let before = segments(&disk).len();
        let mut index = begin;
        while store.inner.writer().out.end() < SEGMENT * 3 / 4 {
            store.apply(entries(index..=index, 1)).unwrap();
            index += 1;
        }
        while !store.inner.next.as_ref().unwrap().is_ready() {
            thread::yield_now();
        }
        assert_eq!(disk.read_file(next).unwrap(), zeros);
        assert_eq!(segments(&disk).len(), before);
        while segments(&disk).len() == before {
            store.apply(entries(index..=index, 1)).unwrap();
            index += 1;
        }
        let last = segments(&disk).pop().unwrap();
        assert!(disk.read_file(&last).unwrap().len() >= zeros.len(), "not the file of zeros");
    }
    let held = store.state().last.index;
    drop(store);
    assert!(disk.read_file(next).is_none());
    let (disk, _keyring) = (disk.after_kill(), keyring);
    let (_keyring, store) = reopen(&disk).unwrap();
    assert_eq!(all(&store).unwrap(), ids(1..=held, 1));
}

#[test]
fn a_snapshot_replaces_the_one_before() {
    let (disk, keyring, store) = fresh();
    store.apply(entries(1..=10, 1)).unwrap();
    let content = vec![7; 200_000];
    let first = take_snapshot(&store, id(8, 1), b"the first");
    store.install(first, Change::new()).unwrap();
    let second = take_snapshot(&store, id(20, 2), &content);
    assert_eq!(read_snapshot(&store).unwrap().unwrap().1, b"the first");
    let mut change = Change::new();
    change.purge(id(20, 2));
    store.install(second, change).unwrap();
    drop(take_snapshot(&store, id(30, 2), b"never installed"));
    let files = |disk: &SimFs| {
        let paths = disk.paths().into_iter();
        paths.filter(|path| path.extension().is_some_and(|e| e == "snap" || e == "tmp")).count()
    };
    assert_eq!(files(&disk), 1);
    for n in 0..20 {
        store.apply(entries(21 + n * 3..24 + n * 3, 2)).unwrap();
    }
    drop((store, keyring));
    let (_keyring, store) = reopen(&disk).unwrap();
    assert_eq!(read_snapshot(&store).unwrap(), Some((id(20, 2), content)));
    assert_eq!(store.state().purged, id(20, 2));
    assert_eq!(files(&disk), 1);
}

#[test]
fn it_works_on_the_real_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let protector = Protector::unlock_key(&unlock_key());
    let keyring = Keyring::create(dir.path().join("keys"), &me("m1"), protector, &[]).unwrap();
    let raft = dir.path().join("raft");
    let store = Store::create(&raft, &keyring, options()).unwrap();
    for n in 1..=40 {
        store.apply(entries(n..=n, 1)).unwrap();
    }
    store.install(take_snapshot(&store, id(9, 1), b"state"), Change::new()).unwrap();
    let mut change = Change::new();
    change.purge(id(9, 1));
    store.apply(change).unwrap();
    keyring.rotate_dek(Reason::Requested).unwrap();
    rotate(&store);
    assert_eq!(keyring.status().deks.len(), 1);
    drop(store);
    let store = Store::open(&raft, &keyring, options().verify(|_| {})).unwrap();
    assert_eq!(all(&store).unwrap(), ids(10..=40, 1));
    assert_eq!(read_snapshot(&store).unwrap().unwrap().1, b"state");
}
