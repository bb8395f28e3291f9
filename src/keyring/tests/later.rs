//! Files of a later version, and files beyond the limits of this one.

use super::*;

#[test]
fn an_unknown_kind_of_slot_makes_the_file_read_only() {
    let (disk, keyring) = locked();
    let entry = sealed(&keyring, 1);
    let line = "later some public fields";
    let add = |lines: &mut Vec<SlotLine>| lines.insert(0, SlotLine::Unknown(line.to_owned()));
    put(&disk, &written(&keyring, add, |_| {}));
    drop(keyring);
    let before = bytes(&disk);

    let unknown = SlotInfo::Unknown("later".to_owned());
    let inspection = Keyring::inspect(place(&disk)).unwrap();
    assert_eq!(inspection.slots, [unknown, SlotInfo::Unlock]);
    let keyring = unlock(&disk, &key(1)).unwrap();
    entry.open(&keyring).unwrap();
    assert_eq!(keyring.attachment("tls").unwrap().expose(), PEM);
    let refusals = [
        keyring.rotate_dek(Reason::Requested).map(drop),
        keyring.rotate_dek(Reason::Leaked).map(drop),
        keyring.reconcile(&LockRecord::locked(1, &key(1))).map(drop),
        keyring.reconcile(&LockRecord::locked(1, &key(2))).map(drop),
        keyring.reconcile(&LockRecord::off(1)).map(drop),
        keyring.attach("tls", b"new"),
        keyring.attach("other", b"new"),
        keyring.detach("tls").map(drop),
        keyring.add_passphrase(&passphrases::phrase("passphrase"), passphrases::cheap()),
        // Its first use since it was opened has to be reserved in the file.
        seal(&raft(&keyring).unwrap().log(), 2).map(drop),
    ];
    for (n, refused) in refusals.into_iter().enumerate() {
        assert!(matches!(refused, Err(Error::Misuse(Misuse::ReadOnly))), "{n}: {refused:?}");
    }
    // What changes nothing is no mutation.
    let same = keyring.reconcile(&LockRecord::locked(0, &key(1))).unwrap();
    assert_eq!(same, Reconciled::Unchanged);
    assert!(!keyring.status().poisoned);
    drop(keyring);
    assert_eq!(bytes(&disk), before);
    unlock(&disk, &key(1)).unwrap();
}

#[test]
fn unknown_optional_fields_are_kept() {
    let (disk, keyring) = locked();
    let (first, second) = (field(0x80, b"later"), field(0xff, b""));
    let more = [&first[..], &second, &first].concat();
    put(&disk, &written(&keyring, |_| {}, |set| set.extend_from_slice(&more)));
    drop(keyring);
    let keyring = unlock(&disk, &key(1)).unwrap();
    keyring.rotate_dek(Reason::Requested).unwrap();
    keyring.attach("tls", b"new").unwrap();
    let keyring = restart(&disk, keyring, &key(1));
    let set = keyring.shared().writer().set.encode().unwrap();
    assert!(set.expose().ends_with(&more));
}

#[test]
fn unknown_critical_fields_and_versions_are_not_supported() {
    let (disk, keyring) = locked();
    let version = |set: &mut SecretBytes| set.expose_mut()[xchacha::OVERHEAD] = 2;
    let tags = [0, 7, 0x7f]
        .map(|tag| written(&keyring, |_| {}, |set| set.extend_from_slice(&field(tag, b"x"))));
    let later = [written(&keyring, |_| {}, version)];
    drop(keyring);
    for file in tags.iter().chain(&later) {
        put(&disk, file);
        assert!(matches!(unlock(&disk, &key(1)), Err(Error::Unsupported { .. })));
    }
}

