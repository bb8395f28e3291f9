use core::fmt;

use crate::crypto::{hkdf, random};
use crate::error::{Error, Result};
use crate::secret::SecretKey;

/// Length of a DEK's id, in bytes.
pub(crate) const ID_LEN: usize = 8;

/// Names a DEK without telling anything of it: the first 8 bytes of `HKDF(DEK, "dek-id")`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DekId([u8; ID_LEN]);

impl DekId {
    /// The id from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
        Self(bytes)
    }

    /// The id's bytes, as they stand in what is sealed.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; ID_LEN] {
        self.0
    }

    pub(crate) fn unknown(self) -> Error {
        Error::UnknownDek(self.to_string())
    }
}

impl fmt::Display for DekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DekId({self})")
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for DekId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A data encryption key. It never touches data itself: what seals is derived from it.
pub(crate) struct Dek {
    id: DekId,
    key: SecretKey,
}

impl Dek {
    /// A new random DEK whose id is none of those that `known` tells.
    pub(crate) fn generate(known: impl Fn(DekId) -> bool) -> Result<Self> {
        loop {
            let dek = Self::from_key(random::key()?);
            if !known(dek.id) {
                return Ok(dek);
            }
        }
    }

    pub(crate) fn from_key(key: SecretKey) -> Self {
        const LABEL: &str = "nodeseal/v1/dek-id";
        let mut id = [0; ID_LEN];
        hkdf::expand(key.expose(), LABEL, &[], &mut id);
        Self { id: DekId(id), key }
    }

    pub(crate) const fn id(&self) -> DekId {
        self.id
    }

    pub(crate) const fn secret(&self) -> &SecretKey {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    #[test]
    fn an_id_that_is_taken_is_drawn_again() {
        let taken = Cell::new(None);
        let dek = Dek::generate(|id| taken.replace(Some(id)).is_none()).unwrap();
        assert_eq!(taken.get(), Some(dek.id()));
        let first = Cell::new(0);
        Dek::generate(|_| first.replace(first.get() + 1) < 3).unwrap();
        assert_eq!(first.get(), 4);
    }

    #[test]
    fn the_id_follows_from_the_key() {
        let dek = |n| Dek::from_key(SecretKey::init(|bytes| bytes.fill(n)));
        assert_eq!(dek(1).id(), dek(1).id());
        assert_ne!(dek(1).id(), dek(2).id());
        let id = dek(1).id();
        assert_eq!(DekId::from_bytes(id.to_bytes()), id);
        assert_ne!(id.to_bytes(), dek(1).secret().expose()[..ID_LEN], "it tells nothing of it");
        let zeros = DekId::from_bytes([0, 1, 2, 3, 0xfc, 0xfd, 0xfe, 0xff]);
        assert_eq!(zeros.to_string(), "00010203fcfdfeff");
    }
}
