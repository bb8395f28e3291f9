//! What ought to be done about secrets and keys.

use super::*;

#[test]
fn what_is_due_expired_or_unused_is_found() {
    let mut bench = Bench::new();
    for id in ["s1", "s2", "s3"] {
        bench.add_secret(id);
    }
    let dates = |bench: &mut Bench, id: &str, expires: u64, rotate_by: u64| {
        let version = bench.cluster.secret(&secret(id)).unwrap().index;
        let (expires, rotate_by) = (Time::from_seconds(expires), Time::from_seconds(rotate_by));
        let change =
            SecretChange::Dates(Dates { expires: Some(expires), rotate_by: Some(rotate_by) });
        bench.ok(Request::UpdateSecret { secret: secret(id), version, change });
    };
    dates(&mut bench, "s1", 200, 100);
    dates(&mut bench, "s2", 300, 150);
    bench.add_service("v1", &[reference("s2", "a")]);
    let names =
        |all: Vec<SecretInfo>| -> Vec<String> { all.into_iter().map(|info| info.name).collect() };
    let at = Time::from_seconds;
    assert!(names(bench.cluster.due_for_rotation(at(99))).is_empty());
    assert_eq!(names(bench.cluster.due_for_rotation(at(100))), ["s1"]);
    assert_eq!(names(bench.cluster.due_for_rotation(at(150))), ["s1", "s2"]);
    assert!(names(bench.cluster.expired(at(199))).is_empty());
    assert_eq!(names(bench.cluster.expired(at(299))), ["s1"]);
    assert_eq!(names(bench.cluster.unused()), ["s1", "s3"]);
    let referrer = Referrer { kind: "job".to_owned(), id: "j".to_owned() };
    bench.ok(Request::PutReferrer { referrer, secrets: vec![secret("s3")] });
    assert_eq!(names(bench.cluster.unused()), ["s1"]);
}

#[test]
fn nodes_that_lag_behind_a_key_are_found() {
    let mut bench = Bench::new();
    for id in ["w1", "w2", "w3", "w4"] {
        bench.add_node(id, Labels::new());
    }
    let key = UnlockKey::generate().unwrap();
    let record = Arc::new(LockRecord::locked(5, &key));
    bench.ok(Request::SetLock { record, rotation: false });
    let report = |bench: &mut Bench, id: &str, kek_version, exposed| {
        let report = KeyReport { kek_version, exposed, ..KeyReport::default() };
        bench.ok(Request::ReportKeys { node: node(id), report });
    };
    report(&mut bench, "w1", 5, false);
    report(&mut bench, "w2", 4, false);
    report(&mut bench, "w3", 5, true);
    let lagging = bench.cluster.lagging_nodes();
    let lagging: Vec<_> = lagging.iter().map(|l| (l.node.as_str(), l.kek_version)).collect();
    assert_eq!(lagging, [("w2", Some(4)), ("w3", Some(5)), ("w4", None)]);
    report(&mut bench, "w2", 5, false);
    assert_eq!(bench.cluster.lagging_nodes().len(), 2);
    let report = KeyReport::default();
    bench.refused(Request::ReportKeys { node: node("w9"), report });
}

