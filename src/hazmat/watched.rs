//! What `ct` needs to look for branches that depend on secrets.

use crate::crypto::secretbox::{Message, Subkey};
use crate::crypto::{hkdf, hmac, sealed_box, verdict, x25519, xchacha};
use crate::error::Result;
use crate::keyring;
use crate::secret::SecretKey;

/// What [`secretbox_batch`] does.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// Seals.
    Seal,
    /// Opens.
    Open,
}

/// Tells `watch` of each verdict, before anything depends on it.
pub fn on_verdict(watch: fn(&mut bool)) {
    verdict::watch::set(watch);
}

/// Seals or opens messages, each with its nonce's last 8 bytes and its tag before its text; tells
/// which ones were right.
pub fn secretbox_batch(
    key: &SecretKey,
    prefix: &[u8; 16],
    messages: &mut [([u8; 8], &mut [u8])],
    way: Way,
) -> Vec<bool> {
    let mut batch: Vec<_> = messages
        .iter_mut()
        .map(|(suffix, sealed)| Message { suffix: *suffix, sealed: &mut **sealed, right: false })
        .collect();
    Subkey::with(key.expose(), prefix, |subkey| match way {
        Way::Seal => subkey.seal_many(&mut batch),
        Way::Open => subkey.open_many(&mut batch),
    });
    batch.iter().map(|message| message.right).collect()
}

/// XChaCha20-Poly1305 in place: 40 bytes for nonce and tag, then the text.
///
/// # Errors
///
/// As `crypto::xchacha` has them.
pub fn xchacha_seal(key: &SecretKey, aad: &[u8], message: &mut [u8]) -> Result<()> {
    xchacha::seal(key.expose(), aad, message)
}

/// Opens what [`xchacha_seal`] made.
///
/// # Errors
///
/// As `crypto::xchacha` has them.
pub fn xchacha_open(key: &SecretKey, aad: &[u8], message: &mut [u8]) -> Result<()> {
    xchacha::open(key.expose(), aad, message).map(|_| ())
}

/// The X25519 public key of `key`.
pub fn x25519_public(key: &SecretKey) -> [u8; 32] {
    x25519::public(key)
}

/// Seals to an X25519 key in place: 48 bytes for ephemeral key and tag, then the text.
///
/// # Errors
///
/// As `crypto::sealed_box` has them.
pub fn sealed_box_seal(recipient: &[u8; 32], message: &mut [u8]) -> Result<()> {
    sealed_box::seal(recipient, message)
}

/// Opens what [`sealed_box_seal`] made.
///
/// # Errors
///
/// As `crypto::sealed_box` has them.
pub fn sealed_box_open(key: &SecretKey, message: &mut [u8]) -> Result<()> {
    sealed_box::open(key, message).map(|_| ())
}

/// The HMAC-SHA256 of `text`.
pub fn hmac_code(key: &SecretKey, text: &[u8]) -> [u8; 32] {
    hmac::code(key, &[text])
}

/// Whether `code` is the HMAC-SHA256 of `text`.
pub fn hmac_is_code(key: &SecretKey, text: &[u8], code: &[u8]) -> bool {
    hmac::is_code(key, &[text], code)
}

/// HKDF-SHA256 of `key` and `context`.
pub fn hkdf_derive(key: &SecretKey, context: &[u8]) -> SecretKey {
    hkdf::derive(key.expose(), "nodeseal/v1/ct", &[context])
}

/// Wraps `file_key` for the unlock key `key` as a key file does, and unwraps with `other` what `alter`
/// makes of it.
///
/// # Errors
///
/// As the opening of a key file has them.
pub fn wrap_unwrap(
    key: &SecretKey,
    file_key: &SecretKey,
    alter: fn(&mut [u8]),
    other: &SecretKey,
) -> Result<Option<SecretKey>> {
    keyring::wrap_unwrap(key, file_key, alter, other)
}
