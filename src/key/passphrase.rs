use core::fmt;

use crate::crypto::argon2id::{self, Costs};
use crate::error::{Misuse, Result};
use crate::secret::{SecretBytes, SecretKey};

/// A person's passphrase, as an additional way into a key file.
///
/// Its bytes are used as they are: 1 to 1024 of them, no normalisation. A new slot takes only one of at
/// least 8 characters.
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

    /// Refuses a passphrase, or costs, that are too weak for a new slot.
    pub(crate) fn check_new(&self, costs: Costs) -> Result<()> {
        const LEAST: usize = 8;
        let bytes = self.0.expose();
        // What is no text counts by its bytes.
        let len = core::str::from_utf8(bytes).map_or(bytes.len(), |text| text.chars().count());
        if len < LEAST {
            return Err(Misuse::TooWeak { what: "the passphrase is", least: "8 characters" }.into());
        }
        if !Costs::FLOOR.are_within(&costs) {
            let least = "19 MiB, 2 passes, 1 lane";
            return Err(Misuse::TooWeak { what: "the Argon2id costs are", least }.into());
        }
        Ok(())
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
