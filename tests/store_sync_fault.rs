//! Threads that append while one sync fails once and every later one succeeds, as on Linux.
//!
//! After an fsync that failed, the kernel counts the pages that it could not write as clean: the
//! next fsync succeeds without them. Of two fsyncs of one open file that run at once, one gets the
//! error. So at most one may run at a time, and its error must be known before the next one begins.
//!
//! Each run is a process of its own with a shared object preloaded (`hook.c`) that delays syncs,
//! makes one fail and reports all of them. Few runs as a rule; `NODESEAL_SYNC_RUNS=300` for more.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "store_sync_fault/appends.rs"]
mod appends;
#[path = "store_sync_fault/hook.rs"]
mod hook;
#[path = "store_sync_fault/verdict.rs"]
mod verdict;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hook::Hook;
use verdict::Verdict;

/// How many runs for each number of threads, unless the environment says otherwise.
const RUNS: u64 = 20;

/// One test after the other: until it execs, a process that one of them has just forked holds the
/// locks that another has open.
static TURN: Mutex<()> = Mutex::new(());

/// One way to fail, with each number of threads.
fn try_all(test: &str, fault: &str) {
    if let Some(dir) = std::env::var_os(appends::DIR) {
        return appends::run(Path::new(&dir));
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(hook) = Hook::build() else { return };
    let runs = std::env::var("NODESEAL_SYNC_RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    let mut bad = Vec::new();
    for threads in [2, 4, 8, 32] {
        let (mut failed, mut late, mut beside) = (0, Vec::new(), Vec::new());
        for run in 0..runs {
            let dir = tempfile::tempdir().unwrap();
            appends::create(dir.path());
            let log = hook.run(test, dir.path(), fault, nth(fault, run), threads);
            let verdict = Verdict::of(&log);
            failed += u64::from(verdict.failed);
            late.extend((verdict.late > 0).then_some(run));
            beside.extend((verdict.beside > 0).then_some(run));
            appends::check(dir.path(), &verdict.acknowledged);
        }
        let found = format!(
            "{fault}, {threads} threads, {failed} of {runs} runs with a failed sync: \
             {} acknowledged after it (the first: {:?}), {} synced a file twice at once",
            late.len(),
            late.first(),
            beside.len(),
        );
        hook::say(&found);
        // A run without the fault shows nothing.
        if !late.is_empty() || !beside.is_empty() || failed < runs {
            bad.push(found);
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

/// The sync that fails is another one in every run.
fn nth(fault: &str, run: u64) -> u64 {
    match fault {
        "segment" => 1 + run * 7 % 60,
        _ => 1 + run % 6,
    }
}

#[test]
fn nothing_is_acknowledged_after_a_failed_sync_of_a_segment() {
    try_all("nothing_is_acknowledged_after_a_failed_sync_of_a_segment", "segment");
}

#[test]
fn nothing_is_acknowledged_when_the_sync_that_ends_a_segment_fails() {
    try_all("nothing_is_acknowledged_when_the_sync_that_ends_a_segment_fails", "end");
}

#[test]
fn nothing_is_acknowledged_after_a_failed_sync_of_the_directory() {
    try_all("nothing_is_acknowledged_after_a_failed_sync_of_the_directory", "directory");
}
