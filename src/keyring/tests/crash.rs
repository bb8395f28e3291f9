//! Every write of the key file, with the power cut or an error at each of its operations.
//!
//! Whatever the disk makes of it, what comes up opens with the key that was reported, or, if the
//! call failed, with that or the one before; all that was sealed before opens; and what a call
//! that succeeded has changed stays.

use std::collections::HashMap;
use std::io;

use super::*;
use crate::fs::Loss;
use crate::key::Protection;

const SEEDS: u64 = 6;

/// A call that writes the key file, and what is so once it has.
struct Case {
    name: &'static str,
    /// A disk with a file of `key(1)`, and what was sealed before.
    start: fn(&SimFs) -> (Keyring, Vec<Entry>),
    call: fn(&Keyring) -> Result<()>,
    done: fn(&Status) -> bool,
    /// The keys that may be the file's afterwards, the one of success first.
    keys: &'static [u8],
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    Cut(u64),
    Fail(u64, io::ErrorKind),
}

fn faults(operations: u64) -> impl Iterator<Item = Fault> {
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::Other, io::ErrorKind::PermissionDenied];
    let at = move |n| kinds.map(|kind| Fault::Fail(n, kind)).into_iter().chain([Fault::Cut(n)]);
    core::iter::once(Fault::None).chain((0..operations).flat_map(at))
}

fn strike(disk: &SimFs, fault: Fault) {
    match fault {
        Fault::None => {}
        Fault::Cut(n) => disk.cut_at(n),
        Fault::Fail(n, kind) => disk.fail_at(n, kind),
    }
}

/// Everything that a power cut may leave, each outcome with its name.
fn power_cuts(disk: &SimFs) -> impl Iterator<Item = (String, SimFs)> + '_ {
    Loss::ALL.iter().flat_map(move |loss| {
        let seeds = if matches!(loss, Loss::Dropped | Loss::Kept) { 1 } else { SEEDS };
        (0..seeds).map(move |seed| (format!("{loss:?} {seed}"), disk.after_power_cut(*loss, seed)))
    })
}

fn start_locked(disk: &SimFs) -> (Keyring, Vec<Entry>) {
    let keyring = create(disk, Protector::unlock_key(&key(1)));
    let entries = vec![sealed(&keyring, 1), sealed(&keyring, 2)];
    (keyring, entries)
}

fn start_clear(disk: &SimFs) -> (Keyring, Vec<Entry>) {
    let keyring = create(disk, Protector::none());
    let entries = vec![sealed(&keyring, 1)];
    (keyring, entries)
}

/// Amid a round, with everything re-sealed.
fn start_resealed(disk: &SimFs) -> (Keyring, Vec<Entry>) {
    let (keyring, mut entries) = start_locked(disk);
    keyring.rotate_dek(Reason::Requested).unwrap();
    entries.iter_mut().for_each(|entry| entry.reseal(&keyring));
    (keyring, entries)
}

fn start_unlocking(disk: &SimFs) -> (Keyring, Vec<Entry>) {
    let (keyring, mut entries) = start_locked(disk);
    keyring.reconcile(&LockRecord::off(1)).unwrap();
    entries.iter_mut().for_each(|entry| entry.reseal(&keyring));
    (keyring, entries)
}

/// Just opened: the first use must be reserved.
fn start_opened(disk: &SimFs) -> (Keyring, Vec<Entry>) {
    let (keyring, entries) = start_locked(disk);
    drop(keyring);
    (unlock(disk, &key(1)).unwrap(), entries)
}

/// Locked with `key(1)`, and `key(2)` waits to be confirmed.
fn pending() -> LockRecord {
    LockRecord::locked(0, &key(1)).with_pending(&key(2)).unwrap()
}

fn start_pending(disk: &SimFs) -> (Keyring, Vec<Entry>) {
    let (keyring, entries) = start_locked(disk);
    keyring.reconcile(&pending()).unwrap();
    (keyring, entries)
}

