//! Random histories against a reference that is written as plainly as the rules are: no index, no
//! count, no sharing; everything is looked up again each time. Nodes poll now and then, and the
//! cluster is restarted from snapshot and log at random points.
//!
//! `NODESEAL_MODEL_CASES` sets the number of histories (96).

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::grant::{Grant, check_references};

#[derive(Clone, Default)]
struct Model {
    secrets: BTreeMap<SecretId, ModelSecret>,
    services: BTreeMap<ServiceId, ModelService>,
    tasks: BTreeMap<TaskId, ModelTask>,
    nodes: BTreeMap<NodeId, Labels>,
    referrers: BTreeMap<Referrer, Vec<SecretId>>,
}

#[derive(Clone)]
struct ModelSecret {
    name: String,
    labels: Labels,
    selector: Selector,
    index: u64,
    current: u64,
    last: u64,
    versions: BTreeSet<u64>,
}

#[derive(Clone)]
struct ModelService {
    name: String,
    labels: Labels,
    index: u64,
    spec: Vec<Reference>,
    previous: Option<Vec<Reference>>,
}

#[derive(Clone)]
struct ModelTask {
    service: ServiceId,
    node: Option<NodeId>,
    state: TaskState,
    grants: Vec<Grant>,
}

/// What a node is to have: its tasks with their files.
type View = BTreeMap<TaskId, Vec<Grant>>;

impl Model {
    fn allowed(&self, grant: &Grant, task: &ModelTask) -> bool {
        let selector = &self.secrets[&grant.secret].selector;
        selector.allows_service(&self.services[&task.service].labels)
            && task.node.as_ref().is_some_and(|node| selector.allows_node(&self.nodes[node]))
    }

    fn view(&self, node: &NodeId) -> View {
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

    fn resolve(&self, spec: &[Reference]) -> Vec<Grant> {
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
    fn apply(&mut self, index: u64, request: &Request) -> bool {
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
        }
        true
    }
}

/// What a node made of its assignments.
#[derive(Clone, Default)]
struct Holder {
    sequence: Option<u64>,
    secrets: BTreeSet<(SecretId, u64)>,
    tasks: View,
}

impl Holder {
    fn take(&mut self, assignment: Assignment) {
        match assignment.scope {
            Scope::Complete => *self = Self::default(),
            Scope::Since(since) => assert_eq!(self.sequence, Some(since)),
        }
        self.sequence = Some(assignment.sequence);
        for change in assignment.changes {
            match change {
                Change::Secret { secret, version, payload } => {
                    assert_eq!(payload.expose(), format!("{secret} {version}").as_bytes());
                    self.secrets.insert((secret, version));
                }
                Change::Task { task, grants } => {
                    let here = |g: &Grant| self.secrets.contains(&(g.secret.clone(), g.version));
                    assert!(grants.iter().all(here), "a task came before its payloads");
                    self.tasks.insert(task, grants);
                }
                Change::TaskRemoved { task } => drop(self.tasks.remove(&task)),
                Change::SecretRemoved { secret, version } => {
                    self.secrets.remove(&(secret, version));
                }
            }
        }
    }
}

/// A history under way.
struct Run {
    bench: Bench,
    model: Model,
    holders: BTreeMap<NodeId, Holder>,
    /// What a restart begins with, and how much of the log is behind it.
    snapshot: (Vec<u8>, usize),
}

/// One step: what, and with what.
type Step = (u8, u8, u8, u8);

impl Run {
    fn new() -> Self {
        let bench = Bench::new();
        let snapshot = (bench.cluster.encode().expose().to_vec(), bench.log.len());
        Self { bench, model: Model::default(), holders: BTreeMap::new(), snapshot }
    }

    fn step(&mut self, step: Step) {
        let (what, a, b, _) = step;
        match what {
            0..=9 => self.poll(&format!("w{}", a % 3), b % 4 != 0),
            10 => self.restart(),
            11 => {
                let bytes = self.bench.cluster.encode().expose().to_vec();
                self.snapshot = (bytes, self.bench.log.len());
            }
            _ => self.ask(step),
        }
    }

    fn ask(&mut self, step: Step) {
        let Some(request) = self.request(step) else { return };
        let index = self.bench.cluster.applied() + 1;
        let before = self.model.clone();
        let done = self.model.apply(index, &request);
        let text = format!("{request:?}");
        let outcome = self.bench.ask(request);
        assert_eq!(outcome.result.is_ok(), done, "{text}: {:?}", outcome.result);
        let nodes: BTreeSet<_> = before.nodes.keys().chain(self.model.nodes.keys()).collect();
        let woken: Vec<_> = nodes
            .into_iter()
            .filter(|node| before.view(node) != self.model.view(node))
            .cloned()
            .collect();
        assert_eq!(outcome.woken, woken, "{text}");
    }

