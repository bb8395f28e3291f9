use super::*;
use crate::crypto::testing::cases;

fn key(bytes: &[u8]) -> SecretKey {
    SecretKey::init(|key| key.copy_from_slice(bytes))
}

#[test]
fn published_vectors() {
    for case in cases(include_str!("../../../tests/data/vectors/xwing.txt"), 3) {
        let key = key(&case.bytes("key"));
        let expected = case.array::<PUBLIC_LEN>("public");
        assert_eq!(*public(&key), expected);
        let (share, shared) = encapsulate(&expected, &case.array("randomness")).unwrap();
        assert_eq!(*share, case.array("share"));
        assert_eq!(*shared.expose(), case.array("shared"));
        assert!(decapsulate(&key, &share).unwrap().ct_eq(&shared));
    }
}

/// Points of X25519 of low order, in every encoding that their 32 bytes have.
fn low_order() -> Vec<[u8; 32]> {
    let hex = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    hex.iter().map(|hex| crate::crypto::testing::hex(hex).try_into().unwrap()).collect()
}

#[test]
fn a_point_of_low_order_is_refused_by_both_sides() {
    let key = key(&[7; 32]);
    let honest = public(&key);
    assert!(check(&honest).is_ok());
    let (share, _) = encapsulate(&honest, &[3; RANDOMNESS_LEN]).unwrap();
    for point in low_order() {
        let mut recipient = honest.clone();
        recipient[PUBLIC_LEN - 32..].copy_from_slice(&point);
        assert!(matches!(check(&recipient), Err(Error::Damaged { .. })));
        let refused = encapsulate(&recipient, &[3; RANDOMNESS_LEN]).map(drop);
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{point:?}");
        let mut share = share.clone();
        share[SHARE_LEN - 32..].copy_from_slice(&point);
        assert!(matches!(decapsulate(&key, &share), Err(Error::Damaged { .. })), "{point:?}");
    }
}

/// FIPS 203, section 7.2: coefficients that are not reduced are no encapsulation key.
#[test]
fn a_key_that_is_not_reduced_is_refused() {
    let mut recipient = public(&key(&[7; 32]));
    recipient[..2].copy_from_slice(&[0xff, 0x0f]);
    assert!(matches!(encapsulate(&recipient, &[3; 64]), Err(Error::Damaged { .. })));
}

#[test]
fn a_share_that_was_altered_gives_another_secret() {
    let key = key(&[7; 32]);
    let (share, shared) = encapsulate(&public(&key), &[3; RANDOMNESS_LEN]).unwrap();
    for at in [0, 1087, 1088, SHARE_LEN - 1] {
        let mut altered = share.clone();
        altered[at] ^= 1;
        assert!(!decapsulate(&key, &altered).unwrap().ct_eq(&shared), "byte {at}");
    }
    assert!(!decapsulate(&SecretKey::init(|b| b.fill(8)), &share).unwrap().ct_eq(&shared));
}

/// dryoc's own implementation, which shares no code with the crate's.
#[test]
fn dryoc_agrees() {
    use dryoc::classic::crypto_kem_xwing as dryoc;

    for n in 0..16u8 {
        let seed = [n; 32];
        let (their_public, their_key) = dryoc::crypto_kem_xwing_seed_keypair(&seed);
        let key = key(&seed);
        let recipient = public(&key);
        assert_eq!(&their_public[..], &recipient[..]);

        let mut randomness = [0; RANDOMNESS_LEN];
        crate::crypto::random::fill(&mut randomness).unwrap();
        let (share, shared) = encapsulate(&recipient, &randomness).unwrap();
        let mut theirs = [0; 32];
        dryoc::crypto_kem_xwing_dec(&mut theirs, &share, &their_key).unwrap();
        assert_eq!(&theirs, shared.expose());

        let mut share = [0; SHARE_LEN];
        dryoc::crypto_kem_xwing_enc(&mut share, &mut theirs, &their_public).unwrap();
        assert_eq!(&theirs, decapsulate(&key, &share).unwrap().expose());
    }
}
