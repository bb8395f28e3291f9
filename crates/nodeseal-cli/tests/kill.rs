//! The command killed in the middle of its work, over and over, on the real file system.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "../../../tests/support/capture.rs"]
mod capture;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use capture::Capture;
use nodeseal::swarm::State;
use nodeseal::{Error, UnlockKey};

type Secrets = BTreeMap<String, Vec<u8>>;

fn secrets(dir: &Path, key: &UnlockKey) -> Result<Secrets, Error> {
    let state = State::read(dir, Some(key))?;
    assert!(state.is_complete(), "{:?}", state.findings);
    let all = state.objects.secrets.into_values();
    Ok(all.map(|one| (one.facts.name, one.payload.expose().to_vec())).collect())
}

fn read_key(path: &Path) -> Option<UnlockKey> {
    // It may have been killed before it had written all of it.
    UnlockKey::from_text(std::fs::read_to_string(path).ok()?.trim()).ok()
}

fn rotate(dir: &Path, old: &Path, new: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_nodeseal"))
        .args(["swarm", "rotate-unlock-key", "--state-dir"])
        .arg(dir)
        .arg("--unlock-key-file")
        .arg(old)
        .arg("--new-unlock-key-file")
        .arg(new)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_change_leaves_a_folder_that_opens() {
    let capture = Capture::unpack("2-snapshots");
    let dir = capture.dir();
    let keys = tempfile::tempdir().unwrap();
    let path = |n: u32| keys.path().join(n.to_string());
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(path(0), capture.expected["unlock_key"].as_str().unwrap()).unwrap();
    let expected = secrets(&dir, &capture.key().unwrap()).unwrap();

    // How long it takes when it is left alone.
    let begun = Instant::now();
    assert!(rotate(&dir, &path(0), &path(1)).wait().unwrap().success());
    let whole = begun.elapsed();
    let (mut current, mut killed, mut changed) = (1, 0, 0);
    let rounds = if std::env::var_os("NODESEAL_LONG").is_some() { 400 } else { 24 };
    for round in 0..rounds {
        let next = round + 2;
        let mut child = rotate(&dir, &path(current), &path(next));
        // The later half is where it writes.
        std::thread::sleep(whole * (round % 24 + 8) / 36);
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        killed += u32::from(ended.code().is_none());
        let old = read_key(&path(current)).unwrap();
        current = match secrets(&dir, &old) {
            Ok(found) => {
                assert!(found == expected);
                assert!(!ended.success(), "the old key must not open it any more");
                current
            }
            Err(Error::WrongKey) => {
                let new = read_key(&path(next)).unwrap();
                assert!(secrets(&dir, &new).unwrap() == expected);
                changed += 1;
                next
            }
            Err(error) => panic!("{error}"),
        };
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(killed > rounds / 4, "{killed} killed of {rounds}");
    println!("{rounds} runs, {killed} killed, {changed} with the new key afterwards");
    // And what is half done is finished.
    assert!(rotate(&dir, &path(current), &path(9999)).wait().unwrap().success());
    assert!(secrets(&dir, &read_key(&path(9999)).unwrap()).unwrap() == expected);
    for folder in ["raft/wal-v3-encrypted", "raft/snap-v3-encrypted"] {
        assert_eq!(std::fs::read_dir(dir.join(folder)).unwrap().count(), 1, "nothing lies about");
    }
}
