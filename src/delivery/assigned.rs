use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::grant::{Assignment, Change, Grant, NodeId, Scope, SecretId, TaskId};
use crate::secret::SecretBytes;

/// What a node was assigned: the payloads, and which task was granted which. In memory only.
///
/// A task is shown only what it was granted ([`Assigned::task`]).
pub struct Assigned {
    node: NodeId,
    sequence: Option<u64>,
    payloads: BTreeMap<(SecretId, u64), Arc<SecretBytes>>,
    tasks: BTreeMap<TaskId, Vec<Grant>>,
}

/// What an assignment changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// Tasks that came, or whose files are others now: deliver them, or update their delivery.
    pub tasks: Vec<TaskId>,
    /// Tasks that went: release their delivery.
    pub gone: Vec<TaskId>,
}

impl Assigned {
    /// Nothing yet.
    #[must_use]
    pub const fn new(node: NodeId) -> Self {
        Self { node, sequence: None, payloads: BTreeMap::new(), tasks: BTreeMap::new() }
    }

    /// What this is up to date with: what the node names when it asks for changes. `None`: it needs a
    /// complete assignment.
    #[must_use]
    pub const fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// Takes an assignment, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::OtherIdentity`] if it is for another node; [`Error::Gap`] if its changes begin
    /// elsewhere than where this is: the node then asks for a complete one.
    pub fn take(&mut self, assignment: Assignment) -> Result<Changed> {
        let Assignment { node, scope, sequence, changes } = assignment;
        if node != self.node {
            return Err(Error::OtherIdentity {
                what: "node",
                expected: self.node.to_string(),
                found: node.to_string(),
            });
        }
        let mut changed = Changed::default();
        match scope {
            Scope::Complete => {
                let before = core::mem::take(&mut self.tasks);
                self.payloads.clear();
                self.make(changes, &mut Changed::default());
                let is_new = |(task, grants): &(&TaskId, &Vec<Grant>)| {
                    before.get(*task).is_none_or(|had| had != *grants)
                };
                changed.tasks =
                    self.tasks.iter().filter(is_new).map(|(task, _)| task.clone()).collect();
                changed.gone =
                    before.into_keys().filter(|task| !self.tasks.contains_key(task)).collect();
            }
            Scope::Since(from) => {
                if self.sequence != Some(from) {
                    return Err(Error::Gap { at: self.sequence, from });
                }
                self.make(changes, &mut changed);
            }
        }
        self.sequence = Some(sequence);
        Ok(changed)
    }

    fn make(&mut self, changes: Vec<Change>, changed: &mut Changed) {
        for change in changes {
            match change {
                Change::Secret { secret, version, payload } => {
                    self.payloads.insert((secret, version), Arc::new(payload));
                }
                Change::Task { task, grants } => {
                    changed.tasks.push(task.clone());
                    self.tasks.insert(task, grants);
                }
                Change::TaskRemoved { task } => {
                    if self.tasks.remove(&task).is_some() {
                        changed.gone.push(task);
                    }
                }
                Change::SecretRemoved { secret, version } => {
                    self.payloads.remove(&(secret, version));
                }
            }
        }
    }

    /// The tasks there are, in the order of their ids.
    pub fn tasks(&self) -> impl ExactSizeIterator<Item = &TaskId> {
        self.tasks.keys()
    }

    /// What one task was granted; `None` if there is no such task here.
    #[must_use]
    pub fn task(&self, task: &TaskId) -> Option<TaskSecrets<'_>> {
        let (task, grants) = self.tasks.get_key_value(task)?;
        Some(TaskSecrets { node: &self.node, task, grants, payloads: &self.payloads })
    }

    /// Forgets everything, as when the node leaves the cluster.
    pub fn clear(&mut self) {
        *self = Self::new(self.node.clone());
    }
}

impl fmt::Debug for Assigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assigned")
            .field("node", &self.node)
            .field("sequence", &self.sequence)
            .field("secrets", &self.payloads.len())
            .field("tasks", &self.tasks)
            .finish()
    }
}

/// What one task was granted, and nothing else.
#[derive(Clone, Copy)]
pub struct TaskSecrets<'a> {
    node: &'a NodeId,
    task: &'a TaskId,
    grants: &'a [Grant],
    payloads: &'a BTreeMap<(SecretId, u64), Arc<SecretBytes>>,
}

impl<'a> TaskSecrets<'a> {
    /// The node that it runs on.
    #[must_use]
    pub const fn node(&self) -> &'a NodeId {
        self.node
    }

    /// The task.
    #[must_use]
    pub const fn task(&self) -> &'a TaskId {
        self.task
    }

    /// Its files.
    #[must_use]
    pub const fn grants(&self) -> &'a [Grant] {
        self.grants
    }

    /// The payload of a version of a secret, if the task was granted it.
    ///
    /// # Errors
    ///
    /// [`Error::NotGranted`] if it was not, whether it is there or not; [`Error::NotAssigned`] if the
    /// node was not given it.
    pub fn get(&self, secret: &SecretId, version: u64) -> Result<&'a SecretBytes> {
        let granted =
            self.grants.iter().any(|grant| grant.secret == *secret && grant.version == version);
        let (task, name) = (self.task.to_string(), secret.to_string());
        if !granted {
            return Err(Error::NotGranted { task, secret: name });
        }
        let payload = self.payloads.get(&(secret.clone(), version));
        payload.map(|payload| &**payload).ok_or(Error::NotAssigned { task, secret: name })
    }
}

impl fmt::Debug for TaskSecrets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSecrets")
            .field("task", self.task)
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
