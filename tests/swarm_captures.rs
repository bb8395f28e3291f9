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
    for name in capture::all() {
        let capture = Capture::unpack(&name);
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

#[test]
fn the_store_holds_the_unlock_key_and_debug_does_not_tell_it() {
    for name in ["1-autolocked", "5-kek-rotated-killed", "three-managers-m3"] {
        let capture = Capture::unpack(name);
        let key = capture.key().unwrap();
        let state = State::read(capture.dir(), Some(&key)).unwrap();
        let cluster = state.objects.clusters.values().next().unwrap();
        assert!(cluster.facts.autolock);
        assert!(cluster.unlock_key().unwrap().ct_eq(&key), "{name}");

        let debug = format!("{state:?}");
        assert!(!debug.contains(&key.to_text()[9..]));
        for secret in state.objects.secrets.values().filter(|secret| secret.payload.len() > 4) {
            let payload = secret.payload.expose();
            let numbers = format!("{payload:?}");
            assert!(!debug.contains(&numbers[1..numbers.len() - 1]));
            assert!(!debug.contains(&*String::from_utf8_lossy(payload)));
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn an_inspection_is_serialized() {
    let capture = Capture::unpack("1-autolocked");
    let inspection = nodeseal::swarm::inspect(capture.dir(), capture.key().as_ref()).unwrap();
    let value = serde_json::to_value(&inspection).unwrap();
    assert_eq!(value["key"]["form"], "encrypted-pkcs8");
    assert_eq!(value["locked_by"], Value::Null);
    assert_eq!(value["objects"]["secret"], 3);
    assert_eq!(value["raft"]["entries"]["opened_by_current"]["last"], 21);
    let locked = nodeseal::swarm::inspect(capture.dir(), None).unwrap();
    let value = serde_json::to_value(&locked).unwrap();
    assert_eq!(value["locked_by"], "a key is needed and none was given");

    let state = State::read(capture.dir(), capture.key().as_ref()).unwrap();
    let secret = state.objects.secrets.values().find(|one| one.facts.name == "tls.key").unwrap();
    let value = serde_json::to_value(&secret.facts).unwrap();
    assert_eq!(value["meta"]["created"], "2026-11-21T22:04:04.947768361Z");
    assert_eq!(value["labels"], json!({ "env": "prod" }));
}
