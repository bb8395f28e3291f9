//! Doctor, attestation, clean-up and the commands that make another folder, as their users call them.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "../../../tests/support/capture.rs"]
mod capture;
#[path = "support/on_capture.rs"]
mod on_capture;
#[path = "../../../tests/support/segment.rs"]
mod segment;
#[path = "support/command.rs"]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use capture::Capture;
use nodeseal::swarm::State;
use on_capture::{key_text, swarm};
use segment::only;
use support::{code, json, run, text};

#[test]
fn a_doctor_tells_the_verdict_and_ends_with_it() {
    let capture = Capture::unpack("1-autolocked");
    let well = swarm(&capture, &["doctor"]);
    assert_eq!(code(&well), 0, "{}", text(&well.stderr));
    assert!(text(&well.stdout).lines().filter(|line| line.starts_with("good ")).count() >= 4);

    let wal = only(&capture.dir());
    let frames = segment::frames(&wal);
    segment::flip(&wal, frames.last().unwrap().range.start - 40);
    let ill = swarm(&capture, &["doctor"]);
    assert_eq!(code(&ill), 4);
    assert!(text(&ill.stdout).contains("  damaged      entry"), "{}", text(&ill.stdout));
    let ill = swarm(&capture, &["doctor", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&ill.stdout).unwrap();
    let files = value["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["verdict"] == "damaged" && file["kind"] == "segment"));
}

#[test]
fn what_was_attested_is_verified() {
    let capture = Capture::unpack("2-snapshots");
    let file = capture.dir().parent().unwrap().join("attestation");
    let path = file.to_str().unwrap();
    let made = swarm(&capture, &["attest", "--attestation", path]);
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(code(&swarm(&capture, &["attest", "--attestation", path])), 1, "it exists");
    let found = json(&swarm(&capture, &["verify", "--attestation", path, "--json"]));
    assert_eq!(found["attested"], found["standing"]);

    // An older copy of the log.
    let wal = only(&capture.dir());
    let frames = segment::frames(&wal);
    segment::replace(&wal, &segment::encode(&frames[..frames.len() - 4], 0).0);
    let found = swarm(&capture, &["verify", "--attestation", path]);
    assert_eq!(code(&found), 4);
    assert!(text(&found.stdout).contains("older copy"), "{}", text(&found.stdout));

    let other = Capture::unpack("1-autolocked");
    assert_eq!(code(&swarm(&other, &["verify", "--attestation", path])), 3);
    segment::replace(&file, b"nodeseal-swarm-attestation 1\n");
    assert_eq!(code(&swarm(&capture, &["verify", "--attestation", path])), 4);
}

#[test]
fn leftovers_are_shown_before_they_are_removed() {
    let capture = Capture::unpack("1-autolocked");
    let stale = capture.dir().join("certificates/.tmp-swarm-node.key7");
    segment::replace(&stale, b"-----BEGIN");
    assert_eq!(code(&swarm(&capture, &["clean"])), 2);
    let shown = swarm(&capture, &["clean", "--dry-run"]);
    assert!(text(&shown.stdout).contains("would remove") && stale.exists());
    let removed = swarm(&capture, &["clean", "--remove"]);
    assert_eq!(code(&removed), 0, "{}", text(&removed.stderr));
    assert!(text(&removed.stdout).contains("remove") && !stale.exists());
}

#[test]
fn what_is_lost_is_told_and_the_rest_is_salvaged() {
    let capture = Capture::unpack("1-autolocked");
    let to = capture.dir().parent().unwrap().join("saved");
    let path = to.to_str().unwrap();
    let whole = swarm(&capture, &["salvage", "--to", path, "--dry-run"]);
    assert_eq!(code(&whole), 0, "{}", text(&whole.stderr));
    assert!(text(&whole.stdout).contains("would save") && !to.exists());

    let wal = only(&capture.dir());
    let frames = segment::frames(&wal);
    let entry = frames.iter().find(|f| f.kind == segment::ENTRY && f.index() == 14).unwrap();
    segment::flip(&wal, entry.range.start + 60);
    let part = swarm(&capture, &["salvage", "--to", path]);
    assert_eq!(code(&part), 4, "{}", text(&part.stderr));
    assert!(text(&part.stdout).contains("lost: entry 14"), "{}", text(&part.stdout));
    let state = State::read(&to, capture.key().as_ref()).unwrap();
    assert!(state.is_complete(), "{:?}", state.findings);
    assert_eq!(state.objects.secrets.len(), 2);
    let again = swarm(&capture, &["salvage", "--to", path]);
    assert_eq!(code(&again), 1, "it exists");
    assert_eq!(code(&swarm(&capture, &["export", "--to", &format!("{path}-2")])), 4);
}

#[test]
fn a_copy_is_redacted_and_a_folder_goes_there_and_back() {
    let capture = Capture::unpack("2-snapshots");
    let beside = |name: &str| capture.dir().parent().unwrap().join(name);
    let (redacted, native, back) = (beside("redacted"), beside("native"), beside("back"));
    let redact = ["redact", "--to", redacted.to_str().unwrap()];
    let shown = swarm(&capture, &[&redact[..], &["--dry-run"]].concat());
    assert!(code(&shown) == 0 && !redacted.exists(), "{}", text(&shown.stderr));
    let done = swarm(&capture, &redact);
    assert_eq!(code(&done), 0, "{}", text(&done.stderr));
    assert!(done.stderr.is_empty(), "no progress where nobody looks");
    let (would, did) = (text(&shown.stdout), text(&done.stdout));
    assert_eq!(would.replace("would have ", ""), did);
    assert_eq!(code(&swarm(&capture, &[&redact[..], &["--dry-run"]].concat())), 1, "it exists");
    assert_eq!(State::read(&redacted, None).unwrap().objects.secrets.len(), 58);

    let native = native.to_str().unwrap();
    let shown = swarm(&capture, &["export", "--to", native, "--dry-run"]);
    assert!(code(&shown) == 0 && !beside("native").exists());
    let done = swarm(&capture, &["export", "--to", native, "--progress"]);
    assert_eq!(code(&done), 0, "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("writing the native keyring"));
    assert_eq!(text(&shown.stdout).replace("would export", "exported"), text(&done.stdout));
    let back_to = ["swarm", "import", "--from", native, "--state-dir", back.to_str().unwrap()];
    let locked = run(&back_to, b"");
    assert_eq!(code(&locked), 3, "{}", text(&locked.stderr));
    let args = [&back_to[..], &["--unlock-key-file", "-"]].concat();
    let key = key_text(&capture);
    let shown = run(&[&args[..], &["--dry-run"]].concat(), key.as_bytes());
    assert!(code(&shown) == 0 && !back.exists(), "{}", text(&shown.stderr));
    let done = run(&args, key.as_bytes());
    assert_eq!(code(&done), 0, "{}", text(&done.stderr));
    assert_eq!(text(&shown.stdout).replace("would import", "imported"), text(&done.stdout));
    let state = State::read(&back, capture.key().as_ref()).unwrap();
    assert!(state.is_complete() && state.objects.secrets.len() == 58);
}
