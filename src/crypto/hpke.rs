//! HPKE (RFC 9180) in PSK mode: a message that only the holder of a key can open, and that only a
//! holder of a secret shared beforehand can have sealed.
//!
//! The suite is the only one that there is: X-Wing (0x647a, draft-ietf-hpke-pq), HKDF-SHA256,
//! ChaCha20Poly1305. A sealed message is `ciphertext · tag 16`, as RFC 9180 has it.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use zeroize::Zeroizing;

use super::stack::wiped;
use super::xwing::{self, PUBLIC_LEN, RANDOMNESS_LEN, SHARE_LEN, Share};
use super::{TAG_LEN, hkdf, random, verdict};
use crate::error::{Error, Misuse, Result};
use crate::secret::SecretKey;

/// X-Wing's number among the KEMs.
const KEM: u16 = 0x647a;
/// HKDF-SHA256's number among the KDFs.
const KDF: u16 = 0x0001;
/// ChaCha20Poly1305's number among the AEADs.
const AEAD: u16 = 0x0003;
/// The mode with a pre-shared key.
const PSK: u8 = 1;

const NONCE_LEN: usize = 12;
/// The longest message, of which the block counter has 32 bits.
const LIMIT: u64 = (1 << 38) - 65;
/// Stack that the AEAD may use, in bytes; without optimization it is more.
const STACK: usize = if cfg!(debug_assertions) { 16 << 10 } else { 4 << 10 };

/// The suite's name in derivations: `"HPKE"` and the three numbers.
pub(crate) const SUITE: [u8; 10] = suite(KEM);

/// A secret that both sides have already, and the name that tells it from others.
#[derive(Clone, Copy)]
pub(crate) struct Psk<'a> {
    pub(crate) key: &'a SecretKey,
    /// Not empty.
    pub(crate) id: &'a [u8],
}

/// Seals messages to one recipient, in order.
pub(crate) struct Sender(Context);

/// Opens the messages of one [`Sender`], in their order.
pub(crate) struct Receiver(Context);

impl Sender {
    /// Sets up messages to `recipient`: returns what it needs to open them, and the sender.
    ///
    /// # Errors
    ///
    /// [`Error::Random`] if the system's generator fails; [`Error::Damaged`] if nothing can be sealed
    /// to `recipient`.
    pub(crate) fn new(
        recipient: &[u8; PUBLIC_LEN],
        psk: Psk<'_>,
        info: &[u8],
    ) -> Result<(Share, Self)> {
        Self::with(recipient, psk, info, |randomness| random::fill(randomness))
    }

    fn with(
        recipient: &[u8; PUBLIC_LEN],
        psk: Psk<'_>,
        info: &[u8],
        fill: impl FnOnce(&mut [u8; RANDOMNESS_LEN]) -> Result<()>,
    ) -> Result<(Share, Self)> {
        let mut randomness = Zeroizing::new([0; RANDOMNESS_LEN]);
        fill(&mut randomness)?;
        let (share, shared) = xwing::encapsulate(recipient, &randomness)?;
        Ok((share, Self(Context::new(&shared, psk, info))))
    }

    /// Seals `message` but for its last 16 bytes in place, and puts the tag there.
    ///
    /// # Errors
    ///
    /// [`Misuse::TooLarge`] for a message of more than 2^38 - 65 bytes, or [`Misuse::OutOfBounds`] after
    /// 2^64 - 1 messages.
    pub(crate) fn seal(&mut self, aad: &[u8], message: &mut [u8]) -> Result<()> {
        let (body, tag) = split(message)?;
        let actual = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let nonce = self.0.nonce();
        let sealed = wiped::<STACK, _>(|| {
            let aead = ChaCha20Poly1305::new(self.0.key.expose().into());
            aead.encrypt_inout_detached(&nonce, aad, body.into())
        });
        let sealed =
            sealed.map_err(|_| Misuse::TooLarge { what: "a message", actual, limit: LIMIT })?;
        self.0.count()?;
        tag.copy_from_slice(&sealed);
        Ok(())
    }
}

