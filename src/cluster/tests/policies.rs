//! An operator's policy over developers' grants.

use super::*;

fn selector(services: &[(&str, Option<&str>)], nodes: &[(&str, Option<&str>)]) -> Selector {
    let required = |all: &[(&str, Option<&str>)]| -> Required {
        all.iter().map(|(k, v)| ((*k).to_owned(), v.map(ToOwned::to_owned))).collect()
    };
    Selector { services: required(services), nodes: required(nodes) }
}

fn set(bench: &mut Bench, id: &str, selector: Selector) -> Outcome {
    let version = bench.cluster.secret(&secret(id)).unwrap().index;
    let change = SecretChange::Selector(selector);
    bench.ok(Request::UpdateSecret { secret: secret(id), version, change })
}

fn service_with(id: &str, all: &[(&str, &str)], references: Vec<Reference>) -> Request {
    let name = id.to_owned();
    Request::CreateService { service: service(id), name, labels: labels(all), references }
}

#[test]
fn grants_are_checked_when_they_are_made() {
    let mut bench = Bench::new();
    bench.add_secret("s1");
    set(&mut bench, "s1", selector(&[("team", Some("pay")), ("reviewed", None)], &[]));
    let references = vec![reference("s1", "a")];
    for wrong in [&[][..], &[("team", "pay")], &[("team", "web"), ("reviewed", "")]] {
        let refusal = bench.refused(service_with("v1", wrong, references.clone()));
        let text = "the policy of secret 's1' does not allow service v1";
        assert_eq!(refusal.to_string(), text);
    }
    bench.ok(service_with("v1", &[("team", "pay"), ("reviewed", "yes")], references.clone()));
    bench.ok(service_with("v2", &[], vec![]));
    bench.refused(bench.update("v2", &references));
    // Nor does a rollback get around it.
    bench.ok(bench.update("v1", &[]));
    set(&mut bench, "s1", selector(&[("team", Some("web"))], &[]));
    let version = bench.cluster.service(&service("v1")).unwrap().index;
    bench.refused(Request::RollbackService { service: service("v1"), version });
}

#[test]
fn and_again_when_a_task_comes_to_a_node() {
    let mut bench = Bench::new();
    bench.add_secret("s1");
    set(&mut bench, "s1", selector(&[], &[("zone", Some("pci"))]));
    bench.ok(service_with("v1", &[], vec![reference("s1", "a")]));
    bench.add_node("w1", labels(&[("zone", "dmz")]));
    bench.add_node("w2", labels(&[("zone", "pci")]));
    let text = "the policy of secret 's1' does not allow node w1";
    let refusal = bench.refused(new_task("t1", "v1", Some("w1"), TaskState::Assigned));
    assert_eq!(refusal.to_string(), text);
    bench.ok(new_task("t1", "v1", None, TaskState::Pending));
    let assign = |on| Request::UpdateTask {
        task: task("t1"),
        node: Some(node(on)),
        state: TaskState::Assigned,
    };
    assert_eq!(bench.refused(assign("w1")).to_string(), text);
    assert_eq!(bench.ok(assign("w2")).woken, [node("w2")]);
    // The labels that the service had when it was granted are not those that count now.
    set(&mut bench, "s1", selector(&[("team", None)], &[]));
    bench.refused(new_task("t2", "v1", Some("w2"), TaskState::Assigned));
    bench.refused(Request::RefreshTask { task: task("t1") });
}

#[test]
fn a_stricter_policy_takes_a_secret_away_and_a_milder_one_gives_it_back() {
    let mut bench = Bench::new();
    bench.add_secret("s1");
    bench.add_secret("s2");
    let references = vec![reference("s1", "a"), reference("s2", "b")];
    bench.ok(service_with("v1", &[("team", "pay")], references));
    bench.add_node("w1", labels(&[("zone", "pci")]));
    bench.add_node("w2", labels(&[("zone", "dmz")]));
    bench.run("t1", "v1", "w1");
    bench.run("t2", "v1", "w2");
    let (_, sequence) = bench.sent("w2", None);

    let outcome = set(&mut bench, "s1", selector(&[], &[("zone", Some("pci"))]));
    assert_eq!(outcome.woken, [node("w2")]);
    assert_eq!(outcome.events.last().unwrap().action, Action::Released);
    let (sent, sequence) = bench.sent("w2", Some(sequence));
    assert_eq!(sent, ["+t2 b=s2:1", "-s1:1"]);

    // A node's labels count too.
    let put = |zone| Request::PutNode {
        node: node("w2"),
        labels: labels(&[("zone", zone)]),
        public_key: None,
    };
    assert_eq!(bench.ok(put("pci")).woken, [node("w2")]);
    let (sent, sequence) = bench.sent("w2", Some(sequence));
    assert_eq!(sent, ["+s1:1", "+t2 a=s1:1 b=s2:1"]);
    assert!(bench.ok(put("pci")).woken.is_empty());

    // And a service's.
    let outcome = set(&mut bench, "s2", selector(&[("team", Some("pay"))], &[]));
    assert!(outcome.woken.is_empty());
    let version = bench.cluster.service(&service("v1")).unwrap().index;
    let references = vec![reference("s1", "a")];
    let (service, labels) = (service("v1"), labels(&[("team", "web")]));
    let update = Request::UpdateService { service, version, labels, references };
    assert_eq!(bench.ok(update).woken, [node("w1"), node("w2")]);
    let (sent, sequence) = bench.sent("w2", Some(sequence));
    assert_eq!(sent, ["+t2 a=s1:1", "-s2:1"]);

    set(&mut bench, "s1", selector(&[("nobody", None)], &[]));
    assert_eq!(bench.sent("w2", Some(sequence)).0, ["-t2", "-s1:1"]);
    assert!(bench.sent("w1", None).0.is_empty());
    // A task that ends while a policy holds its secrets back is counted out all the same.
    bench.end("t2", TaskState::Complete);
    let outcome = set(&mut bench, "s1", Selector::default());
    assert_eq!(outcome.woken, [node("w1")]);
    assert!(bench.sent("w2", None).0.is_empty());
}
