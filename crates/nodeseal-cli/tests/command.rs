//! The command as its users call it, on the folders of genuine managers.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "../../../tests/support/capture.rs"]
mod capture;
#[path = "support/on_capture.rs"]
mod on_capture;
#[path = "support/command.rs"]
mod support;

use std::fs;
use std::path::Path;

use capture::Capture;
use nodeseal::{Identity, Keyring, Protector, UnlockKey};
use on_capture::{key_text, state_dir, swarm};
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::{code, json, run};

#[test]
fn secrets_are_those_that_the_daemon_listed() {
    for name in capture::all() {
        let capture = Capture::unpack(&name);
        let mut listed = json(&swarm(&capture, &["secrets", "--json"]));
        let expected = &capture.expected["secrets"];
        for (one, known) in
            listed.as_array_mut().unwrap().iter_mut().zip(expected.as_array().unwrap())
        {
            assert_eq!(one.as_object().unwrap().len(), 8, "{name}");
            one.as_object_mut().unwrap().retain(|key, _| known.get(key).is_some());
        }
        assert_eq!(listed, *expected, "{name}");
    }
}

#[test]
fn a_payload_is_shown_only_on_demand() {
    let capture = Capture::unpack("2-snapshots");
    let shown = swarm(&capture, &["secret", "big", "--reveal"]);
    assert!(shown.status.success());
    let big = capture.expected["secrets"].as_array().unwrap().iter().find(|s| s["name"] == "big");
    let hash = Sha256::digest(&shown.stdout);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(big.unwrap()["sha256"], *hash);

    let refused = swarm(&capture, &["secret", "big"]);
    assert_eq!(code(&refused), 2);
    assert!(refused.stdout.is_empty());
    let absent = swarm(&capture, &["secret", "s3", "--reveal"]);
    assert_eq!(code(&absent), 1, "s3 was removed");
    assert!(absent.stdout.is_empty());
}

#[test]
fn exit_codes_tell_key_from_damage_from_usage() {
    let capture = Capture::unpack("1-autolocked");
    let dir = state_dir(&capture);
    let secrets = ["swarm", "secrets", "--state-dir", &dir, "--json"];
    let with_key = [&secrets[..], &["--unlock-key-file", "-"]].concat();
    let wrong = UnlockKey::generate().unwrap().to_text();

    let missing = run(&secrets, b"");
    assert_eq!(code(&missing), 3);
    assert!(missing.stdout.is_empty());
    assert_eq!(code(&run(&with_key, wrong.as_bytes())), 3);
    for text in ["", "SWMKEY-1-", "swmkey-1-abc", &"x".repeat(5000)] {
        let refused = run(&with_key, text.as_bytes());
        assert_eq!(code(&refused), 3, "{text:?}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(
            text.len() < 4
                || !said.contains(text.trim_start_matches("SWMKEY-1-"))
                || text == "SWMKEY-1-"
        );
    }
    assert_eq!(code(&run(&["swarm", "secrets"], b"")), 2);
    let key = key_text(&capture);
    assert_eq!(code(&run(&[&secrets[..], &["--unlock-key", &key]].concat(), b"")), 2);
    let absent = [&secrets[..], &["--unlock-key-file", "/does/not/exist"]].concat();
    assert_eq!(code(&run(&absent, b"")), 1);
    assert_eq!(code(&run(&["swarm", "secrets", "--state-dir", "/does/not/exist"], b"")), 1);

    // One bit of one entry: everything else is still told, and that it is not everything.
    let log = capture.dir().join("raft/wal-v3-encrypted");
    let segment = fs::read_dir(log).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&segment).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used / 2] ^= 1;
    rewrite(&segment, &bytes);
    let damaged = run(&with_key, key.as_bytes());
    assert_eq!(code(&damaged), 4);
    assert!(String::from_utf8(damaged.stderr).unwrap().contains("offset"));
    assert!(serde_json::from_slice::<Value>(&damaged.stdout).unwrap().is_array());
}

