//! Genuine states through the native keyring and store and back, salvaged, and redacted.
#![cfg(feature = "swarm")]
#![allow(clippy::unwrap_used, reason = "the helpers belong to the tests")]

#[path = "support/capture.rs"]
mod capture;
#[path = "swarm_migrate/export.rs"]
mod export;
#[path = "swarm_migrate/key_files.rs"]
mod key_files;
#[path = "swarm_migrate/redact.rs"]
mod redact;
#[path = "swarm_migrate/salvage.rs"]
mod salvage;
#[path = "support/segment.rs"]
mod segment;
#[path = "swarm_migrate/two_phase.rs"]
mod two_phase;

use std::fs;
use std::path::{Path, PathBuf};

use capture::Capture;
use nodeseal::swarm::State;

/// The captures but for the second of a kind that is long to read.
fn captures() -> Vec<String> {
    let mut names = capture::all();
    names.retain(|name| !name.starts_with("docker-26-2") && !name.ends_with("-m2"));
    names
}

/// A name beside a capture's folder.
fn beside(capture: &Capture, name: &str) -> PathBuf {
    capture.dir().parent().unwrap().join(name)
}

fn read(dir: &Path, capture: &Capture) -> State {
    State::read(dir, capture.key().as_ref()).unwrap()
}

/// All that a state holds, payloads included, apart from what the log is like.
fn content(state: &State) -> String {
    let objects = &state.objects;
    let mut payloads: Vec<_> = objects
        .secrets
        .values()
        .map(|secret| (secret.facts.id.clone(), crc32c::crc32c(secret.payload.expose())))
        .collect();
    payloads.sort();
    let keys: Vec<_> = objects
        .clusters
        .values()
        .flat_map(|cluster| &cluster.unlock_keys)
        .map(|key| crc32c::crc32c(key.key.to_text().as_bytes()))
        .collect();
    format!("{objects:#?} {payloads:?} {keys:?}")
}

/// Every file of a folder, with its content.
fn snapshot_of(dir: &Path) -> Vec<(PathBuf, u64, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshot_of(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, u64::try_from(bytes.len()).unwrap(), crc32c::crc32c(&bytes)));
        }
    }
    found.sort();
    found
}
