//! Slots: the file key, wrapped for an unlock key or a passphrase.

use subtle::ConstantTimeEq;

use crate::crypto::x25519::{self, POINT_LEN};
use crate::crypto::{hkdf, random, verdict, xchacha};
use crate::error::{Error, Result};
use crate::key::{Costs, Identity, Kind, Passphrase, Recipient, UnlockKey, scalar};
use crate::secret::{KEY_LEN, SecretBytes, SecretKey};

pub(super) const SALT_LEN: usize = 16;
pub(super) const WRAPPED_LEN: usize = xchacha::OVERHEAD + KEY_LEN;

/// A slot as the keyring keeps it: what it takes to wrap anew at every write.
pub(super) struct Slot {
    pub(super) kind: Kind,
    pub(super) salt: [u8; SALT_LEN],
    pub(super) costs: Option<Costs>,
    pub(super) recipient: Recipient,
}

/// A slot as it stands in the file.
pub(super) struct WrappedSlot {
    pub(super) kind: Kind,
    pub(super) salt: [u8; SALT_LEN],
    pub(super) costs: Option<Costs>,
    pub(super) recipient: [u8; POINT_LEN],
    pub(super) ephemeral: [u8; POINT_LEN],
    pub(super) commitment: [u8; 32],
    pub(super) wrapped: [u8; WRAPPED_LEN],
}

/// What a person or a machine unlocks with.
#[derive(Clone, Copy)]
pub(super) enum Credential<'a> {
    UnlockKey(&'a UnlockKey),
    Passphrase(&'a Passphrase),
}

impl Slot {
    pub(super) fn for_recipient(recipient: Recipient) -> Result<Self> {
        Ok(Self { kind: Kind::Unlock, salt: random::array()?, costs: None, recipient })
    }

    pub(super) fn for_passphrase(passphrase: &Passphrase, costs: Costs) -> Result<Self> {
        let salt = random::array()?;
        let secret = passphrase.stretch(&salt, costs)?;
        let recipient = Recipient::of(Kind::Passphrase, &secret);
        Ok(Self { kind: Kind::Passphrase, salt, costs: Some(costs), recipient })
    }

    /// Wraps `file_key` with an ephemeral key of this write.
    pub(super) fn wrap(&self, identity: &Identity, file_key: &SecretKey) -> Result<WrappedSlot> {
        let ephemeral = random::key()?;
        let mut slot = WrappedSlot {
            kind: self.kind,
            salt: self.salt,
            costs: self.costs,
            recipient: self.recipient.public,
            ephemeral: x25519::public(&ephemeral),
            commitment: [0; 32],
            wrapped: [0; WRAPPED_LEN],
        };
        slot.commitment = slot.commit(identity, &self.recipient.auth);
        let shared = x25519::shared(&ephemeral, &self.recipient.public)?;
        let key = slot.key(identity, &shared, &self.recipient.auth);
        let mut wrapped = SecretBytes::with_capacity(WRAPPED_LEN);
        wrapped.resize(xchacha::OVERHEAD);
        wrapped.extend_from_slice(file_key.expose());
        xchacha::seal(key.expose(), &[], wrapped.expose_mut())?;
        slot.wrapped.copy_from_slice(wrapped.expose());
        Ok(slot)
    }
}

impl WrappedSlot {
    /// The file key, if this slot is for `credential`.
    ///
    /// The commitment decides whether the key is the right one; what fails after that is damage.
    pub(super) fn unwrap(
        &self,
        identity: &Identity,
        credential: Credential<'_>,
    ) -> Result<Option<SecretKey>> {
        match (credential, self.kind, self.costs) {
            (Credential::UnlockKey(key), Kind::Unlock, None) => self.open(identity, key.secret()),
            (Credential::Passphrase(passphrase), Kind::Passphrase, Some(costs)) => {
                self.open(identity, &passphrase.stretch(&self.salt, costs)?)
            }
            _ => Ok(None),
        }
    }

    fn open(&self, identity: &Identity, secret: &SecretKey) -> Result<Option<SecretKey>> {
        let recipient = Recipient::of(self.kind, secret);
        if !self.fits(identity, &recipient.auth) {
            return Ok(None);
        }
        if !verdict::public(recipient.public.ct_eq(&self.recipient).into()) {
            return Err(Error::damaged("a slot's recipient is not its key's"));
        }
        let shared = x25519::shared(&scalar(self.kind, secret), &self.ephemeral)?;
        let key = self.key(identity, &shared, &recipient.auth);
        let mut wrapped = SecretBytes::from(self.wrapped.as_slice());
        let file_key = xchacha::open(key.expose(), &[], wrapped.expose_mut())?;
        let file_key = SecretKey::try_init(|bytes| match file_key.first_chunk::<KEY_LEN>() {
            Some(opened) => {
                bytes.copy_from_slice(opened);
                Ok(())
            }
            None => Err(Error::Unauthentic),
        })?;
        Ok(Some(file_key))
    }

    /// Whether the slot is for the key that `auth` is of.
    pub(super) fn fits(&self, identity: &Identity, auth: &SecretKey) -> bool {
        verdict::public(self.commit(identity, auth).ct_eq(&self.commitment).into())
    }

    fn commit(&self, identity: &Identity, auth: &SecretKey) -> [u8; 32] {
        const LABEL: &str = "nodeseal/v1/commit";
        let mut commitment = [0; 32];
        let context: &[&[u8]] = &[
            self.kind.word().as_bytes(),
            identity.cluster().as_bytes(),
            identity.node().as_bytes(),
            &self.salt,
            &self.cost_bytes(),
        ];
        hkdf::expand(auth.expose(), LABEL, context, &mut commitment);
        commitment
    }

    fn key(&self, identity: &Identity, shared: &SecretKey, auth: &SecretKey) -> SecretKey {
        const LABEL: &str = "nodeseal/v1/slot";
        let mut ikm = SecretBytes::with_capacity(2 * KEY_LEN);
        ikm.extend_from_slice(shared.expose());
        ikm.extend_from_slice(auth.expose());
        let context: &[&[u8]] = &[
            self.kind.word().as_bytes(),
            identity.cluster().as_bytes(),
            identity.node().as_bytes(),
            &self.salt,
            &self.ephemeral,
            &self.recipient,
            &self.cost_bytes(),
        ];
        hkdf::derive(ikm.expose(), LABEL, context)
    }

    /// Memory, passes and lanes as u32 little-endian; nothing for an unlock key.
    fn cost_bytes(&self) -> Vec<u8> {
        let words = self.costs.map(|c| [c.memory_kib(), c.passes(), c.lanes()]);
        words.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }
}

/// For `ct`: wraps `file_key` for an unlock key, and unwraps with `other` what `alter` makes of it.
#[cfg(nodeseal_ct)]
pub(crate) fn wrap_unwrap(
    key: &SecretKey,
    file_key: &SecretKey,
    alter: fn(&mut [u8]),
    other: &SecretKey,
) -> Result<Option<SecretKey>> {
    let identity = Identity::new("cluster", "node")?;
    let slot = Slot::for_recipient(Recipient::of(Kind::Unlock, key))?;
    let mut wrapped = slot.wrap(&identity, file_key)?;
    alter(&mut wrapped.wrapped);
    wrapped.unwrap(&identity, Credential::UnlockKey(&UnlockKey::from_key(other.duplicate())))
}
