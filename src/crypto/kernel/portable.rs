//! The kernel for every processor: the crates `salsa20` and `poly1305`.

use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use salsa20::cipher::consts::U10;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use salsa20::{Salsa20, hsalsa};
use subtle::ConstantTimeEq;

use super::Message;
use crate::crypto::{TAG_LEN, verdict};

/// How much stack a call uses at most, in bytes.
pub(super) const DEPTH: usize = 5120;

/// Derives `HSalsa20(key, input)`.
pub(super) fn derive(key: &[u8; 32], input: &[u8; 16], out: &mut [u8; 32]) {
    *out = hsalsa::<U10>(key.into(), input.into()).into();
}

/// Seals `data` under a subkey.
pub(super) fn seal(key: &[u8; 32], suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN] {
    let (mut stream, authenticator) = start(key, suffix);
    stream.apply_keystream(data);
    authenticator.compute_unpadded(data).into()
}

/// Opens `data` under a subkey, if the tag is right.
pub(super) fn open(key: &[u8; 32], suffix: &[u8; 8], tag: &[u8; TAG_LEN], data: &mut [u8]) -> bool {
    let (mut stream, authenticator) = start(key, suffix);
    let right = verdict::public(authenticator.compute_unpadded(data).ct_eq(tag.as_slice()).into());
    if right {
        stream.apply_keystream(data);
    }
    right
}

/// The stream from the 33rd byte on, and the authenticator whose key the first 32 are.
fn start(key: &[u8; 32], suffix: &[u8; 8]) -> (Salsa20, Poly1305) {
    let mut stream = Salsa20::new(key.into(), suffix.into());
    let mut key = [0; 32];
    stream.apply_keystream(&mut key);
    (stream, Poly1305::new((&key).into()))
}

/// Seals `data` under the subkey of `key` and `prefix`.
pub(super) fn derive_seal(
    key: &[u8; 32],
    prefix: &[u8; 16],
    suffix: &[u8; 8],
    data: &mut [u8],
) -> [u8; TAG_LEN] {
    let mut subkey = [0; 32];
    derive(key, prefix, &mut subkey);
    seal(&subkey, suffix, data)
}

/// As [`open`], under the subkey of `key` and `prefix`.
pub(super) fn derive_open(
    key: &[u8; 32],
    prefix: &[u8; 16],
    suffix: &[u8; 8],
    tag: &[u8; TAG_LEN],
    data: &mut [u8],
) -> bool {
    let mut subkey = [0; 32];
    derive(key, prefix, &mut subkey);
    open(&subkey, suffix, tag, data)
}

/// Seals each of `messages`.
pub(super) fn seal_many(key: &[u8; 32], messages: &mut [Message<'_>]) {
    for message in messages {
        let parts = message.sealed.split_first_chunk_mut();
        message.right = parts.is_some();
        if let Some((tag, text)) = parts {
            *tag = seal(key, &message.suffix, text);
        }
    }
}

/// Opens each of `messages`.
pub(super) fn open_many(key: &[u8; 32], messages: &mut [Message<'_>]) {
    for message in messages {
        message.right = match message.sealed.split_first_chunk_mut() {
            Some((tag, text)) => open(key, &message.suffix, tag, text),
            None => false,
        };
    }
}

/// The tag of `data` under a one-time key.
#[cfg(test)]
pub(super) fn mac(key: &[u8; 32], data: &[u8]) -> [u8; TAG_LEN] {
    Poly1305::new(key.into()).compute_unpadded(data).into()
}
