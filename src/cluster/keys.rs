//! The cluster's own record: its lock record and its payload keys.

use std::sync::Arc;

use super::map::Map;
use super::payload::PayloadKey;
use crate::grant::wire::record;
use crate::grant::{SecretId, Time};
use crate::key::LockRecord;

/// Payload keys that there may be at a time.
pub(super) const MAX_KEYS: usize = 16;

#[derive(Clone, Default)]
pub(super) struct Keys {
    pub(super) lock: Option<Arc<LockRecord>>,
    /// The record with the current card came while a node was not locked, so that it may be in a log
    /// under a DEK that was exposed.
    pub(super) lock_exposed: bool,
    /// The same of the pending card.
    pub(super) pending_exposed: bool,
    /// In the order of their versions; the last one seals.
    pub(super) payload: Vec<HeldKey>,
}

#[derive(Clone)]
pub(super) struct HeldKey {
    pub(super) key: PayloadKey,
    pub(super) made: Time,
    pub(super) exposed: bool,
    /// What is sealed under it: follows from the secrets.
    pub(super) seals: Map<(SecretId, u64), ()>,
}

/// A payload key as it stands in the encoded state.
pub(super) struct StoredKey {
    pub(super) key: PayloadKey,
    pub(super) made: Time,
    pub(super) exposed: bool,
}

record!(StoredKey { key, made, exposed });

impl Keys {
    pub(super) fn current(&self) -> Option<&HeldKey> {
        self.payload.last()
    }

    pub(super) fn get(&self, version: u64) -> Option<&HeldKey> {
        self.payload.iter().find(|held| held.key.version() == version)
    }

    pub(super) fn get_mut(&mut self, version: u64) -> Option<&mut HeldKey> {
        self.payload.iter_mut().find(|held| held.key.version() == version)
    }
}

/// What is known of a payload key beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub struct PayloadKeyInfo {
    /// Its version.
    pub version: u64,
    /// When it was made.
    pub made: Time,
    /// Whether it was declared exposed.
    pub exposed: bool,
    /// How many payloads are sealed under it.
    pub payloads: usize,
}

impl From<&HeldKey> for PayloadKeyInfo {
    fn from(held: &HeldKey) -> Self {
        Self {
            version: held.key.version(),
            made: held.made,
            exposed: held.exposed,
            payloads: held.seals.len(),
        }
    }
}
