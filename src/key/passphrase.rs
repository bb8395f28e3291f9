use core::fmt;

use crate::crypto::argon2id::{self, Costs};
use crate::error::{Misuse, Result};
use crate::secret::{SecretBytes, SecretKey};

/// A person's passphrase, as an additional way into a key file.
///
/// Its bytes are used as they are: 1 to 1024 of them, no normalisation.
pub struct Passphrase(SecretBytes);

impl Passphrase {
    /// Takes the passphrase over.
    ///
    /// # Errors
    ///
    /// [`Misuse::OutOfBounds`] for one that is empty or longer than 1024 bytes.
    pub fn new(bytes: SecretBytes) -> Result<Self> {
        if (1..=1024).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(Misuse::OutOfBounds("passphrase length").into())
        }
    }

    /// Argon2id of the passphrase: what takes the place of an unlock key.
    pub(crate) fn stretch(&self, salt: &[u8; 16], costs: Costs) -> Result<SecretKey> {
        argon2id::derive(self.0.expose(), salt, costs)
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}
