//! The power cut, or an error, at each operation of everything that the log does.
//!
//! What comes up holds all that was acknowledged, and of what was not, all or nothing; what one
//! opening showed, the next shows too; and it can be written again.

use std::io;

use nodeseal::fs::Loss;
use nodeseal::{Error, Reason};

use super::*;

const SEEDS: u64 = 6;

struct Case {
    name: &'static str,
    call: fn(&Keyring, &mut PlainLog) -> Result<()>,
}

const CASES: &[Case] = &[
    Case { name: "open", call: |_, _| Ok(()) },
    Case { name: "append", call: |_, log| append(log, 2, 1) },
    Case { name: "append several", call: |_, log| append(log, 2, 7) },
    Case { name: "append nothing", call: |_, log| append(log, 2, 0) },
    Case { name: "re-seal", call: |_, log| log.reseal() },
    Case {
        name: "rotation",
        call: |keyring, log| {
            keyring.rotate_dek(Reason::Requested)?;
            end_rotation(keyring, log)
        },
    },
];

fn power_cuts(disk: &SimFs) -> Vec<(String, SimFs)> {
    let seeds = |loss: &Loss| if matches!(loss, Loss::Dropped | Loss::Kept) { 1 } else { SEEDS };
    let cuts = Loss::ALL.iter().flat_map(|loss| (0..seeds(loss)).map(move |seed| (*loss, seed)));
    cuts.map(|(loss, seed)| (format!("{loss:?} {seed}"), disk.after_power_cut(loss, seed)))
        .collect()
}

/// Opens what came up; it must be one of `allowed`, stay what it was, and take more.
fn comes_up(disk: &SimFs, allowed: &[Vec<LogId>], what: &str) {
    let opened = open(disk).unwrap_or_else(|e| panic!("{what}: {e}"));
    let seen = view(&opened.1).unwrap();
    assert!(allowed.contains(&seen), "{what}: {seen:?}");
    // Shown is shown: nothing but this opening made it durable.
    let cut = disk.after_power_cut(Loss::Dropped, 0);
    drop(opened);
    for again in [disk.after_kill(), cut] {
        let (keyring, mut log) = open(&again).unwrap_or_else(|e| panic!("{what}, again: {e}"));
        assert_eq!(view(&log).unwrap(), seen, "{what}, again");
        append(&mut log, 9, 1).unwrap();
        end_rotation(&keyring, &mut log).unwrap();
        assert_eq!(keyring.status().deks.len(), 1, "{what}");
        append(&mut log, 9, 1).unwrap();
        let mut expected = seen.clone();
        let next = seen.last().map_or(1, |id| id.index + 1);
        expected.extend([id(next, 9), id(next + 1, 9)]);
        drop((keyring, log));
        let up = again.after_power_cut(Loss::Dropped, 0);
        let (_keyring, log) = open(&up).unwrap_or_else(|e| panic!("{what}, and more: {e}"));
        assert_eq!(view(&log).unwrap(), expected, "{what}, and more");
    }
}

