//! The content of snapshots and entries, unsealed: the store and requests.
//!
//! Bit 0 of the first byte: the input is the store; else requests, each after its length (u16).
#![no_main]

use libfuzzer_sys::fuzz_target;
use nodeseal::fuzzing::swarm_objects;
use nodeseal::swarm::ObjectKind;
use nodeseal_fuzz::swarm::content;
use nodeseal_fuzz::{split_mode, take};

fuzz_target!(|data: &[u8]| {
    let (mode, mut rest) = split_mode(data);
    let (snapshot, requests) = if mode & 1 != 0 {
        (rest, Vec::new())
    } else {
        let mut requests = Vec::new();
        while !rest.is_empty() {
            let len = usize::from(u16::from_le_bytes(take(&mut rest))).min(rest.len());
            let (request, after) = rest.split_at(len);
            requests.push(request);
            rest = after;
        }
        (&[][..], requests)
    };
    let (objects, findings) = swarm_objects(snapshot, &requests);
    for finding in &findings {
        assert!(finding.to_string().len() < 1000);
    }
    // Nothing is kept that was not there: an object has a field of its own for its id.
    let counts = objects.counts();
    assert!(counts.values().sum::<usize>() * 2 <= data.len());
    let (text, payloads) = content(&objects);
    assert!(payloads.len() <= data.len());
    let texts = objects.secrets.values().map(|secret| {
        let labels = secret.facts.labels.iter().map(|(key, value)| key.len() + value.len());
        secret.facts.id.len() + secret.facts.name.len() + labels.sum::<usize>()
    });
    assert!(texts.sum::<usize>() <= data.len());

    if mode & 1 != 0 {
        // Loading a store says all about its objects: a second time changes nothing.
        let (again, _) = swarm_objects(&[snapshot, snapshot].concat(), &[]);
        if findings.is_empty() {
            assert_eq!(content(&again), (text, payloads));
        }
    } else if !requests.is_empty() {
        // One request of all is the same as one after the other.
        let (again, _) = swarm_objects(&[], &[&requests.concat()]);
        if findings.is_empty() {
            assert_eq!(content(&again), (text, payloads));
        }
    }
    for kind in counts.keys() {
        assert!(!matches!(kind, ObjectKind::Other(0)));
    }
});
