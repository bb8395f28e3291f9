//! The objects of a cluster, as far as keys and secrets are concerned.
//!
//! What is public and what is secret are apart: a payload stands in [`Secret::payload`] and an
//! unlock key in [`ClusterUnlockKey::key`], and no other type here has a field for either.

use core::fmt;
use std::collections::BTreeMap;

use crate::error::Result;
use crate::wal::proto::Fields;

mod cluster;
mod edit;
mod node;
mod secret;
mod service;
mod task;
mod time;

pub use cluster::{Cluster, ClusterFacts, ClusterUnlockKey};
pub(crate) use edit::{update_request, with_unlock_key};
pub use node::{Node, NodeRole};
pub use secret::{Driver, Secret, SecretFacts};
pub use service::{FileTarget, SecretReference, Service};
pub use task::{Task, TaskState};
pub use time::Timestamp;

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ObjectKind {
    /// A machine of the cluster.
    Node,
    /// A service.
    Service,
    /// A task of a service.
    Task,
    /// A network.
    Network,
    /// The cluster itself.
    Cluster,
    /// A secret.
    Secret,
    /// A resource of an extension.
    Resource,
    /// An extension.
    Extension,
    /// A config.
    Config,
    /// A CSI volume.
    Volume,
    /// A table that this version does not know, by its number.
    Other(u64),
}

impl ObjectKind {
    /// By the field number in an action of the log.
    pub(crate) const fn in_action(field: u64) -> Self {
        match field {
            2 => Self::Node,
            3 => Self::Service,
            4 => Self::Task,
            5 => Self::Network,
            6 => Self::Cluster,
            7 => Self::Secret,
            8 => Self::Resource,
            9 => Self::Extension,
            10 => Self::Config,
            11 => Self::Volume,
            other => Self::Other(other),
        }
    }

    /// By the field number in the store of a snapshot.
    pub(crate) const fn in_store(field: u64) -> Self {
        match field {
            1 => Self::Node,
            2 => Self::Service,
            3 => Self::Network,
            4 => Self::Task,
            5 => Self::Cluster,
            6 => Self::Secret,
            7 => Self::Resource,
            8 => Self::Extension,
            9 => Self::Config,
            10 => Self::Volume,
            other => Self::Other(other),
        }
    }

    /// The field number in the store of a snapshot; `None` for a kind that is not known.
    pub(crate) const fn store_field(self) -> Option<u32> {
        Some(match self {
            Self::Node => 1,
            Self::Service => 2,
            Self::Network => 3,
            Self::Task => 4,
            Self::Cluster => 5,
            Self::Secret => 6,
            Self::Resource => 7,
            Self::Extension => 8,
            Self::Config => 9,
            Self::Volume => 10,
            Self::Other(_) => return None,
        })
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Service => "service",
            Self::Task => "task",
            Self::Network => "network",
            Self::Cluster => "cluster",
            Self::Secret => "secret",
            Self::Resource => "resource",
            Self::Extension => "extension",
            Self::Config => "config",
            Self::Volume => "volume",
            Self::Other(number) => return write!(f, "object of table {number}"),
        })
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for ObjectKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What every object carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Meta {
    /// Grows with every change of the object: the raft index at which it began.
    pub version: u64,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When it was last changed.
    pub updated: Option<Timestamp>,
}

impl Meta {
    fn parse(message: &[u8]) -> Result<Self> {
        let mut meta = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => meta.version = last_uint(value.bytes()?, 1)?,
                (2, value) => meta.created = Some(Timestamp::parse(value.bytes()?)?),
                (3, value) => meta.updated = Some(Timestamp::parse(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(meta)
    }
}

/// Name and labels.
#[derive(Debug, Default)]
struct Annotations {
    name: String,
    labels: BTreeMap<String, String>,
}

impl Annotations {
    fn parse(message: &[u8]) -> Result<Self> {
        let mut annotations = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => annotations.name = value.text()?.to_owned(),
                (2, value) => {
                    let (key, value) = map_entry(value.bytes()?)?;
                    annotations.labels.insert(key, value);
                }
                _ => {}
            }
        }
        Ok(annotations)
    }
}

fn map_entry(message: &[u8]) -> Result<(String, String)> {
    let (mut key, mut text) = ("", "");
    for field in Fields::of(message) {
        match field? {
            (1, value) => key = value.text()?,
            (2, value) => text = value.text()?,
            _ => {}
        }
    }
    Ok((key.to_owned(), text.to_owned()))
}

/// The id of an object of any kind: field 1 of all of them.
pub(crate) fn id(message: &[u8]) -> Result<String> {
    let mut id = "";
    for field in Fields::of(message) {
        if let (1, value) = field? {
            id = value.text()?;
        }
    }
    Ok(id.to_owned())
}

/// The last value of an integer field, 0 where there is none.
pub(crate) fn last_uint(message: &[u8], number: u64) -> Result<u64> {
    let mut found = 0;
    for field in Fields::of(message) {
        let (field, value) = field?;
        if field == number {
            found = value.uint()?;
        }
    }
    Ok(found)
}

/// The last value of a field of bytes, empty where there is none.
pub(crate) fn last_bytes(message: &[u8], number: u64) -> Result<&[u8]> {
    let mut found = &[][..];
    for field in Fields::of(message) {
        let (field, value) = field?;
        if field == number {
            found = value.bytes()?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
