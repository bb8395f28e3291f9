use core::fmt::Write as _;
use std::process::ExitCode;

use nodeseal::swarm::{self, Diagnosis, FileVerdict, Leftover, RecordVerdict, Verdict};
use nodeseal::{Error, ErrorKind};

use super::progress::Work;
use crate::args::State;
use crate::fail::{DAMAGED, KEY, Result};
use crate::stdio;

pub(crate) fn doctor(state: &State, records: bool, json: bool) -> Result<ExitCode> {
    let key = super::unlock_key(state)?;
    let work = Work::new(state);
    let found = swarm::doctor_in(&**work.fs(), &state.state_dir, key.as_ref())?;
    work.end();
    if json {
        stdio::write_json(&found)?;
    } else {
        stdio::write_out(text(&found, records).as_bytes())?;
    }
    match &found.inspection.locked_by {
        None => {}
        Some(Error::KeyRequired) => {
            eprintln!("nodeseal: without the unlock key (--unlock-key-file) nothing was opened");
        }
        Some(error) => eprintln!("nodeseal: {error}"),
    }
    Ok(match &found.inspection.locked_by {
        Some(error) if !matches!(error, Error::KeyRequired) && error.kind() == ErrorKind::Key => {
            ExitCode::from(KEY)
        }
        _ if !found.is_well() => ExitCode::from(DAMAGED),
        _ => ExitCode::SUCCESS,
    })
}

fn text(found: &Diagnosis, records: bool) -> String {
    let mut text = String::new();
    for file in &found.files {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:<12} {}", verdict(file.verdict), file.path.display());
        if let Some(why) = &file.text {
            let _ = writeln!(text, "             {why}");
        }
        counts(&mut text, file);
        let wrong = |record: &&RecordVerdict| records || record.verdict >= Verdict::Leftover;
        for one in file.records.iter().filter(wrong) {
            let index = one.index.map_or_else(String::new, |index| format!(" {index}"));
            let why = one.text.as_deref().map_or_else(String::new, |why| format!(": {why}"));
            let (offset, kind) = (one.offset, one.kind);
            let verdict = verdict(one.verdict);
            let _ = writeln!(text, "  {verdict:<12} {kind}{index} at {offset}{why}");
        }
    }
    for finding in found.inspection.findings.iter().filter(|finding| finding.loss.is_some()) {
        let _ = writeln!(text, "{finding}");
    }
    text
}

/// How many records a segment has of each verdict.
fn counts(text: &mut String, file: &FileVerdict) {
    let mut seen: Vec<(Verdict, usize)> = Vec::new();
    for record in &file.records {
        match seen.iter_mut().find(|(verdict, _)| *verdict == record.verdict) {
            Some((_, count)) => *count += 1,
            None => seen.push((record.verdict, 1)),
        }
    }
    if !seen.is_empty() {
        seen.sort_unstable();
        let parts: Vec<_> =
            seen.into_iter().map(|(one, count)| format!("{count} {}", verdict(one))).collect();
        let _ = writeln!(text, "             records: {}", parts.join(", "));
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Replaced => "replaced",
        Verdict::Sealed => "sealed",
        Verdict::Leftover => "leftover",
        Verdict::Foreign => "foreign",
        Verdict::Truncated => "truncated",
        Verdict::OutOfChain => "out of chain",
        Verdict::WrongKey => "wrong key",
        Verdict::Damaged => "damaged",
        Verdict::Missing => "missing",
        _ => "unknown",
    }
}

pub(crate) fn clean(state: &State, remove: bool) -> Result<ExitCode> {
    let key = super::unlock_key(state)?;
    let work = Work::new(state);
    let shown = swarm::leftovers_in(&**work.fs(), &state.state_dir, key.as_ref())?;
    work.end();
    let verb = if remove { "remove" } else { "would remove" };
    for Leftover { path, size, kept, .. } in &shown {
        match kept {
            None => println!("{verb:<12} {} ({size} bytes)", path.display()),
            Some(why) => println!("keep         {} ({size} bytes): {why}", path.display()),
        }
    }
    if remove {
        let work = Work::new(state);
        swarm::clean_in(&**work.fs(), &state.state_dir, key.as_ref())?;
        work.end();
        eprintln!(
            "nodeseal: what was removed was overwritten first, as far as that reaches; what stood \
             there in the clear counts as exposed"
        );
    }
    Ok(ExitCode::SUCCESS)
}
