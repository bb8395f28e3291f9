use std::sync::Mutex;

use super::*;
use crate::audit::{Action, Event, Sink};
use crate::error::{Error, Result};
use crate::grant::{
    Assignment, Change, Follow, NodeKey, Reference, Scope, Target, Time, edit_references,
};
use crate::key::{LockRecord, UnlockKey};
use crate::secret::SecretKey;

mod conformance;
mod control;
mod dispatcher;
mod encoding;
mod hygiene;
mod keys;
mod model;
mod policies;
mod versions;

/// A cluster under test, with a log that runs along.
struct Bench {
    cluster: Cluster,
    log: Vec<(u64, Command)>,
}

/// Keeps what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<Event>>);

impl Sink for Told {
    fn record(&self, event: &Event) -> Result<()> {
        self.0.lock().map_err(|_| Error::Poisoned)?.push(event.clone());
        Ok(())
    }
}

fn secret(text: &str) -> SecretId {
    SecretId::new(text).unwrap()
}

fn service(text: &str) -> ServiceId {
    ServiceId::new(text).unwrap()
}

fn task(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn node(text: &str) -> NodeId {
    NodeId::new(text).unwrap()
}

fn labels(all: &[(&str, &str)]) -> Labels {
    all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A reference to a secret whose name is its id, as the file `target`.
fn reference(name: &str, target: &str) -> Reference {
    Reference::new(secret(name), name).unwrap().at(Target::new(target).unwrap())
}

impl Bench {
    /// With a payload key.
    fn new() -> Self {
        let mut bench = Self { cluster: Cluster::new(), log: Vec::new() };
        bench.ok(bench.cluster.new_payload_key(false).unwrap());
        bench
    }

    /// Applies what comes out of the command's bytes.
    fn ask(&mut self, request: Request) -> Outcome {
        let index = self.cluster.applied() + 1;
        let at = Time::from_seconds(1_700_000_000 + index);
        let command = Command { at, by: "ops".to_owned(), request };
        let command = Command::decode(command.encode().expose()).unwrap();
        self.log.push((index, command.clone()));
        let outcome = self.cluster.apply(index, command);
        assert_eq!(Outcome::decode(&outcome.encode()).unwrap(), outcome);
        outcome
    }

    #[track_caller]
    fn ok(&mut self, request: Request) -> Outcome {
        let outcome = self.ask(request);
        outcome.result.as_ref().unwrap();
        outcome
    }

    #[track_caller]
    fn refused(&mut self, request: Request) -> Refusal {
        let before = self.cluster.encode();
        let outcome = self.ask(request);
        // But for the index, nothing changed, nobody was woken, and the refusal was told.
        assert!(outcome.woken.is_empty());
        let actions: Vec<_> = outcome.events.iter().map(|event| event.action).collect();
        assert_eq!(actions, [Action::Refused]);
        let mut again = Cluster::decode(before.expose()).unwrap();
        again.applied = self.cluster.applied;
        assert!(again.encode().expose() == self.cluster.encode().expose(), "something changed");
        outcome.result.unwrap_err()
    }

    fn sealed(&self, id: &str, version: u64, payload: &[u8]) -> SealedPayload {
        self.cluster.payload_key().unwrap().seal(&secret(id), version, payload).unwrap()
    }

    /// A secret whose name is its id, and whose payload begins with it.
    fn new_secret(&self, id: &str) -> Request {
        Request::CreateSecret {
            secret: secret(id),
            name: id.to_owned(),
            labels: Labels::new(),
            internal: false,
            dates: Dates::default(),
            selector: Selector::default(),
            payload: self.sealed(id, 1, format!("{id} 1").as_bytes()),
        }
    }

    fn add_secret(&mut self, id: &str) {
        self.ok(self.new_secret(id));
    }

    fn add_version(&mut self, id: &str, number: u64) {
        let payload = self.sealed(id, number, format!("{id} {number}").as_bytes());
        let secret = secret(id);
        self.ok(Request::AddVersion { secret, number, payload, current: true });
    }

    fn add_service(&mut self, id: &str, references: &[Reference]) -> Outcome {
        self.ok(new_service(id, references))
    }

    /// Replaces the references of a service.
    fn update(&self, id: &str, references: &[Reference]) -> Request {
        let info = self.cluster.service(&service(id)).unwrap();
        let (version, labels) = (info.index, info.labels);
        let references = references.to_vec();
        Request::UpdateService { service: service(id), version, labels, references }
    }

    fn add_node(&mut self, id: &str, labels: Labels) -> Outcome {
        self.ok(Request::PutNode { node: node(id), labels, public_key: None })
    }

    fn run(&mut self, id: &str, service_id: &str, on: &str) -> Outcome {
        self.ok(new_task(id, service_id, Some(on), TaskState::Assigned))
    }

    fn end(&mut self, id: &str, state: TaskState) -> Outcome {
        self.ok(Request::UpdateTask { task: task(id), node: None, state })
    }

    /// What a node is sent, as short texts, and its sequence.
    fn sent(&self, to: &str, since: Option<u64>) -> (Vec<String>, u64) {
        let dispatch = self.cluster.dispatch(&node(to), since).unwrap();
        let assignment = dispatch.open(Time::default(), "m1", &Told::default()).unwrap();
        (texts(&assignment), assignment.sequence)
    }
}

fn new_service(id: &str, references: &[Reference]) -> Request {
    let (name, references) = (id.to_owned(), references.to_vec());
    Request::CreateService { service: service(id), name, labels: Labels::new(), references }
}

fn new_task(id: &str, of: &str, on: Option<&str>, state: TaskState) -> Request {
    Request::CreateTask { task: task(id), service: service(of), node: on.map(node), state }
}

fn texts(assignment: &Assignment) -> Vec<String> {
    let text = |change: &Change| match change {
        Change::Secret { secret, version, payload } => {
            // The payloads of the tests say what they are.
            assert_eq!(payload.expose(), format!("{secret} {version}").as_bytes());
            format!("+{secret}:{version}")
        }
        Change::Task { task, grants } => {
            let files = grants.iter().map(|g| format!("{}={}:{}", g.target, g.secret, g.version));
            format!("+{task} {}", files.collect::<Vec<_>>().join(" "))
        }
        Change::TaskRemoved { task } => format!("-{task}"),
        Change::SecretRemoved { secret, version } => format!("-{secret}:{version}"),
    };
    assignment.changes.iter().map(text).collect()
}
