//! Locking, unlocking and changed keys, through the files, with a restart after every step.

use std::io::Cursor;

use super::*;
use crate::key::Protection;

fn ids(keyring: &Keyring) -> Vec<crate::key::DekId> {
    keyring.status().deks.iter().map(|dek| dek.id).collect()
}

#[test]
fn from_the_clear_to_locked() {
    let disk = SimFs::new();
    let keyring = create(&disk, Protector::none());
    let mut entries = vec![sealed(&keyring, 1)];
    let clear_file = bytes(&disk);
    let status = keyring.status();
    assert_eq!(status.protection, Protection::Clear);
    assert!(status.deks[0].exposed && status.attachments == [("tls".to_owned(), true)]);
    let keyring = restart(&disk, keyring, &key(9));

    let record = LockRecord::locked(1, &key(1));
    assert_eq!(keyring.reconcile(&record).unwrap(), Reconciled::Applied);
    let status = keyring.status();
    assert_eq!((status.protection, status.kek_version), (Protection::Locking, 1));
    assert!(!status.deks[0].exposed && status.deks[1].exposed && status.deks.len() == 2);
    assert!(status.running.contains(Reason::Locked));
    let keyring = restart(&disk, keyring, &key(1));
    entries.push(sealed(&keyring, 2));

    round(&keyring, &mut entries);
    assert_eq!(keyring.status().protection, Protection::Locking, "the TLS key lay in the clear");
    let keyring = restart(&disk, keyring, &key(1));
    // The same TLS key again is the one that lay in the clear.
    keyring.attach("tls", PEM).unwrap();
    assert_eq!(keyring.status().protection, Protection::Locking);
    keyring.attach("tls", b"new").unwrap();
    assert_eq!(keyring.status().protection, Protection::Locked);
    let keyring = restart(&disk, keyring, &key(1));
    entries.iter().for_each(|entry| entry.open(&keyring).unwrap());
    drop(keyring);

    // The file of the clear time, put back, opens nothing of now.
    put(&disk, &clear_file);
    let old = open(&disk, &key(9)).unwrap();
    assert!(entries.iter().all(|entry| matches!(entry.open(&old), Err(Error::UnknownDek(_)))));
}

#[test]
fn from_locked_to_the_clear() {
    let (disk, keyring) = locked();
    keyring.add_passphrase(&passphrases::phrase("passphrase"), passphrases::cheap()).unwrap();
    let mut entries = vec![sealed(&keyring, 1)];
    let locked_dek = ids(&keyring)[0];

    keyring.reconcile(&LockRecord::off(4)).unwrap();
    let status = keyring.status();
    assert_eq!(status.protection, Protection::Unlocking);
    assert_eq!((status.kek_version, status.applied_version), (0, 4));
    assert!(status.deks.iter().all(|dek| !dek.exposed));
    let keyring = restart(&disk, keyring, &key(1));
    assert!(!above(&disk).contains("slot none"), "the DEK of the locked time is in it");
    entries.push(sealed(&keyring, 2));

    // One entry is left under it: the file stays locked.
    entries[1].reseal(&keyring);
    let mut sweep = shown(&keyring).unwrap();
    entries.iter().for_each(|entry| sweep.see(&entry.record).unwrap());
    assert_eq!(sweep.finish().unwrap(), [(locked_dek, 1)]);
    let keyring = restart(&disk, keyring, &key(1));
    assert_eq!(keyring.status().protection, Protection::Unlocking);

    round(&keyring, &mut entries);
    let status = keyring.status();
    assert_eq!((status.protection, status.kek_version), (Protection::Clear, 4));
    assert_eq!((status.deks.len(), status.passphrases), (1, 0));
    assert!(status.deks[0].id != locked_dek && status.deks[0].exposed);
    assert_eq!(status.attachments, [("tls".to_owned(), true)]);
    assert_eq!(Keyring::inspect(place(&disk)).unwrap().slots, [SlotInfo::None]);
    let keyring = restart(&disk, keyring, &key(9));
    entries.iter().for_each(|entry| entry.open(&keyring).unwrap());
}

#[test]
fn autolock_on_again_before_it_was_off() {
    for (new, rotated) in [(1, 2), (2, 3)] {
        let (disk, keyring) = locked();
        keyring.reconcile(&LockRecord::off(1)).unwrap();
        keyring.reconcile(&LockRecord::locked(2, &key(new))).unwrap();
        assert_eq!(ids(&keyring).len(), rotated);
        let keyring = restart(&disk, keyring, &key(new));
        assert_eq!(keyring.status().protection, Protection::Locked);
        round(&keyring, &mut []);
        assert_eq!(keyring.status().protection, Protection::Locked);
        drop(restart(&disk, keyring, &key(new)));
    }
}

