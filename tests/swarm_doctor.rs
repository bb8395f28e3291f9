//! Verdicts on genuine folders, whole and with one fault each, and the removal of leftovers.
#![cfg(feature = "swarm")]
#![allow(clippy::unwrap_used, reason = "the helpers belong to the tests")]

#[path = "support/capture.rs"]
mod capture;
#[path = "support/segment.rs"]
mod segment;

use std::fs;
use std::path::{Path, PathBuf};

use capture::Capture;
use nodeseal::swarm::{
    self, Diagnosis, FileKind, FileVerdict, FindingKind, RecordVerdict, Severity, State, Verdict,
    clean, leftovers,
};
use nodeseal::{Error, UnlockKey};
use segment::{ENTRY, Frame, only};

fn doctor(capture: &Capture) -> Diagnosis {
    swarm::doctor(capture.dir(), capture.key().as_ref()).unwrap()
}

fn file<'a>(found: &'a Diagnosis, path: &Path) -> &'a FileVerdict {
    match found.files.iter().find(|file| file.path == path) {
        Some(file) => file,
        None => panic!("no {} in {:#?}", path.display(), found.files),
    }
}

fn record(found: &Diagnosis, path: &Path, offset: u64) -> RecordVerdict {
    let records = &file(found, path).records;
    records.iter().find(|record| record.offset == offset).unwrap().clone()
}

fn key_file(capture: &Capture) -> PathBuf {
    capture.dir().join("certificates/swarm-node.key")
}

fn snapshot(capture: &Capture) -> PathBuf {
    let dir = capture.dir().join("raft/snap-v3-encrypted");
    fs::read_dir(dir).unwrap().next().unwrap().unwrap().path()
}

fn last_entry(frames: &[Frame]) -> &Frame {
    frames.iter().rfind(|frame| frame.kind == ENTRY).unwrap()
}

#[test]
fn a_genuine_folder_is_well_to_the_last_record() {
    for name in capture::all() {
        let capture = Capture::unpack(&name);
        let found = doctor(&capture);
        assert!(found.is_well(), "{name}: {:#?}", found.files);
        let segments = found.files.iter().filter(|file| file.kind == FileKind::Segment);
        for segment in segments {
            let frames = segment::frames(&segment.path);
            assert_eq!(segment.records.len(), frames.len(), "{name}");
            assert!(segment.records.iter().zip(&frames).all(|(r, f)| r.offset == f.range.start));
            let fine =
                |one: &RecordVerdict| matches!(one.verdict, Verdict::Good | Verdict::Replaced);
            assert!(segment.records.iter().all(fine), "{name}: {:?}", segment.records);
        }
        assert_eq!(file(&found, &key_file(&capture)).verdict, Verdict::Good);

        // Without the key of a locked folder nothing is said to be good that was not opened.
        if capture.key().is_some() {
            let found = swarm::doctor(capture.dir(), None).unwrap();
            assert!(found.is_well(), "{name}");
            assert_eq!(file(&found, &key_file(&capture)).verdict, Verdict::Sealed);
            let entries = found.files.iter().flat_map(|file| &file.records);
            let mut entries = entries.filter(|record| record.kind == "entry");
            assert!(entries.all(|one| matches!(one.verdict, Verdict::Sealed | Verdict::Replaced)));
            let other = UnlockKey::generate().unwrap();
            let found = swarm::doctor(capture.dir(), Some(&other)).unwrap();
            assert_eq!(file(&found, &key_file(&capture)).verdict, Verdict::WrongKey);
            assert!(!found.is_well());
        }
    }
}

#[test]
fn a_rotation_leaves_replaced_entries() {
    let found = doctor(&Capture::unpack("4-dek-rotated"));
    let retired = found.files.iter().flat_map(|file| &file.records);
    let retired = retired.filter(|record| record.verdict == Verdict::Replaced);
    let indices: Vec<_> = retired.map(|record| record.index.unwrap()).collect();
    assert_eq!(indices, (1..=17).collect::<Vec<_>>());
}

