//! Changes: planned, written in one write, made durable by an fsync that others may share.

use std::sync::Arc;

use super::accept::Accepted;
use super::chain::Heads;
use super::change::{Change, MAX_META};
use super::format::{Extra, Meta, SnapshotHeader};
use super::frames::Sealed;
use super::table::Part;
use super::{Inner, Store};
use crate::error::{Error, Misuse, Result};
use crate::seal::{Era, InFlight, LogId, SealedCell, State, StreamId};
use crate::secret::SecretBytes;
use crate::wal::{Appender, Frames, Unwritten, Use};

/// What the writer knows.
pub(super) struct Writer {
    pub(super) out: Appender,
    /// The last segment: its number in the index, and in its name.
    pub(super) segment: u32,
    pub(super) named: u64,
    pub(super) state: State,
    pub(super) extra: Extra,
    /// The chain of the last segment.
    pub(super) heads: Heads,
    pub(super) meta: Meta,
    pub(super) snapshot: Option<SnapshotHeader>,
    /// Holds the DEKs of what is written and not yet durable.
    pub(super) in_flight: Vec<InFlight>,
    /// Snapshots whose files go once what replaced them is durable.
    pub(super) replaced: Vec<StreamId>,
    /// The log does not say yet what was accepted when it was opened.
    pub(super) unsaved: bool,
}

/// A snapshot on its way in.
pub(super) struct Installed {
    pub(super) id: StreamId,
    pub(super) at: LogId,
    pub(super) header: SnapshotHeader,
    /// It is a copy of this one, and takes no other's place.
    pub(super) copy_of: Option<StreamId>,
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
        self.store.inner.process.check()?;
        self.wait_here()
    }

    /// As [`Pending::wait`], in the call that wrote the change: no fork comes between.
    pub(super) fn wait_here(self) -> Result<()> {
        self.store.inner.sync(self.sequence).inspect_err(|e| self.store.inner.stats.failed(e))
    }
}

impl Store {
    /// Returns a change with nothing in it, like [`Change::new`], in memory that an earlier one used:
    /// for appends one after the other.
    #[must_use]
    pub fn change(&self) -> Change {
        Change::reuse(self.inner.spare.take())
    }

    /// Makes a change, and returns once it is durable: one write, one fsync, which it may share
    /// with others.
    ///
    /// # Errors
    ///
    /// [`Misuse`] if it does not fit the log, or the store is open read-only. [`Error::Io`] with a
    /// [`StorageFull`](std::io::ErrorKind::StorageFull) if there is no room. In both cases nothing was
    /// changed, and the store can be used further; changes that purge, truncate or vote may still
    /// fit a full disk. [`Error::Io`], [`Error::Poisoned`]: as [`Pending::wait`].
    pub fn apply(&self, change: Change) -> Result<()> {
        self.write(change)?.wait_here()
    }

    /// Writes a change and returns before it is durable. What it adds can be read at once.
    ///
    /// # Errors
    ///
    /// As [`Store::apply`].
    pub fn write(&self, change: Change) -> Result<Pending> {
        let written = self.inner.write(change, None);
        let sequence = written.inspect_err(|e| self.inner.stats.failed(e))?;
        Ok(Pending { store: self.clone(), sequence })
    }
}

impl Inner {
    pub(super) fn write(&self, change: Change, snapshot: Option<Installed>) -> Result<u64> {
        self.writable()?;
        let mut rolled = false;
        let (mut guard, plan) = loop {
            let guard = self.writer();
            self.intact()?;
            let plan = self.plan(&guard, &change, snapshot.as_ref())?;
            if rolled || guard.out.end() < self.segment_size {
                break (guard, plan);
            }
            drop(guard);
            rolled = true;
            self.roll_if_full(change.use_of_room())?;
        };
        self.write_planned(&mut guard, change, snapshot, plan, None)
    }

    /// Writes a change that adds `parts` to the table.
    pub(super) fn write_table(&self, writer: &mut Writer, parts: &[Part]) -> Result<u64> {
        let change = Change::new();
        let plan = self.plan(writer, &change, None)?;
        self.write_planned(writer, change, None, plan, Some(parts))
    }

