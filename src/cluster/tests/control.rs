//! Swarm's control API, as its own tests pin it (the test's name is in each comment), but where
//! this state machine is stricter.

use super::*;

fn named(bench: &Bench, name: &str) -> Request {
    let Request::CreateSecret { secret, labels, internal, dates, selector, payload, .. } =
        bench.new_secret("s1")
    else {
        unreachable!()
    };
    let name = name.to_owned();
    Request::CreateSecret { secret, name, labels, internal, dates, selector, payload }
}

/// TestValidateSecretSpec: names and payloads.
#[test]
fn a_secret_needs_a_valid_name_and_a_payload() {
    let long = "a".repeat(65);
    for bad in ["", ".", "-", "_a", "a-", "a.", "a b", "a/b", "ä", "a\n", &long] {
        let mut bench = Bench::new();
        let refusal = bench.refused(named(&bench, bad));
        assert!(refusal.to_string().starts_with("invalid name, only 64"), "{bad:?}: {refusal}");
    }
    for good in ["0", "a", "a..b", "a-_.b", "A1", &long[..64]] {
        let mut bench = Bench::new();
        bench.ok(named(&bench, good));
    }
    let key = Bench::new().cluster.payload_key().unwrap();
    assert!(key.seal(&secret("s"), 1, b"").is_err());
    assert!(key.seal(&secret("s"), 1, &vec![1; MAX_PAYLOAD + 1]).is_err());
    assert_eq!(MAX_PAYLOAD, 511_999);
    let largest = key.seal(&secret("s"), 1, &vec![1; MAX_PAYLOAD]).unwrap();
    assert_eq!(largest.payload_len(), MAX_PAYLOAD);
}

/// TestCreateSecret: what is created is there without its payload, and its name is taken whatever
/// the case.
#[test]
fn a_created_secret_is_inspected_without_its_payload() {
    let mut bench = Bench::new();
    let outcome = bench.ok(named(&bench, "Db_Password"));
    let event = &outcome.events[0];
    assert_eq!((event.action, event.version), (Action::SecretCreated, Some(1)));
    assert_eq!((event.by.as_str(), event.index), ("ops", Some(2)));

    let info = bench.cluster.secret(&secret("s1")).unwrap();
    assert_eq!((info.name.as_str(), info.index, info.current), ("Db_Password", 2, 1));
    assert_eq!(info.versions[0].size, "s1 1".len());
    assert_eq!(info.created, Time::from_seconds(1_700_000_002));

    let Request::CreateSecret { labels, internal, dates, selector, .. } = bench.new_secret("x")
    else {
        unreachable!()
    };
    let payload = bench.sealed("s2", 1, b"p");
    let (secret, name) = (secret("s2"), "db_passWORD".to_owned());
    let other = Request::CreateSecret { secret, name, labels, internal, dates, selector, payload };
    let refusal = bench.refused(other);
    assert_eq!(refusal.to_string(), "secret db_passWORD already exists");
    let refusal = bench.refused(named(&bench, "another"));
    assert_eq!(refusal, Refusal::Exists { kind: Kind::Secret, name: "s1".to_owned() });
}

/// TestGetSecret, and how the engine finds one: whole id, else name, else the beginning of an id.
#[test]
fn a_word_finds_a_secret() {
    let mut bench = Bench::new();
    for id in ["abc1", "abc2", "ab"] {
        bench.add_secret(id);
    }
    let Request::CreateSecret { labels, internal, dates, selector, .. } = bench.new_secret("x")
    else {
        unreachable!()
    };
    let (id, name) = (secret("zz1"), "Abc1x".to_owned());
    let payload = bench.sealed("zz1", 1, b"p");
    bench.ok(Request::CreateSecret {
        secret: id,
        name,
        labels,
        internal,
        dates,
        selector,
        payload,
    });
    let found = |word: &str| match bench.cluster.find_secret(word) {
        Found::One(info) => info.id.to_string(),
        Found::None => "none".to_owned(),
        Found::Several(count) => count.to_string(),
    };
    assert_eq!(found("ab"), "ab", "the whole id comes before beginnings");
    assert_eq!(found("ABC1X"), "zz1", "names are found whatever their case");
    assert_eq!((found("abc"), found("z"), found("q")), ("2".into(), "zz1".into(), "none".into()));
    assert_eq!(
        (found(""), found("a b"), found("*")),
        ("none".into(), "none".into(), "none".into())
    );
}