/// Makes one operation the last, or fail, and looks at what comes up.
fn at_operation(base: &SimFs, case: &Case, at: u64, after: &[LogId]) {
    for fault in [None, Some(io::ErrorKind::StorageFull), Some(io::ErrorKind::Other)] {
        let disk = base.after_kill();
        match fault {
            None => disk.cut_at(at),
            Some(kind) => disk.fail_at(at, kind),
        }
        let done = open(&disk).and_then(|(keyring, mut log)| (case.call)(&keyring, &mut log));
        let what = format!("{}, {fault:?} at {at}, {:?}", case.name, done.as_ref().err());
        let (after, before) = (after.to_vec(), started());
        let allowed = if done.is_ok() { vec![after] } else { vec![before, after] };
        for (loss, up) in power_cuts(&disk) {
            comes_up(&up, &allowed, &format!("{what}, {loss}"));
        }
        if fault.is_some() {
            comes_up(&disk.after_kill(), &allowed, &format!("{what}, killed"));
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_whatever_fails() {
    let base = start();
    for case in CASES {
        let disk = base.after_kill();
        let (keyring, mut log) = open(&disk).unwrap();
        let opening = disk.operations();
        (case.call)(&keyring, &mut log).unwrap();
        let operations = disk.operations();
        let after = view(&log).unwrap();
        let first = if case.name == "open" { 0 } else { opening };
        assert!(operations >= first + 5, "{}: {first} to {operations}", case.name);
        for at in first..operations {
            at_operation(&base, case, at, &after);
        }
    }
}

#[test]
fn a_creation_that_was_cut_short_can_be_begun_again() {
    let base = SimFs::new();
    drop(new_keyring(&base));
    for fault in [None, Some(io::ErrorKind::StorageFull), Some(io::ErrorKind::Other)] {
        let operations = {
            let disk = base.after_kill();
            let keyring = open_keyring(keys(&disk)).unwrap();
            let begun = disk.operations();
            drop(create(&disk, &keyring).unwrap());
            disk.operations() - begun
        };
        assert!(operations > 8, "only {operations} operations");
        for at in 0..operations {
            let disk = base.after_kill();
            let keyring = open_keyring(keys(&disk)).unwrap();
            match fault {
                None => disk.cut_at(at),
                Some(kind) => disk.fail_at(at, kind),
            }
            let created = create(&disk, &keyring).map(drop);
            drop(keyring);
            let mut ups = power_cuts(&disk);
            if fault.is_some() {
                ups.push(("killed".to_owned(), disk.after_kill()));
            }
            for (loss, up) in ups {
                let what = format!("{fault:?} at {at}, {loss}");
                match open(&up) {
                    Ok(_) => {}
                    Err(Error::Missing(_)) if created.is_err() => {
                        drop(create(&up, &open_keyring(keys(&up)).unwrap()).unwrap());
                    }
                    Err(error) => panic!("{what}: {error}"),
                }
                comes_up(&up, &[vec![]], &what);
            }
        }
    }
}

#[test]
fn nothing_is_written_after_a_failed_append() {
    let base = start();
    let disk = base.after_kill();
    let (_keyring, mut log) = open(&disk).unwrap();
    let opening = disk.operations();
    append(&mut log, 2, 3).unwrap();
    let appending = disk.operations() - opening;
    drop(log);
    assert_eq!(appending, 5, "write, sync, look by name (2), mark");
    for (at, kind) in (0..appending).flat_map(|at| {
        [io::ErrorKind::StorageFull, io::ErrorKind::Other].map(move |kind| (at, kind))
    }) {
        let disk = base.after_kill();
        let (keyring, mut log) = open(&disk).unwrap();
        let state = log.state().clone();
        disk.fail_at(at, kind);
        assert!(matches!(append(&mut log, 2, 3), Err(Error::Io { .. })), "{at}");
        assert_eq!(*log.state(), state, "{at}: an append that failed is not counted");
        let (written, operations) = (bytes(&disk), disk.operations());
        assert!(matches!(append(&mut log, 2, 3), Err(Error::Poisoned)), "{at}");
        assert!(matches!(log.reseal(), Err(Error::Poisoned)), "{at}");
        assert!(matches!(view(&log), Err(Error::Poisoned)), "{at}");
        assert_eq!((bytes(&disk), disk.operations()), (written, operations), "{at}");

        // The same process opens it again, although the disk now takes a sync for a success.
        drop((log, keyring));
        let (_keyring, mut log) = open(&disk).unwrap();
        let mut expected = view(&log).unwrap();
        append(&mut log, 3, 1).unwrap();
        expected.push(log.state().last);
        drop(log);
        let (_keyring, log) = open(&disk.after_power_cut(Loss::Dropped, 0)).unwrap();
        assert_eq!(view(&log).unwrap(), expected, "{at}");
    }
}

#[test]
fn an_append_that_cannot_be_sealed_changes_nothing() {
    let disk = start();
    let (keyring, mut log) = open(&disk).unwrap();
    disk.fail_at(0, io::ErrorKind::Other);
    keyring.rotate_dek(Reason::Requested).unwrap_err();
    let (state, written, operations) = (log.state().clone(), bytes(&disk), disk.operations());
    append(&mut log, 2, 1).unwrap_err();
    assert_eq!(*log.state(), state);
    assert_eq!((bytes(&disk), disk.operations()), (written, operations));
    // The log itself is intact.
    assert_eq!(view(&log).unwrap(), started());
    drop((log, keyring));
    let (_keyring, mut log) = open(&disk).unwrap();
    append(&mut log, 2, 1).unwrap();
    assert_eq!(view(&log).unwrap().len(), 5);
}

#[test]
fn a_reseal_that_fails_early_leaves_the_log_in_use() {
    let base = start();
    let disk = base.after_kill();
    let (_keyring, mut log) = open(&disk).unwrap();
    let opening = disk.operations();
    log.reseal().unwrap();
    let (mut usable, operations) = (0, disk.operations() - opening);
    drop(log);
    for at in 0..operations {
        let disk = base.after_kill();
        let (_keyring, mut log) = open(&disk).unwrap();
        disk.fail_at(at, io::ErrorKind::StorageFull);
        log.reseal().unwrap_err();
        let mut expected = started();
        match append(&mut log, 2, 1) {
            Ok(()) => expected.push(id(5, 2)),
            Err(Error::Poisoned) => {}
            Err(error) => panic!("{at}: {error}"),
        }
        usable += usize::from(expected.len() == 5);
        drop(log);
        for (loss, up) in power_cuts(&disk) {
            comes_up(&up, &[expected.clone()], &format!("re-seal at {at}, {loss}"));
        }
    }
    assert!(usable >= 5, "{usable} of {operations}");
}
