//! A node: its disk, and openraft on it.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nodeseal::fs::{Fs, Loss, SimFs};
use nodeseal::{Keyring, Reason, Store};
use nodeseal_openraft::LogStore;
use openraft::{Config, Raft, SnapshotPolicy};

use super::machine::{Machine, Types};
use super::network::Network;
use super::open_in;

/// Some dozens of entries, in bytes: the end of a segment is synced whatever the log does.
const SEGMENT: u64 = 32 << 10;

pub struct Node {
    pub id: u64,
    pub raft: Raft<Types>,
    pub machine: Machine,
    pub store: Store,
    keyring: Keyring,
    disk: SimFs,
}

/// A node without power.
pub struct Off {
    node: Node,
    disk: SimFs,
}

impl Off {
    pub async fn start(self, network: &Network, config: Config) -> Node {
        let id = self.node.id;
        self.node.stop().await;
        Node::on(self.disk, network, id, config).await
    }
}

/// Timing that suits a slow machine, and snapshots in many pieces, often.
pub fn config() -> Config {
    Config {
        heartbeat_interval: 150,
        election_timeout_min: 600,
        election_timeout_max: 1200,
        install_snapshot_timeout: 1000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(60),
        max_in_snapshot_log_to_keep: 5,
        purge_batch_size: 1,
        snapshot_max_chunk_size: 250,
        replication_lag_threshold: 30,
        ..Config::default()
    }
}

impl Node {
    /// Starts a new node.
    pub async fn start(network: &Network, id: u64, config: Config) -> Self {
        Self::on(SimFs::new(), network, id, config).await
    }

    async fn on(disk: SimFs, network: &Network, id: u64, config: Config) -> Self {
        let fs: Arc<dyn Fs> = Arc::new(disk.clone());
        let opened = tokio::task::spawn_blocking(move || open_in(fs, Path::new("/"), SEGMENT));
        let (keyring, store) = opened.await.unwrap();
        let log = LogStore::new(store.clone()).unwrap();
        let machine = Machine::new(log.snapshots()).await.unwrap();
        let config = Arc::new(config.validate().unwrap());
        let raft = Raft::new(id, config, network.port(id), log, machine.clone()).await.unwrap();
        network.join(id, raft.clone(), machine.clone());
        Self { id, raft, machine, store, keyring, disk }
    }

    /// Lets the node lose its power now, and starts it again on what the disk kept.
    pub async fn crash(self, network: &Network, loss: Loss, seed: u64, config: Config) -> Self {
        self.power_off(network, loss, seed).start(network, config).await
    }

    /// Lets the node lose its power now. What still runs of it is cut off, and writes to a disk that
    /// is no more.
    pub fn power_off(self, network: &Network, loss: Loss, seed: u64) -> Off {
        network.leave(self.id);
        let disk = self.disk.after_power_cut(loss, seed);
        Off { node: self, disk }
    }

    /// Stops the node in an orderly way, and starts it again.
    pub async fn restart(self, network: &Network, config: Config) -> Self {
        network.leave(self.id);
        let (id, disk) = (self.id, self.disk.clone());
        self.stop().await;
        // The next process has locks of its own.
        Self::on(disk.after_kill(), network, id, config).await
    }

    /// Stops openraft. Its threads may wait for one who waits for a gate.
    pub async fn stop(self) {
        self.machine.building.set(false);
        self.machine.installing.set(false);
        let stopped = tokio::time::timeout(Duration::from_secs(20), self.raft.shutdown()).await;
        stopped.expect("openraft does not stop").unwrap();
    }

    /// Seals everything under another DEK, beside all that the node does.
    pub fn rotate(&self) -> JoinHandle<()> {
        let (keyring, store) = (self.keyring.clone(), self.store.clone());
        std::thread::spawn(move || {
            // One that is under way may forbid another.
            if keyring.rotate_dek(Reason::Age).is_ok() {
                store.rotation().run(|_| ControlFlow::Continue(())).unwrap();
            }
        })
    }

    pub fn leader(&self) -> Option<u64> {
        self.raft.metrics().borrow().current_leader
    }

    pub fn purged(&self) -> u64 {
        self.raft.metrics().borrow().purged.map_or(0, |id| id.index)
    }

    pub fn snapshot(&self) -> u64 {
        self.raft.metrics().borrow().snapshot.map_or(0, |id| id.index)
    }
}
