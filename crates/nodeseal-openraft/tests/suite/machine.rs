//! A state machine: what was set, in memory, and in the snapshot.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use nodeseal_openraft::{SnapshotData, Snapshots};
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{
    AnyError, BasicNode, Entry, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder,
    SnapshotMeta, StorageError, StorageIOError, StoredMembership,
};
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    pub Types:
        D = Set,
        R = Option<String>,
        NodeId = u64,
        Node = BasicNode,
        SnapshotData = SnapshotData,
);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Set {
    pub key: String,
    pub value: String,
}

#[derive(Clone, Default)]
struct State {
    applied: Option<LogId<u64>>,
    membership: StoredMembership<u64, BasicNode>,
    values: BTreeMap<String, String>,
}

#[derive(Clone)]
pub struct Machine {
    snapshots: Snapshots,
    state: Arc<Mutex<State>>,
}

impl Machine {
    /// Begins with what the snapshot holds.
    pub fn new(snapshots: Snapshots) -> Result<Self, AnyError> {
        let mut machine = Self { snapshots, state: Arc::default() };
        if let Some((meta, reader)) = machine.snapshots.current::<Types>()? {
            machine.load(meta, reader)?;
        }
        Ok(machine)
    }

    pub fn get(&self, key: &str) -> Option<String> {
        self.state.lock().unwrap().values.get(key).cloned()
    }

    fn load(
        &mut self,
        meta: SnapshotMeta<u64, BasicNode>,
        mut reader: impl Read,
    ) -> Result<(), AnyError> {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(|e| AnyError::new(&e))?;
        let values = postcard::from_bytes(&content).map_err(|e| AnyError::new(&e))?;
        *self.state.lock().unwrap() =
            State { applied: meta.last_log_id, membership: meta.last_membership, values };
        Ok(())
    }

    fn build(&self) -> Result<Snapshot<Types>, AnyError> {
        let state = self.state.lock().unwrap().clone();
        let id = state.applied.map_or_else(String::new, |id| id.to_string());
        let meta = SnapshotMeta {
            last_log_id: state.applied,
            last_membership: state.membership,
            snapshot_id: id,
        };
        let mut data = self.snapshots.begin()?;
        let content = postcard::to_stdvec(&state.values).map_err(|e| AnyError::new(&e))?;
        data.write_all(&content).map_err(|e| AnyError::new(&e))?;
        let reader = self.snapshots.install::<Types>(&meta, data)?;
        Ok(Snapshot { meta, snapshot: Box::new(SnapshotData::Reading(Box::new(reader))) })
    }
}

fn failed(error: AnyError) -> StorageError<u64> {
    StorageIOError::write_snapshot(None, error).into()
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError<u64>> {
        self.build().map_err(failed)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<u64>>, StoredMembership<u64, BasicNode>), StorageError<u64>> {
        let state = self.state.lock().unwrap();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Option<String>>, StorageError<u64>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = self.state.lock().unwrap();
        let replies = entries.into_iter().map(|entry| {
            state.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Normal(Set { key, value }) => state.values.insert(key, value),
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
        self.snapshots.begin().map(Box::new).map_err(failed)
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, BasicNode>,
        snapshot: Box<SnapshotData>,
    ) -> Result<(), StorageError<u64>> {
        let reader = self.snapshots.install::<Types>(meta, *snapshot).map_err(failed)?;
        self.load(meta.clone(), reader).map_err(failed)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError<u64>> {
        let current = self.snapshots.current::<Types>().map_err(failed)?;
        Ok(current.map(|(meta, reader)| {
            let data = SnapshotData::Reading(Box::new(reader));
            Snapshot { meta, snapshot: Box::new(data) }
        }))
    }
}
