//! One sync at a time: what a failed one leaves is noted under the lock that orders the next one.
//!
//! On Linux the bytes that a sync could not write count as written afterwards, and of two syncs at
//! once only one may be told of the failure. So everything that syncs a segment holds
//! [`Inner::synced`], everything that syncs the directory [`Inner::names`], and whoever gets a lock
//! looks for an earlier failure before anything else.

use std::sync::{Arc, PoisonError};

use super::Inner;
use super::change::Change;
use super::named::Named;
use super::table::Part;
use super::witness::Witness;
use super::write::Writer;
use crate::error::{Error, Result};
use crate::fs;
use crate::keyring::Follower;
use crate::seal::{InFlight, StreamId};

/// What has been made durable.
pub(super) struct Synced {
    pub(super) sequence: u64,
    /// `None` in a store that is open read-only.
    pub(super) witness: Option<Witness>,
    pub(super) named: Named,
    /// Holds the DEKs of what a sync makes durable; kept for its memory.
    pub(super) in_flight: Vec<InFlight>,
    /// Snapshots that were replaced in a state which a segment's end made durable.
    pub(super) replaced: Vec<StreamId>,
}

/// What holds nothing any more in a state that is durable.
#[derive(Default)]
pub(super) struct Freed {
    segments: Vec<u32>,
    snapshots: Vec<StreamId>,
}

impl Follower for Inner {
    /// Writes a state, which holds the key file's epoch.
    fn record(&self) -> Result<()> {
        let recorded = self.write(Change::new(), None).and_then(|sequence| self.sync(sequence));
        recorded.map_err(|e| Error::Unrecorded { store: self.dir.clone(), source: Box::new(e) })
    }
}

impl Inner {
    /// Makes everything up to `sequence` durable, and what else is written already.
    pub(super) fn sync(&self, sequence: u64) -> Result<()> {
        let freed = self.sync_up_to(sequence, true)?;
        // The change is durable. What could not be removed is removed at the next opening.
        if let Err(error) = self.remove(freed) {
            self.stats.failed(&error);
        }
        Ok(())
    }

    /// As [`Inner::sync`], but leaves files that hold nothing any more.
    pub(super) fn sync_keeping(&self, sequence: u64) -> Result<()> {
        self.sync_up_to(sequence, false).map(drop)
    }

    fn sync_up_to(&self, sequence: u64, free: bool) -> Result<Freed> {
        let mut synced = self.synced();
        self.intact()?;
        if synced.sequence >= sequence {
            let snapshots = core::mem::take(&mut synced.replaced);
            return Ok(Freed { segments: Vec::new(), snapshots });
        }
        let done = self.sync_all(&mut synced, free);
        // Before the lock is released: nothing is acknowledged by a sync that comes after a failed one.
        self.or_poison(done)
    }

    fn sync_all(&self, synced: &mut Synced, free: bool) -> Result<Freed> {
        let (file, id, path, sequence, freed) = {
            let mut writer = self.writer();
            // Here: a change that comes during the fsync, which does not cover it, may free more.
            let segments = if free { self.unlist_dead(&mut writer)? } else { Vec::new() };
            synced.in_flight.append(&mut writer.in_flight);
            let file = Arc::clone(writer.out.file());
            let (id, path) = (writer.out.id(), Arc::clone(writer.out.path()));
            let mut snapshots = core::mem::take(&mut synced.replaced);
            snapshots.append(&mut writer.replaced);
            let freed = Freed { segments, snapshots };
            (file, id, path, writer.state.sequence, freed)
        };
        // The writer may go on meanwhile, up to the end of the segment.
        file.sync_data().map_err(|e| Error::io("sync", &path, e))?;
        synced.named.check(&*self.fs, id, &path)?;
        synced.in_flight.drain(..).for_each(InFlight::durable);
        synced.sequence = sequence;
        if let Some(witness) = &mut synced.witness {
            witness.write(&self.cells, sequence)?;
        }
        self.stats.add().fsyncs += 1;
        self.view.seen().durable = sequence;
        Ok(freed)
    }

    /// Writes to the table that segments do not count which hold nothing any more; returns all that are
    /// not listed, to be removed once that is durable. Where there is no room for it, they stay.
    pub(super) fn unlist_dead(&self, writer: &mut Writer) -> Result<Vec<u32>> {
        let (mut unlisted, mut listed, mut parts) = (Vec::new(), Vec::new(), Vec::<Part>::new());
        {
            let index = self.index();
            for id in index.dead(writer.segment) {
                match index.segments.get(&id).filter(|entry| entry.listed) {
                    Some(entry) => {
                        listed.push(id);
                        parts.push((entry.number, Vec::new()));
                    }
                    None => unlisted.push(id),
                }
            }
        }
        if listed.is_empty() {
            return Ok(unlisted);
        }
        match self.write_table(writer, &parts) {
            Err(Error::Io { source, .. }) if fs::is_full(&source) => self.intact()?,
            written => {
                written?;
                self.index_mut().unlist(&listed);
                unlisted.append(&mut listed);
            }
        }
        Ok(unlisted)
    }

    /// Makes the names in the directory durable.
    pub(super) fn sync_dir(&self) -> Result<()> {
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        self.intact()?;
        let synced = self.fs.sync_dir(&self.dir).map_err(|e| Error::io("sync", &self.dir, e));
        self.or_poison(synced)
    }

    /// Removes the files of what holds nothing any more.
    fn remove(&self, freed: Freed) -> Result<()> {
        let removed = freed
            .snapshots
            .into_iter()
            .try_for_each(|id| fs::remove_if_there(&*self.fs, &self.snapshot_path(id)));
        self.remove_segments(&freed.segments).and(removed)
    }

    /// Removes segments that hold no entry in a state that is durable.
    pub(super) fn remove_segments(&self, dead: &[u32]) -> Result<()> {
        if dead.is_empty() {
            return Ok(());
        }
        let mut going = Vec::new();
        {
            // A rotation may be about to put another file in the place of one.
            let _writer = self.writer();
            let mut index = self.index_mut();
            for id in dead {
                if let Some(entry) = index.segments.get_mut(id).filter(|entry| !entry.going) {
                    entry.going = true;
                    going.push((*id, entry.path.clone()));
                }
            }
        }
        if going.is_empty() {
            return Ok(());
        }
        let mut removed = Ok(());
        for (id, path) in going {
            let gone = fs::remove_if_there(&*self.fs, &path);
            let mut index = self.index_mut();
            match gone {
                Ok(()) => {
                    index.segments.remove(&id);
                    self.files.forget(id);
                }
                Err(error) => {
                    index.segments.entry(id).and_modify(|entry| entry.going = false);
                    removed = Err(error);
                }
            }
        }
        self.sync_dir().and(removed)
    }
}
