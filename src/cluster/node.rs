//! A node, and what is assigned to it.

use std::collections::VecDeque;

use super::few::Few;
use super::object::Meta;
use super::policy::Labels;
use crate::grant::wire::record;
use crate::grant::{NodeId, NodePublicKey, SecretId, TaskId, Time};
use crate::key::Protection;
use crate::keyring::Status;

/// Changes of a node's assignment that are remembered, at most. A node that has missed more gets a
/// complete assignment.
const JOURNAL: usize = 64;

#[derive(Clone)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) labels: Labels,
    pub(super) public_key: Option<NodePublicKey>,
    pub(super) meta: Meta,
    pub(super) keys: Option<KeyReport>,
    /// Index of the command that changed its assignment last.
    pub(super) sequence: u64,
    /// The tasks that it was given: follows from the tasks.
    pub(super) tasks: Few<TaskId, ()>,
    /// How many tasks need a version of a secret: follows from the tasks, and is first counted when
    /// a task comes or goes.
    pub(super) held: Option<Few<(SecretId, u64), u64>>,
    pub(super) journal: Journal,
}

record!(Node {
    id, labels, public_key, meta, keys, sequence; tasks, held, journal
});

/// What changed lately, so that a node can be told no more than that. Not part of the encoded
/// state: a manager that starts anew sends complete assignments first.
#[derive(Clone, Default)]
pub(super) struct Journal {
    /// Everything that changed after this index is here.
    since: u64,
    touched: VecDeque<(u64, Touched)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Touched {
    Secret(SecretId, u64),
    Task(TaskId),
}

impl Journal {
    pub(super) const fn new(since: u64) -> Self {
        Self { since, touched: VecDeque::new() }
    }

    pub(super) fn note(&mut self, index: u64, touched: Touched) {
        if self.touched.len() == JOURNAL
            && let Some((index, _)) = self.touched.pop_front()
        {
            self.since = index;
        }
        self.touched.push_back((index, touched));
    }

    /// What changed after `since`, if that is known.
    pub(super) fn after(&self, since: u64) -> Option<impl Iterator<Item = &Touched>> {
        // From the end: a node is rarely far behind.
        let lately = self.touched.iter().rev().take_while(move |(index, _)| *index > since);
        (since >= self.since).then(|| lately.map(|(_, touched)| touched))
    }
}

/// What a node reports of the keys that it is on, so that the cluster can say who lags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_structs, reason = "callers make it field by field")]
pub struct KeyReport {
    /// The key file's epoch.
    pub epoch: u64,
    /// Version of the lock record that the key file follows.
    pub kek_version: u64,
    /// When the active DEK was made.
    pub dek_made_at: Time,
    /// How many DEKs are not yet gone.
    pub retiring: u64,
    /// Says whether something in use was exposed: a DEK, an attachment or a slot.
    pub exposed: bool,
    /// Says whether the key file is locked and nothing in use was ever exposed.
    pub locked: bool,
}

record!(KeyReport { epoch, kek_version, dek_made_at, retiring, exposed, locked });

impl From<&Status> for KeyReport {
    fn from(status: &Status) -> Self {
        let active = status.deks.iter().find(|dek| dek.active);
        let retiring = status.deks.iter().filter(|dek| !dek.active).count();
        Self {
            epoch: status.epoch,
            kek_version: status.kek_version,
            dek_made_at: active.map_or(Time::default(), |dek| Time::from_seconds(dek.made_at)),
            retiring: u64::try_from(retiring).unwrap_or(u64::MAX),
            exposed: !status.exposed().is_empty(),
            locked: status.protection == Protection::Locked,
        }
    }
}