    /// A node asks for what it missed, or for all; it then has exactly what it may have.
    fn poll(&mut self, id: &str, follows: bool) {
        let id = node(id);
        let Some(_) = self.model.nodes.get(&id) else {
            assert!(self.bench.cluster.dispatch(&id, None).is_none());
            self.holders.remove(&id);
            return;
        };
        let holder = self.holders.entry(id.clone()).or_default();
        let since = holder.sequence.filter(|_| follows);
        let dispatch = self.bench.cluster.dispatch(&id, since).unwrap();
        let view = self.model.view(&id);
        let grants = view.values().flatten();
        let allowed: BTreeSet<_> = grants.map(|g| (g.secret.clone(), g.version)).collect();
        let told = Told::default();
        let assignment = dispatch.open(Time::default(), "", &told).unwrap();
        let opened = told.0.into_inner().unwrap();
        let opened = opened.into_iter().map(|e| (e.secret.unwrap(), e.version.unwrap()));
        assert!(opened.into_iter().all(|what| allowed.contains(&what)), "more than is allowed");
        holder.take(assignment);
        assert!(holder.tasks == view && holder.secrets == allowed);
    }

    /// From the last snapshot and the log after it.
    fn restart(&mut self) {
        let (bytes, behind) = &self.snapshot;
        let mut again = Cluster::decode(bytes).unwrap();
        for (index, command) in &self.bench.log[*behind..] {
            let bytes = command.encode();
            again.apply(*index, Command::decode(bytes.expose()).unwrap());
        }
        assert!(again.encode().expose() == self.bench.cluster.encode().expose());
        let numbers = |cluster: &Cluster| {
            let Stats { secrets, versions, payload_bytes, to_reseal, .. } = cluster.stats();
            (secrets, versions, payload_bytes, to_reseal)
        };
        assert_eq!(numbers(&again), numbers(&self.bench.cluster));
        self.bench.cluster = again;
    }

    fn request(&self, (what, a, b, c): Step) -> Option<Request> {
        let bench = &self.bench;
        let id = format!("s{}", a % 4);
        let secret_id = secret(&id);
        let of = service(&format!("v{}", a % 3));
        // Mostly the version that it has.
        let off = u64::from(c % 16 == 0);
        let secret_version =
            self.model.secrets.get(&secret_id).map_or(7, |secret| secret.index - off);
        let service_version = self.model.services.get(&of).map_or(7, |service| service.index - off);
        let some = labels(&[("k", if b & 1 == 0 { "x" } else { "y" })]);
        let state = [
            TaskState::New,
            TaskState::Pending,
            TaskState::Assigned,
            TaskState::Assigned,
            TaskState::Running,
            TaskState::Running,
            TaskState::Complete,
            TaskState::Failed,
        ][usize::from(c % 8)];
        let on = (b % 4 != 3).then(|| node(&format!("w{}", b % 4)));
        let of_task = task(&format!("t{}", a % 8));
        Some(match what {
            12..=16 => {
                let Request::CreateSecret { secret, internal, dates, payload, .. } =
                    bench.new_secret(&id)
                else {
                    unreachable!()
                };
                let name = match b % 8 {
                    0 => "Shared".to_owned(),
                    1 => "shared".to_owned(),
                    2 => "-bad".to_owned(),
                    _ => id,
                };
                let selector = self.selector(c / 2);
                Request::CreateSecret {
                    secret,
                    name,
                    labels: some,
                    internal,
                    dates,
                    selector,
                    payload,
                }
            }
            17..=19 => {
                let change = match b % 8 {
                    0 => SecretChange::Labels(some),
                    1 => SecretChange::Dates(Dates::default()),
                    2..=4 => SecretChange::Current(u64::from(b / 8 % 3) + 1),
                    _ => SecretChange::Selector(self.selector(b / 8)),
                };
                Request::UpdateSecret { secret: secret_id, version: secret_version, change }
            }
            20..=22 => {
                let last = self.model.secrets.get(&secret_id).map_or(0, |secret| secret.last);
                let number = last + 1 + off;
                let payload = bench.sealed(&id, number, format!("{id} {number}").as_bytes());
                Request::AddVersion { secret: secret_id, number, payload, current: b & 1 == 0 }
            }
            23 => Request::RemoveVersion { secret: secret_id, number: u64::from(b % 4) },
            24 => Request::RemoveSecret { secret: secret_id },
            25..=27 => {
                let name = if c == 1 { "V0".to_owned() } else { of.to_string() };
                let references = self.references(b, c);
                Request::CreateService { service: of, name, labels: some, references }
            }
            28..=30 => {
                let (version, references) = (service_version, self.references(b, c));
                Request::UpdateService { service: of, version, labels: some, references }
            }
            31 => Request::RollbackService { service: of, version: service_version },
            32 => Request::RemoveService { service: of },
            33..=40 => {
                let service = service(&format!("v{}", b / 4 % 3));
                Request::CreateTask { task: of_task, service, node: on, state }
            }
            41..=47 => Request::UpdateTask { task: of_task, node: on, state },
            48..=50 => Request::RefreshTask { task: of_task },
            51..=52 => Request::RemoveTask { task: of_task },
            53..=57 => {
                let node = node(&format!("w{}", a % 3));
                Request::PutNode { node, labels: some, public_key: None }
            }
            58 => Request::RemoveNode { node: node(&format!("w{}", a % 3)) },
            59 => {
                let referrer = Referrer { kind: "volume".to_owned(), id: (a % 2).to_string() };
                let secrets = (0..4).filter(|bit| b >> bit & 1 == 1);
                let secrets = secrets.map(|bit| secret(&format!("s{bit}"))).collect();
                Request::PutReferrer { referrer, secrets }
            }
            60 => {
                let referrer = Referrer { kind: "volume".to_owned(), id: (a % 2).to_string() };
                Request::RemoveReferrer { referrer }
            }
            61 if bench.cluster.payload_keys().len() < 4 => {
                bench.cluster.new_payload_key(b & 1 == 0).unwrap()
            }
            _ => bench.cluster.reseal(Time::default(), "", &Told::default()).unwrap()?,
        })
    }

