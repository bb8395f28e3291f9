//! Clients: each writes values of its own, and reads, through whomever it takes for the leader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};

use super::history::History;
use crate::support::machine::Value;
use crate::support::network::{Network, Peer};
use crate::support::random::Random;

/// A client gives up an operation after so long, and does not know what became of it.
const PATIENCE: Duration = Duration::from_secs(2);

pub struct Client {
    pub id: u64,
    pub network: Network,
    pub history: Arc<History>,
    pub random: Random,
    /// Writes as many values, if it is bounded.
    pub stop: Arc<AtomicBool>,
}

impl Client {
    pub async fn run(mut self) {
        let mut believed = None;
        for n in 0.. {
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            let up = self.network.up();
            let ids: Vec<u64> = up.keys().copied().collect();
            let Some(peer) = believed.and_then(|id| up.get(&id)) else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                believed = (!ids.is_empty()).then(|| *self.random.choose(&ids));
                continue;
            };
            believed = if self.random.percent(30) {
                self.read(peer).await.then_some(believed).flatten()
            } else {
                self.write(peer, n).await.or(None)
            };
            tokio::time::sleep(Duration::from_millis(self.random.below(10))).await;
        }
    }

    /// Writes a value that was never tried before. Returns who leads, as far as is known.
    async fn write(&self, peer: &Peer, n: u64) -> Option<u64> {
        let value = Value(format!("{}-{n}", self.id));
        let invoked = self.history.begin();
        let write = peer.raft.client_write(value.clone());
        let written = tokio::time::timeout(PATIENCE, write).await;
        let position = match &written {
            Ok(Ok(written)) => Some(written.data.expect("a value's position")),
            // Also one that is sent elsewhere may have been written, and be committed by another.
            _ => None,
        };
        self.history.wrote(invoked, value, position);
        match written {
            Ok(Ok(written)) => Some(written.log_id.leader_id.node_id),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => to.leader_id,
            _ => None,
        }
    }

    /// Reads all values. Returns whether the node could tell.
    async fn read(&self, peer: &Peer) -> bool {
        let invoked = self.history.begin();
        let current = tokio::time::timeout(PATIENCE, peer.raft.ensure_linearizable()).await;
        let current = matches!(current, Ok(Ok(_)));
        if current {
            self.history.read(invoked, &peer.machine.order());
        }
        current
    }
}