/// Its record is in logs under DEKs that were exposed, until one comes when every node is locked.
#[test]
fn an_unlock_key_that_came_too_early_is_to_be_changed_once_more() {
    let mut bench = Bench::new();
    let key = |n: u8| UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(n)));
    let set = |bench: &mut Bench, record| {
        bench.ok(Request::SetLock { record: Arc::new(record), rotation: false });
    };
    for id in ["m1", "m2", "w1"] {
        bench.add_node(id, Labels::new());
    }
    let report = |bench: &mut Bench, id: &str, locked| {
        let kek_version = bench.cluster.lock_record().unwrap().version();
        let report = KeyReport { kek_version, locked, exposed: !locked, ..KeyReport::default() };
        bench.ok(Request::ReportKeys { node: node(id), report });
    };
    let both = |bench: &mut Bench| ["m1", "m2"].map(|id| report(bench, id, true));
    let task = |bench: &Bench| bench.cluster.unlock_key_task();
    let first = LockRecord::locked(1, &key(1));
    let second = first.with_key(&key(2)).unwrap();
    let third = second.with_pending(&key(3)).unwrap();
    set(&mut bench, first);
    assert_eq!(task(&bench), None, "nobody reports");
    report(&mut bench, "m1", true);
    report(&mut bench, "m2", false);
    assert_eq!(task(&bench), None, "one is locking");
    // Too early again.
    set(&mut bench, second);
    assert_eq!(task(&bench), None);
    both(&mut bench);
    assert_eq!(task(&bench), Some(UnlockKeyTask::Change));

    set(&mut bench, third);
    assert_eq!(task(&bench), Some(UnlockKeyTask::Confirm));
    let state = Cluster::decode(bench.cluster.encode().expose()).unwrap();
    assert_eq!(state.encode().expose(), bench.cluster.encode().expose());
    // By now one is not locked any more: what counts is when the pending key came.
    report(&mut bench, "m1", false);
    let confirm = bench.cluster.confirm_unlock_key(&key(3)).unwrap();
    bench.ok(confirm);
    both(&mut bench);
    assert_eq!(task(&bench), None);

    // A leak: the record that declares it is under the DEK that leaked.
    let lock = |bench: &Bench| bench.cluster.lock_record().unwrap().with_pending(&key(4)).unwrap();
    let leaked = lock(&bench).with_leak();
    set(&mut bench, leaked);
    let confirm = bench.cluster.confirm_unlock_key(&key(4)).unwrap();
    bench.ok(confirm);
    assert_eq!(task(&bench), None);
    both(&mut bench);
    assert_eq!(task(&bench), Some(UnlockKeyTask::Change));
    let off = bench.cluster.lock_record().unwrap().turned_off().unwrap();
    set(&mut bench, off);
    assert_eq!(task(&bench), None);
}

#[test]
fn the_numbers_count() {
    let mut bench = Bench::new();
    bench.add_secret("s1");
    bench.add_version("s1", 2);
    bench.refused(Request::RemoveSecret { secret: secret("s2") });
    let stats = bench.cluster.stats();
    assert_eq!((stats.applied, stats.refused), (4, 1));
    assert_eq!((stats.secrets, stats.versions, stats.to_reseal), (1, 2, 0));
    assert_eq!(stats.payload_bytes, 2 * (40 + 4));
    bench.ok(Request::RemoveSecret { secret: secret("s1") });
    assert_eq!(bench.cluster.stats().payload_bytes, 0);
}

/// `docker secret inspect`, and what Docker does not have behind it.
#[cfg(feature = "serde")]
#[test]
fn json_is_dockers() {
    let mut bench = Bench::new();
    bench.add_secret("s1");
    let info = bench.cluster.secret(&secret("s1")).unwrap();
    let expected = r#"{"ID":"s1","Version":{"Index":2},"CreatedAt":"2023-11-14T22:13:22Z","UpdatedAt":"2023-11-14T22:13:22Z","Spec":{"Name":"s1","Labels":{}},"Current":1,"Versions":[{"Number":1,"Created":"2023-11-14T22:13:22Z","Size":4,"Key":1}]}"#;
    assert_eq!(serde_json::to_string(&info).unwrap(), expected);
}

/// An engine that wants serde gets the crate's own bytes.
#[cfg(feature = "serde")]
#[test]
fn serde_carries_the_own_encoding() {
    let mut bench = Bench::new();
    bench.add_secret("s1");
    let json = serde_json::to_vec(&bench.cluster).unwrap();
    let again: Cluster = serde_json::from_slice(&json).unwrap();
    assert_eq!(again.encode().expose(), bench.cluster.encode().expose());
    let (_, command) = &bench.log[1];
    let json = serde_json::to_vec(command).unwrap();
    let again: Command = serde_json::from_slice(&json).unwrap();
    assert_eq!(again.encode().expose(), command.encode().expose());
    assert!(serde_json::from_str::<Command>("[2]").is_err());
}
