//! New DEKs, sweeps, use counts and attachments.

use super::*;
use crate::key::Protection;

#[test]
fn requests_coalesce_and_the_last_round_ends() {
    let (disk, keyring) = locked();
    let mut entries = [sealed(&keyring, 1)];
    keyring.rotate_dek(Reason::Requested).unwrap();
    let active = keyring.status().deks[0].id;
    keyring.rotate_dek(Reason::Age).unwrap();
    keyring.rotate_dek(Reason::Uses).unwrap();
    let status = keyring.status();
    assert_eq!((status.deks[0].id, status.deks.len()), (active, 2));
    assert!(status.queued.contains(Reason::Age) && status.queued.contains(Reason::Uses));
    // Asked for already: not even a write.
    keyring.rotate_dek(Reason::Age).unwrap();
    assert_eq!(keyring.status().epoch, status.epoch);
    let keyring = restart(&disk, keyring, &key(1));

    round(&keyring, &mut entries);
    let status = keyring.status();
    assert!(status.deks[0].id != active && status.deks[1].id == active);
    assert!(status.queued.is_empty() && status.running.contains(Reason::Uses));
    round(&keyring, &mut entries);
    let status = keyring.status();
    assert!(status.deks.len() == 1 && status.running.is_empty());
    entries[0].open(&restart(&disk, keyring, &key(1))).unwrap();
}

