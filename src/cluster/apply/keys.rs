use std::sync::Arc;

use super::{Done, Step};
use crate::audit::Action;
use crate::cluster::command::Resealed;
use crate::cluster::keys::{HeldKey, MAX_KEYS};
use crate::cluster::map::Map;
use crate::cluster::outcome::Refusal;
use crate::cluster::payload::{PayloadKey, SealedPayload};
use crate::cluster::wide;
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
        let event = self.event(Action::LockChanged);
        event.version = Some(record.version());
        event.detail = Some(if record.is_locked() { "locked" } else { "off" }.to_owned());
        self.state.keys.lock = Some(record);
        Ok(())
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
