use super::*;

pub(super) fn phrase(text: &str) -> Passphrase {
    Passphrase::new(SecretBytes::from(text.as_bytes())).unwrap()
}

/// The least that a new slot takes.
pub(super) fn cheap() -> Costs {
    Costs::FLOOR
}

pub(super) fn unlock_with(disk: &SimFs, passphrase: &str) -> Result<Keyring> {
    match Keyring::open(place(disk), &me(), LockPolicy::Locked)? {
        Opened::Locked(locked) => Ok(locked.unlock_with_passphrase(&phrase(passphrase))?),
        Opened::Unlocked(_) => panic!("opened without a key"),
    }
}

#[test]
fn each_of_four_opens_and_no_other() {
    let (disk, keyring) = locked();
    let entry = sealed(&keyring, 1);
    let all = ["number one", "number two", "number three", "number four"];
    for (n, passphrase) in all.iter().enumerate() {
        keyring.add_passphrase(&phrase(passphrase), cheap()).unwrap();
        assert_eq!(keyring.status().passphrases, n + 1);
    }
    let fifth = keyring.add_passphrase(&phrase("number five"), cheap());
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
    for wrong in ["number five", "number one ", "NUMBER ONE"] {
        assert!(matches!(unlock_with(&disk, wrong), Err(Error::WrongKey)), "{wrong}");
    }
    // The bytes of an unlock key are no passphrase, nor is a passphrase another file's.
    unlock(&disk, &key(2)).unwrap();
    let (other, keyring) = locked();
    drop(keyring);
    assert!(matches!(unlock_with(&other, "number one"), Err(Error::WrongKey)));
}

#[test]
fn a_failed_guess_gives_the_file_back() {
    let (disk, keyring) = locked();
    keyring.add_passphrase(&phrase("number one"), cheap()).unwrap();
    drop(keyring);
    let Opened::Locked(locked) = Keyring::open(place(&disk), &me(), LockPolicy::Locked).unwrap()
    else {
        panic!("not locked")
    };
    let costs = [SlotInfo::Unlock, SlotInfo::Passphrase(cheap())];
    assert_eq!(locked.inspection().slots, costs);
    let failed = locked.unlock_with_passphrase(&phrase("number two")).unwrap_err();
    assert!(matches!(failed.error, Error::WrongKey));
    let failed = failed.locked.unlock(&key(2)).unwrap_err();
    assert!(matches!(Keyring::open(place(&disk), &me(), LockPolicy::Any), Err(Error::Busy(_))));
    failed.locked.unlock_with_passphrase(&phrase("number one")).unwrap();
}

#[test]
fn removed_with_a_new_dek() {
    let (disk, keyring) = locked();
    let mut entries = [sealed(&keyring, 1)];
    keyring.add_passphrase(&phrase("number one"), cheap()).unwrap();
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
    assert!(matches!(unlock_with(&disk, "number one"), Err(Error::WrongKey)));
    let keyring = unlock(&disk, &key(1)).unwrap();
    entries[0].open(&keyring).unwrap();
    drop(keyring);

    put(&disk, &old_file);
    let old = unlock_with(&disk, "number one").unwrap();
    assert!(matches!(later.open(&old), Err(Error::UnknownDek(_))));
    assert!(matches!(entries[0].open(&old), Err(Error::UnknownDek(_))));
}

#[test]
fn a_slots_costs_and_id_are_bound() {
    let (disk, keyring) = locked();
    keyring.add_passphrase(&phrase("number one"), cheap()).unwrap();
    drop(keyring);
    let lines = above(&disk);
    let id = lines.find("slot passphrase ").unwrap() + "slot passphrase ".len();
    let other_id = if lines[id..].starts_with('A') { "B" } else { "A" };
    let edited = [&lines[..id], other_id, &lines[id + 1..]].concat();
    for edited in [lines.replacen("19456,2,1", "19457,2,1", 1), edited] {
        put(&disk, &checked(edited.as_bytes()));
        assert!(matches!(unlock_with(&disk, "number one"), Err(Error::WrongKey)));
        assert!(matches!(unlock(&disk, &key(1)), Err(Error::Unauthentic)));
    }
}

#[test]
fn a_new_slot_is_not_weak() {
    let (_, keyring) = locked();
    let refused = |passphrase: &[u8], costs| {
        let passphrase = Passphrase::new(SecretBytes::from(passphrase)).unwrap();
        match keyring.add_passphrase(&passphrase, costs) {
            Err(Error::Misuse(Misuse::TooWeak { what, .. })) => what.contains("passphrase"),
            other => panic!("{other:?}"),
        }
    };
    // Seven characters, also of two bytes each, and seven bytes that are no text.
    for short in ["x".repeat(7).as_bytes(), "ü".repeat(7).as_bytes(), &[0xff; 7]] {
        assert!(refused(short, Costs::default()));
    }
    for (memory_kib, passes, lanes) in [(8 << 10, 16, 16), ((19 << 10) - 1, 2, 1), (1 << 20, 1, 16)]
    {
        assert!(!refused(b"eight ch", Costs::new(memory_kib, passes, lanes).unwrap()));
    }
    assert_eq!(keyring.status().epoch, 1);
    keyring.add_passphrase(&phrase("eight ch"), Costs::FLOOR).unwrap();
    let other = Passphrase::new(SecretBytes::from(&[0xff; 8][..])).unwrap();
    keyring.add_passphrase(&other, Costs::FLOOR).unwrap();
}

