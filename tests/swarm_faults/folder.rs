//! The key file, what lies about, and that nothing is touched.

use std::fs;
use std::path::PathBuf;

use nodeseal::swarm::{self, FindingKind, State};
use nodeseal::{Error, UnlockKey};

use crate::segment;
use crate::{AUTOLOCKED, Patient, ROTATED, has};

#[test]
fn the_key_is_judged_by_the_key_file() {
    let patient = Patient::new(AUTOLOCKED);
    let dir = patient.capture.dir();
    assert!(matches!(State::read(&dir, None), Err(Error::KeyRequired)));
    let other = UnlockKey::generate().unwrap();
    assert!(matches!(State::read(&dir, Some(&other)), Err(Error::WrongKey)));
    let inspection = swarm::inspect(&dir, Some(&other)).unwrap();
    assert!(matches!(inspection.locked_by, Some(Error::WrongKey)));

    let parent = dir.parent().unwrap();
    assert!(matches!(State::read(parent, None), Err(Error::Missing(_))));
    assert!(matches!(swarm::inspect(parent, None), Err(Error::Missing(_))));
}

#[test]
fn without_the_key_the_outside_is_still_told() {
    let patient = Patient::new(ROTATED);
    let dir = patient.capture.dir();
    let inspection = swarm::inspect(&dir, None).unwrap();
    assert!(matches!(inspection.locked_by, Some(Error::KeyRequired)));
    assert!(inspection.objects.is_none());
    let key = inspection.key.unwrap();
    assert!(key.locked && key.has_dek && !key.has_pending_dek && !key.needs_rotation);
    assert_eq!(key.kek_version, Some(16));
    let raft = inspection.raft;
    assert_eq!(raft.entries.by_algorithm["secretbox"], raft.entries.total);
    assert_eq!((raft.snapshots[0].index, raft.snapshots[0].used), (Some(17), false));
    assert_eq!(raft.member.unwrap().node_id, "smmmo6jxqjzmwqompz3wque27");

    let with_key = swarm::inspect(&dir, patient.capture.key().as_ref()).unwrap();
    assert!(with_key.locked_by.is_none());
    assert_eq!(with_key.objects.unwrap()[&swarm::ObjectKind::Secret], 10);
    assert!(with_key.findings.iter().any(|finding| finding.kind == FindingKind::RetiredKey));

    segment::replace(&dir.join("certificates/swarm-node.key"), b"");
    let inspection = swarm::inspect(&dir, None).unwrap();
    assert!(inspection.key.is_none());
    assert!(matches!(inspection.locked_by, Some(Error::Damaged { .. })));
    assert_eq!(inspection.raft.entries.total, raft.entries.total);
}

#[test]
fn leftovers_are_told() {
    let patient = Patient::new(AUTOLOCKED);
    let dir = patient.capture.dir();
    fs::create_dir(dir.join("raft/wal-v3")).unwrap();
    for (file, kind) in [
        ("raft/wal-v3/0000000000000000-0000000000000000.wal", FindingKind::LegacyFolder),
        (
            "raft/wal-v3-encrypted/0000000000000000-0000000000000000.wal.broken",
            FindingKind::Leftover,
        ),
        (
            "raft/snap-v3-encrypted/0000000000000002-0000000000000011.snap.broken",
            FindingKind::Leftover,
        ),
        ("raft/wal-v3-encrypted/notes.txt", FindingKind::UnknownFile),
        ("certificates/.tmp-swarm-node.key123", FindingKind::StaleKeyFile),
    ] {
        let before = patient.read().findings.len();
        segment::replace(&dir.join(file), b"x");
        let state = patient.read();
        assert_eq!(state.findings.len(), before + 1, "{file}");
        assert!(has(&state, kind), "{file}");
        assert!(state.is_complete());
    }
}

#[test]
fn nothing_is_written() {
    fn walk(dir: &std::path::Path, out: &mut Vec<(PathBuf, u64, std::time::SystemTime)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let data = entry.metadata().unwrap();
            if data.is_dir() {
                walk(&entry.path(), out);
            }
            out.push((entry.path(), data.len(), data.modified().unwrap()));
        }
        out.sort();
    }
    let patient = Patient::new(ROTATED);
    segment::cut(&patient.wal, patient.end() - 8);
    segment::flip(&patient.snapshot(), 2000);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    walk(&patient.capture.dir(), &mut before);
    patient.read();
    swarm::inspect(patient.capture.dir(), patient.capture.key().as_ref()).unwrap();
    walk(&patient.capture.dir(), &mut after);
    assert_eq!(before, after);
}
