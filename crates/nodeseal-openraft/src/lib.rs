//! openraft's storage on nodeseal's [`Store`](nodeseal::Store).
//!
//! [`LogStore`] is openraft's log and vote. Its entries can be read when `append` returns; they are
//! acknowledged as durable after the fsync, which those that came meanwhile share. Votes go the same
//! way, in the same order. [`Snapshots`] keeps the snapshot of a state machine, which is the
//! application's: it is written and read as a stream, in constant memory.
//!
//! Nothing here waits for the disk on a thread of the async runtime: six threads of the adapter's
//! own do.
//!
//! An entry is bound to the whole id of its leader. By default openraft's has a term *and* a node:
//! several can lead in one term. [`era`] makes the number of it that the seal takes.

mod disk;
mod kept;
mod log;
mod read;
mod settings;
mod snapshot;
mod writer;

pub use log::{LogReader, LogStore};
pub use settings::Settings;
pub use snapshot::{MAX_SNAPSHOT_META, SnapshotData, SnapshotReader, Snapshots};

use std::io;

use nodeseal::seal::{Era, LogId};
use openraft::{AnyError, CommittedLeaderId, RaftTypeConfig};
use serde::Serialize;

/// Returns the era of a leader.
///
/// # Errors
///
/// If the id cannot be encoded.
pub fn era<C: RaftTypeConfig>(leader: &CommittedLeaderId<C::NodeId>) -> Result<Era, AnyError> {
    encode(leader).map(|bytes| Era::of_leader(&bytes))
}

/// The store's id of an entry.
fn id<C: RaftTypeConfig>(id: &openraft::LogId<C::NodeId>) -> Result<LogId, AnyError> {
    Ok(LogId::new(id.index, era::<C>(&id.leader_id)?))
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, AnyError> {
    postcard::to_stdvec(value).map_err(|e| AnyError::new(&e))
}

/// An error of what passes through the store.
fn stream(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> nodeseal::Error {
    nodeseal::Error::Stream(io::Error::other(error))
}
