//! Attestations of genuine states, and the attacks that Swarm accepts.
#![cfg(feature = "swarm")]
#![allow(clippy::unwrap_used, reason = "the helpers belong to the tests")]

#[path = "support/capture.rs"]
mod capture;
#[path = "support/segment.rs"]
mod segment;

use std::fs;
use std::path::{Path, PathBuf};

use capture::Capture;
use nodeseal::secret::SecretKey;
use nodeseal::swarm::{
    Attestation, Finding, FindingKind, KeyFile, Severity, State, Verification, attest, verify,
};
use nodeseal::{Error, UnlockKey, hazmat};
use segment::{ENTRY, Frame, STATE, only, varint};

/// A capture that is attested and then attacked.
struct Target {
    capture: Capture,
    attestation: Attestation,
}

impl Target {
    fn new(name: &str) -> Self {
        let capture = Capture::unpack(name);
        let attestation = attest(capture.dir(), capture.key().as_ref()).unwrap();
        Self { capture, attestation }
    }

    fn verify(&self) -> Verification {
        verify(self.capture.dir(), self.capture.key().as_ref(), &self.attestation).unwrap()
    }

    fn state(&self) -> State {
        State::read(self.capture.dir(), self.capture.key().as_ref()).unwrap()
    }

    fn wal(&self) -> PathBuf {
        only(&self.capture.dir())
    }

    fn frames(&self) -> Vec<Frame> {
        segment::frames(&self.wal())
    }

    /// Writes the log with a good chain, at the length that it had.
    fn write(&self, frames: &[Frame]) {
        let (mut bytes, _) = segment::encode(frames, 0);
        bytes.resize(bytes.len().max(1 << 20), 0);
        segment::replace(&self.wal(), &bytes);
    }

    fn dek(&self) -> SecretKey {
        let path = self.capture.dir().join("certificates/swarm-node.key");
        let file = KeyFile::parse(&fs::read(path).unwrap()).unwrap();
        file.unlock(self.capture.key().as_ref()).unwrap().current.unwrap()
    }
}

/// The sealed record of an entry, where it stands in the frame's data.
fn sealed(frame: &Frame) -> (usize, &[u8]) {
    let mut at = 0;
    loop {
        let tag = frame.data[at];
        let (value, next) = varint(&frame.data, at + 1);
        if tag == 0x22 {
            return (at, &frame.data[next..next + usize::try_from(value).unwrap()]);
        }
        at = next;
    }
}

/// Opens a secretbox record.
fn open(frame: &Frame, dek: &SecretKey) -> Vec<u8> {
    let (_, record) = sealed(frame);
    assert_eq!(record[..3], [0x08, 1, 0x12]);
    let (len, start) = varint(record, 3);
    let end = start + usize::try_from(len).unwrap();
    assert_eq!(record[end..end + 2], [0x1a, 24]);
    let mut data = record[start + 16..end].to_vec();
    let nonce = record[end + 2..].try_into().unwrap();
    let tag = record[start..start + 16].try_into().unwrap();
    hazmat::secretbox_open(dek, nonce, tag, &mut data).unwrap();
    data
}

/// The frame with another one's sealed record in place of its own.
fn spliced(frame: &Frame, from: &Frame) -> Frame {
    let (at, _) = sealed(frame);
    let mut data = frame.data[..at].to_vec();
    let (_, record) = sealed(from);
    data.push(0x22);
    segment::put_varint(&mut data, u64::try_from(record.len()).unwrap());
    data.extend_from_slice(record);
    Frame { data, ..frame.clone() }
}

