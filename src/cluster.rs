//! Secrets as objects of a cluster: a deterministic state machine to embed in one's own.
//!
//! [`Cluster`] is a plain value. Commands come to it in the order of a replicated log
//! ([`Cluster::apply`]); it has no clock, no randomness and does no I/O, so every replica has the
//! same state and gives the same outcomes. The rules are Docker Swarm's where Swarm has one, without
//! its holes (`docs/design.md`).
//!
//! A payload is sealed where it enters ([`PayloadKey::seal`]) and stays so in commands, log,
//! snapshots and memory. It is opened in one place, to be sent to a node on which a task was granted
//! it ([`Cluster::dispatch`], [`Dispatch::open`]). There is no call by which it is read back.
//!
//! A clone of the value is a view of it, for a snapshot or a long list: it costs next to nothing and
//! does not stop [`Cluster::apply`].
//!
//! ```
//! use nodeseal::audit::{Event, Sink};
//! use nodeseal::cluster::{Cluster, Command, Dates, Labels, Request, Selector, TaskState};
//! use nodeseal::grant::{NodeId, Reference, SecretId, ServiceId, TaskId, Time};
//!
//! struct Ignore; // an audit sink
//! impl Sink for Ignore {
//!     fn record(&self, _: &Event) -> nodeseal::Result<()> {
//!         Ok(())
//!     }
//! }
//!
//! let mut cluster = Cluster::new();
//! let mut index = 0; // of the replicated log
//! let mut apply = |cluster: &mut Cluster, request| {
//!     index += 1;
//!     let command = Command { at: Time::now(), by: "ops".to_owned(), request };
//!     cluster.apply(index, Command::decode(command.encode().expose()).unwrap())
//! };
//! let first = cluster.new_payload_key(false)?;
//! apply(&mut cluster, first).result?;
//!
//! // The payload is sealed before it becomes part of a command.
//! let secret = SecretId::new("s1")?;
//! let key = cluster.payload_key().ok_or("no payload key")?;
//! apply(&mut cluster, Request::CreateSecret {
//!     secret: secret.clone(),
//!     name: "db_password".to_owned(),
//!     labels: Labels::new(),
//!     internal: false,
//!     dates: Dates::default(),
//!     selector: Selector::default(),
//!     payload: key.seal(&secret, 1, b"correct horse")?,
//! })
//! .result?;
//!
//! let (service, node) = (ServiceId::new("v1")?, NodeId::new("w1")?);
//! apply(&mut cluster, Request::CreateService {
//!     service: service.clone(),
//!     name: "web".to_owned(),
//!     labels: Labels::new(),
//!     references: vec![Reference::new(secret.clone(), "db_password")?],
//! })
//! .result?;
//! apply(&mut cluster, Request::PutNode {
//!     node: node.clone(),
//!     labels: Labels::new(),
//!     public_key: None,
//! })
//! .result?;
//! let started = apply(&mut cluster, Request::CreateTask {
//!     task: TaskId::new("t1")?,
//!     service,
//!     node: Some(node.clone()),
//!     state: TaskState::Assigned,
//! });
//! assert_eq!(started.woken, [node.clone()]);
//!
//! // What that node, which the transport has authenticated, is sent.
//! let dispatch = cluster.dispatch(&node, None).ok_or("no such node")?;
//! let assignment = dispatch.open(Time::now(), "m1", &Ignore)?;
//! assert_eq!(assignment.changes.len(), 2); // a payload, and the task with its file
//!
//! let refused = apply(&mut cluster, Request::RemoveSecret { secret }).result.unwrap_err();
//! assert_eq!(
//!     refused.to_string(),
//!     "secret 'db_password' is in use by the following service: web"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::fmt;
use std::sync::Arc;

mod apply;
mod command;
mod dispatch;
mod few;
mod hygiene;
mod info;
mod keys;
mod map;
mod node;
mod object;
mod outcome;
mod payload;
mod policy;
mod rotation;
#[cfg(feature = "serde")]
mod serde;
mod snapshot;
mod stats;
#[cfg(test)]
mod tests;

pub use command::{Command, Request, Resealed, SecretChange};
pub use dispatch::Dispatch;
pub use hygiene::{Lag, UnlockKeyTask};
pub use info::{Filter, Found, NodeInfo, SecretInfo, ServiceInfo, TaskInfo, VersionInfo};
use keys::Keys;
pub use keys::PayloadKeyInfo;
use map::Map;
pub use node::KeyReport;
use node::Node;
pub use object::{Dates, Referrer, TaskState};
use object::{Secret, Service, Task};
pub use outcome::{Kind, Outcome, Refusal, User};
pub use payload::{MAX_PAYLOAD, PayloadKey, SealedPayload};
pub use policy::{Labels, Required, Selector};
use stats::Counters;
pub use stats::Stats;

use crate::grant::{Folded, NodeId, SecretId, ServiceId, TaskId};

/// The state of a cluster's secrets: what a replicated log of [`Command`]s makes of it.
///
/// Clones share their memory until one of them changes.
#[derive(Clone, Default)]
pub struct Cluster {
    /// Index of the command that was applied last.
    applied: u64,
    keys: Keys,
    secrets: Map<SecretId, Arc<Secret>>,
    services: Map<ServiceId, Arc<Service>>,
    tasks: Map<TaskId, Task>,
    nodes: Map<NodeId, Arc<Node>>,
    referrers: Map<Referrer, Arc<[SecretId]>>,
    /// Follow from the objects.
    secret_names: Map<Folded, SecretId>,
    service_names: Map<Folded, ServiceId>,
    counters: Counters,
}

impl Cluster {
    /// A cluster without anything. Its first command is one that brings a payload key
    /// ([`Cluster::new_payload_key`]).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Index of the command that was applied last; 0 before the first.
    #[must_use]
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    fn secret_mut(&mut self, id: &SecretId) -> Option<&mut Secret> {
        self.secrets.get_mut(id).map(Arc::make_mut)
    }

    fn service_mut(&mut self, id: &ServiceId) -> Option<&mut Service> {
        self.services.get_mut(id).map(Arc::make_mut)
    }

    fn task_mut(&mut self, id: &TaskId) -> Option<&mut Task> {
        self.tasks.get_mut(id)
    }

    fn node_mut(&mut self, id: &NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id).map(Arc::make_mut)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("applied", &self.applied)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
