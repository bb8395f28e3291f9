//! What a node is to be sent, and the only place where payloads are opened.

use std::collections::BTreeSet;

use super::Cluster;
use super::apply::needed;
use super::node::Touched;
use super::payload::{PayloadKey, SealedPayload};
use crate::audit::{Action, Event, Sink};
use crate::error::Result;
use crate::grant::{
    Assignment, Change, Grant, NodeId, NodePublicKey, Scope, SecretId, TaskId, Time,
};

/// An assignment whose payloads are still sealed. It is apart from the state, so that the state is
/// not held while payloads are opened.
#[derive(Debug)]
pub struct Dispatch {
    node: NodeId,
    public_key: Option<NodePublicKey>,
    scope: Scope,
    sequence: u64,
    secrets: Vec<Payload>,
    tasks: Vec<(TaskId, Vec<Grant>)>,
    tasks_removed: Vec<TaskId>,
    secrets_removed: Vec<(SecretId, u64)>,
}

#[derive(Debug)]
struct Payload {
    secret: SecretId,
    version: u64,
    sealed: SealedPayload,
    key: PayloadKey,
}

impl Cluster {
    /// What `node` is to be sent: the changes since the assignment of the sequence `since`, or all
    /// of it if `since` is `None` or too long ago. `None` if there is no such node.
    ///
    /// A manager calls it for the node that its transport has authenticated. It gives what tasks on
    /// that node were granted and policies allow, and nothing else can be asked for.
    #[must_use]
    pub fn dispatch(&self, node: &NodeId, since: Option<u64>) -> Option<Dispatch> {
        let found = self.nodes.get(node)?;
        let mut dispatch = Dispatch {
            node: node.clone(),
            public_key: found.public_key,
            scope: Scope::Complete,
            sequence: found.sequence,
            secrets: Vec::new(),
            tasks: Vec::new(),
            tasks_removed: Vec::new(),
            secrets_removed: Vec::new(),
        };
        let known = since.filter(|since| *since <= found.sequence);
        if let Some((since, touched)) =
            known.and_then(|since| Some((since, found.journal.after(since)?)))
        {
            dispatch.scope = Scope::Since(since);
            let held = found.held.as_ref();
            for touched in touched.collect::<BTreeSet<_>>() {
                match touched {
                    Touched::Secret(secret, version) => {
                        let key = (secret.clone(), *version);
                        if held.is_some_and(|held| held.contains(&key)) {
                            dispatch.secrets.extend(self.payload(secret, *version));
                        } else {
                            dispatch.secrets_removed.push(key);
                        }
                    }
                    Touched::Task(task) => match self.granted(node, task) {
                        Some(grants) => dispatch.tasks.push((task.clone(), grants)),
                        None => dispatch.tasks_removed.push(task.clone()),
                    },
                }
            }
        } else {
            for task in found.tasks.keys() {
                let grants = self.granted(node, task);
                dispatch.tasks.extend(grants.map(|grants| (task.clone(), grants)));
            }
            let grants = dispatch.tasks.iter().map(|(_, grants)| &**grants);
            let all: BTreeSet<_> = grants.flat_map(|grants| needed(Some(grants))).collect();
            dispatch.secrets =
                all.into_iter().filter_map(|(id, number)| self.payload(id, number)).collect();
        }
        Some(dispatch)
    }

    /// What a task has on this node: one of the same id may since be on another.
    fn granted(&self, node: &NodeId, task: &TaskId) -> Option<Vec<Grant>> {
        let task = self.tasks.get(task).filter(|task| task.node.as_ref() == Some(node))?;
        self.effective(task).map(|grants| grants.to_vec())
    }

    fn payload(&self, id: &SecretId, version: u64) -> Option<Payload> {
        let sealed = self.secrets.get(id)?.versions.get(&version)?.payload.clone();
        let key = self.keys.get(sealed.key_version())?.key.clone();
        Some(Payload { secret: id.clone(), version, sealed, key })
    }
}

impl Dispatch {
    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let removed = self.tasks_removed.is_empty() && self.secrets_removed.is_empty();
        self.secrets.is_empty() && self.tasks.is_empty() && removed
    }

    /// From where the changes lead.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// Where they lead to.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What the node has its deliveries sealed to, if it told.
    #[must_use]
    pub const fn public_key(&self) -> Option<&NodePublicKey> {
        self.public_key.as_ref()
    }

    /// The versions of secrets whose payloads it holds.
    pub fn secrets(&self) -> impl Iterator<Item = (&SecretId, u64)> {
        self.secrets.iter().map(|payload| (&payload.secret, payload.version))
    }

    /// Opens the payloads, to send them. Each opening is told to `sink` before it happens, as asked
    /// for by `by` at the time `at`.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthentic`](crate::Error::Unauthentic) if a payload was altered; the sink's error.
    /// Nothing is given out then.
    pub fn open(self, at: Time, by: &str, sink: &dyn Sink) -> Result<Assignment> {
        let mut changes = Vec::with_capacity(self.secrets.len() + self.tasks.len());
        for Payload { secret, version, sealed, key } in self.secrets {
            let mut event = Event::new(Action::PayloadOpened, at);
            by.clone_into(&mut event.by);
            event.secret = Some(secret.clone());
            event.version = Some(version);
            event.node = Some(self.node.clone());
            sink.record(&event)?;
            let payload = key.open(&secret, version, &sealed)?;
            changes.push(Change::Secret { secret, version, payload });
        }
        let tasks = self.tasks.into_iter();
        changes.extend(tasks.map(|(task, grants)| Change::Task { task, grants }));
        let tasks = self.tasks_removed.into_iter();
        changes.extend(tasks.map(|task| Change::TaskRemoved { task }));
        let secrets = self.secrets_removed.into_iter();
        changes.extend(secrets.map(|(secret, version)| Change::SecretRemoved { secret, version }));
        Ok(Assignment { node: self.node, scope: self.scope, sequence: self.sequence, changes })
    }
}
