//! What a change of the state means for the nodes' assignments.

use std::sync::Arc;

use super::Step;
use crate::audit::Action;
use crate::cluster::Cluster;
use crate::cluster::few::Few;
use crate::cluster::node::Touched;
use crate::cluster::object::Task;
use crate::grant::{Follow, Grant, NodeId, Reference, SecretId, TaskId};

/// What a task had on its node before something changed.
pub(super) struct Seen {
    task: TaskId,
    node: NodeId,
    grants: Option<Arc<[Grant]>>,
}

impl Cluster {
    /// The grants whose files a task has on its node at this moment: those of its generation that
    /// the policies allow, while it is in a state that needs them.
    pub(in crate::cluster) fn effective(&self, task: &Task) -> Option<Arc<[Grant]>> {
        if !task.state.needs_secrets() {
            return None;
        }
        let node = self.nodes.get(task.node.as_ref()?)?;
        let service = self.services.get(&task.service)?;
        let grants = &service.generations.get(&task.generation)?.grants;
        let allowed = |grant: &&Grant| {
            self.secrets.get(&grant.secret).is_some_and(|secret| {
                secret.selector.allows_service(&service.labels)
                    && secret.selector.allows_node(&node.labels)
            })
        };
        match grants.iter().filter(allowed).count() {
            0 => None,
            all if all == grants.len() => Some(Arc::clone(grants)),
            _ => Some(grants.iter().filter(allowed).cloned().collect()),
        }
    }

    /// What references mean at this moment.
    pub(in crate::cluster) fn resolve(&self, references: &[Reference]) -> Vec<Grant> {
        let grant = |reference: &Reference| {
            let version = match reference.follow {
                Follow::Pinned(number) => number,
                Follow::Current => self.secrets.get(&reference.secret)?.current,
            };
            Some(Grant {
                secret: reference.secret.clone(),
                version,
                target: reference.target.clone(),
                uid: reference.uid,
                gid: reference.gid,
                mode: reference.mode,
            })
        };
        references.iter().filter_map(grant).collect()
    }

    /// Counts what the tasks of a node need, unless that was done before.
    fn count_held(&mut self, id: &NodeId) {
        let Some(node) = self.nodes.get(id) else { return };
        if node.held.is_some() {
            return;
        }
        let mut held = Few::new();
        for task in node.tasks.keys().filter_map(|task| self.tasks.get(task)) {
            let grants = self.effective(task);
            for (secret, version) in needed(grants.as_deref()) {
                *held.get_or_default(&(secret.clone(), version)) += 1;
            }
        }
        if let Some(node) = self.node_mut(id) {
            node.held = Some(held);
        }
    }
}

impl Step<'_> {
    /// What `task` has on `node` before something changes. Whoever looks settles afterwards.
    pub(super) fn look(&mut self, task: &TaskId, node: &NodeId) -> Seen {
        self.state.count_held(node);
        let grants = self.state.tasks.get(task).and_then(|task| self.state.effective(task));
        Seen { task: task.clone(), node: node.clone(), grants }
    }

    /// As [`Step::look`], for those of `tasks` that have a node.
    pub(super) fn look_at_all(&mut self, tasks: Vec<TaskId>) -> Vec<Seen> {
        let mut seen = Vec::new();
        for task in tasks {
            if let Some(node) = self.state.tasks.get(&task).and_then(|task| task.node.clone()) {
                seen.push(self.look(&task, &node));
            }
        }
        seen
    }

    /// Compares with what the tasks have now, and notes the difference for their nodes.
    pub(super) fn settle_all(&mut self, seen: impl IntoIterator<Item = Seen>) {
        seen.into_iter().for_each(|seen| self.settle(&seen));
    }

    fn settle(&mut self, seen: &Seen) {
        let Seen { task, node: id, grants: before } = seen;
        let after = self.state.tasks.get(task).and_then(|task| self.state.effective(task));
        if *before == after {
            return;
        }
        let (had, has) = (needed(before.as_deref()), needed(after.as_deref()));
        let index = self.index;
        let Some(node) = self.state.node_mut(id) else { return };
        node.sequence = index;
        let held = node.held.get_or_insert_default();
        let (come, gone) = (without(&has, &had), without(&had, &has));
        for &(secret, version) in &come {
            let count = held.get_or_default(&(secret.clone(), version));
            *count += 1;
            if *count == 1 {
                node.journal.note(index, Touched::Secret(secret.clone(), version));
            }
        }
        for &(secret, version) in &gone {
            let key = (secret.clone(), version);
            match held.get_mut(&key) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    held.remove(&key);
                    node.journal.note(index, Touched::Secret(key.0, version));
                }
            }
        }
        node.journal.note(index, Touched::Task(task.clone()));
        self.woken.insert(id.clone());
        let come = come.into_iter().map(|what| (Action::Assigned, what));
        let gone = gone.into_iter().map(|what| (Action::Released, what));
        for (action, (secret, version)) in come.chain(gone) {
            let event = self.event(action);
            event.node = Some(id.clone());
            event.task = Some(task.clone());
            event.secret = Some(secret.clone());
            event.version = Some(version);
        }
    }
}

/// The versions of secrets that grants need, in order: one that is needed twice counts once a task.
pub(crate) fn needed(grants: Option<&[Grant]>) -> Vec<(&SecretId, u64)> {
    let grants = grants.unwrap_or_default();
    let mut all: Vec<_> = grants.iter().map(|grant| (&grant.secret, grant.version)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Those of `all` that are not among `others`, which are in order.
fn without<T: Ord + Copy>(all: &[T], others: &[T]) -> Vec<T> {
    all.iter().filter(|one| others.binary_search(one).is_err()).copied().collect()
}
