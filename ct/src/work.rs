//! What is tested: messages and batches, sealed and opened, also with wrong tags; keys wrapped, derived and
//! compared.

use nodeseal::hazmat;
use nodeseal::secret::SecretKey;

/// Something that works with a key and a text, which are secret, and a tag.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&SecretKey, &mut [u8]),
}

const NONCE: [u8; 24] = [9; 24];

/// The box, which every kernel computes in its own way.
pub(crate) const BOXES: &[Work] = &[
    Work { name: "seal", run: |key, text| _ = hazmat::secretbox_seal(key, &NONCE, text) },
    Work { name: "open", run: |key, text| open(key, text, |_| ()) },
    Work {
        name: "open, first byte of the tag wrong",
        run: |key, text| open(key, text, |t| t[0] ^= 1),
    },
    Work {
        name: "open, last byte of the tag wrong",
        run: |key, text| open(key, text, |t| t[15] ^= 1),
    },
    Work { name: "batch of 16", run: |key, text| batch(key, text, 16) },
    Work { name: "batch of 5", run: |key, text| batch(key, text, 5) },
];

/// What else is done with secrets, without a curve.
pub(crate) const OTHERS: &[Work] = &[
    Work { name: "XChaCha20-Poly1305", run: |key, text| xchacha(key, text, None) },
    Work {
        name: "the same, first byte of the tag wrong",
        run: |key, text| xchacha(key, text, Some(24)),
    },
    Work {
        name: "the same, last byte of the tag wrong",
        run: |key, text| xchacha(key, text, Some(39)),
    },
    Work { name: "HMAC-SHA256", run: hmac },
    Work { name: "HKDF-SHA256", run: |key, text| _ = hazmat::hkdf_derive(key, text) },
    Work {
        name: "compare",
        run: |key, _| {
            let mut same = key.ct_eq(&SecretKey::init(|bytes| bytes.copy_from_slice(key.expose())));
            public(&mut same);
            assert!(same);
            let mut same = key.ct_eq(&SecretKey::init(|bytes| bytes[31] = 1));
            public(&mut same);
        },
    },
];

/// What takes X25519, and a hundred times as long.
pub(crate) const CURVES: &[Work] = &[
    Work { name: "key file's slot", run: |key, _| slot(key, key, |_| (), Slot::Opens) },
    Work {
        name: "the same, tag wrong",
        run: |key, _| slot(key, key, |w| w[24] ^= 1, Slot::Damaged),
    },
    Work {
        name: "the same, unlock key wrong",
        run: |key, _| {
            let other = SecretKey::init(|bytes| {
                bytes.copy_from_slice(key.expose());
                bytes[31] ^= 1;
            });
            slot(key, &other, |_| (), Slot::Foreign);
        },
    },
    Work { name: "sealed box", run: |key, text| sealed_box(key, text, 0) },
    Work { name: "the same, tag wrong", run: |key, text| sealed_box(key, text, 1) },
];

fn open(key: &SecretKey, text: &mut [u8], alter: fn(&mut [u8; 16])) {
    let mut tag = hazmat::secretbox_seal(key, &NONCE, text);
    let right = tag;
    alter(&mut tag);
    // What is stored is public; of a tag, so is whether it was altered.
    crate::memcheck::defined(&mut tag);
    crate::memcheck::defined(text);
    let mut altered = right != tag;
    public(&mut altered);
    assert_eq!(hazmat::secretbox_open(key, &NONCE, &tag, text).is_ok(), !altered);
}

/// The text as so many messages. Every third is damaged before it is opened.
fn batch(key: &SecretKey, text: &mut [u8], count: usize) {
    let len = text.len() / count;
    if len < 16 {
        return;
    }
    let mut messages: Vec<_> =
        (0..).map(u64::to_le_bytes).zip(text.chunks_exact_mut(len)).collect();
    hazmat::secretbox_batch(key, &[7; 16], &mut messages, hazmat::Way::Seal);
    for (n, (_, sealed)) in messages.iter_mut().enumerate() {
        crate::memcheck::defined(sealed);
        sealed[n % len] ^= u8::from(n % 3 == 0);
    }
    let opened = hazmat::secretbox_batch(key, &[7; 16], &mut messages, hazmat::Way::Open);
    let expected: Vec<_> = (0..messages.len()).map(|n| n % 3 != 0).collect();
    assert_eq!(opened, expected);
}

fn xchacha(key: &SecretKey, text: &[u8], altered: Option<usize>) {
    let mut message = [&[0; 40], text].concat();
    let sealed = hazmat::xchacha_seal(key, b"aad", &mut message);
    assert!(sealed.is_ok());
    if let Some(byte) = altered {
        message[byte] ^= 1;
    }
    assert_eq!(hazmat::xchacha_open(key, b"aad", &mut message).is_ok(), altered.is_none());
}

#[derive(Debug, PartialEq)]
enum Slot {
    Opens,
    Damaged,
    Foreign,
}

/// Wraps a key for an unlock key, and unwraps it with another one.
fn slot(key: &SecretKey, other: &SecretKey, alter: fn(&mut [u8]), expected: Slot) {
    let found = match hazmat::wrap_unwrap(key, key, alter, other) {
        Ok(Some(_)) => Slot::Opens,
        Ok(None) => Slot::Foreign,
        Err(_) => Slot::Damaged,
    };
    assert_eq!(found, expected);
}

fn sealed_box(key: &SecretKey, text: &[u8], altered: u8) {
    let mut message = [&[0; 48], text].concat();
    let sealed = hazmat::sealed_box_seal(&hazmat::x25519_public(key), &mut message);
    assert!(sealed.is_ok());
    message[32] ^= altered;
    assert_eq!(hazmat::sealed_box_open(key, &mut message).is_ok(), altered == 0);
}

fn hmac(key: &SecretKey, text: &mut [u8]) {
    let mut code = hazmat::hmac_code(key, text);
    assert!(hazmat::hmac_is_code(key, text, &code));
    code[31] ^= 1;
    assert!(!hazmat::hmac_is_code(key, text, &code));
}

/// Says that a bit is not secret.
fn public(bit: &mut bool) {
    crate::memcheck::defined(core::slice::from_mut(std::hint::black_box(bit)));
}
