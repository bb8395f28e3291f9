//! The rules as plainly as they can be said: no index, no count, no sharing; everything is looked up
//! again each time.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::grant::{Grant, check_references};

#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) secrets: BTreeMap<SecretId, ModelSecret>,
    pub(super) services: BTreeMap<ServiceId, ModelService>,
    pub(super) tasks: BTreeMap<TaskId, ModelTask>,
    pub(super) nodes: BTreeMap<NodeId, Labels>,
    pub(super) referrers: BTreeMap<Referrer, Vec<SecretId>>,
}

#[derive(Clone)]
pub(super) struct ModelSecret {
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) selector: Selector,
    pub(super) index: u64,
    pub(super) current: u64,
    pub(super) last: u64,
    pub(super) versions: BTreeSet<u64>,
}

#[derive(Clone)]
pub(super) struct ModelService {
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) index: u64,
    pub(super) spec: Vec<Reference>,
    pub(super) previous: Option<Vec<Reference>>,
}

#[derive(Clone)]
pub(super) struct ModelTask {
    pub(super) service: ServiceId,
    pub(super) node: Option<NodeId>,
    pub(super) state: TaskState,
    pub(super) grants: Vec<Grant>,
}

/// What a node is to have: its tasks with their files.
pub(super) type View = BTreeMap<TaskId, Vec<Grant>>;

impl Model {
    fn allowed(&self, grant: &Grant, task: &ModelTask) -> bool {
        let selector = &self.secrets[&grant.secret].selector;
        selector.allows_service(&self.services[&task.service].labels)
            && task.node.as_ref().is_some_and(|node| selector.allows_node(&self.nodes[node]))
    }

    pub(super) fn view(&self, node: &NodeId) -> View {
        let here = self.tasks.iter().filter(|(_, task)| {
            task.node.as_ref() == Some(node)
                && task.state >= TaskState::Assigned
                && task.state <= TaskState::Running
        });
        here.map(|(id, task)| {
            let grants = task.grants.iter().filter(|grant| self.allowed(grant, task));
            (id.clone(), grants.cloned().collect::<Vec<_>>())
        })
        .filter(|(_, grants)| !grants.is_empty())
        .collect()
    }

    pub(super) fn resolve(&self, spec: &[Reference]) -> Vec<Grant> {
        spec.iter()
            .map(|r| Grant {
                secret: r.secret.clone(),
                version: match r.follow {
                    Follow::Pinned(number) => number,
                    Follow::Current => self.secrets[&r.secret].current,
                },
                target: r.target.clone(),
                uid: r.uid,
                gid: r.gid,
                mode: r.mode,
            })
            .collect()
    }

    /// Whether anything refers to the secret, or to this version of it.
    fn refers(&self, id: &SecretId, version: Option<u64>) -> bool {
        let wants = |r: &Reference| {
            r.secret == *id && version.is_none_or(|number| r.follow == Follow::Pinned(number))
        };
        let has = |g: &Grant| g.secret == *id && version.is_none_or(|number| g.version == number);
        self.services.values().any(|service| {
            service.spec.iter().any(wants) || service.previous.iter().flatten().any(wants)
        }) || self.tasks.values().any(|t| !t.state.has_ended() && t.grants.iter().any(has))
            || version.is_none() && self.referrers.values().any(|ids| ids.contains(id))
    }

    fn grantable(&self, labels: &Labels, references: &[Reference]) -> bool {
        check_references(references).is_ok()
            && references.iter().all(|r| {
                self.secrets.get(&r.secret).is_some_and(|secret| {
                    let pinned = match r.follow {
                        Follow::Pinned(number) => secret.versions.contains(&number),
                        Follow::Current => true,
                    };
                    secret.name == r.name && pinned && secret.selector.allows_service(labels)
                })
            })
    }

    fn placeable(&self, task: &ModelTask) -> bool {
        match &task.node {
            Some(node) => {
                self.nodes.contains_key(node) && task.grants.iter().all(|g| self.allowed(g, task))
            }
            None => !task.state.needs_secrets(),
        }
    }