fn faults(found: &Verification) -> Vec<FindingKind> {
    let own = |finding: &&Finding| finding.severity == Severity::Error;
    found.findings.iter().filter(own).map(|finding| finding.kind).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn every_capture_is_attested_and_stands() {
    for name in capture::all() {
        let target = Target::new(&name);
        let text = target.attestation.to_text();
        let read = Attestation::parse(text.as_bytes()).unwrap();
        assert_eq!(read, target.attestation, "{name}");
        let found = target.verify();
        assert!(found.is_intact(), "{name}: {found:?}");
        assert_eq!((found.standing, found.compacted, found.added), (found.attested, 0, 0));
        assert_eq!(found.attested_to, found.inspection.raft.last_index, "{name}");
        assert!(found.findings.is_empty(), "{name}");
        // No secret is in it.
        let state = target.state();
        for secret in state.objects.secrets.values().filter(|one| one.payload.len() > 8) {
            let payload = secret.payload.expose();
            assert!(!text.as_bytes().windows(payload.len()).any(|window| window == payload));
        }
    }
}

/// W1: the entry that removes a secret is given the sealed content of a no-op.
#[test]
fn a_spliced_record_is_found() {
    let target = Target::new("2-snapshots");
    let (dek, mut frames) = (target.dek(), target.frames());
    let entries: Vec<usize> = (0..frames.len()).filter(|n| frames[*n].kind == ENTRY).collect();
    let base = target.state().raft.snapshots.iter().find(|one| one.used).unwrap().index.unwrap();
    let removes = |frame: &Frame| {
        // InternalRaftRequest.action.kind = remove, of a secret
        let text = open(frame, &dek);
        text.windows(3).any(|w| w == [0x08, 3, 0x3a]) && frame.index() > base
    };
    let removal = *entries.iter().find(|n| removes(&frames[**n])).unwrap();
    let empty = *entries.iter().find(|n| open(&frames[**n], &dek).is_empty()).unwrap();
    let before = target.state().objects.secrets.len();
    frames[removal] = spliced(&frames[removal], &frames[empty]);
    target.write(&frames);

    // What Swarm does: it opens, and the secret is back.
    assert_eq!(target.state().objects.secrets.len(), before + 1);
    let found = target.verify();
    assert_eq!(faults(&found), [FindingKind::AttestedAltered]);
    assert_eq!(found.findings[0].place.index, Some(frames[removal].index()));
    assert_eq!(found.standing, found.attested - 1);
    // The original still stands in the log, so that it shows without an attestation, too.
    let copied = found.inspection.findings.iter().find(|f| f.kind == FindingKind::RecordCopied);
    assert_eq!(copied.unwrap().place.index, Some(frames[removal].index()));
}

/// W2: the log is cut between two frames.
#[test]
fn a_log_cut_between_two_frames_is_found() {
    let target = Target::new("1-autolocked");
    let frames = target.frames();
    for at in (1..frames.len()).rev() {
        target.write(&frames[..at]);
        let found = target.verify();
        assert!(!found.is_intact(), "{at}");
        let (gone, fault) = (&frames[at..], &found.findings[0]);
        assert_eq!(fault.kind, FindingKind::AttestedMissing, "{at}");
        let first = gone.iter().find(|frame| frame.kind == ENTRY).map(Frame::index);
        assert_eq!(fault.place.index, first, "{at}: {fault}");
    }
}

/// W2: an older copy of `raft`, sealed under the same DEK.
#[test]
fn an_older_copy_is_found_also_when_it_was_gone_on_from() {
    let target = Target::new("2-snapshots");
    let frames = target.frames();
    let old = frames.iter().position(|f| f.kind == ENTRY && f.index() == 60).unwrap();
    target.write(&frames[..old]);
    let found = target.verify();
    assert!(faults(&found).contains(&FindingKind::AttestedMissing), "{found:?}");

    // The daemon went on from it: other entries of the same indices.
    let later: Vec<&Frame> = frames[old..].iter().filter(|f| f.kind == ENTRY).collect();
    let mut on: Vec<Frame> = frames[..old].to_vec();
    for (index, frame) in (60..63).zip(&later[later.len() - 3..]) {
        let mut frame = (*frame).clone();
        let at = frame.data.iter().position(|byte| *byte == 0x18).unwrap();
        frame.data[at + 1] = index;
        on.push(frame);
    }
    target.write(&on);
    let found = target.verify();
    assert!(faults(&found).contains(&FindingKind::AttestedMissing), "{found:?}");
    assert!(faults(&found).contains(&FindingKind::AttestedInserted), "{found:?}");
    let missing = found.findings.iter().find(|f| f.kind == FindingKind::AttestedMissing).unwrap();
    assert_eq!(missing.place.index, Some(60));
}

/// W2: the log alone is removed, or all of `raft` is put back by an older one.
#[test]
fn a_removed_log_and_another_nodes_are_found() {
    let target = Target::new("2-snapshots");
    fs::remove_dir_all(target.wal().parent().unwrap()).unwrap();
    let found = target.verify();
    assert!(faults(&found).contains(&FindingKind::AttestedMissing));
    assert_eq!(found.standing, 0);

    let target = Target::new("three-managers-m1");
    let other = Capture::unpack("three-managers-m2");
    fs::remove_dir_all(target.capture.dir().join("raft")).unwrap();
    copy(&other.dir().join("raft"), &target.capture.dir().join("raft"));
    let found = target.verify();
    assert!(faults(&found).contains(&FindingKind::MetadataDiffers), "{found:?}");
}

#[test]
fn every_dropped_doubled_or_exchanged_record_is_found() {
    let target = Target::new("1-autolocked");
    let frames = target.frames();
    // The first is the chain's beginning.
    for at in 1..frames.len() {
        let mut dropped = frames.clone();
        dropped.remove(at);
        target.write(&dropped);
        let found = target.verify();
        assert!(!found.is_intact() && found.standing < found.attested, "dropped {at}: {found:?}");

        let mut doubled = frames.clone();
        doubled.insert(at, frames[at].clone());
        target.write(&doubled);
        let found = target.verify();
        let last = at + 1 == frames.len();
        assert!(last || !found.is_intact(), "doubled {at}: {found:?}");

        let mut exchanged = frames.clone();
        exchanged.swap(at, at.max(2) - 1);
        target.write(&exchanged);
        let same = at == 1 || frames[at].data == frames[at - 1].data;
        assert_eq!(target.verify().is_intact(), same, "exchanged {at}");
    }
}

#[test]
fn every_field_outside_the_seal_is_covered() {
    let target = Target::new("1-autolocked");
    let frames = target.frames();
    for (number, frame) in frames.iter().enumerate() {
        let until = if frame.kind == ENTRY { sealed(frame).0 } else { frame.data.len() };
        for at in (0..until).step_by(5) {
            let mut altered = frames.clone();
            altered[number].data[at] ^= 1;
            target.write(&altered);
            let found = target.verify();
            assert!(!found.is_intact(), "frame {number}, byte {at}");
        }
        // The type is not in the chain.
        let mut altered = frames.clone();
        altered[number].kind = if frame.kind == STATE { ENTRY } else { STATE };
        if number > 0 {
            target.write(&altered);
            assert!(!target.verify().is_intact(), "type of frame {number}");
        }
    }
}

#[test]
fn what_the_daemon_adds_is_no_fault_and_the_rest_still_counts() {
    let whole = Capture::unpack("2-snapshots");
    let wal = only(&whole.dir());
    let frames = segment::frames(&wal);
    // Attested as it was before the first snapshot.
    let old = frames.iter().position(|f| f.kind == ENTRY && f.index() == 9).unwrap();
    let target = Capture::unpack("2-snapshots");
    segment::replace(&only(&target.dir()), &segment::encode(&frames[..old], 0).0);
    fs::remove_dir_all(target.dir().join("raft/snap-v3-encrypted")).unwrap();
    let key = target.key();
    let attestation = attest(target.dir(), key.as_ref()).unwrap();

    let found = verify(whole.dir(), key.as_ref(), &attestation).unwrap();
    assert!(found.is_intact(), "{:?}", found.findings);
    assert_eq!(found.standing, found.attested);
    assert!(found.added > 50);

    // An attested record is altered after the daemon ran.
    let mut altered = frames.clone();
    let at = altered.iter().position(|f| f.kind == ENTRY && f.index() == 5).unwrap();
    let other = frames.iter().find(|f| f.kind == ENTRY && f.index() == 20).unwrap();
    altered[at] = spliced(&altered[at], other);
    segment::replace(&wal, &segment::encode(&altered, 0).0);
    let found = verify(whole.dir(), key.as_ref(), &attestation).unwrap();
    assert_eq!(faults(&found), [FindingKind::AttestedAltered]);
    assert_eq!(found.findings[0].place.index, Some(5));
}

/// A segment that a snapshot covers may go, another one may not.
#[test]
fn only_what_a_snapshot_covers_may_be_compacted() {
    let target = Capture::unpack("2-snapshots");
    let wal = only(&target.dir());
    let frames = segment::frames(&wal);
    let base = State::read(target.dir(), target.key().as_ref()).unwrap();
    let base = base.raft.snapshots.iter().find(|one| one.used).unwrap().index.unwrap();
    for (cut_at, allowed) in [(40, true), (base + 2, false)] {
        // The log in two segments.
        let cut = frames.iter().position(|f| f.kind == ENTRY && f.index() == cut_at).unwrap();
        let (first, chain) = segment::encode(&frames[..cut], 0);
        let mut second = vec![frames[0].clone(), frames[1].clone()];
        second.extend_from_slice(&frames[cut..]);
        let (second, _) = segment::encode(&second, chain);
        segment::replace(&wal, &first);
        let next = wal.with_file_name(format!("{:016x}-{cut_at:016x}.wal", 1));
        segment::replace(&next, &second);
        let attestation = attest(target.dir(), target.key().as_ref()).unwrap();
        fs::remove_file(&wal).unwrap();
        let found = verify(target.dir(), target.key().as_ref(), &attestation).unwrap();
        assert_eq!(faults(&found).is_empty(), allowed, "{:?}", found.findings);
        assert_eq!(found.compacted > 0, allowed);
        fs::remove_file(next).unwrap();
    }
}

#[test]
fn snapshots_and_the_key_files_facts_are_covered() {
    let target = Target::new("4-dek-rotated");
    let dir = target.capture.dir().join("raft/snap-v3-encrypted");
    let snapshot = fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
    segment::flip(&snapshot, 3000);
    assert!(faults(&target.verify()).contains(&FindingKind::AttestedAltered));
    segment::flip(&snapshot, 3000);
    let kept = fs::read(&snapshot).unwrap();
    fs::remove_file(&snapshot).unwrap();
    assert!(faults(&target.verify()).contains(&FindingKind::AttestedMissing));
    segment::replace(&snapshot, &kept);
    assert!(target.verify().is_intact());

    // W8: a version that makes the node ignore every later unlock key, and an older one.
    let path = target.capture.dir().join("certificates/swarm-node.key");
    let text = fs::read_to_string(&path).unwrap();
    for version in ["18446744073709551615", "3"] {
        let forged = text.replace("kek-version: 16", &format!("kek-version: {version}"));
        segment::replace(&path, forged.as_bytes());
        let found = target.verify();
        assert_eq!(faults(&found), [FindingKind::AttestedKeyFile], "{version}");
        let ahead = |f: &Finding| f.kind == FindingKind::KekVersionAhead;
        assert_eq!(found.inspection.findings.iter().any(ahead), version.len() > 2);
    }
}

#[test]
fn an_attestation_needs_its_key_and_its_bytes() {
    let target = Target::new("1-autolocked");
    let other = UnlockKey::generate().unwrap();
    let dir = target.capture.dir();
    assert!(matches!(attest(&dir, None), Err(Error::KeyRequired)));
    assert!(matches!(attest(&dir, Some(&other)), Err(Error::WrongKey)));
    let found = verify(&dir, Some(&other), &target.attestation);
    assert!(matches!(found, Err(Error::WrongKey)));
    // Another folder's keys.
    let stranger = Capture::unpack("5-kek-rotated-killed");
    let found = verify(stranger.dir(), stranger.key().as_ref(), &target.attestation);
    assert!(matches!(found, Err(Error::WrongKey)));

    let text = target.attestation.to_text();
    let mut refused = 0;
    for at in 0..text.len() {
        let mut altered = text.clone().into_bytes();
        altered[at] ^= 1;
        let Ok(parsed) = Attestation::parse(&altered) else { continue };
        refused += 1;
        if at % 7 > 0 {
            continue;
        }
        match verify(&dir, target.capture.key().as_ref(), &parsed) {
            // A tag's id or word: the other tag then decides.
            Ok(found) => assert!(text[..at].rfind("\ntag ").is_some() && found.is_intact(), "{at}"),
            Err(error) => assert!(matches!(error, Error::Unauthentic), "{at}: {error}"),
        }
    }
    assert!(refused > 1000);
    let later = text.replace("attestation 1", "attestation 2");
    assert!(matches!(Attestation::parse(later.as_bytes()), Err(Error::Unsupported { .. })));
}

#[test]
fn a_damaged_folder_is_not_attested() {
    let capture = Capture::unpack("1-autolocked");
    let wal = only(&capture.dir());
    let last = segment::frames(&wal).pop().unwrap().range;
    segment::flip(&wal, last.start + 20);
    let refused = attest(capture.dir(), capture.key().as_ref());
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
}
