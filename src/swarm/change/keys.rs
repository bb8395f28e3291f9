//! The key file as a state of the rotation machine, and back.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Misuse, Result};
use crate::fs::Fs;
use crate::key::{
    Dek, DekFacts, DekId, Effect, Event, Lifecycle, Mode, Offer, Reason, Reasons, UnlockKey,
};
use crate::secret::SecretBytes;
use crate::swarm::key_file::{Contents, KeyFile, NodeKeys};
use crate::swarm::record::{Cipher, Sealer};

/// What a key file holds: the machine's state, and the keys that it speaks of.
///
/// Swarm's file has room for two DEKs. The *pending* one is the machine's active DEK, the *current*
/// one then the retiring one; without a pending DEK the current one is active.
pub(super) struct KeyState {
    pub(super) lifecycle: Lifecycle,
    active: Dek,
    retiring: Option<Dek>,
    /// What the file is locked with; none in a file in the clear.
    kek: Option<UnlockKey>,
    tls_key: SecretBytes,
    /// What the node seals with.
    pub(super) cipher: Cipher,
}

impl KeyState {
    /// The state of a file that was unlocked with `kek`.
    pub(super) fn new(file: &KeyFile, keys: NodeKeys, kek: Option<&UnlockKey>) -> Result<Self> {
        let no_dek = || Error::damaged("the key file has no DEK");
        let current = Dek::from_key(keys.current.ok_or_else(no_dek)?);
        let (active, retiring) = match keys.pending {
            Some(pending) => (Dek::from_key(pending), Some(current)),
            None => (current, None),
        };
        let locked = file.locked();
        let facts = |dek: &Dek, exposed| DekFacts { id: dek.id(), made_at: 0, exposed };
        // The mark that a rotation is due stands there because the DEK was in the clear. Beside a
        // pending DEK it asks for one more round.
        let marked = file.needs_rotation();
        let (exposed, queued) = match retiring {
            Some(_) if marked => (false, Reasons::of(Reason::Exposed)),
            Some(_) => (false, Reasons::NONE),
            None => (marked, Reasons::NONE),
        };
        let running = match retiring {
            Some(_) => Reasons::of(Reason::Requested),
            None => Reasons::NONE,
        };
        let lifecycle = Lifecycle {
            mode: if locked { Mode::Locked } else { Mode::Clear },
            kek_version: file.kek_version().unwrap_or(0),
            active: facts(&active, exposed || !locked),
            retiring: retiring.iter().map(|dek| facts(dek, exposed || !locked)).collect(),
            running,
            queued,
            attachments: std::collections::BTreeMap::new(),
            slots: std::collections::BTreeMap::new(),
            leak: 0,
        };
        let kek = kek.filter(|_| locked).map(copy);
        let cipher = file.cipher();
        Ok(Self { lifecycle, active, retiring, kek, tls_key: keys.tls_key, cipher })
    }

    /// Seals under the active DEK.
    pub(super) const fn sealer(&self) -> Sealer<'_> {
        Sealer { cipher: self.cipher, key: self.active.secret() }
    }

    /// The DEK that the key file calls the current one.
    pub(super) fn current_id(&self) -> DekId {
        self.retiring.as_ref().unwrap_or(&self.active).id()
    }

    /// Whether a rotation is under way.
    pub(super) const fn is_rotating(&self) -> bool {
        self.retiring.is_some()
    }

    /// The state after `event`; `key` is the one that an event of locking speaks of. Nothing is
    /// written.
    ///
    /// # Errors
    ///
    /// What the machine refuses, and [`Error::Random`].
    pub(super) fn after(&self, event: Event<'_>, key: Option<&UnlockKey>) -> Result<Self> {
        let known = |id| self.lifecycle.deks().any(|dek| dek.id == id);
        let fresh = Dek::generate(known)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let step = self.lifecycle.apply(event, Offer { id: fresh.id(), now })?;
        let mut fresh = Some(fresh);
        let mut next = self.duplicate();
        for effect in &step.effects {
            match effect {
                Effect::NewDek(_) => {
                    let full = Misuse::State("Swarm's key file has no room for a third DEK");
                    let (Some(fresh), None) = (fresh.take(), &next.retiring) else {
                        return Err(full.into());
                    };
                    next.retiring = Some(core::mem::replace(&mut next.active, fresh));
                }
                Effect::DropDek(id) => {
                    next.retiring = next.retiring.filter(|dek| dek.id() != *id);
                }
                Effect::WrapForRecord => next.kek = key.map(copy),
                Effect::StandInClear => next.kek = None,
            }
        }
        next.lifecycle = step.next;
        Ok(next)
    }

    /// The state when nothing names the retiring DEK any more.
    pub(super) fn without_retiring(&self) -> Result<Self> {
        let ids: Vec<_> = self.retiring.iter().map(Dek::id).collect();
        self.after(Event::Unreferenced(&ids), None)
    }

    /// The DEKs as the key file has them.
    pub(super) fn node_keys(&self) -> NodeKeys {
        let key = |dek: &Dek| dek.secret().duplicate();
        let (current, pending) = match &self.retiring {
            Some(retiring) => (key(retiring), Some(key(&self.active))),
            None => (key(&self.active), None),
        };
        let tls_key = SecretBytes::from(self.tls_key.expose());
        NodeKeys { current: Some(current), pending, tls_key }
    }

    /// Replaces the key file, durably.
    pub(super) fn write(&self, fs: &dyn Fs, path: &Path) -> Result<()> {
        let keys = self.node_keys();
        let contents = Contents {
            tls_key: &keys.tls_key,
            kek_version: self.lifecycle.kek_version,
            current: keys.current.as_ref(),
            pending: keys.pending.as_ref(),
            needs_rotation: !self.lifecycle.queued.is_empty(),
            cipher: self.cipher,
        };
        contents.replace(fs, path, self.kek.as_ref())
    }

    /// What the file is locked with.
    pub(super) const fn kek(&self) -> Option<&UnlockKey> {
        self.kek.as_ref()
    }

    /// Refuses the key that the file is locked with.
    pub(super) fn accepts(&self, new: &UnlockKey) -> Result<()> {
        if self.kek.as_ref().is_some_and(|kek| kek.ct_eq(new)) {
            return Err(Misuse::State("the new unlock key is the one so far").into());
        }
        Ok(())
    }

    pub(super) fn duplicate(&self) -> Self {
        let dek = |dek: &Dek| Dek::from_key(dek.secret().duplicate());
        Self {
            lifecycle: self.lifecycle.clone(),
            active: dek(&self.active),
            retiring: self.retiring.as_ref().map(dek),
            kek: self.kek.as_ref().map(copy),
            tls_key: SecretBytes::from(self.tls_key.expose()),
            cipher: self.cipher,
        }
    }
}

fn copy(key: &UnlockKey) -> UnlockKey {
    UnlockKey::from_key(key.secret().duplicate())
}
