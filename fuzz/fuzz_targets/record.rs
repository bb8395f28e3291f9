//! A record opens if, and only if, it was sealed for its place.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nodeseal::seal::{Era, Log, LogId};
use nodeseal_fuzz::fixed::{ACTIVE, DEKS, keyspace};
use nodeseal_fuzz::reference::{Place, dek_id, open_record};
use nodeseal_fuzz::take_u64;

static LOG: LazyLock<Log> = LazyLock::new(|| keyspace().log());

fuzz_target!(|data: &[u8]| {
    let mut record = data;
    let index = take_u64(&mut record);
    let place = Place { index, era: take_u64(&mut record), prev: take_u64(&mut record) };
    let (id, prev) = (LogId::new(index, Era::term(place.era)), Era::term(place.prev));
    let expected = open_record(&DEKS, place, record);

    let mut buffer = record.to_vec();
    let opened = LOG.open_in_place(id, prev, &mut buffer).map(|plain| plain.to_vec());
    assert_eq!(opened.as_ref().ok(), expected.as_ref());
    if opened.is_err() {
        assert_eq!(buffer, record, "a record that does not open stays as it is");
    }

    let mut buffer = record.to_vec();
    match LOG.reseal(id, prev, &mut buffer) {
        Ok(None) => assert_eq!(record[1..9], dek_id(&ACTIVE)),
        Ok(Some(in_flight)) => {
            in_flight.durable();
            assert_eq!(open_record(&[ACTIVE], place, &buffer), expected);
            assert!(expected.is_some());
        }
        Err(_) => {
            assert_eq!(expected, None);
            assert_eq!(buffer, record);
        }
    }
});
