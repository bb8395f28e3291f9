use std::io::{ErrorKind, Read, Write};

use nodeseal::store::{Change, Options};
use nodeseal::{Error, Keyring, LockPolicy, Reason, Store};

use crate::log::{Node, append, holds, id, me, vote};
use crate::tmpfs::{Tmpfs, files};

const ENTRIES: u64 = 300;

fn options<'a>() -> Options<'a> {
    Options::new("raft").segment_size(16 << 10)
}

#[test]
fn a_read_only_mount_is_read_and_nothing_is_written() {
    let Some(disk) = Tmpfs::mount(8) else { return };
    let node = Node::on(disk.path());
    let (keyring, store) = node.create(options());
    for _ in 0..ENTRIES {
        append(&store).unwrap();
    }
    let mut writer = store.write_snapshot().unwrap();
    writer.write_all(b"the state at 100").unwrap();
    let snapshot = writer.finish(id(100), b"").unwrap();
    let mut change = Change::new();
    change.purge(id(50)).vote(b"term 1").put_meta("members", b"m1, m2");
    store.install(snapshot, change).unwrap();
    drop((keyring, store));
    let before = files(disk.path());
    disk.remount("ro");

    let keyring = node.read_only_keys();
    let store = Store::open(&node.raft, &keyring, options().read_only().verify(|_| {})).unwrap();
    holds(&store, 51, ENTRIES);
    assert_eq!(store.state().vote, b"term 1");
    assert_eq!(store.meta("members").unwrap().expose(), b"m1, m2");
    let mut content = Vec::new();
    store.snapshot().unwrap().unwrap().read_to_end(&mut content).unwrap();
    assert_eq!(content, b"the state at 100");

    let refused = [
        append(&store).map(drop),
        vote(&store, b"term 2"),
        store.write_snapshot().map(drop),
        keyring.rotate_dek(Reason::Requested).map(drop),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(Error::Misuse(_))), "{refused:?}");
    }
    holds(&store, 51, ENTRIES);
    drop((keyring, store));

    // Without being asked to write nothing, it is an error, and nothing happens either.
    let opened = Keyring::open(&node.keys, &me(), LockPolicy::Any).map(drop);
    let keyring = node.read_only_keys();
    let writing = Store::open(&node.raft, &keyring, options()).map(drop);
    drop(keyring);
    for refused in [opened, writing] {
        match refused.unwrap_err() {
            Error::Io { source, .. } if source.kind() == ErrorKind::ReadOnlyFilesystem => {}
            Error::Misuse(_) => {}
            other => panic!("{other}"),
        }
    }
    disk.remount("rw");
    assert_eq!(files(disk.path()), before);

    let (_keyring, store) = node.open(options());
    assert_eq!(append(&store).unwrap(), ENTRIES + 1);
    holds(&store, 51, ENTRIES + 1);
}
