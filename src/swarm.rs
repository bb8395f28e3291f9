//! Docker Swarm's formats: the key file, the raft log and the snapshots of a manager.
//!
//! [`State::read`] gives a manager's secrets, services and other objects from its folder, and what
//! is wrong with it; [`inspect()`] tells what can be known, also without the unlock key. Both only
//! read. [`Manager`] changes a stopped manager's folder: its unlock key, its DEK, its membership.
//!
//! ```no_run
//! use nodeseal::UnlockKey;
//! use nodeseal::swarm::State;
//!
//! let key = UnlockKey::from_text("SWMKEY-1-Lh2nIahpm1gNl17yUYIEjb90rMgvE9CS+rrp/d1nquo")?;
//! let state = State::read("/var/lib/docker/swarm", Some(&key))?;
//! for finding in &state.findings {
//!     eprintln!("{finding}");
//! }
//! for secret in state.objects.secrets.values() {
//!     println!("{} {}", secret.facts.id, secret.facts.name);
//! }
//! if !state.is_complete() {
//!     eprintln!("some of the state is lost");
//! }
//! # Ok::<(), nodeseal::Error>(())
//! ```

mod attest;
mod certificate;
mod change;
mod clean;
mod der;
mod doctor;
mod ec_key;
mod fernet;
mod finding;
mod folder;
mod image;
mod inspect;
mod key_file;
mod log;
mod migrate;
mod new_folder;
mod objects;
mod pem;
mod pkcs8;
mod record;
mod redact;
mod replay;
mod rfc1423;
mod salvage;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;

pub use attest::{Attestation, Verification, attest, attest_in, verify, verify_in};
pub use change::{Change, Manager, Progress, Report};
pub use clean::{Leftover, clean, clean_in, leftovers, leftovers_in};
pub use doctor::{Diagnosis, FileKind, FileVerdict, RecordVerdict, Verdict, doctor, doctor_in};
#[cfg(nodeseal_fuzzing)]
pub(crate) use finding::Findings;
pub use finding::{Finding, FindingKind, Loss, Severity};
pub use inspect::{Inspection, KeyFacts, inspect, inspect_in};
pub use key_file::{DekHeader, DekSlot, Finding as KeyFileFinding, KeyFile, KeyForm, NodeKeys};
pub use log::{EntryFacts, EntryRange, HardState, RaftMember, SegmentFacts};
pub use migrate::{
    Migrated, export, export_in, import, import_in, plan_export, plan_export_in, plan_import,
    plan_import_in,
};
pub use objects::{
    Cluster, ClusterFacts, ClusterUnlockKey, Driver, FileTarget, Meta, Node, NodeRole, ObjectKind,
    Secret, SecretFacts, SecretReference, Service, Task, TaskState, Timestamp,
};
pub use record::Algorithm;
#[cfg(nodeseal_fuzzing)]
pub(crate) use record::Record;
pub use redact::{Redacted, plan_redact, plan_redact_in, redact, redact_in};
pub use replay::Objects;
#[cfg(nodeseal_fuzzing)]
pub(crate) use replay::Replay;
pub use salvage::{Salvage, SalvageReport};
pub use snapshot::SnapshotFacts;
pub use state::{RaftFacts, State};
