use core::fmt;

use crate::crypto::{hkdf, random};
use crate::error::{Error, Result};
use crate::secret::SecretKey;

/// The key of an audit file: whoever has it can write one that verifies.
///
/// Keep it sealed: as an attachment of the key file, or among a store's metadata. It must outlive the
/// DEKs, so it is none of them and not derived from one.
///
/// ```
/// use nodeseal::audit::AuditKey;
///
/// let key = AuditKey::generate()?;
/// let kept = AuditKey::from_bytes(key.expose())?;
/// assert_eq!(format!("{kept:?}"), "AuditKey(..)");
/// # Ok::<(), nodeseal::Error>(())
/// ```
pub struct AuditKey(SecretKey);

impl AuditKey {
    /// A new random key.
    ///
    /// # Errors
    ///
    /// [`Error::Random`] if the system's generator fails.
    pub fn generate() -> Result<Self> {
        random::key().map(Self)
    }

    /// The key from its 32 bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] for another number of bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bytes: &[u8; 32] =
            bytes.try_into().map_err(|_| Error::damaged("an audit key has 32 bytes"))?;
        Ok(Self(SecretKey::init(|key| key.copy_from_slice(bytes))))
    }

    /// The key's bytes.
    ///
    /// # Security
    ///
    /// A copy that the caller makes is the caller's to wipe.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    pub(super) fn for_lines(&self) -> SecretKey {
        hkdf::derive(self.0.expose(), "nodeseal/v1/audit-line", &[])
    }

    pub(super) fn for_end(&self) -> SecretKey {
        hkdf::derive(self.0.expose(), "nodeseal/v1/audit-end", &[])
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey(..)")
    }
}