const CASES: &[Case] = &[
    Case {
        name: "lock",
        start: start_clear,
        call: |keyring| keyring.reconcile(&LockRecord::locked(1, &key(2))).map(drop),
        done: |status| status.protection == Protection::Locking && status.kek_version == 1,
        keys: &[2],
    },
    Case {
        name: "change of the unlock key",
        start: start_locked,
        call: |keyring| keyring.reconcile(&LockRecord::locked(1, &key(2))).map(drop),
        done: |status| status.kek_version == 1 && status.deks.len() == 2,
        keys: &[2, 1],
    },
    Case {
        name: "change of the unlock key, DEK kept",
        start: start_locked,
        call: |keyring| {
            keyring.reconcile_with(&LockRecord::locked(1, &key(2)), Rekey::KeepDek).map(drop)
        },
        done: |status| status.kek_version == 1 && status.deks.len() == 1,
        keys: &[2, 1],
    },
    Case {
        name: "autolock off",
        start: start_locked,
        call: |keyring| keyring.reconcile(&LockRecord::off(1)).map(drop),
        done: |status| status.protection == Protection::Unlocking,
        keys: &[1],
    },
    Case {
        name: "a new DEK",
        start: start_locked,
        call: |keyring| keyring.rotate_dek(Reason::Requested).map(drop),
        done: |status| status.deks.len() == 2,
        keys: &[1],
    },
    Case {
        name: "the end of a sweep",
        start: start_resealed,
        call: |keyring| shown(keyring)?.finish().map(drop),
        done: |status| status.deks.len() == 1,
        keys: &[1],
    },
    Case {
        name: "the end of a sweep that stands in the clear",
        start: start_unlocking,
        call: |keyring| shown(keyring)?.finish().map(drop),
        done: |status| status.protection == Protection::Clear,
        keys: &[1],
    },
    Case {
        name: "an attachment",
        start: start_locked,
        call: |keyring| keyring.attach("large", &[7; 3000]),
        done: |status| status.attachments.iter().any(|(name, _)| name == "large"),
        keys: &[1],
    },
    Case {
        name: "an attachment less",
        start: start_locked,
        call: |keyring| keyring.detach("tls").map(drop),
        done: |status| status.attachments.is_empty(),
        keys: &[1],
    },
    Case {
        name: "a passphrase",
        start: start_locked,
        call: |keyring| {
            keyring.add_passphrase(&passphrases::phrase("passphrase"), passphrases::cheap())
        },
        done: |status| status.passphrases == 1,
        keys: &[1],
    },
    Case {
        name: "a reservation",
        start: start_opened,
        call: |keyring| seal(&raft(keyring)?.log(), 9).map(drop),
        done: |status| status.deks[0].uses >= 1 << 21,
        keys: &[1],
    },
    Case {
        name: "a pending unlock key",
        start: start_locked,
        call: |keyring| keyring.reconcile(&pending()).map(drop),
        done: |status| status.pending_unlock_key && status.deks.len() == 1,
        keys: &[1],
    },
    Case {
        name: "the confirmation of a pending unlock key",
        start: start_pending,
        call: |keyring| keyring.reconcile(&pending().confirm()?).map(drop),
        done: |status| !status.pending_unlock_key && status.deks.len() == 2,
        keys: &[2],
    },
    Case {
        name: "the withdrawal of a pending unlock key",
        start: start_pending,
        call: |keyring| keyring.reconcile(&pending().withdraw()?).map(drop),
        done: |status| !status.pending_unlock_key && status.deks.len() == 2,
        keys: &[1],
    },
    Case {
        name: "a declared leak with a pending unlock key",
        start: start_locked,
        call: |keyring| keyring.reconcile(&pending().with_leak()).map(drop),
        done: |status| status.pending_unlock_key && status.leak == 1 && status.deks[1].exposed,
        keys: &[1],
    },
];

/// Opens a disk with one of `keys` and looks at all that must be there; its epoch.
fn look(disk: &SimFs, keys: &[u8], entries: &[Entry], done: Option<fn(&Status) -> bool>) -> u64 {
    let opened = keys.iter().find_map(|n| match open(disk, &key(*n)) {
        Err(Error::WrongKey) => None,
        opened => Some(opened.unwrap()),
    });
    let keyring = opened.expect("a key that was reported opens the file");
    entries.iter().for_each(|entry| entry.open(&keyring).unwrap());
    let status = keyring.status();
    assert!(done.is_none_or(|done| done(&status)), "{status:?}");
    // And it goes on from there.
    sealed(&keyring, 100).open(&keyring).unwrap();
    status.epoch
}

