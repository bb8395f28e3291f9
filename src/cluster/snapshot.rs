//! The whole state as bytes.
//!
//! Objects stand in the order of their ids; a task names its service and node by their place among
//! those. What follows from other objects is not written but linked anew: names, who refers to
//! what, the lists of tasks.

use std::collections::HashMap;
use std::sync::Arc;

use super::Cluster;
use super::folded;
use super::keys::{HeldKey, Keys, MAX_KEYS, StoredKey};
use super::map::{Key, Map};
use super::node::{Journal, Node};
use super::object::{Referrer, Secret, Service, Task, TaskState};
use crate::error::Result;
use crate::grant::wire::{self, Reader, Wire};
use crate::grant::{Follow, NodeId, SecretId, ServiceId, TaskId};
use crate::secret::SecretBytes;

const FORMAT: u8 = 1;
/// The fewest bytes that an object takes: that many objects a count may claim.
const LEAST: usize = 6;

impl Cluster {
    /// The state's bytes. The same state has the same bytes on every replica. Payloads stand in it
    /// as ciphertext.
    ///
    /// # Security
    ///
    /// The bytes hold the payload keys and the lock record: they are for sealed snapshots only.
    #[must_use]
    pub fn encode(&self) -> SecretBytes {
        let payloads = usize::try_from(self.counters.payload_bytes).unwrap_or(0);
        let objects = self.secrets.len() + self.services.len() + self.nodes.len();
        let estimate = payloads + 256 * objects + 48 * self.tasks.len() + 1024;
        wire::encode(FORMAT, self, estimate)
    }

    /// Reads what [`Cluster::encode`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`](crate::Error::Damaged) for bytes of another form, or if the objects
    /// contradict each other; [`Error::Unsupported`](crate::Error::Unsupported) for a later format.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        wire::decode("the cluster's state", FORMAT, bytes)
    }
}

impl Wire for Cluster {
    fn put(&self, out: &mut SecretBytes) {
        self.applied.put(out);
        self.keys.lock.put(out);
        wire::put_len(out, self.keys.payload.len());
        for held in &self.keys.payload {
            held.key.put(out);
            held.made.put(out);
            held.exposed.put(out);
        }
        put_values(out, &self.secrets);
        put_values(out, &self.services);
        put_values(out, &self.nodes);
        self.put_tasks(out);
        wire::put_len(out, self.referrers.len());
        for (referrer, secrets) in self.referrers.iter() {
            referrer.put(out);
            secrets.put(out);
        }
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        let mut state = Self { applied: input.u64()?, ..Self::default() };
        state.keys.lock = Option::get(input)?;
        for StoredKey { key, made, exposed } in Vec::<StoredKey>::get(input)? {
            let last = state.keys.current().map_or(0, |held| held.key.version());
            if key.version() <= last || state.keys.payload.len() == MAX_KEYS {
                return Err(input.damaged());
            }
            state.keys.payload.push(HeldKey { key, made, exposed, seals: Map::new() });
        }
        let mut secrets = get_values(input, |secret: &Secret| &secret.id)?;
        link_keys(&mut state.keys, &secrets).ok_or_else(|| input.damaged())?;
        let names = secrets.iter().map(|(id, s)| (folded(&s.name), id.clone())).collect();
        state.secret_names = unique(names).ok_or_else(|| input.damaged())?;
        state.counters.payload_bytes = secrets
            .iter()
            .flat_map(|(_, secret)| secret.versions.values())
            .map(|version| super::wide(version.payload.sealed_len()))
            .sum();

        let mut services = get_values(input, |service: &Service| &service.id)?;
        link_services(&mut secrets, &services).ok_or_else(|| input.damaged())?;
        let names = services.iter().map(|(id, s)| (folded(&s.name), id.clone())).collect();
        state.service_names = unique(names).ok_or_else(|| input.damaged())?;
        let mut nodes = get_values(input, |node: &Node| &node.id)?;
        state.tasks = get_tasks(input, &mut services, &mut nodes)?;
        state.referrers = get_referrers(input, &mut secrets)?;
        state.secrets = Map::from_sorted(secrets);
        state.services = Map::from_sorted(services);
        state.nodes = Map::from_sorted(nodes);
        Ok(state)
    }
}