#[test]
fn a_key_comes_from_a_file_and_white_space_around_it_is_passed_over() {
    let capture = Capture::unpack("1-autolocked");
    let dir = state_dir(&capture);
    let file = tempfile::NamedTempFile::new().unwrap();
    rewrite(file.path(), format!("  {}\r\n", key_text(&capture)).as_bytes());
    let path = file.path().to_str().unwrap();
    let listed =
        run(&["swarm", "secrets", "--state-dir", &dir, "--unlock-key-file", path, "--json"], b"");
    assert_eq!(json(&listed).as_array().unwrap().len(), 3);
    let table = run(&["swarm", "secrets", "--state-dir", &dir, "--unlock-key-file", path], b"");
    assert!(String::from_utf8(table.stdout).unwrap().contains("db_password"));
}

#[test]
fn inspect_tells_what_can_be_known_without_a_key() {
    let capture = Capture::unpack("4-dek-rotated");
    let dir = state_dir(&capture);
    let told = json(&run(&["swarm", "inspect", "--state-dir", &dir, "--json"], b""));
    assert_eq!(told["key"]["locked"], true);
    assert!(told["key"]["kek_version"].as_u64().unwrap() > 0);
    assert!(told["objects"].is_null());
    assert!(told["raft"]["entries"]["by_algorithm"]["secretbox"].as_u64().unwrap() > 0);
    assert!(!told["raft"]["snapshots"].as_array().unwrap().is_empty());

    let opened = json(&swarm(&capture, &["inspect", "--json"]));
    assert_eq!(opened["objects"]["secret"], 10);
    let text = swarm(&capture, &["inspect"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("locked") && text.contains("snapshot"), "{text}");

    let wrong = UnlockKey::generate().unwrap().to_text();
    let args = ["swarm", "inspect", "--state-dir", &dir, "--json", "--unlock-key-file", "-"];
    let refused = run(&args, wrong.as_bytes());
    assert_eq!(code(&refused), 3);
    let told: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(told["key"]["locked"], true, "what can be known is told all the same");
}

#[test]
fn no_output_holds_a_key_or_a_payload() {
    let capture = Capture::unpack("1-autolocked");
    let key = key_text(&capture);
    let payload = swarm(&capture, &["secret", "db_password", "--reveal"]).stdout;
    assert_eq!(payload.len(), 32);
    for what in [&["inspect"][..], &["inspect", "--json"], &["secrets"], &["secrets", "--json"]] {
        let output = swarm(&capture, what);
        let all = [output.stdout, output.stderr].concat();
        assert!(!all.windows(payload.len()).any(|w| w == payload), "{what:?}");
        let body = &key.as_bytes()["SWMKEY-1-".len()..];
        assert!(!all.windows(body.len()).any(|w| w == body), "{what:?}");
    }
}

#[test]
fn keys_inspect_tells_a_key_files_public_facts() {
    let dir = tempfile::tempdir().unwrap();
    let me = Identity::new("prod", "m1").unwrap();
    let key = UnlockKey::generate().unwrap();
    drop(Keyring::create(dir.path(), &me, Protector::unlock_key(&key), &[]).unwrap());
    let file = dir.path().join("node.keys");
    let path = file.to_str().unwrap();
    let told = json(&run(&["keys", "inspect", path, "--json"], b""));
    assert_eq!(told["identity"]["cluster"], "prod");
    assert_eq!(told["slots"], serde_json::json!(["unlock"]));
    let text = String::from_utf8(run(&["keys", "inspect", path], b"").stdout).unwrap();
    assert!(text.contains("unlock key"), "{text}");

    let mut bytes = fs::read(&file).unwrap();
    bytes[30] ^= 1;
    rewrite(&file, &bytes);
    assert_eq!(code(&run(&["keys", "inspect", path], b"")), 4);
    assert_eq!(code(&run(&["keys", "inspect", "/does/not/exist"], b"")), 1);
}

#[expect(clippy::disallowed_methods, reason = "a test's own files")]
fn rewrite(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_change_is_planned_made_or_refused() {
    let capture = Capture::unpack("1-autolocked");
    let (dir, key) = (state_dir(&capture), key_text(&capture));
    let keys = tempfile::tempdir().unwrap();
    let new = keys.path().join("new");
    let to = new.to_str().unwrap();
    let files = || {
        let parts = ["certificates", "raft/wal-v3-encrypted", "raft/snap-v3-encrypted"];
        let all = parts.iter().flat_map(|part| fs::read_dir(capture.dir().join(part)).unwrap());
        let all = all.map(|entry| entry.unwrap().path());
        all.map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = files();
    let rotate = ["rotate-unlock-key", "--new-unlock-key-file", to];

    let planned = swarm(&capture, &[&rotate[..], &["--dry-run"]].concat());
    assert_eq!(code(&planned), 0);
    assert!(String::from_utf8(planned.stdout).unwrap().contains("nothing was changed"));
    assert!(!new.exists());
    for (args, expected) in [
        (&["lock", "--new-unlock-key-file", to][..], 1),
        (&["force-new-cluster"], 1),
        (&["rotate-unlock-key"], 2),
        (&["rotate-unlock-key", "--new-unlock-key-stdout", "--new-unlock-key-file", to], 2),
        (&["rotate-dek", "--new-unlock-key-stdout"], 2),
    ] {
        let refused = swarm(&capture, args);
        assert_eq!(code(&refused), expected, "{args:?}");
        assert!(refused.stdout.is_empty() && !new.exists());
    }
    let wrong = UnlockKey::generate().unwrap().to_text();
    let args = ["swarm", "rotate-dek", "--state-dir", &dir, "--unlock-key-file", "-"];
    assert_eq!(code(&run(&args, wrong.as_bytes())), 3);
    // A key file that is there is not overwritten.
    rewrite(&new, b"precious");
    assert_eq!(code(&swarm(&capture, &rotate)), 1);
    assert_eq!(fs::read(&new).unwrap(), b"precious");
    fs::remove_file(&new).unwrap();
    assert!(files() == before, "nothing was changed");

    let done = swarm(&capture, &rotate);
    assert_eq!(code(&done), 0);
    let told = [done.stdout, done.stderr].concat();
    let text = fs::read_to_string(&new).unwrap();
    assert!(!String::from_utf8(told).unwrap().contains(text.trim()));
    let secrets = ["swarm", "secrets", "--state-dir", &dir, "--json", "--unlock-key-file"];
    assert_eq!(code(&run(&[&secrets[..], &["-"]].concat(), key.as_bytes())), 3);
    let listed = json(&run(&[&secrets[..], &[to]].concat(), b""));
    assert_eq!(listed.as_array().unwrap().len(), 3);

    // On standard output there is the key and nothing else.
    let args = ["swarm", "rotate-unlock-key", "--new-unlock-key-stdout", "--state-dir", &dir];
    let done = run(&[&args[..], &["--unlock-key-file", to]].concat(), b"");
    assert_eq!(code(&done), 0);
    let key = String::from_utf8(done.stdout).unwrap();
    assert!(UnlockKey::from_text(key.trim_end()).is_ok());
    json(&run(&[&secrets[..], &["-"]].concat(), key.as_bytes()));

    // A key of the user's own.
    let own = UnlockKey::generate().unwrap().to_text();
    rewrite(&new, own.as_bytes());
    let args = ["swarm", "rotate-unlock-key", "--to-unlock-key-file", to, "--state-dir", &dir];
    let done = run(&[&args[..], &["--unlock-key-file", "-"]].concat(), key.as_bytes());
    assert_eq!(code(&done), 0);
    json(&run(&[&secrets[..], &[to]].concat(), b""));
}