/// TestUpdateSecret: labels are replaced, with a version check; there is no request that could
/// change a name or a version's payload.
#[test]
fn an_update_replaces_labels_and_checks_the_version() {
    let mut bench = Bench::new();
    bench.add_secret("s1");
    let change = |labels| SecretChange::Labels(labels);
    let update = |version, change| Request::UpdateSecret { secret: secret("s1"), version, change };
    let refusal = bench.refused(Request::UpdateSecret {
        secret: secret("s2"),
        version: 1,
        change: change(Labels::new()),
    });
    assert_eq!(refusal.to_string(), "secret s2 not found");
    let refusal = bench.refused(update(1, change(Labels::new())));
    assert_eq!(refusal, Refusal::OutOfSequence { version: 2 });
    assert_eq!(refusal.to_string(), "update out of sequence");

    let index = bench.cluster.secret(&secret("s1")).unwrap().index;
    let outcome = bench.ok(update(index, change(labels(&[("a", "1"), ("b", "")]))));
    let info = bench.cluster.secret(&secret("s1")).unwrap();
    assert_eq!(info.labels, labels(&[("a", "1"), ("b", "")]));
    assert_eq!((info.index, info.versions.len()), (outcome.index, 1));
    assert!(info.updated > info.created);
    bench.ok(update(info.index, change(labels(&[("c", "2")]))));
    assert_eq!(bench.cluster.secret(&secret("s1")).unwrap().labels, labels(&[("c", "2")]));
    bench.refused(update(info.index, change(Labels::new())));
    let index = bench.cluster.secret(&secret("s1")).unwrap().index;
    bench.refused(update(index, change(labels(&[("", "no key")]))));
    bench.refused(update(index, change(labels(&[("k", &"v".repeat(64 << 10))]))));
}

/// TestRemoveUnusedSecret.
#[test]
fn an_unused_secret_is_removed_once() {
    let mut bench = Bench::new();
    bench.add_secret("s1");
    let remove = || Request::RemoveSecret { secret: secret("s1") };
    let outcome = bench.ok(remove());
    assert_eq!(outcome.events[0].action, Action::SecretRemoved);
    assert_eq!(outcome.events[0].detail.as_deref(), Some("s1"));
    assert_eq!(bench.refused(remove()).to_string(), "secret s1 not found");
    // The name is free again.
    bench.add_secret("s1");
}

