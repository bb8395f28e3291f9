//! Writing a key file, as dockerd does.

use std::path::Path;

use super::{KEK_VERSION, KeyForm, NEEDS_ROTATION, RAFT_DEK, RAFT_DEK_PENDING};
use crate::error::{Error, Result};
use crate::fs::{self, Fs};
use crate::key::UnlockKey;
use crate::secret::{SecretBytes, SecretKey};
use crate::swarm::pem::{self, Block};
use crate::swarm::record::{self, Cipher, Sealer};
use crate::swarm::{ec_key, pkcs8};

/// What a key file is to hold.
pub(crate) struct Contents<'a> {
    /// The TLS key, PKCS#8 or SEC 1. A SEC 1 key is written as PKCS#8, whatever it was before.
    pub(crate) tls_key: &'a SecretBytes,
    pub(crate) kek_version: u64,
    /// Absent in a worker's file.
    pub(crate) current: Option<&'a SecretKey>,
    pub(crate) pending: Option<&'a SecretKey>,
    /// The mark that one more rotation is due.
    pub(crate) needs_rotation: bool,
    /// What the DEKs are wrapped with.
    pub(crate) cipher: Cipher,
}

impl Contents<'_> {
    /// The file, locked with `kek`, or in the clear. Salt, IV and nonces are drawn anew.
    ///
    /// # Errors
    ///
    /// [`Error::Random`]; [`Error::Damaged`] if the TLS key is none.
    pub(crate) fn encode(&self, kek: Option<&UnlockKey>) -> Result<SecretBytes> {
        let kek = kek.map(UnlockKey::secret);
        let der = ec_key::to_pkcs8(self.tls_key)?;
        let (form, body) = match kek {
            Some(kek) => (KeyForm::EncryptedPkcs8, pkcs8::encrypt(&der, kek.expose())?),
            None => (KeyForm::Pkcs8, der),
        };
        let mut headers = vec![header(KEK_VERSION, self.kek_version.to_string().as_bytes())];
        let with = kek.map(|key| Sealer { cipher: self.cipher, key });
        for (name, dek) in [(RAFT_DEK, self.current), (RAFT_DEK_PENDING, self.pending)] {
            if let Some(dek) = dek {
                let sealed = record::seal(with, SecretBytes::from(&dek.expose()[..]))?;
                headers.push(header(name, pem::to_base64(sealed.expose()).expose()));
            }
        }
        if self.needs_rotation {
            headers.push(header(NEEDS_ROTATION, b"true"));
        }
        let label = form.label().to_vec();
        Ok(Block { label, headers, body, repeated: false, surrounded: false }.encode())
    }

    /// Replaces the key file at `path`, durably.
    ///
    /// # Errors
    ///
    /// As for [`Contents::encode`], and what the system says.
    pub(crate) fn replace(&self, fs: &dyn Fs, path: &Path, kek: Option<&UnlockKey>) -> Result<()> {
        let file = self.encode(kek)?;
        fs::replace(fs, path, file.expose()).map_err(|error| Error::in_file(error, path))
    }
}

fn header(name: &str, value: &[u8]) -> (SecretBytes, SecretBytes) {
    (SecretBytes::from(name.as_bytes()), SecretBytes::from(value))
}
