//! XChaCha20-Poly1305 with a nonce drawn inside the call.
//!
//! A sealed message is `nonce 24 · tag 16 · ciphertext`. (draft-irtf-cfrg-xchacha-03.)

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};

use super::stack::wiped;
use super::{TAG_LEN, random, verdict};
use crate::error::{Error, Misuse, Result};
use crate::secret::KEY_LEN;

/// Stack that one call may use, in bytes; without optimization it is more.
const STACK: usize = if cfg!(debug_assertions) { 16 << 10 } else { 4 << 10 };
/// The longest message: the block counter has 32 bits, and its first value is the authenticator's.
const LIMIT: u64 = (1 << 38) - 65;
const NONCE_LEN: usize = 24;
/// How much longer a sealed message is than its plaintext, in bytes.
pub(crate) const OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// Seals `message[OVERHEAD..]` in place and puts nonce and tag before it.
pub(crate) fn seal(key: &[u8; KEY_LEN], aad: &[u8], message: &mut [u8]) -> Result<()> {
    let (head, body) = split(message)?;
    let nonce = random::array::<NONCE_LEN>()?;
    let actual = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let tag = wiped::<STACK, _>(|| {
        XChaCha20Poly1305::new(key.into()).encrypt_inout_detached(
            &XNonce::from(nonce),
            aad,
            body.into(),
        )
    })
    .map_err(|_| Misuse::TooLarge { what: "a message", actual, limit: LIMIT })?;
    head[..NONCE_LEN].copy_from_slice(&nonce);
    head[NONCE_LEN..].copy_from_slice(&tag);
    Ok(())
}

/// Opens `message` in place and gives its plaintext; one that does not authenticate stays as it is.
pub(crate) fn open<'a>(
    key: &[u8; KEY_LEN],
    aad: &[u8],
    message: &'a mut [u8],
) -> Result<&'a mut [u8]> {
    let (head, body) = split(message)?;
    let mut nonce = XNonce::default();
    nonce.copy_from_slice(&head[..NONCE_LEN]);
    let mut tag = Tag::default();
    tag.copy_from_slice(&head[NONCE_LEN..]);
    let opened = wiped::<STACK, _>(|| {
        XChaCha20Poly1305::new(key.into()).decrypt_inout_detached(
            &nonce,
            aad,
            (&mut *body).into(),
            &tag,
        )
    });
    if verdict::public(opened.is_ok()) { Ok(body) } else { Err(Error::Unauthentic) }
}

fn split(message: &mut [u8]) -> Result<(&mut [u8; OVERHEAD], &mut [u8])> {
    message.split_first_chunk_mut().ok_or(Error::damaged("a sealed message is too short"))
}

#[cfg(test)]
mod tests;