/// TestRemoveUsedSecret: two services are both named; and what Swarm does not count, counts.
#[test]
fn a_secret_that_anything_refers_to_is_not_removed() {
    let mut bench = Bench::new();
    for id in ["s1", "s2", "s3"] {
        bench.add_secret(id);
    }
    let remove = |id| Request::RemoveSecret { secret: secret(id) };
    bench.add_service("v1", &[reference("s1", "s1")]);
    let refusal = bench.refused(remove("s1"));
    assert_eq!(refusal.to_string(), "secret 's1' is in use by the following service: v1");
    bench.add_service("v2", &[reference("s2", "a"), reference("s1", "b")]);
    let refusal = bench.refused(remove("s1"));
    assert_eq!(refusal.to_string(), "secret 's1' is in use by the following services: v1, v2");
    bench.ok(remove("s3"));

    // A rollback would need it.
    bench.ok(bench.update("v1", &[]));
    bench.ok(bench.update("v2", &[]));
    let refusal = bench.refused(remove("s1"));
    let text = "secret 's1' is in use by v1 (previous specification), v2 (previous specification)";
    assert_eq!(refusal.to_string(), text);

    // A running task has it, although no specification names it any more.
    bench.add_node("w1", Labels::new());
    bench.ok(bench.update("v1", &[reference("s1", "s1")]));
    bench.run("t1", "v1", "w1");
    for id in ["v1", "v1", "v2"] {
        bench.ok(bench.update(id, &[]));
    }
    let refusal = bench.refused(remove("s1"));
    assert_eq!(refusal.to_string(), "secret 's1' is in use by v1 (running tasks)");
    bench.end("t1", TaskState::Shutdown);

    // An object of the author's own has it.
    let referrer = Referrer { kind: "volume".to_owned(), id: "data".to_owned() };
    let put = |secrets: &[&str]| Request::PutReferrer {
        referrer: referrer.clone(),
        secrets: secrets.iter().map(|id| secret(id)).collect(),
    };
    assert_eq!(bench.refused(put(&["s1", "s9"])).to_string(), "secret not found: s9");
    bench.ok(put(&["s1", "s2"]));
    let refusal = bench.refused(remove("s1"));
    assert_eq!(refusal.to_string(), "secret 's1' is in use by volume data");
    bench.ok(put(&["s2"]));
    bench.ok(remove("s1"));
    bench.refused(remove("s2"));
    bench.ok(Request::RemoveReferrer { referrer: referrer.clone() });
    bench.refused(Request::RemoveReferrer { referrer });
    bench.ok(remove("s2"));
}

/// TestListSecrets: ids, names and prefixes are alternatives, labels are not, and internal secrets
/// are hidden.
#[test]
fn lists_are_filtered_and_in_the_order_of_names() {
    let mut bench = Bench::new();
    let all = [("id1", "bb", "x"), ("id2", "Aa", "y"), ("jd3", "ab", "x"), ("jd4", "c", "x")];
    for (id, name, label) in all {
        let payload = bench.sealed(id, 1, b"p");
        bench.ok(Request::CreateSecret {
            secret: secret(id),
            name: name.to_owned(),
            labels: labels(&[("l", label), (name, "")]),
            internal: name == "c",
            dates: Dates::default(),
            selector: Selector::default(),
            payload,
        });
    }
    let list = |filter: Filter| -> Vec<String> {
        bench.cluster.secrets(&filter).into_iter().map(|info| info.name).collect()
    };
    let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let some = |value: &str| Some(value.to_owned());
    assert_eq!(list(Filter::default()), ["Aa", "ab", "bb"]);
    assert_eq!(list(Filter { internal: true, ..Filter::default() }), ["Aa", "ab", "bb", "c"]);
    let ids = words(&["id", "zzz"]);
    assert_eq!(list(Filter { ids: ids.clone(), ..Filter::default() }), ["Aa", "bb"]);
    let names = words(&["AB", "a"]);
    assert_eq!(list(Filter { names: names.clone(), ..Filter::default() }), ["ab"]);
    assert_eq!(list(Filter { ids, names, ..Filter::default() }), ["Aa", "ab", "bb"]);
    let name_prefixes = words(&["a", "b"]);
    assert_eq!(list(Filter { name_prefixes, ..Filter::default() }), ["ab", "bb"]);
    let required = |all: &[(&str, Option<String>)]| -> Required {
        all.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    };
    let labels = required(&[("l", some("x"))]);
    assert_eq!(list(Filter { labels, ..Filter::default() }), ["ab", "bb"]);
    let labels = required(&[("l", some("x")), ("ab", None)]);
    assert_eq!(list(Filter { labels, ..Filter::default() }), ["ab"]);
    let labels = required(&[("l", some("x")), ("Aa", None)]);
    assert!(list(Filter { labels, ..Filter::default() }).is_empty());
}

