//! The commands that make another folder and leave the first as it is.

use core::fmt::Display;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use nodeseal::swarm::{self, Migrated, ObjectKind, Salvage};

use crate::args::State;
use crate::fail::{DAMAGED, Result};

pub(crate) fn salvage(state: &State, to: &Path, dry_run: bool) -> Result<ExitCode> {
    let key = super::unlock_key(state)?;
    progress("reading what still opens");
    let salvage = Salvage::read(&state.state_dir, key.as_ref())?;
    let report = salvage.report();
    for finding in &report.findings {
        println!("{finding}");
    }
    for note in &report.notes {
        println!("note: {note}");
    }
    objects(if dry_run { "would save" } else { "saved" }, &report.objects);
    let whole = report.losses().next().is_none() && report.startable;
    if !dry_run {
        progress("writing it");
        salvage.write(to)?;
        println!("written to {}", to.display());
    }
    if whole {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("nodeseal: the state is NOT complete; what is lost stands above");
    Ok(ExitCode::from(DAMAGED))
}

pub(crate) fn redact(state: &State, to: &Path) -> Result<ExitCode> {
    let key = super::unlock_key(state)?;
    progress("copying without payloads and keys");
    let done = swarm::redact(&state.state_dir, to, key.as_ref())?;
    println!("redacted {} entries and snapshots", done.redacted);
    if done.replaced > 0 {
        println!("replaced {} that do not open", done.replaced);
    }
    if done.left_out > 0 {
        println!("left out {} damaged places", done.left_out);
    }
    println!("names, labels, host names and addresses are in the copy");
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn export(state: &State, to: &Path, dry_run: bool) -> Result<ExitCode> {
    let key = super::unlock_key(state)?;
    if dry_run {
        let read = swarm::State::read(&state.state_dir, key.as_ref())?;
        objects("would export", &read.objects.counts());
        return Ok(super::losses(&read));
    }
    progress("writing the native keyring and store");
    migrated("exported", &swarm::export(&state.state_dir, to, key.as_ref())?);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn import(from: &Path, state: &State) -> Result<ExitCode> {
    let key = super::unlock_key(state)?;
    progress("writing the manager's folder");
    migrated("imported", &swarm::import(from, &state.state_dir, key.as_ref())?);
    Ok(ExitCode::SUCCESS)
}

fn migrated(verb: &str, done: &Migrated) {
    objects(verb, &done.objects);
    if let Some(index) = done.snapshot {
        println!("snapshot up to entry {index}");
    }
    println!("{} entries, the last is {}", done.entries, done.last_index);
    println!("locked: {}", if done.locked { "yes" } else { "NO" });
}

fn objects(verb: &str, counts: &BTreeMap<ObjectKind, usize>) {
    let parts: Vec<_> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!("{verb}: {}", parts.join(", "));
}

fn progress(what: impl Display) {
    eprintln!("nodeseal: {what} …");
}
