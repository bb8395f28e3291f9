use core::fmt;
use std::sync::Arc;

use crate::crypto::{hkdf, random, xchacha};
use crate::error::{Error, Result};
use crate::grant::SecretId;
use crate::grant::wire::{self, Reader, Wire};
use crate::secret::{KEY_LEN, SecretBytes, SecretKey};

/// Largest payload, in bytes: Docker's limit of 500 KiB, which is exclusive.
pub const MAX_PAYLOAD: usize = 511_999;

/// The key of a cluster under which payloads are sealed where they enter: 32 random bytes and a
/// version. Clones are handles on the same key.
///
/// It stands in the replicated state, which every node's store seals. Take it from there
/// ([`Cluster::payload_key`](super::Cluster::payload_key)) to seal a payload without holding the
/// state meanwhile.
#[derive(Clone)]
pub struct PayloadKey {
    version: u64,
    key: Arc<SecretKey>,
}

impl PayloadKey {
    pub(super) fn generate(version: u64) -> Result<Self> {
        Ok(Self { version, key: Arc::new(random::key()?) })
    }

    /// Its version. The first is 1.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Seals the payload of version `version` of the secret `secret`. It opens as that one's only.
    ///
    /// # Errors
    ///
    /// [`Misuse::TooLarge`](crate::Misuse::TooLarge) for over 511,999 bytes;
    /// [`Misuse::OutOfBounds`](crate::Misuse::OutOfBounds) for none; [`Error::Random`].
    pub fn seal(&self, secret: &SecretId, version: u64, payload: &[u8]) -> Result<SealedPayload> {
        if payload.is_empty() {
            return Err(crate::Misuse::OutOfBounds("an empty payload is").into());
        }
        if payload.len() > MAX_PAYLOAD {
            return Err(Error::too_large("a payload", payload.len(), MAX_PAYLOAD));
        }
        let mut message = SecretBytes::with_capacity(xchacha::OVERHEAD + payload.len());
        message.resize(xchacha::OVERHEAD);
        message.extend_from_slice(payload);
        let aad = aad(secret, version);
        xchacha::seal(self.derive(secret, version).expose(), &aad, message.expose_mut())?;
        Ok(SealedPayload { key: self.version, bytes: message.expose().into() })
    }

    pub(super) fn open(
        &self,
        secret: &SecretId,
        version: u64,
        sealed: &SealedPayload,
    ) -> Result<SecretBytes> {
        let mut message = SecretBytes::from(&*sealed.bytes);
        let aad = aad(secret, version);
        xchacha::open(self.derive(secret, version).expose(), &aad, message.expose_mut())?;
        message.remove_front(xchacha::OVERHEAD);
        Ok(message)
    }

    fn derive(&self, secret: &SecretId, version: u64) -> SecretKey {
        const LABEL: &str = "nodeseal/v1/payload";
        hkdf::derive(
            self.key.expose(),
            LABEL,
            &[secret.as_str().as_bytes(), &version.to_le_bytes()],
        )
    }
}

fn aad(secret: &SecretId, version: u64) -> Vec<u8> {
    let (id, version) = (secret.as_str().as_bytes(), version.to_le_bytes());
    [&hkdf::len64(id)[..], id, &hkdf::len64(&version), &version].concat()
}

impl fmt::Debug for PayloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PayloadKey(version {})", self.version)
    }
}

impl Wire for PayloadKey {
    fn put(&self, out: &mut SecretBytes) {
        self.version.put(out);
        out.extend_from_slice(self.key.expose());
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        let version = input.u64()?;
        let bytes = input.take(KEY_LEN)?;
        let key = SecretKey::init(|key| key.copy_from_slice(bytes));
        Ok(Self { version, key: Arc::new(key) })
    }
}

/// A secret's payload, sealed: `nonce 24 · tag 16 · ciphertext`, XChaCha20-Poly1305 under
/// HKDF(payload key, "payload", secret id, version), the AAD being the same id and version, each
/// after its length. Clones share its memory.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedPayload {
    key: u64,
    bytes: Arc<[u8]>,
}

impl SealedPayload {
    /// Version of the payload key that it is sealed under.
    #[must_use]
    pub const fn key_version(&self) -> u64 {
        self.key
    }

    /// How long the payload is, in bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.bytes.len().saturating_sub(xchacha::OVERHEAD)
    }

    pub(super) fn sealed_len(&self) -> usize {
        self.bytes.len()
    }
}

impl fmt::Debug for SealedPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedPayload({} bytes, key {})", self.payload_len(), self.key)
    }
}

impl Wire for SealedPayload {
    fn put(&self, out: &mut SecretBytes) {
        self.key.put(out);
        wire::put_bytes(out, &self.bytes);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        let key = input.u64()?;
        let bytes = input.bytes()?;
        match bytes.len().checked_sub(xchacha::OVERHEAD) {
            Some(1..=MAX_PAYLOAD) => Ok(Self { key, bytes: bytes.into() }),
            _ => Err(input.damaged()),
        }
    }
}
