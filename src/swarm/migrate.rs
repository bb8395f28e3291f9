//! A manager's folder as a native keyring and store, and back.
//!
//! # Native form
//!
//! | in the native folder | what it holds |
//! |---|---|
//! | `node.keys` | the key file, locked with the same unlock key under the same version; identity: the cluster's and the node's Swarm ids; attachments `tls-key` (DER), `swarm-node.crt`, `swarm-root-ca.crt` |
//! | `raft/`, log `raft` | the store |
//! | its entries | `raftpb.Entry` with its content in plaintext, at their indices, of their terms |
//! | its snapshot | the content of Swarm's, `api.Snapshot` |
//! | its vote | `raftpb.HardState` |
//! | its metadata `swarm.member` | `RaftMember`, as the log's metadata has it |
//! | its metadata `swarm.cipher` | `fernet` where the node seals with that; else absent |
//! | `swarm.docker-state.json`, `swarm.state.json` | the files, where there are any |

mod export;
mod import;

use std::collections::BTreeMap;

pub use export::{export, export_in, plan_export, plan_export_in};
pub use import::{import, import_in, plan_import, plan_import_in};

use crate::swarm::objects::ObjectKind;

const LOG: &str = "raft";
const TLS_KEY: &str = "tls-key";
const CERTIFICATES: [&str; 2] = ["swarm-node.crt", "swarm-root-ca.crt"];
const MEMBER: &str = "swarm.member";
const CIPHER: &str = "swarm.cipher";
const FERNET: &[u8] = b"fernet";
/// The files of Docker's own beside the state, and their names in the store.
const FILES: [(&str, &str); 2] =
    [("docker-state.json", "swarm.docker-state.json"), ("state.json", "swarm.state.json")];

/// What was carried over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Migrated {
    /// How many objects the state has, of each kind of which there are any.
    pub objects: BTreeMap<ObjectKind, usize>,
    /// Index of the last entry that the snapshot covers, if there is a snapshot.
    pub snapshot: Option<u64>,
    /// How many entries stand behind it.
    pub entries: u64,
    /// Index of the last entry.
    pub last_index: u64,
    /// Whether it is locked with an unlock key.
    pub locked: bool,
}
