//! Everything at once, as a seed draws it: lost, delayed and repeated messages, partitions, nodes
//! that lose their power, snapshots that are built or installed slowly, changes of the membership, rotations of a node's DEK.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nodeseal::fs::Loss;
use openraft::{BasicNode, ChangeMembers};

use super::client::Client;
use super::history::History;
use crate::support::machine::Value;
use crate::support::network::{Faults, Network};
use crate::support::node::{Node, config};
use crate::support::random::Random;
use crate::support::until;
use crate::{leader, stop};

/// Three voters at first, and one who comes and goes.
const NODES: u64 = 4;
const CLIENTS: u64 = 4;

struct Chaos {
    network: Network,
    random: Random,
    nodes: BTreeMap<u64, Node>,
    did: BTreeMap<&'static str, u64>,
    rotations: Vec<JoinHandle<()>>,
}

impl Chaos {
    async fn start(seed: u64) -> Self {
        let network = Network::new(seed);
        let mut nodes = BTreeMap::new();
        for id in 1..=NODES {
            nodes.insert(id, Node::start(&network, id, config()).await);
        }
        nodes[&1].raft.initialize(BTreeSet::from([1, 2, 3])).await.unwrap();
        let (random, did) = (Random::new(seed), BTreeMap::new());
        Self { network, random, nodes, did, rotations: Vec::new() }
    }

    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(100 + self.random.below(500))).await;
    }

    /// Does one thing. What it shuts or cuts off it opens again, later.
    async fn step(&mut self) {
        let id = 1 + self.random.below(NODES);
        let done = match self.random.below(13) {
            0 | 1 => {
                self.network.side(id, 1);
                self.pause().await;
                self.pause().await;
                self.network.side(id, 0);
                "partition"
            }
            2 => {
                self.network.side(1 + id % NODES, 1);
                self.network.side(id, 1);
                self.pause().await;
                self.network.side(1 + id % NODES, 0);
                self.network.side(id, 0);
                "halves"
            }
            3 | 4 => {
                self.crash(id).await;
                "crash"
            }
            5 => {
                let loss = *self.random.choose(Loss::ALL);
                self.power_cut(loss).await;
                "power cut"
            }
            6 => {
                let _ = self.nodes[&id].raft.trigger().snapshot().await;
                "snapshot"
            }
            7 | 8 => {
                let building = self.random.percent(50);
                let machine = &self.nodes[&id].machine;
                let gate = if building { &machine.building } else { &machine.installing }.clone();
                gate.set(true);
                let _ = self.nodes[&id].raft.trigger().snapshot().await;
                self.network.side(id, 1);
                self.pause().await;
                self.network.side(id, 0);
                self.pause().await;
                self.pause().await;
                if self.random.percent(30) {
                    self.crash(id).await;
                }
                gate.set(false);
                if building { "slow build" } else { "slow installation" }
            }
            9 | 10 => {
                self.change_members(id).await;
                "members"
            }
            11 => {
                self.rotations.push(self.nodes[&id].rotate());
                "rotation"
            }
            _ => {
                self.network.faults(Faults::default());
                self.pause().await;
                "calm"
            }
        };
        *self.did.entry(done).or_default() += 1;
        let some = |random: &mut Random, most| random.below(most);
        let random = &mut self.random;
        self.network.faults(Faults {
            request_lost: some(random, 15),
            reply_lost: some(random, 15),
            repeated: some(random, 30),
            delayed: some(random, 30),
        });
        for (id, node) in &self.nodes {
            let running = node.raft.metrics().borrow().running_state.clone();
            assert!(running.is_ok(), "node {id} stopped: {running:?}");
        }
        self.pause().await;
    }

    async fn crash(&mut self, id: u64) {
        let loss = *self.random.choose(Loss::ALL);
        let seed = self.random.next();
        let node = self.nodes.remove(&id).unwrap();
        let node = node.crash(&self.network, loss, seed, config()).await;
        self.nodes.insert(id, node);
    }

    /// All nodes at once lose their power, and most of them the same.
    async fn power_cut(&mut self, same: Loss) {
        let mut off = Vec::new();
        for (_, node) in std::mem::take(&mut self.nodes) {
            let other = *self.random.choose(Loss::ALL);
            let loss = if self.random.percent(75) { same } else { other };
            off.push(node.power_off(&self.network, loss, self.random.next()));
        }
        for node in off {
            let node = node.start(&self.network, config()).await;
            self.nodes.insert(node.id, node);
        }
    }

    /// Makes all but one node voters, or all; one who is removed stays as a learner.
    async fn change_members(&mut self, without: u64) {
        let leader = self.nodes.values().find(|node| node.leader() == Some(node.id));
        let Some(node) = leader else { return };
        let raft = node.raft.clone();
        let all = self.random.percent(50);
        let voters = (1..=NODES).filter(|id| all || *id != without).collect::<BTreeSet<_>>();
        let change = async {
            let node = |id| (id, BasicNode::new(format!("node {id}")));
            let nodes = (1..=NODES).map(node).collect::<BTreeMap<_, _>>();
            raft.change_membership(ChangeMembers::AddNodes(nodes), true).await?;
            raft.change_membership(voters, true).await
        };
        let _ = tokio::time::timeout(Duration::from_secs(3), change).await;
    }

    /// Ends all faults, and waits until all nodes have applied the same.
    async fn calm(self) -> Vec<Value> {
        self.network.heal();
        let nodes: Vec<Node> = self.nodes.into_values().collect();
        for node in &nodes {
            node.machine.building.set(false);
            node.machine.installing.set(false);
        }
        let last = Value("the last".to_owned());
        let mut raft = nodes[leader(&nodes).await].raft.clone();
        let members = || {
            let node = |id| (id, BasicNode::default());
            ChangeMembers::AddNodes((1..=NODES).map(node).collect())
        };
        while raft.change_membership(members(), true).await.is_err() {
            raft = nodes[leader(&nodes).await].raft.clone();
        }
        while raft.client_write(last.clone()).await.is_err() {
            raft = nodes[leader(&nodes).await].raft.clone();
        }
        for node in &nodes {
            until("the last value", || node.machine.order().contains(&last)).await;
        }
        let mut order = nodes[0].machine.order();
        for node in &nodes {
            assert!(node.machine.order() == order, "node {} applied something else", node.id);
        }
        stop(&self.network, nodes).await;
        for rotation in self.rotations {
            rotation.join().expect("a rotation failed");
        }
        assert_eq!(order.pop(), Some(last.clone()));
        // It may have been written more than once.
        order.retain(|value| *value != last);
        order
    }
}

