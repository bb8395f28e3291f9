//! A secret's life in a cluster: created, granted, assigned, replaced task by task, removed.
//!
//! `cargo run --release --features cluster --example cluster`

use std::error::Error;

use nodeseal::audit::{Event, Sink};
use nodeseal::cluster::{Cluster, Command, Dates, Labels, Outcome, Request, Selector, TaskState};
use nodeseal::grant::{Change, NodeId, Reference, SecretId, ServiceId, TaskId, Time};

/// Prints events; a real one keeps them.
struct Printed;

impl Sink for Printed {
    fn record(&self, event: &Event) -> nodeseal::Result<()> {
        println!("  {event}");
        Ok(())
    }
}

/// Stands for the replicated log: every replica applies the same commands at the same indices.
struct Replicated {
    cluster: Cluster,
}

impl Replicated {
    fn propose(&mut self, request: Request) -> Result<Outcome, Box<dyn Error>> {
        let command = Command { at: Time::now(), by: "alice".to_owned(), request };
        let bytes = command.encode(); // what is sealed into the log
        let index = self.cluster.applied() + 1;
        let outcome = self.cluster.apply(index, Command::decode(bytes.expose())?);
        for event in &outcome.events {
            Printed.record(event)?;
        }
        outcome.result.clone()?;
        Ok(outcome)
    }

    /// What a woken node gets.
    fn deliver(&self, node: &NodeId) -> Result<(), Box<dyn Error>> {
        let dispatch = self.cluster.dispatch(node, None).ok_or("no such node")?;
        for change in dispatch.open(Time::now(), "m1", &Printed)?.changes {
            if let Change::Task { task, grants } = change {
                for grant in grants {
                    println!("{task}: {} is version {}", grant.target, grant.version);
                }
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut log = Replicated { cluster: Cluster::new() };
    log.propose(log.cluster.new_payload_key(false)?)?;
    let (secret, service) = (SecretId::new("s1")?, ServiceId::new("v1")?);
    let (task, node) = (TaskId::new("t1")?, NodeId::new("w1")?);

    // Only for nodes in the zone "pci", whatever developers grant.
    let mut selector = Selector::default();
    selector.nodes.insert("zone".to_owned(), Some("pci".to_owned()));
    let key = log.cluster.payload_key().ok_or("no payload key")?;
    log.propose(Request::CreateSecret {
        secret: secret.clone(),
        name: "db_password".to_owned(),
        labels: Labels::new(),
        internal: false,
        dates: Dates::default(),
        selector,
        payload: key.seal(&secret, 1, b"correct horse")?,
    })?;
    let labels = Labels::from([("zone".to_owned(), "pci".to_owned())]);
    log.propose(Request::PutNode { node: node.clone(), labels, public_key: None })?;
    log.propose(Request::CreateService {
        service: service.clone(),
        name: "web".to_owned(),
        labels: Labels::new(),
        references: vec![Reference::new(secret.clone(), "db_password")?],
    })?;
    let outcome = log.propose(Request::CreateTask {
        task: task.clone(),
        service: service.clone(),
        node: Some(node.clone()),
        state: TaskState::Assigned,
    })?;
    assert_eq!(outcome.woken.first(), Some(&node));
    log.deliver(&node)?;

    // A new version: running tasks keep theirs until each is refreshed or replaced.
    let payload = key.seal(&secret, 2, b"battery staple")?;
    let (id, number) = (secret.clone(), 2);
    log.propose(Request::AddVersion { secret: id, number, payload, current: true })?;
    for behind in log.cluster.tasks_behind(&service) {
        log.propose(Request::RefreshTask { task: behind })?;
    }
    log.deliver(&node)?;

    // What anything refers to is not removed.
    match log.propose(Request::RemoveSecret { secret }) {
        Err(refusal) => println!("{refusal}"),
        Ok(_) => return Err("removed while it is in use".into()),
    }
    Ok(())
}
