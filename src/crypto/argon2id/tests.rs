use argon2::{AssociatedData, ParamsBuilder};

use super::*;
use crate::crypto::testing::{cases, hex};

const VECTORS: &str = include_str!("../../../tests/data/vectors/argon2id.txt");

/// RFC 9106, 5.3. It takes a secret and associated data, which ours does not: this checks the
/// dependency alone.
#[test]
fn the_published_tag_is_computed() {
    let params = ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(AssociatedData::new(&[4; 12]).unwrap())
        .output_len(32)
        .build()
        .unwrap();
    let secret = [3; 8];
    let mut tag = [0; 32];
    Argon2::new_with_secret(&secret, Algorithm::Argon2id, Version::V0x13, params)
        .unwrap()
        .hash_password_into(&[1; 32], &[2; 16], &mut tag)
        .unwrap();
    let published = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659";
    assert_eq!(tag.to_vec(), hex(published));
}

#[test]
fn keys_are_those_of_the_reference_implementation() {
    for case in cases(VECTORS, 6) {
        let costs =
            Costs::new(case.number("memory_kib"), case.number("passes"), case.number("lanes"));
        let key = derive(&case.bytes("passphrase"), &case.array("salt"), costs.unwrap()).unwrap();
        assert_eq!(key.expose(), &case.array("key"));
    }
}

#[test]
fn costs_outside_the_bounds_are_refused() {
    let (least, most) = (8 << 10, 1 << 20);
    for (memory_kib, passes, lanes) in [(least, 1, 1), (most, 16, 16)] {
        let costs = Costs::new(memory_kib, passes, lanes).unwrap();
        assert_eq!(
            (costs.memory_kib(), costs.passes(), costs.lanes()),
            (memory_kib, passes, lanes)
        );
    }
    for (memory_kib, passes, lanes) in [
        (least - 1, 1, 1),
        (most + 1, 1, 1),
        (u32::MAX, 1, 1),
        (least, 0, 1),
        (least, 17, 1),
        (least, 1, 0),
        (least, 1, 17),
    ] {
        let refused = Costs::new(memory_kib, passes, lanes);
        assert!(matches!(refused, Err(Error::Misuse(Misuse::OutOfBounds(_)))));
    }
}
