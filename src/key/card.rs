use crate::crypto::hkdf;
use crate::crypto::xwing::{self, Public};
use crate::secret::SecretKey;

/// What a slot of the key file is opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Unlock,
    Passphrase,
}

impl Kind {
    /// The word that is stored in the key file and in derivations.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Unlock => "unlock",
            Self::Passphrase => "passphrase",
        }
    }
}

/// Tells a slot from all others: random, drawn when it is made.
pub(crate) type SlotId = [u8; 16];

/// Enough to wrap for a slot's secret without having it, and not enough to open.
///
/// `auth` keeps an attacker who can only write to the disk from forging, and keeps the KEM from
/// being the only barrier.
pub(crate) struct Card {
    pub(crate) recipient: Public,
    pub(crate) auth: SecretKey,
}

impl Card {
    /// Returns the card of an unlock key: the same one on every node of a cluster.
    pub(crate) fn of_unlock_key(key: &SecretKey) -> Self {
        Self::of(key, &[Kind::Unlock.word().as_bytes()])
    }

    /// Returns the card that follows from a slot's secret in `context`.
    pub(crate) fn of(secret: &SecretKey, context: &[&[u8]]) -> Self {
        Self { recipient: xwing::public(&seed(secret, context)), auth: auth(secret, context) }
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self { recipient: self.recipient.clone(), auth: self.auth.duplicate() }
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        self.auth.ct_eq(&other.auth) && self.recipient == other.recipient
    }
}

/// Returns the X-Wing decapsulation key of a slot's secret.
pub(crate) fn seed(secret: &SecretKey, context: &[&[u8]]) -> SecretKey {
    const LABEL: &str = "nodeseal/v1/seed";
    hkdf::derive(secret.expose(), LABEL, context)
}

/// Returns the auth of a slot's secret: it says who may wrap for it.
pub(crate) fn auth(secret: &SecretKey, context: &[&[u8]]) -> SecretKey {
    const LABEL: &str = "nodeseal/v1/auth";
    hkdf::derive(secret.expose(), LABEL, context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::UnlockKey;

    #[test]
    fn each_context_has_a_card_of_its_own() {
        let key = UnlockKey::generate().unwrap();
        let unlock = Card::of_unlock_key(key.secret());
        let other = Card::of(key.secret(), &[b"passphrase"]);
        assert!(unlock.recipient != other.recipient && !unlock.auth.ct_eq(&other.auth));
        assert!(unlock.same(&unlock.duplicate()) && !unlock.same(&other));
        assert!(unlock.same(&Card::of(key.secret(), &[b"unlock"])));
        let auth = other.auth.duplicate();
        assert!(!unlock.same(&Card { recipient: unlock.recipient.clone(), auth }));
        let auth = unlock.auth.duplicate();
        assert!(!unlock.same(&Card { recipient: other.recipient, auth }));
    }

    #[test]
    fn neither_half_is_the_key_or_the_seed() {
        let key = UnlockKey::generate().unwrap();
        let card = Card::of_unlock_key(key.secret());
        let seed = seed(key.secret(), &[b"unlock"]);
        for secret in [key.secret(), &seed] {
            assert!(!secret.ct_eq(&card.auth));
            assert!(card.recipient.windows(32).all(|bytes| bytes != secret.expose()));
        }
        assert!(!seed.ct_eq(key.secret()));
    }
}
