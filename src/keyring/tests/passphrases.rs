use super::*;

pub(super) fn phrase(text: &str) -> Passphrase {
    Passphrase::new(SecretBytes::from(text.as_bytes())).unwrap()
}

/// The least that is accepted.
pub(super) fn cheap() -> Costs {
    Costs::new(8 << 10, 1, 1).unwrap()
}

fn unlock_with(disk: &SimFs, passphrase: &str) -> Result<Keyring> {
    match Keyring::open(place(disk), &me(), LockPolicy::Locked)? {
        Opened::Locked(locked) => Ok(locked.unlock_with_passphrase(&phrase(passphrase))?),
        Opened::Unlocked(_) => panic!("opened without a key"),
    }
}

#[test]
fn each_of_four_opens_and_no_other() {
    let (disk, keyring) = locked();
    let entry = sealed(&keyring, 1);
    let all = ["one", "two", "three", "four"];
    for (n, passphrase) in all.iter().enumerate() {
        keyring.add_passphrase(&phrase(passphrase), cheap()).unwrap();
        assert_eq!(keyring.status().passphrases, n + 1);
    }
    let fifth = keyring.add_passphrase(&phrase("five"), cheap());
    assert!(matches!(fifth, Err(Error::Misuse(Misuse::TooLarge { limit: 4, .. }))));
    // They are wrapped anew without being there.
    keyring.rotate_dek(Reason::Requested).unwrap();
    keyring.reconcile(&LockRecord::locked(1, &key(2))).unwrap();
    let status = keyring.status();
    drop(keyring);

    for passphrase in all {
        let keyring = unlock_with(&disk, passphrase).unwrap();
        entry.open(&keyring).unwrap();
        assert_eq!(keyring.status().deks.len(), status.deks.len());
    }
    for wrong in ["five", "one ", "ONE"] {
        assert!(matches!(unlock_with(&disk, wrong), Err(Error::WrongKey)), "{wrong}");
    }
    // The bytes of an unlock key are no passphrase, nor is a passphrase another file's.
    unlock(&disk, &key(2)).unwrap();
    let (other, keyring) = locked();
    drop(keyring);
    assert!(matches!(unlock_with(&other, "one"), Err(Error::WrongKey)));
}

#[test]
fn a_failed_guess_gives_the_file_back() {
    let (disk, keyring) = locked();
    keyring.add_passphrase(&phrase("one"), cheap()).unwrap();
    drop(keyring);
    let Opened::Locked(locked) = Keyring::open(place(&disk), &me(), LockPolicy::Locked).unwrap()
    else {
        panic!("not locked")
    };
    let costs = [SlotInfo::Unlock, SlotInfo::Passphrase(cheap())];
    assert_eq!(locked.inspection().slots, costs);
    let failed = locked.unlock_with_passphrase(&phrase("two")).unwrap_err();
    assert!(matches!(failed.error, Error::WrongKey));
    let failed = failed.locked.unlock(&key(2)).unwrap_err();
    assert!(matches!(Keyring::open(place(&disk), &me(), LockPolicy::Any), Err(Error::Busy(_))));
    failed.locked.unlock_with_passphrase(&phrase("one")).unwrap();
}

#[test]
fn removed_with_a_new_dek() {
    let (disk, keyring) = locked();
    let mut entries = [sealed(&keyring, 1)];
    keyring.add_passphrase(&phrase("one"), cheap()).unwrap();
    let (old_file, old_dek) = (bytes(&disk), keyring.status().deks[0].id);
    keyring.remove_passphrases().unwrap();
    let status = keyring.status();
    assert_eq!(status.passphrases, 0);
    assert!(status.deks[0].id != old_dek && status.deks[1].id == old_dek);
    assert!(status.running.contains(Reason::UnlockKeyChanged));
    let later = sealed(&keyring, 2);
    round(&keyring, &mut entries);

    // Without one there is nothing to do.
    let epoch = keyring.status().epoch;
    keyring.remove_passphrases().unwrap();
    assert_eq!(keyring.status().epoch, epoch);
    drop(keyring);
    assert!(matches!(unlock_with(&disk, "one"), Err(Error::WrongKey)));
    let keyring = unlock(&disk, &key(1)).unwrap();
    entries[0].open(&keyring).unwrap();
    drop(keyring);

    put(&disk, &old_file);
    let old = unlock_with(&disk, "one").unwrap();
    assert!(matches!(later.open(&old), Err(Error::UnknownDek(_))));
    assert!(matches!(entries[0].open(&old), Err(Error::UnknownDek(_))));
}

#[test]
fn a_slots_costs_and_salt_are_bound() {
    let (disk, keyring) = locked();
    keyring.add_passphrase(&phrase("one"), cheap()).unwrap();
    drop(keyring);
    let lines = above(&disk);
    let salt = lines.find("slot passphrase ").unwrap() + "slot passphrase ".len();
    let other_salt = if lines[salt..].starts_with('A') { "B" } else { "A" };
    let edited = [&lines[..salt], other_salt, &lines[salt + 1..]].concat();
    for edited in [lines.replacen("8192,1,1", "8193,1,1", 1), edited] {
        put(&disk, &checked(edited.as_bytes()));
        assert!(matches!(unlock_with(&disk, "one"), Err(Error::WrongKey)));
        assert!(matches!(unlock(&disk, &key(1)), Err(Error::Unauthentic)));
    }
}

#[test]
fn a_file_in_the_clear_takes_none() {
    let disk = SimFs::new();
    let keyring = create(&disk, Protector::none());
    let refused = keyring.add_passphrase(&phrase("one"), cheap());
    assert!(matches!(refused, Err(Error::Misuse(Misuse::State(_)))));
    assert_eq!(keyring.status().epoch, 1);
    assert!(Passphrase::new(SecretBytes::new()).is_err());
    assert!(Passphrase::new(SecretBytes::from(&[b'x'; 1025][..])).is_err());
}
