use std::fs;
use std::path::{Path, PathBuf};

use nodeseal::swarm::{self, FindingKind, KeyFile, ObjectKind, Salvage, SalvageReport, State};
use nodeseal::{Error, UnlockKey};

use crate::segment::{self, ENTRY, Frame, STATE, only};
use crate::{Capture, beside, captures, content, read, snapshot_of};

/// A capture that is damaged and saved.
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

    fn entry(&self, index: u64) -> usize {
        self.frames.iter().position(|f| f.kind == ENTRY && f.index() == index).unwrap()
    }

    /// The entry that made the secret.
    fn entry_of(&self, name: &str) -> usize {
        let secrets = self.capture.expected["secrets"].as_array().unwrap();
        let secret = secrets.iter().find(|one| one["name"] == name).unwrap();
        self.entry(secret["version"].as_u64().unwrap() + 1)
    }

    fn rewrite(&self, frames: &[Frame]) {
        let (mut bytes, _) = segment::encode(frames, 0);
        bytes.resize(bytes.len() + 4096, 0);
        segment::replace(&self.wal, &bytes);
    }

    fn snapshot(&self) -> PathBuf {
        let dir = self.capture.dir().join("raft/snap-v3-encrypted");
        fs::read_dir(dir).unwrap().next().unwrap().unwrap().path()
    }

    /// Saves it; what is written must be well, and the folder as it was.
    fn save(&self) -> (SalvageReport, State) {
        let (dir, key) = (self.capture.dir(), self.capture.key());
        let to = beside(&self.capture, "saved");
        let before = snapshot_of(&dir);
        let salvage = Salvage::read(&dir, key.as_ref()).unwrap();
        assert!(salvage.report().startable);
        let report = salvage.write(&to).unwrap();
        assert_eq!(snapshot_of(&dir), before);
        let state = read(&to, &self.capture);
        assert!(state.is_complete(), "{:?}", state.findings);
        let found = swarm::doctor(&to, key.as_ref()).unwrap();
        assert!(found.is_well(), "{:?}", found.inspection.findings);
        assert_eq!(state.objects.counts(), report.objects);
        // Behind it there is the entry with which a sole manager begins.
        let behind = u64::from(state.objects.members.len() == 1);
        assert_eq!(state.raft.hard_state.unwrap().commit, report.index + behind);
        fs::remove_dir_all(to).unwrap();
        (report, state)
    }

    /// The names of secrets that are not there any more.
    fn lost(&self, state: &State) -> Vec<String> {
        let secrets = self.capture.expected["secrets"].as_array().unwrap();
        let there = |name: &str| state.objects.secrets.values().any(|one| one.facts.name == name);
        let names = secrets.iter().map(|one| one["name"].as_str().unwrap());
        names.filter(|name| !there(name)).map(str::to_owned).collect()
    }
}

#[test]
fn a_whole_folder_is_saved_whole() {
    for name in captures() {
        let patient = Patient::new(&name);
        let original = read(&patient.capture.dir(), &patient.capture);
        let (report, state) = patient.save();
        assert_eq!(report.losses().count(), 0, "{name}");
        assert_eq!(content(&state), content(&original), "{name}");
        assert_eq!(state.raft.member, original.raft.member, "{name}");
        assert!(report.index >= original.raft.last_index.unwrap(), "{name}");
        // No entry but that with which a sole manager begins.
        let begins = (state.objects.members.len() == 1).then_some(report.index + 1);
        assert_eq!(state.raft.last_index, begins, "{name}");
        assert_eq!(state.raft.entries.total, u64::from(begins.is_some()), "{name}");
    }
}