fn poisoned(keyring: &Keyring, entries: &[Entry]) {
    assert!(keyring.status().poisoned);
    assert!(matches!(keyring.rotate_dek(Reason::Leaked), Err(Error::Poisoned)));
    assert!(matches!(keyring.attach("x", b"x"), Err(Error::Poisoned)));
    assert!(matches!(seal(&raft(keyring).unwrap().log(), 50), Err(Error::Poisoned)));
    entries.iter().for_each(|entry| entry.open(keyring).unwrap());
}

/// Opens the disk that had the fault, as the error told the caller to: what is found then, no
/// power cut may take back.
fn go_on(disk: &SimFs, keys: &[u8], entries: &[Entry]) {
    let keyring = keys.iter().find_map(|n| open(disk, &key(*n)).ok()).unwrap();
    let found = bytes(disk);
    for (name, up) in power_cuts(disk) {
        assert_eq!(bytes(&up), found, "{name}");
    }
    drop(keyring);
    look(disk, keys, entries, None);
}

#[test]
fn a_full_disk_keeps_nobody_from_opening() {
    let (disk, keyring) = locked();
    let entries = [sealed(&keyring, 1)];
    drop(keyring);
    let before = disk.operations();
    drop(unlock(&disk, &key(1)).unwrap());
    // The file is read, written anew, and its folder synced.
    let operations = disk.operations() - before;
    for n in 5..operations {
        disk.fail_at(n, io::ErrorKind::StorageFull);
        let opened = unlock(&disk, &key(1));
        if n == operations - 1 {
            assert!(matches!(opened, Err(Error::Io { op: "sync", .. })), "it may be lost");
        } else {
            entries[0].open(&opened.unwrap()).unwrap();
        }
        disk.fail_at(n, io::ErrorKind::Other);
        assert!(matches!(unlock(&disk, &key(1)), Err(Error::Io { .. })), "{n}");
    }
    let keyring = unlock(&disk, &key(1)).unwrap();
    disk.fail_at(1, io::ErrorKind::StorageFull);
    let refused = seal(&raft(&keyring).unwrap().log(), 3).map(drop);
    // What is sealed to make room is few.
    refused.unwrap();
    let status = keyring.status();
    assert!(!status.poisoned);
    let log = raft(&keyring).unwrap().log();
    let may_seal = |n: &u64| {
        // Removing what a crash left works, making the new file does not.
        disk.fail_at(1, io::ErrorKind::StorageFull);
        seal(&log, 10 + n).is_ok()
    };
    let sealed = (0..10_000).take_while(may_seal).count();
    assert_eq!(sealed, (1 << 12) - 1, "with the one before");
    assert!(!keyring.status().poisoned);
    entries[0].open(&keyring).unwrap();
}

fn check(case: &Case) {
    let calm = SimFs::new();
    let (keyring, _) = (case.start)(&calm);
    let before = calm.operations();
    (case.call)(&keyring).unwrap();
    let operations = calm.operations() - before;
    assert!(operations >= 5, "it writes");
    for fault in faults(operations) {
        let disk = SimFs::new();
        let (keyring, entries) = (case.start)(&disk);
        let before = bytes(&disk);
        strike(&disk, fault);
        let called = (case.call)(&keyring);
        let full = matches!(fault, Fault::Fail(_, io::ErrorKind::StorageFull));
        let harmless = matches!(fault, Fault::None) || (full && !keyring.status().poisoned);
        assert!(called.is_err() || harmless, "{}, {fault:?}", case.name);
        let done = matches!(fault, Fault::None).then_some(case.done);
        let keys = if called.is_ok() { &case.keys[..1] } else { case.keys };
        if called.is_err() && harmless {
            // There was no room, and nothing was changed: the same call again succeeds.
            assert_eq!(bytes(&disk), before, "{}, {fault:?}", case.name);
            let again = disk.after_kill();
            let keyring = case.keys.iter().find_map(|n| open(&again, &key(*n)).ok()).unwrap();
            (case.call)(&keyring).unwrap();
        } else if called.is_err() {
            poisoned(&keyring, &entries);
        }
        // Most outcomes have the same bytes; each is looked at once.
        let mut seen = HashMap::new();
        let mut outcome = |name: String, up: &SimFs| {
            let file = up.read_file(Path::new(FILE)).unwrap_or_default();
            *seen.entry(file).or_insert_with(|| {
                println!("{}, {fault:?}, {called:?}, {name}", case.name);
                look(up, keys, &entries, done)
            })
        };
        for (name, up) in power_cuts(&disk) {
            outcome(name, &up);
        }
        // Who was killed instead leaves a file that the next process makes durable.
        let next = disk.after_kill();
        let epoch = outcome("kill".to_owned(), &next);
        let next = disk.after_kill();
        let Ok(found) = Keyring::open(place(&next), &me(), LockPolicy::Any) else {
            panic!("{}, {fault:?}: not opened after a kill", case.name)
        };
        for (name, up) in power_cuts(&next) {
            assert_eq!(outcome(format!("kill, {name}"), &up), epoch);
        }
        drop(found);
        // The lock is free when the last handle goes.
        drop(keyring);
        if matches!(fault, Fault::Fail(..)) {
            go_on(&disk, keys, &entries);
        }
    }
}

