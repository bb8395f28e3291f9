//! What a folder holds now, in the digests of which an attestation is made.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Body, DIGEST, RecordDigest, RecordKind, SegmentDigest};
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::key::UnlockKey;
use crate::swarm::folder::Folder;
use crate::swarm::inspect::{Inspection, inspect_watched};
use crate::swarm::log::{Entry, Seen};
use crate::swarm::snapshot;
use crate::swarm::state::Watch;
use crate::wal::Kind;

/// What a folder holds now.
pub(super) struct See {
    pub(super) inspection: Inspection,
    pub(super) records: Vec<Vec<Placed>>,
    pub(super) snapshots: Vec<(String, [u8; DIGEST])>,
}

/// A record and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) offset: u64,
    pub(super) record: RecordDigest,
}

impl See {
    pub(super) fn folder(fs: &dyn Fs, dir: &Path, key: Option<&UnlockKey>) -> Result<Self> {
        let mut records = Records::default();
        let inspection = inspect_watched(fs, dir, key, &mut records)?;
        let folder = Folder::new(dir).snapshots();
        let mut snapshots = Vec::new();
        for facts in &inspection.raft.snapshots {
            snapshots.push((facts.name.clone(), snapshot::digest(fs, &folder.join(&facts.name))?));
        }
        Ok(Self { inspection, records: records.0, snapshots })
    }

    pub(super) fn body(&self) -> Result<Body> {
        let raft = &self.inspection.raft;
        let missing = || Error::damaged("there is no log");
        let key = self.inspection.key.as_ref().ok_or_else(missing)?;
        let member = raft.member.as_ref().ok_or_else(missing)?;
        let mut records = self.records.iter();
        let segments = raft.segments.iter().map(|segment| SegmentDigest {
            name: segment.name.clone(),
            records: records.next().into_iter().flatten().map(|placed| placed.record).collect(),
        });
        Ok(Body {
            node: member.node_id.clone(),
            locked: key.locked,
            kek_version: key.kek_version,
            needs_rotation: key.needs_rotation,
            segments: segments.collect(),
            snapshots: self.snapshots.clone(),
        })
    }
}

/// Digests every record that comes by.
#[derive(Default)]
struct Records(Vec<Vec<Placed>>);

impl Watch for Records {
    fn record(&mut self, seen: &Seen<'_>) {
        while self.0.len() <= seen.segment {
            self.0.push(Vec::new());
        }
        let (number, kind) = match seen.record.kind {
            Kind::Metadata => (1, RecordKind::Metadata),
            Kind::State => (3, RecordKind::State),
            Kind::Snapshot => (5, RecordKind::SnapshotPoint),
            // One that cannot be read is a finding, and so not attested.
            Kind::Entry => match Entry::parse(seen.data) {
                Ok(entry) => {
                    let (index, term, kind) = (entry.index, entry.term, entry.kind.number());
                    (2, RecordKind::Entry { index, term, kind })
                }
                Err(_) => return,
            },
            Kind::Crc | Kind::Own(_) | Kind::Other(_) => return,
        };
        let mut hash = Sha256::new_with_prefix([number]);
        hash.update(seen.data);
        let digest = hash.finalize().first_chunk().copied().unwrap_or_default();
        let record = RecordDigest { kind, digest };
        let placed = Placed { offset: seen.record.offset, record };
        if let Some(segment) = self.0.get_mut(seen.segment) {
            segment.push(placed);
        }
    }
}
