//! XSalsa20-Poly1305, in place: NaCl's `crypto_secretbox` with the tag apart.
//!
//! The nonce has 24 bytes: `HSalsa20(key, nonce[..16])` gives a subkey, Salsa20 under the subkey
//! and `nonce[16..]` the stream. Its first 32 bytes are the Poly1305 key, the message starts with
//! the 33rd. The tag is over the ciphertext, unpadded. (Bernstein, "Cryptography in NaCl", 2009.)
//!
//! This file is the seam for faster kernels: whatever seals or opens passes [`Subkey`].

use zeroize::Zeroizing;

use super::TAG_LEN;
pub(crate) use super::kernel::Message;
use super::kernel::{Kernel, Stack};
use super::stack::wiped;
use crate::error::{Error, Result};
use crate::secret::KEY_LEN;

/// Length of the whole nonce, in bytes.
pub(crate) const NONCE_LEN: usize = 24;
/// Length of the nonce's first part, which goes into the subkey, in bytes.
pub(crate) const PREFIX_LEN: usize = 16;
/// Length of the nonce's second part, which goes into the stream, in bytes.
pub(crate) const SUFFIX_LEN: usize = NONCE_LEN - PREFIX_LEN;

/// What [`Stack::Little`] is, in bytes. Unoptimized code keeps every vector on the stack.
const LITTLE: usize = if cfg!(debug_assertions) { 32 << 10 } else { 1536 };
/// What [`Stack::Some`] is.
const SOME: usize = if cfg!(debug_assertions) { 64 << 10 } else { 4608 };
/// What [`Stack::Much`] is.
const MUCH: usize = if cfg!(debug_assertions) { 64 << 10 } else { 8 << 10 };

/// A key together with the first part of a nonce.
pub(crate) struct Subkey(Zeroizing<[u8; KEY_LEN]>);

impl Subkey {
    /// `HSalsa20(key, prefix)`.
    pub(crate) fn new(key: &[u8; KEY_LEN], prefix: &[u8; PREFIX_LEN]) -> Self {
        let mut subkey = Self(Zeroizing::new([0; KEY_LEN]));
        let kernel = Kernel::current();
        on_stack(kernel, 0, || kernel.derive(key, prefix, &mut subkey.0));
        subkey
    }

    /// The subkey as a key of its own, for another round of `HSalsa20`.
    pub(crate) fn as_key(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Encrypts `data` and gives its tag.
    pub(crate) fn seal(&self, suffix: &[u8; SUFFIX_LEN], data: &mut [u8]) -> [u8; TAG_LEN] {
        let kernel = Kernel::current();
        on_stack(kernel, data.len(), || kernel.seal(&self.0, suffix, data))
    }

    /// Decrypts `data` if its tag is right, else leaves it as it is.
    pub(crate) fn open(
        &self,
        suffix: &[u8; SUFFIX_LEN],
        tag: &[u8; TAG_LEN],
        data: &mut [u8],
    ) -> Result<()> {
        let kernel = Kernel::current();
        authentic(on_stack(kernel, data.len(), || kernel.open(&self.0, suffix, tag, data)))
    }

    /// As [`Subkey::seal`], for each of `messages`, whose tags are put before their text.
    pub(crate) fn seal_many(&self, messages: &mut [Message<'_>]) {
        let kernel = Kernel::current();
        wiped::<MUCH, _>(|| kernel.seal_many(&self.0, messages));
    }

    /// As [`Subkey::open`], for each of `messages`; [`Message::right`] tells which ones opened.
    pub(crate) fn open_many(&self, messages: &mut [Message<'_>]) {
        let kernel = Kernel::current();
        wiped::<MUCH, _>(|| kernel.open_many(&self.0, messages));
    }
}

/// Encrypts `data` and gives its tag.
pub(crate) fn seal(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], data: &mut [u8]) -> [u8; TAG_LEN] {
    let (prefix, suffix) = split(nonce);
    let kernel = Kernel::current();
    on_stack(kernel, data.len(), || kernel.derive_seal(key, &prefix, &suffix, data))
}

/// Decrypts `data` if its tag is right, else leaves it as it is.
pub(crate) fn open(
    key: &[u8; KEY_LEN],
    nonce: &[u8; NONCE_LEN],
    tag: &[u8; TAG_LEN],
    data: &mut [u8],
) -> Result<()> {
    let (prefix, suffix) = split(nonce);
    let kernel = Kernel::current();
    authentic(on_stack(kernel, data.len(), || kernel.derive_open(key, &prefix, &suffix, tag, data)))
}

const fn authentic(right: bool) -> Result<()> {
    if right { Ok(()) } else { Err(Error::Unauthentic) }
}

/// Runs `call`, for a message of `len` bytes, and overwrites the stack that it may have used.
#[inline(always)]
fn on_stack<T>(kernel: Kernel, len: usize, call: impl FnOnce() -> T) -> T {
    match kernel.stack(len) {
        Stack::Little => wiped::<LITTLE, _>(call),
        Stack::Some => wiped::<SOME, _>(call),
        Stack::Much => wiped::<MUCH, _>(call),
    }
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
