//! The commands that change a folder.

use core::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use nodeseal::swarm::{Change, Finding, FindingKind, Manager, Progress, Report, Severity};
use nodeseal::{Error, Protection, Rekey, UnlockKey};

use super::progress::Work;
use crate::args::{Changing, NewKey};
use crate::fail::Result;
use crate::stdio;

/// A change, without its key.
#[derive(Clone, Copy)]
pub(crate) enum What {
    FinishRotation,
    RotateDek,
    AutolockOff,
    ForceNewCluster,
    Lock,
    RotateUnlockKey(Rekey),
}

impl What {
    fn with(self, key: &UnlockKey) -> Change<'_> {
        match self {
            Self::FinishRotation => Change::FinishRotation,
            Self::RotateDek => Change::RotateDek,
            Self::AutolockOff => Change::AutolockOff,
            Self::ForceNewCluster => Change::ForceNewCluster,
            Self::Lock => Change::Lock { new: key },
            Self::RotateUnlockKey(rekey) => Change::RotateUnlockKey { new: key, rekey },
        }
    }
}

/// Makes a change; `to` says where its new unlock key goes or comes from, if it has one.
pub(crate) fn run(of: &Changing, what: What, to: Option<&NewKey>) -> Result<ExitCode> {
    let old = super::unlock_key(&of.state)?;
    let given = to.and_then(|to| to.to_unlock_key_file.as_deref());
    let new = match given {
        Some(path) => stdio::unlock_key(path)?,
        None => UnlockKey::generate()?,
    };
    let work = Work::new(&of.state);
    let manager = Manager::open_in(Arc::clone(work.fs()), &of.state.state_dir, old.as_ref())?;
    let report = manager.plan(what.with(&new))?;
    if of.dry_run {
        work.end();
        stdio::write_out(text(&report, true).as_bytes())?;
        warn(&report);
        return Ok(ExitCode::SUCCESS);
    }
    // Whoever the key is for has it before anything changes.
    let made = to.filter(|_| given.is_none());
    let file = made.and_then(|to| to.new_unlock_key_file.as_deref());
    match (made, file) {
        (Some(_), Some(file)) => stdio::write_new_key(file, &new)?,
        (Some(_), None) => stdio::write_key(&new)?,
        (None, _) => {}
    }
    let done = manager.apply(what.with(&new), &mut |progress| tell(&work, progress));
    work.end();
    if done.is_err() {
        after_failure(of, old.as_ref(), to.map(|_| &new), file);
    }
    let report = done?;
    let text = text(&report, false);
    if made.is_some() && file.is_none() {
        eprint!("{text}");
    } else {
        stdio::write_out(text.as_bytes())?;
    }
    warn(&report);
    Ok(ExitCode::SUCCESS)
}

/// Says which key opens the folder now.
fn after_failure(
    of: &Changing,
    old: Option<&UnlockKey>,
    new: Option<&UnlockKey>,
    file: Option<&Path>,
) {
    let opens = |key| {
        !matches!(
            Manager::open(&of.state.state_dir, key),
            Err(Error::WrongKey | Error::KeyRequired)
        )
    };
    let Some(new) = new else {
        eprintln!("nodeseal: it did not finish: run it again");
        return;
    };
    if opens(old) {
        eprintln!("nodeseal: the folder opens as before");
        if let Some(file) = file {
            eprintln!("nodeseal: the key in {} is not in use", file.display());
        }
    } else if opens(Some(new)) {
        eprintln!(
            "nodeseal: the folder opens with the NEW unlock key; finish with finish-rotation and \
             that one before dockerd is started"
        );
    }
}

fn tell(work: &Work, progress: Progress) {
    match progress {
        Progress::Reading => work.phase("reading log and snapshots"),
        Progress::Sealing { bytes } => work.phase(&format!("sealing {bytes} bytes of state")),
        Progress::KeyFile => work.phase("replacing the key file"),
        Progress::Replacing => work.phase("replacing log and snapshots"),
        _ => {}
    }
}

/// What still lies there.
fn warn(report: &Report) {
    // What stood under retired keys goes with the files that are replaced.
    let told =
        |one: &&Finding| one.severity != Severity::Note && one.kind != FindingKind::RetiredKey;
    for finding in report.findings.iter().filter(told) {
        eprintln!("nodeseal: found before: {finding}");
    }
}

fn text(report: &Report, planned: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn core::fmt::Display| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<14} {value}");
    };
    line("change", &if planned { "planned only: nothing was changed" } else { "done" });
    if report.finishes_rotation {
        line("rotation", &"a half-done one is finished");
    }
    if report.finishes_unlock_key {
        line(
            "unlock key",
            &"the cluster gets the key file's, which an interrupted change did not give it",
        );
    }
    line("new DEK", &if report.new_dek { "yes" } else { "no" });
    let locked = match report.protection {
        Protection::Clear => "NO",
        _ => "yes",
    };
    line("locked", &locked);
    line("kek-version", &report.kek_version);
    line("snapshot", &format_args!("up to entry {}", report.snapshot_index));
    for (kind, count) in &report.objects {
        line(&kind.to_string(), count);
    }
    for member in &report.members_removed {
        line("removed", &format_args!("member {} at {}", member.node_id, member.address));
    }
    if report.entries_discarded > 0 {
        line("given up", &format_args!("{} uncommitted entries", report.entries_discarded));
    }
    for path in &report.replaced {
        line("replaced", &path.display());
    }
    text
}
