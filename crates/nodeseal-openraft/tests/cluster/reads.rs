//! A leader that restarts: openraft lets it lead on in its term, without an election.

use std::time::Duration;

use nodeseal::fs::Loss;

use crate::support::network::{Faults, Network};
use crate::support::node::config;
use crate::{holds, leader, start, stop, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_restarts_reads_what_it_had_acknowledged() {
    let network = Network::new(8);
    let mut nodes = start(&network, 3, config).await;
    for n in 0..8 {
        write(&nodes, n..n + 1).await;
        // Nothing was synced since: what it knew to be committed is lost.
        let node = nodes.swap_remove(leader(&nodes).await);
        network.faults(Faults { delayed: 100, ..Faults::default() });
        let node = node.crash(&network, Loss::Dropped, n, config()).await;
        for _ in 0..50 {
            let current = node.raft.ensure_linearizable();
            if matches!(tokio::time::timeout(Duration::from_secs(1), current).await, Ok(Ok(_))) {
                assert!(holds(&node, 0..n + 1), "a value was acknowledged, and is not read");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        network.heal();
        nodes.push(node);
    }
    stop(&network, nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_leads_again_after_a_restart() {
    let network = Network::new(9);
    let mut nodes = start(&network, 1, config).await;
    for n in 0..3 {
        write(&nodes, n * 50..n * 50 + 50).await;
        let node = nodes.remove(0).crash(&network, Loss::Dropped, n, config()).await;
        nodes.push(node);
    }
    write(&nodes, 150..160).await;
    assert!(holds(&nodes[0], 0..160));
    stop(&network, nodes).await;
}
