//! Swarm's dispatcher, as its own tests pin it (the test's name is in each comment).

use super::*;

fn two_secrets() -> Bench {
    let mut bench = Bench::new();
    for id in ["s1", "s2", "s3"] {
        bench.add_secret(id);
    }
    bench.add_service("v1", &[reference("s1", "a")]);
    bench.add_service("v2", &[reference("s1", "a"), reference("s2", "b")]);
    bench.add_service("v3", &[]);
    bench.add_node("w1", Labels::new());
    bench.add_node("w2", Labels::new());
    bench
}

/// TestAssignmentsInitialNodeTasks: the first message is complete, with the secrets of tasks from
/// ASSIGNED to RUNNING; then only what no live task needs any more is taken away.
#[test]
fn the_first_assignment_is_complete_and_later_ones_tell_the_difference() {
    let mut bench = two_secrets();
    for (id, of, on, state) in [
        ("t1", "v1", Some("w1"), TaskState::Assigned),
        ("t2", "v2", Some("w1"), TaskState::Running),
        ("t3", "v2", Some("w1"), TaskState::Pending),
        ("t4", "v2", None, TaskState::New),
        ("t5", "v2", Some("w2"), TaskState::Running),
    ] {
        bench.ok(new_task(id, of, on, state));
    }
    let (sent, sequence) = bench.sent("w1", None);
    assert_eq!(sent, ["+s1:1", "+s2:1", "+t1 a=s1:1", "+t2 a=s1:1 b=s2:1"]);

    // s1 is still needed, s2 is not.
    let outcome = bench.end("t2", TaskState::Failed);
    assert_eq!(outcome.woken, [node("w1")]);
    let (sent, sequence) = bench.sent("w1", Some(sequence));
    assert_eq!(sent, ["-t2", "-s2:1"]);
    let outcome = bench.ok(Request::RemoveTask { task: task("t1") });
    assert_eq!(outcome.woken, [node("w1")]);
    let (sent, sequence) = bench.sent("w1", Some(sequence));
    assert_eq!(sent, ["-t1", "-s1:1"]);
    assert!(bench.sent("w1", None).0.is_empty());
    // Nothing more happens when a task that ended is removed.
    assert!(bench.ok(Request::RemoveTask { task: task("t2") }).woken.is_empty());
    assert_eq!(bench.sent("w1", Some(sequence)), (vec![], sequence));
}

/// TestAssignmentsAddingTasks: each task brings what is not there yet; a task without secrets
/// brings nothing.
#[test]
fn tasks_that_come_bring_only_what_the_node_lacks() {
    let mut bench = two_secrets();
    let (sent, sequence) = bench.sent("w1", None);
    assert!(sent.is_empty());
    assert!(bench.run("t0", "v3", "w1").woken.is_empty());
    assert_eq!(bench.run("t1", "v1", "w1").woken, [node("w1")]);
    let (sent, sequence) = bench.sent("w1", Some(sequence));
    assert_eq!(sent, ["+s1:1", "+t1 a=s1:1"]);
    bench.run("t2", "v2", "w1");
    bench.run("t3", "v1", "w1");
    let (sent, sequence) = bench.sent("w1", Some(sequence));
    assert_eq!(sent, ["+s2:1", "+t2 a=s1:1 b=s2:1", "+t3 a=s1:1"]);
    for id in ["t1", "t2", "t3"] {
        bench.end(id, TaskState::Shutdown);
    }
    let (sent, _) = bench.sent("w1", Some(sequence));
    assert_eq!(sent, ["-t1", "-t2", "-t3", "-s1:1", "-s2:1"]);
}

/// TestAssignmentsDependencyUpdateAndDeletion: a change of a secret, or a secret that comes or
/// goes, wakes nobody.
#[test]
fn changes_of_a_secret_wake_nobody() {
    let mut bench = two_secrets();
    bench.run("t1", "v1", "w1");
    let (_, sequence) = bench.sent("w1", None);
    let index = bench.cluster.secret(&secret("s1")).unwrap().index;
    let change = SecretChange::Labels(labels(&[("a", "b")]));
    let update = Request::UpdateSecret { secret: secret("s1"), version: index, change };
    assert!(bench.ok(update).woken.is_empty());
    assert!(bench.ok(Request::RemoveSecret { secret: secret("s3") }).woken.is_empty());
    bench.add_version("s1", 2);
    assert_eq!(bench.sent("w1", Some(sequence)), (vec![], sequence));
}

