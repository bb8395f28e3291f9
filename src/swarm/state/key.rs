//! Whether the key file goes with log and snapshots.

use std::path::Path;

use super::RaftFacts;
use crate::key::UnlockKey;
use crate::swarm::finding::{FindingKind, Findings, at};
use crate::swarm::key_file::KeyFile;
use crate::swarm::replay::{Objects, Replay};

/// How many entries a manager's log may be behind the cluster's.
pub(crate) const PLAUSIBLE_LAG: u64 = 1 << 32;

/// Reports what the key file says and log and snapshots contradict.
pub(crate) fn compare_key(
    file: &KeyFile,
    path: &Path,
    raft: &RaftFacts,
    objects: &Objects,
    findings: &mut Findings,
) {
    let commit = raft.hard_state.map_or(0, |state| state.commit);
    let snapshots = raft.snapshots.iter().filter_map(|snapshot| snapshot.index);
    let reach = snapshots.chain(raft.last_index).chain([commit]).max().unwrap_or(0);
    let Some(version) = file.kek_version().filter(|version| *version > reach) else { return };
    let place = at(path, None, None);
    let text = format!("kek-version {version} is beyond the log, which ends at {reach}");
    // A manager gets the unlock key from the cluster when it joins, and with each new certificate; only
    // a sole one's log must have come so far.
    if is_alone(raft, objects) || version > reach.saturating_add(PLAUSIBLE_LAG) {
        let text = format!(
            "{text}: the header was altered, or the log cut or put back; Swarm ignores newer unlock \
             keys up to that version"
        );
        findings.error(FindingKind::KekVersionAhead, place, text, None);
    } else {
        let text = format!(
            "{text}: the manager joined just now or lags behind, or the header was altered, or the \
             log cut or put back"
        );
        findings.warn(FindingKind::KekVersionAhead, place, text);
    }
}

/// Reports a key file with a newer unlock key than a sole manager's cluster has. Of several managers one
/// that lags behind may have it.
pub(crate) fn compare_unlock_key(
    file: &KeyFile,
    key: Option<&UnlockKey>,
    path: &Path,
    raft: &RaftFacts,
    objects: &Objects,
    findings: &mut Findings,
) {
    let Some(kek) = key.filter(|_| file.locked()) else { return };
    let version = file.kek_version().unwrap_or(0);
    if is_alone(raft, objects)
        && objects.clusters.values().any(|cluster| cluster.is_behind(kek, version))
    {
        let text = "the key file has another unlock key than the cluster, as of a later version: a \
                    change was interrupted, which finish-rotation finishes, or kek-version was \
                    altered; Swarm would put the cluster's back when the cluster is next changed";
        findings.warn(FindingKind::UnlockKeyAhead, at(path, None, None), text);
    }
}

fn is_alone(raft: &RaftFacts, objects: &Objects) -> bool {
    raft.member.as_ref().is_some_and(|member| objects.is_sole_member(member.raft_id))
}
