use std::io::Write;

use super::*;
use crate::crypto::testing::pattern;
use crate::{Misuse, Reason};

fn room(plaintext: &[u8]) -> Vec<u8> {
    [&[0; RECORD_OVERHEAD], plaintext].concat()
}

#[test]
fn what_is_wrong_with_a_batch_is_said_before_a_byte_is_sealed() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    for (indices, after) in
        [([6, 7, 7], 5), ([6, 8, 7], 5), ([5, 6, 7], 5), ([4, 6, 7], 5), ([u64::MAX, 0, 1], 0)]
    {
        let mut buffers = [room(b"one"), room(b"two"), room(b"three")];
        let before = buffers.clone();
        let mut records: Vec<_> = indices
            .into_iter()
            .zip(&mut buffers)
            .map(|(index, buffer)| (entry(index, 1), &mut buffer[..]))
            .collect();
        let error = log.seal_batch(entry(after, 1), &mut records).unwrap_err();
        assert!(matches!(error, Error::Misuse(Misuse::NotIncreasing { .. })), "{indices:?}");
        assert_eq!(buffers, before);
    }
    let (mut fits, mut short) = (room(b"one"), vec![1; RECORD_OVERHEAD - 1]);
    let mut records = [(entry(1, 1), &mut fits[..]), (entry(2, 1), &mut short[..])];
    let error = log.seal_batch(LogId::START, &mut records).unwrap_err();
    assert!(matches!(error, Error::Misuse(Misuse::Buffer)));
    assert_eq!(fits, room(b"one"));
}

#[test]
fn the_first_entry_of_all_may_be_numbered_0() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let mut batch = log.batch(LogId::START);
    batch.push(entry(0, 1), |out| out.extend_from_slice(b"zeroth")).unwrap();
    let again = batch.push(entry(0, 1), |_| ());
    assert!(matches!(again, Err(Error::Misuse(Misuse::NotIncreasing { index: 0, after: 0 }))));
    let sealed = batch.seal().unwrap();
    let mut record = sealed.bytes().to_vec();
    assert_eq!(log.open_in_place(entry(0, 1), Era::NONE, &mut record).unwrap(), b"zeroth");

    let mut after = log.batch(entry(0, 1));
    assert!(after.push(entry(0, 1), |_| ()).is_err());
    assert!(after.push(entry(1, 1), |_| ()).is_ok());
}

#[test]
fn a_batch_in_place_opens_like_one_that_was_built() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let mut buffers = [room(b"one"), room(b""), room(b"three")];
    let ids = [entry(11, 1), entry(12, 4), entry(13, 4)];
    let mut records: Vec<_> =
        ids.into_iter().zip(&mut buffers).map(|(id, buffer)| (id, &mut buffer[..])).collect();
    log.seal_batch(entry(10, 1), &mut records).unwrap().durable();
    let eras = [1, 1, 4];
    for (((id, prev), buffer), plain) in
        ids.into_iter().zip(eras).zip(&mut buffers).zip([&b"one"[..], b"", b"three"])
    {
        assert_eq!(log.open_in_place(id, Era::term(prev), buffer).unwrap(), plain);
    }
}

#[test]
fn an_empty_batch_is_nothing_and_holds_nothing() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let batch = log.batch(LogId::START);
    assert!(batch.is_empty());
    let sealed = batch.seal().unwrap();
    assert_eq!((sealed.records().len(), sealed.bytes().len()), (0, 0));
    keyring.rotate_dek(Reason::Requested).unwrap();
    assert!(keyring.sweep().is_ok());
    sealed.durable();
    log.seal_batch(LogId::START, &mut []).unwrap().durable();
}

#[test]
fn an_entry_that_fails_leaves_the_batch_as_it_was() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let mut batch = log.batch(LogId::START);
    batch.push(entry(1, 1), |out| out.extend_from_slice(b"first")).unwrap();
    let failed = batch.try_push(entry(2, 1), |out| {
        out.extend_from_slice(b"half of the secon");
        Err(Error::damaged("the encoder failed"))
    });
    assert!(matches!(failed, Err(Error::Damaged { .. })));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        batch.push(entry(2, 1), |out| {
            out.extend_from_slice(b"half of the secon");
            std::panic::resume_unwind(Box::new("the encoder panicked"));
        })
    }));
    assert!(panicked.is_err());
    assert!(batch.push(entry(1, 1), |_| ()).is_err());
    assert_eq!(batch.len(), 1);
    let pushed: Result<(), IoOrSeal> =
        batch.try_push(entry(2, 1), |out| Ok(out.write_all(b"second")?));
    assert!(pushed.is_ok());
    let sealed = batch.seal().unwrap();
    // No plaintext stands between the records.
    let records: Vec<u8> = sealed.records().flat_map(|record| record.bytes.to_vec()).collect();
    assert_eq!(sealed.bytes(), records);
    assert_eq!(records.len(), 2 * RECORD_OVERHEAD + 11);
}

/// The error of a caller's encoder.
struct IoOrSeal;

