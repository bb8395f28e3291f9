use super::Keyring;
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
    /// How many passphrases open the file.
    pub passphrases: usize,
    /// An earlier write failed; nothing is written or sealed until the file is opened anew.
    pub poisoned: bool,
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
        let passphrases =
            writer.set.slots.iter().filter(|s| s.head.kind == Kind::Passphrase).count();
        Status {
            protection: life.protection(),
            epoch: shared.epoch(),
            kek_version: life.kek_version,
            applied_version: life.applied_version(),
            deks: life.deks().map(dek).collect(),
            running: life.running,
            queued: life.queued,
            attachments: life.attachments.iter().map(|(n, e)| (n.clone(), *e)).collect(),
            passphrases,
            poisoned: shared.is_poisoned(),
        }
    }
}
