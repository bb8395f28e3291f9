use std::collections::BTreeMap;

use super::{Annotations, Meta, last_bytes, last_uint};
use crate::error::{Error, Result};
use crate::key::UnlockKey;
use crate::secret::SecretKey;
use crate::wal::proto::Fields;

/// The subsystem whose key unlocks managers.
pub(super) const MANAGER: &str = "swarm-manager";

/// The cluster itself, its unlock keys included.
#[derive(Debug)]
#[non_exhaustive]
pub struct Cluster {
    /// All but the keys.
    pub facts: ClusterFacts,
    /// The unlock keys that stand in the store, in its order.
    pub unlock_keys: Vec<ClusterUnlockKey>,
}

/// What is public of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ClusterFacts {
    /// Its id.
    pub id: String,
    /// Version and times. The version is that of the unlock key, when this change set it.
    pub meta: Meta,
    /// Its name, `default` in Docker.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Managers must be unlocked after a start.
    pub autolock: bool,
    /// How many log entries a snapshot comes after; 0 where it is not set.
    pub snapshot_interval: u64,
    /// The private key of the root CA is in the store, readable with the DEK.
    pub has_root_ca_key: bool,
    /// There is a root CA certificate.
    pub has_root_ca_certificate: bool,
    /// All nodes must use the FIPS algorithms.
    pub fips: bool,
}

/// An unlock key in the store.
#[derive(Debug)]
#[non_exhaustive]
pub struct ClusterUnlockKey {
    /// What it unlocks: `swarm-manager` for the managers.
    pub subsystem: String,
    /// The key.
    pub key: UnlockKey,
}

impl Cluster {
    /// The key that unlocks the cluster's managers; `None` when autolock is off.
    #[must_use]
    pub fn unlock_key(&self) -> Option<&UnlockKey> {
        self.unlock_keys.iter().find(|entry| entry.subsystem == MANAGER).map(|entry| &entry.key)
    }

    /// Whether a key file locked with `kek` as of `version` is ahead of this cluster object.
    pub(crate) fn is_behind(&self, kek: &UnlockKey, version: u64) -> bool {
        self.facts.meta.version < version && !self.unlock_key().is_some_and(|key| key.ct_eq(kek))
    }

    pub(crate) fn parse(message: &[u8]) -> Result<Self> {
        let mut facts = ClusterFacts::default();
        let mut unlock_keys = Vec::new();
        for field in Fields::of(message) {
            match field? {
                (1, value) => facts.id = value.text()?.to_owned(),
                (2, value) => facts.meta = Meta::parse(value.bytes()?)?,
                (3, value) => facts.parse_spec(value.bytes()?)?,
                (4, value) => {
                    let root = value.bytes()?;
                    facts.has_root_ca_key = !last_bytes(root, 1)?.is_empty();
                    facts.has_root_ca_certificate = !last_bytes(root, 2)?.is_empty();
                }
                (9, value) => unlock_keys.push(ClusterUnlockKey::parse(value.bytes()?)?),
                (10, value) => facts.fips = value.uint()? != 0,
                _ => {}
            }
        }
        Ok(Self { facts, unlock_keys })
    }
}

impl ClusterFacts {
    fn parse_spec(&mut self, spec: &[u8]) -> Result<()> {
        let annotations = Annotations::parse(last_bytes(spec, 1)?)?;
        (self.name, self.labels) = (annotations.name, annotations.labels);
        self.snapshot_interval = last_uint(last_bytes(spec, 4)?, 1)?;
        self.autolock = last_uint(last_bytes(spec, 8)?, 1)? != 0;
        Ok(())
    }
}

impl ClusterUnlockKey {
    fn parse(message: &[u8]) -> Result<Self> {
        let subsystem = core::str::from_utf8(last_bytes(message, 1)?)
            .map_err(|_| Error::damaged("a protobuf string is not UTF-8"))?;
        let bytes = last_bytes(message, 3)?;
        let key = SecretKey::try_init(|key| {
            if key.len() != bytes.len() {
                return Err(Error::unsupported("length of an unlock key", bytes.len()));
            }
            key.copy_from_slice(bytes);
            Ok(())
        })?;
        Ok(Self { subsystem: subsystem.to_owned(), key: UnlockKey::from_key(key) })
    }
}
