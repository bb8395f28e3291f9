//! What ought to be done about secrets and keys.

use super::Cluster;
use super::command::Request;
use super::info::SecretInfo;
use super::object::Secret;
use crate::error::{Error, Misuse, Result};
use crate::grant::{NodeId, SecretId, Time};
use crate::key::{LockRecord, UnlockKey};

/// A node that is not on the keys that it should be on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub struct Lag {
    /// The node.
    pub node: NodeId,
    /// Version of the lock record that it follows; `None` if it never reported.
    pub kek_version: Option<u64>,
    /// Version of the cluster's lock record.
    pub wanted: u64,
    /// Says whether something that it uses was exposed.
    pub exposed: bool,
}

/// A task that is left to do about the unlock key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum UnlockKeyTask {
    /// A new key waits to be confirmed with [`Cluster::confirm_unlock_key`]. Until then the nodes
    /// open with either key.
    Confirm,
    /// The key must be changed once more: its lock record came while nodes were not locked, so that it
    /// is in logs under DEKs that were exposed. That is so after a cluster's first lock and after a
    /// leak. All nodes that report are locked now, so the next record is safe.
    Change,
}

impl Cluster {
    /// The secrets that should have a new version by `now`.
    #[must_use]
    pub fn due_for_rotation(&self, now: Time) -> Vec<SecretInfo> {
        self.secrets_where(|secret| secret.dates.rotate_by.is_some_and(|by| by <= now))
    }

    /// The secrets that are of no use at `now`.
    #[must_use]
    pub fn expired(&self, now: Time) -> Vec<SecretInfo> {
        self.secrets_where(|secret| secret.dates.expires.is_some_and(|at| at <= now))
    }

    /// The secrets that nothing refers to.
    #[must_use]
    pub fn unused(&self) -> Vec<SecretInfo> {
        self.secrets_where(|secret| secret.users.is_empty())
    }

    /// The versions of secrets whose payloads are sealed under a payload key that was declared
    /// exposed: [`Cluster::reseal`] mends the sealing; whether the secrets themselves must change is
    /// for people to decide.
    #[must_use]
    pub fn under_exposed_key(&self) -> Vec<(SecretId, u64)> {
        let exposed = self.keys.payload.iter().filter(|held| held.exposed);
        exposed.flat_map(|held| held.seals.keys().cloned()).collect()
    }

    /// Returns the task that is left to do about the unlock key at this moment.
    ///
    /// Nothing is asked for while nodes are still locking: [`Cluster::lagging_nodes`] lists them.
    #[must_use]
    pub fn unlock_key_task(&self) -> Option<UnlockKeyTask> {
        let lock = self.keys.lock.as_ref().filter(|lock| lock.is_locked())?;
        if lock.has_pending() {
            return Some(UnlockKeyTask::Confirm);
        }
        (self.keys.lock_exposed && self.all_locked()).then_some(UnlockKeyTask::Change)
    }

    /// Returns the request that makes the pending unlock key the only one, for an operator who has
    /// typed it.
    ///
    /// # Errors
    ///
    /// [`Misuse::State`] if no key is pending; [`Error::WrongKey`] if `typed` is not the pending one.
    pub fn confirm_unlock_key(&self, typed: &UnlockKey) -> Result<Request> {
        let pending = self.keys.lock.as_ref().filter(|lock| lock.has_pending());
        let lock = pending.ok_or(Misuse::State("no unlock key is pending"))?;
        if !lock.is_pending_for(typed) {
            return Err(Error::WrongKey);
        }
        Ok(Request::ConfirmUnlockKey { version: lock.version() })
    }

    /// Reports whether every node that reports its keys is locked, with nothing exposed, for the lock record.
    pub(super) fn all_locked(&self) -> bool {
        let wanted = self.keys.lock.as_ref().map_or(0, |lock| lock.version());
        let mut reports = self.nodes.values().filter_map(|node| node.keys).peekable();
        let locked = self.keys.lock.as_deref().is_some_and(LockRecord::is_locked);
        locked
            && reports.peek().is_some()
            && reports.all(|keys| keys.locked && keys.kek_version >= wanted)
    }

    /// The nodes that reported to be on an older lock record or on something exposed, or that never
    /// reported. Nodes without a key file, workers for example, are among the last.
    #[must_use]
    pub fn lagging_nodes(&self) -> Vec<Lag> {
        let wanted = self.keys.lock.as_ref().map_or(0, |lock| lock.version());
        let lag = |node: &super::node::Node| {
            let exposed = node.keys.is_some_and(|keys| keys.exposed);
            let kek_version = node.keys.map(|keys| keys.kek_version);
            let lags = exposed || kek_version.is_none_or(|version| version < wanted);
            lags.then(|| Lag { node: node.id.clone(), kek_version, wanted, exposed })
        };
        self.nodes.values().filter_map(|node| lag(node)).collect()
    }

    fn secrets_where(&self, shows: impl Fn(&Secret) -> bool) -> Vec<SecretInfo> {
        let all = self.secret_names.values().filter_map(|id| self.secrets.get(id));
        all.filter(|secret| shows(secret)).map(|secret| SecretInfo::from(&**secret)).collect()
    }
}