/// TestSecretValidation (of services): unknown secrets, other names, targets that collide; one
/// secret under two targets. Swarm takes `../x`; here it cannot even be said.
#[test]
fn a_services_references_are_checked_at_create_and_update() {
    let mut bench = Bench::new();
    for id in ["s1", "s2"] {
        bench.add_secret(id);
    }
    let other_name = Reference { name: "s2".to_owned(), ..reference("s1", "x") };
    for (references, text) in [
        (vec![reference("s8", "a"), reference("s9", "b")], "secrets not found: s8, s9"),
        (vec![other_name], "secret not found: s2"),
        (vec![reference("s1", "x"), reference("s2", "x")], "two secrets have the same target"),
        (
            vec![reference("s1", "x"), reference("s2", "x/y")],
            "one secret's target is a folder of another's",
        ),
    ] {
        let refusal = bench.refused(new_service("v1", &references));
        assert!(refusal.to_string().ends_with(text), "{refusal}");
        bench.add_service("v1", &[]);
        let refusal = bench.refused(bench.update("v1", &references));
        assert!(refusal.to_string().ends_with(text), "{refusal}");
        bench.ok(Request::RemoveService { service: service("v1") });
    }
    let twice = [reference("s1", "a"), reference("s1", "b")];
    let outcome = bench.add_service("v1", &twice);
    assert_eq!(outcome.events.iter().filter(|e| e.action == Action::Granted).count(), 2);
    let outcome = bench.ok(bench.update("v1", &[reference("s1", "b"), reference("s2", "c")]));
    let told: Vec<_> =
        outcome.events.iter().map(|e| (e.action, e.detail.clone().unwrap())).collect();
    assert_eq!(told, [(Action::Revoked, "a".to_owned()), (Action::Granted, "c".to_owned())]);
}

/// Swarm restores a previous specification without looking whether its secrets are still there;
/// here they cannot have been removed.
#[test]
fn a_rollback_finds_its_secrets() {
    let mut bench = Bench::new();
    bench.add_secret("s1");
    bench.add_service("v1", &[reference("s1", "a")]);
    let rollback = |bench: &Bench| {
        let version = bench.cluster.service(&service("v1")).unwrap().index;
        Request::RollbackService { service: service("v1"), version }
    };
    let refusal = bench.refused(rollback(&bench));
    assert_eq!(refusal.to_string(), "service v1 does not have a previous specification");
    bench.ok(bench.update("v1", &[]));
    bench.refused(Request::RemoveSecret { secret: secret("s1") });
    bench.ok(rollback(&bench));
    let info = bench.cluster.service(&service("v1")).unwrap();
    assert_eq!(info.references, [reference("s1", "a")]);
    assert_eq!(info.previous, Some(vec![]));
    let stale = Request::RollbackService { service: service("v1"), version: 1 };
    assert!(matches!(bench.refused(stale), Refusal::OutOfSequence { .. }));
}

/// What has something that depends on it is not removed.
#[test]
fn services_and_nodes_with_tasks_are_not_removed() {
    let mut bench = Bench::new();
    bench.add_service("v1", &[]);
    bench.add_node("w1", Labels::new());
    bench.run("t1", "v1", "w1");
    let (service, node) = (service("v1"), node("w1"));
    let refusal = bench.refused(Request::RemoveService { service: service.clone() });
    assert_eq!(refusal.to_string(), "service 'v1' is in use by v1 (running tasks)");
    bench.end("t1", TaskState::Complete);
    let refusal = bench.refused(Request::RemoveNode { node: node.clone() });
    assert_eq!(refusal.to_string(), "node 'w1' is in use by v1 (running tasks)");
    bench.ok(Request::RemoveTask { task: task("t1") });
    bench.ok(Request::RemoveService { service });
    bench.ok(Request::RemoveNode { node: node.clone() });
    assert!(bench.cluster.dispatch(&node, None).is_none());
}

/// An index that was applied is not applied again, as after a restart with an old snapshot.
#[test]
fn a_command_is_applied_once() {
    let mut bench = Bench::new();
    bench.add_secret("s1");
    let state = bench.cluster.encode();
    for (index, command) in bench.log.clone() {
        let outcome = bench.cluster.apply(index, command);
        assert_eq!(outcome.result, Err(Refusal::Applied { last: 2 }));
        assert!(outcome.events.is_empty());
    }
    assert_eq!(bench.cluster.encode().expose(), state.expose());
}