impl From<Error> for IoOrSeal {
    fn from(_: Error) -> Self {
        Self
    }
}

impl From<std::io::Error> for IoOrSeal {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

#[test]
fn a_batch_can_use_the_memory_of_the_one_before() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let mut batch = log.batch(LogId::START);
    batch.push(entry(1, 1), |out| out.extend_from_slice(&[7; 5000])).unwrap();
    let sealed = batch.seal().unwrap();
    let memory = sealed.bytes().as_ptr();
    let buffer = sealed.durable();
    assert!(buffer.is_empty());
    let mut batch = log.batch(entry(1, 1)).with_buffer(buffer);
    batch.push(entry(2, 1), |out| out.extend_from_slice(&[8; 5000])).unwrap();
    let sealed = batch.seal().unwrap();
    assert_eq!(sealed.bytes().as_ptr(), memory);
    let mut record = sealed.bytes().to_vec();
    assert_eq!(log.open_in_place(entry(2, 1), Era::term(1), &mut record).unwrap(), [8; 5000]);
}

#[test]
fn memory_that_comes_late_takes_over_what_was_pushed() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let mut batch = log.batch(LogId::START);
    batch.push(entry(1, 1), |out| out.extend_from_slice(b"first")).unwrap();
    let mut batch = batch.with_buffer(crate::secret::SecretBytes::from(&b"of another"[..]));
    batch.push(entry(2, 1), |out| out.extend_from_slice(b"second")).unwrap();
    let sealed = batch.seal().unwrap();
    for (record, plain) in sealed.records().zip([&b"first"[..], b"second"]) {
        let prev = Era::term(record.id.index - 1);
        let mut bytes = record.bytes.to_vec();
        assert_eq!(log.open_in_place(record.id, prev, &mut bytes).unwrap(), plain);
    }
}

/// A batch of 70 records of three eras, as they are stored.
fn stored(log: &Log) -> Vec<(LogId, Vec<u8>)> {
    let mut batch = log.batch(LogId::new(9, Era::term(1)));
    for i in 0..70 {
        let id = LogId::new(10 + i, Era::term(1 + i / 33));
        batch
            .push(id, |out| out.extend_from_slice(&pattern(usize::try_from(i * i).unwrap())))
            .unwrap();
    }
    batch.seal().unwrap().records().map(|record| (record.id, record.bytes.to_vec())).collect()
}

fn borrowed(stored: &mut [(LogId, Vec<u8>)]) -> Vec<(LogId, &mut [u8])> {
    stored.iter_mut().map(|(id, record)| (*id, &mut record[..])).collect()
}

#[test]
fn what_was_sealed_together_opens_together() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let after = LogId::new(9, Era::term(1));
    let mut records = stored(&log);
    log.open_batch(after, &mut borrowed(&mut records)).unwrap();
    for (i, (_, record)) in records.iter().enumerate() {
        assert_eq!(record[RECORD_OVERHEAD..], pattern(i * i));
    }
    log.open_batch(after, &mut []).unwrap();
}

#[test]
fn records_of_several_batches_and_deks_open_together() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let mut records = stored(&log);
    let after = LogId::new(79, Era::term(3));
    keyring.rotate_dek(Reason::Requested).unwrap();
    for i in 0..3 {
        let (id, prev) = (LogId::new(80 + i, after.era), after.era);
        let mut record = vec![5; RECORD_OVERHEAD + 10];
        log.seal_in_place(id, prev, &mut record).unwrap().durable();
        records.push((id, record));
    }
    log.open_batch(LogId::new(9, Era::term(1)), &mut borrowed(&mut records)).unwrap();
    assert_eq!(records[72].1[RECORD_OVERHEAD..], [5; 10]);
    assert_eq!(records[69].1[RECORD_OVERHEAD..], pattern(69 * 69));
}

#[test]
fn the_first_record_that_does_not_open_is_told() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let after = LogId::new(9, Era::term(1));
    let whole = stored(&log);
    for at in [0, 1, 31, 32, 33, 64, 69] {
        for fault in 0..3 {
            let mut records = whole.clone();
            match fault {
                0 => records[at].1[30] ^= 1,
                1 => records[at].1.truncate(RECORD_OVERHEAD - 1),
                _ => records[at].0.index += 1000,
            }
            let altered = records[at].1.clone();
            let (found, error) = log.open_batch(after, &mut borrowed(&mut records)).unwrap_err();
            assert_eq!(found, at);
            assert!(matches!(
                (fault, error),
                (0 | 2, Error::Unauthentic) | (1, Error::Damaged { .. })
            ));
            assert_eq!(records[at].1, altered);
            for (i, (_, record)) in records[..at].iter().enumerate() {
                assert_eq!(record[RECORD_OVERHEAD..], pattern(i * i));
            }
        }
    }
    let elsewhere = LogId::new(9, Era::term(2));
    let mut records = whole;
    assert_eq!(log.open_batch(elsewhere, &mut borrowed(&mut records)).unwrap_err().0, 0);
}
