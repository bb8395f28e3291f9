//! Random histories against a reference ([`rules`]). Nodes poll now and then, and the cluster is
//! restarted from snapshot and log at random points.
//!
//! `NODESEAL_MODEL_CASES` sets the number of histories (96).

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::grant::Grant;

mod commands;
mod rules;

use rules::{Model, View};

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
