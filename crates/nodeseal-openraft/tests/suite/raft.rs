//! A cluster of openraft itself: entries, restarts, and a snapshot for one who comes late.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nodeseal_openraft::{LogStore, Snapshots};
use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, BasicNode, Config, Raft, SnapshotPolicy};

use super::machine::{Machine, Set, Types};
use crate::open;

/// Who is there, by number.
type Nodes = Arc<Mutex<BTreeMap<u64, Raft<Types>>>>;

#[derive(Clone)]
struct Network(Nodes);

struct Link {
    nodes: Nodes,
    to: u64,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, to: u64, _: &BasicNode) -> Link {
        Link { nodes: Arc::clone(&self.0), to }
    }
}

type Failed<E> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl Link {
    fn peer<E: std::error::Error>(&self) -> Result<Raft<Types>, Failed<E>> {
        let peer = self.nodes.lock().unwrap().get(&self.to).cloned();
        peer.ok_or_else(|| Unreachable::new(&AnyError::error("it is down")).into())
    }

    fn remote<T, E: std::error::Error>(
        &self,
        reply: Result<T, RaftError<u64, E>>,
    ) -> Result<T, Failed<E>> {
        reply.map_err(|e| RemoteError::new(self.to, e).into())
    }
}

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        let peer = self.peer()?;
        self.remote(peer.append_entries(request).await)
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failed<InstallSnapshotError>> {
        let peer = self.peer()?;
        self.remote(peer.install_snapshot(request).await)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        let peer = self.peer()?;
        self.remote(peer.vote(request).await)
    }
}

async fn start(nodes: &Nodes, dir: &Path, id: u64) -> (Raft<Types>, Machine) {
    let config = Config {
        heartbeat_interval: 100,
        election_timeout_min: 400,
        election_timeout_max: 800,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(60),
        max_in_snapshot_log_to_keep: 5,
        // Many chunks.
        snapshot_max_chunk_size: 500,
        ..Config::default()
    };
    let (_, store) = open(&dir.join(id.to_string()));
    let machine = Machine::new(Snapshots::new(store.clone())).unwrap();
    let log = LogStore::new(store).unwrap();
    let config = Arc::new(config.validate().unwrap());
    let network = Network(Arc::clone(nodes));
    let raft = Raft::new(id, config, network, log, machine.clone()).await.unwrap();
    nodes.lock().unwrap().insert(id, raft.clone());
    (raft, machine)
}

async fn stop(nodes: &Nodes, running: Vec<(Raft<Types>, Machine)>) {
    nodes.lock().unwrap().clear();
    for (raft, _) in &running {
        raft.shutdown().await.unwrap();
    }
}

/// Waits until `what` holds.
async fn until(mut what: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come");
}

async fn write(running: &[(Raft<Types>, Machine)], range: std::ops::Range<u64>) {
    for n in range {
        let set = Set { key: format!("key {n}"), value: format!("value {n}") };
        let leader = || running[0].0.metrics().borrow().current_leader;
        until(|| leader().is_some()).await;
        let leader = usize::try_from(leader().unwrap()).unwrap();
        running[leader - 1].0.client_write(set).await.unwrap();
    }
}

fn holds(machine: &Machine, count: u64) -> bool {
    (0..count).all(|n| machine.get(&format!("key {n}")) == Some(format!("value {n}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_keeps_what_it_committed() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = Nodes::default();
    let mut running = Vec::new();
    for id in 1..=3 {
        running.push(start(&nodes, dir.path(), id).await);
    }
    running[0].0.initialize(BTreeSet::from([1, 2, 3])).await.unwrap();
    write(&running, 0..150).await;
    for (_, machine) in &running {
        until(|| holds(machine, 150)).await;
    }
    stop(&nodes, std::mem::take(&mut running)).await;

    // All of them anew, from what is on the disk.
    for id in 1..=3 {
        running.push(start(&nodes, dir.path(), id).await);
    }
    until(|| running.iter().all(|(raft, _)| raft.metrics().borrow().current_leader.is_some()))
        .await;
    write(&running, 150..200).await;
    for (_, machine) in &running {
        until(|| holds(machine, 200)).await;
    }
    let purged = |raft: &Raft<Types>| raft.metrics().borrow().purged.map_or(0, |id| id.index);
    until(|| running.iter().all(|(raft, _)| purged(raft) > 50)).await;

    // The entries that it would need are gone: it gets a snapshot.
    let late = start(&nodes, dir.path(), 4).await;
    let leader = running[0].0.metrics().borrow().current_leader.unwrap();
    let leader = &running[usize::try_from(leader).unwrap() - 1].0;
    leader.add_learner(4, BasicNode::default(), true).await.unwrap();
    until(|| holds(&late.1, 200)).await;
    assert!(late.0.metrics().borrow().snapshot.is_some(), "entries came, and no snapshot");
    running.push(late);
    stop(&nodes, running).await;
    let (_, store) = open(&dir.path().join("4"));
    assert!(store.snapshot().unwrap().is_some());
}
