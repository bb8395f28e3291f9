use core::fmt;

use super::slot::Slot;
use super::{Keyring, KeyspaceId};
use crate::key::{DekId, Kind, Protection, Reasons};

/// The state of an open key file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Status {
    /// How far the keys are protected.
    pub protection: Protection,
    /// Grows by one at every write of the key file.
    pub epoch: u64,
    /// Version of the lock record that the file is locked after.
    pub kek_version: u64,
    /// Version of the newest lock record that was accepted; greater than `kek_version` while the
    /// file is [`Protection::Unlocking`].
    pub applied_version: u64,
    /// The DEKs, the active one first.
    pub deks: Vec<DekStatus>,
    /// Why DEKs are retiring.
    pub running: Reasons,
    /// Why there will be one more round after this one.
    pub queued: Reasons,
    /// The attachments' names, and whether each was exposed.
    pub attachments: Vec<(String, bool)>,
    /// The keyspaces that are registered, in the order of their names.
    pub keyspaces: Vec<KeyspaceStatus>,
    /// How many passphrases open the file.
    pub passphrases: usize,
    /// The ways into the file, in their order.
    pub slots: Vec<SlotStatus>,
    /// Says whether a new unlock key waits to be confirmed: until then the file opens with either key.
    pub pending_unlock_key: bool,
    /// Version of the lock record whose declared leak was acted on last; 0 if there was none.
    pub leak: u64,
    /// An earlier write failed; nothing is written or sealed until the file is opened anew.
    pub poisoned: bool,
}

/// A keyspace that is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct KeyspaceStatus {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: KeyspaceId,
    /// Says whether its owner is complete; a store is not until [`Store::create`](crate::Store::create)
    /// has finished.
    pub made: bool,
}

/// The state of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SlotStatus {
    /// The secret that opens it.
    pub kind: SlotKind,
    /// Says whether its `auth` was exposed: an attacker who knows it can forge a key file that opens with this slot's
    /// secret.
    pub exposed: bool,
}

/// The kind of secret that opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum SlotKind {
    /// The cluster's current unlock key.
    UnlockKey,
    /// An unlock key that waits to be confirmed.
    PendingUnlockKey,
    /// A passphrase.
    Passphrase,
}

/// Something that was exposed and is still in use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Exposed {
    /// A DEK.
    Dek(DekId),
    /// An attachment, by name.
    Attachment(String),
    /// The slot of the current unlock key, or of a pending one.
    UnlockKey,
    /// The slots of this many passphrases.
    Passphrases(usize),
}

impl Exposed {
    /// Returns the call that replaces it.
    #[must_use]
    pub const fn ended_by(&self) -> &'static str {
        match self {
            Self::Dek(_) => {
                "Store::rotation, or re-sealing (a stream: Streams::rewrite) and Keyring::sweep"
            }
            Self::Attachment(_) => "Keyring::attach with other bytes",
            Self::UnlockKey => "Keyring::reconcile with the lock record of a new unlock key",
            Self::Passphrases(_) => {
                "LockedKeyring::unlock_with_passphrase with each, or Keyring::remove_passphrases"
            }
        }
    }
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dek(id) => write!(f, "DEK {id}")?,
            Self::Attachment(name) => write!(f, "attachment {name}")?,
            Self::UnlockKey => f.write_str("slot of the unlock key")?,
            Self::Passphrases(count) => write!(f, "slots of {count} passphrases")?,
        }
        write!(f, " was exposed; ended by {}", self.ended_by())
    }
}

impl Status {
    /// Returns what was exposed and is still in use. The keys are [`Protection::Locked`] when the file
    /// is locked and nothing is left.
    #[must_use]
    pub fn exposed(&self) -> Vec<Exposed> {
        let deks = self.deks.iter().filter(|dek| dek.exposed).map(|dek| Exposed::Dek(dek.id));
        let attached = self.attachments.iter().filter(|(_, exposed)| *exposed);
        let attached = attached.map(|(name, _)| Exposed::Attachment(name.clone()));
        let slots = || self.slots.iter().filter(|slot| slot.exposed);
        let passphrases = slots().filter(|slot| slot.kind == SlotKind::Passphrase).count();
        let unlock = slots().count() > passphrases;
        deks.chain(attached)
            .chain(unlock.then_some(Exposed::UnlockKey))
            .chain((passphrases != 0).then_some(Exposed::Passphrases(passphrases)))
            .collect()
    }
}

/// What is known of a DEK beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DekStatus {
    /// Its id.
    pub id: DekId,
    /// Whether it seals; if not, it only opens what is not yet re-sealed.
    pub active: bool,
    /// When it was made, in seconds since the Unix epoch.
    pub made_at: u64,
    /// Whether it stood in the clear, or under a key that was declared leaked.
    pub exposed: bool,
    /// How often it has sealed, at most: after a restart, what had been reserved counts as used.
    pub uses: u64,
}

impl Keyring {
    /// The state of the key file and its DEKs.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = self.shared();
        let writer = shared.writer();
        let life = &writer.set.lifecycle;
        let dek = |facts: &crate::key::DekFacts| DekStatus {
            id: facts.id,
            active: facts.id == life.active.id,
            made_at: facts.made_at,
            exposed: facts.exposed,
            uses: writer.set.stored(facts.id).map_or(0, |stored| stored.live.used()),
        };
        let passphrases = writer.set.passphrase_slots().count();
        let current = writer.set.unlock_slots().next().map(|slot| slot.head.id);
        let slot = |slot: &std::sync::Arc<Slot>| SlotStatus {
            kind: match slot.head.kind {
                Kind::Unlock if Some(slot.head.id) == current => SlotKind::UnlockKey,
                Kind::Unlock => SlotKind::PendingUnlockKey,
                Kind::Passphrase => SlotKind::Passphrase,
            },
            exposed: life.slots.get(&slot.head.id).copied().unwrap_or(true),
        };
        let keyspace = |(name, found): (&String, &super::keyspace::Registered)| KeyspaceStatus {
            name: name.clone(),
            id: found.id,
            made: found.made,
        };
        Status {
            protection: life.protection(),
            epoch: shared.epoch(),
            kek_version: life.kek_version,
            applied_version: life.applied_version(),
            deks: life.deks().map(dek).collect(),
            running: life.running,
            queued: life.queued,
            attachments: life.attachments.iter().map(|(n, e)| (n.clone(), *e)).collect(),
            keyspaces: writer.set.keyspaces.iter().map(keyspace).collect(),
            passphrases,
            slots: writer.set.slots.iter().map(slot).collect(),
            pending_unlock_key: writer.set.unlock_slots().nth(1).is_some(),
            leak: life.leak,
            poisoned: shared.is_poisoned(),
        }
    }
}
