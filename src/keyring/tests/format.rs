//! A key file that was damaged by accident, or altered by somebody who has no key.

use super::*;

/// The files that are altered here, each with how it is told apart in a failure.
fn files() -> [(&'static str, SimFs); 2] {
    let clear = SimFs::new();
    drop(create(&clear, Protector::none()));
    [("locked", locked().0), ("clear", clear)]
}

fn damaged(disk: &SimFs, what: &str) {
    for opened in
        [Keyring::open(place(disk), &me(), LockPolicy::Any).map(drop), inspect(disk).map(drop)]
    {
        match opened {
            Err(Error::Damaged { place, .. }) => assert_eq!(place.file.unwrap(), Path::new(FILE)),
            other => panic!("{what}: {other:?}"),
        }
    }
}

fn inspect(disk: &SimFs) -> Result<Inspection> {
    Keyring::inspect(place(disk))
}

/// Under the right key nothing opens, and no more is said than what is right to say.
fn refused(disk: &SimFs, what: impl Fn() -> String) -> Error {
    match open(disk, &key(1)) {
        Err(
            error @ (Error::WrongKey
            | Error::Unauthentic
            | Error::Damaged { .. }
            | Error::Unsupported { .. }
            | Error::OtherIdentity { .. }),
        ) => error,
        other => panic!("{}: {other:?}", what()),
    }
}

#[test]
fn a_flipped_bit_in_any_byte_is_damage() {
    for (which, disk) in files() {
        let whole = bytes(&disk);
        for bit in (0..whole.len() * 8).filter(|bit| bit % 8 == bit / 8 % 8) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            put(&disk, &flipped);
            damaged(&disk, &format!("{which}, bit {bit}"));
        }
        put(&disk, &whole);
        assert!(open(&disk, &key(1)).is_ok());
    }
}

#[test]
fn no_flipped_bit_opens_with_a_check_that_fits() {
    for (which, disk) in files() {
        let lines = above(&disk).into_bytes();
        // Of the long fields, whose bytes are all alike, one bit in each byte.
        let long = lines.split_inclusive(|byte| *byte == b' ' || *byte == b'\n').map(<[u8]>::len);
        let long: Vec<bool> = long.flat_map(|len| vec![len > 100; len]).collect();
        for bit in (0..lines.len() * 8).filter(|bit| !long[bit / 8] || bit % 8 == bit / 8 % 7) {
            let mut flipped = lines.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            put(&disk, &checked(&flipped));
            refused(&disk, || format!("{which}, bit {bit}"));
        }
        put(&disk, &checked(&lines));
        assert!(open(&disk, &key(1)).is_ok(), "the check is the one that is written");
    }
}

#[test]
fn lines_stand_once_and_in_their_order() {
    let (disk, keyring) = locked();
    keyring.add_passphrase(&passphrases::phrase("passphrase"), passphrases::cheap()).unwrap();
    drop(keyring);
    let text = above(&disk);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for one in 0..lines.len() {
        let mut dropped = lines.clone();
        dropped.remove(one);
        put(&disk, &checked(dropped.concat().as_bytes()));
        refused(&disk, || format!("line {one} dropped"));

        for two in 0..=lines.len() {
            let mut repeated = lines.clone();
            repeated.insert(two, lines[one]);
            put(&disk, &checked(repeated.concat().as_bytes()));
            refused(&disk, || format!("line {one} again at {two}"));

            let mut swapped = lines.clone();
            if two < lines.len() && one != two {
                swapped.swap(one, two);
                put(&disk, &checked(swapped.concat().as_bytes()));
                refused(&disk, || format!("lines {one} and {two} swapped"));
                put(&disk, &[swapped.concat().as_bytes(), &bytes(&disk)[text.len()..]].concat());
                refused(&disk, || format!("lines {one} and {two} swapped"));
            }
        }
    }
}

#[test]
fn a_cut_or_longer_file_is_damage() {
    for (which, disk) in files() {
        let whole = bytes(&disk);
        for len in (0..whole.len()).filter(|len| len % 7 == 0 || *len > whole.len() - 90) {
            put(&disk, &whole[..len]);
            damaged(&disk, &format!("{which}, cut to {len}"));
        }
        let check = &whole[above(&disk).len()..];
        for more in [b"\n", b" ", b"x", b"\0", b"\xff", check, &whole] {
            put(&disk, &[&whole, more].concat());
            damaged(&disk, &format!("{which} and {more:?}"));
            put(&disk, &[more, &whole].concat());
            damaged(&disk, &format!("{more:?} and {which}"));
        }
    }
}

