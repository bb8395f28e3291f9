//! The lock record: what decodes encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nodeseal::{Error, LockRecord};

fuzz_target!(|data: &[u8]| {
    match LockRecord::decode(data) {
        Ok(record) => {
            assert_eq!(record.encode().expose(), data);
            assert!(record.is_locked() || record.unlock_key().is_none());
        }
        Err(error) => {
            assert!(matches!(error, Error::Damaged { .. } | Error::Unsupported { .. }));
        }
    }
});
