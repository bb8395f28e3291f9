use std::io::ErrorKind;

use nodeseal::store::{Change, Options};
use nodeseal::{Error, Store};

use crate::log::{Node, append, holds, id, vote};
use crate::tmpfs::{Tmpfs, files};

const SIZE: u64 = 24;

/// Appends until nothing more fits; returns the last entry.
fn fill(store: &Store) -> u64 {
    loop {
        match append(store) {
            Ok(_) => {}
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::StorageFull => {
                return store.state().last.index;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

fn try_with(options: impl Fn() -> Options<'static>) {
    let Some(disk) = Tmpfs::mount(SIZE) else { return };
    let node = Node::on(disk.path());
    let (keyring, store) = node.create(options());
    let last = fill(&store);
    let free = disk.free();
    assert!(free < 64 << 10, "{free} bytes are free when an append does not fit");

    // It can be used: nothing but what needs room is refused.
    holds(&store, 1, last);
    for _ in 0..3 {
        let refused = append(&store).unwrap_err();
        assert!(!matches!(refused, Error::Poisoned), "{refused}");
    }
    vote(&store, b"term 1").unwrap();
    holds(&store, 1, last);
    drop((keyring, store));

    // Opened again, twice, without room.
    for _ in 0..2 {
        let (_keyring, store) = node.open(options().verify(|_| {}));
        holds(&store, 1, last);
        assert_eq!(store.state().vote, b"term 1");
    }
    let before = files(disk.path());
    let keyring = node.read_only_keys();
    let store = Store::open(&node.raft, &keyring, options().read_only()).unwrap();
    holds(&store, 1, last);
    drop((keyring, store));
    assert_eq!(files(disk.path()), before);
    let temp = |path: &&std::path::PathBuf| path.extension().is_some_and(|ext| ext == "tmp");
    assert_eq!(before.keys().find(temp), None);

    // A purge makes room.
    let (keyring, store) = node.open(options());
    let purged = last * 3 / 4;
    let mut change = Change::new();
    change.purge(id(purged));
    store.apply(change).unwrap();
    assert!(disk.free() > 8 << 20, "{} bytes are free after a purge", disk.free());
    for _ in 0..last / 4 {
        append(&store).unwrap();
    }
    let more = last + last / 4;
    holds(&store, purged + 1, more);
    drop((keyring, store));
    let (_keyring, store) = node.open(options().verify(|_| {}));
    holds(&store, purged + 1, more);

    // And full once more.
    let last = fill(&store);
    assert!(disk.free() < 64 << 10);
    holds(&store, purged + 1, last);
}

#[test]
fn a_full_disk_refuses_appends_and_nothing_else() {
    try_with(|| Options::new("raft").segment_size(1 << 20).prepare_ahead(false));
}

#[test]
fn a_full_disk_refuses_appends_and_nothing_else_with_the_next_segment_prepared() {
    try_with(|| Options::new("raft").segment_size(1 << 20));
}

#[test]
fn a_full_disk_refuses_appends_and_nothing_else_with_the_usual_segments() {
    try_with(|| Options::new("raft"));
}
