//! The state that openraft stores beside entries. The store keeps it as its vote.

use nodeseal::Store;
use nodeseal::store::Change;
use openraft::{AnyError, LogId, RaftTypeConfig, Vote};
use serde::{Deserialize, Serialize};

use crate::writer::Make;
use crate::{encode, stream};

/// The ids are here whole; the store knows their eras alone.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Kept<C: RaftTypeConfig> {
    pub(crate) vote: Option<Vote<C::NodeId>>,
    pub(crate) committed: Option<LogId<C::NodeId>>,
    pub(crate) purged: Option<LogId<C::NodeId>>,
}

impl<C: RaftTypeConfig> Kept<C> {
    pub(crate) fn of(store: &Store) -> Result<Self, AnyError> {
        let vote = store.state().vote;
        if vote.is_empty() {
            return Ok(Self { vote: None, committed: None, purged: None });
        }
        postcard::from_bytes(&vote).map_err(|e| AnyError::new(&e))
    }

    /// A change of it, with what belongs to the change besides.
    pub(crate) fn edit(edit: impl FnOnce(&mut Self, &mut Change, &Store) + Send + 'static) -> Make {
        Box::new(|store| {
            let mut kept = Self::of(store).map_err(stream)?;
            let mut change = Change::new();
            edit(&mut kept, &mut change, store);
            change.vote(&encode(&kept).map_err(stream)?);
            Ok(change)
        })
    }
}
