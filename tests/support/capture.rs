//! Genuine states of Docker managers, see `tests/data/swarm/README.md`.

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

impl Capture {
    pub(crate) fn unpack(name: &str) -> Self {
        // The command's package uses this file too, and lies deeper.
        let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let data = above.map(|dir| dir.join("tests/data/swarm")).find(|dir| dir.is_dir());
        let data = data.unwrap().join(name);
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