    /// Whether the request is done; if not, nothing changed.
    pub(super) fn apply(&mut self, index: u64, request: &Request) -> bool {
        match request {
            Request::CreateSecret { secret, name, labels, selector, .. } => {
                let taken = self.secrets.values().any(|s| s.name.eq_ignore_ascii_case(name));
                if taken || self.secrets.contains_key(secret) || name.starts_with('-') {
                    return false;
                }
                let (name, labels, selector) = (name.clone(), labels.clone(), selector.clone());
                let versions = BTreeSet::from([1]);
                let (current, last) = (1, 1);
                let new = ModelSecret { name, labels, selector, index, current, last, versions };
                self.secrets.insert(secret.clone(), new);
            }
            Request::UpdateSecret { secret, version, change } => {
                let Some(found) = self.secrets.get_mut(secret) else { return false };
                if found.index != *version {
                    return false;
                }
                match change {
                    SecretChange::Labels(labels) => found.labels = labels.clone(),
                    SecretChange::Selector(selector) => found.selector = selector.clone(),
                    SecretChange::Current(number) if found.versions.contains(number) => {
                        found.current = *number;
                    }
                    SecretChange::Current(_) => return false,
                    SecretChange::Dates(_) => {}
                }
                found.index = index;
            }
            Request::AddVersion { secret, number, current, .. } => {
                let Some(found) = self.secrets.get_mut(secret) else { return false };
                if *number != found.last + 1 {
                    return false;
                }
                found.index = index;
                found.last = *number;
                found.versions.insert(*number);
                if *current {
                    found.current = *number;
                }
            }
            Request::RemoveVersion { secret, number } => {
                let used = self.refers(secret, Some(*number));
                let Some(found) = self.secrets.get_mut(secret) else { return false };
                if used || found.current == *number || !found.versions.remove(number) {
                    return false;
                }
                found.index = index;
            }
            Request::RemoveSecret { secret } => {
                return !self.refers(secret, None) && self.secrets.remove(secret).is_some();
            }
            Request::CreateService { service, name, labels, references } => {
                let taken = self.services.values().any(|s| s.name.eq_ignore_ascii_case(name));
                if taken
                    || self.services.contains_key(service)
                    || !self.grantable(labels, references)
                {
                    return false;
                }
                let (name, labels, spec) = (name.clone(), labels.clone(), references.clone());
                let new = ModelService { name, labels, index, spec, previous: None };
                self.services.insert(service.clone(), new);
            }
            Request::UpdateService { service, version, labels, references } => {
                let fits = self.grantable(labels, references);
                let Some(found) = self.services.get_mut(service) else { return false };
                if found.index != *version || !fits {
                    return false;
                }
                found.index = index;
                found.labels = labels.clone();
                let old = core::mem::replace(&mut found.spec, references.clone());
                found.previous = Some(old);
            }
            Request::RollbackService { service, version } => {
                let Some(found) = self.services.get(service) else { return false };
                let Some(previous) = found.previous.clone() else { return false };
                if found.index != *version || !self.grantable(&found.labels, &previous) {
                    return false;
                }
                let found = self.services.get_mut(service).unwrap();
                found.index = index;
                let old = core::mem::replace(&mut found.spec, previous);
                found.previous = Some(old);
            }
            Request::RemoveService { service } => {
                let used = self.tasks.values().any(|task| task.service == *service);
                return !used && self.services.remove(service).is_some();
            }
            Request::CreateTask { task, service, node, state } => {
                let Some(found) = self.services.get(service) else { return false };
                let (service, node, state) = (service.clone(), node.clone(), *state);
                let grants = self.resolve(&found.spec);
                let new = ModelTask { service, node, state, grants };
                let placeable = self.placeable(&new);
                if self.tasks.contains_key(task) || state.has_ended() || !placeable {
                    return false;
                }
                self.tasks.insert(task.clone(), new);
            }
            Request::UpdateTask { task, node, state } => {
                let Some(old) = self.tasks.get(task) else { return false };
                let moved = old.node.is_some() && node.is_some() && old.node != *node;
                if moved || *state < old.state {
                    return false;
                }
                let mut new = old.clone();
                new.state = *state;
                new.node = old.node.clone().or_else(|| node.clone());
                let there = new.node.as_ref().is_none_or(|node| self.nodes.contains_key(node));
                let decided = old.node.is_some() && old.state.needs_secrets();
                let fits = decided || state.has_ended() || self.placeable(&new);
                if !there || !fits {
                    return false;
                }
                self.tasks.insert(task.clone(), new);
            }
            Request::RefreshTask { task } => {
                let Some(old) = self.tasks.get(task).cloned() else { return false };
                let grants = self.resolve(&self.services[&old.service].spec);
                let new = ModelTask { grants, ..old };
                if new.state.has_ended() || !self.placeable(&new) {
                    return false;
                }
                self.tasks.insert(task.clone(), new);
            }
            Request::RemoveTask { task } => return self.tasks.remove(task).is_some(),
            Request::PutNode { node, labels, .. } => {
                self.nodes.insert(node.clone(), labels.clone());
            }
            Request::ReportKeys { node, .. } => return self.nodes.contains_key(node),
            Request::RemoveNode { node } => {
                let used = self.tasks.values().any(|task| task.node.as_ref() == Some(node));
                return !used && self.nodes.remove(node).is_some();
            }
            Request::PutReferrer { referrer, secrets } => {
                if !secrets.iter().all(|id| self.secrets.contains_key(id)) {
                    return false;
                }
                self.referrers.insert(referrer.clone(), secrets.clone());
            }
            Request::RemoveReferrer { referrer } => {
                return self.referrers.remove(referrer).is_some();
            }
            Request::SetLock { .. } | Request::AddPayloadKey { .. } | Request::Reseal { .. } => {}
            // The model has no lock record.
            Request::ConfirmUnlockKey { .. } | Request::WithdrawUnlockKey { .. } => return false,
        }
        true
    }
}
