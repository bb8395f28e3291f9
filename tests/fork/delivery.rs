//! A forked child leaves the files of tasks alone, also when it drops what holds them.

use std::fs;

use nodeseal::delivery::{Assigned, Deliveries, Options};
use nodeseal::grant::{Assignment, Change, Grant, Mode, NodeId, Scope, SecretId, Target, TaskId};
use nodeseal::secret::SecretBytes;

use super::alone;
use super::writes::{child_leaves, refused};

fn assigned() -> Assigned {
    let node = NodeId::new("w1").unwrap();
    let (secret, task) = (SecretId::new("s1").unwrap(), TaskId::new("t1").unwrap());
    // SAFETY: neither call can fail or touches memory.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    let target = Target::new("password").unwrap();
    let mode = Mode::new(0o400).unwrap();
    let grant = Grant { secret: secret.clone(), version: 1, target, uid, gid, mode };
    let payload = SecretBytes::from(&b"hunter2"[..]);
    let changes = vec![
        Change::Secret { secret, version: 1, payload },
        Change::Task { task, grants: vec![grant] },
    ];
    let mut assigned = Assigned::new(node.clone());
    assigned.take(Assignment { node, scope: Scope::Complete, sequence: 1, changes }).unwrap();
    assigned
}

#[test]
fn a_child_cannot_withdraw_or_deliver() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let folder =
        Deliveries::open(dir.path().join("secrets"), Options::new().in_place().allow_disk())
            .unwrap();
    let assigned = assigned();
    let task = TaskId::new("t1").unwrap();
    let one = folder.deliver(&assigned.task(&task).unwrap()).unwrap();
    let prepared = (folder.clone(), one);
    let (_, one) = child_leaves(dir.path(), prepared, |(folder, mut one)| {
        let secrets = assigned.task(&task).unwrap();
        refused("deliver", folder.deliver(&secrets));
        refused("recover", folder.recover([]));
        refused("update", one.update(&secrets));
        refused("release", one.release());
        drop(folder);
    });
    let (_, one) = child_leaves(dir.path(), (folder, one), |(_, one)| drop(one));
    let path = one.path().join("password");
    assert_eq!(fs::read(&path).unwrap(), b"hunter2");
    one.release().unwrap();
    assert!(!path.exists());
}
