//! Docker Swarm's formats, read side.

mod ec_key;
mod fernet;
mod finding;
mod folder;
mod inspect;
mod key_file;
mod log;
mod objects;
mod pem;
mod pkcs8;
pub(crate) mod proto;
mod record;
mod replay;
mod rfc1423;
mod snapshot;
mod state;

pub use finding::{Finding, FindingKind, Loss, Severity};
pub use inspect::{Inspection, KeyFacts, inspect, inspect_in};
pub use key_file::{DekHeader, DekSlot, Finding as KeyFileFinding, KeyFile, KeyForm, NodeKeys};
pub use log::{EntryFacts, HardState, RaftMember, SegmentFacts};
pub use objects::{
    Cluster, ClusterFacts, ClusterUnlockKey, Driver, FileTarget, Meta, Node, NodeRole, ObjectKind,
    Secret, SecretFacts, SecretReference, Service, Task, TaskState, Timestamp,
};
pub use record::Algorithm;
pub use replay::Objects;
pub use snapshot::SnapshotFacts;
pub use state::{RaftFacts, State};
