use std::sync::Arc;

use super::node::KeyReport;
use super::object::{Dates, Referrer, TaskState};
use super::payload::{PayloadKey, SealedPayload};
use super::policy::{Labels, Selector};
use crate::error::Result;
use crate::grant::wire::{self, Reader, Wire, choice, record};
use crate::grant::{NodeId, NodePublicKey, Reference, SecretId, ServiceId, TaskId, Time};
use crate::key::LockRecord;
use crate::secret::SecretBytes;

const FORMAT: u8 = 1;

/// What is asked of the cluster, by whom and when. Commands are what an engine replicates; they
/// hold payloads as ciphertext only.
///
/// # Format
///
/// `0x01`, then the fields in the crate's own encoding (`docs/design.md`).
///
/// # Security
///
/// A command that brings a payload key or a lock record holds secrets of the managers: its encoding
/// is for sealed logs and protected transports.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers make it field by field")]
pub struct Command {
    /// When, by the clock of the node that proposes it.
    pub at: Time,
    /// Who asks, as the caller names them; for audit events alone. May be empty.
    pub by: String,
    /// What.
    pub request: Request,
}

record!(Command { at, by, request });

impl Command {
    /// The command's bytes.
    #[must_use]
    pub fn encode(&self) -> SecretBytes {
        wire::encode(FORMAT, self, 256 + self.request.payload_len())
    }

    /// Reads what [`Command::encode`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`](crate::Error::Damaged) for bytes of another form,
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a later format.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        wire::decode("a command", FORMAT, bytes)
    }
}

/// What is asked of the cluster. Where a request names a `version`, it is the index that the object
/// had when it was read ([`SecretInfo::index`](super::SecretInfo::index)): if another change came in
/// between, the request is refused.
///
/// Ids are the caller's to choose: random, and never used before.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Request {
    /// Creates a secret, with its first version.
    CreateSecret {
        /// Its id.
        secret: SecretId,
        /// Its name, unique whatever the case: 1 to 64 of `[A-Za-z0-9._-]` that begin and end with
        /// a letter or digit.
        name: String,
        /// Its labels.
        labels: Labels,
        /// Whether lists leave it out unless asked for it.
        internal: bool,
        /// When it ought to be replaced.
        dates: Dates,
        /// Who may have it.
        selector: Selector,
        /// The payload of version 1.
        payload: SealedPayload,
    },
    /// Changes what surrounds a secret. Name and payload of a version never change.
    UpdateSecret {
        /// The secret.
        secret: SecretId,
        /// Its version, as it was read.
        version: u64,
        /// What changes.
        change: SecretChange,
    },
    /// Adds a version to a secret.
    AddVersion {
        /// The secret.
        secret: SecretId,
        /// The version's number: one more than the highest that there ever was.
        number: u64,
        /// Its payload.
        payload: SealedPayload,
        /// Whether those who follow the secret get it from now on.
        current: bool,
    },
    /// Removes a version that nothing needs and that is not the current one.
    RemoveVersion {
        /// The secret.
        secret: SecretId,
        /// The version's number.
        number: u64,
    },
    /// Removes a secret that nothing refers to.
    RemoveSecret {
        /// The secret.
        secret: SecretId,
    },
    /// Creates a service.
    CreateService {
        /// Its id.
        service: ServiceId,
        /// Its name: unique, formed as a secret's.
        name: String,
        /// Its labels.
        labels: Labels,
        /// The secrets that its tasks get.
        references: Vec<Reference>,
    },
    /// Replaces a service's labels and references. Running tasks keep what they have.
    UpdateService {
        /// The service.
        service: ServiceId,
        /// Its version, as it was read.
        version: u64,
        /// Its labels from now on.
        labels: Labels,
        /// Its references from now on; the present ones become the previous.
        references: Vec<Reference>,
    },
    /// Exchanges a service's references for the previous ones.
    RollbackService {
        /// The service.
        service: ServiceId,
        /// Its version, as it was read.
        version: u64,
    },
    /// Removes a service that has no task.
    RemoveService {
        /// The service.
        service: ServiceId,
    },
    /// Creates a task, with the versions that its service's references mean at this moment.
    CreateTask {
        /// Its id.
        task: TaskId,
        /// Its service.
        service: ServiceId,
        /// Its node, if it has one already.
        node: Option<NodeId>,
        /// How far it is.
        state: TaskState,
    },
    /// Takes a task on, and gives it a node if it has none.
    UpdateTask {
        /// The task.
        task: TaskId,
        /// Its node; `None` leaves it as it is.
        node: Option<NodeId>,
        /// How far it is.
        state: TaskState,
    },
    /// Gives a live task, in place, what a new task of its service would get.
    RefreshTask {
        /// The task.
        task: TaskId,
    },
    /// Removes a task.
    RemoveTask {
        /// The task.
        task: TaskId,
    },
    /// Adds a node, or replaces its labels and key.
    PutNode {
        /// The node.
        node: NodeId,
        /// Its labels.
        labels: Labels,
        /// What deliveries are sealed to, if they are to be.
        public_key: Option<NodePublicKey>,
    },
    /// Notes which keys a node is on.
    ReportKeys {
        /// The node.
        node: NodeId,
        /// What it reports.
        report: KeyReport,
    },
    /// Removes a node that has no task.
    RemoveNode {
        /// The node.
        node: NodeId,
    },
    /// Notes that an object of the author's own refers to these secrets, instead of those before.
    PutReferrer {
        /// The object.
        referrer: Referrer,
        /// The secrets.
        secrets: Vec<SecretId>,
    },
    /// Notes that the object refers to no secret any more.
    RemoveReferrer {
        /// The object.
        referrer: Referrer,
    },
    /// Replaces the cluster's lock record, by one of a higher version.
    SetLock {
        /// The record.
        record: Arc<LockRecord>,
        /// Whether the key of a locked cluster is replaced: refused if the cluster is not locked.
        rotation: bool,
    },
    /// Brings a new payload key, under which all payloads will be sealed anew
    /// ([`Cluster::reseal`](super::Cluster::reseal)).
    AddPayloadKey {
        /// The key, of the version that comes next.
        key: PayloadKey,
        /// Whether the keys before count as exposed.
        exposed: bool,
    },
    /// Replaces payloads by the same ones under the current payload key.
    Reseal {
        /// What is replaced.
        payloads: Vec<Resealed>,
    },
    /// Makes the lock record's pending unlock key the only one. Made by
    /// [`Cluster::confirm_unlock_key`](super::Cluster::confirm_unlock_key), for an operator who has
    /// typed it.
    ConfirmUnlockKey {
        /// Version of the lock record with the pending key.
        version: u64,
    },
    /// Drops the lock record's pending unlock key.
    WithdrawUnlockKey {
        /// Version of the lock record with the pending key.
        version: u64,
    },
}

