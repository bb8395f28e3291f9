//! The snapshot, copied piece by piece under a new content key.
//!
//! An attacker who had the DEK that its header is under knows its content key, which alone
//! authenticates the chunks. To seal the header again would leave them that.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::seal::StreamId;
use crate::store::change::Change;
use crate::store::snapshot::{Snapshot, SnapshotReader, SnapshotWriter};
use crate::store::{Inner, Store};

/// A snapshot that is being copied, then read back.
///
/// Until the copy is installed nothing depends on it. One that is dropped before leaves nothing
/// behind, and the copy is begun again.
pub(super) struct Rewrite {
    store: Store,
    old: StreamId,
    /// What is read: the old snapshot, then its copy.
    reader: SnapshotReader,
    path: PathBuf,
    stage: Stage,
    /// Bytes to copy and to read back.
    left: u64,
}

enum Stage {
    Begun(SnapshotWriter),
    Ended(Snapshot),
    ReadBack(Snapshot),
    /// Another snapshot was installed meanwhile.
    Moot,
}

impl Rewrite {
    /// Begins if the snapshot's content key was exposed.
    pub(super) fn begin(store: &Store) -> Result<Option<Self>> {
        let header = store.inner.view.seen().header.clone();
        let Some(header) = header else { return Ok(None) };
        if !store.inner.streams.must_rewrite(&header)? {
            return Ok(None);
        }
        let Some(reader) = store.inner.snapshot()? else { return Ok(None) };
        let (old, left) = (reader.info().id, reader.info().len.saturating_mul(2));
        let path = store.inner.snapshot_path(old);
        let stage = Stage::Begun(store.write_snapshot()?);
        Ok(Some(Self { store: store.clone(), old, reader, path, stage, left }))
    }

    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    /// Reports whether nothing is left but to install the copy, or to drop it.
    pub(super) const fn is_read_back(&self) -> bool {
        matches!(self.stage, Stage::ReadBack(_) | Stage::Moot)
    }

    /// Copies or reads back the next chunks, `budget` bytes of them or a single longer one. Returns
    /// how many bytes there were.
    pub(super) fn go_on(&mut self, budget: u64) -> Result<u64> {
        if !self.is_current() {
            (self.stage, self.left) = (Stage::Moot, 0);
            return Ok(0);
        }
        let mut done = 0;
        let ended = loop {
            let chunk = self.reader.next_chunk().map_err(|error| match error {
                Error::Stream(source) => Error::io("read", &self.path, source),
                other => other,
            })?;
            if chunk.is_empty() {
                break true;
            }
            if let Stage::Begun(writer) = &mut self.stage {
                writer.put(chunk)?;
            }
            done += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            if done >= budget {
                break false;
            }
        };
        self.left = self.left.saturating_sub(done);
        self.stage = match core::mem::replace(&mut self.stage, Stage::Moot) {
            Stage::Begun(writer) if ended => {
                let (at, meta) = (self.reader.info().at, self.reader.info().meta.clone());
                self.path = writer.path().to_owned();
                let (snapshot, reader) = writer.end(at, &meta)?;
                self.reader = reader;
                Stage::Ended(snapshot)
            }
            Stage::Begun(writer) => {
                writer.sync()?;
                Stage::Begun(writer)
            }
            Stage::Ended(snapshot) if ended => Stage::ReadBack(snapshot),
            other => other,
        };
        Ok(done)
    }

    /// Makes the copy the store's snapshot by a change of its own, unless another was installed.
    pub(super) fn put_in_place(self: Box<Self>) -> Result<()> {
        let Stage::ReadBack(snapshot) = self.stage else { return Ok(()) };
        let inner: Arc<Inner> = Arc::clone(&self.store.inner);
        match self.store.put_in_place(snapshot, Change::new(), Some(self.old)) {
            // Refused for that: what was installed has a content key of its own.
            Err(Error::Misuse(_)) if !is_current(&inner, self.old) => Ok(()),
            placed => {
                placed?;
                inner.stats.add().snapshots_rewritten += 1;
                Ok(())
            }
        }
    }

    fn is_current(&self) -> bool {
        is_current(&self.store.inner, self.old)
    }
}

fn is_current(inner: &Inner, old: StreamId) -> bool {
    inner.view.seen().state.snapshot == Some(old)
}
