use core::fmt;

use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use subtle::ConstantTimeEq;

/// Length of every symmetric key, in bytes.
pub(crate) const KEY_LEN: usize = 32;

/// A 32-byte key in memory of its own, wiped on drop.
///
/// Moving one moves a pointer; the bytes stay where they were filled in.
///
/// ```
/// use nodeseal::secret::SecretKey;
///
/// let key = SecretKey::init(|bytes| bytes.fill(7));
/// assert_eq!(format!("{key:?}"), "SecretKey(..)");
/// assert!(key.ct_eq(&SecretKey::init(|bytes| bytes.fill(7))));
/// ```
///
/// Keys are not compared with `==`, nor cloned:
///
/// ```compile_fail
/// # use nodeseal::secret::SecretKey;
/// # let key = SecretKey::init(|bytes| bytes.fill(7));
/// let same = key == key;
/// ```
///
/// ```compile_fail
/// # use nodeseal::secret::SecretKey;
/// # let key = SecretKey::init(|bytes| bytes.fill(7));
/// let copy = key.clone();
/// ```
pub struct SecretKey(SecretBox<[u8; KEY_LEN]>);

impl SecretKey {
    /// A key whose zeroed memory `fill` fills in place.
    #[must_use]
    pub fn init(fill: impl FnOnce(&mut [u8; KEY_LEN])) -> Self {
        Self(SecretBox::init_with_mut(fill))
    }

    /// As [`SecretKey::init`], with a `fill` that may fail; what it had filled in is wiped then.
    ///
    /// # Errors
    ///
    /// The error of `fill`.
    pub fn try_init<E>(fill: impl FnOnce(&mut [u8; KEY_LEN]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Self::init(|_| ());
        fill(key.0.expose_secret_mut())?;
        Ok(key)
    }

    /// The bytes. Every use of a key passes here.
    ///
    /// # Security
    ///
    /// A copy that the caller makes is the caller's to wipe.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        self.0.expose_secret()
    }

    /// Whether two keys are equal, in time that does not depend on their bytes.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }

    /// The same key in memory of its own.
    pub(crate) fn duplicate(&self) -> Self {
        Self::init(|bytes| bytes.copy_from_slice(self.expose()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_fill_gives_its_error() {
        let failed = SecretKey::try_init(|bytes| {
            bytes.fill(1);
            Err("no")
        });
        assert_eq!(failed.err(), Some("no"));
    }

    #[test]
    fn keys_compare_by_value() {
        let one = SecretKey::init(|b| b.fill(1));
        assert!(one.ct_eq(&one.duplicate()));
        assert!(!one.ct_eq(&SecretKey::init(|b| b[31] = 1)));
    }
}
