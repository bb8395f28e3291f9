use core::fmt;

use super::service::of_task_spec;
use super::{Meta, SecretReference, last_uint};
use crate::error::Result;
use crate::wal::proto::Fields;

/// A task, as far as secrets are concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Task {
    /// Its id.
    pub id: String,
    /// Version and times.
    pub meta: Meta,
    /// Id of its service.
    pub service_id: String,
    /// Which of the service's replicas it is; 0 where there is one for each node.
    pub slot: u64,
    /// Id of the node that it was given to; empty before.
    pub node_id: String,
    /// What it does.
    pub state: TaskState,
    /// What it should do.
    pub desired_state: TaskState,
    /// The secrets that it was granted.
    pub secrets: Vec<SecretReference>,
}

/// How far a task is. Ordered as Swarm orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
pub struct TaskState(pub u64);

impl TaskState {
    /// The name that Swarm gives it; `None` for a number that it does not use.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "new",
            64 => "pending",
            192 => "assigned",
            256 => "accepted",
            320 => "preparing",
            384 => "ready",
            448 => "starting",
            512 => "running",
            576 => "complete",
            640 => "shutdown",
            704 => "failed",
            768 => "rejected",
            800 => "remove",
            832 => "orphaned",
            _ => return None,
        })
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "state {}", self.0),
        }
    }
}

impl Task {
    pub(crate) fn parse(message: &[u8]) -> Result<Self> {
        let mut task = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => task.id = value.text()?.to_owned(),
                (2, value) => task.meta = Meta::parse(value.bytes()?)?,
                (3, value) => task.secrets = of_task_spec(value.bytes()?)?,
                (4, value) => task.service_id = value.text()?.to_owned(),
                (5, value) => task.slot = value.uint()?,
                (6, value) => task.node_id = value.text()?.to_owned(),
                (9, value) => task.state = TaskState(last_uint(value.bytes()?, 2)?),
                (10, value) => task.desired_state = TaskState(value.uint()?),
                _ => {}
            }
        }
        Ok(task)
    }
}
