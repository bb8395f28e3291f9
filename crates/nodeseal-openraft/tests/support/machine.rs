//! A state machine: the values that were applied, in their order, in memory and in the snapshot.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use nodeseal_openraft::{SnapshotData, Snapshots};
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{
    AnyError, BasicNode, Entry, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder,
    SnapshotMeta, StorageError, StorageIOError, StoredMembership,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

openraft::declare_raft_types!(
    pub Types:
        D = Value,
        R = Option<u64>,
        NodeId = u64,
        Node = BasicNode,
        SnapshotData = SnapshotData,
);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Value(pub String);

#[derive(Clone, Default)]
struct State {
    applied: Option<LogId<u64>>,
    membership: StoredMembership<u64, BasicNode>,
    order: Vec<Value>,
}

/// Where a test can make the state machine wait.
#[derive(Clone)]
pub struct Gate {
    shut: Arc<watch::Sender<bool>>,
    within: Arc<watch::Sender<usize>>,
}

/// Is held by one that passed, until it is done.
struct Within(Gate);

#[derive(Clone)]
pub struct Machine {
    snapshots: Snapshots,
    state: Arc<Mutex<State>>,
    /// Before a snapshot is built of a state that was already taken.
    pub building: Gate,
    /// Before a snapshot that was received is installed.
    pub installing: Gate,
}

impl Gate {
    fn new() -> Self {
        Self { shut: Arc::new(watch::Sender::new(false)), within: Arc::new(watch::Sender::new(0)) }
    }

    pub fn set(&self, shut: bool) {
        self.shut.send_replace(shut);
    }

    /// How many wait, or have passed and are not done.
    pub fn within(&self) -> usize {
        *self.within.borrow()
    }

    async fn pass(&self) -> Within {
        self.within.send_modify(|within| *within += 1);
        let held = Within(self.clone());
        self.shut.subscribe().wait_for(|shut| !shut).await.map(drop).unwrap();
        held
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        self.0.within.send_modify(|within| *within -= 1);
    }
}

impl Machine {
    /// Begins with what the snapshot holds.
    pub async fn new(snapshots: Snapshots) -> Result<Self, StorageError<u64>> {
        let (building, installing) = (Gate::new(), Gate::new());
        let machine = Self { snapshots, state: Arc::default(), building, installing };
        if let Some(snapshot) = machine.snapshots.current::<Types>().await? {
            machine.load(snapshot).await?;
        }
        Ok(machine)
    }

    /// Returns the values that were applied, in their order.
    pub fn order(&self) -> Vec<Value> {
        self.state().order.clone()
    }

    pub fn applied(&self) -> Option<LogId<u64>> {
        self.state().applied
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn load(&self, snapshot: Snapshot<Types>) -> Result<(), StorageError<u64>> {
        let Snapshot { meta, snapshot } = snapshot;
        let loaded = snapshot.load(|reader| {
            let mut content = Vec::new();
            io::Read::read_to_end(reader, &mut content)?;
            postcard::from_bytes(&content).map_err(io::Error::other)
        });
        let order =
            loaded.await.map_err(|e| StorageIOError::read_snapshot(None, AnyError::new(&e)))?;
        *self.state() =
            State { applied: meta.last_log_id, membership: meta.last_membership, order };
        Ok(())
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError<u64>> {
        let state = self.state().clone();
        let _within = self.building.pass().await;
        let id = state.applied.map_or_else(String::new, |id| id.to_string());
        let meta = SnapshotMeta {
            last_log_id: state.applied,
            last_membership: state.membership,
            snapshot_id: id,
        };
        let built = self.snapshots.build::<Types>(meta, move |out| {
            postcard::to_io(&state.order, out).map(drop).map_err(io::Error::other)
        });
        built.await
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<u64>>, StoredMembership<u64, BasicNode>), StorageError<u64>> {
        let state = self.state();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Option<u64>>, StorageError<u64>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = self.state();
        let replies = entries.into_iter().map(|entry| {
            state.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Normal(value) => {
                    state.order.push(value);
                    Some(state.order.len() as u64)
                }
                EntryPayload::Membership(membership) => {
                    state.membership = StoredMembership::new(Some(entry.log_id), membership);
                    None
                }
            }
        });
        Ok(replies.collect())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotData>, StorageError<u64>> {
        self.snapshots.begin::<Types>().await.map(Box::new)
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, BasicNode>,
        snapshot: Box<SnapshotData>,
    ) -> Result<(), StorageError<u64>> {
        let _within = self.installing.pass().await;
        let installed = self.snapshots.install::<Types>(meta, *snapshot).await?;
        self.load(installed).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError<u64>> {
        self.snapshots.current::<Types>().await
    }
}
