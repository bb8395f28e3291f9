//! The tags of an attestation, one under each key that the folder has.

use std::path::Path;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Body;
use crate::crypto::hkdf;
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::key::UnlockKey;
use crate::secret::SecretKey;
use crate::swarm::folder::Folder;
use crate::swarm::state::read_key_file;

/// Length of a key's id, in bytes.
pub(super) const KEY_ID: usize = 8;

/// The tag under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) of: TagKey,
    pub(super) id: [u8; KEY_ID],
    pub(super) tag: [u8; 32],
}

/// Which key a tag is under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TagKey {
    Dek,
    Unlock,
}

impl TagKey {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Dek => "dek",
            Self::Unlock => "unlock",
        }
    }
}

impl Tag {
    fn new(of: TagKey, key: &SecretKey, digest: &[u8]) -> Self {
        let word = of.name().as_bytes();
        let mut tag = Self { of, id: [0; KEY_ID], tag: [0; 32] };
        let key = key.expose();
        hkdf::expand(key, "nodeseal/v1/swarm-attest-id", &[word], &mut tag.id);
        hkdf::expand(key, "nodeseal/v1/swarm-attest", &[word, digest], &mut tag.tag);
        tag
    }
}

/// The tags of `body` under the keys of the folder `dir`.
///
/// # Errors
///
/// Those of the key file and of the unlock key.
pub(super) fn of_folder(
    fs: &dyn Fs,
    dir: &Path,
    key: Option<&UnlockKey>,
    body: &Body,
) -> Result<Vec<Tag>> {
    let path = Folder::new(dir).key_file();
    let file = read_key_file(fs, &path)?;
    let keys = file.unlock(key).map_err(|error| error.in_file(&path))?;
    if keys.current.is_none() {
        return Err(Error::damaged("the key file has no DEK").in_file(&path));
    }
    let digest = Sha256::digest(body.to_text().as_bytes());
    let deks = keys.current.iter().chain(&keys.pending).map(|dek| (TagKey::Dek, dek));
    let unlock = key.filter(|_| file.locked()).map(|key| (TagKey::Unlock, key.secret()));
    Ok(deks.chain(unlock).map(|(of, key)| Tag::new(of, key, &digest)).collect())
}

/// Checks the tags that are under one of the folder's own keys.
///
/// # Errors
///
/// [`Error::WrongKey`] if none is, [`Error::Unauthentic`] if one is not right.
pub(super) fn check(tags: &[Tag], own: &[Tag]) -> Result<()> {
    let mut authentic = None;
    for tag in tags {
        if let Some(own) = own.iter().find(|own| (own.of, own.id) == (tag.of, tag.id)) {
            let equal = bool::from(own.tag.ct_eq(&tag.tag));
            authentic = Some(authentic.unwrap_or(true) & equal);
        }
    }
    match authentic {
        Some(true) => Ok(()),
        Some(false) => Err(Error::Unauthentic),
        None => Err(Error::WrongKey),
    }
}
