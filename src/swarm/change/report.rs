//! What a change does, told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::keys::KeyState;
use crate::key::Protection;
use crate::swarm::finding::Finding;
use crate::swarm::log::RaftMember;
use crate::swarm::objects::ObjectKind;

/// What a change has done to a folder, or, planned, would do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Report {
    /// A rotation that was found half done is finished first.
    pub finishes_rotation: bool,
    /// The cluster gets the key file's unlock key, which a change that was interrupted did not give it.
    pub finishes_unlock_key: bool,
    /// Everything is sealed under a new DEK.
    pub new_dek: bool,
    /// How the key file is protected afterwards.
    pub protection: Protection,
    /// Version of the unlock key in the key file afterwards.
    pub kek_version: u64,
    /// Index of the last entry that the new snapshot covers.
    pub snapshot_index: u64,
    /// The objects in it.
    pub objects: BTreeMap<ObjectKind, usize>,
    /// Segments and snapshots that the new ones replace.
    pub replaced: Vec<PathBuf>,
    /// How many bytes of them are in use.
    pub bytes_read: u64,
    /// Members that are no longer of the raft group.
    pub members_removed: Vec<RaftMember>,
    /// Entries that are given up because the node does not know them to be committed; only when the
    /// membership is cut.
    pub entries_discarded: usize,
    /// What was found in the folder: leftovers that still hold data under older keys, for example.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Tells what becomes of the keys.
    pub(super) fn keys(&mut self, before: &KeyState, after: &KeyState) {
        self.finishes_rotation = before.is_rotating();
        self.new_dek = before.current_id() != after.current_id();
        self.protection = after.lifecycle.protection();
        self.kek_version = after.lifecycle.kek_version;
    }
}

impl Default for Report {
    fn default() -> Self {
        Self {
            finishes_rotation: false,
            finishes_unlock_key: false,
            new_dek: false,
            protection: Protection::Clear,
            kek_version: 0,
            snapshot_index: 0,
            objects: BTreeMap::new(),
            replaced: Vec::new(),
            bytes_read: 0,
            members_removed: Vec::new(),
            entries_discarded: 0,
            findings: Vec::new(),
        }
    }
}

/// How far a change has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Log and snapshots are read and opened.
    Reading,
    /// The state, of so many bytes, is sealed and written under temporary names.
    Sealing {
        /// Its length.
        bytes: u64,
    },
    /// The key file is replaced. From here on the change is not taken back, but finished.
    KeyFile,
    /// The new files get their names, and the old ones go.
    Replacing,
}
