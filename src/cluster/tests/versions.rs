//! Versions of a secret: services that follow or are pinned, rolled out task by task and back.

use super::*;

fn pinned(name: &str, target: &str, number: u64) -> Reference {
    Reference { follow: Follow::Pinned(number), ..reference(name, target) }
}

fn current(bench: &Bench, number: u64) -> Request {
    let version = bench.cluster.secret(&secret("s1")).unwrap().index;
    let change = SecretChange::Current(number);
    Request::UpdateSecret { secret: secret("s1"), version, change }
}

fn started() -> Bench {
    let mut bench = Bench::new();
    bench.add_secret("s1");
    bench.add_service("follows", &[reference("s1", "f")]);
    bench.add_service("pinned", &[pinned("s1", "p", 1)]);
    bench.add_node("w1", Labels::new());
    for (id, of) in [("f1", "follows"), ("f2", "follows"), ("p1", "pinned")] {
        bench.run(id, of, "w1");
    }
    bench
}

#[test]
fn a_new_version_is_rolled_out_task_by_task_and_back() {
    let mut bench = started();
    let (sent, sequence) = bench.sent("w1", None);
    assert_eq!(sent, ["+s1:1", "+f1 f=s1:1", "+f2 f=s1:1", "+p1 p=s1:1"]);
    bench.add_version("s1", 2);
    assert_eq!(bench.sent("w1", Some(sequence)).0.len(), 0, "running tasks keep what they have");
    assert_eq!(bench.cluster.tasks_behind(&service("follows")), [task("f1"), task("f2")]);
    assert!(bench.cluster.tasks_behind(&service("pinned")).is_empty());

    // One in place, one replaced.
    let outcome = bench.ok(Request::RefreshTask { task: task("f1") });
    assert_eq!(outcome.woken, [node("w1")]);
    let (sent, sequence) = bench.sent("w1", Some(sequence));
    assert_eq!(sent, ["+s1:2", "+f1 f=s1:2"]);
    bench.run("f3", "follows", "w1");
    bench.end("f2", TaskState::Shutdown);
    let (sent, sequence) = bench.sent("w1", Some(sequence));
    assert_eq!(sent, ["+f3 f=s1:2", "-f2"]);
    assert!(bench.cluster.tasks_behind(&service("follows")).is_empty());

    // And back.
    bench.ok(current(&bench, 1));
    for id in ["f1", "f3"] {
        bench.ok(Request::RefreshTask { task: task(id) });
    }
    let (sent, _) = bench.sent("w1", Some(sequence));
    assert_eq!(sent, ["+f1 f=s1:1", "+f3 f=s1:1", "-s1:2"]);
}

#[test]
fn a_version_in_use_is_not_removed() {
    let mut bench = started();
    let remove = |number| Request::RemoveVersion { secret: secret("s1"), number };
    assert_eq!(bench.refused(remove(1)).to_string(), "version 1 of secret 's1' is the current one");
    assert_eq!(bench.refused(remove(2)).to_string(), "version 2 not found");
    bench.add_version("s1", 2);
    let refusal = bench.refused(remove(1));
    assert_eq!(
        refusal.to_string(),
        "secret 's1 version 1' is in use by follows (running tasks), pinned"
    );
    for id in ["f1", "f2"] {
        bench.ok(Request::RefreshTask { task: task(id) });
    }
    bench.ok(bench.update("pinned", &[reference("s1", "p")]));
    let refusal = bench.refused(remove(1));
    assert_eq!(
        refusal.to_string(),
        "secret 's1 version 1' is in use by pinned (previous specification)"
    );
    bench.ok(bench.update("pinned", &[reference("s1", "p")]));
    let refusal = bench.refused(remove(1));
    assert_eq!(refusal.to_string(), "secret 's1 version 1' is in use by pinned (running tasks)");
    bench.end("p1", TaskState::Failed);
    let outcome = bench.ok(remove(1));
    assert_eq!(outcome.events[0].action, Action::VersionRemoved);
    let info = bench.cluster.secret(&secret("s1")).unwrap();
    let numbers: Vec<_> = info.versions.iter().map(|version| version.number).collect();
    assert_eq!((numbers, info.next), (vec![2], 3));
    // Its number is not given again, and nobody is pinned to it.
    let payload = bench.sealed("s1", 1, b"p");
    let again = Request::AddVersion { secret: secret("s1"), number: 1, payload, current: true };
    assert_eq!(bench.refused(again), Refusal::OutOfSequence { version: 2 });
    bench.refused(bench.update("pinned", &[pinned("s1", "p", 1)]));
    bench.refused(current(&bench, 1));
}

#[test]
fn a_version_can_be_staged_before_anybody_gets_it() {
    let mut bench = started();
    let payload = bench.sealed("s1", 2, b"s1 2");
    bench.ok(Request::AddVersion { secret: secret("s1"), number: 2, payload, current: false });
    assert_eq!(bench.cluster.secret(&secret("s1")).unwrap().current, 1);
    assert!(bench.cluster.tasks_behind(&service("follows")).is_empty());
    bench.ok(bench.update("pinned", &[pinned("s1", "p", 2)]));
    bench.ok(Request::RefreshTask { task: task("p1") });
    assert!(bench.sent("w1", None).0.contains(&"+p1 p=s1:2".to_owned()));
    let outcome = bench.ok(current(&bench, 2));
    assert_eq!(
        (outcome.events[0].action, outcome.events[0].version),
        (Action::SecretRotated, Some(2))
    );
    assert_eq!(bench.cluster.tasks_behind(&service("follows")).len(), 2);
}

/// `docker service update --secret-rm old --secret-add source=new,target=old`.
#[test]
fn dockers_idiom_works_too() {
    let mut bench = Bench::new();
    bench.add_secret("old");
    bench.add_secret("new");
    bench.add_service("v1", &[reference("old", "password")]);
    bench.add_node("w1", Labels::new());
    bench.run("t1", "v1", "w1");
    let (_, sequence) = bench.sent("w1", None);
    let now = bench.cluster.service(&service("v1")).unwrap().references;
    let next = edit_references(&now, &["old"], &[reference("new", "password")]).unwrap();
    bench.ok(bench.update("v1", &next));
    bench.run("t2", "v1", "w1");
    bench.end("t1", TaskState::Shutdown);
    let (sent, _) = bench.sent("w1", Some(sequence));
    assert_eq!(sent, ["+new:1", "+t2 password=new:1", "-t1", "-old:1"]);
}
