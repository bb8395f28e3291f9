//! Commands: what decodes encodes to the same bytes, and a history of them does no harm. The input
//! is a list of commands, each after its length (2 bytes, little-endian).
#![no_main]

use libfuzzer_sys::fuzz_target;
use nodeseal::Error;
use nodeseal::cluster::{Cluster, Command, Filter, Outcome};
use nodeseal::grant::{Scope, Time};

fuzz_target!(|data: &[u8]| {
    let mut cluster = Cluster::new();
    let mut rest = data;
    let mut index = 0;
    while let Some((len, after)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes(*len)).min(after.len());
        let (bytes, after) = after.split_at(len);
        rest = after;
        match Command::decode(bytes) {
            Ok(command) => {
                assert_eq!(command.encode().expose(), bytes);
                index += 1;
                let outcome = cluster.apply(index, command);
                assert_eq!(Outcome::decode(&outcome.encode()).expect("an outcome"), outcome);
                for node in &outcome.woken {
                    // More may have changed than a node's memory holds.
                    let dispatch = cluster.dispatch(node, Some(index - 1)).expect("a node");
                    assert!(!dispatch.is_empty() || dispatch.scope() == Scope::Complete);
                }
            }
            Err(error) => {
                assert!(matches!(error, Error::Damaged { .. } | Error::Unsupported { .. }));
            }
        }
    }
    let bytes = cluster.encode();
    let again = Cluster::decode(bytes.expose()).expect("a state");
    assert_eq!(again.encode().expose(), bytes.expose());
    assert_eq!(again.stats().payload_bytes, cluster.stats().payload_bytes);
    for info in cluster.nodes() {
        let secrets = |cluster: &Cluster| -> Vec<_> {
            let dispatch = cluster.dispatch(&info.id, None).expect("a node");
            dispatch.secrets().map(|(id, version)| (id.clone(), version)).collect()
        };
        assert_eq!(secrets(&cluster), secrets(&again));
    }
    drop((cluster.secrets(&Filter::default()), cluster.lagging_nodes(), cluster.unused()));
    drop((cluster.expired(Time::now()), cluster.under_exposed_key()));
});
