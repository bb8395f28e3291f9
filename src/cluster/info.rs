//! What lists and inspections return: types without a field for a payload.

use super::Cluster;
use super::keys::PayloadKeyInfo;
use super::map::{Key, Map};
use super::node::{KeyReport, Node};
use super::object::{Dates, Secret, Service, Task, TaskState};
use super::policy::{Labels, Required, Selector, has};
use crate::grant::{
    Folded, Grant, NodeId, NodePublicKey, Reference, SecretId, ServiceId, TaskId, Time,
};
use crate::key::LockRecord;

#[cfg(feature = "serde")]
mod docker;

/// A secret, but for its payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretInfo {
    /// Its id.
    pub id: SecretId,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Whether lists leave it out.
    pub internal: bool,
    /// Its version: the index of the command that changed it last, which an update must name.
    pub index: u64,
    /// When it was created.
    pub created: Time,
    /// When it was changed last.
    pub updated: Time,
    /// When it ought to be replaced.
    pub dates: Dates,
    /// Who may have it.
    pub selector: Selector,
    /// The version that those who follow it get.
    pub current: u64,
    /// The number that the next version will have.
    pub next: u64,
    /// Its versions, in the order of their numbers.
    pub versions: Vec<VersionInfo>,
}

/// A version of a secret, but for its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "PascalCase"))]
#[non_exhaustive]
pub struct VersionInfo {
    /// Its number.
    pub number: u64,
    /// When it was added.
    pub created: Time,
    /// How long the payload is, in bytes.
    pub size: usize,
    /// Version of the payload key that it is sealed under.
    pub key: u64,
}

