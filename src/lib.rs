//! Embedded key management for orchestrators.
//!
//! A node's data encryption keys (DEKs) stand in a key file, wrapped for the cluster's unlock key;
//! its raft log, snapshots and votes are sealed under them. Linked in, no socket, no `async`.
//!
//! The paved path stands at the root: make or open a [`Keyring`], and with it a [`Store`], or, with
//! storage of your own, take a [`seal::Log`] from it. The rest is in its module:
//!
//! - [`keyring`]: the key file, its slots, lock states, rotation, the sweep.
//! - [`seal`]: records, batches, streams, cells; their formats.
//! - [`store`]: a durable sealed log on segment files, for any raft engine or none.
//! - [`key`]: unlock key, lock record, ids, the rotation's words.
//! - [`secret`]: memory that is wiped.
//! - [`grant`]: ids, references to secrets, and what a node is given.
//! - [`audit`]: events for whoever accounts for secrets and keys.
//! - [`fs`]: the seam for files, and a file system that fails on demand for tests.
//! - `cluster` (feature): secrets as objects of a cluster, a deterministic state machine.
//! - `delivery` (feature, Linux): secrets as files in a tmpfs for each task.
//! - `swarm` (feature): Docker Swarm's state, read and changed.
//! - [`hazmat`]: the raw box. Not needed on the paved path.
//!
//! Features: `cluster`; `delivery`; `swarm`; `tracing`, a sink of audit events; `serde`,
//! `Serialize` for types of public facts. A feature adds API and changes no behaviour.
//!
//! # Security
//!
//! `SECURITY.md` says against what this protects, and against what not.
//!
//! # Unsafe code
//!
//! Denied for the whole crate but for two modules of the kernels that seal and open, on x86-64:
//!
//! | where | what | why |
//! |---|---|---|
//! | `crypto::kernel::memory` | loads and stores of vectors | their intrinsics take raw pointers |
//! | `crypto::kernel::vector` | calls of functions that need processor features | they are unsafe to call where the features are missing |

/// Tests share helpers with those that use the crate from outside.
#[cfg(test)]
extern crate self as nodeseal;

pub mod audit;
mod calendar;
#[cfg(feature = "cluster")]
pub mod cluster;
mod crypto;
#[cfg(all(feature = "delivery", target_os = "linux"))]
pub mod delivery;
mod error;
pub mod fs;
#[cfg(all(nodeseal_fuzzing, feature = "swarm"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod grant;
pub mod hazmat;
pub mod key;
pub mod keyring;
mod process;
pub mod seal;
pub mod secret;
pub mod store;
#[cfg(feature = "swarm")]
pub mod swarm;
mod wal;

pub use error::{Error, ErrorKind, KeyTextFault, Misuse, Place, Result};
pub use key::{
    Costs, DekId, Identity, LockRecord, Passphrase, Protection, Reason, Rekey, UnlockKey,
};
pub use keyring::{Keyring, Keyspace, LockPolicy, LockedKeyring, Opened, Protector, Status, Sweep};
pub use store::Store;

/// The README's example must compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
