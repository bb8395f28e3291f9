//! The power cut, or an error, at each operation of everything a store does.
//!
//! What comes up holds all that was acknowledged, and of what was not, all or nothing; and what one
//! opening showed, the next shows too, whatever the disk made of what was not durable.

use super::*;
use crate::fs::Loss;

const SEEDS: u64 = 2;

/// All that a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct View {
    ids: Vec<LogId>,
    ends: [LogId; 3],
    vote: Vec<u8>,
    meta: Option<Vec<u8>>,
    snapshot: Option<(LogId, Vec<u8>)>,
}

fn view(store: &Store) -> View {
    let state = store.state();
    View {
        ids: all(store).unwrap(),
        ends: [state.last, state.committed, state.purged],
        vote: state.vote,
        meta: store.meta("members").map(|value| value.expose().to_vec()),
        snapshot: read_snapshot(store).unwrap(),
    }
}

struct Case {
    name: &'static str,
    call: fn(&Keyring, &Store) -> Result<()>,
}

fn roll(store: &Store) -> Result<()> {
    let mut synced = store.inner.synced();
    store.inner.roll(&mut synced, &mut store.inner.writer())
}

fn whole_rotation(store: &Store) -> Result<()> {
    // Less than a segment a step.
    let mut rotation = store.rotation().budget(700);
    while rotation.step()? != Step::Done {}
    Ok(())
}

const CASES: &[Case] = &[
    Case { name: "append", call: |_, store| store.apply(entries(21..=23, 2)) },
    Case {
        name: "append until a segment is full",
        call: |_, store| {
            let mut change = entries(21..=40, 2);
            change.vote(b"with it");
            store.apply(change)
        },
    },
    Case { name: "the segment is rolled", call: |_, store| roll(store) },
    Case {
        name: "rolled into a segment that was prepared",
        call: |_, store| {
            store.inner.next.as_ref().unwrap().prepare()?;
            roll(store)?;
            store.apply(entries(21..=23, 2))
        },
    },
    Case {
        name: "truncate and append",
        call: |_, store| {
            let mut change = entries(9..=12, 2);
            change.truncate(9);
            store.apply(change)
        },
    },
    Case { name: "truncate", call: |_, store| store.apply(change(|c| c.truncate(12))) },
    Case { name: "purge", call: |_, store| store.apply(change(|c| c.purge(id(8, 1)))) },
    Case {
        name: "vote and metadata",
        call: |_, store| store.apply(change(|c| c.vote(b"new").put_meta("members", b"new"))),
    },
    Case {
        name: "snapshot",
        call: |_, store| {
            use std::io::Write;
            let mut writer = store.write_snapshot()?;
            writer.write_all(b"received").map_err(Error::Stream)?;
            let snapshot = writer.finish(id(50, 3), b"")?;
            store.install(snapshot, change(|c| c.purge(id(50, 3))))
        },
    },
    Case { name: "open", call: |_, _| Ok(()) },
];

/// A closed store with some of everything: 20 entries in several segments.
fn start() -> SimFs {
    let (disk, keyring, store) = fresh();
    for n in 0..5 {
        store.apply(entries(n * 4 + 1..=n * 4 + 4, 1)).unwrap();
    }
    store.apply(change(|c| c.vote(b"old").put_meta("members", b"old"))).unwrap();
    store.install(take_snapshot(&store, id(8, 1), b"old state"), Change::new()).unwrap();
    store.apply(change(|c| c.purge(id(2, 1)))).unwrap();
    drop((store, keyring));
    // What was not synced is not durable for the next, either.
    disk.after_kill()
}

fn power_cuts(disk: &SimFs) -> Vec<(String, SimFs)> {
    let seeds = |loss: &Loss| if matches!(loss, Loss::Dropped | Loss::Kept) { 1 } else { SEEDS };
    let cuts = Loss::ALL.iter().flat_map(|loss| (0..seeds(loss)).map(move |seed| (*loss, seed)));
    cuts.map(|(loss, seed)| (format!("{loss:?} {seed}"), disk.after_power_cut(loss, seed)))
        .collect()
}

/// Opens what came up; it must be one of `allowed`, and go on, and stay what it was.
fn comes_up(disk: &SimFs, allowed: &[&View], what: &str) {
    let (keyring, store) = reopen(disk).unwrap_or_else(|e| panic!("{what}: {e}"));
    let seen = view(&store);
    assert!(allowed.contains(&&seen), "{what}: {seen:?}");
    // Shown is shown: nothing but this opening made it durable.
    let cut = disk.after_power_cut(Loss::Dropped, 0);
    drop((store, keyring));
    let (keyring, store) = reopen(&cut).unwrap_or_else(|e| panic!("{what}, cut again: {e}"));
    assert_eq!(view(&store), seen, "{what}, cut again");
    let next = store.state().last.index + 1;
    store.apply(entries(next..=next, 9)).unwrap();
    assert_eq!(*all(&store).unwrap().last().unwrap(), id(next, 9), "{what}");
    drop(keyring);
}