/// Every fault of the log that stops or misleads dockerd: what it costs, and not more.
#[test]
fn each_fault_of_the_log_costs_what_it_destroyed() {
    let patient = Patient::new("1-autolocked");
    let (frames, last) = (&patient.frames, patient.entry_of("tls.key"));
    let first = patient.entry_of("db_password");
    let nothing: &[&str] = &[];
    let restore = || patient.rewrite(frames);
    let check = |what: &str, names: &[&str]| {
        let (report, state) = patient.save();
        assert_eq!(patient.lost(&state), names, "{what}");
        assert_eq!(report.losses().next().is_some(), !names.is_empty(), "{what}");
        restore();
    };
    restore();
    check("nothing", nothing);

    segment::flip(&patient.wal, frames[first].range.start + 60);
    check("a bit in the middle", &["db_password"]);
    segment::flip(&patient.wal, frames[last].range.start + 60);
    check("a bit in a late entry", &["tls.key"]);

    // Torn, cut between frames, zeroed from a sector on.
    segment::cut(&patient.wal, frames[last].range.end - 100);
    let (report, state) = patient.save();
    assert!(patient.lost(&state).contains(&"tls.key".to_owned()));
    assert!(report.losses().count() > 0);
    restore();
    segment::zero(&patient.wal, frames[last].range.start..frames.last().unwrap().range.end);
    let (_, state) = patient.save();
    assert!(patient.lost(&state).contains(&"tls.key".to_owned()));
    restore();
    let sector = (frames[last].range.start / 512 + 2) * 512;
    segment::zero(&patient.wal, sector..frames.last().unwrap().range.end);
    let (_, state) = patient.save();
    assert!(patient.lost(&state).contains(&"tls.key".to_owned()));
    restore();

    // Garbage where the next length word would be, and behind a zero word.
    let end = frames.last().unwrap().range.end;
    segment::overwrite(&patient.wal, end, &[0xa5; 40]);
    let (_, state) = patient.save();
    assert!(patient.lost(&state).is_empty());
    restore();
    segment::overwrite(&patient.wal, end + 64, &[0xa5; 40]);
    let (_, state) = patient.save();
    assert!(patient.lost(&state).is_empty());
    restore();

    // The last state record zeroed; a huge length word, at which dockerd panics.
    let state = frames.iter().rfind(|frame| frame.kind == STATE).unwrap();
    segment::zero(&patient.wal, state.range.clone());
    let (_, found) = patient.save();
    assert!(patient.lost(&found).is_empty());
    restore();
    segment::overwrite(&patient.wal, frames[first].range.start, &[0xff; 7]);
    check("a huge length word", &["db_password"]);

    // An index gap: dockerd makes empty entries of it, or panics.
    let mut gap = frames.clone();
    gap.remove(first);
    patient.rewrite(&gap);
    check("an index gap", &["db_password"]);
    // Bad protobuf under a good CRC, at which it panics too.
    let mut bad = frames.clone();
    bad[first].data[0] = 0xff;
    patient.rewrite(&bad);
    check("a malformed entry", &["db_password"]);
}

/// The only snapshot after a rotation is lost: what the new key sealed is saved, with what dockerd
/// needs to start.
#[test]
fn a_lost_snapshot_costs_what_only_it_had() {
    let patient = Patient::new("4-dek-rotated");
    let path = patient.snapshot();
    segment::flip(&path, 2000);
    let (report, state) = patient.save();
    assert_eq!(patient.lost(&state), ["early1", "early2", "early3", "early4", "early5"]);
    assert_eq!(report.losses().count(), 17);
    assert!(state.objects.clusters.is_empty());
    assert!(report.notes.iter().any(|note| note.contains("CA")), "{:?}", report.notes);
    assert_eq!(state.objects.members.len(), 1);

    // Its CRC alone is wrong: the content opens, and nothing is lost.
    segment::flip(&path, 2000);
    segment::flip(&path, 2);
    let (report, state) = patient.save();
    assert!(patient.lost(&state).is_empty(), "{:?}", report.findings);
    assert_eq!(report.losses().count(), 0);

    // Where the log still has all, a lost snapshot costs nothing.
    let patient = Patient::new("2-snapshots");
    segment::flip(&patient.snapshot(), 5000);
    let (report, state) = patient.save();
    assert!(patient.lost(&state).is_empty());
    assert_eq!(report.losses().count(), 0);
}

/// Dockerd renamed the only snapshot after a rotation, for its CRC: it did not look what is in it.
#[test]
fn a_snapshot_that_was_set_aside_is_used_where_something_would_be_lost() {
    let patient = Patient::new("4-dek-rotated");
    let path = patient.snapshot();
    segment::flip(&path, 2);
    let aside = path.with_extension("snap.broken");
    fs::copy(&path, &aside).unwrap();
    fs::remove_file(&path).unwrap();
    let (report, state) = patient.save();
    assert!(patient.lost(&state).is_empty(), "{:?}", report.findings);
    assert_eq!(report.losses().count(), 0);
    // Without a log it is all that there is.
    let log = patient.wal.parent().unwrap();
    fs::remove_dir_all(log).unwrap();
    let (report, state) = patient.save();
    assert!(patient.lost(&state).iter().all(|name| !name.starts_with("early")));
    assert_eq!(report.losses().count(), 1);
    fs::create_dir(log).unwrap();
    patient.rewrite(&patient.frames);
    // What is sealed in it is damaged too: it costs what only it had.
    segment::flip(&aside, 2000);
    let (report, state) = patient.save();
    assert_eq!(patient.lost(&state).len(), 5);
    assert!(report.losses().count() > 0);

    // Where nothing is lost without it, it is not looked at: dockerd may have gone on from an older
    // one, and the log with it.
    let patient = Patient::new("2-snapshots");
    let path = patient.snapshot();
    let term = path.file_name().unwrap().to_str().unwrap()[..16].to_owned();
    let newer = path.with_file_name(format!("{term}-00000000000fffff.snap.broken"));
    fs::copy(&path, newer).unwrap();
    let (report, state) = patient.save();
    assert!(patient.lost(&state).is_empty() && report.index < 0xfffff);
    let unused = |one: &swarm::Finding| one.kind == FindingKind::SnapshotDamaged;
    assert!(!report.findings.iter().any(unused), "{:?}", report.findings);
}

