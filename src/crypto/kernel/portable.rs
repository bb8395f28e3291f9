//! The kernel for every processor: the crates `salsa20` and `poly1305`.

use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use salsa20::cipher::consts::U10;
use salsa20::cipher::{KeyIvInit, StreamCipherCore};
use salsa20::{SalsaCore, hsalsa};

use super::Message;
use crate::crypto::TAG_LEN;
use crate::crypto::verdict::equal;

/// How much stack a call uses at most, in bytes.
pub(super) const DEPTH: usize = 3584;

/// Derives `HSalsa20(key, input)`.
pub(super) fn derive(key: &[u8; 32], input: &[u8; 16], out: &mut [u8; 32]) {
    *out = hsalsa::<U10>(key.into(), input.into()).into();
}

/// Seals `data` under a subkey.
pub(super) fn seal(key: &[u8; 32], suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN] {
    let (stream, first) = start(key, suffix);
    encrypt(stream, &first, data);
    mac_of(&first, data)
}

/// Opens `data` under a subkey, if the tag is right.
pub(super) fn open(key: &[u8; 32], suffix: &[u8; 8], tag: &[u8; TAG_LEN], data: &mut [u8]) -> bool {
    let (stream, first) = start(key, suffix);
    let right = equal(tag, mac_of(&first, data));
    if right {
        encrypt(stream, &first, data);
    }
    right
}

/// The stream from block 1 on, and block 0.
#[inline(always)]
fn start(key: &[u8; 32], suffix: &[u8; 8]) -> (SalsaCore<U10>, [u8; 64]) {
    let mut stream = SalsaCore::new(key.into(), suffix.into());
    let mut first = [0; 64];
    stream.write_keystream_block((&mut first).into());
    (stream, first)
}

/// XORs the stream from its 33rd byte on into `data`.
#[inline(never)]
fn encrypt(stream: SalsaCore<U10>, first: &[u8; 64], data: &mut [u8]) {
    let (head, rest) = data.split_at_mut(data.len().min(32));
    head.iter_mut().zip(&first[32..]).for_each(|(byte, stream)| *byte ^= stream);
    stream.apply_keystream_partial(rest.into());
}

/// The tag of `data` under the one-time key that block 0 begins with. Apart, as `encrypt` is, so that their
/// frames lie in the same place.
#[inline(never)]
fn mac_of(first: &[u8; 64], data: &[u8]) -> [u8; TAG_LEN] {
    let mut key = [0; 32];
    key.copy_from_slice(&first[..32]);
    Poly1305::new((&key).into()).compute_unpadded(data).into()
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
