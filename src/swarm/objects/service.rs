use std::collections::BTreeMap;

use super::{Annotations, Meta, last_bytes};
use crate::error::{Error, Result};
use crate::wal::proto::Fields;

/// A service, as far as secrets are concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Service {
    /// Its id.
    pub id: String,
    /// Version and times.
    pub meta: Meta,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The secrets that its tasks are granted.
    pub secrets: Vec<SecretReference>,
    /// Those of the specification before, to which a rollback returns; `None` without one.
    pub previous_secrets: Option<Vec<SecretReference>>,
}

/// A grant of a secret to a service's tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SecretReference {
    /// Id of the secret.
    pub secret_id: String,
    /// Its name when it was granted.
    pub secret_name: String,
    /// Where a task finds it.
    pub target: Option<FileTarget>,
}

/// The file in which a task finds a secret. Nothing of it was checked by Swarm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct FileTarget {
    /// Its name under `/run/secrets`, or an absolute path.
    pub name: String,
    /// Its owner, as text.
    pub uid: String,
    /// Its group, as text.
    pub gid: String,
    /// Its mode, the bits of Go's `FileMode`: for plain permissions those of Unix.
    pub mode: u32,
}

impl Service {
    pub(crate) fn parse(message: &[u8]) -> Result<Self> {
        let mut service = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => service.id = value.text()?.to_owned(),
                (2, value) => service.meta = Meta::parse(value.bytes()?)?,
                (3, value) => {
                    let spec = value.bytes()?;
                    let annotations = Annotations::parse(last_bytes(spec, 1)?)?;
                    (service.name, service.labels) = (annotations.name, annotations.labels);
                    service.secrets = of_task_spec(last_bytes(spec, 2)?)?;
                }
                (6, value) => {
                    let spec = value.bytes()?;
                    service.previous_secrets = Some(of_task_spec(last_bytes(spec, 2)?)?);
                }
                _ => {}
            }
        }
        Ok(service)
    }
}

/// The secrets that a task specification grants.
pub(super) fn of_task_spec(spec: &[u8]) -> Result<Vec<SecretReference>> {
    let mut references = Vec::new();
    for field in Fields::of(last_bytes(spec, 1)?) {
        if let (12, value) = field? {
            references.push(SecretReference::parse(value.bytes()?)?);
        }
    }
    Ok(references)
}

impl SecretReference {
    fn parse(message: &[u8]) -> Result<Self> {
        let mut reference = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => reference.secret_id = value.text()?.to_owned(),
                (2, value) => reference.secret_name = value.text()?.to_owned(),
                (3, value) => reference.target = Some(FileTarget::parse(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(reference)
    }
}

impl FileTarget {
    fn parse(message: &[u8]) -> Result<Self> {
        let mut target = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => target.name = value.text()?.to_owned(),
                (2, value) => target.uid = value.text()?.to_owned(),
                (3, value) => target.gid = value.text()?.to_owned(),
                (4, value) => {
                    let mode = u32::try_from(value.uint()?);
                    target.mode = mode.map_err(|_| Error::damaged("a mode of over 32 bits"))?;
                }
                _ => {}
            }
        }
        Ok(target)
    }
}
