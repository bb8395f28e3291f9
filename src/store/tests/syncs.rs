//! Syncs that fail, and syncs that would run at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::gate::{Door, Gate, returns};
use super::*;

fn broken() -> io::Error {
    io::Error::other("the disk is broken")
}

/// A file is known by the name under which it was opened: that of the copy that an opening makes.
fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|ext| ext == "wal") || path.ends_with(names::SETTLING_COPY)
}

/// Waits for its change behind one that waits at the door with its sync.
fn waiting(store: &Store, index: u64) -> thread::JoinHandle<Result<()>> {
    let pending = store.write(entries(index..=index, 1)).unwrap();
    thread::spawn(move || pending.wait())
}

#[test]
fn nothing_is_acknowledged_by_a_sync_after_a_failed_one() {
    let disk = SimFs::new();
    let (door, failing) = (Arc::new(Door::default()), Arc::new(AtomicBool::new(false)));
    let syncs = Arc::new(AtomicUsize::new(0));
    let gate = {
        let (door, failing, syncs) = (Arc::clone(&door), Arc::clone(&failing), Arc::clone(&syncs));
        Gate::new(&disk, move |path| {
            if !is_segment(path) || !failing.load(Ordering::SeqCst) {
                return Ok(());
            }
            // The first one fails, as on Linux; each later one would succeed.
            let first = syncs.fetch_add(1, Ordering::SeqCst) == 0;
            door.pass();
            if first { Err(broken()) } else { Ok(()) }
        })
    };
    let keyring = new_keyring(&disk);
    let options = || options().segment_size(1 << 20);
    let store = Store::create(gate.place(), &keyring, options()).unwrap();
    store.apply(entries(1..=1, 1)).unwrap();
    drop(store);
    let store = Store::open(gate.place(), &keyring, options()).unwrap();
    failing.store(true, Ordering::SeqCst);
    let first = waiting(&store, 2);
    door.knocked();
    let others: Vec<_> = (3..=8).map(|index| waiting(&store, index)).collect();
    thread::sleep(std::time::Duration::from_millis(50));
    door.open();
    assert!(matches!(first.join().unwrap(), Err(Error::Io { op: "sync", .. })));
    for other in others {
        assert!(matches!(other.join().unwrap(), Err(Error::Poisoned)));
    }
    assert_eq!(syncs.load(Ordering::SeqCst), 1, "no sync follows on that file");
}

#[test]
fn a_segment_that_ends_waits_for_the_sync_that_runs() {
    let disk = SimFs::new();
    let (door, shut) = (Arc::new(Door::default()), Arc::new(AtomicBool::new(false)));
    let gate = {
        let (door, shut) = (Arc::clone(&door), Arc::clone(&shut));
        Gate::new(&disk, move |path| {
            if is_segment(path) && shut.load(Ordering::SeqCst) {
                door.pass();
            }
            Ok(())
        })
    };
    let keyring = new_keyring(&disk);
    drop(Store::create(gate.place(), &keyring, options()).unwrap());
    let store = Store::open(gate.place(), &keyring, options()).unwrap();
    shut.store(true, Ordering::SeqCst);
    let first = waiting(&store, 1);
    door.knocked();
    let before = segments(&disk).len();
    let writer = {
        let store = store.clone();
        // Ends several segments.
        thread::spawn(move || (2..=40).try_for_each(|n| store.write(entries(n..=n, 1)).map(drop)))
    };
    thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(segments(&disk).len(), before, "the segment that is synced has not ended");
    door.open();
    first.join().unwrap().unwrap();
    writer.join().unwrap().unwrap();
    assert!(segments(&disk).len() > before + 2);
    assert_eq!(gate.most_at_once(), 1);
}

#[test]
fn what_is_known_is_told_while_a_segment_ends() {
    let disk = SimFs::new();
    let (door, shut) = (Arc::new(Door::default()), Arc::new(AtomicBool::new(false)));
    let gate = {
        let (door, shut) = (Arc::clone(&door), Arc::clone(&shut));
        Gate::new(&disk, move |_| {
            if shut.load(Ordering::SeqCst) {
                door.pass();
            }
            Ok(())
        })
    };
    let keyring = new_keyring(&disk);
    let store = Store::create(gate.place(), &keyring, options()).unwrap();
    let mut change = entries(1..=9, 1);
    change.put_meta("members", b"m1");
    store.apply(change).unwrap();
    let anchor = store.anchor();
    shut.store(true, Ordering::SeqCst);
    let appending = {
        let store = store.clone();
        thread::spawn(move || store.apply(entries(10..=10, 1)))
    };
    door.knocked();
    assert!(store.inner.writer.try_lock().is_err(), "the writer is busy");
    let seen = store.clone();
    let (state, meta, held) = returns("a look at the store", move || {
        let _ = (seen.snapshot_at(), seen.accepted(), seen.stats(), seen.change());
        (seen.state(), seen.meta("members"), (seen.anchor(), seen.id_at(9)))
    });
    assert_eq!(state.last, id(9, 1));
    assert_eq!(meta.unwrap().expose(), b"m1");
    assert_eq!(held, (anchor, Some(id(9, 1))));
    let seen = store.clone();
    assert_eq!(returns("a read", move || all(&seen)).unwrap(), ids(1..=9, 1));
    door.open();
    appending.join().unwrap().unwrap();
}

