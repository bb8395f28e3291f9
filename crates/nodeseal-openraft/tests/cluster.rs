//! A cluster of openraft itself, on a network that loses, delays and repeats messages.
//!
//! By hand, longer: `NODESEAL_CHAOS_SECONDS=600 cargo test --release --test cluster chaos -- --nocapture`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::result_large_err,
    reason = "a test says that it failed by panicking"
)]

mod support;

mod cluster {
    pub mod chaos;
    pub mod client;
    pub mod history;
    pub mod members;
    pub mod reads;
    pub mod snapshots;
}

use std::collections::BTreeSet;

use openraft::Config;
use support::machine::Value;
use support::network::Network;
use support::node::{Node, config};
use support::until;

/// Starts nodes 1 to `count`, which form a cluster.
async fn start(network: &Network, count: u64, config: impl Fn() -> Config) -> Vec<Node> {
    let mut nodes = Vec::new();
    for id in 1..=count {
        nodes.push(Node::start(network, id, config()).await);
    }
    nodes[0].raft.initialize((1..=count).collect::<BTreeSet<_>>()).await.unwrap();
    leader(&nodes).await;
    nodes
}

/// Waits until a node leads; its place among them.
async fn leader(nodes: &[Node]) -> usize {
    let leads = || {
        nodes.iter().position(|node| {
            let metrics = node.raft.metrics().borrow().clone();
            metrics.state.is_leader() && metrics.current_leader == Some(node.id)
        })
    };
    until("a leader", || leads().is_some()).await;
    leads().unwrap()
}

/// Writes values with these numbers, and waits until they are applied on the leader.
async fn write(nodes: &[Node], range: std::ops::Range<u64>) {
    for n in range {
        // Whoever leads by then.
        while nodes[leader(nodes).await].raft.client_write(value(n)).await.is_err() {}
    }
}

fn value(n: u64) -> Value {
    Value(format!("value {n}"))
}

/// Reports whether a node applied the values with these numbers.
fn holds(node: &Node, range: std::ops::Range<u64>) -> bool {
    let order = node.machine.order();
    range.map(value).all(|value| order.contains(&value))
}

async fn stop(network: &Network, nodes: Vec<Node>) {
    for node in &nodes {
        network.leave(node.id);
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_what_it_committed_through_restarts() {
    let network = Network::new(0);
    let mut nodes = start(&network, 3, config).await;
    write(&nodes, 0..150).await;
    for node in &nodes {
        until("all values", || holds(node, 0..150)).await;
    }
    // All of them again, from what is on the disk.
    let mut again = Vec::new();
    for node in nodes {
        again.push(node.restart(&network, config()).await);
    }
    nodes = again;
    write(&nodes, 150..200).await;
    for node in &nodes {
        until("the new values", || holds(node, 0..200)).await;
    }
    until("purges", || nodes.iter().all(|node| node.purged() > 50)).await;

    // The entries that it would need are gone: it gets a snapshot.
    let late = Node::start(&network, 4, config()).await;
    let leading = leader(&nodes).await;
    nodes[leading].raft.add_learner(4, openraft::BasicNode::default(), true).await.unwrap();
    until("the late one", || holds(&late, 0..200)).await;
    assert!(late.snapshot() > 0, "entries came, and no snapshot");
    nodes.push(late);
    stop(&network, nodes).await;
}
