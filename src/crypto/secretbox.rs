//! XSalsa20-Poly1305, in place: NaCl's `crypto_secretbox` with the tag apart.
//!
//! The nonce has 24 bytes: `HSalsa20(key, nonce[..16])` gives a subkey, Salsa20 under the subkey
//! and `nonce[16..]` the stream. Its first 32 bytes are the Poly1305 key, the message starts with
//! the 33rd. The tag is over the ciphertext, unpadded. (Bernstein, "Cryptography in NaCl", 2009.)
//!
//! This file is the seam for faster kernels: whatever seals or opens passes [`Subkey`].

use zeroize::Zeroizing;

use super::TAG_LEN;
use super::kernel::Kernel;
pub(crate) use super::kernel::Message;
use crate::error::{Error, Result};
use crate::secret::KEY_LEN;

/// Length of the whole nonce, in bytes.
pub(crate) const NONCE_LEN: usize = 24;
/// Length of the nonce's first part, which goes into the subkey, in bytes.
pub(crate) const PREFIX_LEN: usize = 16;
/// Length of the nonce's second part, which goes into the stream, in bytes.
pub(crate) const SUFFIX_LEN: usize = NONCE_LEN - PREFIX_LEN;

/// A key together with the first part of a nonce.
///
/// It is filled in where it is and never returned by value: a move would leave a copy on the stack.
#[derive(Default)]
pub(crate) struct Subkey(Zeroizing<[u8; KEY_LEN]>);

impl Subkey {
    /// Fills it with `HSalsa20(key, prefix)`.
    pub(crate) fn set(&mut self, key: &[u8; KEY_LEN], prefix: &[u8; PREFIX_LEN]) {
        Kernel::current().derive(key, prefix, &mut self.0);
    }

    /// Runs `call` with `HSalsa20(key, prefix)`, which is wiped before this returns.
    pub(crate) fn with<T>(
        key: &[u8; KEY_LEN],
        prefix: &[u8; PREFIX_LEN],
        call: impl FnOnce(&Self) -> T,
    ) -> T {
        let mut subkey = Self::default();
        subkey.set(key, prefix);
        call(&subkey)
    }

    /// The subkey as a key of its own, for another round of `HSalsa20`.
    pub(crate) fn as_key(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Encrypts `data` and gives its tag.
    pub(crate) fn seal(&self, suffix: &[u8; SUFFIX_LEN], data: &mut [u8]) -> [u8; TAG_LEN] {
        Kernel::current().seal(&self.0, suffix, data)
    }

    /// Decrypts `data` if its tag is right, else leaves it as it is.
    pub(crate) fn open(
        &self,
        suffix: &[u8; SUFFIX_LEN],
        tag: &[u8; TAG_LEN],
        data: &mut [u8],
    ) -> Result<()> {
        authentic(Kernel::current().open(&self.0, suffix, tag, data))
    }

    /// As [`Subkey::seal`], for each of `messages`, whose tags are put before their text.
    pub(crate) fn seal_many(&self, messages: &mut [Message<'_>]) {
        Kernel::current().seal_many(&self.0, messages);
    }

    /// As [`Subkey::open`], for each of `messages`; [`Message::right`] tells which ones opened.
    pub(crate) fn open_many(&self, messages: &mut [Message<'_>]) {
        Kernel::current().open_many(&self.0, messages);
    }
}

/// Encrypts `data` and gives its tag.
pub(crate) fn seal(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], data: &mut [u8]) -> [u8; TAG_LEN] {
    let (prefix, suffix) = split(nonce);
    Kernel::current().derive_seal(key, &prefix, &suffix, data)
}

/// Decrypts `data` if its tag is right, else leaves it as it is.
pub(crate) fn open(
    key: &[u8; KEY_LEN],
    nonce: &[u8; NONCE_LEN],
    tag: &[u8; TAG_LEN],
    data: &mut [u8],
) -> Result<()> {
    let (prefix, suffix) = split(nonce);
    authentic(Kernel::current().derive_open(key, &prefix, &suffix, tag, data))
}

const fn authentic(right: bool) -> Result<()> {
    if right { Ok(()) } else { Err(Error::Unauthentic) }
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
