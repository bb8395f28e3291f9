use super::independent::Spot;
use super::*;

#[test]
fn a_record_is_a_nacl_secretbox_under_a_key_derived_by_hand() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    for len in [0, 1, 15, 16, 63, 64, 65, 500] {
        let plaintext: Vec<u8> = (0..=255).cycle().take(len).collect();
        let record = sealed(&log, entry(9, 4), 3, &plaintext);
        assert_eq!(record.len(), len + 41);
        let by_hand = node(&keyring);
        let opened = by_hand.open_record(Spot(9, 4, 3), &record);
        assert_eq!(opened.as_deref(), Some(&*plaintext));

        let mut made = by_hand.record(Spot(9, 4, 3), &[7; 16], &plaintext);
        assert_eq!(log.open_in_place(entry(9, 4), Era::term(3), &mut made).unwrap(), plaintext);
    }
}

#[test]
fn a_batch_has_one_prefix_and_each_record_the_era_before_it() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let mut batch = log.batch(entry(6, 2));
    let entries = [entry(7, 2), entry(8, 3), entry(9, 3), entry(20, 5)];
    for (id, text) in entries.iter().zip(["a", "", "ccc", "dd"]) {
        batch.push(*id, |out| out.extend_from_slice(text.as_bytes())).unwrap();
    }
    let sealed = batch.seal().unwrap();
    let by_hand = node(&keyring);
    let mut prev = 2;
    let mut prefixes = Vec::new();
    for (record, text) in sealed.records().zip(["a", "", "ccc", "dd"]) {
        let era = record.id.era.get();
        let spot = Spot(record.id.index, era, prev);
        assert_eq!(by_hand.open_record(spot, record.bytes).as_deref(), Some(text.as_bytes()));
        prefixes.push(record.bytes[9..25].to_vec());
        prev = era;
    }
    prefixes.dedup();
    assert_eq!(prefixes.len(), 1);
    assert_eq!(sealed.bytes().len(), 4 * 41 + 6);
}

#[test]
fn no_two_calls_have_one_prefix() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let prefix = |_| sealed(&log, entry(1, 1), 0, b"same")[9..25].to_vec();
    let mut prefixes: Vec<_> = (0..256).map(prefix).collect();
    prefixes.sort();
    prefixes.dedup();
    assert_eq!(prefixes.len(), 256);
}

#[test]
fn resealing_is_for_the_active_dek_and_leaves_what_it_cannot_open() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let mut record = sealed(&log, entry(5, 2), 1, b"entry");
    assert!(log.reseal(entry(5, 2), Era::term(1), &mut record).unwrap().is_none());
    let before = record.clone();
    keyring.rotate_dek(crate::Reason::Requested).unwrap();

    let error = log.reseal(entry(6, 2), Era::term(1), &mut record).unwrap_err();
    assert!(matches!(error, Error::Unauthentic));
    assert_eq!(record, before);

    let in_flight = log.reseal(entry(5, 2), Era::term(1), &mut record).unwrap().unwrap();
    let active = keyring.status().deks[0].id;
    assert_eq!(in_flight.dek(), active);
    assert_eq!(Log::dek_of(&record).unwrap(), active);
    assert_ne!(record[9..25], before[9..25]);
    assert_eq!(log.open_in_place(entry(5, 2), Era::term(1), &mut record).unwrap(), b"entry");
}

#[test]
fn looking_for_what_to_reseal_uses_nothing_up() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let mut record = sealed(&log, entry(5, 2), 1, b"entry");
    let uses = keyring.status().deks[0].uses;
    assert!(log.reseal(entry(5, 2), Era::term(1), &mut record).unwrap().is_none());
    assert_eq!(keyring.status().deks[0].uses, uses);
}

#[test]
fn a_plaintext_over_a_gibibyte_is_refused_before_it_is_touched() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    // Zeroed by the system, and never touched: takes no memory.
    let mut large = vec![0; RECORD_OVERHEAD + MAX_PLAINTEXT + 1];
    let error = log.seal_in_place(entry(1, 1), Era::NONE, &mut large).unwrap_err();
    assert!(matches!(error, Error::Misuse(crate::Misuse::TooLarge { .. })));
    put_name(RECORD, keyring.status().deks[0].id, large.first_chunk_mut().unwrap());
    let error = log.open_in_place(entry(1, 1), Era::NONE, &mut large).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }));
    let error = log.seal_in_place(entry(1, 1), Era::NONE, &mut [0; 40]).unwrap_err();
    assert!(matches!(error, Error::Misuse(crate::Misuse::Buffer)));
}