/// The log is gone: dockerd would start an empty cluster beside the snapshot.
#[test]
fn a_lost_log_costs_what_came_after_the_snapshot() {
    let patient = Patient::new("2-snapshots");
    fs::remove_dir_all(patient.wal.parent().unwrap()).unwrap();
    let (report, state) = patient.save();
    assert!(state.objects.secrets.len() > 50);
    assert_eq!(report.losses().count(), 1);
    assert!(report.notes.iter().any(|note| note.contains("without a log")), "{:?}", report.notes);

    // A log and no snapshot, one segment of two.
    let patient = Patient::new("2-snapshots");
    let cut = patient.entry(40);
    let (first, chain) = segment::encode(&patient.frames[..cut], 0);
    let mut second = patient.frames[..2].to_vec();
    second.extend_from_slice(&patient.frames[cut..]);
    segment::replace(&patient.wal, &first);
    let next = patient.wal.with_file_name("0000000000000001-0000000000000028.wal");
    segment::replace(&next, &segment::encode(&second, chain).0);
    fs::remove_file(&patient.wal).unwrap();
    let (_, state) = patient.save();
    assert!(patient.lost(&state).is_empty(), "the snapshot has what the segment had");
}

#[test]
fn keys_are_judged_and_mended() {
    let patient = Patient::new("5-kek-rotated-killed");
    let (dir, key) = (patient.capture.dir(), patient.capture.key());
    assert!(matches!(Salvage::read(&dir, None), Err(Error::KeyRequired)));
    let other = UnlockKey::generate().unwrap();
    assert!(matches!(Salvage::read(&dir, Some(&other)), Err(Error::WrongKey)));

    // W8: with this version dockerd would ignore every later unlock key.
    let path = dir.join("certificates/swarm-node.key");
    let text = fs::read_to_string(&path).unwrap();
    let at = text.find("kek-version: ").unwrap() + 13;
    let end = at + text[at..].find('\n').unwrap();
    let forged = format!("{}18446744073709551615{}", &text[..at], &text[end..]);
    segment::replace(&path, forged.as_bytes());
    let to = beside(&patient.capture, "saved");
    let report = Salvage::read(&dir, key.as_ref()).unwrap().write(&to).unwrap();
    let saved = fs::read(to.join("certificates/swarm-node.key")).unwrap();
    assert_eq!(KeyFile::parse(&saved).unwrap().kek_version(), Some(report.index));
    assert!(report.notes.iter().any(|note| note.contains("kek-version")));
    fs::remove_dir_all(&to).unwrap();

    // Empty, with a whole one that a crash left beside it.
    segment::replace(&path, b"");
    assert!(matches!(Salvage::read(&dir, key.as_ref()), Err(Error::Damaged { .. })));
    segment::replace(&dir.join("certificates/.tmp-swarm-node.key12"), text.as_bytes());
    let (report, state) = patient.save();
    assert!(patient.lost(&state).is_empty());
    assert!(report.findings.iter().any(|finding| finding.kind == FindingKind::StaleKeyFile));
    segment::replace(&path, text.as_bytes());

    // The entry that set the unlock key is lost: the store must not show an older one.
    let cluster = |dir: &Path| {
        let state = State::read(dir, key.as_ref()).unwrap();
        state
            .objects
            .clusters
            .values()
            .next()
            .unwrap()
            .unlock_key()
            .unwrap()
            .ct_eq(key.as_ref().unwrap())
    };
    assert!(cluster(&dir));
    let version = KeyFile::parse(text.as_bytes()).unwrap().kek_version().unwrap();
    let mut frames = patient.frames.clone();
    frames.remove(patient.entry(version + 1));
    patient.rewrite(&frames);
    assert!(!cluster(&dir));
    Salvage::read(&dir, key.as_ref()).unwrap().write(&to).unwrap();
    assert!(cluster(&to));
}

#[test]
fn nothing_is_written_where_something_stands_or_nothing_opens() {
    let patient = Patient::new("1-autolocked");
    let (dir, key) = (patient.capture.dir(), patient.capture.key());
    let salvage = Salvage::read(&dir, key.as_ref()).unwrap();
    assert_eq!(salvage.report().objects[&ObjectKind::Secret], 3);
    assert!(matches!(salvage.write(&dir), Err(Error::Exists(_))));
    assert_eq!(fs::read_dir(dir.parent().unwrap()).unwrap().count(), 1);

    // A certificate of another key.
    let other = Capture::unpack("3-unlocked");
    fs::copy(
        other.dir().join("certificates/swarm-node.crt"),
        dir.join("certificates/swarm-node.crt"),
    )
    .unwrap();
    assert!(!Salvage::read(&dir, key.as_ref()).unwrap().report().startable);

    patient.rewrite(&patient.frames[..2]);
    assert!(matches!(Salvage::read(&dir, key.as_ref()), Err(Error::Damaged { .. })));
}
