//! Slots: the file key, wrapped for an unlock key or a passphrase.
//!
//! A slot's secret gives a card: an X-Wing public key and `auth`. The file key is wrapped with HPKE
//! in PSK mode to that public key, with a PSK out of `auth`, so that only who has the card can wrap,
//! and only who has the secret can unwrap.

use subtle::ConstantTimeEq;

use crate::crypto::hpke::{Psk, Receiver, SUITE, Sender};
use crate::crypto::xwing::Share;
use crate::crypto::{TAG_LEN, hkdf, random, verdict};
use crate::error::{Error, Result};
use crate::key::{Card, Costs, Identity, Kind, Passphrase, SlotId, UnlockKey, auth, seed};
use crate::secret::{KEY_LEN, SecretBytes, SecretKey};

pub(super) const CONFIRM_LEN: usize = 32;
pub(super) const WRAPPED_LEN: usize = KEY_LEN + TAG_LEN;
/// Largest blob of a slot, in bytes.
pub(super) const MAX_BLOB: usize = 4 << 10;

/// What a slot's line says beside what is wrapped.
#[derive(Clone)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// Random, drawn when the slot is made; a passphrase's salt.
    pub(super) id: SlotId,
    /// A passphrase's parameters.
    pub(super) costs: Option<Costs>,
    /// What an unlocker keeps there; neither kind of now has one.
    pub(super) blob: Vec<u8>,
}

/// A slot as the keyring keeps it: what it takes to wrap again at every write.
pub(super) struct Slot {
    pub(super) head: Head,
    pub(super) card: Card,
}

/// A slot as it is stored in the file.
pub(super) struct WrappedSlot {
    pub(super) head: Head,
    /// Follows from auth: tells a wrong secret from corruption.
    pub(super) confirm: [u8; CONFIRM_LEN],
    pub(super) share: Share,
    pub(super) wrapped: [u8; WRAPPED_LEN],
}

/// What a person or a machine unlocks with.
#[derive(Clone, Copy)]
pub(super) enum Credential<'a> {
    UnlockKey(&'a UnlockKey),
    Passphrase(&'a Passphrase),
}

impl Slot {
    pub(super) fn for_card(card: Card) -> Result<Self> {
        let head = Head { kind: Kind::Unlock, id: random::array()?, costs: None, blob: Vec::new() };
        Ok(Self { head, card })
    }

    pub(super) fn is_unlock(&self) -> bool {
        self.head.kind == Kind::Unlock
    }

    pub(super) fn for_passphrase(
        identity: &Identity,
        passphrase: &Passphrase,
        costs: Costs,
    ) -> Result<Self> {
        let kind = Kind::Passphrase;
        let head = Head { kind, id: random::array()?, costs: Some(costs), blob: Vec::new() };
        let secret = passphrase.stretch(&head.id, costs)?;
        let card = Card::of(&secret, &Context::new(identity, &head).of_card());
        Ok(Self { head, card })
    }

    /// Wraps `file_key`. Needs no secret: only the card.
    pub(super) fn wrap(&self, identity: &Identity, file_key: &SecretKey) -> Result<WrappedSlot> {
        let context = Context::new(identity, &self.head);
        let (psk, id) = (psk(&self.card.auth), context.psk_id());
        let psk = Psk { key: &psk, id: &id };
        let (share, mut sender) = Sender::new(&self.card.recipient, psk, &context.info())?;
        let mut message = SecretBytes::with_capacity(WRAPPED_LEN);
        message.extend_from_slice(file_key.expose());
        message.resize(WRAPPED_LEN);
        sender.seal(&[], message.expose_mut())?;
        let mut wrapped = [0; WRAPPED_LEN];
        wrapped.copy_from_slice(message.expose());
        let confirm = context.confirm(&self.card.auth);
        Ok(WrappedSlot { head: self.head.clone(), confirm, share, wrapped })
    }
}

impl WrappedSlot {
    /// Returns the file key, if this slot is for `credential`.
    ///
    /// The confirmation decides whether the secret is the right one; what fails after that is
    /// corruption.
    pub(super) fn unwrap(
        &self,
        identity: &Identity,
        credential: Credential<'_>,
    ) -> Result<Option<SecretKey>> {
        match (credential, self.head.kind, self.head.costs) {
            (Credential::UnlockKey(key), Kind::Unlock, None) => self.open(identity, key.secret()),
            (Credential::Passphrase(passphrase), Kind::Passphrase, Some(costs)) => {
                self.open(identity, &passphrase.stretch(&self.head.id, costs)?)
            }
            _ => Ok(None),
        }
    }

    fn open(&self, identity: &Identity, secret: &SecretKey) -> Result<Option<SecretKey>> {
        let context = Context::new(identity, &self.head);
        let auth = auth(secret, &context.of_card());
        if !self.confirms(identity, &auth) {
            return Ok(None);
        }
        let (psk, id) = (psk(&auth), context.psk_id());
        let psk = Psk { key: &psk, id: &id };
        let seed = seed(secret, &context.of_card());
        let mut receiver = Receiver::new(&seed, &self.share, psk, &context.info())?;
        let mut wrapped = SecretBytes::from(self.wrapped.as_slice());
        let opened = receiver.open(&[], wrapped.expose_mut())?;
        let file_key = SecretKey::try_init(|bytes| match opened.first_chunk::<KEY_LEN>() {
            Some(opened) => {
                bytes.copy_from_slice(opened);
                Ok(())
            }
            None => Err(Error::Unauthentic),
        })?;
        Ok(Some(file_key))
    }

    /// Reports whether the slot is for the secret that `auth` follows from.
    pub(super) fn confirms(&self, identity: &Identity, auth: &SecretKey) -> bool {
        let confirm = Context::new(identity, &self.head).confirm(auth);
        verdict::public(confirm.ct_eq(&self.confirm).into())
    }
}

/// What a slot's keys are bound to: cluster, node, kind, id, parameters and blob.
struct Context<'a> {
    identity: &'a Identity,
    head: &'a Head,
    /// Memory, passes and lanes as u32 little-endian; nothing for an unlock key.
    parameters: Vec<u8>,
}

