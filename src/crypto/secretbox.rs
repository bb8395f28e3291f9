//! XSalsa20-Poly1305, in place: NaCl's `crypto_secretbox` with the tag apart.
//!
//! The nonce has 24 bytes: `HSalsa20(key, nonce[..16])` gives a subkey, Salsa20 under the subkey
//! and `nonce[16..]` the stream. Its first 32 bytes are the Poly1305 key, the message starts with
//! the 33rd. The tag is over the ciphertext, unpadded. (Bernstein, "Cryptography in NaCl", 2009.)
//!
//! This file is the seam for faster kernels: whatever seals or opens passes [`Subkey`].

use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use salsa20::cipher::consts::U10;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use salsa20::{Salsa20, hsalsa};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::TAG_LEN;
use super::stack::wiped;
use crate::error::{Error, Result};
use crate::secret::KEY_LEN;

/// Length of the whole nonce, in bytes.
pub(crate) const NONCE_LEN: usize = 24;
/// Length of the nonce's first part, which goes into the subkey, in bytes.
pub(crate) const PREFIX_LEN: usize = 16;
/// Length of the nonce's second part, which goes into the stream, in bytes.
pub(crate) const SUFFIX_LEN: usize = NONCE_LEN - PREFIX_LEN;

/// Stack that one call may use, in bytes; without optimization it is more. Poly1305's frames reach
/// deepest, with its key.
const STACK: usize = if cfg!(debug_assertions) { 16 << 10 } else { 4 << 10 };

/// A key together with the first part of a nonce.
pub(crate) struct Subkey(Zeroizing<[u8; KEY_LEN]>);

impl Subkey {
    /// `HSalsa20(key, prefix)`.
    pub(crate) fn new(key: &[u8; KEY_LEN], prefix: &[u8; PREFIX_LEN]) -> Self {
        let mut subkey = Self(Zeroizing::new([0; KEY_LEN]));
        wiped::<STACK, _>(|| subkey.derive(key, prefix));
        subkey
    }

    /// The subkey as a key of its own, for another round of `HSalsa20`.
    pub(crate) fn as_key(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Encrypts `data` and gives its tag.
    pub(crate) fn seal(&self, suffix: &[u8; SUFFIX_LEN], data: &mut [u8]) -> [u8; TAG_LEN] {
        wiped::<STACK, _>(|| self.encrypt(suffix, data))
    }

    /// Decrypts `data` if its tag is right, else leaves it as it is.
    pub(crate) fn open(
        &self,
        suffix: &[u8; SUFFIX_LEN],
        tag: &[u8; TAG_LEN],
        data: &mut [u8],
    ) -> Result<()> {
        wiped::<STACK, _>(|| self.decrypt(suffix, tag, data))
    }

    fn derive(&mut self, key: &[u8; KEY_LEN], prefix: &[u8; PREFIX_LEN]) {
        let mut derived = hsalsa::<U10>(key.into(), prefix.into());
        self.0.copy_from_slice(&derived);
        derived.zeroize();
    }

    fn encrypt(&self, suffix: &[u8; SUFFIX_LEN], data: &mut [u8]) -> [u8; TAG_LEN] {
        let (mut stream, authenticator) = self.start(suffix);
        stream.apply_keystream(data);
        authenticator.compute_unpadded(data).into()
    }

    fn decrypt(
        &self,
        suffix: &[u8; SUFFIX_LEN],
        tag: &[u8; TAG_LEN],
        data: &mut [u8],
    ) -> Result<()> {
        let (mut stream, authenticator) = self.start(suffix);
        if !bool::from(authenticator.compute_unpadded(data).ct_eq(tag.as_slice())) {
            return Err(Error::Unauthentic);
        }
        stream.apply_keystream(data);
        Ok(())
    }

    fn start(&self, suffix: &[u8; SUFFIX_LEN]) -> (Salsa20, Poly1305) {
        let mut stream = Salsa20::new((&*self.0).into(), suffix.into());
        let mut key = Zeroizing::new([0; KEY_LEN]);
        stream.apply_keystream(&mut *key);
        (stream, Poly1305::new((&*key).into()))
    }
}

/// Encrypts `data` and gives its tag.
pub(crate) fn seal(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], data: &mut [u8]) -> [u8; TAG_LEN] {
    let (prefix, suffix) = split(nonce);
    wiped::<STACK, _>(|| {
        let mut subkey = Subkey(Zeroizing::new([0; KEY_LEN]));
        subkey.derive(key, &prefix);
        subkey.encrypt(&suffix, data)
    })
}

/// Decrypts `data` if its tag is right, else leaves it as it is.
pub(crate) fn open(
    key: &[u8; KEY_LEN],
    nonce: &[u8; NONCE_LEN],
    tag: &[u8; TAG_LEN],
    data: &mut [u8],
) -> Result<()> {
    let (prefix, suffix) = split(nonce);
    wiped::<STACK, _>(|| {
        let mut subkey = Subkey(Zeroizing::new([0; KEY_LEN]));
        subkey.derive(key, &prefix);
        subkey.decrypt(&suffix, tag, data)
    })
}

fn split(nonce: &[u8; NONCE_LEN]) -> ([u8; PREFIX_LEN], [u8; SUFFIX_LEN]) {
    let mut prefix = [0; PREFIX_LEN];
    let mut suffix = [0; SUFFIX_LEN];
    prefix.copy_from_slice(&nonce[..PREFIX_LEN]);
    suffix.copy_from_slice(&nonce[PREFIX_LEN..]);
    (prefix, suffix)
}

#[cfg(test)]
pub(crate) mod tests;
