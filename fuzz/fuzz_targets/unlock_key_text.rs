//! The unlock key's text: what is accepted is the one text of its key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nodeseal::secret::SecretKey;
use nodeseal::{Error, UnlockKey};
use nodeseal_fuzz::take;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = str::from_utf8(data) {
        match UnlockKey::from_text(text) {
            Ok(key) => assert_eq!(*key.to_text(), text),
            Err(error) => assert!(matches!(error, Error::KeyText(_))),
        }
    }
    let mut rest = data;
    let key = UnlockKey::from_key(SecretKey::init(|bytes| *bytes = take(&mut rest)));
    let again = UnlockKey::from_text(&key.to_text()).expect("what was printed parses");
    assert!(again.ct_eq(&key));
});
