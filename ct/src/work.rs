//! What is tested: one message and batches, sealed and opened, also with wrong tags, and compared.

use nodeseal::hazmat;
use nodeseal::secret::SecretKey;

/// Something that works with a key and a text, which are secret, and a tag.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&SecretKey, &mut [u8]),
}

const NONCE: [u8; 24] = [9; 24];

/// How many messages a batch has.
const BATCH: usize = 16;

pub(crate) const WORKS: [Work; 6] = [
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
    Work { name: "batch", run: batch },
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

/// Every third message is damaged before it is opened.
fn batch(key: &SecretKey, text: &mut [u8]) {
    let len = text.len() / BATCH;
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

/// Says that a bit is not secret.
fn public(bit: &mut bool) {
    crate::memcheck::defined(core::slice::from_mut(std::hint::black_box(bit)));
}