impl Cluster {
    fn put_tasks(&self, out: &mut SecretBytes) {
        let place = |id: &str, at: usize| (id.as_ptr().addr(), super::wide(at));
        let services = self.services.keys().enumerate();
        let services: HashMap<_, _> = services.map(|(at, id)| place(id.as_str(), at)).collect();
        let nodes = self.nodes.keys().enumerate();
        let nodes: HashMap<_, _> = nodes.map(|(at, id)| place(id.as_str(), at + 1)).collect();
        wire::put_len(out, self.tasks.len());
        for (id, task) in self.tasks.iter() {
            id.put(out);
            // A task holds its service's and node's ids in the memory in which these do.
            let service = services.get(&task.service.as_str().as_ptr().addr());
            let node = task.node.as_ref().map(|node| nodes.get(&node.as_str().as_ptr().addr()));
            service.copied().unwrap_or(u64::MAX).put(out);
            node.map_or(0, |node| node.copied().unwrap_or(u64::MAX)).put(out);
            task.state.put(out);
            task.generation.put(out);
            task.index.put(out);
        }
    }
}

fn put_values<K: Key + Clone, V: Wire>(out: &mut SecretBytes, map: &Map<K, Arc<V>>) {
    wire::put_len(out, map.len());
    map.values().for_each(|value| value.put(out));
}

/// Objects in the order of their ids.
type Objects<K, V> = Vec<(K, Arc<V>)>;

fn get_values<K: Ord + Clone, V: Wire>(
    input: &mut Reader<'_>,
    id: impl Fn(&V) -> &K,
) -> Result<Objects<K, V>> {
    let count = input.count(LEAST)?;
    let mut values: Objects<K, V> = Vec::with_capacity(count);
    for _ in 0..count {
        let value = V::get(input)?;
        if values.last().is_some_and(|(last, _)| last >= id(&value)) {
            return Err(input.damaged());
        }
        values.push((id(&value).clone(), Arc::new(value)));
    }
    Ok(values)
}

/// A map of names, of which none may stand twice.
fn unique<V: Clone>(mut names: Vec<(Arc<str>, V)>) -> Option<Map<Arc<str>, V>> {
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    names.is_sorted_by(|a, b| a.0 < b.0).then(|| Map::from_sorted(names))
}

/// What is sealed under which key. `None` if a secret does not fit itself or the keys.
fn link_keys(keys: &mut Keys, secrets: &Objects<SecretId, Secret>) -> Option<()> {
    let mut seals: Vec<(u64, Vec<_>)> =
        keys.payload.iter().map(|held| (held.key.version(), Vec::new())).collect();
    for (id, secret) in secrets {
        let (first, last) = (secret.versions.first_key_value()?, secret.versions.last_key_value()?);
        if !secret.versions.contains_key(&secret.current)
            || *last.0 > secret.last
            || *first.0 == 0
            || secret.name.is_empty()
        {
            return None;
        }
        for (number, version) in &secret.versions {
            let key = version.payload.key_version();
            let (_, sealed) = seals.iter_mut().find(|(version, _)| *version == key)?;
            sealed.push(((id.clone(), *number), ()));
        }
    }
    for (held, (_, sealed)) in keys.payload.iter_mut().zip(seals) {
        held.seals = Map::from_sorted(sealed);
    }
    Some(())
}

/// Which service refers to which secret. `None` if a secret is not there.
fn link_services(
    secrets: &mut Objects<SecretId, Secret>,
    services: &Objects<ServiceId, Service>,
) -> Option<()> {
    for (id, service) in services {
        let specs = service.spec.iter().chain(service.previous.iter().flat_map(|spec| &**spec));
        for reference in specs {
            let secret = lookup(secrets, &reference.secret)?;
            if let Follow::Pinned(number) = reference.follow {
                secret.versions.get(&number)?;
            }
        }
        for grant in service.generations.values().flat_map(|generation| &*generation.grants) {
            lookup(secrets, &grant.secret)?.versions.get(&grant.version)?;
        }
        let last = service.generations.last_key_value().map_or(0, |(last, _)| *last);
        // None that counted from 1 came so far, and it may count on.
        let counted = service.last_generation <= u64::MAX / 2;
        if last > service.last_generation || !counted || service.generations.contains_key(&0) {
            return None;
        }
        for secret in service.mentions() {
            lookup(secrets, secret)?.users.services.insert(id.clone());
        }
    }
    Some(())
}

