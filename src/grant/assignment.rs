use super::id::{NodeId, SecretId, TaskId};
use super::node_key::NodePublicKey;
use super::target::{Mode, Target};
use super::wire::{self, choice, record};
use crate::error::Result;
use crate::secret::SecretBytes;

const FORMAT: u8 = 1;
const WHAT: &str = "an assignment";

/// One file of one task: a version of a secret, where it stands and for whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_structs, reason = "callers make it field by field")]
pub struct Grant {
    /// The secret.
    pub secret: SecretId,
    /// The version of the secret.
    pub version: u64,
    /// Where the file stands.
    pub target: Target,
    /// The file's owner.
    pub uid: u32,
    /// The file's group.
    pub gid: u32,
    /// The file's permissions.
    pub mode: Mode,
}

record!(Grant { secret, version, target, uid, gid, mode });

/// What a node is given: the payloads that tasks on it were granted, and which task was granted
/// which. It holds payloads, so it is neither cloned nor compared.
///
/// A node keeps the payloads in memory. It takes an assignment whole: on [`Scope::Complete`] what
/// is not in it is gone; on [`Scope::Since`] only what is in it changes.
///
/// # Format
///
/// `0x01`, then node, scope, sequence and changes in the crate's own encoding (`docs/design.md`).
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers take it apart")]
pub struct Assignment {
    /// The node that it is for.
    pub node: NodeId,
    /// From where the changes lead.
    pub scope: Scope,
    /// Where they lead to: what the node names when it asks for the next ones.
    pub sequence: u64,
    /// The changes, in the order in which they are to be made: payloads that come, tasks that come
    /// or change, tasks that go, payloads that go.
    pub changes: Vec<Change>,
}

record!(Assignment { node, scope, sequence, changes });

/// From where the changes of an [`Assignment`] lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a node must know every scope")]
pub enum Scope {
    /// From nothing: the assignment is all that the node has.
    Complete,
    /// From the assignment of this sequence. A node that is elsewhere asks for a complete one.
    Since(u64),
}

choice!(Scope { 0 => Complete, 1 => Since(sequence) });

/// One change of what a node has.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a node must know every change")]
pub enum Change {
    /// A version of a secret comes.
    Secret {
        /// The secret.
        secret: SecretId,
        /// The version of the secret.
        version: u64,
        /// Its payload.
        payload: SecretBytes,
    },
    /// A task comes, or other files are granted to it.
    Task {
        /// The task.
        task: TaskId,
        /// All that is granted to it.
        grants: Vec<Grant>,
    },
    /// A task goes, with its files.
    TaskRemoved {
        /// The task.
        task: TaskId,
    },
    /// A version of a secret goes: no task needs it any more.
    SecretRemoved {
        /// The secret.
        secret: SecretId,
        /// The version of the secret.
        version: u64,
    },
}

choice!(Change {
    0 => Secret { secret, version, payload },
    1 => Task { task, grants },
    2 => TaskRemoved { task },
    3 => SecretRemoved { secret, version },
});

impl Assignment {
    /// The assignment's bytes, payloads in the clear, for a transport that keeps them secret.
    #[must_use]
    pub fn encode(&self) -> SecretBytes {
        let payloads: usize = self.changes.iter().map(Change::payload_len).sum();
        wire::encode(FORMAT, self, payloads + 256 * (1 + self.changes.len()))
    }

    /// Reads what [`Assignment::encode`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`](crate::Error::Damaged) for bytes of another form,
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a later format.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        wire::decode(WHAT, FORMAT, bytes)
    }

    /// The assignment's bytes sealed so that only the holder of the node's key reads them, for a
    /// transport whose own protection ends before the node.
    ///
    /// # Errors
    ///
    /// [`Error::Random`](crate::Error::Random) if the system's generator fails;
    /// [`Error::Damaged`](crate::Error::Damaged) for a public key of low order.
    pub fn seal_to(&self, node: &NodePublicKey) -> Result<Vec<u8>> {
        node.seal(self.encode().expose())
    }
}

impl Change {
    fn payload_len(&self) -> usize {
        match self {
            Self::Secret { payload, .. } => payload.len(),
            _ => 0,
        }
    }
}