/// A name that is not durable is no name, whatever a later sync of the directory says.
#[test]
fn nothing_is_acknowledged_after_a_failed_sync_of_the_directory() {
    let disk = SimFs::new();
    let failing = Arc::new(AtomicBool::new(false));
    let gate = {
        let failing = Arc::clone(&failing);
        Gate::new(&disk, move |path| {
            let dir = path == Path::new("/raft");
            if dir && failing.swap(false, Ordering::SeqCst) { Err(broken()) } else { Ok(()) }
        })
    };
    let keyring = new_keyring(&disk);
    let store = Store::create(gate.place(), &keyring, options()).unwrap();
    store.apply(entries(1..=9, 1)).unwrap();
    let snapshot = take_snapshot(&store, id(3, 1), b"state");
    failing.store(true, Ordering::SeqCst);
    assert!(matches!(store.install(snapshot, Change::new()), Err(Error::Io { op: "sync", .. })));
    assert!(matches!(store.apply(entries(10..=10, 1)), Err(Error::Poisoned)));
    drop(store);
    let store = Store::open(gate.place(), &keyring, options()).unwrap();
    failing.store(true, Ordering::SeqCst);
    // Ends the segment.
    assert!(matches!(store.apply(entries(10..=10, 1)), Err(Error::Io { op: "sync", .. })));
    assert!(matches!(store.apply(entries(10..=10, 1)), Err(Error::Poisoned)));
}

/// Whatever the appends before it let the store remember of its directory.
#[test]
fn a_directory_that_was_moved_away_takes_nothing_more() {
    use std::time::{Duration, Instant};
    let dir = tempfile::tempdir().unwrap();
    let protector = Protector::unlock_key(&unlock_key());
    let keyring = Keyring::create(dir.path().join("keys"), &me("m1"), protector, &[]).unwrap();
    let above = dir.path().join("above");
    let (raft, away) = (above.join("raft"), above.join("away"));
    // What is done to it, and until when appends may not have noticed.
    type Taken<'a> = (&'a str, &'a dyn Fn(), Duration);
    let moved = |from: &Path, to: &Path| {
        #[expect(clippy::disallowed_methods, reason = "as somebody else does it")]
        std::fs::rename(from, to).unwrap();
    };
    let takes: [Taken<'_>; 4] = [
        ("removed", &|| std::fs::remove_dir_all(&raft).unwrap(), Duration::ZERO),
        ("moved", &|| moved(&raft, &away), Duration::ZERO),
        ("segment moved", &|| moved(&only_segment(&raft), &raft.join("other")), Duration::ZERO),
        ("moved above", &|| moved(&above, &dir.path().join("gone")), Duration::from_millis(25)),
    ];
    for millis in [0, 1, 5, 19, 21, 40, 45, 50, 61, 83] {
        for (what, take, unnoticed) in takes {
            std::fs::create_dir_all(&above).unwrap();
            let store = Store::create(&raft, &keyring, Options::new("raft")).unwrap();
            let (start, mut next) = (Instant::now(), 1);
            while next == 1 || start.elapsed() < Duration::from_millis(millis) {
                store.apply(entries(next..=next, 1)).unwrap();
                next += 1;
            }
            take();
            thread::sleep(unnoticed);
            assert!(store.apply(entries(next..=next, 1)).is_err(), "{what} after {millis} ms");
            assert!(matches!(store.apply(entries(next..=next, 1)), Err(Error::Poisoned)));
            drop(store);
            keyring.forget("raft").unwrap();
            for gone in [&above, &dir.path().join("gone")] {
                let _ = std::fs::remove_dir_all(gone);
            }
        }
    }
}

fn only_segment(raft: &Path) -> PathBuf {
    let mut names = std::fs::read_dir(raft).unwrap().map(|entry| entry.unwrap().path());
    names.find(|path| path.extension().is_some_and(|end| end == "wal")).unwrap()
}

/// What was written into a segment before it ended is durable when the next one is.
#[test]
fn what_is_pending_when_a_segment_ends_is_durable_with_it() {
    let (disk, keyring, store) = fresh();
    // Each ends a segment; none is waited for but the last.
    let mut last = None;
    for n in 0..6 {
        last = Some(store.write(entries(n * 9 + 1..=n * 9 + 9, 1)).unwrap());
    }
    assert!(segments(&disk).len() > 4);
    last.unwrap().wait().unwrap();
    for loss in crate::fs::Loss::ALL {
        for seed in 0..20 {
            let disk = disk.after_power_cut(*loss, seed);
            let (_keyring, store) =
                reopen(&disk).unwrap_or_else(|e| panic!("{loss:?} {seed}: {e}"));
            assert_eq!(all(&store).unwrap(), ids(1..=54, 1), "{loss:?} {seed}");
        }
    }
    drop(keyring);
}

/// As above, but it is the rolling itself that makes the old segment durable, for a waiter too.
#[test]
fn a_waiter_is_told_only_what_is_durable_when_its_segment_has_ended() {
    let (disk, _keyring, store) = fresh();
    let pending = store.write(entries(1..=9, 1)).unwrap();
    let later = store.write(entries(10..=10, 1)).unwrap();
    assert_eq!(segments(&disk).len(), 2);
    pending.wait().unwrap();
    for loss in crate::fs::Loss::ALL {
        for seed in 0..20 {
            let disk = disk.after_power_cut(*loss, seed);
            let (_keyring, store) =
                reopen(&disk).unwrap_or_else(|e| panic!("{loss:?} {seed}: {e}"));
            let found = all(&store).unwrap();
            assert!(found == ids(1..=9, 1) || found == ids(1..=10, 1), "{loss:?} {seed}");
        }
    }
    later.wait().unwrap();
}