fn run(case: &Case, base: &SimFs, before: &View, after: &View, operations: u64, skip: u64) {
    for at in skip..operations {
        for fault in [None, Some(io::ErrorKind::StorageFull), Some(io::ErrorKind::Other)] {
            let disk = base.after_kill();
            match fault {
                None => disk.cut_at(at),
                Some(kind) => disk.fail_at(at, kind),
            }
            let opened = reopen(&disk);
            let done = opened.and_then(|(keyring, store)| {
                (case.call)(&keyring, &store)?;
                Ok((keyring, store))
            });
            let what = format!("{}, {fault:?} at {at}, {:?}", case.name, done.as_ref().err());
            let allowed: &[&View] = if done.is_ok() { &[after] } else { &[before, after] };
            drop(done);
            for (loss, disk) in power_cuts(&disk) {
                comes_up(&disk, allowed, &format!("{what}, {loss}"));
            }
            if fault.is_some() {
                comes_up(&disk.after_kill(), allowed, &format!("{what}, killed"));
            }
        }
    }
}

fn crash(case: &Case, base: &SimFs) {
    let disk = base.after_kill();
    let (keyring, store) = reopen(&disk).unwrap();
    let opening = disk.operations();
    let before = view(&store);
    let begun = disk.operations();
    (case.call)(&keyring, &store).unwrap();
    // `view` reads, which the runs below do not.
    let operations = opening + disk.operations() - begun;
    let after = view(&store);
    drop((keyring, store));
    let skip = if case.name == "open" { 0 } else { opening };
    run(case, base, &before, &after, operations, skip);
}

#[test]
fn nothing_acknowledged_is_lost_whatever_fails() {
    let base = start();
    CASES.iter().for_each(|case| crash(case, &base));
}

/// Without room for a copy the last segment is written again in place, which may be cut short too.
#[test]
fn opening_without_room_can_be_cut_short_anywhere() {
    let base = start();
    let expected = {
        let (_keyring, store) = reopen(&base.after_kill()).unwrap();
        view(&store)
    };
    let full = |at: u64| {
        let disk = base.after_kill();
        disk.fail_at(at, io::ErrorKind::StorageFull);
        disk
    };
    let mut in_place = 0;
    for at in 0..200 {
        let disk = full(at);
        let begun = disk.operations();
        if reopen(&disk).is_err() || disk.operations() - begun < at {
            continue;
        }
        let operations = disk.operations();
        let renamed = |disk: &SimFs| {
            disk.paths().iter().any(|path| path.extension().is_some_and(|ext| ext == "settle"))
        };
        for cut in at + 1..operations {
            let disk = full(at);
            disk.cut_at(cut);
            assert!(reopen(&disk).is_err());
            in_place += usize::from(renamed(&disk));
            for (loss, up) in power_cuts(&disk) {
                comes_up(&up, &[&expected], &format!("full at {at}, cut at {cut}, {loss}"));
            }
            comes_up(&disk.after_kill(), &[&expected], &format!("full at {at}, killed at {cut}"));
        }
    }
    assert!(in_place > 0, "never in place");
}

#[test]
fn a_creation_that_was_cut_short_can_be_begun_again() {
    let base = SimFs::new();
    drop(new_keyring(&base));
    let create = |disk: &SimFs| -> Result<Store> {
        Store::create(place(disk), &open_keyring(disk)?, options())
    };
    let mut cut = 0;
    loop {
        let disk = base.after_kill();
        let keyring = open_keyring(&disk).unwrap();
        disk.cut_at(cut);
        let created = Store::create(place(&disk), &keyring, options()).map(drop);
        drop(keyring);
        for (what, up) in power_cuts(&disk) {
            match reopen(&up) {
                Ok((_, store)) => assert_eq!(all(&store).unwrap(), [], "{cut}, {what}"),
                Err(Error::Missing(_)) if created.is_err() => drop(create(&up).unwrap()),
                Err(error) => panic!("{cut}, {what}: {error}"),
            }
            let (_, store) = reopen(&up).unwrap();
            store.apply(entries(1..=2, 1)).unwrap();
        }
        if created.is_ok() {
            break;
        }
        cut += 1;
    }
    assert!(cut > 10, "only {cut} operations");
}

