//! Readers beside those who append, truncate, purge and rotate.

use core::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::*;

fn purge(store: &Store, index: u64, term: u64) {
    let mut change = Change::new();
    change.committed(id(index, term)).purge(id(index, term));
    store.apply(change).unwrap();
}

#[test]
fn a_cursor_has_limits_and_goes_on() {
    let (_disk, _keyring, store) = fresh();
    store.apply(entries(1..=40, 1)).unwrap();
    let take = |cursor: &mut Cursor, most: usize| {
        let mut seen = Vec::new();
        let more = cursor
            .read(|id, plain| {
                assert_eq!(plain, payload(id.index, 1));
                seen.push(id.index);
                let full = seen.len() == most;
                Ok::<_, Error>(if full {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            })
            .unwrap();
        (seen, more)
    };
    let mut cursor = store.cursor(3..=12).unwrap().limit_entries(4);
    assert_eq!(take(&mut cursor, 99), (vec![3, 4, 5, 6], true));
    // What comes later is not in it.
    store.apply(entries(41..=45, 1)).unwrap();
    assert_eq!(take(&mut cursor, 2), (vec![7, 8], true));
    assert_eq!(cursor.position(), 9);
    assert_eq!(take(&mut cursor, 99), (vec![9, 10, 11, 12], false));
    assert_eq!(take(&mut cursor, 99), (vec![], false));

    for limit in [0, 1, 100, 500, 1000, 100_000] {
        let mut cursor = store.cursor(..41).unwrap().limit_bytes(limit);
        let mut next = 1;
        loop {
            let (seen, more) = take(&mut cursor, 99);
            let len = |n: &u64| u64::try_from(payload(*n, 1).len()).unwrap();
            let sum: u64 = seen.iter().map(len).sum();
            assert!(sum <= limit || seen.len() == 1, "{limit}: {seen:?}");
            // As many as fit.
            let full = seen.last().is_none_or(|n| *n == 40 || sum + len(&(n + 1)) > limit);
            assert!(full, "{limit}: {seen:?}");
            assert_eq!(seen[0], next);
            next = seen.last().unwrap() + 1;
            if !more {
                break;
            }
        }
        assert_eq!(next, 41);
    }
}

#[test]
fn a_range_that_was_purged_is_told() {
    let (_disk, _keyring, store) = fresh();
    store.apply(entries(1..=20, 1)).unwrap();
    let mut before = store.cursor(5..).unwrap();
    let mut behind = store.cursor(11..).unwrap();
    purge(&store, 10, 1);
    let gone = |error: Error| matches!(error, Error::Compacted { upto: 10 });
    let read = |cursor: &mut Cursor| {
        let mut seen = Vec::new();
        cursor.read(|id, _| {
            seen.push(id.index);
            Ok::<_, Error>(ControlFlow::Continue(()))
        })?;
        Ok::<_, Error>(seen)
    };
    assert!(gone(read(&mut before).unwrap_err()));
    assert_eq!(read(&mut behind).unwrap(), (11..=20).collect::<Vec<_>>());
    for range in [1..=20, 10..=10, 1..=5] {
        let nothing = |_: LogId, _: &[u8]| Ok::<(), Error>(());
        assert!(gone(store.read(range.clone(), nothing).unwrap_err()), "{range:?}");
    }
    assert_eq!(all(&store).unwrap(), ids(11..=20, 1));
    assert!(store.entry(10).unwrap().is_none());
    store.read(5..5, |_, _| Ok::<(), Error>(())).unwrap();
}

/// One thread reads, another truncates and writes other entries: what is read is of one log.
#[test]
fn a_reader_beside_a_truncation_sees_one_log() {
    let (_disk, _keyring, store) = fresh();
    store.apply(entries(1..=400, 1)).unwrap();
    let done = AtomicBool::new(false);
    let truncated = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for term in 2..=60 {
                let mut change = entries(200..=400, term);
                change.truncate(200);
                store.apply(change).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let mut eras = Vec::new();
            let read = store.read(100..=400, |id, _| {
                if id.index >= 200 && !eras.contains(&id.era) {
                    eras.push(id.era);
                }
                Ok::<(), Error>(())
            });
            assert!(eras.len() <= 1, "one log out of {eras:?}");
            match read {
                Ok(()) => {}
                Err(Error::Truncated { from: 200 }) => {
                    truncated.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
    let mut cursor = store.cursor(190..).unwrap().limit_entries(20);
    let mut count = 0;
    let mut each = |_: LogId, _: &[u8]| {
        count += 1;
        Ok::<_, Error>(ControlFlow::Continue(()))
    };
    cursor.read(&mut each).unwrap();
    let mut change = Change::new();
    change.truncate(250);
    store.apply(change).unwrap();
    store.apply(entries(250..=400, 99)).unwrap();
    let again = loop {
        match cursor.read(&mut each) {
            Ok(true) => {}
            ended => break ended,
        }
    };
    assert!(matches!(again, Err(Error::Truncated { from: 250 })), "{again:?}");
    assert_eq!(count, 60, "up to where the log is the same");
}

#[test]
fn a_truncation_below_what_was_given_is_told_also_after_later_ones() {
    let (_disk, _keyring, store) = fresh();
    store.apply(entries(1..=30, 1)).unwrap();
    let mut cursor = store.cursor(1..).unwrap().limit_entries(10);
    cursor.read(|_, _| Ok::<_, Error>(ControlFlow::Continue(()))).unwrap();
    for (term, from) in [(2, 5), (3, 20), (4, 25)] {
        let mut change = entries(from..=30, term);
        change.truncate(from);
        store.apply(change).unwrap();
    }
    // Purged beyond the truncation, and still known.
    purge(&store, 7, 2);
    let told = cursor.read(|_, _| Ok::<_, Error>(ControlFlow::Continue(())));
    assert!(matches!(told, Err(Error::Truncated { .. })), "{told:?}");
}

/// At the end of a rotation a reader may hold a file whose DEK is gone: it takes the new one.
#[test]
fn a_reader_beside_a_rotation_reads_on() {
    let (_disk, keyring, store) = fresh();
    store.apply(entries(1..=20, 1)).unwrap();
    store.install(take_snapshot(&store, id(9, 1), b"state"), Change::new()).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..60 {
                keyring.rotate_dek(Reason::Requested).unwrap();
                rotate(&store);
            }
            done.store(true, Ordering::Release);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    assert_eq!(all(&store).unwrap().len(), 20);
                    assert_eq!(read_snapshot(&store).unwrap().unwrap().1, b"state");
                }
            });
        }
    });
}