/// TestTasksStatusChange: what only changes a task's state on the way to RUNNING is not echoed.
#[test]
fn changes_of_a_tasks_state_are_not_echoed() {
    let mut bench = two_secrets();
    bench.run("t1", "v1", "w1");
    for state in
        [TaskState::Accepted, TaskState::Preparing, TaskState::Starting, TaskState::Running]
    {
        assert!(bench.end("t1", state).woken.is_empty(), "{state:?}");
    }
    assert_eq!(bench.end("t1", TaskState::Complete).woken, [node("w1")]);
    // Swarm's dispatcher forgets that an ended task has ended if anything else changes with it.
    assert!(bench.end("t1", TaskState::Remove).woken.is_empty());
}

/// TestTasksBatch, and sequences that do not follow: many changes are one message, and whoever has
/// missed too many, or comes from elsewhere, gets all.
#[test]
fn a_node_gets_what_it_missed_or_all() {
    let mut bench = two_secrets();
    let (_, start) = bench.sent("w1", None);
    for round in 0..30 {
        bench.run(&format!("t{round}"), "v2", "w1");
    }
    let dispatch = bench.cluster.dispatch(&node("w1"), Some(start)).unwrap();
    assert_eq!(dispatch.scope(), Scope::Since(start));
    assert_eq!(dispatch.secrets().count(), 2, "each payload once");
    // Two tasks and a payload each time: more than is remembered.
    for round in 0..30 {
        bench.end(&format!("t{round}"), TaskState::Complete);
        bench.run(&format!("u{round}"), "v1", "w1");
    }
    let complete = |since| {
        let dispatch = bench.cluster.dispatch(&node("w1"), Some(since)).unwrap();
        dispatch.scope() == Scope::Complete
    };
    let sequence = bench.sent("w1", None).1;
    assert!(complete(start));
    assert!(!complete(sequence));
    assert!(complete(sequence + 1), "a sequence from the future");
    assert!(complete(0));
    // After a restart, only who is up to date is told no more than that.
    let again = Cluster::decode(bench.cluster.encode().expose()).unwrap();
    let scope = |since| again.dispatch(&node("w1"), Some(since)).unwrap().scope();
    assert_eq!(scope(sequence), Scope::Since(sequence));
    assert_eq!(scope(sequence - 1), Scope::Complete);
}

/// A payload that goes and comes again between two messages is sent again.
#[test]
fn what_went_and_came_again_is_sent() {
    let mut bench = two_secrets();
    bench.run("t1", "v1", "w1");
    let (_, sequence) = bench.sent("w1", None);
    bench.end("t1", TaskState::Complete);
    bench.run("t2", "v1", "w1");
    let (sent, _) = bench.sent("w1", Some(sequence));
    assert_eq!(sent, ["+s1:1", "+t2 a=s1:1", "-t1"]);
}

/// The first node is told that its task went, and nothing of the other one.
#[test]
fn a_tasks_id_that_is_used_again_elsewhere_is_another_task() {
    let mut bench = two_secrets();
    bench.run("t1", "v1", "w1");
    let (_, sequence) = bench.sent("w1", None);
    bench.ok(Request::RemoveTask { task: task("t1") });
    bench.run("t1", "v2", "w2");
    assert_eq!(bench.sent("w1", Some(sequence)).0, ["-t1", "-s1:1"]);
}

