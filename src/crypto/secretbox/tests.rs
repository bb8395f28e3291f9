use salsa20::Salsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};

use super::*;
use crate::crypto::kernel::force;
use crate::crypto::testing::{Sealer, cases, pattern, run};

const VECTORS: &str = include_str!("../../../tests/data/vectors/secretbox.txt");
const HSALSA20: &str = include_str!("../../../tests/data/vectors/hsalsa20.txt");

struct Secretbox {
    key: [u8; KEY_LEN],
    nonce: [u8; NONCE_LEN],
}

impl Sealer for Secretbox {
    const HEAD: usize = 0;
    const OVERHEAD: usize = TAG_LEN;

    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut data = plain.to_vec();
        let tag = seal(&self.key, &self.nonce, &mut data);
        [&tag, &*data].concat()
    }

    fn open<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a [u8]> {
        let (tag, data) =
            sealed.split_first_chunk_mut().ok_or(Error::damaged("shorter than a tag"))?;
        open(&self.key, &self.nonce, tag, data)?;
        Ok(data)
    }
}

/// The stream under a subkey, from its first byte.
pub(crate) fn keystream(subkey: &Subkey, suffix: &[u8; SUFFIX_LEN], out: &mut [u8]) {
    out.fill(0);
    Salsa20::new(subkey.as_key().into(), suffix.into()).apply_keystream(out);
}

/// Runs `test` on each kernel that there is.
fn on_every_kernel(test: impl Fn()) {
    for kernel in Kernel::available() {
        force::on(kernel, &test);
    }
}

#[test]
fn published_boxes_are_made_and_opened() {
    on_every_kernel(published_boxes);
}

fn published_boxes() {
    for case in cases(VECTORS, 67) {
        let (key, nonce, plain) = (case.array("key"), case.array("nonce"), case.bytes("plain"));
        let mut data = plain.clone();
        let tag = seal(&key, &nonce, &mut data);
        assert_eq!(tag, case.array("tag"));
        assert_eq!(data, case.bytes("cipher"));
        open(&key, &nonce, &tag, &mut data).unwrap();
        assert_eq!(data, plain);
    }
}

#[test]
fn published_subkeys_are_derived() {
    on_every_kernel(published_subkeys);
}

fn published_subkeys() {
    for case in cases(HSALSA20, 2) {
        Subkey::with(&case.array("key"), &case.array("input"), |subkey| {
            assert_eq!(subkey.as_key(), &case.array("subkey"));
        });
    }
}

#[test]
fn only_what_was_sealed_opens() {
    on_every_kernel(only_what_was_sealed);
}

fn only_what_was_sealed() {
    let sealer = Secretbox { key: [7; KEY_LEN], nonce: [9; NONCE_LEN] };
    run(&sealer, &Secretbox { key: [8; KEY_LEN], ..sealer });
    // Each part of the nonce takes part.
    for byte in [0, PREFIX_LEN - 1, PREFIX_LEN, NONCE_LEN - 1] {
        let mut nonce = sealer.nonce;
        nonce[byte] ^= 0x80;
        let sealed = sealer.seal(&pattern(40));
        let error = Secretbox { nonce, ..sealer }.open(&mut sealed.clone()).err();
        assert!(matches!(error, Some(Error::Unauthentic)));
    }
}
