use core::fmt::{self, Write as _};
use std::process::ExitCode;

use nodeseal::swarm::{self, Inspection, KeyFacts, RaftFacts, Severity};
use nodeseal::{Error, ErrorKind};

use super::progress::Work;
use crate::args::State;
use crate::fail::{DAMAGED, KEY, Result};
use crate::stdio;

pub(crate) fn run(state: &State, json: bool) -> Result<ExitCode> {
    let key = super::unlock_key(state)?;
    let work = Work::new(state);
    let found = swarm::inspect_in(&**work.fs(), &state.state_dir, key.as_ref())?;
    work.end();
    if json {
        stdio::write_json(&found)?;
    } else {
        stdio::write_out(text(&found).as_bytes())?;
    }
    match &found.locked_by {
        None => {}
        Some(Error::KeyRequired) => {
            eprintln!("nodeseal: without the unlock key (--unlock-key-file) this is all");
        }
        Some(error) => eprintln!("nodeseal: {error}"),
    }
    Ok(code(&found))
}

/// To leave the key out is no fault here: what can be known without it was told.
fn code(found: &Inspection) -> ExitCode {
    let damaged = found.findings.iter().any(|finding| finding.severity == Severity::Error);
    match &found.locked_by {
        Some(error) if !matches!(error, Error::KeyRequired) && error.kind() == ErrorKind::Key => {
            ExitCode::from(KEY)
        }
        _ if damaged => ExitCode::from(DAMAGED),
        _ => ExitCode::SUCCESS,
    }
}

fn text(found: &Inspection) -> String {
    let mut text = Text::default();
    if let Some(key) = &found.key {
        text.key(key);
    }
    text.raft(&found.raft);
    for (kind, count) in found.objects.iter().flatten() {
        text.line(&kind.to_string(), &count);
    }
    for finding in &found.findings {
        text.line("finding", finding);
    }
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, name: &str, value: &dyn fmt::Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{name:<14} {value}");
    }

    fn key(&mut self, key: &KeyFacts) {
        self.line("locked", &if key.locked { "yes" } else { "NO" });
        self.line("key form", &format_args!("{:?}", key.form));
        match key.kek_version {
            Some(version) => self.line("kek-version", &version),
            None => self.line("kek-version", &"unknown"),
        }
        let rotation = match (key.has_pending_dek, key.needs_rotation) {
            (false, false) => "none",
            (true, false) => "a pending DEK",
            (false, true) => "asked for",
            (true, true) => "a pending DEK, and one more asked for",
        };
        self.line("rotation", &rotation);
    }

    fn raft(&mut self, raft: &RaftFacts) {
        if let Some(member) = &raft.member {
            let who = format!("{} at {}", member.node_id, member.address);
            self.line("node", &format_args!("{who} (raft id {:x})", member.raft_id));
        }
        if let Some(state) = &raft.hard_state {
            let (term, commit) = (state.term, state.commit);
            self.line("raft", &format_args!("term {term}, committed up to {commit}"));
        }
        for segment in &raft.segments {
            self.line(
                "segment",
                &format_args!(
                    "{}: {} records, {} entries, {} of {} bytes used",
                    segment.name, segment.records, segment.entries, segment.used, segment.size
                ),
            );
        }
        for snapshot in &raft.snapshots {
            let used = if snapshot.used { ", used" } else { "" };
            let size = snapshot.size;
            match (snapshot.term, snapshot.index) {
                (Some(term), Some(index)) => self.line(
                    "snapshot",
                    &format_args!(
                        "{}: term {term}, index {index}, {size} bytes{used}",
                        snapshot.name
                    ),
                ),
                _ => self.line("snapshot", &format_args!("{}: {size} bytes", snapshot.name)),
            }
        }
        let algorithms: Vec<String> =
            raft.entries.by_algorithm.iter().map(|(name, n)| format!("{n} {name}")).collect();
        self.line("entries", &format_args!("{} ({})", raft.entries.total, algorithms.join(", ")));
        if raft.uncommitted > 0 {
            self.line("uncommitted", &raft.uncommitted);
        }
    }
}
