//! Two hundred members, whose data alone is longer than a stream's header.

use std::collections::BTreeMap;

use openraft::{BasicNode, ChangeMembers, Config};

use crate::support::network::Network;
use crate::support::node::{Node, config};
use crate::support::until;
use crate::{holds, leader, start, stop, write};

const MEMBERS: u64 = 200;

/// So many replications take their time.
fn slower() -> Config {
    Config {
        heartbeat_interval: 500,
        election_timeout_min: 2500,
        election_timeout_max: 5000,
        install_snapshot_timeout: 5000,
        snapshot_max_chunk_size: 2000,
        ..config()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_two_hundred_members_snapshots_transfers_and_restarts() {
    let network = Network::new(7);
    let mut nodes = start(&network, 3, slower).await;
    // Certificates, labels.
    let node = |id| (id, BasicNode::new(format!("node {id} {}", "x".repeat(500))));
    let learners: BTreeMap<_, _> = (4..=MEMBERS).map(node).collect();
    let raft = nodes[leader(&nodes).await].raft.clone();
    raft.change_membership(ChangeMembers::AddNodes(learners), true).await.unwrap();
    write(&nodes, 0..150).await;
    until("snapshots", || nodes.iter().all(|node| node.purged() > 60)).await;

    // One of the learners is there; it needs a snapshot.
    let learner = Node::start(&network, 4, slower()).await;
    until("the learner", || holds(&learner, 0..150)).await;
    assert!(learner.snapshot() > 0, "entries came, and no snapshot");
    nodes.push(learner);

    let mut again = Vec::new();
    for node in nodes {
        again.push(node.restart(&network, slower()).await);
    }
    write(&again, 150..160).await;
    for node in &again {
        until("the new values", || holds(node, 0..160)).await;
        let metrics = node.raft.metrics().borrow().clone();
        let members = metrics.membership_config.nodes().count();
        assert_eq!(u64::try_from(members).unwrap(), MEMBERS);
    }
    stop(&network, again).await;
}
