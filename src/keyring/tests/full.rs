//! Key files that hold as many DEKs as they can: what waits, what does not, and what makes room.

use super::passphrases::{cheap, phrase};
use super::*;
use crate::key::{MAX_DEKS, Protection, RESERVED_DEKS, RotateDek};

const URGENT: Reason = Reason::UnlockKeyChanged;
/// As many DEKs as there are without the reserved ones.
const OPEN: usize = MAX_DEKS - RESERVED_DEKS;

/// Rotates until `keyring` holds `count` DEKs.
fn fill(keyring: &Keyring, count: usize) {
    for held in keyring.status().deks.len()..count {
        let reason = if held < OPEN { URGENT } else { Reason::Leaked };
        assert_eq!(keyring.rotate_dek(reason).unwrap(), RotateDek::Rotated);
    }
    assert_eq!(keyring.status().deks.len(), count);
}

/// Nothing changed, and the error says what makes room.
fn refused<T>(keyring: &Keyring, call: impl FnOnce(&Keyring) -> Result<T>) {
    let before = keyring.status();
    let error = call(keyring).err().unwrap();
    assert!(matches!(error, Error::Misuse(Misuse::FullOfDeks { limit: MAX_DEKS })), "{error}");
    for named in ["Store::rotation", "Keyring::sweep"] {
        assert!(error.to_string().contains(named), "{error}");
    }
    assert_eq!(keyring.status(), before);
}

#[test]
fn an_urgent_request_waits_for_one_dropped_dek_and_says_so() {
    let (disk, keyring) = locked();
    let mut entries = [sealed(&keyring, 1)];
    fill(&keyring, OPEN);
    assert_eq!(keyring.rotate_dek(URGENT).unwrap(), RotateDek::Queued);
    let status = keyring.status();
    assert!(status.deks.len() == OPEN && status.queued.contains(URGENT));
    let keyring = restart(&disk, keyring, &key(1));

    // The entry's DEK is named still, all others go: the new one does not wait for it.
    let mut sweep = shown(&keyring).unwrap();
    sweep.see(&entries[0].record).unwrap();
    assert_eq!(sweep.finish().unwrap().len(), 1);
    let after = keyring.status();
    assert!(after.deks[0].id != status.deks[0].id);
    assert_eq!(after.deks.len(), 3);
    assert!(after.queued.is_empty() && after.running.contains(URGENT));
    round(&keyring, &mut entries);
    entries[0].open(&keyring).unwrap();
}

/// All DEKs of a full file are named but one.
#[test]
fn a_changed_unlock_key_gets_its_dek_from_a_sweep_that_drops_one() {
    let (_disk, keyring) = locked();
    let mut entries = Vec::new();
    for index in 1..OPEN {
        entries.push(sealed(&keyring, index.try_into().unwrap()));
        assert_eq!(keyring.rotate_dek(URGENT).unwrap(), RotateDek::Rotated);
    }
    keyring.reconcile(&LockRecord::locked(1, &key(2))).unwrap();
    let queued = keyring.status();
    assert!(queued.queued.contains(URGENT) && queued.kek_version == 1);

    entries[7].reseal(&keyring);
    let mut sweep = shown(&keyring).unwrap();
    entries.iter().for_each(|entry| sweep.see(&entry.record).unwrap());
    // All that were retiring but one are named still.
    assert_eq!(sweep.finish().unwrap().len(), OPEN - 2);
    let after = keyring.status();
    assert!(after.queued.is_empty() && after.deks[0].id != queued.deks[0].id);
    assert_eq!(after.deks.len(), OPEN);
    entries.iter().for_each(|entry| entry.open(&keyring).unwrap());
}

#[test]
fn a_leak_has_room_of_its_own_and_then_says_what_makes_room() {
    let (disk, keyring) = locked();
    let mut entries = [sealed(&keyring, 1)];
    fill(&keyring, MAX_DEKS);
    assert!(!keyring.status().deks[0].exposed);
    refused(&keyring, |keyring| keyring.rotate_dek(Reason::Leaked));
    let applied = LockRecord::locked(0, &key(1));
    refused(&keyring, |keyring| keyring.reconcile_with(&applied, Rekey::Leaked));
    let declared = LockRecord::locked(1, &key(1)).with_key(&key(2)).unwrap().with_leak();
    refused(&keyring, |keyring| keyring.reconcile(&declared));

    // The leak is not forgotten: the record acts once there is room.
    let keyring = restart(&disk, keyring, &key(1));
    round(&keyring, &mut entries);
    assert_eq!(keyring.reconcile(&declared).unwrap(), Reconciled::Applied);
    let status = keyring.status();
    assert!(status.leak == declared.version() && status.deks[1].exposed);
    assert_eq!(keyring.reconcile(&declared).unwrap(), Reconciled::Unchanged);
    entries[0].open(&keyring).unwrap();
}

#[test]
fn the_first_lock_has_room_of_its_own_and_then_says_what_makes_room() {
    for held in [OPEN, MAX_DEKS] {
        let disk = SimFs::new();
        let keyring = create(&disk, Protector::none());
        let mut entries = [sealed(&keyring, 1)];
        fill(&keyring, held);
        let record = LockRecord::locked(1, &key(1));
        if held == MAX_DEKS {
            refused(&keyring, |keyring| keyring.reconcile(&record));
            assert_eq!(keyring.status().protection, Protection::Clear);
            round(&keyring, &mut entries);
        }
        assert_eq!(keyring.reconcile(&record).unwrap(), Reconciled::Applied);
        assert!(!keyring.status().deks[0].exposed);
        entries[0].open(&restart(&disk, keyring, &key(1))).unwrap();
    }
}

/// An exposed slot that goes exposes the active DEK, which must not seal on.
#[test]
fn an_exposed_slot_that_is_dropped_does_not_wait() {
    let change_key = |keyring: &Keyring| {
        let record = LockRecord::locked(1, &key(2));
        keyring.reconcile_with(&record, Rekey::KeepDek).map(drop)
    };
    for drops in [Keyring::remove_passphrases, change_key] {
        let (_disk, keyring) = locked();
        keyring.add_passphrase(&phrase("number one"), cheap()).unwrap();
        fill(&keyring, OPEN);
        // One of the reserved DEKs, and the slots are exposed.
        keyring.rotate_dek(Reason::Leaked).unwrap();
        drops(&keyring).unwrap();
        let status = keyring.status();
        assert_eq!(status.deks.len(), MAX_DEKS);
        assert!(!status.deks[0].exposed && status.deks[1..].iter().all(|dek| dek.exposed));

        let (_disk, keyring) = locked();
        keyring.add_passphrase(&phrase("number one"), cheap()).unwrap();
        let mut entries = [sealed(&keyring, 1)];
        fill(&keyring, MAX_DEKS);
        refused(&keyring, drops);
        round(&keyring, &mut entries);
        drops(&keyring).unwrap();
        assert!(!keyring.status().deks[0].exposed);
        entries[0].open(&keyring).unwrap();
    }
}
