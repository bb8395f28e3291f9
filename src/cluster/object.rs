//! What the state consists of.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::few::Few;
use super::map::Map;
use super::payload::SealedPayload;
use super::policy::{Labels, Selector};
use crate::grant::wire::{choice, record};
use crate::grant::{Follow, Grant, NodeId, Reference, SecretId, ServiceId, TaskId, Time};

/// When a secret ought to be replaced. The state machine has no clock: it refuses nothing because
/// of these, and tells what is due ([`Cluster::due_for_rotation`](super::Cluster::due_for_rotation),
/// [`Cluster::expired`](super::Cluster::expired)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_structs, reason = "callers make it field by field")]
pub struct Dates {
    /// From then on it is of no use.
    pub expires: Option<Time>,
    /// By then there should be a new version.
    pub rotate_by: Option<Time>,
}

record!(Dates { expires, rotate_by });

/// When an object was made and changed, and by which command last: the version that an update must
/// name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meta {
    pub(super) created: Time,
    pub(super) updated: Time,
    pub(super) index: u64,
}

record!(Meta { created, updated, index });

#[derive(Clone)]
pub(super) struct Secret {
    pub(super) id: SecretId,
    pub(super) name: Arc<str>,
    pub(super) labels: Labels,
    pub(super) internal: bool,
    pub(super) dates: Dates,
    pub(super) selector: Selector,
    pub(super) meta: Meta,
    /// The version that those who follow the secret get.
    pub(super) current: u64,
    /// The highest number that a version ever had.
    pub(super) last: u64,
    pub(super) versions: Few<u64, Version>,
    pub(super) users: Users,
}

record!(Secret {
    id, name, labels, internal, dates, selector, meta, current, last, versions; users
});

#[derive(Clone)]
pub(super) struct Version {
    pub(super) created: Time,
    pub(super) payload: SealedPayload,
}

record!(Version { created, payload });

/// Who refers to a secret: follows from the services and referrers.
#[derive(Clone, Default)]
pub(super) struct Users {
    pub(super) services: Map<ServiceId, ()>,
    pub(super) referrers: Map<Referrer, ()>,
}

impl Users {
    pub(super) fn is_empty(&self) -> bool {
        self.services.is_empty() && self.referrers.is_empty()
    }
}

#[derive(Clone)]
pub(super) struct Service {
    pub(super) id: ServiceId,
    pub(super) name: Arc<str>,
    pub(super) labels: Labels,
    pub(super) meta: Meta,
    pub(super) spec: Arc<[Reference]>,
    pub(super) previous: Option<Arc<[Reference]>>,
    /// What live tasks were granted. A task keeps its grants when service or secret move on.
    pub(super) generations: Few<u64, Generation>,
    /// The highest number that a generation ever had.
    pub(super) last_generation: u64,
    /// Every task of the service: follows from the tasks.
    pub(super) tasks: Map<TaskId, ()>,
}

record!(Service {
    id, name, labels, meta, spec, previous, generations, last_generation; tasks
});

/// References with the versions that they meant when a task was made.
#[derive(Clone)]
pub(super) struct Generation {
    pub(super) grants: Arc<[Grant]>,
    /// How many live tasks it has: follows from the tasks.
    pub(super) tasks: u64,
}

record!(Generation { grants; tasks });

impl Service {
    /// Every secret that anything of the service needs: its specs, and the grants of its tasks.
    pub(super) fn mentions(&self) -> BTreeSet<&SecretId> {
        let specs = self.spec.iter().chain(self.previous.iter().flat_map(|spec| &**spec));
        let grants = self.generations.values().flat_map(|generation| &*generation.grants);
        specs.map(|r| &r.secret).chain(grants.map(|grant| &grant.secret)).collect()
    }

    /// Whether anything of the service needs this very version.
    pub(super) fn needs(&self, secret: &SecretId, version: u64) -> bool {
        let mut specs = self.spec.iter().chain(self.previous.iter().flat_map(|spec| &**spec));
        let mut grants = self.generations.values().flat_map(|generation| &*generation.grants);
        specs.any(|r| r.secret == *secret && r.follow == Follow::Pinned(version))
            || grants.any(|grant| grant.secret == *secret && grant.version == version)
    }
}

/// How far a task has come: Swarm's states, in their order. A task never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_enums, reason = "Swarm's states are these")]
pub enum TaskState {
    /// Made, and no more.
    New,
    /// Waits for a node.
    Pending,
    /// Has a node; from here on it gets its secrets.
    Assigned,
    /// The node has taken it.
    Accepted,
    /// The node prepares it.
    Preparing,
    /// Prepared.
    Ready,
    /// About to run.
    Starting,
    /// Runs; the last state in which it has its secrets.
    Running,
    /// Ended well.
    Complete,
    /// Was ended.
    Shutdown,
    /// Ended with an error.
    Failed,
    /// The node did not take it.
    Rejected,
    /// To be removed.
    Remove,
    /// Its node was not heard of for too long.
    Orphaned,
}

choice!(TaskState {
    0 => New, 1 => Pending, 2 => Assigned, 3 => Accepted, 4 => Preparing, 5 => Ready, 6 => Starting,
    7 => Running, 8 => Complete, 9 => Shutdown, 10 => Failed, 11 => Rejected, 12 => Remove,
    13 => Orphaned,
});

impl TaskState {
    /// Whether the task has ended, and needs no secret any more.
    #[must_use]
    pub fn has_ended(self) -> bool {
        self > Self::Running
    }

    /// Whether the node of a task in this state is given the task's secrets.
    #[must_use]
    pub fn needs_secrets(self) -> bool {
        (Self::Assigned..=Self::Running).contains(&self)
    }
}

#[derive(Clone)]
pub(super) struct Task {
    pub(super) service: ServiceId,
    pub(super) node: Option<NodeId>,
    pub(super) state: TaskState,
    /// The generation that it was granted; 0 once it has ended.
    pub(super) generation: u64,
    /// Index of the command that changed it last.
    pub(super) index: u64,
}

/// An object of the author's own that refers to secrets, and so keeps them from being removed: a
/// volume, a scheduled job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_structs, reason = "callers make it field by field")]
pub struct Referrer {
    /// What it is: `volume`, for example.
    pub kind: String,
    /// Its id.
    pub id: String,
}

record!(Referrer { kind, id });
