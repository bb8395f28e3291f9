//! The bytes of commands, outcomes and state.

use super::*;

/// A state with something of everything.
fn full() -> Bench {
    let mut bench = Bench::new();
    for id in ["s1", "s2"] {
        bench.add_secret(id);
    }
    bench.add_version("s1", 2);
    let both =
        [reference("s1", "a"), Reference { follow: Follow::Pinned(1), ..reference("s2", "b") }];
    bench.add_service("v1", &both);
    bench.add_node("w1", labels(&[("zone", "pci")]));
    let public_key = Some(NodeKey::generate().unwrap().public());
    bench.ok(Request::PutNode { node: node("w2"), labels: Labels::new(), public_key });
    bench.ok(Request::ReportKeys { node: node("w2"), report: KeyReport::default() });
    bench.run("t1", "v1", "w1");
    bench.ok(bench.update("v1", &both[..1]));
    bench.run("t2", "v1", "w2");
    bench.ok(new_task("t3", "v1", None, TaskState::New));
    bench.run("t4", "v1", "w2");
    bench.end("t4", TaskState::Failed);
    let referrer = Referrer { kind: "volume".to_owned(), id: "data".to_owned() };
    bench.ok(Request::PutReferrer { referrer, secrets: vec![secret("s2")] });
    let record = Arc::new(LockRecord::locked(1, &UnlockKey::generate().unwrap()));
    bench.ok(Request::SetLock { record, rotation: false });
    bench.ok(bench.cluster.new_payload_key(true).unwrap());
    bench.refused(Request::RemoveTask { task: task("t9") });
    bench
}

#[test]
fn a_state_that_is_read_goes_on_as_the_one_that_was_written() {
    let mut bench = full();
    let mut again = Cluster::decode(bench.cluster.encode().expose()).unwrap();
    assert_eq!(again.encode().expose(), bench.cluster.encode().expose());
    assert_eq!(again.stats().payload_bytes, bench.cluster.stats().payload_bytes);
    bench.end("t1", TaskState::Complete);
    bench.refused(Request::RemoveSecret { secret: secret("s1") });
    bench.ok(bench.cluster.reseal(Time::default(), "", &Told::default()).unwrap().unwrap());
    bench.ok(Request::RemoveTask { task: task("t2") });
    bench.run("t5", "v1", "w1");
    for (index, command) in bench.log.clone() {
        if index > again.applied() {
            again.apply(index, command);
        }
    }
    assert_eq!(again.encode().expose(), bench.cluster.encode().expose());
    let sent = |cluster: &Cluster| {
        let dispatch = cluster.dispatch(&node("w1"), None).unwrap();
        texts(&dispatch.open(Time::default(), "", &Told::default()).unwrap())
    };
    assert_eq!(sent(&again), sent(&bench.cluster));
}

/// Whatever decodes is canonical, and whatever is wrong is an error: every byte is changed in
/// several ways, and every end is cut off.
#[test]
fn no_other_bytes_are_taken_for_the_same_state() {
    let mut bench = full();
    let bytes = bench.cluster.encode().expose().to_vec();
    for len in 0..bytes.len() {
        assert!(Cluster::decode(&bytes[..len]).is_err(), "cut to {len}");
    }
    assert!(Cluster::decode(&[&bytes[..], &[0]].concat()).is_err());
    let mut taken = 0;
    for at in 0..bytes.len() {
        for change in [1, 2, 0x40, 0x80, 0xff] {
            let mut altered = bytes.clone();
            altered[at] ^= change;
            if let Ok(mut state) = Cluster::decode(&altered) {
                assert!(state.encode().expose() == altered, "byte {at}, {change:#x}");
                // It may be another state, but it is one that works.
                let request = Request::RemoveTask { task: task("t1") };
                let command = Command { at: Time::default(), by: String::new(), request };
                state.apply(u64::MAX, command);
                drop(state.encode());
                taken += 1;
            }
        }
    }
    assert!(taken > 0);
    bench.end("t1", TaskState::Complete);
}

#[test]
fn commands_and_outcomes_have_one_form() {
    let bench = full();
    let mut replay = Cluster::new();
    for (index, command) in &bench.log {
        let bytes = command.encode();
        for len in 0..bytes.len() {
            assert!(Command::decode(&bytes.expose()[..len]).is_err(), "cut to {len}");
        }
        for at in 0..bytes.len() {
            let mut altered = bytes.expose().to_vec();
            altered[at] ^= 1;
            if let Ok(other) = Command::decode(&altered) {
                assert!(other.encode().expose() == altered, "byte {at}");
            }
        }
        let outcome = replay.apply(*index, command.clone());
        let bytes = outcome.encode();
        assert_eq!(Outcome::decode(&bytes).unwrap(), outcome);
        for len in 0..bytes.len() {
            assert!(Outcome::decode(&bytes[..len]).is_err(), "cut to {len}");
        }
    }
    assert_eq!(replay.encode().expose(), bench.cluster.encode().expose());
    let later = [&[2], &bench.log[0].1.encode().expose()[1..]].concat();
    assert!(matches!(Command::decode(&later), Err(Error::Unsupported { .. })));
}

/// The bytes are a promise: a command and a state, from fixed ids and times, spelled out.
#[test]
fn the_bytes_are_pinned() {
    let mut cluster = Cluster::new();
    let put = Command {
        at: Time::from_nanos(300),
        by: "me".to_owned(),
        request: Request::PutNode {
            node: node("w1"),
            labels: labels(&[("k", "v")]),
            public_key: None,
        },
    };
    assert_eq!(put.encode().expose(), b"\x01\xac\x02\x02me\x0d\x02w1\x01\x01k\x01v\x00");
    cluster.apply(9, put);
    let create =
        Command { at: Time::from_nanos(1), by: String::new(), request: new_service("v1", &[]) };
    assert_eq!(create.encode().expose(), b"\x01\x01\x00\x05\x02v1\x02v1\x00\x00");
    cluster.apply(10, create);
    let run = new_task("t1", "v1", Some("w1"), TaskState::Running);
    let run = Command { at: Time::from_nanos(2), by: String::new(), request: run };
    assert_eq!(run.encode().expose(), b"\x01\x02\x00\x09\x02t1\x02v1\x01\x02w1\x07");
    let outcome = cluster.apply(11, run);
    assert_eq!(outcome.encode(), b"\x01\x0b\x01\x00\x00");
    let state: &[u8] = &[
        &b"\x01\x0b"[..],                                    // applied
        b"\x00\x00\x00\x00",                                 // no lock record, no payload key
        b"\x00",                                             // no secret
        b"\x01\x02v1\x02v1\x00\x01\x01\x0a",                 // service: id, name, labels, meta
        b"\x00\x00\x01\x01\x00\x01",                         // spec, previous, one generation
        b"\x01\x02w1\x01\x01k\x01v\x00\xac\x02\xac\x02\x09", // node: id, labels, key, meta
        b"\x00\x09",                                         // no report, sequence
        b"\x01\x02t1\x00\x01\x07\x01\x0b",                   // task
        b"\x00",                                             // no referrer
    ]
    .concat();
    assert_eq!(cluster.encode().expose(), state);
}
