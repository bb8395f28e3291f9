use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use nodeseal::store::Options;
use nodeseal::{Keyring, Reason, Store};

use crate::log::{Node, holds, id, payload};

const DIR: &str = "NODESEAL_DESCRIPTORS_DIR";
const ENTRIES: u64 = 3000;

fn options<'a>() -> Options<'a> {
    Options::new("raft").segment_size(4 << 10)
}

/// Appends everything, and waits now and then.
fn fill(store: &Store) {
    let mut pending = None;
    for index in 1..=ENTRIES {
        let mut change = store.change();
        change.push(id(index), |out| out.extend_from_slice(&payload(index))).unwrap();
        if index > 1 {
            change.committed(id(index - 1));
        }
        pending = Some(store.write(change).unwrap());
    }
    pending.unwrap().wait().unwrap();
}

fn rotate(keyring: &Keyring, store: &Store) {
    keyring.rotate_dek(Reason::Requested).unwrap();
    let mut rotation = store.rotation().rate(u64::MAX);
    assert!(rotation.run(|_| ControlFlow::Continue(())).unwrap());
    assert_eq!(keyring.status().deks.len(), 1);
}

/// The process that may have 64 files open.
fn with_few(dir: &Path) {
    let (keyring, store) = Node::on(dir).create(options());
    fill(&store);
    holds(&store, 1, ENTRIES);
    rotate(&keyring, &store);
    drop((keyring, store));
    let threads = NonZeroUsize::new(4).unwrap();
    let (_keyring, store) = Node::on(dir).open(options().verify(|_| {}).threads(threads));
    holds(&store, 1, ENTRIES);
    for index in [1, ENTRIES / 2, ENTRIES] {
        assert_eq!(store.entry(index).unwrap().unwrap().1.expose(), payload(index));
    }
}

#[test]
fn a_long_log_needs_few_open_files() {
    if let Some(dir) = std::env::var_os(DIR) {
        return with_few(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let out = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "descriptors::a_long_log_needs_few_open_files", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let names = std::fs::read_dir(dir.path().join("raft")).unwrap();
    let segments = names
        .filter(|name| name.as_ref().unwrap().path().extension().is_some_and(|ext| ext == "wal"));
    assert!(segments.count() > 200, "more segments than files that may be open");
}