#[test]
fn every_step_of_a_rotation_can_be_its_last() {
    let (disk, keyring, store) = fresh();
    for n in 0..3 {
        store.apply(entries(n * 4 + 1..=n * 4 + 4, 1)).unwrap();
    }
    store.install(take_snapshot(&store, id(2, 1), b"state"), Change::new()).unwrap();
    keyring.rotate_dek(Reason::Requested).unwrap();
    store.apply(entries(13..=14, 2)).unwrap();
    drop((store, keyring));
    let case = Case { name: "rotation", call: |_, store| whole_rotation(store) };
    crash(&case, &disk.after_kill());
}

#[test]
fn every_step_of_copying_a_snapshot_can_be_its_last() {
    let (disk, keyring, store) = fresh();
    store.apply(entries(1..=8, 1)).unwrap();
    let state = vec![7; (64 << 10) + 1];
    store.install(take_snapshot(&store, id(2, 1), &state), Change::new()).unwrap();
    keyring.rotate_dek(Reason::Leaked).unwrap();
    store.apply(entries(9..=9, 2)).unwrap();
    drop((store, keyring));
    let call = |_: &Keyring, store: &Store| {
        let mut rotation = store.rotation().budget(700);
        while store.stats().snapshots_rewritten == 0 {
            assert!(matches!(rotation.step()?, Step::Rewritten { .. }));
        }
        Ok(())
    };
    crash(&Case { name: "the snapshot is copied", call }, &disk.after_kill());
}

#[test]
fn a_rotation_after_a_failed_one_names_the_old_dek_nowhere_after_a_power_cut() {
    let (disk, keyring, store) = fresh();
    for n in 0..3 {
        store.apply(entries(n * 4 + 1..=n * 4 + 4, 1)).unwrap();
    }
    keyring.rotate_dek(Reason::Requested).unwrap();
    drop((store, keyring));
    let base = disk.after_kill();
    let disk = base.after_kill();
    let (keyring, store) = reopen(&disk).unwrap();
    let opening = disk.operations();
    whole_rotation(&store).unwrap();
    let operations = disk.operations();
    let expected = view(&store);
    drop((keyring, store));
    for at in opening..operations {
        let disk = base.after_kill();
        disk.fail_at(at, io::ErrorKind::Other);
        let (keyring, store) = reopen(&disk).unwrap();
        let _ = whole_rotation(&store);
        drop((keyring, store));
        let disk = disk.after_kill();
        let (keyring, store) = reopen(&disk).unwrap();
        whole_rotation(&store).unwrap();
        assert_eq!(keyring.status().deks.len(), 1);
        drop((keyring, store));
        for (loss, disk) in power_cuts(&disk) {
            let (_keyring, store) = reopen(&disk).unwrap_or_else(|e| panic!("{at} {loss}: {e}"));
            assert_eq!(view(&store), expected, "{at} {loss}");
        }
    }
}

#[test]
fn a_segment_goes_only_when_the_purge_that_freed_it_is_durable() {
    let (disk, keyring, store) = fresh();
    for n in 0..8 {
        store.apply(entries(n * 4 + 1..=n * 4 + 4, 1)).unwrap();
    }
    let pending = store.write(entries(33..=33, 1)).unwrap();
    // Written while the append's fsync is under way, which does not cover it.
    let purging = store.clone();
    let purge = change(|c| c.committed(id(30, 1)).purge(id(30, 1)));
    disk.after_sync(move || drop(purging.write(purge).unwrap()));
    pending.wait().unwrap();
    assert_eq!(all(&store).unwrap(), ids(31..=33, 1), "no purge came in between");
    for (loss, disk) in power_cuts(&disk) {
        let (_keyring, store) = reopen(&disk).unwrap_or_else(|e| panic!("{loss}: {e}"));
        let found = all(&store).unwrap();
        assert!([ids(1..=33, 1), ids(31..=33, 1)].contains(&found), "{loss}: {found:?}");
    }
    // The next one removes what the purge freed.
    let before = segments(&disk).len();
    store.apply(entries(34..=34, 1)).unwrap();
    assert!(segments(&disk).len() < before, "{before} segments");
    drop(keyring);
}

#[test]
fn nothing_is_written_after_a_failed_sync() {
    let (disk, _keyring, store) = fresh();
    store.apply(entries(1..=1, 1)).unwrap();
    let pending = store.write(entries(2..=2, 1)).unwrap();
    disk.fail_at(0, io::ErrorKind::Other);
    assert!(matches!(pending.wait(), Err(Error::Io { op: "sync", .. })));
    let operations = disk.operations();
    assert!(matches!(store.apply(entries(3..=3, 1)), Err(Error::Poisoned)));
    assert!(matches!(store.rotation().step(), Err(Error::Poisoned)));
    assert!(matches!(store.write_snapshot(), Err(Error::Poisoned)));
    assert_eq!(disk.operations(), operations);
    assert_eq!(store.stats().failures[&ErrorKind::Poisoned], 2);
}