impl From<&Secret> for SecretInfo {
    fn from(secret: &Secret) -> Self {
        let versions = secret.versions.iter().map(|(number, version)| VersionInfo {
            number: *number,
            created: version.created,
            size: version.payload.payload_len(),
            key: version.payload.key_version(),
        });
        Self {
            id: secret.id.clone(),
            name: secret.name.to_string(),
            labels: secret.labels.clone(),
            internal: secret.internal,
            index: secret.meta.index,
            created: secret.meta.created,
            updated: secret.meta.updated,
            dates: secret.dates,
            selector: secret.selector.clone(),
            current: secret.current,
            next: secret.last.saturating_add(1),
            versions: versions.collect(),
        }
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub struct ServiceInfo {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its version: the index of the command that changed it last, which an update must name.
    pub index: u64,
    /// When it was created.
    pub created: Time,
    /// When it was changed last.
    pub updated: Time,
    /// The secrets that new tasks get.
    pub references: Vec<Reference>,
    /// What a rollback brings back.
    pub previous: Option<Vec<Reference>>,
    /// How many tasks it has.
    pub tasks: usize,
}

impl From<&Service> for ServiceInfo {
    fn from(service: &Service) -> Self {
        Self {
            id: service.id.clone(),
            name: service.name.to_string(),
            labels: service.labels.clone(),
            index: service.meta.index,
            created: service.meta.created,
            updated: service.meta.updated,
            references: service.spec.to_vec(),
            previous: service.previous.as_ref().map(|spec| spec.to_vec()),
            tasks: service.tasks.len(),
        }
    }
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its id.
    pub id: TaskId,
    /// Its service.
    pub service: ServiceId,
    /// Its node.
    pub node: Option<NodeId>,
    /// How far it is.
    pub state: TaskState,
    /// What it was granted; nothing once it has ended.
    pub grants: Vec<Grant>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Its id.
    pub id: NodeId,
    /// Its labels.
    pub labels: Labels,
    /// Index of the command that changed its labels or its key last.
    pub index: u64,
    /// When it was added.
    pub created: Time,
    /// When its labels or its key were changed last.
    pub updated: Time,
    /// What deliveries are sealed to.
    pub public_key: Option<NodePublicKey>,
    /// Which keys it said that it is on.
    pub keys: Option<KeyReport>,
    /// Sequence of its assignment.
    pub sequence: u64,
    /// How many tasks it has.
    pub tasks: usize,
}

impl From<&Node> for NodeInfo {
    fn from(node: &Node) -> Self {
        Self {
            id: node.id.clone(),
            labels: node.labels.clone(),
            index: node.meta.index,
            created: node.meta.created,
            updated: node.meta.updated,
            public_key: node.public_key,
            keys: node.keys,
            sequence: node.sequence,
            tasks: node.tasks.len(),
        }
    }
}

/// Which secrets a list shows: those that any of ids, names and prefixes fits, or all if there are
/// none; of these, the ones that have all labels.
#[derive(Debug, Clone, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers make it field by field")]
pub struct Filter {
    /// Beginnings of ids.
    pub ids: Vec<String>,
    /// Whole names, whatever their case.
    pub names: Vec<String>,
    /// Beginnings of names.
    pub name_prefixes: Vec<String>,
    /// Labels that there must be.
    pub labels: Required,
    /// Whether internal secrets are shown too.
    pub internal: bool,
}

impl Filter {
    fn shows(&self, secret: &Secret) -> bool {
        let Self { ids, names, name_prefixes, labels, internal } = self;
        let any = ids.is_empty() && names.is_empty() && name_prefixes.is_empty();
        let fits = any
            || ids.iter().any(|id| secret.id.as_str().starts_with(id.as_str()))
            || names.iter().any(|name| name.eq_ignore_ascii_case(&secret.name))
            || name_prefixes.iter().any(|prefix| secret.name.starts_with(prefix.as_str()));
        fits && has(&secret.labels, labels) && (*internal || !secret.internal)
    }
}

/// What a person's word for an object leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is one, none, or more")]
pub enum Found<T> {
    /// One object.
    One(T),
    /// None.
    None,
    /// Several: the beginning of so many ids.
    Several(usize),
}

impl Cluster {
    /// The secrets that `filter` shows, in the order of their names.
    #[must_use]
    pub fn secrets(&self, filter: &Filter) -> Vec<SecretInfo> {
        // In the order of the folded names, which are unique.
        let all = self.secret_names.values().filter_map(|id| self.secrets.get(id));
        all.filter(|secret| filter.shows(secret))
            .map(|secret| SecretInfo::from(&**secret))
            .collect()
    }

    /// The secret of this id.
    #[must_use]
    pub fn secret(&self, id: &SecretId) -> Option<SecretInfo> {
        self.secrets.get(id).map(|secret| SecretInfo::from(&**secret))
    }

    /// The secret that a person means by `word`: one of this id, else of this name whatever its
    /// case, else one whose id begins so.
    #[must_use]
    pub fn find_secret(&self, word: &str) -> Found<SecretInfo> {
        let id = SecretId::new(word).ok().filter(|id| self.secrets.contains(id));
        let id = id.or_else(|| self.secret_names.get(&Folded::new(word)?).cloned());
        find(id, word, &self.secrets, SecretId::as_str, |secret| SecretInfo::from(&**secret))
    }

    /// The services, in the order of their names.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceInfo> {
        let all = self.service_names.values().filter_map(|id| self.services.get(id));
        all.map(|service| ServiceInfo::from(&**service)).collect()
    }

    /// The service of this id.
    #[must_use]
    pub fn service(&self, id: &ServiceId) -> Option<ServiceInfo> {
        self.services.get(id).map(|service| ServiceInfo::from(&**service))
    }

    /// As [`Cluster::find_secret`], for a service.
    #[must_use]
    pub fn find_service(&self, word: &str) -> Found<ServiceInfo> {
        let id = ServiceId::new(word).ok().filter(|id| self.services.contains(id));
        let id = id.or_else(|| self.service_names.get(&Folded::new(word)?).cloned());
        find(id, word, &self.services, ServiceId::as_str, |service| ServiceInfo::from(&**service))
    }

    /// The tasks of a service, in the order of their ids.
    #[must_use]
    pub fn tasks_of(&self, service: &ServiceId) -> Vec<TaskInfo> {
        let ids = self.services.get(service).into_iter().flat_map(|service| service.tasks.keys());
        ids.filter_map(|id| self.task(id)).collect()
    }

    /// The tasks of a service that have other versions or files than a new task would get: those
    /// that a rollout has yet to replace or refresh.
    #[must_use]
    pub fn tasks_behind(&self, service: &ServiceId) -> Vec<TaskId> {
        let Some(service) = self.services.get(service) else { return Vec::new() };
        let wanted = self.resolve(&service.spec);
        let behind = |task: &Task| {
            let generation = service.generations.get(&task.generation);
            generation.is_some_and(|generation| *generation.grants != *wanted)
        };
        let tasks = service.tasks.keys();
        tasks.filter(|id| self.tasks.get(*id).is_some_and(&behind)).cloned().collect()
    }

    /// The task of this id.
    #[must_use]
    pub fn task(&self, id: &TaskId) -> Option<TaskInfo> {
        let task = self.tasks.get(id)?;
        let service = self.services.get(&task.service);
        let generation = service.and_then(|service| service.generations.get(&task.generation));
        Some(TaskInfo {
            id: id.clone(),
            service: task.service.clone(),
            node: task.node.clone(),
            state: task.state,
            grants: generation.map(|generation| generation.grants.to_vec()).unwrap_or_default(),
        })
    }

    /// The nodes, in the order of their ids.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeInfo> {
        self.nodes.values().map(|node| NodeInfo::from(&**node)).collect()
    }

    /// The node of this id.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<NodeInfo> {
        self.nodes.get(id).map(|node| NodeInfo::from(&**node))
    }

    /// The cluster's lock record, with which every node reconciles its key file.
    #[must_use]
    pub fn lock_record(&self) -> Option<&LockRecord> {
        self.keys.lock.as_deref()
    }

    /// The payload keys, the current one last.
    #[must_use]
    pub fn payload_keys(&self) -> Vec<PayloadKeyInfo> {
        self.keys.payload.iter().map(PayloadKeyInfo::from).collect()
    }
}

fn find<K: Key + Clone, V: Clone, T>(
    id: Option<K>,
    word: &str,
    all: &Map<K, V>,
    text: impl Fn(&K) -> &str,
    info: impl Fn(&V) -> T,
) -> Found<T> {
    if let Some(found) = id.and_then(|id| all.get(&id)) {
        return Found::One(info(found));
    }
    let begins = |(id, _): &(&K, &V)| !word.is_empty() && text(id).starts_with(word);
    let mut hits = all.iter().filter(begins);
    match (hits.next(), hits.count()) {
        (None, _) => Found::None,
        (Some((_, only)), 0) => Found::One(info(only)),
        (Some(_), more) => Found::Several(more + 1),
    }
}
