//! The cluster's state machine holds no payload, alive or released, and no payload key unwiped.

use nodeseal::audit::{Event, Sink};
use nodeseal::cluster::{
    Cluster, Command, Dates, Labels, PayloadKey, Request, Selector, TaskState,
};
use nodeseal::grant::{NodeId, NodeKey, Reference, SecretId, ServiceId, TaskId, Time};
use nodeseal::secret::SecretBytes;

use super::watch::{live, wiped};

const PAYLOAD: [u8; 40] = *b"payload that no state machine may have..";
const SECRETS: [(&str, &[u8]); 1] = [("payload", &PAYLOAD)];

struct Ignore;

impl Sink for Ignore {
    fn record(&self, _: &Event) -> nodeseal::Result<()> {
        Ok(())
    }
}

fn command(request: Request) -> Command {
    Command { at: Time::default(), by: String::new(), request }
}

/// As an engine does it: through bytes.
fn apply(cluster: &mut Cluster, request: Request) {
    let bytes = command(request).encode();
    let index = cluster.applied() + 1;
    let outcome = cluster.apply(index, Command::decode(bytes.expose()).unwrap());
    outcome.result.unwrap();
}

fn secret() -> SecretId {
    SecretId::new("s1").unwrap()
}

fn create(key: &PayloadKey) -> Request {
    Request::CreateSecret {
        secret: secret(),
        name: "s1".to_owned(),
        labels: Labels::new(),
        internal: false,
        dates: Dates::default(),
        selector: Selector::default(),
        payload: key.seal(&secret(), 1, &PAYLOAD).unwrap(),
    }
}

/// From the creation of a secret to what a node is to be sent.
fn history() -> Cluster {
    let mut cluster = Cluster::new();
    let first = cluster.new_payload_key(false).unwrap();
    apply(&mut cluster, first);
    let request = create(&cluster.payload_key().unwrap());
    apply(&mut cluster, request);
    let payload = cluster.payload_key().unwrap().seal(&secret(), 2, &PAYLOAD).unwrap();
    let (secret, number) = (secret(), 2);
    apply(&mut cluster, Request::AddVersion { secret, number, payload, current: true });
    let (service, node) = (ServiceId::new("v1").unwrap(), NodeId::new("w1").unwrap());
    let references = vec![Reference::new(self::secret(), "s1").unwrap()];
    let (id, name, labels) = (service.clone(), "v1".to_owned(), Labels::new());
    apply(&mut cluster, Request::CreateService { service: id, name, labels, references });
    let (id, labels) = (node.clone(), Labels::new());
    apply(&mut cluster, Request::PutNode { node: id, labels, public_key: None });
    let (task, node, state) = (TaskId::new("t1").unwrap(), Some(node), TaskState::Running);
    apply(&mut cluster, Request::CreateTask { task, service, node, state });
    let next = cluster.new_payload_key(true).unwrap();
    apply(&mut cluster, next);
    let step = cluster.reseal(Time::default(), "", &Ignore).unwrap().unwrap();
    apply(&mut cluster, step);
    Cluster::decode(cluster.encode().expose()).unwrap()
}

#[test]
fn the_search_of_live_memory_bites() {
    let kept = live(&SECRETS, || PAYLOAD.to_vec());
    assert_eq!(kept.0, ["payload"]);
    let moved = live(&SECRETS, || SecretBytes::from(&PAYLOAD[3..]));
    assert_eq!(moved.0, ["payload"]);
    assert!(live(&SECRETS, || vec![7_u8; 100]).0.is_empty());
}

#[test]
fn no_payload_is_in_the_state_machines_memory() {
    let (found, cluster) = live(&SECRETS, || {
        let cluster = history();
        let node = NodeId::new("w1").unwrap();
        let dispatch = cluster.dispatch(&node, None).unwrap();
        (cluster.clone(), dispatch, cluster.encode(), cluster)
    });
    assert!(found.is_empty(), "alive: {found:?}");
    // They are there all the same.
    let assignment = cluster.1.open(Time::default(), "", &Ignore).unwrap();
    assert!(assignment.encode().expose().windows(PAYLOAD.len()).any(|bytes| bytes == PAYLOAD));
}

#[test]
fn payloads_on_their_way_to_a_node() {
    let cluster = history();
    let node = NodeId::new("w1").unwrap();
    wiped("applied", &SECRETS, || drop(history()));
    wiped("opened, encoded and sealed to the node", &SECRETS, || {
        let dispatch = cluster.dispatch(&node, None).unwrap();
        let assignment = dispatch.open(Time::default(), "", &Ignore).unwrap();
        drop(nodeseal::grant::Assignment::decode(assignment.encode().expose()).unwrap());
        let (key, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
        let sealed = assignment.seal_to(&key.public()).unwrap();
        assert!(other.open(&sealed).is_err());
        assert!(key.open(&sealed[..sealed.len() - 1]).is_err());
        drop(key.open(&sealed).unwrap());
    });
}

#[test]
fn payload_keys() {
    let mut cluster = Cluster::new();
    let request = cluster.new_payload_key(false).unwrap();
    let bytes = command(request.clone()).encode();
    let key = bytes.expose()[bytes.len() - 33..bytes.len() - 1].to_vec();
    wiped("applied, written, read and replaced", &[("payload key", &key)], || {
        apply(&mut cluster, request);
        let again = Cluster::decode(cluster.encode().expose()).unwrap();
        assert!(Cluster::decode(&cluster.encode().expose()[..40]).is_err());
        drop(again);
        let next = cluster.new_payload_key(true).unwrap();
        apply(&mut cluster, next);
        drop(std::mem::take(&mut cluster));
    });
}