#[test]
fn locking() {
    check(&CASES[0]);
}

#[test]
fn changing_the_unlock_key() {
    check(&CASES[1]);
    check(&CASES[2]);
}

#[test]
fn switching_autolock_off() {
    check(&CASES[3]);
}

#[test]
fn rotating() {
    check(&CASES[4]);
}

#[test]
fn sweeping() {
    check(&CASES[5]);
    check(&CASES[6]);
}

#[test]
fn attaching_and_detaching() {
    check(&CASES[7]);
    check(&CASES[8]);
}

#[test]
fn adding_a_passphrase() {
    check(&CASES[9]);
}

#[test]
fn reserving() {
    check(&CASES[10]);
}

/// With a pending key either key opens, whatever becomes of the write that brought it.
#[test]
fn changing_the_unlock_key_in_two_steps() {
    (11..15).for_each(|n| check(&CASES[n]));
    let disk = SimFs::new();
    let (keyring, entries) = start_pending(&disk);
    drop(keyring);
    for n in [1, 2] {
        look(&disk, &[n], &entries, None);
    }
}

#[test]
fn enrolling_a_passphrase_again() {
    let start = |disk: &SimFs| {
        let (keyring, entries) = start_locked(disk);
        keyring.add_passphrase(&passphrases::phrase("number one"), passphrases::cheap()).unwrap();
        keyring.rotate_dek(Reason::Leaked).unwrap();
        entries
    };
    let unlock = |disk: &SimFs| passphrases::unlock_with(disk, "number one");
    let calm = SimFs::new();
    start(&calm);
    let before = calm.operations();
    unlock(&calm).unwrap();
    for fault in faults(calm.operations() - before) {
        let disk = SimFs::new();
        let entries = start(&disk);
        strike(&disk, fault);
        let opened = unlock(&disk);
        if let (Fault::None, Ok(keyring)) = (fault, &opened) {
            assert!(!keyring.status().slots[1].exposed);
        }
        drop(opened);
        for (_, up) in power_cuts(&disk).chain([(String::new(), disk.after_kill())]) {
            let keyring = unlock(&up).unwrap();
            entries.iter().for_each(|entry| entry.open(&keyring).unwrap());
            assert!(!keyring.status().slots[1].exposed, "{fault:?}");
            drop(keyring);
            look(&up, &[1], &entries, None);
        }
    }
}

#[test]
fn creating() {
    let make = |disk: &SimFs| {
        Keyring::create(place(disk), &me(), Protector::unlock_key(&key(1)), &[("tls", PEM)])
    };
    let calm = SimFs::new();
    make(&calm).unwrap();
    for fault in faults(calm.operations()) {
        let disk = SimFs::new();
        strike(&disk, fault);
        let made = make(&disk);
        let failed = made.is_err();
        drop(made);
        let later = power_cuts(&disk).chain([("kill".to_owned(), disk.after_kill())]);
        for (name, up) in later {
            match unlock(&up, &key(1)) {
                Ok(keyring) => assert_eq!(keyring.attachment("tls").unwrap().expose(), PEM),
                // Nothing was sealed yet; it is made as if for the first time.
                Err(Error::Missing(_)) if failed => drop(make(&up).unwrap()),
                other => panic!("{fault:?}, {name}: {other:?}"),
            }
        }
        if matches!(fault, Fault::Fail(..)) && failed {
            match make(&disk) {
                Ok(_) | Err(Error::Exists(_)) => {}
                other => panic!("{fault:?}: {other:?}"),
            }
            unlock(&disk, &key(1)).unwrap();
        }
    }
}