impl Receiver {
    /// Sets up the opening of what was sealed with `share` to the holder of `key`.
    ///
    /// Another key, PSK or info is noticed only when the first message does not open.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] for a share that no honest sender makes.
    pub(crate) fn new(
        key: &SecretKey,
        share: &[u8; SHARE_LEN],
        psk: Psk<'_>,
        info: &[u8],
    ) -> Result<Self> {
        Ok(Self(Context::new(&xwing::decapsulate(key, share)?, psk, info)))
    }

    /// Opens the next message in place and returns its plaintext. One that does not authenticate
    /// stays as it is, and is still the next one.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthentic`], or [`Error::Damaged`] for less than 16 bytes.
    pub(crate) fn open<'a>(&mut self, aad: &[u8], message: &'a mut [u8]) -> Result<&'a mut [u8]> {
        let (body, tag) = split(message)?;
        let (nonce, tag) = (self.0.nonce(), Tag::from(*tag));
        let opened = wiped::<STACK, _>(|| {
            let aead = ChaCha20Poly1305::new(self.0.key.expose().into());
            aead.decrypt_inout_detached(&nonce, aad, (&mut *body).into(), &tag)
        });
        if !verdict::public(opened.is_ok()) {
            return Err(Error::Unauthentic);
        }
        self.0.count()?;
        Ok(body)
    }
}

/// The context of RFC 9180, which both sides have.
struct Context {
    key: SecretKey,
    base_nonce: Zeroizing<[u8; NONCE_LEN]>,
    sequence: u64,
}

impl Context {
    fn new(shared: &SecretKey, psk: Psk<'_>, info: &[u8]) -> Self {
        debug_assert!(!psk.id.is_empty());
        Self::schedule(&SUITE, PSK, shared, psk.key.expose(), psk.id, info)
    }

    /// RFC 9180, section 5.1.
    fn schedule(
        suite: &[u8; 10],
        mode: u8,
        shared: &SecretKey,
        psk: &[u8],
        psk_id: &[u8],
        info: &[u8],
    ) -> Self {
        let extract = |salt: &[u8], label: &[u8], ikm: &[u8]| {
            hkdf::extract(salt, &[b"HPKE-v1", suite, label, ikm])
        };
        let psk_id_hash = extract(b"", b"psk_id_hash", psk_id);
        let info_hash = extract(b"", b"info_hash", info);
        let context: [&[u8]; 3] = [&[mode], psk_id_hash.expose(), info_hash.expose()];
        let secret = extract(shared.expose(), b"secret", psk);
        let mut base_nonce = Zeroizing::new([0; NONCE_LEN]);
        expand(suite, &secret, b"base_nonce", &context, &mut base_nonce);
        let key = SecretKey::init(|key| expand(suite, &secret, b"key", &context, key));
        Self { key, base_nonce, sequence: 0 }
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = *self.base_nonce;
        if let Some(last) = nonce.last_chunk_mut::<8>() {
            *last = (u64::from_be_bytes(*last) ^ self.sequence).to_be_bytes();
        }
        nonce.into()
    }

    /// Counts a message, so that no nonce comes twice.
    fn count(&mut self) -> Result<()> {
        self.sequence =
            self.sequence.checked_add(1).ok_or(Misuse::OutOfBounds("messages of one sender"))?;
        Ok(())
    }
}

/// RFC 9180's `LabeledExpand`.
fn expand<const N: usize>(
    suite: &[u8; 10],
    prk: &SecretKey,
    label: &[u8],
    context: &[&[u8]; 3],
    out: &mut [u8; N],
) {
    let len = u16::try_from(N).unwrap_or(u16::MAX).to_be_bytes();
    let [mode, psk_id_hash, info_hash] = context;
    let info: &[&[u8]] = &[&len, b"HPKE-v1", suite, label, mode, psk_id_hash, info_hash];
    hkdf::expand_prk(prk, info, out);
}

const fn suite(kem: u16) -> [u8; 10] {
    let ([k0, k1], [h0, h1], [a0, a1]) = (kem.to_be_bytes(), KDF.to_be_bytes(), AEAD.to_be_bytes());
    [b'H', b'P', b'K', b'E', k0, k1, h0, h1, a0, a1]
}

fn split(message: &mut [u8]) -> Result<(&mut [u8], &mut [u8; TAG_LEN])> {
    message.split_last_chunk_mut().ok_or(Error::damaged("a sealed message is too short"))
}

#[cfg(test)]
mod tests;
