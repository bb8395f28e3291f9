use std::collections::BTreeMap;

use super::{Annotations, Meta, map_entry};
use crate::error::Result;
use crate::secret::SecretBytes;
use crate::wal::proto::Fields;

/// A secret, payload included.
#[derive(Debug)]
#[non_exhaustive]
pub struct Secret {
    /// All but the payload.
    pub facts: SecretFacts,
    /// The payload. Empty where a driver delivers it.
    pub payload: SecretBytes,
}

/// What is public of a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SecretFacts {
    /// Its id.
    pub id: String,
    /// Version and times.
    pub meta: Meta,
    /// Its name, unique in the cluster up to case.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The plugin that delivers the payload in place of the cluster.
    pub driver: Option<Driver>,
    /// The engine that fills in the payload as a template.
    pub templating: Option<Driver>,
    /// Swarm's own, hidden from lists.
    pub internal: bool,
}

/// A driver and its options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Driver {
    /// Its name.
    pub name: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

impl Secret {
    /// Copies the payload once, out of the buffer that it was opened into.
    pub(crate) fn parse(message: &[u8]) -> Result<Self> {
        let mut facts = SecretFacts::default();
        let mut payload = &[][..];
        for field in Fields::of(message) {
            match field? {
                (1, value) => facts.id = value.text()?.to_owned(),
                (2, value) => facts.meta = Meta::parse(value.bytes()?)?,
                (3, value) => payload = facts.parse_spec(value.bytes()?)?,
                (4, value) => facts.internal = value.uint()? != 0,
                _ => {}
            }
        }
        Ok(Self { facts, payload: SecretBytes::from(payload) })
    }
}

impl SecretFacts {
    fn parse_spec<'a>(&mut self, message: &'a [u8]) -> Result<&'a [u8]> {
        let mut payload = &[][..];
        for field in Fields::of(message) {
            match field? {
                (1, value) => {
                    let annotations = Annotations::parse(value.bytes()?)?;
                    (self.name, self.labels) = (annotations.name, annotations.labels);
                }
                (2, value) => payload = value.bytes()?,
                (3, value) => self.templating = Some(Driver::parse(value.bytes()?)?),
                (4, value) => self.driver = Some(Driver::parse(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(payload)
    }
}

impl Driver {
    fn parse(message: &[u8]) -> Result<Self> {
        let mut driver = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => driver.name = value.text()?.to_owned(),
                (2, value) => {
                    let (key, value) = map_entry(value.bytes()?)?;
                    driver.options.insert(key, value);
                }
                _ => {}
            }
        }
        Ok(driver)
    }
}