fn lookup<'a>(secrets: &'a mut Objects<SecretId, Secret>, id: &SecretId) -> Option<&'a mut Secret> {
    let at = secrets.binary_search_by(|(other, _)| other.cmp(id)).ok()?;
    Arc::get_mut(&mut secrets.get_mut(at)?.1)
}

fn get_tasks(
    input: &mut Reader<'_>,
    services: &mut Objects<ServiceId, Service>,
    nodes: &mut Objects<NodeId, Node>,
) -> Result<Map<TaskId, Arc<Task>>> {
    let count = input.count(LEAST)?;
    let mut tasks: Vec<(TaskId, Arc<Task>)> = Vec::with_capacity(count);
    let lists = |of: usize| -> Vec<Vec<(TaskId, ())>> {
        (0..of).map(|_| Vec::with_capacity(count / of)).collect()
    };
    let (mut of_service, mut of_node) = (lists(services.len()), lists(nodes.len()));
    for _ in 0..count {
        let id = TaskId::get(input)?;
        if tasks.last().is_some_and(|(last, _)| *last >= id) {
            return Err(input.damaged());
        }
        let (service_at, node_at) = (place(input)?, place(input)?);
        let state = TaskState::get(input)?;
        let (generation, index) = (input.u64()?, input.u64()?);
        let (service_id, service) = services.get_mut(service_at).ok_or_else(|| input.damaged())?;
        let service = Arc::get_mut(service).ok_or_else(|| input.damaged())?;
        match service.generations.get_mut(&generation) {
            Some(found) if !state.has_ended() => found.tasks += 1,
            None if state.has_ended() && generation == 0 => {}
            _ => return Err(input.damaged()),
        }
        of_service[service_at].push((id.clone(), ()));
        let node = if let Some(at) = node_at.checked_sub(1) {
            let (node, _) = nodes.get(at).ok_or_else(|| input.damaged())?;
            of_node[at].push((id.clone(), ()));
            Some(node.clone())
        } else if state.needs_secrets() {
            return Err(input.damaged());
        } else {
            None
        };
        let service = service_id.clone();
        tasks.push((id, Arc::new(Task { service, node, state, generation, index })));
    }
    for ((_, service), tasks) in services.iter_mut().zip(of_service) {
        let service = Arc::get_mut(service).ok_or_else(|| input.damaged())?;
        service.tasks = Map::from_sorted(tasks);
        if service.generations.values().any(|generation| generation.tasks == 0) {
            return Err(input.damaged());
        }
    }
    for ((_, node), tasks) in nodes.iter_mut().zip(of_node) {
        let node = Arc::get_mut(node).ok_or_else(|| input.damaged())?;
        node.tasks = Map::from_sorted(tasks);
        node.journal = Journal::new(node.sequence);
    }
    Ok(Map::from_sorted(tasks))
}

fn place(input: &mut Reader<'_>) -> Result<usize> {
    usize::try_from(input.u64()?).map_err(|_| input.damaged())
}

fn get_referrers(
    input: &mut Reader<'_>,
    secrets: &mut Objects<SecretId, Secret>,
) -> Result<Map<Referrer, Arc<[SecretId]>>> {
    let mut referrers: Vec<(Referrer, Arc<[SecretId]>)> = Vec::new();
    for _ in 0..input.count(1)? {
        let (referrer, ids) = (Referrer::get(input)?, Vec::<SecretId>::get(input)?);
        let ordered = ids.is_sorted_by(|a, b| a < b);
        if !ordered || referrers.last().is_some_and(|(last, _)| *last >= referrer) {
            return Err(input.damaged());
        }
        for id in &ids {
            let secret = lookup(secrets, id).ok_or_else(|| input.damaged())?;
            secret.users.referrers.insert(referrer.clone());
        }
        referrers.push((referrer, ids.into()));
    }
    Ok(Map::from_sorted(referrers))
}
