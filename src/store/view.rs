//! What callers see of a store without waiting for the disk: the writer holds its lock while a
//! segment ends, this one never.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::accept::Accepted;
use super::format::{Meta, SnapshotHeader};
use super::write::Writer;
use crate::seal::{LogId, State};

pub(super) struct View(Mutex<Seen>);

#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) state: State,
    pub(super) snapshot_at: LogId,
    pub(super) accepted: Accepted,
    pub(super) meta: Arc<Meta>,
    /// The header of the snapshot's stream.
    pub(super) header: Option<Arc<SnapshotHeader>>,
    /// Up to which sequence changes are durable.
    pub(super) durable: u64,
}

impl View {
    pub(super) fn of(writer: &Writer) -> Self {
        let seen = Seen { durable: writer.state.sequence, ..Seen::default() };
        let view = Self(Mutex::new(seen));
        view.show(writer, true, true);
        view
    }

    /// Never hold it over a call that may wait.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what the writer knows: its metadata and the snapshot's header only where they changed.
    pub(super) fn show(&self, writer: &Writer, meta: bool, header: bool) {
        let mut seen = self.seen();
        seen.state.clone_from(&writer.state);
        seen.snapshot_at = writer.extra.snapshot_at;
        seen.accepted = writer.extra.accepted;
        if meta {
            seen.meta = Arc::new(writer.meta.clone());
        }
        if header {
            seen.header = writer.snapshot.clone().map(Arc::new);
        }
    }
}
