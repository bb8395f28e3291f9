//! NaCl's sealed box: a message to the holder of an X25519 key, from nobody in particular.
//!
//! A sealed message is `ephemeral public key 32 · tag 16 · ciphertext`: a secretbox under
//! `HSalsa20(X25519(e, recipient), 0)` with the nonce `BLAKE2b-192(e's public key ‖ recipient)`.
//! (libsodium's `crypto_box_seal`.)

use blake2::digest::consts::U24;
use blake2::{Blake2b, Digest};

use super::secretbox::{self, NONCE_LEN, PREFIX_LEN, Subkey};
use super::x25519::{self, POINT_LEN};
use super::{TAG_LEN, random};
use crate::error::{Error, Result};
use crate::secret::{KEY_LEN, SecretKey};

/// How much longer a sealed message is than its plaintext, in bytes.
pub(crate) const OVERHEAD: usize = POINT_LEN + TAG_LEN;

/// Seals `message[OVERHEAD..]` in place to `recipient`, and puts ephemeral key and tag before it.
pub(crate) fn seal(recipient: &[u8; POINT_LEN], message: &mut [u8]) -> Result<()> {
    seal_with(&random::key()?, recipient, message)
}

/// As [`seal`]; `ephemeral` must never be used again.
fn seal_with(ephemeral: &SecretKey, recipient: &[u8; POINT_LEN], message: &mut [u8]) -> Result<()> {
    let (point, tag, body) = split(message)?;
    *point = x25519::public(ephemeral);
    let nonce = nonce(point, recipient);
    with_shared(ephemeral, recipient, |key| *tag = secretbox::seal(key, &nonce, body))
}

/// Opens `message` in place and gives its plaintext; one that does not authenticate stays as it is.
pub(crate) fn open<'a>(key: &SecretKey, message: &'a mut [u8]) -> Result<&'a mut [u8]> {
    let (point, tag, body) = split(message)?;
    let nonce = nonce(point, &x25519::public(key));
    with_shared(key, point, |key| secretbox::open(key, &nonce, tag, body))??;
    Ok(body)
}

fn with_shared<T>(
    scalar: &SecretKey,
    point: &[u8; POINT_LEN],
    call: impl FnOnce(&[u8; KEY_LEN]) -> T,
) -> Result<T> {
    let shared = x25519::shared(scalar, point)?;
    Ok(Subkey::with(shared.expose(), &[0; PREFIX_LEN], |subkey| call(subkey.as_key())))
}

fn nonce(ephemeral: &[u8; POINT_LEN], recipient: &[u8; POINT_LEN]) -> [u8; NONCE_LEN] {
    Blake2b::<U24>::new().chain_update(ephemeral).chain_update(recipient).finalize().into()
}

type Parts<'a> = (&'a mut [u8; POINT_LEN], &'a mut [u8; TAG_LEN], &'a mut [u8]);

fn split(message: &mut [u8]) -> Result<Parts<'_>> {
    let short = || Error::damaged("a sealed message is too short");
    let (point, rest) = message.split_first_chunk_mut().ok_or_else(short)?;
    let (tag, body) = rest.split_first_chunk_mut().ok_or_else(short)?;
    Ok((point, tag, body))
}

#[cfg(test)]
mod tests;
