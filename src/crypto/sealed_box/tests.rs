use super::*;
use crate::crypto::testing::hex;

/// "Cryptography in NaCl" (2009): Alice's secret key, Bob's public key, and their first key.
#[test]
fn the_shared_key_is_nacls() {
    let alice = hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    let first = hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
    let alice = SecretKey::init(|key| key.copy_from_slice(&alice));
    let same = |key: &[u8; KEY_LEN]| key == first.as_slice();
    assert!(with_shared(&alice, &bob.try_into().unwrap(), same).unwrap());
}

#[test]
fn what_is_sealed_opens_with_the_right_key_only_and_not_altered() {
    let (mine, other) = (random::key().unwrap(), random::key().unwrap());
    let mut message = [&[0; OVERHEAD][..], b"to one node"].concat();
    seal(&x25519::public(&mine), &mut message).unwrap();
    assert!(matches!(open(&other, &mut message.clone()), Err(Error::Unauthentic)));
    for at in 0..message.len() {
        let mut altered = message.clone();
        altered[at] ^= 1;
        assert!(open(&mine, &mut altered).is_err(), "byte {at}");
    }
    for len in 0..message.len() {
        assert!(open(&mine, &mut message[..len].to_vec()).is_err(), "cut to {len}");
    }
    assert_eq!(open(&mine, &mut message).unwrap(), b"to one node");
}
