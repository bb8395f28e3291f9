//! The cluster's state: what decodes encodes to the same bytes, and every request that could touch
//! an object does it no harm.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nodeseal::Error;
use nodeseal::audit::{Event, Sink};
use nodeseal::cluster::{Cluster, Command, Filter, Request, TaskState};
use nodeseal::grant::Time;

struct Ignore;

impl Sink for Ignore {
    fn record(&self, _: &Event) -> nodeseal::Result<()> {
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let mut cluster = match Cluster::decode(data) {
        Ok(cluster) => cluster,
        Err(error) => {
            assert!(matches!(error, Error::Damaged { .. } | Error::Unsupported { .. }));
            return;
        }
    };
    assert_eq!(cluster.encode().expose(), data);
    let view = cluster.clone();
    let now = Time::from_seconds(1);
    let ask = |cluster: &mut Cluster, request| {
        // The last index may be the largest that there is.
        let index = cluster.applied().saturating_add(1);
        let command = Command { at: now, by: String::new(), request };
        let outcome = cluster.apply(index, command);
        if outcome.result.is_ok() {
            let bytes = cluster.encode();
            let again = Cluster::decode(bytes.expose()).expect("a state");
            assert_eq!(again.encode().expose(), bytes.expose());
        } else {
            assert!(outcome.woken.is_empty());
        }
    };
    drop(cluster.reseal(now, "", &Ignore));
    for info in view.nodes().into_iter().take(4) {
        let dispatch = cluster.dispatch(&info.id, None).expect("a node");
        drop(dispatch.open(now, "", &Ignore));
        let (node, public_key) = (info.id.clone(), info.public_key);
        let labels = [("k".to_owned(), "v".to_owned())].into();
        ask(&mut cluster, Request::PutNode { node, labels, public_key });
        ask(&mut cluster, Request::RemoveNode { node: info.id });
    }
    for info in view.services().into_iter().take(4) {
        drop(cluster.tasks_behind(&info.id));
        let (service, version) = (info.id.clone(), info.index);
        ask(&mut cluster, Request::RollbackService { service, version });
        for task in view.tasks_of(&info.id).into_iter().take(4) {
            ask(&mut cluster, Request::RefreshTask { task: task.id.clone() });
            let (id, node) = (task.id.clone(), None);
            let state = TaskState::Shutdown;
            ask(&mut cluster, Request::UpdateTask { task: id, node, state });
            ask(&mut cluster, Request::RemoveTask { task: task.id });
        }
        ask(&mut cluster, Request::RemoveService { service: info.id });
    }
    for info in view.secrets(&Filter { internal: true, ..Filter::default() }).into_iter().take(4) {
        for version in info.versions {
            let (secret, number) = (info.id.clone(), version.number);
            ask(&mut cluster, Request::RemoveVersion { secret, number });
        }
        ask(&mut cluster, Request::RemoveSecret { secret: info.id });
    }
    drop((cluster.lagging_nodes(), cluster.unused(), cluster.stats()));
    assert_eq!(view.encode().expose(), data);
});
