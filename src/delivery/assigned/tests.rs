use super::*;
use crate::grant::{Mode, Target};

fn id(name: &str) -> SecretId {
    SecretId::new(name).unwrap()
}

fn task(name: &str) -> TaskId {
    TaskId::new(name).unwrap()
}

fn node() -> NodeId {
    NodeId::new("w1").unwrap()
}

fn grant(secret: &str, version: u64) -> Grant {
    Grant {
        secret: id(secret),
        version,
        target: Target::new(secret).unwrap(),
        uid: 0,
        gid: 0,
        mode: Mode::DEFAULT,
    }
}

fn secret(name: &str, version: u64) -> Change {
    let payload = SecretBytes::from(format!("{name} {version}").as_bytes());
    Change::Secret { secret: id(name), version, payload }
}

fn gives(name: &str, grants: &[Grant]) -> Change {
    Change::Task { task: task(name), grants: grants.to_vec() }
}

fn assignment(scope: Scope, sequence: u64, changes: Vec<Change>) -> Assignment {
    Assignment { node: node(), scope, sequence, changes }
}

/// A node with two tasks, that share a secret.
fn assigned() -> Assigned {
    let mut assigned = Assigned::new(node());
    let changes = vec![
        secret("a", 1),
        secret("b", 1),
        gives("t1", &[grant("a", 1), grant("b", 1)]),
        gives("t2", &[grant("a", 1)]),
    ];
    let changed = assigned.take(assignment(Scope::Complete, 7, changes)).unwrap();
    assert_eq!(changed, Changed { tasks: vec![task("t1"), task("t2")], gone: vec![] });
    assigned
}

fn sees(assigned: &Assigned, name: &str, secret: &str, version: u64) -> Result<Vec<u8>> {
    let secrets = assigned.task(&task(name)).unwrap();
    secrets.get(&id(secret), version).map(|payload| payload.expose().to_vec())
}

/// swarmkit's TestTaskRestrictedSecretsProvider.
#[test]
fn a_task_sees_what_it_was_granted_and_nothing_else() {
    let assigned = assigned();
    assert_eq!(sees(&assigned, "t1", "b", 1).unwrap(), b"b 1");
    assert_eq!(sees(&assigned, "t2", "a", 1).unwrap(), b"a 1");
    let refused = sees(&assigned, "t2", "b", 1).unwrap_err();
    assert_eq!(refused.to_string(), "task t2 not authorized to access secret b");
    // Whether there is such a secret, or such a version, is not told.
    for (secret, version) in [("c", 1), ("a", 2)] {
        let refused = sees(&assigned, "t2", secret, version);
        assert!(matches!(refused, Err(Error::NotGranted { .. })));
    }
    assert!(assigned.task(&task("t3")).is_none());
    let said = format!("{assigned:?} {:?}", assigned.task(&task("t1")));
    assert!(said.contains("t1") && !said.contains("a 1"), "{said}");
}

/// swarmkit's TestWorkerAssign: a complete assignment takes the place of everything.
#[test]
fn a_complete_assignment_replaces_everything() {
    let mut assigned = assigned();
    let changes = vec![
        secret("a", 1),
        gives("t2", &[grant("a", 1)]),
        gives("t3", &[grant("a", 1), grant("b", 1)]),
    ];
    let changed = assigned.take(assignment(Scope::Complete, 3, changes)).unwrap();
    assert_eq!(changed, Changed { tasks: vec![task("t3")], gone: vec![task("t1")] });
    assert_eq!(assigned.sequence(), Some(3));
    assert_eq!(assigned.tasks().len(), 2);
    // Granted, and not sent along: that is another error.
    assert!(matches!(sees(&assigned, "t3", "b", 1), Err(Error::NotAssigned { .. })));
    assigned.clear();
    assert_eq!((assigned.sequence(), assigned.tasks().len()), (None, 0));
    assert!(assigned.payloads.is_empty());
}

/// swarmkit's TestWorkerUpdate: changes remove, replace and add.
#[test]
fn changes_are_made_in_their_order() {
    let mut assigned = assigned();
    let changes = vec![
        secret("a", 2),
        gives("t1", &[grant("a", 2)]),
        Change::TaskRemoved { task: task("t2") },
        Change::TaskRemoved { task: task("t9") },
        Change::SecretRemoved { secret: id("a"), version: 1 },
        Change::SecretRemoved { secret: id("b"), version: 1 },
    ];
    let changed = assigned.take(assignment(Scope::Since(7), 8, changes)).unwrap();
    assert_eq!(changed, Changed { tasks: vec![task("t1")], gone: vec![task("t2")] });
    assert_eq!(sees(&assigned, "t1", "a", 2).unwrap(), b"a 2");
    assert!(matches!(sees(&assigned, "t1", "b", 1), Err(Error::NotGranted { .. })));
    assert_eq!(assigned.payloads.len(), 1, "what no task needs is gone");
}

#[test]
fn a_gap_or_another_nodes_assignment_changes_nothing() {
    let mut assigned = assigned();
    for from in [6, 8] {
        let changes = vec![Change::TaskRemoved { task: task("t1") }];
        let refused = assigned.take(assignment(Scope::Since(from), 9, changes)).unwrap_err();
        assert!(matches!(refused, Error::Gap { at: Some(7), .. }), "{refused}");
    }
    let other = NodeId::new("w2").unwrap();
    let complete =
        Assignment { node: other, scope: Scope::Complete, sequence: 9, changes: Vec::new() };
    assert!(matches!(assigned.take(complete), Err(Error::OtherIdentity { .. })));
    assert_eq!((assigned.sequence(), assigned.tasks().len()), (Some(7), 2));
    let mut fresh = Assigned::new(node());
    let changes = fresh.take(assignment(Scope::Since(7), 8, Vec::new()));
    assert!(matches!(changes, Err(Error::Gap { at: None, from: 7 })));
}