#[test]
fn each_fault_of_the_log_has_its_verdict() {
    let capture = Capture::unpack("1-autolocked");
    let wal = only(&capture.dir());
    let frames = segment::frames(&wal);
    let (last, end) = (last_entry(&frames).range.clone(), frames.last().unwrap().range.end);

    let middle = frames.iter().find(|f| f.kind == ENTRY && f.index() == 15).unwrap();
    let inside = middle.range.start + 60;
    segment::flip(&wal, inside);
    let found = doctor(&capture);
    let verdict = record(&found, &wal, middle.range.start);
    assert_eq!((verdict.verdict, verdict.index), (Verdict::Damaged, Some(15)));
    assert_eq!(file(&found, &wal).verdict, Verdict::Damaged);
    segment::flip(&wal, inside);

    // A later entry of the same index, an entry that is sealed under another key, a copy.
    let mut more = frames.clone();
    let copy = more.iter().find(|f| f.kind == ENTRY && f.index() == 10).unwrap().clone();
    more.push(copy);
    segment::replace(&wal, &segment::encode(&more, 0).0);
    let found = doctor(&capture);
    assert_eq!(record(&found, &wal, middle.range.start).verdict, Verdict::Replaced);
    assert!(!found.is_well());

    let mut other = frames.clone();
    let at = frames.iter().position(|f| f.range == middle.range).unwrap();
    let byte = other[at].data.len() - 40;
    other[at].data[byte] ^= 1;
    segment::replace(&wal, &segment::encode(&other, 0).0);
    let found = doctor(&capture);
    assert_eq!(record(&found, &wal, middle.range.start).verdict, Verdict::WrongKey);
    // Its checksum is right, so that without the key it looks well.
    assert!(swarm::doctor(capture.dir(), None).unwrap().is_well());

    let mut gap = frames.clone();
    gap.remove(at);
    segment::replace(&wal, &segment::encode(&gap, 0).0);
    let found = doctor(&capture);
    let place = middle.range.start;
    let gap_at = file(&found, &wal).records.iter().find(|one| one.offset >= place);
    let gap_at = gap_at.unwrap();
    assert_eq!((gap_at.kind, gap_at.verdict), ("state", Verdict::Good));
    let next = file(&found, &wal).records.iter().find(|one| one.index == Some(16)).unwrap();
    assert_eq!(next.verdict, Verdict::OutOfChain);

    // Torn, cut between frames, gone.
    segment::replace(&wal, &segment::encode(&frames, 0).0);
    segment::cut(&wal, last.end - 20);
    let found = doctor(&capture);
    assert_eq!(record(&found, &wal, last.start).verdict, Verdict::Truncated);
    assert_eq!(file(&found, &wal).verdict, Verdict::Truncated);
    segment::replace(&wal, &segment::encode(&frames[..frames.len() - 2], 0).0);
    assert_ne!(end, fs::metadata(&wal).unwrap().len());
    fs::remove_dir_all(wal.parent().unwrap()).unwrap();
    let capture = Capture::unpack("2-snapshots");
    fs::remove_dir_all(only(&capture.dir()).parent().unwrap()).unwrap();
    let found = doctor(&capture);
    assert_eq!(file(&found, only(&capture.dir()).parent().unwrap()).verdict, Verdict::Missing);
}

#[test]
fn snapshots_and_keys_have_their_verdicts() {
    let capture = Capture::unpack("4-dek-rotated");
    let path = snapshot(&capture);
    segment::flip(&path, 2000);
    assert_eq!(file(&doctor(&capture), &path).verdict, Verdict::Damaged);
    segment::flip(&path, 2000);
    let renamed = path.with_file_name("0000000000000009-0000000000000009.snap");
    fs::copy(&path, &renamed).unwrap();
    fs::remove_file(&path).unwrap();
    let found = doctor(&capture);
    assert_eq!(file(&found, &renamed).verdict, Verdict::OutOfChain);
    fs::remove_file(&renamed).unwrap();
    assert_eq!(file(&doctor(&capture), &path).verdict, Verdict::Missing);

    let capture = Capture::unpack("4-dek-rotated");

    // W8, and a key file of another node of the same cluster.
    let key = key_file(&capture);
    let text = fs::read_to_string(&key).unwrap();
    let forged = text.replace("kek-version: 16", "kek-version: 18446744073709551615");
    segment::replace(&key, forged.as_bytes());
    assert_eq!(file(&doctor(&capture), &key).verdict, Verdict::Damaged);
    segment::replace(&key, b"");
    assert_eq!(file(&doctor(&capture), &key).verdict, Verdict::Damaged);
    segment::replace(&key, text.as_bytes());
    assert!(doctor(&capture).is_well());

    let certificate = capture.dir().join("certificates/swarm-node.crt");
    let other = Capture::unpack("1-autolocked");
    fs::copy(other.dir().join("certificates/swarm-node.crt"), &certificate).unwrap();
    let found = doctor(&capture);
    let judged = file(&found, &certificate);
    assert_eq!(judged.verdict, Verdict::Damaged);
    for part in ["of the key", "of node", "of cluster"] {
        assert!(judged.text.as_ref().unwrap().contains(part), "{judged:?}");
    }
    fs::remove_file(&certificate).unwrap();
    assert!(file(&doctor(&capture), &certificate).text.as_ref().unwrap().contains("missing"));
}

