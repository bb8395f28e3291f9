//! The cluster's own keys: payload keys and the lock record.

use super::*;

fn rotate(bench: &mut Bench, exposed: bool) -> Outcome {
    bench.ok(bench.cluster.new_payload_key(exposed).unwrap())
}

fn reseal(bench: &Bench) -> Option<Request> {
    bench.cluster.reseal(Time::default(), "m1", &Told::default()).unwrap()
}

#[test]
fn payloads_come_under_a_new_key_in_bounded_steps() {
    let mut bench = Bench::new();
    for number in 0..150 {
        bench.add_secret(&format!("s{number}"));
    }
    bench.add_version("s7", 2);
    assert!(reseal(&bench).is_none());
    let outcome = rotate(&mut bench, true);
    assert_eq!(outcome.events[0].action, Action::PayloadKeyRotated);
    assert_eq!(bench.cluster.under_exposed_key().len(), 151);
    assert_eq!(bench.cluster.stats().to_reseal, 151);

    // A replica makes nothing of its own: it applies what one node made.
    let mut replica = bench.cluster.clone();
    let mut dropped = Vec::new();
    let mut steps = 0;
    while let Some(request) = reseal(&bench) {
        let Request::Reseal { payloads } = &request else { panic!("another request") };
        assert!(payloads.len() <= 64);
        let events = bench.ok(request).events;
        dropped.extend(events.into_iter().map(|event| (event.action, event.version)));
        let (index, command) = bench.log.last().unwrap().clone();
        replica.apply(index, command);
        steps += 1;
    }
    assert_eq!(steps, 3);
    assert_eq!(dropped, [(Action::PayloadKeyDropped, Some(1))]);
    assert!(bench.cluster.under_exposed_key().is_empty());
    assert_eq!(replica.encode().expose(), bench.cluster.encode().expose());
    let keys = bench.cluster.payload_keys();
    assert_eq!((keys.len(), keys[0].version, keys[0].payloads), (1, 2, 151));

    // What they hold is the same.
    bench.add_service("v1", &[reference("s7", "a"), reference("s149", "b")]);
    bench.add_node("w1", Labels::new());
    bench.run("t1", "v1", "w1");
    assert_eq!(bench.sent("w1", None).0, ["+s149:1", "+s7:2", "+t1 a=s7:2 b=s149:1"]);
}

#[test]
fn large_payloads_make_short_steps() {
    let mut bench = Bench::new();
    for id in ["s1", "s2", "s3", "s4"] {
        let payload = bench.sealed(id, 1, &vec![7; MAX_PAYLOAD]);
        let Request::CreateSecret { secret, name, labels, internal, dates, selector, .. } =
            bench.new_secret(id)
        else {
            unreachable!()
        };
        bench.ok(Request::CreateSecret {
            secret,
            name,
            labels,
            internal,
            dates,
            selector,
            payload,
        });
    }
    rotate(&mut bench, false);
    let Some(Request::Reseal { payloads }) = reseal(&bench) else { panic!("nothing to do") };
    assert_eq!(payloads.len(), 3);
}

/// Between the making of a step and its application, payloads were removed, replaced, and brought
/// under the key by another step.
#[test]
fn a_step_that_comes_late_undoes_nothing() {
    let mut bench = Bench::new();
    for id in ["s1", "s2"] {
        bench.add_secret(id);
    }
    rotate(&mut bench, false);
    let (late, step) = (reseal(&bench).unwrap(), reseal(&bench).unwrap());
    bench.ok(Request::RemoveSecret { secret: secret("s1") });
    bench.ok(step);
    let before = bench.cluster.clone();
    bench.ok(late.clone());
    rotate(&mut bench, false);
    bench.ok(late);
    assert_eq!(bench.cluster.stats().versions, 1);
    let payload = |cluster: &Cluster| {
        cluster.secrets.get(&secret("s2")).unwrap().versions.get(&1).unwrap().payload.clone()
    };
    assert!(payload(&before) == payload(&bench.cluster));
    assert_eq!(payload(&before).key_version(), 2);
}

#[test]
fn a_payload_under_a_key_that_is_gone_is_refused() {
    let mut bench = Bench::new();
    let late = bench.new_secret("late");
    let early = Cluster::new();
    assert!(early.payload_key().is_none());
    rotate(&mut bench, false);
    let refusal = bench.refused(late);
    assert_eq!(refusal, Refusal::PayloadKey { version: 1 });
    // While something is still under the old key, one more may come.
    bench.add_secret("s1");
    let late = bench.new_secret("late");
    rotate(&mut bench, false);
    bench.ok(late);
    assert_eq!(bench.cluster.stats().to_reseal, 2);
    bench.ok(reseal(&bench).unwrap());
    assert_eq!(bench.cluster.stats().to_reseal, 0);
    // Two nodes made the next key at once: one of them is the next.
    let (one, other) = (bench.cluster.new_payload_key(false), bench.cluster.new_payload_key(false));
    bench.ok(one.unwrap());
    assert_eq!(bench.refused(other.unwrap()), Refusal::OutOfSequence { version: 4 });
}

