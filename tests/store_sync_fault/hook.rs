//! The shared object, built with the system's C compiler, and processes that have it preloaded.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::appends;

pub(crate) struct Hook {
    object: PathBuf,
    _dir: TempDir,
}

/// Writes a line that is also shown when the test passes.
#[expect(clippy::explicit_write, reason = "the test runner keeps what `eprintln!` writes")]
pub(crate) fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap();
}

impl Hook {
    /// `None` where there is no C compiler; the output then counts the test as skipped.
    pub(crate) fn build() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let object = dir.path().join("hook.so");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&object)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store_sync_fault/hook.c"))
            .args(["-ldl", "-pthread"])
            .status();
        match built {
            Ok(status) => assert!(status.success(), "cc: {status}"),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                say("SKIPPED: no cc to build the shared object that makes a sync fail");
                return None;
            }
            Err(e) => panic!("cc: {e}"),
        }
        Some(Self { object, _dir: dir })
    }

    /// Runs `test` of this binary as the process under test, and returns what happened in it.
    pub(crate) fn run(
        &self,
        test: &str,
        dir: &Path,
        fault: &str,
        nth: u64,
        threads: u32,
    ) -> String {
        let log = dir.join("log");
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(appends::DIR, dir)
            .env(appends::THREADS, threads.to_string())
            .env("LD_PRELOAD", &self.object)
            .env("SYNC_HOOK_LOG", &log)
            .env("SYNC_HOOK_ARM", dir.join("armed"))
            .env("SYNC_HOOK_FAULT", fault)
            .env("SYNC_HOOK_NTH", nth.to_string())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(ended.success(), "{ended}");
        std::fs::read_to_string(log).unwrap()
    }
}
