//! Changes: planned, written in one write, made durable by an fsync that others may share.

use std::sync::Arc;

use super::change::{Change, MAX_META};
use super::format::{Extra, Meta, SnapshotHeader};
use super::frames::Sealed;
use super::witness::Witness;
use super::{Inner, Store};
use crate::error::{Error, Misuse, Result};
use crate::seal::{InFlight, LogId, SealedCell, State, StreamId};
use crate::secret::SecretBytes;
use crate::wal::{Appender, Frames};

/// What the writer knows.
pub(super) struct Writer {
    pub(super) out: Appender,
    /// The last segment: its number in the index, and in its name.
    pub(super) segment: u32,
    pub(super) named: u64,
    pub(super) state: State,
    pub(super) extra: Extra,
    pub(super) meta: Meta,
    pub(super) snapshot: Option<SnapshotHeader>,
    /// Holds the DEKs of what is written and not yet durable.
    pub(super) in_flight: Vec<InFlight>,
    /// Up to which sequence changes are durable.
    pub(super) durable: u64,
    /// Memory of changes, to use again.
    pub(super) changes: Vec<SecretBytes>,
}

/// What has been made durable.
pub(super) struct Synced {
    pub(super) sequence: u64,
    pub(super) witness: Witness,
}

/// A snapshot on its way in.
pub(super) struct Installed {
    pub(super) id: StreamId,
    pub(super) at: LogId,
    pub(super) header: SnapshotHeader,
}

/// A change that is written and can be read, but is not durable.
#[derive(Debug)]
#[must_use = "wait until it is durable before it is acknowledged"]
pub struct Pending {
    store: Store,
    sequence: u64,
}

impl Pending {
    /// Waits until the change is durable. Several that wait share one fsync.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the fsync failed, [`Error::Poisoned`] if an earlier write did. Whether the
    /// change will be there when the store is opened anew is unknown then.
    pub fn wait(self) -> Result<()> {
        self.store.inner.sync(self.sequence).inspect_err(|e| self.store.inner.stats.failed(e))
    }
}

/// How many changes' memory is kept, and how large it may be, in bytes.
const KEPT: usize = 4;
const KEPT_SIZE: usize = 4 << 20;

impl Store {
    /// A change with nothing in it, as [`Change::new`], in memory that an earlier one used: for
    /// appends one after the other.
    #[must_use]
    pub fn change(&self) -> Change {
        Change::reuse(self.inner.writer().changes.pop().unwrap_or_default())
    }

    /// Makes a change, and returns once it is durable: one write, one fsync, which it may share
    /// with others.
    ///
    /// # Errors
    ///
    /// [`Misuse`] if it does not fit the log: nothing was changed then. [`Error::Io`],
    /// [`Error::Poisoned`]: as [`Pending::wait`].
    pub fn apply(&self, change: Change) -> Result<()> {
        self.write(change)?.wait()
    }

    /// Writes a change and returns before it is durable. What it adds can be read at once.
    ///
    /// # Errors
    ///
    /// As [`Store::apply`].
    pub fn write(&self, change: Change) -> Result<Pending> {
        self.write_with(change, None)
    }

    pub(super) fn write_with(
        &self,
        change: Change,
        snapshot: Option<Installed>,
    ) -> Result<Pending> {
        let written = self.inner.write(change, snapshot);
        let sequence = written.inspect_err(|e| self.inner.stats.failed(e))?;
        Ok(Pending { store: self.clone(), sequence })
    }
}

impl Inner {
    fn write(&self, mut change: Change, snapshot: Option<Installed>) -> Result<u64> {
        let mut guard = self.writer();
        let writer = &mut *guard;
        self.intact()?;
        let (after, mut state) = change.plan(&writer.state, &self.index())?;
        state.sequence =
            writer.state.sequence.checked_add(1).ok_or(Misuse::OutOfBounds("sequence"))?;
        let mut extra = writer.extra;
        let meta = changed_meta(&writer.meta, &mut change)?;
        if meta.is_some() {
            extra.meta = state.sequence;
        }
        if let Some(installed) = &snapshot {
            (state.snapshot, extra.snapshot_at) = (Some(installed.id), installed.at);
        }
        if writer.out.end() >= self.segment_size {
            let cut = self.cut(writer);
            self.or_poison(cut)?;
        }

        let header = snapshot.map(|installed| installed.header);
        let sealed = self.seal(writer, after, &mut change, (state, extra, meta, header))?;
        let written = writer.out.append(&sealed.frames, self.segment_size);
        self.or_poison(written)?;
        if writer.out.end() >= self.segment_size / 2 {
            self.next.want();
        }
        self.take_effect(writer, &change, sealed);
        Ok(writer.state.sequence)
    }