#[test]
fn an_authentic_key_set_of_another_form_is_damage() {
    let (disk, keyring) = locked();
    let id = keyring.status().deks[0].id;
    let dek = {
        let writer = keyring.shared().writer();
        let secret = writer.set.stored(id).unwrap().live.secret().expose().to_vec();
        [&secret[..], &[0; 17]].concat()
    };
    let other = [&[7; 32][..], &[0; 17]].concat();
    let card = {
        let writer = keyring.shared().writer();
        let card = &writer.set.slots[0].card;
        [&[0], &card.recipient[..], card.auth.expose()].concat()
    };
    let attachment = |name: &[u8], len: usize| {
        [&[0, u8::try_from(name.len()).unwrap()], name, &vec![0; len][..]].concat()
    };
    let keyspace = |id: u8, made: u8, name: &str| {
        let len = u8::try_from(name.len()).unwrap();
        field(6, &[&[id; 16][..], &[made, len], name.as_bytes()].concat())
    };
    let cases = [
        ("no length", vec![0x80, 0, 0]),
        ("a length beyond the end", vec![0x80, 0xff, 0xff, 0xff, 0xff, 0]),
        ("two active DEKs", field(1, &other)),
        ("one DEK twice", field(2, &dek)),
        ("a short DEK", field(2, &other[1..])),
        ("a flag that is neither", field(2, &[&other[..40], &[2], &other[41..]].concat())),
        ("two rotation states", field(3, &[&[1], &[0; 18][..]].concat())),
        ("a card without a slot", field(4, &card)),
        ("a short card", field(4, &card[1..])),
        ("a card that nothing can be wrapped for", field(4, &[1; 1249])),
        ("an attachment without a name", field(5, &attachment(b"", 3))),
        ("an attachment twice", field(5, &attachment(b"tls", 3))),
        ("a name that is none", field(5, &attachment(b"a b", 3))),
        ("a name beyond its field", field(5, &[0, 9, b'x'])),
        ("an attachment that is too large", field(5, &attachment(b"x", MAX_ATTACHMENT + 1))),
        ("a keyspace twice", keyspace(1, 1, "raft")),
        ("keyspaces out of order", keyspace(1, 1, "a")),
        ("two keyspaces of one id", keyspace(9, 1, "z")),
        ("a keyspace that is neither made nor not", keyspace(1, 2, "z")),
        ("a keyspace of another form of name", keyspace(1, 1, "z z")),
        ("a keyspace without a name", keyspace(1, 1, "")),
        ("a short keyspace", field(6, &[1; 17])),
        ("a name shorter than its field", field(6, &[&[1; 17][..], b"\x01zz"].concat())),
        (
            "too many keyspaces",
            (0..256)
                .flat_map(|n| {
                    let mut field = keyspace(0, 1, &format!("s{n:03}"));
                    field[5..7].copy_from_slice(&u16::try_from(n + 1).unwrap().to_le_bytes());
                    field
                })
                .collect(),
        ),
        (
            "too many DEKs",
            (0..crate::key::MAX_DEKS)
                .flat_map(|n| {
                    field(2, &[&[u8::try_from(n).unwrap() + 8; 32][..], &[0; 17]].concat())
                })
                .collect(),
        ),
        (
            "attachments that are too large",
            (0..17)
                .flat_map(|n| field(5, &attachment(format!("x{n}").as_bytes(), MAX_ATTACHMENT)))
                .collect(),
        ),
    ];
    let files = cases
        .map(|(what, more)| (what, written(&keyring, |_| {}, |set| set.extend_from_slice(&more))));
    let truncated = written(&keyring, |_| {}, |set| set.resize(xchacha::OVERHEAD + 1));
    let empty = written(&keyring, |_| {}, |set| set.resize(xchacha::OVERHEAD));
    let slotless = written(
        &keyring,
        |lines| lines.push(SlotLine::Unknown("x".to_owned())),
        |set| {
            // The mode of a file in the clear, in a locked one.
            let at = set.expose().windows(6).rposition(|w| *w == [3, 19, 0, 0, 0, 1]).unwrap();
            set.expose_mut()[at + 5] = 0;
        },
    );
    drop(keyring);
    for (what, file) in
        files.into_iter().chain([("cut", truncated), ("empty", empty), ("in the clear", slotless)])
    {
        put(&disk, &file);
        let opened = unlock(&disk, &key(1));
        assert!(matches!(opened, Err(Error::Damaged { .. })), "{what}: {opened:?}");
    }
}

#[test]
fn too_many_slots_and_too_large_costs_are_damage() {
    let (disk, keyring) = locked();
    drop(keyring);
    let lines = above(&disk);
    let start = lines.find("slot ").unwrap();
    let slots = |slots: &str| {
        put(&disk, &checked([&lines[..start], slots, &lines[start..]].concat().as_bytes()));
        Keyring::open(place(&disk), &me(), LockPolicy::Locked).map(drop)
    };
    let passphrase = |costs: &str| {
        let [a, b, c, d] = [22, 43, 1494, 64].map(|len| "A".repeat(len));
        format!("slot passphrase {a} {costs} - {b} {c} {d}\n")
    };
    let unlock = &lines[start..lines.find("commit ").unwrap()];
    let cheap = passphrase("8192,1,1");
    assert!(slots(&"slot later\n".repeat(15)).is_ok());
    assert!(slots(&cheap.repeat(4)).is_ok());
    for (what, wrong) in [
        ("17 slots", "slot later\n".repeat(16)),
        ("five passphrases", cheap.repeat(5)),
        ("three unlock keys", unlock.repeat(2)),
        ("one in the clear beside another", format!("slot none {}\n", "A".repeat(43))),
        ("a header that is too large", format!("slot later {}\n", "x".repeat(256 << 10))),
    ] {
        let opened = slots(&wrong);
        assert!(matches!(opened, Err(Error::Damaged { .. })), "{what}: {opened:?}");
    }
    for costs in [
        "8191,1,1",
        "1048577,1,1",
        "4294967295,1,1",
        "8192,0,1",
        "8192,17,1",
        "8192,1,0",
        "8192,1,17",
        "8192,1",
        "8192,1,1,1",
        "8192,1,",
        "-",
        "",
        "x,1,1",
        "4294967296,1,1",
    ] {
        let opened = slots(&passphrase(costs));
        assert!(matches!(opened, Err(Error::Damaged { .. })), "{costs}: {opened:?}");
    }
}

