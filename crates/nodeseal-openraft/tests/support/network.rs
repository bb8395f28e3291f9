//! A network in memory that loses, delays and repeats messages, as a seed draws it or a test says.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, BasicNode, Raft};

use super::machine::{Machine, Types};
use super::random::Random;

/// How often something happens to a message, in a hundred.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub request_lost: u64,
    pub reply_lost: u64,
    pub repeated: u64,
    pub delayed: u64,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fate {
    pub delay: Option<Duration>,
    pub request_lost: bool,
    pub reply_lost: bool,
    /// It comes once more, so much later.
    pub repeated: Option<Duration>,
}

/// A message, as far as a test may want to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    Entries(usize),
    Vote,
    /// A piece of a snapshot: its offset, and whether it is the last.
    Snapshot(u64, bool),
}

/// A node that is up.
#[derive(Clone)]
pub struct Peer {
    pub raft: Raft<Types>,
    pub machine: Machine,
}

type Rule = Box<dyn FnMut(u64, u64, Message) -> Option<Fate> + Send>;

struct State {
    nodes: BTreeMap<u64, Peer>,
    /// How often a node has left: what still runs of it then is heard by nobody.
    left: BTreeMap<u64, u64>,
    /// Which side a node is on: those of another side do not hear it.
    sides: BTreeMap<u64, u64>,
    faults: Faults,
    random: Random,
    rule: Option<Rule>,
    /// The pieces of snapshots that were sent: to whom, and the offset.
    pieces: Vec<(u64, u64)>,
    /// How many messages with entries were sent to a node.
    appends: BTreeMap<u64, u64>,
}

#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

/// The network as a node uses it.
#[derive(Clone)]
pub struct Port {
    network: Network,
    from: u64,
    left: u64,
}

pub struct Link {
    port: Port,
    to: u64,
}

type Failed<E> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl Network {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            nodes: BTreeMap::new(),
            left: BTreeMap::new(),
            sides: BTreeMap::new(),
            faults: Faults::default(),
            random: Random::new(seed),
            rule: None,
            pieces: Vec::new(),
            appends: BTreeMap::new(),
        })))
    }

    pub fn port(&self, from: u64) -> Port {
        let left = self.state().left.get(&from).copied().unwrap_or_default();
        Port { network: self.clone(), from, left }
    }

    pub fn join(&self, id: u64, raft: Raft<Types>, machine: Machine) {
        self.state().nodes.insert(id, Peer { raft, machine });
    }

    /// The nodes that are up.
    pub fn up(&self) -> BTreeMap<u64, Peer> {
        self.state().nodes.clone()
    }

    pub fn leave(&self, id: u64) {
        let mut state = self.state();
        state.nodes.remove(&id);
        *state.left.entry(id).or_default() += 1;
    }

    /// Puts a node on a side of its own, or back with all others: 0.
    pub fn side(&self, id: u64, side: u64) {
        self.state().sides.insert(id, side);
    }

    pub fn heal(&self) {
        let mut state = self.state();
        state.sides.clear();
        state.faults = Faults::default();
    }

    pub fn faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Lets a test say what becomes of messages.
    pub fn rule(&self, rule: impl FnMut(u64, u64, Message) -> Option<Fate> + Send + 'static) {
        self.state().rule = Some(Box::new(rule));
    }

    /// The offsets of the pieces that were sent to a node.
    pub fn pieces(&self, to: u64) -> Vec<u64> {
        let state = self.state();
        state.pieces.iter().filter(|(at, _)| *at == to).map(|(_, offset)| *offset).collect()
    }

    /// How many messages with entries were sent to a node.
    pub fn appends(&self, to: u64) -> u64 {
        self.state().appends.get(&to).copied().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn fate(&self, from: u64, to: u64, message: Message) -> Fate {
        let mut state = self.state();
        match message {
            Message::Snapshot(offset, _) => state.pieces.push((to, offset)),
            Message::Entries(count) if count > 0 => *state.appends.entry(to).or_default() += 1,
            _ => {}
        }
        if let Some(fate) = state.rule.as_mut().and_then(|rule| rule(from, to, message)) {
            return fate;
        }
        let State { faults, random, .. } = &mut *state;
        let mut later = |percent| {
            let drawn = Duration::from_millis(random.below(150));
            random.percent(percent).then_some(drawn)
        };
        let (delay, repeated) = (later(faults.delayed), later(faults.repeated));
        let request_lost = random.percent(faults.request_lost);
        Fate { delay, request_lost, reply_lost: random.percent(faults.reply_lost), repeated }
    }
}

impl Link {
    /// The receiver, if it is up and both hear each other.
    fn peer(&self) -> Option<Raft<Types>> {
        let Port { network, from, left } = &self.port;
        let state = network.state();
        let alive = state.left.get(from).copied().unwrap_or_default() == *left;
        let side = |id| state.sides.get(id).copied().unwrap_or_default();
        let heard = alive && side(from) == side(&self.to);
        heard.then(|| state.nodes.get(&self.to).map(|peer| peer.raft.clone()))?
    }
}

impl RaftNetworkFactory<Types> for Port {
    type Network = Link;

    async fn new_client(&mut self, to: u64, _: &BasicNode) -> Link {
        Link { port: self.clone(), to }
    }
}

impl Link {
    /// Sends a message, and gets the reply. What the receiver does is stopped if the sender gives up
    /// waiting, as by a server whose client has hung up; a message that is repeated is not.
    async fn send<T, E, F>(
        &self,
        message: Message,
        handle: impl Fn(Raft<Types>) -> F,
    ) -> Result<T, Failed<E>>
    where
        T: Send + 'static,
        E: std::error::Error + Send + 'static,
        F: Future<Output = Result<T, RaftError<u64, E>>> + Send + 'static,
    {
        let lost = || NetworkError::new(&AnyError::error("lost")).into();
        let down = || Failed::from(Unreachable::new(&AnyError::error("it is down")));
        let fate = self.port.network.fate(self.port.from, self.to, message);
        if let Some(delay) = fate.delay {
            tokio::time::sleep(delay).await;
        }
        if fate.request_lost {
            tokio::time::sleep(Duration::from_millis(5)).await;
            return Err(lost());
        }
        if let (Some(later), Some(peer)) = (fate.repeated, self.peer()) {
            let handled = handle(peer);
            tokio::spawn(async move {
                tokio::time::sleep(later).await;
                handled.await.map(drop)
            });
        }
        let reply = handle(self.peer().ok_or_else(down)?).await;
        // It may have become unreachable meanwhile.
        self.peer().ok_or_else(down)?;
        if fate.reply_lost {
            return Err(lost());
        }
        reply.map_err(|e| RemoteError::new(self.to, e).into())
    }
}

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        self.send(Message::Entries(request.entries.len()), |peer| {
            let request = request.clone();
            async move { peer.append_entries(request).await }
        })
        .await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failed<InstallSnapshotError>> {
        self.send(Message::Snapshot(request.offset, request.done), |peer| {
            let request = request.clone();
            async move { peer.install_snapshot(request).await }
        })
        .await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        self.send(Message::Vote, |peer| {
            let request = request.clone();
            async move { peer.vote(request).await }
        })
        .await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(Duration::from_millis(200)))
    }
}
