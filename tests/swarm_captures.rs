//! What the daemons listed before they stopped is what comes out of their folders.
#![cfg(feature = "swarm")]
#![allow(clippy::unwrap_used, reason = "the helpers belong to the tests")]

#[path = "support/capture.rs"]
mod capture;

use std::fmt::Write as _;

use capture::Capture;
use nodeseal::swarm::{Secret, SecretReference, Severity, State};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const ALL: [&str; 10] = [
    "1-autolocked",
    "2-snapshots",
    "3-unlocked",
    "4-dek-rotated",
    "5-kek-rotated-killed",
    "docker-26-2-snapshots",
    "docker-26-4-dek-rotated",
    "three-managers-m1",
    "three-managers-m2",
    "three-managers-m3",
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn secret(secret: &Secret) -> Value {
    let facts = &secret.facts;
    json!({
        "id": facts.id,
        "name": facts.name,
        "labels": facts.labels,
        "version": facts.meta.version,
        "created": facts.meta.created.map(|time| time.to_string()),
        "updated": facts.meta.updated.map(|time| time.to_string()),
        "size": secret.payload.len(),
        "sha256": hex(&Sha256::digest(secret.payload.expose())),
    })
}

fn reference(reference: &SecretReference) -> Value {
    let file = reference.target.as_ref().unwrap();
    json!({
        "File": { "Name": file.name, "UID": file.uid, "GID": file.gid, "Mode": file.mode },
        "SecretID": reference.secret_id,
        "SecretName": reference.secret_name,
    })
}

/// The same form as `expected.json` has, with the keys of secrets that stand there.
fn listed(state: &State, keys: &Value) -> Value {
    let mut secrets: Vec<&Secret> = state.objects.secrets.values().collect();
    secrets.sort_by(|a, b| a.facts.name.cmp(&b.facts.name));
    let secrets: Vec<Value> = secrets
        .into_iter()
        .map(|one| {
            let mut all = secret(one);
            all.as_object_mut().unwrap().retain(|key, _| keys.get(key).is_some());
            all
        })
        .collect();
    Value::Array(secrets)
}

fn services(state: &State) -> Value {
    let mut services: Vec<_> = state.objects.services.values().collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    services
        .into_iter()
        .map(|service| {
            let secrets: Vec<Value> = service.secrets.iter().map(reference).collect();
            json!({ "id": service.id, "name": service.name, "secrets": secrets })
        })
        .collect()
}

fn by_name(mut list: Value) -> Value {
    list.as_array_mut().unwrap().sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    list
}

#[test]
fn every_capture_gives_what_its_daemon_listed() {
    for name in ALL {
        let capture = Capture::unpack(name);
        let state = State::read(capture.dir(), capture.key().as_ref()).unwrap();
        assert!(state.is_complete(), "{name}: {:?}", state.findings);
        assert!(
            state.findings.iter().all(|finding| finding.severity < Severity::Error),
            "{name}: {:?}",
            state.findings
        );
        let expected = by_name(capture.expected["secrets"].clone());
        assert!(!expected.as_array().unwrap().is_empty(), "{name}");
        assert_eq!(listed(&state, &expected[0]), expected, "{name}");
        if let Some(expected) = capture.expected.get("services") {
            assert_eq!(services(&state), by_name(expected.clone()), "{name}");
        }
    }
}