#[test]
fn reserved_kinds_of_slots_are_named() {
    let (disk, keyring) = locked();
    drop(keyring);
    let lines = above(&disk);
    let start = lines.find("slot ").unwrap();
    for kind in ["recovery", "provider", "peer"] {
        let slot = format!("slot {kind} and its fields\n");
        put(&disk, &checked([&lines[..start], &slot, &lines[start..]].concat().as_bytes()));
        match Keyring::open(place(&disk), &me(), LockPolicy::Locked) {
            Err(Error::Unsupported { what: "slot of kind", found, .. }) => assert_eq!(found, kind),
            opened => panic!("{kind}: {opened:?}"),
        }
    }
}

#[test]
fn a_blob_is_kept_and_bound_and_has_a_limit() {
    let (disk, keyring) = locked();
    let with_blob = |len: usize| {
        let mut writer = keyring.shared().writer();
        let slot = &writer.set.slots[0];
        let head = slot::Head { blob: vec![7; len], ..slot.head.clone() };
        writer.set.slots = vec![Arc::new(Slot { head, card: slot.card.duplicate() })];
        drop(writer);
        written(&keyring, |_| {}, |_| {})
    };
    let files = [with_blob(slot::MAX_BLOB + 1), with_blob(slot::MAX_BLOB)];
    drop(keyring);
    put(&disk, &files[0]);
    assert!(matches!(unlock(&disk, &key(1)), Err(Error::Damaged { .. })));
    put(&disk, &files[1]);
    unlock(&disk, &key(1)).unwrap().attach("more", b"").unwrap();
    let lines = above(&disk);
    assert!(lines.contains(" - BwcH"), "it is written again");
    put(&disk, &checked(lines.replacen(" - BwcH", " - BwcI", 1).as_bytes()));
    assert!(matches!(unlock(&disk, &key(1)), Err(Error::WrongKey)), "its card is another one");
    put(&disk, &checked(lines.replacen(" - BwcH", " - ", 1).as_bytes()));
    assert!(unlock(&disk, &key(1)).is_err());
}

/// Each of two operators would open another key set, by an insider's will.
#[test]
fn slots_that_hold_two_file_keys_open_one_file_only() {
    let (disk, keyring) = locked();
    keyring.add_passphrase(&passphrases::phrase("passphrase"), passphrases::cheap()).unwrap();
    let other = random::key().unwrap();
    let rewrap = {
        let set = keyring.shared().writer().set.clone();
        move |lines: &mut Vec<SlotLine>| {
            lines[1] = SlotLine::Known(set.slots[1].wrap(&me(), &other).unwrap());
        }
    };
    put(&disk, &written(&keyring, rewrap, |_| {}));
    drop(keyring);
    unlock(&disk, &key(1)).unwrap();
    let Opened::Locked(file) = Keyring::open(place(&disk), &me(), LockPolicy::Locked).unwrap()
    else {
        panic!("not locked")
    };
    let failed = file.unlock_with_passphrase(&passphrases::phrase("passphrase")).unwrap_err();
    assert!(matches!(failed.error, Error::Damaged { .. }), "{failed}");
}

#[test]
fn a_file_that_is_too_large_is_damage_and_is_never_written() {
    let (disk, keyring) = locked();
    // As much of what a later version put there as still fits.
    let room = MAX_ATTACHMENTS * 11 / 4;
    let kept = field(0x80, &vec![7; room]);
    put(&disk, &written(&keyring, |_| {}, |set| set.extend_from_slice(&kept)));
    drop(keyring);
    let keyring = unlock(&disk, &key(1)).unwrap();
    let large = vec![1; MAX_ATTACHMENT];
    let refused = (0..16).find_map(|n| keyring.attach(&format!("a{n}"), &large).err());
    assert!(matches!(refused, Some(Error::Misuse(Misuse::TooLarge { .. }))), "{refused:?}");
    assert!(!keyring.status().poisoned);
    drop(restart(&disk, keyring, &key(1)));

    put(&disk, &vec![b'a'; text::MAX_FILE + 1]);
    assert!(matches!(unlock(&disk, &key(1)), Err(Error::Damaged { .. })));
}

#[test]
fn a_slots_card_must_be_its_keys() {
    let (disk, keyring) = locked();
    let auth = keyring.shared().writer().set.slots[0].card.auth.duplicate();
    let other = |set: &mut SecretBytes| {
        let at = set.expose().windows(32).position(|bytes| bytes == auth.expose()).unwrap();
        set.expose_mut()[at] ^= 1;
    };
    put(&disk, &written(&keyring, |_| {}, other));
    drop(keyring);
    let error = unlock(&disk, &key(1)).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}
