//! The whole state as bytes.
//!
//! Objects stand in the order of their ids; a task names its service and node by their place among
//! those. What follows from other objects is not written but linked anew: names, who refers to
//! what, the lists of tasks.

use core::hash::{BuildHasherDefault, Hash, Hasher};
use std::collections::HashMap;
use std::sync::Arc;

use super::Cluster;
use super::few::Few;
use super::keys::{HeldKey, Keys, MAX_KEYS, StoredKey};
use super::map::{Builder, Key, Map};
use super::node::{Journal, Node};
use super::object::{Referrer, Secret, Service, Task, TaskState};
use crate::error::Result;
use crate::grant::wire::{self, Reader, Wire};
use crate::grant::{Folded, Follow, NodeId, SecretId, ServiceId, TaskId};
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
        self.keys.lock_exposed.put(out);
        self.keys.pending_exposed.put(out);
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
        state.keys.lock_exposed = bool::get(input)?;
        state.keys.pending_exposed = bool::get(input)?;
        for StoredKey { key, made, exposed } in Vec::<StoredKey>::get(input)? {
            let last = state.keys.current().map_or(0, |held| held.key.version());
            if key.version() <= last || state.keys.payload.len() == MAX_KEYS {
                return Err(input.damaged());
            }
            state.keys.payload.push(HeldKey { key, made, exposed, seals: Map::new() });
        }
        let mut secrets = get_values(input, |secret: &Secret| &secret.id)?;
        link_keys(&mut state.keys, &secrets).ok_or_else(|| input.damaged())?;
        state.secret_names =
            unique(secrets.iter().map(|(id, s)| (&s.name, id))).ok_or_else(|| input.damaged())?;
        state.counters.payload_bytes = secrets
            .iter()
            .flat_map(|(_, secret)| secret.versions.values())
            .map(|version| super::wide(version.payload.sealed_len()))
            .sum();

        let mut services = get_values(input, |service: &Service| &service.id)?;
        link_services(&mut secrets, &services).ok_or_else(|| input.damaged())?;
        state.service_names =
            unique(services.iter().map(|(id, s)| (&s.name, id))).ok_or_else(|| input.damaged())?;
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
        let (services, nodes) = (places(&self.services), places(&self.nodes));
        wire::put_len(out, self.tasks.len());
        for (id, task) in self.tasks.iter() {
            id.put(out);
            services.get(&task.service).copied().unwrap_or(u64::MAX).put(out);
            let node = task.node.as_ref().map(|node| nodes.get(node).copied());
            node.map_or(0, |node| node.map_or(u64::MAX, |at| at + 1)).put(out);
            task.state.put(out);
            task.generation.put(out);
            task.index.put(out);
        }
    }
}

/// Where each id stands among its like.
fn places<K: Key + Clone + Hash, V: Clone>(map: &Map<K, V>) -> HashMap<&K, u64, Hashes> {
    let mut places = HashMap::with_capacity_and_hasher(map.len(), Hashes::default());
    places.extend(map.keys().zip(0..));
    places
}

type Hashes = BuildHasherDefault<IdHasher>;

/// A quick hash: a snapshot looks up as many ids as there are tasks, twice. Ids that are made to
/// collide make it slow, and nothing else.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(last));
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        // The table takes the low bits, and the high ones are the best.
        self.0.rotate_left(26)
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
fn unique<'a, V: Clone + 'a>(
    names: impl ExactSizeIterator<Item = (&'a Arc<str>, &'a V)>,
) -> Option<Map<Folded, V>> {
    let mut folded = Vec::with_capacity(names.len());
    for (name, id) in names {
        folded.push((Folded::new(name)?, id));
    }
    folded.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut map = Builder::for_about(folded.len());
    for (name, id) in folded {
        if map.last() == Some(&name) {
            return None;
        }
        map.push(name, id.clone());
    }
    Some(map.finish())
}

/// What is sealed under which key. `None` if a secret does not fit itself or the keys.
fn link_keys(keys: &mut Keys, secrets: &Objects<SecretId, Secret>) -> Option<()> {
    let mut seals: Vec<(u64, Vec<_>)> =
        keys.payload.iter().map(|held| (held.key.version(), Vec::new())).collect();
    for (id, secret) in secrets {
        let (first, last) = (secret.versions.first()?, secret.versions.last()?);
        if !secret.versions.contains(&secret.current) || *last > secret.last || *first == 0 {
            return None;
        }
        for (number, version) in secret.versions.iter() {
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
        let last = service.generations.last().copied().unwrap_or(0);
        // None that counted from 1 came so far, and it may count on.
        let counted = service.last_generation <= u64::MAX / 2;
        if last > service.last_generation || !counted || service.generations.contains(&0) {
            return None;
        }
        for secret in service.mentions() {
            lookup(secrets, secret)?.users.services.insert(id.clone(), ());
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
) -> Result<Map<TaskId, Task>> {
    let count = input.count(LEAST)?;
    let mut tasks = Builder::for_about(count);
    let about = |of: usize| count / of.max(1);
    let mut of_service = Vec::with_capacity(services.len());
    of_service.resize_with(services.len(), || Builder::for_about(about(services.len())));
    let mut of_node: Vec<Vec<(TaskId, ())>> = Vec::with_capacity(nodes.len());
    of_node.resize_with(nodes.len(), || Vec::with_capacity(about(nodes.len())));
    for _ in 0..count {
        let id = TaskId::get(input)?;
        if tasks.last().is_some_and(|last| *last >= id) {
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
        of_service[service_at].push(id.clone(), ());
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
        tasks.push(id, Task { service, node, state, generation, index });
    }
    for ((_, service), tasks) in services.iter_mut().zip(of_service) {
        let service = Arc::get_mut(service).ok_or_else(|| input.damaged())?;
        service.tasks = tasks.finish();
        if service.generations.values().any(|generation| generation.tasks == 0) {
            return Err(input.damaged());
        }
    }
    for ((_, node), tasks) in nodes.iter_mut().zip(of_node) {
        let node = Arc::get_mut(node).ok_or_else(|| input.damaged())?;
        node.tasks = Few::from_sorted(tasks);
        node.journal = Journal::new(node.sequence);
    }
    Ok(tasks.finish())
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
            secret.users.referrers.insert(referrer.clone(), ());
        }
        referrers.push((referrer, ids.into()));
    }
    Ok(Map::from_sorted(referrers))
}