async fn run(seed: u64, length: Duration) {
    let mut chaos = Chaos::start(seed).await;
    let (history, end) = (Arc::new(History::default()), Arc::new(AtomicBool::new(false)));
    let clients = (1..=CLIENTS).map(|id| {
        let client = Client {
            id,
            network: chaos.network.clone(),
            history: Arc::clone(&history),
            random: Random::new(seed ^ id << 32),
            stop: Arc::clone(&end),
        };
        tokio::spawn(client.run())
    });
    let clients: Vec<_> = clients.collect();
    let begun = Instant::now();
    while begun.elapsed() < length {
        chaos.step().await;
    }
    // What clients were told is durable.
    for _ in 0..3 {
        chaos.power_cut(Loss::Dropped).await;
        chaos.network.heal();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    end.store(true, Ordering::Release);
    for client in clients {
        client.await.unwrap();
    }
    let did = std::mem::take(&mut chaos.did);
    let order = chaos.calm().await;
    let counts = history.counts();
    println!("seed {seed}: {} values, {counts:?}, {did:?}", order.len());
    history.check(&order).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert!(counts.acknowledged > 20 && counts.reads > 5, "too little was done: {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_leaves_one_order_that_explains_all_that_clients_saw() {
    let seconds = std::env::var("NODESEAL_CHAOS_SECONDS").ok().and_then(|text| text.parse().ok());
    match seconds {
        None => run(1, Duration::from_secs(25)).await,
        Some(seconds) => {
            let end = Instant::now() + Duration::from_secs(seconds);
            for seed in 1.. {
                if Instant::now() > end {
                    return;
                }
                run(seed, Duration::from_secs(30)).await;
            }
        }
    }
}
