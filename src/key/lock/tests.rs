use super::*;

fn key(n: u8) -> UnlockKey {
    UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(n)))
}

/// One record of each form.
fn records() -> Vec<LockRecord> {
    let locked = LockRecord::locked(2, &key(1));
    let retrievable = LockRecord::retrievable(3, &key(1));
    vec![
        locked.with_pending(&key(2)).unwrap().with_leak(),
        retrievable.with_pending(&key(2)).unwrap(),
        LockRecord::off(1),
        LockRecord::off(7).with_leak(),
        locked,
        retrievable,
    ]
}

#[test]
fn every_form_round_trips() {
    for record in records() {
        let bytes = record.encode();
        let again = LockRecord::decode(bytes.expose()).unwrap();
        assert_eq!(again.encode().expose(), bytes.expose());
        assert_eq!((again.version, again.leaked), (record.version, record.leaked));
        assert_eq!(again.unlock_key().is_some(), record.unlock_key().is_some());
        assert_eq!(again.pending_unlock_key().is_some(), record.pending_unlock_key().is_some());
        assert_eq!(again.is_pending_for(&key(2)), record.has_pending());
        assert_eq!(again.is_for(&key(1)), record.is_locked());
        assert!(!again.is_for(&key(2)) && !again.is_pending_for(&key(1)));
    }
}

/// Of the recipients, whose bytes are all alike, one byte in nine: decoding a retrievable record
/// takes a key generation.
#[test]
fn no_flipped_bit_no_cut_and_nothing_more_decodes() {
    for record in records() {
        let bytes = record.encode();
        let recipient = |at: usize| (18..18 + PUBLIC_LEN).contains(&at) || at > 1300;
        for at in (0..bytes.len()).filter(|at| !recipient(*at) || at % 9 == 0) {
            for bit in 0..8 {
                let mut flipped = bytes.expose().to_vec();
                flipped[at] ^= 1 << bit;
                assert!(LockRecord::decode(&flipped).is_err(), "byte {at}, bit {bit}");
            }
        }
        for len in (0..bytes.len()).filter(|len| len % 50 == 0 || *len < 60) {
            assert!(LockRecord::decode(&bytes.expose()[..len]).is_err(), "cut to {len}");
        }
        assert!(LockRecord::decode(&[bytes.expose(), &[0]].concat()).is_err());
    }
}

#[test]
fn later_formats_are_told_apart() {
    let mut bytes = LockRecord::off(1).encode();
    bytes.expose_mut()[0] = 2;
    assert!(matches!(LockRecord::decode(bytes.expose()), Err(Error::Unsupported { .. })));
}

#[test]
fn only_a_retrievable_record_holds_the_key() {
    let holds = |record: &LockRecord| {
        record.encode().expose().windows(KEY_LEN).any(|bytes| bytes == [1; 32] || bytes == [2; 32])
    };
    let locked = LockRecord::locked(1, &key(1)).with_pending(&key(2)).unwrap();
    assert!(!holds(&locked) && !holds(&locked.confirm().unwrap()));
    let record = LockRecord::retrievable(1, &key(1));
    assert!(holds(&record) && record.unlock_key().unwrap().ct_eq(&key(1)));
    let record = record.with_pending(&key(2)).unwrap();
    assert!(record.pending_unlock_key().unwrap().ct_eq(&key(2)));
    assert!(record.confirm().unwrap().unlock_key().unwrap().ct_eq(&key(2)));
}

/// With a check that fits: such a record is not damage by accident.
#[test]
fn what_contradicts_itself_does_not_decode() {
    let checked = |mut bytes: Vec<u8>, auth: Option<&SecretKey>| {
        bytes.truncate(bytes.len() - CHECK_LEN);
        let check = check(auth, &bytes);
        LockRecord::decode(&[bytes, check.to_vec()].concat())
    };
    let auth = Card::of_unlock_key(key(1).secret()).auth;
    let locked = LockRecord::retrievable(5, &key(1)).encode().expose().to_vec();
    assert!(checked(locked.clone(), Some(&auth)).is_ok());
    for (what, at, value) in [
        ("the last version", 1..9, [0xff; 8]),
        ("a leak after it", 9..17, 6u64.to_le_bytes()),
        ("a recipient that is another key's", 18..26, [1; 8]),
        ("a key that is another's", 1266..1274, [9; 8]),
    ] {
        let mut altered = locked.clone();
        altered[at].copy_from_slice(&value);
        let decoded = checked(altered, Some(&auth));
        assert!(matches!(decoded, Err(Error::Damaged { .. })), "{what}: {decoded:?}");
    }
    let off = LockRecord::off(5).encode().expose().to_vec();
    let pending = &locked[17..17 + 1 + PUBLIC_LEN + 2 * KEY_LEN];
    let mut only_pending = off.clone();
    only_pending.splice(18..19, pending.iter().copied());
    assert!(checked(only_pending, None).is_err());
    let mut twice = locked.clone();
    let end = twice.len() - CHECK_LEN;
    twice.splice(end - 1..end, pending.iter().copied());
    assert!(checked(twice, Some(&auth)).is_err(), "the current key is pending too");
}

#[test]
fn a_new_key_comes_in_two_steps() {
    let locked = LockRecord::locked(4, &key(1)).with_leak();
    assert!(locked.confirm().is_err() && locked.withdraw().is_err());
    assert!(locked.with_key(&key(1)).is_err() && locked.with_pending(&key(1)).is_err());
    let pending = locked.with_pending(&key(2)).unwrap();
    assert_eq!((pending.version(), pending.leaked()), (5, 4));
    assert!(pending.is_for(&key(1)) && pending.is_pending_for(&key(2)));
    let other = pending.with_pending(&key(3)).unwrap();
    assert!(other.is_pending_for(&key(3)) && !other.is_pending_for(&key(2)));
    let confirmed = pending.confirm().unwrap();
    assert_eq!((confirmed.version(), confirmed.leaked()), (6, 4));
    assert!(confirmed.is_for(&key(2)) && !confirmed.has_pending());
    let withdrawn = pending.withdraw().unwrap();
    assert!(withdrawn.is_for(&key(1)) && !withdrawn.has_pending());
    let off = confirmed.turned_off().unwrap();
    assert!(!off.is_locked() && off.leaked() == 4);
    assert!(off.with_key(&key(2)).is_err() && off.with_pending(&key(2)).is_err());
    let last = LockRecord::off(MAX_VERSION).turned_off();
    assert!(matches!(last, Err(Error::Misuse(Misuse::OutOfBounds(_)))));
}
