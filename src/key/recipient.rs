use crate::crypto::hkdf;
use crate::crypto::x25519::{self, POINT_LEN};
use crate::secret::SecretKey;

/// What a slot of the key file is opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Unlock,
    Passphrase,
}

impl Kind {
    /// The word that stands in the key file and in derivations.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Unlock => "unlock",
            Self::Passphrase => "passphrase",
        }
    }
}

/// What it takes to wrap for a key without having it.
///
/// `auth` keeps one who can only write to the disk from forging, and keeps X25519 from being the
/// only barrier.
pub(crate) struct Recipient {
    pub(crate) public: [u8; POINT_LEN],
    pub(crate) auth: SecretKey,
}

impl Recipient {
    /// The recipient of an unlock key, or of what a passphrase gives.
    pub(crate) fn of(kind: Kind, secret: &SecretKey) -> Self {
        const UNLOCK: &str = "nodeseal/v1/unlock-auth";
        const PASSPHRASE: &str = "nodeseal/v1/passphrase-auth";
        let label = match kind {
            Kind::Unlock => UNLOCK,
            Kind::Passphrase => PASSPHRASE,
        };
        Self {
            public: x25519::public(&scalar(kind, secret)),
            auth: hkdf::derive(secret.expose(), label, &[]),
        }
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self { public: self.public, auth: self.auth.duplicate() }
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        self.auth.ct_eq(&other.auth) && self.public == other.public
    }
}

/// The X25519 scalar of an unlock key, or of what a passphrase gives.
pub(crate) fn scalar(kind: Kind, secret: &SecretKey) -> SecretKey {
    const UNLOCK: &str = "nodeseal/v1/unlock-x25519";
    const PASSPHRASE: &str = "nodeseal/v1/passphrase-x25519";
    let label = match kind {
        Kind::Unlock => UNLOCK,
        Kind::Passphrase => PASSPHRASE,
    };
    hkdf::derive(secret.expose(), label, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::UnlockKey;

    #[test]
    fn one_secret_gives_each_kind_a_recipient_of_its_own() {
        let key = UnlockKey::generate().unwrap();
        let [unlock, passphrase] =
            [Kind::Unlock, Kind::Passphrase].map(|kind| Recipient::of(kind, key.secret()));
        assert!(unlock.public != passphrase.public && !unlock.auth.ct_eq(&passphrase.auth));
        assert!(unlock.same(&unlock.duplicate()) && !unlock.same(&passphrase));
        assert!(!unlock.same(&Recipient { public: unlock.public, auth: passphrase.auth }));
        let auth = unlock.auth.duplicate();
        assert!(!unlock.same(&Recipient { public: passphrase.public, auth }));
    }

    #[test]
    fn neither_half_is_the_key_or_the_scalar() {
        let key = UnlockKey::generate().unwrap();
        let recipient = Recipient::of(Kind::Unlock, key.secret());
        let scalar = scalar(Kind::Unlock, key.secret());
        for secret in [key.secret(), &scalar] {
            assert!(!secret.ct_eq(&recipient.auth) && *secret.expose() != recipient.public);
        }
    }
}
