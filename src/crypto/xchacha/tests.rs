use super::*;
use crate::crypto::testing::{Sealer, cases, pattern, run};

const VECTORS: &str = include_str!("../../../tests/data/vectors/xchacha20poly1305.txt");

struct XChaCha {
    key: [u8; KEY_LEN],
    aad: &'static [u8],
}

impl Sealer for XChaCha {
    const HEAD: usize = 0;
    const OVERHEAD: usize = OVERHEAD;

    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut message = [&[0; OVERHEAD], plain].concat();
        seal(&self.key, self.aad, &mut message).unwrap();
        message
    }

    fn open<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a [u8]> {
        open(&self.key, self.aad, sealed).map(|plain| &*plain)
    }
}

/// `seal` draws its nonce, so what others made is opened, valid or not.
#[test]
fn published_messages_open() {
    for case in cases(VECTORS, 307) {
        let parts = [case.bytes("nonce"), case.bytes("tag"), case.bytes("cipher")];
        let mut message = parts.concat();
        match open(&case.array("key"), &case.bytes("aad"), &mut message) {
            Ok(plain) => {
                assert!(case.yes("valid"));
                assert_eq!(plain, case.bytes("plain"));
            }
            Err(Error::Unauthentic) => {
                assert!(!case.yes("valid"));
                assert_eq!(message, parts.concat());
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn only_what_was_sealed_opens() {
    let sealer = XChaCha { key: [7; KEY_LEN], aad: b"context" };
    run(&sealer, &XChaCha { key: [8; KEY_LEN], ..sealer });
    run(&sealer, &XChaCha { aad: b"contexu", ..sealer });
    run(&XChaCha { aad: b"", ..sealer }, &sealer);
}

#[test]
fn every_message_has_a_nonce_of_its_own() {
    let sealer = XChaCha { key: [7; KEY_LEN], aad: b"" };
    let nonces: std::collections::HashSet<_> =
        (0..100).map(|_| sealer.seal(&pattern(1))[..NONCE_LEN].to_vec()).collect();
    assert_eq!(nonces.len(), 100);
}