/// What a file asks for is decided by whoever wrote it last, without any key.
#[test]
fn a_file_cannot_demand_more_than_the_ceiling() {
    let (disk, keyring) = locked();
    keyring.add_passphrase(&phrase("number one"), cheap()).unwrap();
    drop(keyring);
    let lines = above(&disk);
    let line = lines.lines().find(|line| line.starts_with("slot passphrase")).unwrap();
    let open = || match Keyring::open(place(&disk), &me(), LockPolicy::Locked).unwrap() {
        Opened::Locked(locked) => locked,
        Opened::Unlocked(_) => panic!("not locked"),
    };
    for costs in ["262145,1,1", "8192,9,1", "8192,1,5", "1048576,16,16"] {
        let costly = line.replacen("19456,2,1", costs, 1);
        assert_ne!(costly, line);
        put(&disk, &checked(lines.replace(line, &costly).as_bytes()));
        let failed = open().unlock_with_passphrase(&phrase("number one")).unwrap_err();
        let Error::TooCostly { asked, ceiling } = &failed.error else { panic!("{failed}") };
        let [memory, passes, lanes] = costs.split(',').collect::<Vec<_>>()[..] else { panic!() };
        assert_eq!(*asked, format!("{memory} KiB, {passes} passes, {lanes} lanes"));
        assert_eq!(ceiling, "262144 KiB, 8 passes, 4 lanes");
        // The unlock key costs nothing: it is not held up, and finds that the file was altered.
        assert!(matches!(failed.locked.unlock(&key(1)).unwrap_err().error, Error::Unauthentic));

        // Before and behind a slot that is right.
        for both in [format!("{costly}\n{line}"), format!("{line}\n{costly}")] {
            put(&disk, &checked(lines.replace(line, &both).as_bytes()));
            let failed = open().unlock_with_passphrase(&phrase("number one")).unwrap_err();
            // Opened, and then seen to be altered.
            assert!(matches!(failed.error, Error::Unauthentic), "{failed}");
        }
    }
    put(&disk, &checked(lines.as_bytes()));
    let low = Costs::new(19 << 10, 1, 1).unwrap();
    let failed = open().ceiling(low).unlock_with_passphrase(&phrase("number one")).unwrap_err();
    assert!(matches!(failed.error, Error::TooCostly { .. }));
    failed.locked.ceiling(cheap()).unlock_with_passphrase(&phrase("number one")).unwrap();
}

#[test]
fn a_file_in_the_clear_takes_none() {
    let disk = SimFs::new();
    let keyring = create(&disk, Protector::none());
    let refused = keyring.add_passphrase(&phrase("number one"), cheap());
    assert!(matches!(refused, Err(Error::Misuse(Misuse::State(_)))));
    assert_eq!(keyring.status().epoch, 1);
    assert!(Passphrase::new(SecretBytes::new()).is_err());
    assert!(Passphrase::new(SecretBytes::from(&[b'x'; 1025][..])).is_err());
}

/// Whoever had the key set has the slot's auth, and could make a file that opens with the passphrase.
#[test]
fn an_exposed_passphrase_is_enrolled_again_when_it_next_opens() {
    let (disk, keyring) = locked();
    for passphrase in ["number one", "number two"] {
        keyring.add_passphrase(&phrase(passphrase), cheap()).unwrap();
    }
    let exposed = |keyring: &Keyring| -> Vec<bool> {
        keyring.status().slots.iter().map(|slot| slot.exposed).collect()
    };
    let auths = |keyring: &Keyring| -> Vec<Vec<u8>> {
        let writer = keyring.shared().writer();
        writer.set.passphrase_slots().map(|slot| slot.card.auth.expose().to_vec()).collect()
    };
    let known = auths(&keyring);
    keyring.rotate_dek(Reason::Leaked).unwrap();
    assert_eq!(exposed(&keyring), [true; 3]);
    assert!(keyring.status().exposed().contains(&Exposed::Passphrases(2)));
    let keyring = restart(&disk, keyring, &key(1));
    assert_eq!(exposed(&keyring), [true; 3], "an unlock key changes nothing");
    drop(keyring);

    // Read-only it waits.
    let opened = Keyring::open_read_only(place(&disk), &me(), LockPolicy::Locked).unwrap();
    let Opened::Locked(file) = opened else { panic!("not locked") };
    assert_eq!(exposed(&file.unlock_with_passphrase(&phrase("number one")).unwrap()), [true; 3]);

    let keyring = unlock_with(&disk, "number two").unwrap();
    assert_eq!(exposed(&keyring), [true, true, false]);
    assert!(auths(&keyring)[0] == known[0] && auths(&keyring)[1] != known[1]);
    let epoch = keyring.status().epoch;
    drop(keyring);
    assert_eq!(unlock_with(&disk, "number two").unwrap().status().epoch, epoch, "once");
    let keyring = unlock_with(&disk, "number one").unwrap();
    assert_eq!(exposed(&keyring), [true, false, false]);
    keyring.reconcile(&LockRecord::locked(1, &key(2))).unwrap();
    assert_eq!(exposed(&keyring), [false; 3]);
    drop(keyring);
    for passphrase in ["number one", "number two"] {
        unlock_with(&disk, passphrase).unwrap();
    }
}