    fn write_planned(
        &self,
        writer: &mut Writer,
        mut change: Change,
        snapshot: Option<Installed>,
        (after, mut state): (LogId, State),
        parts: Option<&[Part]>,
    ) -> Result<u64> {
        state.sequence =
            writer.state.sequence.checked_add(1).ok_or(Misuse::OutOfBounds("sequence"))?;
        let mut extra = writer.extra;
        let meta = changed_meta(&writer.meta, &mut change)?;
        if meta.is_some() {
            extra.meta = state.sequence;
        }
        if change.clear_accepted {
            extra.accepted = Accepted::default();
        }
        if let Some(installed) = &snapshot {
            (state.snapshot, extra.snapshot_at) = (Some(installed.id), installed.at);
        }
        let header = snapshot.map(|installed| installed.header);
        let sealed = self.seal(writer, after, &mut change, (state, extra, meta, header), parts)?;
        self.append(&mut writer.out, &sealed.frames, change.use_of_room())?;
        if writer.out.end() >= self.segment_size / 2 {
            self.want_next();
        }
        self.take_effect(writer, &change, sealed);
        Ok(writer.state.sequence)
    }

    /// Refuses what does not fit the log as it is now.
    fn plan(
        &self,
        writer: &Writer,
        change: &Change,
        installed: Option<&Installed>,
    ) -> Result<(LogId, State)> {
        let state = &writer.state;
        let copied = installed.and_then(|installed| installed.copy_of);
        if copied.is_some() && copied != state.snapshot {
            return Err(Misuse::State("a copy of a snapshot that was replaced").into());
        }
        let current = state.snapshot.map(|_| writer.extra.snapshot_at);
        // A copy covers what is covered already.
        let Some(at) = installed.filter(|_| copied.is_none()).map(|installed| installed.at) else {
            return change.plan(state, current, &self.index());
        };
        // What a snapshot covers only grows, and what was purged is in no other place.
        let purged = (state.purged != LogId::START).then_some(state.purged);
        for known in current.into_iter().chain(purged) {
            // A purge point that no snapshot gave has no era.
            let other = at.index == known.index && at.era != known.era && known.era != Era::NONE;
            if at.index < known.index || other {
                let (index, after) = (at.index, known.index);
                return Err(Misuse::NotIncreasing { index, after }.into());
            }
        }
        let index = self.index();
        if at.index <= state.committed.index && index.id_at(at.index).is_some() && !index.holds(at)
        {
            return Err(
                Misuse::State("a snapshot contradicts what is known to be committed").into()
            );
        }
        change.plan(state, Some(at), &index)
    }

    /// Appends, if need be in the room that was meant for the next segment.
    fn append(&self, out: &mut Appender, frames: &Frames, for_what: Use) -> Result<()> {
        let written = match out.append(frames, self.segment_size, for_what) {
            Err(Unwritten::Full(_)) if self.give_back() => {
                out.append(frames, self.segment_size, for_what)
            }
            written => written,
        };
        match written {
            Ok(()) => Ok(()),
            Err(Unwritten::Full(error)) => Err(error),
            Err(Unwritten::Unknown(error)) => self.or_poison(Err(error)),
        }
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
        if state.purged != LogId::START {
            let first = state.purged.index.saturating_add(1);
            if state.last == state.purged {
                index.truncate(first);
            }
            index.drop_before(first);
        } else if state.last == LogId::START {
            index.truncate(0);
        }
        if let Some(segment) = index.segments.get_mut(&writer.segment) {
            let cells = sealed.meta.iter().map(|(_, cell)| cell).chain([&sealed.state_cell]);
            let named = sealed.entries.iter().chain(cells.map(SealedCell::in_flight));
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
        self.spare.put(sealed.frames);
        writer.in_flight.extend(sealed.entries);
        writer.in_flight.push(sealed.state_cell.into_in_flight());
        if let Some(old) = writer.state.snapshot.filter(|_| sealed.header.is_some()) {
            writer.replaced.push(old);
        }
        (writer.state, writer.extra, writer.heads) = (sealed.state, sealed.extra, sealed.heads);
        let meta = sealed.meta.is_some();
        if let Some((meta, cell)) = sealed.meta {
            writer.meta = meta;
            writer.in_flight.push(cell.into_in_flight());
        }
        let header = sealed.header.is_some();
        if let Some((header, _)) = sealed.header {
            writer.snapshot = Some(header);
        }
        self.view.show(writer, meta, header);
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