    /// A change that was written is what readers and the next change see.
    fn take_effect(&self, writer: &mut Writer, change: &Change, sealed: Sealed) {
        let mut index = self.index_mut();
        if let Some(from) = change.truncate {
            index.truncate(from);
        }
        if let Some((first, _)) = change.entries.first() {
            index.extend(first.index, &sealed.slots);
        }
        let state = &sealed.state;
        index.purged = state.purged;
        if state.last == state.purged {
            index.truncate(0);
        } else if state.purged != LogId::START {
            index.drop_before(state.purged.index.saturating_add(1));
        }
        if let Some(segment) = index.segments.get_mut(&writer.segment) {
            let named = sealed.entries.iter().chain(sealed.cells.iter().map(SealedCell::in_flight));
            named.for_each(|held| segment.name_dek(held.dek()));
            sealed.header.iter().for_each(|(_, dek)| segment.name_dek(*dek));
        }
        drop(index);

        let mut stats = self.stats.add();
        stats.changes += 1;
        if let Some(entries) = &sealed.entries {
            let count = u64::try_from(change.entries.len()).unwrap_or(u64::MAX);
            let bytes = change.entries.iter().map(|(_, range)| range.len()).sum::<usize>();
            stats.sealed(entries.dek(), count, u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        drop(stats);
        writer.keep(sealed.frames);
        writer.in_flight.extend(sealed.entries);
        writer.in_flight.extend(sealed.cells.into_iter().map(SealedCell::into_in_flight));
        (writer.state, writer.extra) = (sealed.state, sealed.extra);
        if let Some(meta) = sealed.meta {
            writer.meta = meta;
        }
        if let Some((header, _)) = sealed.header {
            writer.snapshot = Some(header);
        }
    }

    /// Makes everything up to `sequence` durable, and what else is written already.
    pub(super) fn sync(&self, sequence: u64) -> Result<()> {
        let mut synced = self.synced();
        self.intact()?;
        if synced.sequence >= sequence {
            return Ok(());
        }
        let synced_now = self.sync_all(&mut synced);
        drop(synced);
        let dropped = synced_now.and_then(|dead| self.drop_segments(&dead));
        self.or_poison(dropped)
    }

    /// Gives the segments that no longer hold anything in the state that is durable now.
    fn sync_all(&self, synced: &mut Synced) -> Result<Vec<u32>> {
        let (file, path, sequence, in_flight, dead) = {
            let mut writer = self.writer();
            let in_flight = core::mem::take(&mut writer.in_flight);
            let file = Arc::clone(writer.out.file());
            let path = writer.out.path().to_owned();
            // Here: a change that comes during the fsync, which does not cover it, may free more.
            (file, path, writer.state.sequence, in_flight, self.dead_segments(writer.segment))
        };
        // The writer may go on meanwhile.
        file.sync_data().map_err(|e| Error::io("sync", &path, e))?;
        in_flight.into_iter().for_each(InFlight::durable);
        synced.sequence = sequence;
        synced.witness.write(&self.cells, &self.name, sequence)?;
        self.stats.add().fsyncs += 1;
        let mut writer = self.writer();
        writer.durable = writer.durable.max(sequence);
        Ok(dead)
    }
}

impl Writer {
    /// Keeps memory for a later change.
    fn keep(&mut self, frames: Frames) {
        let mut buffer = SecretBytes::from_vec(frames.into_bytes());
        buffer.cut_sealed(0);
        if self.changes.len() < KEPT && buffer.capacity() <= KEPT_SIZE {
            self.changes.push(buffer);
        }
    }
}

/// The metadata after `change`, if it changes it.
fn changed_meta(meta: &Meta, change: &mut Change) -> Result<Option<Meta>> {
    if change.meta.is_empty() {
        return Ok(None);
    }
    let mut next = meta.clone();
    for (name, value) in change.meta.drain(..) {
        match value {
            Some(value) => next.insert(name, Arc::new(value)),
            None => next.remove(&name),
        };
    }
    let sum = next
        .iter()
        .map(|(name, value): (&String, &Arc<SecretBytes>)| name.len() + value.len())
        .sum();
    if sum > MAX_META {
        return Err(Error::too_large("metadata", sum, MAX_META));
    }
    Ok(Some(next))
}