    fn selector(&self, bits: u8) -> Selector {
        let one = |on: u8, value: u8| -> Required {
            if !on.is_multiple_of(4) {
                return Required::new();
            }
            [(
                "k".to_owned(),
                [None, Some("x".to_owned()), Some("y".to_owned())][usize::from(value % 3)].clone(),
            )]
            .into()
        };
        Selector { services: one(bits, bits / 4), nodes: one(bits / 2, bits / 8) }
    }

    fn references(&self, b: u8, c: u8) -> Vec<Reference> {
        let secrets = (0..4_u8).filter(|bit| b >> bit & 1 == 1);
        secrets
            .map(|bit| {
                let id = secret(&format!("s{bit}"));
                let has = self.model.secrets.get(&id).map(|secret| secret.name.clone());
                let name = if c % 32 == 3 { "other".to_owned() } else { has.unwrap_or_default() };
                let target = if c % 32 == 5 { "same".to_owned() } else { format!("f{bit}") };
                let pinned = b >> (4 + bit) & 1 == 1;
                Reference {
                    follow: if pinned { Follow::Pinned(u64::from(c % 3)) } else { Follow::Current },
                    name,
                    ..reference(&format!("s{bit}"), &target)
                }
            })
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("NODESEAL_MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(96),
        max_shrink_iters: 5000,
        ..ProptestConfig::default()
    })]

    /// The set of (node, payload) ever handed out is what grants and policies allowed at the time;
    /// who is woken, and what is refused, is what the plain rules say; a restart changes nothing.
    #[test]
    fn random_histories_follow_the_plain_rules(
        steps in prop::collection::vec((0..63_u8, any::<u8>(), any::<u8>(), any::<u8>()), 1..250),
    ) {
        let mut run = Run::new();
        // So that histories begin with something to do.
        for first in [(12, 0, 7, 9), (12, 1, 7, 9), (53, 0, 0, 0), (53, 1, 1, 0), (25, 0, 3, 2)] {
            run.step(first);
        }
        let view = run.bench.cluster.clone();
        let bytes = view.encode();
        steps.into_iter().for_each(|step| run.step(step));
        run.restart();
        for id in ["w0", "w1", "w2"] {
            run.poll(id, true);
        }
        prop_assert!(view.encode().expose() == bytes.expose(), "a view changed");
        let list = run.bench.cluster.secrets(&Filter::default());
        prop_assert_eq!(list.len(), run.model.secrets.len());
        for info in list {
            let model = &run.model.secrets[&info.id];
            let numbers: BTreeSet<_> = info.versions.iter().map(|version| version.number).collect();
            prop_assert!(info.name == model.name && info.labels == model.labels);
            prop_assert!(info.index == model.index && info.current == model.current);
            prop_assert!(numbers == model.versions && info.selector == model.selector);
        }
        for (id, service) in &run.model.services {
            let wanted = run.model.resolve(&service.spec);
            let behind = run.model.tasks.iter().filter(|(_, task)| {
                task.service == *id && !task.state.has_ended() && task.grants != wanted
            });
            let behind: Vec<_> = behind.map(|(task, _)| task.clone()).collect();
            prop_assert_eq!(run.bench.cluster.tasks_behind(id), behind);
        }
    }
}
