//! Key files that a crash left behind, and what salvage makes of them.

use std::fs;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use nodeseal::swarm::{self, KeyFile, Salvage, SalvageReport};

use crate::{Capture, beside, content, read, segment};

const OWN: &str = "certificates/swarm-node.key";

struct Patient {
    capture: Capture,
    whole: String,
    content: String,
}

impl Patient {
    fn new(name: &str) -> Self {
        let capture = Capture::unpack(name);
        let whole = fs::read_to_string(capture.dir().join(OWN)).unwrap();
        let content = content(&read(&capture.dir(), &capture));
        Self { capture, whole, content }
    }

    fn put(&self, name: &str, text: &str) {
        segment::replace(&self.capture.dir().join(name), text.as_bytes());
    }

    /// Saves it, and sees that nothing is lost.
    #[track_caller]
    fn save(&self) -> (SalvageReport, PathBuf) {
        let (to, key) = (beside(&self.capture, "saved"), self.capture.key());
        let report = Salvage::read(self.capture.dir(), key.as_ref()).unwrap().write(&to).unwrap();
        assert_eq!(content(&read(&to, &self.capture)), self.content, "{:?}", report.findings);
        assert!(report.startable);
        assert!(swarm::doctor(&to, key.as_ref()).unwrap().is_well());
        (report, to)
    }
}

/// Without the DEK, as W12 has it.
fn without_dek(text: &str) -> String {
    text.lines()
        .filter(|line| !line.starts_with("raft-dek"))
        .map(|line| line.to_owned() + "\n")
        .collect()
}

/// With a DEK in the clear that nothing is sealed under any more.
fn with_retired_dek(text: &str) -> String {
    let at = text.find("raft-dek: EiA").unwrap() + 13;
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

#[test]
fn a_key_file_that_lost_its_dek_is_made_up_for() {
    for name in ["3-unlocked", "5-kek-rotated-killed"] {
        let patient = Patient::new(name);
        patient.put(OWN, &without_dek(&patient.whole));
        patient.put("certificates/.tmp-swarm-node.key12", &patient.whole);
        let (report, to) = patient.save();
        assert!(report.losses().next().is_none());
        let saved = KeyFile::parse(&fs::read(to.join(OWN)).unwrap()).unwrap();
        assert_eq!(saved.locked(), patient.capture.key().is_some());
    }
}

/// A key file that lost its DEK gets a new one when dockerd starts, which opens nothing.
#[test]
fn the_dek_counts_that_opens_the_log() {
    let patient = Patient::new("3-unlocked");
    let retired = with_retired_dek(&patient.whole);
    let temp = |number: u8| format!("certificates/.tmp-swarm-node.key{number}");
    for own in [String::new(), without_dek(&patient.whole), retired.clone()] {
        patient.put(OWN, &own);
        patient.put(&temp(1), &retired);
        patient.put(&temp(2), "half of");
        patient.put(&temp(3), &patient.whole);
        let (report, to) = patient.save();
        assert!(report.losses().next().is_none());
        fs::remove_dir_all(to).unwrap();
    }
    // One that opens as much is not needed.
    patient.put(OWN, &patient.whole);
    let (report, _) = patient.save();
    assert!(!report.findings.iter().any(|one| one.text.contains("in its place")));
}

/// A locked folder is not saved in the clear because the file that a crash left is.
#[test]
fn what_was_locked_is_locked_again() {
    let patient = Patient::new("5-kek-rotated-killed");
    let clear = clear_copy(&patient);
    patient.put(OWN, &without_dek(&patient.whole));
    patient.put("certificates/.tmp-swarm-node.key12", &clear);
    let (_, to) = patient.save();
    let saved = KeyFile::parse(&fs::read(Path::new(&to).join(OWN)).unwrap()).unwrap();
    assert!(saved.locked());
}

/// The key file with the same keys, in the clear.
fn clear_copy(patient: &Patient) -> String {
    let file = KeyFile::parse(patient.whole.as_bytes()).unwrap();
    let keys = file.unlock(patient.capture.key().as_ref()).unwrap();
    let dek = [&[0x12, 32][..], keys.current.unwrap().expose()].concat();
    format!(
        "-----BEGIN PRIVATE KEY-----\nraft-dek: {}\n\n{}\n-----END PRIVATE KEY-----\n",
        Base64::encode_string(&dek),
        Base64::encode_string(keys.tls_key.expose())
    )
}