#[test]
fn there_is_one_form() {
    let (disk, keyring) = locked();
    drop(keyring);
    let (whole, lines) = (String::from_utf8(bytes(&disk)).unwrap(), above(&disk));
    put(&disk, whole.replace('\n', "\r\n").as_bytes());
    damaged(&disk, "CRLF");
    for (what, from, to) in [
        ("CRLF with its check", "\n", "\r\n"),
        ("a plus", "epoch 1", "epoch +1"),
        ("a leading zero", "epoch 1", "epoch 01"),
        ("two spaces", "epoch 1", "epoch  1"),
        ("a space at the end", "epoch 1\n", "epoch 1 \n"),
        ("a tab", "epoch 1", "epoch\t1"),
        ("a number that is too large", "epoch 1", "epoch 18446744073709551616"),
        ("a negative number", "epoch 1", "epoch -1"),
        ("an empty line", "epoch 1", "\nepoch 1"),
        ("a comment", "epoch 1", "# x\nepoch 1"),
        ("capitals", "epoch 1", "Epoch 1"),
        ("padding", "\ncommit", "=\ncommit"),
        ("a slot after the commitment", "\nsealed", "\nslot later\nsealed"),
        ("no slot kind", "slot unlock", "slot "),
        ("none without a key", "slot unlock", "slot none"),
        ("costs of an unlock key", " - ", " 8192,1,1 "),
        ("an empty blob", " - - ", " -  "),
        ("no costs of a passphrase", "slot unlock", "slot passphrase"),
        ("a control character", "slot unlock", "slot un\u{7}lock"),
        ("a letter that is not ASCII", "slot unlock", "slot ünlock"),
        ("a name with a space", "cluster prod", "cluster pr od"),
        ("no name", "cluster prod", "cluster "),
        ("a cluster that begins with a dot", "cluster prod", "cluster .prod"),
        ("a node that begins with a hyphen", "node m1", "node -m1"),
        ("a node that is a directory", "node m1", "node .."),
    ] {
        let edited = lines.replacen(from, to, if to == "\r\n" { usize::MAX } else { 1 });
        assert_ne!(edited, lines, "{what}");
        put(&disk, &checked(edited.as_bytes()));
        damaged(&disk, what);
    }
    // Unused bits of base64 that are not zero: the same bytes in another form.
    let start = lines.find("slot unlock ").unwrap() + "slot unlock ".len();
    let last = lines[start..].find(' ').unwrap() + start - 1;
    let mut edited = lines.clone().into_bytes();
    edited[last] += 1;
    put(&disk, &checked(&edited));
    damaged(&disk, "unused bits");
}

#[test]
fn a_later_version_is_not_damage() {
    let (disk, keyring) = locked();
    drop(keyring);
    let later = above(&disk).replacen("nodeseal-keys 1", "nodeseal-keys 2", 1);
    put(&disk, &checked(later.as_bytes()));
    let error = refused(&disk, || "version 2".to_owned());
    assert!(matches!(error, Error::Unsupported { found, .. } if found == "2"));
}

#[test]
fn the_header_is_authentic() {
    let (disk, keyring) = locked();
    drop(keyring);
    let lines = above(&disk);
    for (from, to) in [("epoch 1", "epoch 2"), ("kek-version 0", "kek-version 7")] {
        put(&disk, &checked(lines.replacen(from, to, 1).as_bytes()));
        let error = refused(&disk, || to.to_owned());
        assert!(matches!(error, Error::Unauthentic), "{to}: {error:?}");
    }
}

#[test]
fn a_file_is_one_nodes() {
    let (disk, keyring) = locked();
    drop(keyring);
    let other = |cluster: &str, node: &str| Identity::new(cluster, node).unwrap();
    let open_as = |identity: &Identity| Keyring::open(place(&disk), identity, LockPolicy::Locked);
    for (identity, expected) in [(other("dev", "m1"), "cluster"), (other("prod", "m2"), "node")] {
        match open_as(&identity) {
            Err(Error::OtherIdentity { what, .. }) => assert_eq!(what, expected),
            opened => panic!("{opened:?}"),
        }
    }
    // One who renames it in the file gains nothing.
    let lines = above(&disk);
    for (identity, from, to) in [
        (other("dev", "m1"), "cluster prod", "cluster dev"),
        (other("prod", "m2"), "node m1", "node m2"),
    ] {
        put(&disk, &checked(lines.replacen(from, to, 1).as_bytes()));
        let Ok(Opened::Locked(file)) = open_as(&identity) else { panic!("{to}") };
        assert!(matches!(file.unlock(&key(1)).unwrap_err().error, Error::WrongKey), "{to}");
    }
}