choice!(Request {
    0 => CreateSecret { secret, name, labels, internal, dates, selector, payload },
    1 => UpdateSecret { secret, version, change },
    2 => AddVersion { secret, number, payload, current },
    3 => RemoveVersion { secret, number },
    4 => RemoveSecret { secret },
    5 => CreateService { service, name, labels, references },
    6 => UpdateService { service, version, labels, references },
    7 => RollbackService { service, version },
    8 => RemoveService { service },
    9 => CreateTask { task, service, node, state },
    10 => UpdateTask { task, node, state },
    11 => RefreshTask { task },
    12 => RemoveTask { task },
    13 => PutNode { node, labels, public_key },
    14 => ReportKeys { node, report },
    15 => RemoveNode { node },
    16 => PutReferrer { referrer, secrets },
    17 => RemoveReferrer { referrer },
    18 => SetLock { record, rotation },
    19 => AddPayloadKey { key, exposed },
    20 => Reseal { payloads },
    21 => ConfirmUnlockKey { version },
    22 => WithdrawUnlockKey { version },
});

impl Request {
    fn payload_len(&self) -> usize {
        match self {
            Self::CreateSecret { payload, .. } | Self::AddVersion { payload, .. } => {
                payload.sealed_len()
            }
            Self::Reseal { payloads } => {
                payloads.iter().map(|resealed| 128 + resealed.payload.sealed_len()).sum()
            }
            _ => 0,
        }
    }
}

/// What changes of a secret.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SecretChange {
    /// Its labels: these instead of those before.
    Labels(Labels),
    /// When it ought to be replaced.
    Dates(Dates),
    /// Who may have it. A node that may not have it any more loses it.
    Selector(Selector),
    /// The version that those who follow it get from now on: a later one, or again an earlier one.
    Current(u64),
}

choice!(SecretChange {
    0 => Labels(labels),
    1 => Dates(dates),
    2 => Selector(selector),
    3 => Current(number),
});

/// A payload under the current payload key, and what it replaces. Made by
/// [`Cluster::reseal`](super::Cluster::reseal).
#[derive(Debug, Clone)]
pub struct Resealed {
    pub(super) secret: SecretId,
    pub(super) number: u64,
    /// Version of the payload key that it was sealed under.
    pub(super) from: u64,
    pub(super) payload: SealedPayload,
}

record!(Resealed { secret, number, from, payload });

impl Wire for LockRecord {
    fn put(&self, out: &mut SecretBytes) {
        self.encode().put(out);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        Self::decode(input.bytes()?)
    }
}
