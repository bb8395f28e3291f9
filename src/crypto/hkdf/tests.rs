use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;

use super::*;
use crate::crypto::testing::{cases, hex};

const PUBLISHED: &str = include_str!("../../../tests/data/vectors/hkdf.txt");
const DERIVED: &str = include_str!("../../../tests/data/vectors/derive.txt");

pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

#[test]
fn published_keys_are_expanded() {
    for case in cases(PUBLISHED, 23) {
        let (salt, expected) = (case.bytes("salt"), case.bytes("okm"));
        let mut out = vec![0; expected.len()];
        if salt.is_empty() {
            expand_parts(&case.bytes("ikm"), &[&case.bytes("info")], &mut out).unwrap();
        } else {
            // Ours takes no salt: these check the dependency alone.
            let kdf = hkdf::Hkdf::<Sha256>::new(Some(&salt), &case.bytes("ikm"));
            kdf.expand(&case.bytes("info"), &mut out).unwrap();
        }
        assert_eq!(out, expected);
    }
}

#[test]
fn keys_are_derived_as_written_down() {
    for case in cases(DERIVED, 6) {
        let context: Vec<Vec<u8>> = match case.number("parts") {
            0 => Vec::new(),
            _ => case.text("context").split(',').map(hex).collect(),
        };
        let context: Vec<&[u8]> = context.iter().map(Vec::as_slice).collect();
        let key = derive(&case.bytes("ikm"), case.text("label"), &context);
        assert_eq!(key.expose(), &case.array("okm"));
    }
}

proptest! {
    /// Extract and the first block of expand, written out with HMAC alone.
    #[test]
    fn one_block_is_two_hmacs(
        ikm in prop::collection::vec(any::<u8>(), 0..100),
        context in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70), 0..5),
    ) {
        let label = "nodeseal/v1/test";
        let mut info = Vec::new();
        for part in [label.as_bytes()].into_iter().chain(context.iter().map(Vec::as_slice)) {
            info.extend_from_slice(&(part.len() as u64).to_le_bytes());
            info.extend_from_slice(part);
        }
        let expected = hmac(&hmac(&[0; 32], &[&ikm]), &[&info, &[1]]);
        let context: Vec<&[u8]> = context.iter().map(Vec::as_slice).collect();
        let (mut id, mut whole) = ([0; 8], [0; 32]);
        expand(&ikm, label, &context, &mut id);
        expand(&ikm, label, &context, &mut whole);
        prop_assert_eq!(&id, &expected[..8]);
        prop_assert_eq!(&whole, &expected[..]);
    }
}

#[test]
fn no_two_contexts_give_one_key() {
    let contexts: [&[&[u8]]; 6] =
        [&[], &[b""], &[b"", b""], &[b"abc"], &[b"a", b"bc"], &[b"ab", b"c"]];
    let keys: Vec<SecretKey> = contexts.map(|c| derive(b"k", "nodeseal/v1/test", c)).into();
    for (i, one) in keys.iter().enumerate() {
        assert!(keys[i + 1..].iter().all(|other| !one.ct_eq(other)), "{i}");
    }
}
