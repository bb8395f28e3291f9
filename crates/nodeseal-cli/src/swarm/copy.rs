//! The commands that make another folder and leave the first as it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use nodeseal::swarm::{self, Migrated, ObjectKind, Salvage};

use super::progress::Work;
use crate::args::State;
use crate::fail::{DAMAGED, Result};

pub(crate) fn salvage(state: &State, to: &Path, dry_run: bool) -> Result<ExitCode> {
    let key = super::unlock_key(state)?;
    let work = Work::new(state);
    work.phase("reading what still opens");
    let salvage = Salvage::read_in(&**work.fs(), &state.state_dir, key.as_ref())?;
    work.end();
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
        let work = Work::new(state);
        work.phase("writing it");
        salvage.write_in(&**work.fs(), to)?;
        work.end();
        println!("written to {}", to.display());
    }
    if whole {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("nodeseal: the state is NOT complete; what is lost stands above");
    Ok(ExitCode::from(DAMAGED))
}

pub(crate) fn redact(state: &State, to: &Path, dry_run: bool) -> Result<ExitCode> {
    let key = super::unlock_key(state)?;
    let (work, dir) = (Work::new(state), &state.state_dir);
    let make = if dry_run { swarm::plan_redact_in } else { swarm::redact_in };
    work.phase("copying without payloads and keys");
    let done = make(&**work.fs(), dir, to, key.as_ref())?;
    work.end();
    let would = if dry_run { "would have " } else { "" };
    println!("{would}redacted {} entries and snapshots", done.redacted);
    if done.replaced > 0 {
        println!("{would}replaced {} that do not open", done.replaced);
    }
    if done.left_out > 0 {
        println!("{would}left out {} damaged places", done.left_out);
    }
    println!("names, labels, host names and addresses are in the copy");
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn export(state: &State, to: &Path, dry_run: bool) -> Result<ExitCode> {
    let key = super::unlock_key(state)?;
    let (work, dir) = (Work::new(state), &state.state_dir);
    let done = if dry_run {
        work.phase("reading log and snapshots");
        swarm::plan_export_in(&**work.fs(), dir, to, key.as_ref())
    } else {
        work.phase("writing the native keyring and store");
        swarm::export_in(work.fs(), dir, to, key.as_ref())
    };
    work.end();
    migrated(if dry_run { "would export" } else { "exported" }, &done?);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn import(from: &Path, state: &State, dry_run: bool) -> Result<ExitCode> {
    let key = super::unlock_key(state)?;
    let (work, to) = (Work::new(state), &state.state_dir);
    let make = if dry_run { swarm::plan_import_in } else { swarm::import_in };
    work.phase(if dry_run { "reading the store" } else { "writing the manager's folder" });
    let done = make(work.fs(), from, to, key.as_ref())?;
    work.end();
    migrated(if dry_run { "would import" } else { "imported" }, &done);
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
