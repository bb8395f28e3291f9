use proptest::prelude::*;

use super::*;
use crate::error::Error;
use crate::swarm::log::{HardState, MembershipChange, RaftMember, SnapshotPoint};

/// A field of bytes.
fn f(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

/// A field with a small integer.
fn n(number: u8, value: u8) -> Vec<u8> {
    assert!(value < 0x80);
    vec![number << 3, value]
}

fn annotations(name: &str) -> Vec<u8> {
    let label =
        |key: &str, value: &str| f(2, &[f(1, key.as_bytes()), f(2, value.as_bytes())].concat());
    f(1, &[f(1, name.as_bytes()), label("b", "2"), label("a", "1")].concat())
}

#[test]
fn a_secret_with_all_its_parts() {
    let options = f(2, &[f(1, b"k"), f(2, b"v")].concat());
    let driver = [f(1, b"vault"), options].concat();
    let meta = [f(1, &n(1, 9)), f(2, &n(1, 1)), f(3, &[n(1, 2), n(2, 5)].concat())].concat();
    let spec = [annotations("s"), f(2, b"payload"), f(3, &f(1, b"golang")), f(4, &driver)].concat();
    let message = [f(1, b"id"), f(2, &meta), f(3, &spec), n(4, 1)].concat();
    let Secret { facts, payload } = Secret::parse(&message).unwrap();
    assert_eq!(payload.expose(), b"payload");
    assert_eq!((facts.id.as_str(), facts.name.as_str(), facts.internal), ("id", "s", true));
    assert_eq!(facts.labels.into_iter().map(|(k, v)| k + &v).collect::<String>(), "a1b2");
    assert_eq!(facts.templating.unwrap().name, "golang");
    let driver = facts.driver.unwrap();
    assert_eq!((driver.name.as_str(), driver.options["k"].as_str()), ("vault", "v"));
    assert_eq!(facts.meta.version, 9);
    assert_eq!(facts.meta.created, Some(Timestamp { seconds: 1, nanos: 0 }));
    assert_eq!(facts.meta.updated, Some(Timestamp { seconds: 2, nanos: 5 }));

    let Secret { facts, payload } = Secret::parse(&f(1, b"id")).unwrap();
    assert!(payload.is_empty() && facts.driver.is_none() && facts.meta.created.is_none());
}

#[test]
fn a_service_has_the_references_of_both_specifications() {
    let target = [f(1, b"t"), f(2, b"1"), f(3, b"2"), n(4, 0x40)].concat();
    let reference = |name: &[u8]| f(12, &[f(1, b"i"), f(2, name), f(3, &target)].concat());
    let spec = |name: &[u8]| [annotations("web"), f(2, &f(1, &reference(name)))].concat();
    let message = [f(1, b"id"), f(3, &spec(b"new")), f(6, &spec(b"old"))].concat();
    let service = Service::parse(&message).unwrap();
    let of = |name: &str| SecretReference {
        secret_id: "i".into(),
        secret_name: name.into(),
        target: Some(FileTarget { name: "t".into(), uid: "1".into(), gid: "2".into(), mode: 0x40 }),
    };
    assert_eq!(service.name, "web");
    assert_eq!(service.secrets, [of("new")]);
    assert_eq!(service.previous_secrets, Some(vec![of("old")]));
    assert_eq!(Service::parse(&f(1, b"id")).unwrap().previous_secrets, None);
}

#[test]
fn a_task_with_its_states() {
    let status = f(9, &[0x10, 0x80, 0x04]);
    let message = [f(1, b"id"), f(4, b"s"), n(5, 3), f(6, b"n"), status, vec![0x50, 0x80, 0x05]];
    let task = Task::parse(&message.concat()).unwrap();
    assert_eq!((task.service_id.as_str(), task.node_id.as_str(), task.slot), ("s", "n", 3));
    assert_eq!(task.state.to_string(), "running");
    assert_eq!(task.desired_state.to_string(), "shutdown");
    assert_eq!(TaskState(1).to_string(), "state 1");
}

#[test]
fn a_cluster_tells_its_keys_to_who_asks_and_not_to_a_log() {
    let key =
        |subsystem: &str, bytes: &[u8]| f(9, &[f(1, subsystem.as_bytes()), f(3, bytes)].concat());
    let spec = [annotations("default"), f(4, &n(1, 10)), f(8, &n(1, 1))].concat();
    let root = [f(1, b"secret-ca-key"), f(2, b"certificate")].concat();
    let parts = [f(1, b"id"), f(3, &spec), f(4, &root)].concat();
    let keys = [key("other", &[1; 32]), key("swarm-manager", &[0x61; 32])].concat();
    let cluster = Cluster::parse(&[&parts[..], &keys].concat()).unwrap();
    assert_eq!(cluster.unlock_keys.len(), 2);
    assert_eq!(cluster.unlock_key().unwrap().secret().expose(), &[0x61; 32]);
    let facts = &cluster.facts;
    assert!(facts.autolock && facts.has_root_ca_key && facts.has_root_ca_certificate);
    assert_eq!(facts.snapshot_interval, 10);
    let debug = format!("{cluster:?}");
    for secret in ["97", "0x61", "aaaa", "secret-ca-key"] {
        assert!(!debug.contains(secret), "{debug}");
    }

    assert!(Cluster::parse(&parts).unwrap().unlock_key().is_none());
    // Swarm takes a key of any length.
    let short = Cluster::parse(&key("swarm-manager", &[1; 31]));
    assert!(matches!(short, Err(Error::Unsupported { found, .. }) if found == "31"));
}

#[test]
fn a_node_with_its_role() {
    let message = [f(1, b"id"), f(4, &f(1, b"host")), n(9, 1)].concat();
    let node = Node::parse(&message).unwrap();
    assert_eq!((node.hostname.as_str(), node.role), ("host", NodeRole::Manager));
    assert_eq!(Node::parse(b"").unwrap().role, NodeRole::Worker);
    assert_eq!(Node::parse(&n(9, 7)).unwrap().role, NodeRole::Other(7));
}

/// Bytes that often are messages, nested as deep as any of Swarm's.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        (1..13u8, any::<u8>()).prop_map(|(number, value)| vec![number << 3, value]),
        (1..13u8, any::<u64>()).prop_map(|(number, value)| {
            [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
        }),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    leaf.prop_recursive(6, 60, 5, |inner| {
        (1..13u8, proptest::collection::vec(inner, 0..5)).prop_map(|(number, parts)| {
            let content = parts.concat();
            let content = &content[..content.len().min(255)];
            let len = u8::try_from(content.len()).unwrap();
            [&[number << 3 | 2, len & 0x7f | 0x80, len >> 7], content].concat()
        })
    })
}

proptest! {
    #[test]
    fn any_message_is_parsed_or_refused(message in messages()) {
        let _ = Secret::parse(&message).map(|secret| {
            assert!(secret.payload.len() <= message.len());
        });
        let _ = Service::parse(&message);
        let _ = Task::parse(&message);
        let _ = Node::parse(&message);
        let _ = Cluster::parse(&message);
        let _ = id(&message);
        let _ = HardState::parse(&message);
        let _ = RaftMember::parse(&message);
        let _ = MembershipChange::parse(&message);
        let _ = SnapshotPoint::parse_record(&message);
        let _ = SnapshotPoint::parse_metadata(&message);
    }

    #[test]
    fn any_moment_has_a_text(seconds: i64, nanos in 0..1_000_000_000u32) {
        let text = Timestamp { seconds, nanos }.to_string();
        prop_assert!(!text.is_empty());
    }
}
