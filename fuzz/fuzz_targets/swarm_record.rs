//! A record of Swarm's opens if, and only if, it was sealed under the key.
//!
//! The first byte chooses: the input is the record; or it is sealed in one of two ways, and the
//! record damaged in one place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nodeseal::fuzzing::swarm_record;
use nodeseal::secret::SecretKey;
use nodeseal_fuzz::fixed::KEK;
use nodeseal_fuzz::swarm::{boxed_record, fernet_record, open_record};
use nodeseal_fuzz::{split_mode, take};

fuzz_target!(|data: &[u8]| {
    let (mode, mut rest) = split_mode(data);
    let record = match mode % 3 {
        0 => rest.to_vec(),
        sealed => {
            let [low, high, flip] = take(&mut rest);
            let mut record = match sealed {
                1 => boxed_record(&KEK, &[3; 24], rest),
                _ => fernet_record(&KEK, &[3; 16], rest),
            };
            check(&record, Some(rest));
            let len = record.len();
            record[usize::from(u16::from_le_bytes([low, high])) % len] ^= flip;
            record
        }
    };
    check(&record, open_record(&KEK, &record).as_deref());
});

fn check(record: &[u8], expected: Option<&[u8]>) {
    let key = SecretKey::init(|bytes| *bytes = KEK);
    let opened = swarm_record(record, Some(&key)).ok();
    assert_eq!(opened.as_ref().map(|plain| plain.expose()), expected);
    // Without a key nothing opens that is sealed.
    assert!(expected.is_none() || swarm_record(record, None).is_err());
}
