use super::*;
use crate::crypto::testing::{cases, hex};

const VECTORS: &str = include_str!("../../../tests/data/vectors/x25519.txt");

fn scalar(bytes: &[u8]) -> SecretKey {
    SecretKey::init(|out| out.copy_from_slice(bytes))
}

#[test]
fn published_secrets_are_shared_and_zero_is_refused() {
    let mut refused = 0;
    for case in cases(VECTORS, 536) {
        match shared(&scalar(&case.bytes("scalar")), &case.array("point")) {
            Ok(secret) => {
                assert!(case.yes("valid"));
                assert_eq!(secret.expose(), &case.array("shared"));
            }
            Err(Error::Damaged { .. }) => {
                assert!(!case.yes("valid"));
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(refused, 45);
}

/// RFC 7748, 6.1.
#[test]
fn published_public_keys_are_computed() {
    for (secret, point) in [
        (
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
        ),
        (
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        ),
    ] {
        assert_eq!(public(&scalar(&hex(secret))).to_vec(), hex(point));
    }
}

/// RFC 7748, 5.2: the result becomes the scalar, the scalar the point.
#[test]
fn a_thousand_rounds_end_where_published() {
    let mut point = [0; POINT_LEN];
    point[0] = 9;
    let mut k = scalar(&point);
    for round in 1..=1000 {
        let next = shared(&k, &point).unwrap();
        point = *k.expose();
        k = next;
        let expected = match round {
            1 => "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
            1000 => "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51",
            _ => continue,
        };
        assert_eq!(k.expose().to_vec(), hex(expected));
    }
}
