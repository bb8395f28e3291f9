use super::{Annotations, Meta, last_bytes};
use crate::error::Result;
use crate::wal::proto::Fields;

/// A machine of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Version and times.
    pub meta: Meta,
    /// The name that it was given in its specification; usually empty.
    pub name: String,
    /// The host name that it reported.
    pub hostname: String,
    /// What it is in the cluster.
    pub role: NodeRole,
}

/// What a node is in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum NodeRole {
    /// It runs tasks.
    #[default]
    Worker,
    /// It also takes part in raft.
    Manager,
    /// A role that this version does not know.
    Other(u64),
}

impl Node {
    pub(crate) fn parse(message: &[u8]) -> Result<Self> {
        let mut node = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => node.id = value.text()?.to_owned(),
                (2, value) => node.meta = Meta::parse(value.bytes()?)?,
                (3, value) => {
                    node.name = Annotations::parse(last_bytes(value.bytes()?, 1)?)?.name;
                }
                (4, value) => node.hostname = super::id(value.bytes()?)?,
                (9, value) => {
                    node.role = match value.uint()? {
                        0 => NodeRole::Worker,
                        1 => NodeRole::Manager,
                        other => NodeRole::Other(other),
                    }
                }
                _ => {}
            }
        }
        Ok(node)
    }
}