/// The same without luck: the DEK goes between the reading of the bytes and their opening.
#[test]
fn a_run_whose_dek_went_is_read_again() {
    let (_disk, keyring, store) = fresh();
    store.apply(entries(1..=9, 1)).unwrap();
    let inner = &store.inner;
    let span = cursor::Span::of_any(1, 10);
    let run = inner.run(&span, 1 << 20).unwrap().unwrap();
    let mut block = SecretBytes::new();
    inner.load(&run, &mut block).unwrap();
    keyring.rotate_dek(Reason::Requested).unwrap();
    rotate(&store);
    let (_, failed) = inner.open_run(&run, &mut block);
    assert!(matches!(failed, Some(Error::UnknownDek(_))), "it happens");
    // From within a read: the rotation runs in the middle of it.
    let mut seen = Vec::new();
    store
        .read(1..=9, |id, _| {
            if id.index == 1 {
                keyring.rotate_dek(Reason::Requested)?;
                rotate(&store);
            }
            seen.push(id.index);
            Ok::<(), Error>(())
        })
        .unwrap();
    assert_eq!(seen, (1..=9).collect::<Vec<_>>());
}

#[test]
fn few_files_are_open_however_long_the_log() {
    let (_disk, _keyring, store) = fresh();
    for n in 1..=400 {
        store.apply(entries(n..=n, 1)).unwrap();
    }
    assert!(store.inner.index().segments.len() > 40);
    for _ in 0..2 {
        assert_eq!(all(&store).unwrap().len(), 400);
        assert!(store.inner.files.count() <= 16);
    }
}
