use std::sync::Arc;

use super::{Done, Step};
use crate::audit::Action;
use crate::cluster::command::Resealed;
use crate::cluster::keys::{HeldKey, MAX_KEYS};
use crate::cluster::map::Map;
use crate::cluster::outcome::Refusal;
use crate::cluster::payload::{PayloadKey, SealedPayload};
use crate::cluster::wide;
use crate::error::Result;
use crate::grant::SecretId;
use crate::key::LockRecord;

impl Step<'_> {
    pub(super) fn set_lock(&mut self, record: Arc<LockRecord>, rotation: bool) -> Done {
        let lock = self.state.keys.lock.as_deref();
        let both_locked = lock.is_some_and(LockRecord::is_locked) && record.is_locked();
        if rotation && !both_locked {
            let text = "cannot rotate because autolock is not turned on";
            return Err(Refusal::State(text.to_owned()));
        }
        if let Some(version) = lock.map(LockRecord::version)
            && record.version() <= version
        {
            return Err(Refusal::OutOfSequence { version });
        }
        let before = lock.map_or(0, LockRecord::leaked);
        if record.leaked() != before && record.leaked() != record.version() {
            let text = "the lock record does not carry the last declared leak";
            return Err(Refusal::State(text.to_owned()));
        }
        let detail = if record.has_pending() {
            "pending"
        } else if record.is_locked() {
            "locked"
        } else {
            "off"
        };
        self.replace_lock(record, detail);
        Ok(())
    }

    pub(super) fn confirm_unlock_key(&mut self, version: u64) -> Done {
        self.turn_lock(version, LockRecord::confirm, "confirmed")
    }

    pub(super) fn withdraw_unlock_key(&mut self, version: u64) -> Done {
        self.turn_lock(version, LockRecord::withdraw, "withdrawn")
    }

    fn turn_lock(
        &mut self,
        version: u64,
        turn: fn(&LockRecord) -> Result<LockRecord>,
        detail: &str,
    ) -> Done {
        let lock = self.state.keys.lock.as_deref();
        let found = lock.map_or(0, LockRecord::version);
        if found != version {
            return Err(Refusal::OutOfSequence { version: found });
        }
        let next = lock.map(turn).transpose().map_err(|e| Refusal::State(e.to_string()))?;
        let next = next.ok_or_else(|| Refusal::State("the cluster is not locked".to_owned()))?;
        self.replace_lock(Arc::new(next), detail);
        Ok(())
    }

    /// Puts a record in the place of the one before, and notes of its cards whether they are in a log
    /// under a DEK that was exposed.
    fn replace_lock(&mut self, record: Arc<LockRecord>, detail: &str) {
        let exposed = !self.state.all_locked();
        let keys = &mut self.state.keys;
        let off = LockRecord::off(0);
        let before = keys.lock.as_deref().unwrap_or(&off);
        let leak = record.leaked() > before.leaked();
        let promoted = before.promotes(&record);
        keys.lock_exposed = if promoted {
            keys.pending_exposed || leak
        } else if record.same_current(before) {
            keys.lock_exposed || leak
        } else {
            record.is_locked() && (exposed || leak)
        };
        keys.pending_exposed = if record.brings_pending(before) {
            exposed || leak
        } else {
            record.has_pending() && (keys.pending_exposed || leak)
        };
        let event = self.event(Action::LockChanged);
        event.version = Some(record.version());
        event.detail = Some(detail.to_owned());
        self.state.keys.lock = Some(record);
    }

    pub(super) fn add_payload_key(&mut self, key: PayloadKey, exposed: bool) -> Done {
        let last = self.state.keys.current().map_or(0, |held| held.key.version());
        if last.checked_add(1) != Some(key.version()) {
            return Err(Refusal::OutOfSequence { version: last });
        }
        if self.state.keys.payload.len() == MAX_KEYS {
            let text = "too many payload keys: re-seal what is under the old ones first";
            return Err(Refusal::State(text.to_owned()));
        }
        for held in &mut self.state.keys.payload {
            held.exposed |= exposed;
        }
        self.event(Action::PayloadKeyRotated).version = Some(key.version());
        let made = self.at;
        self.state.keys.payload.push(HeldKey { key, made, exposed: false, seals: Map::new() });
        self.drop_empty_keys();
        Ok(())
    }

    pub(super) fn reseal(&mut self, payloads: Vec<Resealed>) -> Done {
        let current = self.state.keys.current().map_or(0, |held| held.key.version());
        for Resealed { secret: id, number, from, payload } in payloads {
            // Compare and swap: the payload may be gone, or under the current key already.
            if payload.key_version() != current || from == current {
                continue;
            }
            let Some(secret) = self.state.secret_mut(&id) else { continue };
            let old = match secret.versions.get_mut(&number) {
                Some(version) if version.payload.key_version() == from => {
                    core::mem::replace(&mut version.payload, payload.clone())
                }
                _ => continue,
            };
            self.unsealed(&id, number, &old);
            self.sealed(&id, number, &payload)?;
        }
        self.drop_empty_keys();
        Ok(())
    }

    /// Notes that a payload is sealed under its key, which must be there.
    pub(super) fn sealed(&mut self, id: &SecretId, number: u64, payload: &SealedPayload) -> Done {
        let version = payload.key_version();
        let held = self.state.keys.get_mut(version).ok_or(Refusal::PayloadKey { version })?;
        held.seals.insert((id.clone(), number), ());
        self.state.counters.payload_bytes += wide(payload.sealed_len());
        Ok(())
    }

    /// Notes that a payload is there no more.
    pub(super) fn unsealed(&mut self, id: &SecretId, number: u64, payload: &SealedPayload) {
        if let Some(held) = self.state.keys.get_mut(payload.key_version()) {
            held.seals.remove(&(id.clone(), number));
            self.state.counters.payload_bytes -= wide(payload.sealed_len());
        }
    }

    /// Drops the old payload keys under which nothing is sealed.
    pub(super) fn drop_empty_keys(&mut self) {
        let current = self.state.keys.current().map_or(0, |held| held.key.version());
        let empty = |held: &HeldKey| held.seals.is_empty() && held.key.version() != current;
        let gone: Vec<_> = self.state.keys.payload.iter().filter(|held| empty(held)).collect();
        let gone: Vec<_> = gone.into_iter().map(|held| held.key.version()).collect();
        for version in gone {
            self.state.keys.payload.retain(|held| held.key.version() != version);
            self.event(Action::PayloadKeyDropped).version = Some(version);
        }
    }
}
