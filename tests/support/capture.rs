//! Genuine states of Docker managers, see `tests/data/swarm/README.md`.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use nodeseal::UnlockKey;
use serde_json::Value;
use tempfile::TempDir;

/// A capture, unpacked into a folder of its own.
pub(crate) struct Capture {
    folder: TempDir,
    pub(crate) expected: Value,
}

/// The names of all captures.
pub(crate) fn all() -> Vec<String> {
    let folders = std::fs::read_dir(data()).unwrap().map(Result::unwrap);
    let folders = folders.filter(|entry| entry.file_type().unwrap().is_dir());
    let names: Vec<_> = folders.map(|one| one.file_name().into_string().unwrap()).collect();
    assert!(names.len() >= 10, "{names:?}");
    names
}

/// The command's package uses this file too, and lies deeper.
fn data() -> PathBuf {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    above.map(|dir| dir.join("tests/data/swarm")).find(|dir| dir.is_dir()).unwrap()
}

impl Capture {
    pub(crate) fn unpack(name: &str) -> Self {
        let data = data().join(name);
        let folder = tempfile::tempdir().unwrap();
        // The segments are nearly all holes: 64 MB each without --sparse.
        let status = Command::new("tar")
            .args(["--sparse", "-xJf"])
            .arg(data.join("state.tar.xz"))
            .arg("-C")
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(status.success());
        let expected = std::fs::read(data.join("expected.json")).unwrap();
        Self { folder, expected: serde_json::from_slice(&expected).unwrap() }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("swarm")
    }

    /// The unlock key, also where the capture is not locked: `None` then.
    pub(crate) fn key(&self) -> Option<UnlockKey> {
        let text = self.expected["unlock_key"].as_str().filter(|text| !text.is_empty())?;
        Some(UnlockKey::from_text(text).unwrap())
    }
}
