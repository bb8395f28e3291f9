//! Words that the cluster's state and a node's delivery share: ids, references to secrets, targets,
//! and the assignments that go from one to the other.
//!
//! A developer's *reference* says which secret a service wants, under which name and for whom. What
//! the cluster makes of it for one task is a *grant*: one version of the secret, one file. The
//! grants of the tasks of one node, with the payloads that they need, are its *assignment*.

mod assignment;
mod id;
mod node_key;
mod reference;
mod target;
#[cfg(test)]
mod tests;
mod time;
pub(crate) mod wire;

pub use assignment::{Assignment, Change, Grant, Scope};
#[cfg(feature = "cluster")]
pub(crate) use id::Folded;
pub(crate) use id::is_name;
pub use id::{NodeId, SecretId, ServiceId, TaskId};
pub use node_key::{NodeKey, NodePublicKey, SEALED_OVERHEAD};
pub use reference::{Follow, Reference, check_references, edit_references};
pub use target::{Mode, Target, parse_owner};
pub use time::Time;