#[test]
fn a_leak_does_not_wait_for_a_rotation_under_way() {
    let (disk, keyring) = locked();
    let mut entries = [sealed(&keyring, 1)];
    keyring.rotate_dek(Reason::Requested).unwrap();
    keyring.rotate_dek(Reason::Leaked).unwrap();
    let status = keyring.status();
    assert_eq!(status.deks.iter().map(|dek| dek.exposed).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(status.protection, Protection::Locking);
    let keyring = restart(&disk, keyring, &key(1));
    round(&keyring, &mut entries);
    keyring.attach("tls", b"new").unwrap();
    // Who had the key set has the slot's auth.
    assert_eq!(keyring.status().protection, Protection::Locking);
    assert_eq!(keyring.status().exposed(), [Exposed::UnlockKey]);
    keyring.reconcile(&LockRecord::locked(1, &key(2))).unwrap();
    keyring.attach("tls", b"newer").unwrap();
    round(&keyring, &mut entries);
    assert_eq!(keyring.status().protection, Protection::Locked);
    assert_eq!(keyring.status().exposed(), []);
}

#[test]
fn a_sweep_waits_for_what_is_on_its_way() {
    let (_disk, keyring) = locked();
    let (entry, in_flight) = seal(&raft(&keyring).unwrap().log(), 1).unwrap();
    keyring.rotate_dek(Reason::Requested).unwrap();
    assert!(matches!(keyring.sweep(), Err(Error::Misuse(Misuse::InFlight))));
    in_flight.durable();
    let old = keyring.status().deks[1].id;
    let mut sweep = shown(&keyring).unwrap();
    sweep.see(&entry.record).unwrap();
    sweep.see(&entry.record).unwrap();
    // A DEK that begins to retire while a sweep runs is not its concern.
    keyring.rotate_dek(Reason::UnlockKeyChanged).unwrap();
    assert_eq!(sweep.finish().unwrap(), [(old, 2)]);
    assert_eq!(keyring.status().deks.len(), 3);
    entry.open(&keyring).unwrap();

    let mut sweep = shown(&keyring).unwrap();
    for not_sealed in [&b""[..], b"\x01short", b"\0 twelve bytes", b"\x04 twelve bytes"] {
        assert!(matches!(sweep.see(not_sealed), Err(Error::Damaged { .. })));
    }
    sweep.see(&entry.record).unwrap();
    sweep.finish().unwrap();
    assert_eq!(keyring.status().deks.len(), 2);
    entry.open(&keyring).unwrap();
}

#[test]
fn what_a_dropped_dek_sealed_is_gone() {
    let (_disk, keyring) = locked();
    let entry = sealed(&keyring, 1);
    keyring.rotate_dek(Reason::Requested).unwrap();
    shown(&keyring).unwrap().finish().unwrap();
    let named = Log::dek_of(&entry.record).unwrap();
    match entry.open(&keyring) {
        Err(Error::UnknownDek(id)) => assert_eq!(id, named.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn uses_are_reserved_before_they_happen() {
    let (disk, keyring) = locked();
    let block = 1 << 20;
    let log = raft(&keyring).unwrap().log();
    let used = |keyring: &Keyring| keyring.status().deks[0].uses;
    let mut entries: Vec<Entry> = (1..=3).map(|index| sealed(&keyring, index)).collect();
    assert_eq!((used(&keyring), keyring.status().epoch), (3, 1));
    drop(log);
    drop(keyring);
    // It may have used them all.
    let keyring = unlock(&disk, &key(1)).unwrap();
    assert_eq!((used(&keyring), keyring.status().epoch), (block, 1));
    entries.push(sealed(&keyring, 4));
    assert_eq!((used(&keyring), keyring.status().epoch), (block + 1, 2));
    drop(keyring);
    let keyring = unlock(&disk, &key(1)).unwrap();
    // The block of the write before begins where the count stood then.
    assert_eq!(used(&keyring), 2 * block);
    // More than a block at once.
    drop(keyring.shared().acquire(3 * block).unwrap());
    assert_eq!(used(&keyring), 5 * block);
    drop(keyring);
    let keyring = unlock(&disk, &key(1)).unwrap();
    assert!(used(&keyring) >= 5 * block);
    assert!(keyring.shared().acquire(u64::MAX).is_err());
    assert!(!keyring.status().poisoned);
    entries.iter().for_each(|entry| entry.open(&keyring).unwrap());
}

#[test]
fn attachments_have_names_and_limits() {
    let (disk, keyring) = locked();
    let large = vec![7; MAX_ATTACHMENT];
    for bad in ["", "a b", "a/b", &"x".repeat(65)] {
        assert!(matches!(keyring.attach(bad, b"x"), Err(Error::Misuse(Misuse::Name(_)))), "{bad}");
    }
    let too_large = |refused| matches!(refused, Err(Error::Misuse(Misuse::TooLarge { .. })));
    assert!(too_large(keyring.attach("x", &[&large[..], b"x"].concat())));
    keyring.attach("tls", b"").unwrap();
    for n in 0..16 {
        keyring.attach(&format!("a{n}"), &large).unwrap();
    }
    assert!(too_large(keyring.attach("one-more", b"x")));
    let status = keyring.status();
    keyring.attach("a0", &vec![8; MAX_ATTACHMENT]).unwrap(); // in place of the other
    let keyring = restart(&disk, keyring, &key(1));
    assert_eq!(keyring.status().attachments, status.attachments);
    assert_eq!(keyring.attachment("a0").unwrap().expose(), vec![8; MAX_ATTACHMENT]);
    assert!(keyring.attachment("tls").unwrap().is_empty());

    assert!(keyring.detach("a0").unwrap() && !keyring.detach("a0").unwrap());
    assert!(keyring.attachment("a0").is_none());
    keyring.attach("one-more", b"x").unwrap();
    assert!(restart(&disk, keyring, &key(1)).attachment("a0").is_none());
}

#[test]
fn attachments_are_checked_before_a_file_is_made() {
    let disk = SimFs::new();
    let create = |attachments: &[(&str, &[u8])]| {
        Keyring::create(place(&disk), &me(), Protector::none(), attachments)
    };
    let large = vec![0; MAX_ATTACHMENT + 1];
    assert!(matches!(create(&[("a b", b"")]), Err(Error::Misuse(Misuse::Name(_)))));
    assert!(matches!(create(&[("a", &large)]), Err(Error::Misuse(Misuse::TooLarge { .. }))));
    assert!(matches!(create(&[("a", b"1"), ("a", b"2")]), Err(Error::Misuse(Misuse::State(_)))));
    let names: Vec<String> = (0..17).map(|n| format!("a{n}")).collect();
    let all: Vec<(&str, &[u8])> = names.iter().map(|n| (&n[..], &large[1..])).collect();
    assert!(matches!(create(&all), Err(Error::Misuse(Misuse::TooLarge { .. }))));
    assert_eq!(disk.operations(), 0);
    create(&all[1..]).unwrap();
}