/// W3: one who has an old file and the old unlock key, and all that is on the disk today.
#[test]
fn an_old_file_and_its_key_open_nothing_that_came_after_a_change() {
    for rekey in [Rekey::NewDek, Rekey::Leaked, Rekey::KeepDek] {
        let (disk, keyring) = locked();
        let old_file = bytes(&disk);
        let mut entries = vec![sealed(&keyring, 1)];
        keyring.reconcile_with(&LockRecord::locked(1, &key(2)), rekey).unwrap();
        entries.push(sealed(&keyring, 2));
        let cell = raft(&keyring).unwrap().cells().seal("t", b"r", b"v").unwrap().bytes().to_vec();
        let mut writer =
            raft(&keyring).unwrap().streams().create("s", Cursor::new(Vec::new())).unwrap();
        std::io::Write::write_all(&mut writer, b"state").unwrap();
        let (stream, _) = writer.finish(id(2), b"").unwrap();
        let stream = stream.into_inner();
        if rekey != Rekey::KeepDek {
            round(&keyring, &mut entries);
        }
        let keyring = restart(&disk, keyring, &key(2));
        entries.iter().for_each(|entry| entry.open(&keyring).unwrap());
        drop(keyring);

        assert!(matches!(unlock(&disk, &key(1)), Err(Error::WrongKey)), "the new file");
        put(&disk, &old_file);
        let thief = unlock(&disk, &key(1)).unwrap();
        let opened = [
            entries[0].open(&thief),
            entries[1].open(&thief),
            raft(&thief).unwrap().cells().open("t", b"r", &cell).map(drop),
            raft(&thief).unwrap().streams().open("s", Cursor::new(stream)).map(drop),
        ];
        // KeepDek is the exception that its documentation says it is.
        for opened in opened {
            match rekey {
                Rekey::KeepDek => opened.unwrap(),
                _ => assert!(matches!(opened, Err(Error::UnknownDek(_)))),
            }
        }
    }
}

#[test]
fn a_leaked_key_exposes_what_it_locked() {
    let (disk, keyring) = locked();
    let mut entries = [sealed(&keyring, 1)];
    keyring.reconcile_with(&LockRecord::locked(1, &key(2)), Rekey::Leaked).unwrap();
    let status = keyring.status();
    assert_eq!(status.protection, Protection::Locking);
    assert!(!status.deks[0].exposed && status.deks[1].exposed && status.attachments[0].1);
    let keyring = restart(&disk, keyring, &key(2));
    round(&keyring, &mut entries);
    keyring.attach("tls", b"new").unwrap();
    assert_eq!(keyring.status().protection, Protection::Locked);
}

#[test]
fn reconcile_writes_only_what_changed() {
    let (disk, keyring) = locked();
    let newest = LockRecord::locked(3, &key(2));
    keyring.reconcile(&newest).unwrap();
    let (status, file) = (keyring.status(), bytes(&disk));
    for _ in 0..3 {
        assert_eq!(keyring.reconcile(&newest).unwrap(), Reconciled::Unchanged);
        for old in [LockRecord::locked(2, &key(1)), LockRecord::off(0)] {
            assert_eq!(keyring.reconcile(&old).unwrap(), Reconciled::Stale { applied: 3 });
        }
        for other in [LockRecord::locked(3, &key(3)), LockRecord::off(3)] {
            let refused = keyring.reconcile(&other);
            let conflict = Misuse::ConflictingLockRecord { version: 3 };
            assert!(matches!(refused, Err(Error::Misuse(misuse)) if misuse == conflict));
        }
    }
    assert_eq!((keyring.status(), bytes(&disk)), (status, file));

    // A newer version of the same key is taken over, and the DEK stays.
    let active = ids(&keyring)[0];
    assert_eq!(keyring.reconcile(&LockRecord::locked(5, &key(2))).unwrap(), Reconciled::Applied);
    assert_eq!((keyring.status().kek_version, ids(&keyring)[0]), (5, active));
    drop(restart(&disk, keyring, &key(2)));
}

#[test]
fn a_record_that_went_through_raft_locks_for_a_key_that_the_node_never_had() {
    for record in [LockRecord::locked(3, &key(2)), LockRecord::retrievable(3, &key(2))] {
        let record = LockRecord::decode(record.encode().expose()).unwrap();
        let (disk, keyring) = locked();
        keyring.reconcile(&record).unwrap();
        drop(restart(&disk, keyring, &key(2)));

        let joined = SimFs::new();
        let keyring = create(&joined, Protector::lock_record(&record));
        assert_eq!(keyring.reconcile(&record).unwrap(), Reconciled::Unchanged);
        let keyring = restart(&joined, keyring, &key(2));
        assert_eq!(keyring.status().kek_version, 3);
    }
    let joined = SimFs::new();
    let keyring = create(&joined, Protector::lock_record(&LockRecord::off(7)));
    let status = keyring.status();
    assert_eq!((status.protection, status.kek_version), (Protection::Clear, 7));
}

#[test]
fn a_node_that_missed_two_changes() {
    let (disk, keyring) = locked();
    let mut entries = [sealed(&keyring, 1)];
    drop(keyring);
    // It starts with the key that it knew, then learns of the third.
    let keyring = unlock(&disk, &key(1)).unwrap();
    assert_eq!(keyring.reconcile(&LockRecord::locked(2, &key(3))).unwrap(), Reconciled::Applied);
    let missed = keyring.reconcile(&LockRecord::locked(1, &key(2))).unwrap();
    assert_eq!(missed, Reconciled::Stale { applied: 2 });
    let keyring = restart(&disk, keyring, &key(3));
    round(&keyring, &mut entries);
    drop(keyring);
    for old in [1, 2] {
        assert!(matches!(unlock(&disk, &key(old)), Err(Error::WrongKey)));
    }
    entries[0].open(&unlock(&disk, &key(3)).unwrap()).unwrap();
}