/// A manager gets the cluster's unlock key together with a certificate, whatever its log has by then.
#[test]
fn one_of_several_managers_may_have_an_unlock_key_from_ahead_of_its_log() {
    let capture = Capture::unpack("three-managers-m1");
    let (path, key) = (key_file(&capture), capture.key());
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("kek-version: 32\n"));
    let ahead = |version: &str| {
        let later = text.replace("kek-version: 32\n", &format!("kek-version: {version}\n"));
        segment::replace(&path, later.as_bytes());
        let found = swarm::inspect(capture.dir(), key.as_ref()).unwrap().findings;
        found.into_iter().find(|one| one.kind == FindingKind::KekVersionAhead).unwrap()
    };
    let genuine = ahead("60");
    assert_eq!(genuine.severity, Severity::Warning, "{genuine}");
    assert!(genuine.text.contains("lags behind"), "{genuine}");
    assert!(doctor(&capture).is_well());
    swarm::attest(capture.dir(), key.as_ref()).unwrap();

    // No cluster came so far.
    assert_eq!(ahead("18446744073709551615").severity, Severity::Error);
    assert_eq!(file(&doctor(&capture), &path).verdict, Verdict::Damaged);
    assert!(swarm::attest(capture.dir(), key.as_ref()).is_err());
}

/// The log of a sole manager is the cluster's.
#[test]
fn a_sole_managers_unlock_key_is_not_ahead_of_its_log() {
    let capture = Capture::unpack("4-dek-rotated");
    let path = key_file(&capture);
    let text = fs::read_to_string(&path).unwrap();
    segment::replace(&path, text.replace("kek-version: 16", "kek-version: 500").as_bytes());
    assert_eq!(file(&doctor(&capture), &path).verdict, Verdict::Damaged);
    assert!(swarm::attest(capture.dir(), capture.key().as_ref()).is_err());
}

#[test]
fn a_log_of_another_node_is_foreign() {
    let capture = Capture::unpack("three-managers-m1");
    let wal = only(&capture.dir());
    let mut frames = segment::frames(&wal);
    let other = segment::frames(&only(&Capture::unpack("three-managers-m2").dir()));
    let at = frames.len();
    let mut metadata = other[1].clone();
    metadata.kind = segment::METADATA;
    frames.push(metadata);
    segment::replace(&wal, &segment::encode(&frames, 0).0);
    let found = doctor(&capture);
    let offset = segment::frames(&wal)[at].range.start;
    assert_eq!(record(&found, &wal, offset).verdict, Verdict::Foreign);
}

#[test]
fn leftovers_are_shown_and_removed_unless_they_may_be_needed() {
    let capture = Capture::unpack("1-autolocked");
    let dir = capture.dir();
    let key = capture.key();
    let wal = only(&dir);
    fs::create_dir(dir.join("raft/wal-v3")).unwrap();
    fs::create_dir(dir.join("raft/snap")).unwrap();
    let removed = [
        "certificates/.tmp-swarm-node.key123",
        "certificates/.tmp-.swarm-node.crt9",
        "raft/wal-v3-encrypted/0.tmp",
        "raft/snap-v3-encrypted/0000000000000002-0000000000000011.snap.broken",
        "raft/wal-v3-encrypted/0000000000000000-0000000000000000.wal.broken",
        "raft/wal-v3/0000000000000000-0000000000000000.wal",
        "raft/snap/0000000000000002-0000000000000011.snap",
    ];
    let kept = ["certificates/.swarm-node.crt", "raft/wal-v3-encrypted/notes.txt"];
    for name in removed.iter().chain(&kept) {
        segment::replace(&dir.join(name), &[7; 70_000]);
    }
    let by_name = |left: &[swarm::Leftover], kept: bool| -> Vec<String> {
        let some = left.iter().filter(|one| one.kept.is_some() == kept);
        let name = |path: &Path| path.strip_prefix(&dir).unwrap().display().to_string();
        let mut names: Vec<_> = some.map(|one| name(&one.path)).collect();
        names.sort();
        names
    };
    let sorted = |names: &[&str]| {
        let mut names: Vec<_> = names.iter().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert!(matches!(leftovers(&dir, None), Err(Error::KeyRequired)));
    assert!(matches!(clean(&dir, None), Err(Error::KeyRequired)));

    // While something is missing, what may hold it stays.
    let last = last_entry(&segment::frames(&wal)).range.clone();
    segment::flip(&wal, last.start + 60);
    let shown = leftovers(&dir, key.as_ref()).unwrap();
    assert_eq!(by_name(&shown, false), sorted(&removed[..3]));
    segment::flip(&wal, last.start + 60);

    let shown = leftovers(&dir, key.as_ref()).unwrap();
    assert_eq!(by_name(&shown, false), sorted(&removed));
    assert_eq!(by_name(&shown, true), sorted(&kept[..1]));
    assert!(removed.iter().all(|name| dir.join(name).exists()));

    // What was there is overwritten: seen through another name.
    let link = capture.dir().parent().unwrap().join("link");
    fs::hard_link(dir.join(removed[5]), &link).unwrap();
    assert_eq!(clean(&dir, key.as_ref()).unwrap(), shown);
    assert!(removed.iter().all(|name| !dir.join(name).exists()));
    assert!(kept.iter().all(|name| dir.join(name).exists()));
    assert_eq!(fs::read(&link).unwrap(), [0; 70_000]);
    let state = State::read(&dir, key.as_ref()).unwrap();
    assert!(state.is_complete());
    assert_eq!(by_name(&leftovers(&dir, key.as_ref()).unwrap(), false), Vec::<String>::new());
}
