//! Assignments sealed to a node's key, against libsodium's `crypto_box_seal` in both directions.
#![cfg(feature = "libsodium")]

use libsodium_sys::{
    crypto_box_SEALBYTES, crypto_box_seal, crypto_box_seal_open, crypto_scalarmult_base,
    sodium_init,
};
use nodeseal::Error;
use nodeseal::grant::{
    Assignment, Change, NodeId, NodeKey, NodePublicKey, SEALED_OVERHEAD, Scope, SecretId,
};
use proptest::prelude::*;

/// The public key as libsodium derives it.
fn public(key: &NodeKey) -> [u8; 32] {
    let mut public = [0; 32];
    // SAFETY: both have 32 bytes.
    assert_eq!(0, unsafe { crypto_scalarmult_base(public.as_mut_ptr(), key.expose().as_ptr()) });
    public
}

fn their_seal(recipient: &[u8; 32], plain: &[u8]) -> Option<Vec<u8>> {
    // SAFETY: no arguments; it may be called again, and from several threads.
    assert!(unsafe { sodium_init() } >= 0);
    let mut sealed = vec![0; plain.len() + crypto_box_SEALBYTES as usize];
    // SAFETY: sealed is as much longer than plain as the call writes; the key has 32 bytes.
    let result = unsafe {
        crypto_box_seal(sealed.as_mut_ptr(), plain.as_ptr(), plain.len() as u64, recipient.as_ptr())
    };
    (result == 0).then_some(sealed)
}

fn their_open(key: &NodeKey, sealed: &[u8]) -> Option<Vec<u8>> {
    let mut plain = vec![0; sealed.len().checked_sub(crypto_box_SEALBYTES as usize)?];
    // SAFETY: plain is as much shorter than sealed as the call writes; both keys have 32 bytes.
    let result = unsafe {
        crypto_box_seal_open(
            plain.as_mut_ptr(),
            sealed.as_ptr(),
            sealed.len() as u64,
            public(key).as_ptr(),
            key.expose().as_ptr(),
        )
    };
    (result == 0).then_some(plain)
}

fn assignment(payload: &[u8]) -> Assignment {
    let secret = SecretId::new("s1").expect("an id");
    let change = Change::Secret { secret, version: 1, payload: payload.into() };
    let node = NodeId::new("w1").expect("an id");
    Assignment { node, scope: Scope::Complete, sequence: 7, changes: vec![change] }
}

#[test]
fn the_overhead_is_theirs() {
    assert_eq!(SEALED_OVERHEAD, crypto_box_SEALBYTES as usize);
}

/// A public key of low order gives a secret that everybody knows: neither side seals to it.
#[test]
fn neither_seals_to_a_point_of_low_order() {
    let mut one = [0; 32];
    one[0] = 1;
    for point in [[0; 32], one] {
        assert!(their_seal(&point, b"payload").is_none());
        let refused = assignment(b"payload").seal_to(&NodePublicKey::from_bytes(point));
        assert!(matches!(refused, Err(Error::Damaged { .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_one_seals_the_other_opens(
        key: [u8; 32],
        other: [u8; 32],
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            (0..200_000_usize).prop_map(|len| vec![7; len]),
        ],
        altered: prop::sample::Index,
    ) {
        let (key, other) = (NodeKey::from_bytes(&key).unwrap(), NodeKey::from_bytes(&other).unwrap());
        prop_assert_eq!(key.public().to_bytes(), public(&key));
        let assignment = assignment(&payload);
        let plain = assignment.encode();

        let mut ours = assignment.seal_to(&key.public()).unwrap();
        prop_assert_eq!(ours.len(), plain.len() + SEALED_OVERHEAD);
        prop_assert!(their_open(&key, &ours).as_deref() == Some(plain.expose()));
        prop_assert!(their_open(&other, &ours).is_none());

        let mut theirs = their_seal(&public(&key), plain.expose()).unwrap();
        prop_assert!(key.open(&theirs).unwrap().encode().expose() == plain.expose());
        prop_assert!(matches!(other.open(&theirs), Err(Error::Unauthentic)));

        let at = altered.index(ours.len());
        ours[at] ^= 1;
        theirs[at] ^= 1;
        prop_assert!(their_open(&key, &ours).is_none() && key.open(&ours).is_err());
        prop_assert!(their_open(&key, &theirs).is_none() && key.open(&theirs).is_err());
    }
}
