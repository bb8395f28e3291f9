mod attest;
mod change;
mod copy;
mod doctor;
mod inspect;
mod progress;

use core::fmt::Write as _;
use std::collections::BTreeMap;
use std::process::ExitCode;

use change::What;
use nodeseal::swarm::{self, Secret, Timestamp};
use nodeseal::{Rekey, UnlockKey};
use progress::Work;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::args::{State, Swarm};
use crate::fail::{DAMAGED, Failure, Result};
use crate::stdio;

pub(crate) fn run(command: Swarm) -> Result<ExitCode> {
    match command {
        Swarm::Inspect { state, json } => inspect::run(&state, json),
        Swarm::Secrets { state, json } => secrets(&state, json),
        // clap has made sure that it is to be revealed.
        Swarm::Secret { name, state, reveal: _ } => secret(name, &state),
        Swarm::Doctor { state, records, json } => doctor::doctor(&state, records, json),
        Swarm::Clean { state, remove, dry_run: _ } => doctor::clean(&state, remove),
        Swarm::Attest { state, attestation } => attest::attest(&state, &attestation),
        Swarm::Verify { state, attestation, json } => attest::verify(&state, &attestation, json),
        Swarm::Salvage { state, to, dry_run } => copy::salvage(&state, &to, dry_run),
        Swarm::Redact { state, to, dry_run } => copy::redact(&state, &to, dry_run),
        Swarm::Export { state, to, dry_run } => copy::export(&state, &to, dry_run),
        Swarm::Import { from, state, dry_run } => copy::import(&from, &state, dry_run),
        Swarm::RotateUnlockKey { of, new, keep_dek } => {
            let rekey = if keep_dek { Rekey::KeepDek } else { Rekey::NewDek };
            change::run(&of, What::RotateUnlockKey(rekey), Some(&new))
        }
        Swarm::RotateDek { of } => change::run(&of, What::RotateDek, None),
        Swarm::Lock { of, new } => change::run(&of, What::Lock, Some(&new)),
        Swarm::AutolockOff { of } => change::run(&of, What::AutolockOff, None),
        Swarm::FinishRotation { of } => change::run(&of, What::FinishRotation, None),
        Swarm::ForceNewCluster { of } => change::run(&of, What::ForceNewCluster, None),
    }
}

fn unlock_key(state: &State) -> Result<Option<UnlockKey>> {
    state.unlock_key_file.as_deref().map(stdio::unlock_key).transpose()
}

fn read(state: &State) -> Result<swarm::State> {
    let key = unlock_key(state)?;
    let work = Work::new(state);
    Ok(swarm::State::read_in(&**work.fs(), &state.state_dir, key.as_ref())?)
}

/// Tells what is lost; the exit code that follows.
fn losses(state: &swarm::State) -> ExitCode {
    for finding in state.losses() {
        eprintln!("nodeseal: {finding}");
    }
    if state.is_complete() {
        return ExitCode::SUCCESS;
    }
    eprintln!("nodeseal: the state is NOT complete; this is what could be read");
    ExitCode::from(DAMAGED)
}

/// What is told of a secret.
#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    name: &'a str,
    labels: &'a BTreeMap<String, String>,
    version: u64,
    created: String,
    updated: String,
    size: usize,
    sha256: String,
}

impl<'a> Listed<'a> {
    fn of(secret: &'a Secret) -> Self {
        let (facts, payload) = (&secret.facts, secret.payload.expose());
        Self {
            id: &facts.id,
            name: &facts.name,
            labels: &facts.labels,
            version: facts.meta.version,
            created: time(facts.meta.created),
            updated: time(facts.meta.updated),
            size: payload.len(),
            sha256: hex(&Sha256::digest(payload)),
        }
    }
}

fn secrets(state: &State, json: bool) -> Result<ExitCode> {
    let state = read(state)?;
    let mut listed: Vec<Listed<'_>> = state.objects.secrets.values().map(Listed::of).collect();
    listed.sort_by(|a, b| a.name.cmp(b.name));
    if json {
        stdio::write_json(&listed)?;
    } else {
        let mut text = String::new();
        for one in &listed {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{}  {:<32} version {:<6} {:>6} bytes  sha256 {}",
                one.id, one.name, one.version, one.size, one.sha256
            );
        }
        stdio::write_out(text.as_bytes())?;
    }
    Ok(losses(&state))
}

fn secret(name: String, state: &State) -> Result<ExitCode> {
    let state = read(state)?;
    let found = state.objects.secrets.values().find(|secret| secret.facts.name == name);
    if let Some(secret) = found {
        stdio::write_out(secret.payload.expose())?;
        return Ok(losses(&state));
    }
    // It may be among what is lost.
    if losses(&state) != ExitCode::SUCCESS {
        eprintln!("nodeseal: there is no secret named {name:?} in what could be read");
        return Ok(ExitCode::from(DAMAGED));
    }
    Err(Failure::NoSuchSecret(name))
}

/// As Docker prints it; nothing where there is none.
fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(String::new, |time| time.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
