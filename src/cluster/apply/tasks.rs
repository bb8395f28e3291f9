use std::sync::Arc;

use super::assign::Seen;
use super::{Done, Step};
use crate::cluster::Cluster;
use crate::cluster::object::{Generation, Service, Task, TaskState};
use crate::cluster::outcome::{Kind, Refusal};
use crate::grant::{Grant, NodeId, ServiceId, TaskId};

impl Step<'_> {
    pub(super) fn create_task(
        &mut self,
        id: TaskId,
        service: &ServiceId,
        node: Option<&NodeId>,
        state: TaskState,
    ) -> Done {
        if self.state.tasks.contains(&id) {
            return Err(Refusal::exists(Kind::Task, id));
        }
        if state.has_ended() {
            return Err(Refusal::invalid("a task is not created after its end"));
        }
        let found = self.service(service)?;
        let grants = self.state.resolve(&found.spec);
        self.check_assignment(found, &grants, node, state)?;
        let seen = node.map(|node| self.look(&id, node));
        let generation = self.enter_generation(service, grants);
        let Some(service) = self.state.service_mut(service) else { return Ok(()) };
        service.tasks.insert(id.clone(), ());
        let service = service.id.clone();
        let node = node.and_then(|node| self.state.join(node, &id));
        let task = Task { service, node, state, generation, index: self.index };
        self.state.tasks.insert(id, task);
        self.settle_all(seen);
        Ok(())
    }

    pub(super) fn update_task(
        &mut self,
        id: &TaskId,
        node: Option<&NodeId>,
        state: TaskState,
    ) -> Done {
        let task = self.task(id)?.clone();
        if state < task.state {
            return Err(Refusal::invalid("a task never goes back to an earlier state"));
        }
        let node = match (&task.node, node) {
            (Some(has), Some(given)) if has != given => {
                return Err(Refusal::invalid("a task never moves to another node"));
            }
            (Some(has), _) => Some(has),
            (None, given) => given,
        };
        let index = self.index;
        // Where it has its secrets already, and keeps them, nothing is decided.
        if task.node.is_some() && task.state.needs_secrets() && state.needs_secrets() {
            if let Some(task) = self.state.task_mut(id) {
                task.state = state;
                task.index = index;
            }
            return Ok(());
        }
        let comes = task.node.is_none() || !task.state.needs_secrets();
        if comes && !state.has_ended() {
            let service = self.service(&task.service)?;
            let grants = service.generations.get(&task.generation);
            let grants = grants.map(|generation| Arc::clone(&generation.grants));
            self.check_assignment(service, grants.as_deref().unwrap_or_default(), node, state)?;
        } else if let Some(node) = node
            && !self.state.nodes.contains(node)
        {
            return Err(Refusal::not_found(Kind::Node, node));
        }
        let seen = node.map(|node| self.look(id, node));
        let joined = match (&task.node, node) {
            (None, Some(node)) => self.state.join(node, id),
            (has, _) => has.clone(),
        };
        if let Some(task) = self.state.task_mut(id) {
            task.node = joined;
            task.state = state;
            task.index = index;
        }
        if state.has_ended() {
            self.leave_generation(id);
        }
        self.settle_all(seen);
        Ok(())
    }

    pub(super) fn refresh_task(&mut self, id: &TaskId) -> Done {
        let task = self.task(id)?.clone();
        if task.state.has_ended() {
            return Err(Refusal::State(format!("task {id} has ended")));
        }
        let service = self.service(&task.service)?;
        let grants = self.state.resolve(&service.spec);
        self.check_assignment(service, &grants, task.node.as_ref(), task.state)?;
        let seen = task.node.as_ref().map(|node| self.look(id, node));
        // First in, then out: the generation may be the same one.
        let generation = self.enter_generation(&task.service, grants);
        self.leave_generation(id);
        let index = self.index;
        if let Some(task) = self.state.task_mut(id) {
            task.generation = generation;
            task.index = index;
        }
        self.settle_all(seen);
        Ok(())
    }

    pub(super) fn remove_task(&mut self, id: &TaskId) -> Done {
        let task = self.task(id)?.clone();
        let seen: Option<Seen> = task.node.as_ref().map(|node| self.look(id, node));
        self.leave_generation(id);
        self.state.tasks.remove(id);
        if let Some(service) = self.state.service_mut(&task.service) {
            service.tasks.remove(id);
        }
        if let Some(node) = task.node.as_ref().and_then(|node| self.state.node_mut(node)) {
            node.tasks.remove(id);
        }
        self.settle_all(seen);
        Ok(())
    }

    /// Whether a task with `grants` may be on `node`, and be in `state` there.
    fn check_assignment(
        &self,
        service: &Service,
        grants: &[Grant],
        node: Option<&NodeId>,
        state: TaskState,
    ) -> Done {
        let Some(id) = node else {
            if state.needs_secrets() {
                return Err(Refusal::invalid("a task in this state has a node"));
            }
            return Ok(());
        };
        let node = self.state.nodes.get(id).ok_or_else(|| Refusal::not_found(Kind::Node, id))?;
        for grant in grants {
            let secret = self.secret(&grant.secret)?;
            let denied = if !secret.selector.allows_service(&service.labels) {
                (Kind::Service, service.name.to_string())
            } else if !secret.selector.allows_node(&node.labels) {
                (Kind::Node, id.to_string())
            } else {
                continue;
            };
            let (kind, name) = denied;
            return Err(Refusal::Denied { secret: secret.name.to_string(), kind, name });
        }
        Ok(())
    }

    /// Counts one more task of the generation with these grants: the last one, or a new one.
    fn enter_generation(&mut self, service: &ServiceId, grants: Vec<Grant>) -> u64 {
        let Some(service) = self.state.service_mut(service) else { return 0 };
        let last = service.last_generation;
        if let Some(generation) = service.generations.get_mut(&last)
            && *generation.grants == *grants
        {
            generation.tasks += 1;
            return last;
        }
        // Its secrets are the current references' too: nobody refers to more than before.
        service.last_generation += 1;
        let generation = Generation { grants: grants.into(), tasks: 1 };
        service.generations.insert(service.last_generation, generation);
        service.last_generation
    }

    /// Counts the task no more, and forgets its generation if it was the last one of it.
    fn leave_generation(&mut self, id: &TaskId) {
        let Some(task) = self.state.task_mut(id) else { return };
        let generation = core::mem::take(&mut task.generation);
        let service = task.service.clone();
        let Some(found) = self.state.service_mut(&service) else { return };
        match found.generations.get_mut(&generation) {
            Some(left) if left.tasks > 1 => left.tasks -= 1,
            Some(_) => self.edit_service(&service, |service| {
                service.generations.remove(&generation);
            }),
            None => {}
        }
    }
}

impl Cluster {
    /// Puts a task on a node's list; gives the node's id in the memory that the node holds it in.
    fn join(&mut self, node: &NodeId, task: &TaskId) -> Option<NodeId> {
        let node = self.node_mut(node)?;
        node.tasks.insert(task.clone(), ());
        Some(node.id.clone())
    }
}