impl<'a> Context<'a> {
    fn new(identity: &'a Identity, head: &'a Head) -> Self {
        let words = head.costs.map(|c| [c.memory_kib(), c.passes(), c.lanes()]);
        let parameters = words.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
        Self { identity, head, parameters }
    }

    fn whole(&self) -> [&[u8]; 6] {
        [
            self.identity.cluster().as_bytes(),
            self.identity.node().as_bytes(),
            self.head.kind.word().as_bytes(),
            &self.head.id,
            &self.parameters,
            &self.head.blob,
        ]
    }

    /// What the card follows from: of an unlock key its kind alone, so that every node derives the
    /// same card from it.
    fn of_card(&self) -> Vec<&[u8]> {
        match self.head.kind {
            Kind::Unlock => vec![self.head.kind.word().as_bytes()],
            Kind::Passphrase => self.whole().to_vec(),
        }
    }

    fn confirm(&self, auth: &SecretKey) -> [u8; CONFIRM_LEN] {
        const LABEL: &str = "nodeseal/v1/confirm";
        let mut confirm = [0; CONFIRM_LEN];
        hkdf::expand(auth.expose(), LABEL, &self.whole(), &mut confirm);
        confirm
    }

    fn psk_id(&self) -> Vec<u8> {
        hkdf::encode(&[self.head.kind.word().as_bytes(), &self.head.id])
    }

    fn info(&self) -> Vec<u8> {
        const LABEL: &str = "nodeseal/v1/slot";
        hkdf::encode(&[&[LABEL.as_bytes(), &SUITE], &self.whole()[..]].concat())
    }
}

/// The PSK is not `auth` itself, so that `auth` is the key of one construction only.
fn psk(auth: &SecretKey) -> SecretKey {
    const LABEL: &str = "nodeseal/v1/psk";
    hkdf::derive(auth.expose(), LABEL, &[])
}

/// What a key file says of its file key, so that all its slots hold the same one.
pub(super) fn commitment(file_key: &SecretKey) -> [u8; CONFIRM_LEN] {
    const LABEL: &str = "nodeseal/v1/commit";
    let mut commitment = [0; CONFIRM_LEN];
    hkdf::expand(file_key.expose(), LABEL, &[], &mut commitment);
    commitment
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
    let slot = Slot::for_card(Card::of_unlock_key(key))?;
    let mut wrapped = slot.wrap(&identity, file_key)?;
    alter(&mut wrapped.wrapped);
    wrapped.unwrap(&identity, Credential::UnlockKey(&UnlockKey::from_key(other.duplicate())))
}
