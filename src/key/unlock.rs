use core::fmt;

use base64ct::{Base64Unpadded, Encoding};
use zeroize::Zeroizing;

use crate::crypto::random;
use crate::error::{Error, KeyTextFault, Result};
use crate::secret::{KEY_LEN, SecretBytes, SecretKey};

const PREFIX: &str = "SWMKEY-1-";
/// 32 bytes in base64 without padding.
const BODY_LEN: usize = 43;

/// The cluster's unlock key (KEK), 32 bytes.
///
/// # Format
///
/// Its text is Docker's: `SWMKEY-1-` and the standard base64 of the key without padding, 52
/// characters in all. Unlike Docker's reader, which takes any length and ignores line ends and
/// unused bits, exactly one text is accepted for a key.
///
/// ```
/// use nodeseal::UnlockKey;
///
/// let key = UnlockKey::generate()?;
/// let text = key.to_text();
/// let again = UnlockKey::from_text(&text)?;
/// assert!(key.ct_eq(&again));
/// # Ok::<(), nodeseal::Error>(())
/// ```
pub struct UnlockKey(SecretKey);

impl UnlockKey {
    /// A new random key.
    ///
    /// # Errors
    ///
    /// [`Error::Random`] if the system's generator fails.
    pub fn generate() -> Result<Self> {
        random::key().map(Self)
    }

    /// A key from its bytes.
    #[must_use]
    pub const fn from_key(key: SecretKey) -> Self {
        Self(key)
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// [`Error::KeyText`] says which part of the form is wrong, and nothing of the text.
    pub fn from_text(text: &str) -> Result<Self> {
        let body = text.strip_prefix(PREFIX).ok_or(Error::KeyText(KeyTextFault::Prefix))?;
        SecretKey::try_init(|bytes| match Base64Unpadded::decode(body, bytes) {
            Ok(decoded) if decoded.len() == KEY_LEN => Ok(()),
            _ => Err(Error::KeyText(fault(body))),
        })
        .map(Self)
    }

    /// The text form, in memory that is wiped.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut buffer = SecretBytes::new();
        buffer.resize(BODY_LEN);
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + BODY_LEN));
        text.push_str(PREFIX);
        text.push_str(
            Base64Unpadded::encode(self.0.expose(), buffer.expose_mut()).unwrap_or_default(),
        );
        text
    }

    /// The key's bytes.
    ///
    /// # Security
    ///
    /// A copy that the caller makes is the caller's to wipe.
    #[must_use]
    pub const fn secret(&self) -> &SecretKey {
        &self.0
    }

    /// Whether two keys are equal, in time that does not depend on their bytes.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockKey(..)")
    }
}

/// What is wrong with a body that did not decode to 32 bytes.
fn fault(body: &str) -> KeyTextFault {
    let alphabet = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    let unpadded = body.trim_end_matches('=');
    if !unpadded.chars().all(alphabet) {
        KeyTextFault::Alphabet
    } else if unpadded.len() != BODY_LEN {
        KeyTextFault::Length
    } else {
        KeyTextFault::Padding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> KeyTextFault {
        match UnlockKey::from_text(text) {
            Err(Error::KeyText(fault)) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_text_form_is_dockers() {
        let key = UnlockKey::from_key(SecretKey::init(|b| b.fill(0xff)));
        assert_eq!(*key.to_text(), format!("SWMKEY-1-{}8", "/".repeat(42)));
        assert!(UnlockKey::from_text(&key.to_text()).unwrap().ct_eq(&key));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let body = "A".repeat(43);
        assert!(UnlockKey::from_text(&format!("SWMKEY-1-{body}")).is_ok());
        assert_eq!(refused(&body), KeyTextFault::Prefix);
        assert_eq!(refused(&format!(" SWMKEY-1-{body}")), KeyTextFault::Prefix);
        assert_eq!(refused(&format!("swmkey-1-{body}")), KeyTextFault::Prefix);
        assert_eq!(refused("SWMKEY-1-"), KeyTextFault::Length);
        assert_eq!(refused(&format!("SWMKEY-1-{body}A")), KeyTextFault::Length);
        assert_eq!(refused(&format!("SWMKEY-1-{}", &body[1..])), KeyTextFault::Length);
        assert_eq!(refused(&format!("SWMKEY-1-{body}=")), KeyTextFault::Padding);
        assert_eq!(refused(&format!("SWMKEY-1-{}B", &body[1..])), KeyTextFault::Padding);
        assert_eq!(refused(&format!("SWMKEY-1-{}_", &body[1..])), KeyTextFault::Alphabet);
        assert_eq!(refused(&format!("SWMKEY-1-{body}\n")), KeyTextFault::Alphabet);
        assert_eq!(refused(&format!("SWMKEY-1-{}é", &body[2..])), KeyTextFault::Alphabet);
    }
}
