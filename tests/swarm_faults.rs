//! Genuine states with one fault each: what is damaged and what is lost is told to the entry.
#![cfg(feature = "swarm")]
#![allow(clippy::unwrap_used, reason = "the helpers belong to the tests")]

#[path = "support/capture.rs"]
mod capture;
#[path = "swarm_faults/entries.rs"]
mod entries;
#[path = "swarm_faults/folder.rs"]
mod folder;
#[path = "swarm_faults/frames.rs"]
mod frames;
#[path = "support/segment.rs"]
mod segment;
#[path = "swarm_faults/segments.rs"]
mod segments;
#[path = "swarm_faults/snapshots.rs"]
mod snapshots;

use std::fs;
use std::path::PathBuf;

use capture::Capture;
use nodeseal::swarm::{Finding, FindingKind, Loss, State};
use segment::{ENTRY, Frame, only};

const AUTOLOCKED: &str = "1-autolocked";
const SNAPSHOTS: &str = "2-snapshots";
const ROTATED: &str = "4-dek-rotated";

/// A capture that a test damages.
struct Patient {
    capture: Capture,
    wal: PathBuf,
    frames: Vec<Frame>,
}

impl Patient {
    fn new(name: &str) -> Self {
        let capture = Capture::unpack(name);
        let wal = only(&capture.dir());
        let frames = segment::frames(&wal);
        Self { capture, wal, frames }
    }

    fn read(&self) -> State {
        State::read(self.capture.dir(), self.capture.key().as_ref()).unwrap()
    }

    fn entry(&self, index: u64) -> &Frame {
        self.frames.iter().find(|f| f.kind == ENTRY && f.index() == index).unwrap()
    }

    fn last_entry(&self) -> &Frame {
        self.frames.iter().rfind(|frame| frame.kind == ENTRY).unwrap()
    }

    fn end(&self) -> u64 {
        self.frames.last().unwrap().range.end
    }

    /// Writes the frames back, as one segment with a good chain.
    fn rewrite(&self) {
        segment::replace(&self.wal, &segment::encode(&self.frames, 0).0);
    }

    /// The entry that made the secret; its index is the secret's version plus one.
    fn entry_of(&self, secret: &str) -> u64 {
        self.capture.expected["secrets"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == secret)
            .and_then(|one| one["version"].as_u64())
            .unwrap()
            + 1
    }

    fn expected_secrets(&self) -> usize {
        self.capture.expected["secrets"].as_array().unwrap().len()
    }

    fn snapshot(&self) -> PathBuf {
        let dir = self.capture.dir().join("raft/snap-v3-encrypted");
        fs::read_dir(dir).unwrap().next().unwrap().unwrap().path()
    }
}

fn find(state: &State, kind: FindingKind) -> &Finding {
    match state.findings.iter().find(|finding| finding.kind == kind) {
        Some(finding) => finding,
        None => panic!("no {kind:?} in {:#?}", state.findings),
    }
}

fn has(state: &State, kind: FindingKind) -> bool {
    state.findings.iter().any(|finding| finding.kind == kind)
}

fn names(state: &State) -> Vec<&str> {
    let mut names: Vec<_> =
        state.objects.secrets.values().map(|secret| secret.facts.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn only_entry(index: u64) -> Option<Loss> {
    Some(Loss::Entries { first: index, last: Some(index) })
}

fn from(first: u64) -> Option<Loss> {
    Some(Loss::Entries { first, last: None })
}