/// A task keeps what it was granted, whatever becomes of its service.
#[test]
fn a_running_task_keeps_its_grants() {
    let mut bench = two_secrets();
    bench.run("t1", "v1", "w1");
    let (sent, _) = bench.sent("w1", None);
    assert!(bench.ok(bench.update("v1", &[reference("s2", "b")])).woken.is_empty());
    assert_eq!(bench.sent("w1", None).0, sent);
    assert_eq!(bench.cluster.tasks_behind(&service("v1")), [task("t1")]);
    bench.run("t2", "v1", "w1");
    assert_eq!(bench.sent("w1", None).0, ["+s1:1", "+s2:1", "+t1 a=s1:1", "+t2 b=s2:1"]);
}

/// A task has one node and one direction.
#[test]
fn a_task_neither_moves_nor_goes_back() {
    let mut bench = two_secrets();
    let update = |state, on: Option<&str>| Request::UpdateTask {
        task: task("t1"),
        node: on.map(node),
        state,
    };
    let unplaced = new_task("t1", "v1", None, TaskState::Assigned);
    assert_eq!(bench.refused(unplaced).to_string(), "a task in this state has a node");
    bench.refused(new_task("t1", "v1", Some("w1"), TaskState::Complete));
    bench.refused(new_task("t1", "v9", Some("w1"), TaskState::Assigned));
    bench.refused(new_task("t1", "v1", Some("w9"), TaskState::Assigned));
    bench.ok(new_task("t1", "v1", None, TaskState::Pending));
    bench.refused(new_task("t1", "v1", None, TaskState::Pending));
    bench.refused(update(TaskState::Assigned, None));
    bench.refused(update(TaskState::Complete, Some("w9")));
    assert_eq!(bench.ok(update(TaskState::Assigned, Some("w1"))).woken, [node("w1")]);
    bench.refused(update(TaskState::Assigned, Some("w2")));
    bench.refused(update(TaskState::Pending, None));
    bench.ok(update(TaskState::Running, Some("w1")));
    bench.ok(update(TaskState::Failed, None));
    bench.refused(update(TaskState::Running, None));
    bench.refused(Request::RefreshTask { task: task("t1") });
    bench.ok(Request::RemoveTask { task: task("t1") });
    bench.refused(Request::RemoveTask { task: task("t1") });
}

/// Every opening is told before it happens, and a sink that refuses prevents it.
#[test]
fn payloads_are_opened_under_the_eyes_of_the_audit() {
    struct Full;
    impl Sink for Full {
        fn record(&self, _: &Event) -> Result<()> {
            Err(Error::Poisoned)
        }
    }
    let mut bench = two_secrets();
    let outcome = bench.run("t1", "v2", "w1");
    let told: Vec<_> = outcome.events.iter().map(|e| (e.action, e.secret.clone())).collect();
    assert_eq!(
        told,
        [(Action::Assigned, Some(secret("s1"))), (Action::Assigned, Some(secret("s2")))]
    );
    let dispatch = || bench.cluster.dispatch(&node("w1"), None).unwrap();
    let told = Told::default();
    dispatch().open(Time::from_seconds(5), "m1", &told).unwrap();
    let told = told.0.lock().unwrap();
    assert_eq!(told.len(), 2);
    assert_eq!(told[1].to_string(), "1970-01-01T00:00:05Z open by=m1 secret=s2 version=1 node=w1");
    assert!(matches!(dispatch().open(Time::default(), "m1", &Full), Err(Error::Poisoned)));
}

/// A delivery for a transport that ends before the node.
#[test]
fn a_delivery_is_sealed_to_the_nodes_key() {
    let mut bench = two_secrets();
    let (key, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    let public_key = Some(key.public());
    bench.ok(Request::PutNode { node: node("w1"), labels: Labels::new(), public_key });
    bench.run("t1", "v2", "w1");
    let dispatch = bench.cluster.dispatch(&node("w1"), None).unwrap();
    let to = *dispatch.public_key().unwrap();
    let sealed = dispatch.open(Time::default(), "m1", &Told::default()).unwrap();
    let sealed = sealed.seal_to(&to).unwrap();
    assert!(!sealed.windows(4).any(|window| window == b"s2 1"));
    assert_eq!(texts(&key.open(&sealed).unwrap()).len(), 3);
    assert!(other.open(&sealed).is_err());
}