#[test]
fn a_payload_opens_as_what_it_was_sealed_for_only() {
    let bench = Bench::new();
    let key = bench.cluster.payload_key().unwrap();
    let sealed = key.seal(&secret("s1"), 1, b"payload").unwrap();
    assert_eq!(key.open(&secret("s1"), 1, &sealed).unwrap().expose(), b"payload");
    for (id, version) in [("s2", 1), ("s1", 2), ("s", 1)] {
        let opened = key.open(&secret(id), version, &sealed);
        assert!(matches!(opened, Err(Error::Unauthentic)), "{id} {version}");
    }
    let other = Bench::new().cluster.payload_key().unwrap();
    assert!(other.open(&secret("s1"), 1, &sealed).is_err());
    assert!(key.seal(&secret("s1"), 1, b"payload").unwrap() != sealed, "a nonce is used twice");
    assert_eq!(
        format!("{key:?} {sealed:?}"),
        "PayloadKey(version 1) SealedPayload(7 bytes, key 1)"
    );
}

/// TestUpdateClusterRotateUnlockKey: a rotation while autolock is off does nothing, locking brings a
/// key, a rotation replaces it, other changes leave it, and turning autolock off drops it.
#[test]
fn the_lock_record_follows_swarms_rules() {
    let mut bench = Bench::new();
    let key = UnlockKey::generate().unwrap();
    let locked = |version| Arc::new(LockRecord::locked(version, &key));
    let set = |record, rotation| Request::SetLock { record, rotation };
    let off = |version| Arc::new(LockRecord::off(version));
    assert!(bench.cluster.lock_record().is_none());
    let refusal = bench.refused(set(locked(1), true));
    assert_eq!(refusal.to_string(), "cannot rotate because autolock is not turned on");
    bench.ok(set(off(1), false));
    bench.refused(set(locked(2), true));
    let outcome = bench.ok(set(locked(2), false));
    assert_eq!(outcome.events[0].detail.as_deref(), Some("locked"));
    assert_eq!(bench.refused(set(locked(2), true)), Refusal::OutOfSequence { version: 2 });
    bench.ok(set(locked(3), true));
    bench.add_secret("s1");
    let record = bench.cluster.lock_record().unwrap();
    assert!(record.is_locked() && record.version() == 3 && record.unlock_key().is_none());
    bench.refused(set(off(4), true));
    bench.ok(set(off(4), false));
    assert!(!bench.cluster.lock_record().unwrap().is_locked());
    assert!(!format!("{:?}", bench.log).contains("auth"), "a lock record shows");
}

fn unlock_key(n: u8) -> UnlockKey {
    UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(n)))
}

fn set(bench: &mut Bench, record: LockRecord) -> Outcome {
    bench.ok(Request::SetLock { record: Arc::new(record), rotation: false })
}

/// A new unlock key binds when its operator has typed it.
#[test]
fn a_new_unlock_key_is_pending_until_it_is_confirmed_or_withdrawn() {
    let mut bench = Bench::new();
    let locked = LockRecord::locked(1, &unlock_key(1));
    let pending = locked.with_pending(&unlock_key(2)).unwrap();
    let withdraw = |version| Request::WithdrawUnlockKey { version };
    let refused = bench.refused(withdraw(0));
    assert!(matches!(refused, Refusal::State(_)), "{refused}");
    set(&mut bench, locked);
    assert!(matches!(bench.refused(withdraw(1)), Refusal::State(_)));
    assert!(bench.cluster.confirm_unlock_key(&unlock_key(2)).is_err());

    let outcome = set(&mut bench, pending);
    assert_eq!(outcome.events[0].detail.as_deref(), Some("pending"));
    assert_eq!(bench.cluster.unlock_key_task(), Some(UnlockKeyTask::Confirm));
    let wrong = bench.cluster.confirm_unlock_key(&unlock_key(1));
    assert!(matches!(wrong, Err(Error::WrongKey)));
    let late = Request::ConfirmUnlockKey { version: 1 };
    assert_eq!(bench.refused(late), Refusal::OutOfSequence { version: 2 });
    // Two managers take two ways at once: one of them is the one.
    let confirm = bench.cluster.confirm_unlock_key(&unlock_key(2)).unwrap();
    let outcome = bench.ok(confirm);
    assert_eq!(outcome.events[0].version, Some(3));
    assert_eq!(bench.refused(withdraw(2)), Refusal::OutOfSequence { version: 3 });
    let record = bench.cluster.lock_record().unwrap();
    assert!(record.is_for(&unlock_key(2)) && !record.has_pending() && record.version() == 3);

    let again = record.with_pending(&unlock_key(3)).unwrap();
    set(&mut bench, again);
    let outcome = bench.ok(withdraw(4));
    assert_eq!(outcome.events[0].detail.as_deref(), Some("withdrawn"));
    let record = bench.cluster.lock_record().unwrap();
    assert!(record.is_for(&unlock_key(2)) && !record.has_pending() && record.version() == 5);
}

/// A record that was made from an older one would take the leak back.
#[test]
fn a_declared_leak_is_carried_on() {
    let mut bench = Bench::new();
    let locked = LockRecord::locked(1, &unlock_key(1));
    let leaked = locked.with_key(&unlock_key(2)).unwrap().with_leak();
    let next = leaked.with_pending(&unlock_key(3)).unwrap();
    set(&mut bench, locked);
    set(&mut bench, leaked);
    let forgets = Arc::new(LockRecord::locked(9, &unlock_key(4)));
    let refused = bench.refused(Request::SetLock { record: forgets, rotation: true });
    assert!(matches!(refused, Refusal::State(_)), "{refused}");
    set(&mut bench, next);
    let confirm = bench.cluster.confirm_unlock_key(&unlock_key(3)).unwrap();
    bench.ok(confirm);
    assert_eq!(bench.cluster.lock_record().unwrap().leaked(), 2);
    let off = bench.cluster.lock_record().unwrap().turned_off().unwrap();
    set(&mut bench, off);
}
