//! Reads a log's directory: which entries there are, where they are stored, and where the log ends.
//!
//! A change counts once its state frame is whole. In the last segment, what comes after the last
//! change that is whole was never acknowledged, unless something says that it was durable: a later
//! state frame, or the witness.
//!
//! # Corruption
//!
//! What is lost may have been a truncation, and entries that replaced others. So what is stored before
//! a gap counts only if something says so: the entry behind the gap, by the era that it names as that
//! of the entry before it (a leader's entries of one era never differ from each other), or a state
//! before the gap, by what was committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::chain::Heads;
use super::format::SnapshotHeader;
use super::index::{Index, Segment, Slot, Slots};
use super::names;
use super::table::Table;
use crate::error::{Error, Place, Result};
use crate::fs::Fs;
use crate::keyring::KeyspaceId;
use crate::seal::{Era, LogId, State};
use crate::wal;

mod change;

use change::Change;

/// Corruption that was skipped when a log was opened, and its location.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// What is wrong.
    pub what: &'static str,
    /// Where.
    pub place: Place,
}

impl Damage {
    pub(super) fn in_file(what: &'static str, path: &Path) -> Self {
        let place = Place { file: Some(path.to_owned()), ..Place::default() };
        Self { what, place }
    }
}

/// No entry takes less in a segment, in bytes: as many may be lost to corruption as there was room for,
/// and a larger gap is another mistake.
const LEAST: u64 = 64;
/// How many entries a segment that is gone may have held, and all of them together.
const GONE: u64 = 1 << 18;
const ALL_GONE: u64 = 1 << 22;

/// How a log is read.
pub(super) struct Reading<'a> {
    /// Whose the segments must be.
    pub(super) keyspace: KeyspaceId,
    /// The sequence up to which changes are known to be durable.
    pub(super) witnessed: u64,
    /// Gaps are left in the log.
    pub(super) accept: bool,
    /// Another may write: what is not known to be durable does not count.
    pub(super) beside: bool,
    /// What was committed as a sealed state cell has it; 0 if it cannot be opened.
    pub(super) committed: &'a dyn Fn(&[u8]) -> u64,
    /// Reports whether a sealed entry is the one that it says it is.
    pub(super) authentic: &'a dyn Fn(LogId, Era, &[u8]) -> bool,
}

/// What is stored in a directory.
#[derive(Default)]
pub(super) struct Found {
    pub(super) index: Index,
    /// The entries so far. Between two runs there is a gap: a purge that went beyond the log's end,
    /// or segments in which everything was replaced and which have gone.
    runs: Vec<Run>,
    /// Entries that do not name the era of the one before them.
    breaks: BTreeMap<u64, Break>,
    /// The last state in the segment of the last entry, if gaps are left in the log: no segment that is
    /// gone comes before it and behind that entry.
    entered: Vec<u8>,
    /// How many entries more may be lost.
    room: u64,
    /// Something is lost behind the last entry: up to where entries were committed before.
    gap: Option<u64>,
    /// The last change: its sequence and its sealed state.
    pub(super) sequence: u64,
    pub(super) state: Vec<u8>,
    pub(super) meta: Option<(u64, Vec<u8>)>,
    pub(super) snapshot: Option<SnapshotHeader>,
    /// The last segment: its number here and in its name, where its last whole change ends, and
    /// the chain of CRCs there.
    pub(super) last: u32,
    pub(super) named: u64,
    pub(super) end: u64,
    pub(super) chain: u32,
    /// The chain of the last segment, up to that end.
    pub(super) heads: Heads,
    /// Behind that end there are zeros alone.
    pub(super) clean: bool,
    /// Where the last segment stops being whole, if it does.
    pub(super) torn: Option<Damage>,
    /// Segments that do not count any more.
    pub(super) leftovers: Vec<PathBuf>,
    /// Corruption amid what is whole.
    pub(super) damages: Vec<Damage>,
}

/// An entry that does not name the era of the one before it.
#[derive(Clone, Copy)]
struct Break {
    /// The era that it names.
    prev: Era,
    /// What was committed before it, if gaps are left in the log.
    committed: u64,
}

/// Entries without a gap.
struct Run {
    first: u64,
    /// The era that the first one names as that of the entry before it.
    prev: Era,
    slots: Slots,
}

impl Run {
    fn end(&self) -> u64 {
        self.first + self.slots.len()
    }

    /// Adds entries that are lost.
    fn lose(&mut self, count: u64, segment: u32) {
        let lost = Slot { era: 0, segment, place: 0, len: 0 };
        (0..count).for_each(|_| self.slots.push(lost));
    }
}

/// The segment that entries count for which are lost between two others: the first that is corrupted, so
/// that it stays as long as they are the log's.
fn lost_in(index: &Index, before: u32, behind: u32) -> u32 {
    let mut between = index.segments.range(before..=behind.max(before));
    between.find(|(_, segment)| segment.damaged).map_or(behind, |(id, _)| *id)
}

/// Refuses a segment of another keyspace.
pub(super) fn hold_to_keyspace(fs: &dyn Fs, segment: &Path, keyspace: KeyspaceId) -> Result<()> {
    let file = fs.open_read(segment).map_err(|e| Error::io("open", segment, e))?;
    change::hold_to_keyspace(&*file, segment, keyspace)
}

/// Reads all segments that count. Opens no entry, and changes nothing.
///
/// # Errors
///
/// [`Error::Damaged`] for a segment of another keyspace, whatever is accepted: nothing in it opens;
/// [`Error::Unsupported`] for what another version wrote; what the system says.
pub(super) fn replay(fs: &dyn Fs, dir: &Path, reading: &Reading<'_>) -> Result<Found> {
    let mut segments = names::segments(fs, dir)?;
    let mut found = Found::default();
    let Some(last) = segments.pop() else { return Ok(found) };
    let id = |n| u32::try_from(n).map_err(|_| Error::damaged("too many segments").in_file(dir));
    let last_id = id(segments.len())?;
    // Which segments count is in the last one.
    let last_read = found.read(fs, &last, (last_id, true), reading)?;
    let table = last_read.table(reading);
    if table.is_none() && !reading.accept {
        found.damages.push(Damage::in_file("a segment without its table", &last.path));
    }
    for (n, segment) in segments.into_iter().enumerate() {
        let number = segment.name.sequence;
        let listed = table.as_ref().map(|table| table.get(number));
        if listed == Some(None) {
            // One of another keyspace must not be removed as one of this.
            hold_to_keyspace(fs, &segment.path, reading.keyspace)?;
            found.leftovers.push(segment.path);
            continue;
        }
        let listed = listed.flatten();
        if number == found.named {
            found.damages.push(Damage::in_file("a second segment of one number", &segment.path));
            continue;
        }
        found.miss(table.as_ref(), number, dir, reading);
        let id = id(n)?;
        let read = found.read(fs, &segment, (id, false), reading)?;
        let other = listed.is_some_and(|chains| !chains.contains(&read.chain));
        let whole = read.changes.iter().all(|change| change.damage.is_none());
        let mut entry = Segment::new(segment.path, number, false);
        (entry.listed, entry.damaged) = (true, other);
        entry.chains = listed.cloned().unwrap_or_else(|| vec![read.chain]);
        if other && whole {
            found.damages.push(Damage::in_file("another segment than was written", &entry.path));
        }
        found.index.segments.insert(id, entry);
        found.named = number;
        // A segment that others follow was whole when they were begun.
        read.changes.into_iter().for_each(|change| found.take(id, change, reading));
    }
    let number = last.name.sequence;
    found.miss(table.as_ref(), number, dir, reading);
    found.index.segments.insert(last_id, Segment::new(last.path, number, false));
    (found.last, found.named, found.heads) = (last_id, number, Heads::new(number));
    found.end_of_log(last_id, last_read, reading);
    Ok(found)
}

impl Found {
    /// The file of the last segment.
    pub(super) fn last_path(&self) -> Option<PathBuf> {
        self.index.segments.get(&self.last).map(|segment| segment.path.clone())
    }

    fn read(
        &mut self,
        fs: &dyn Fs,
        segment: &wal::Segment,
        (id, last): (u32, bool),
        reading: &Reading<'_>,
    ) -> Result<change::Segment> {
        let path = &segment.path;
        let file = fs.open_read(path).map_err(|e| Error::io("open", path, e))?;
        self.room += file.len().map_err(|e| Error::io("stat", path, e))? / LEAST;
        change::read(&*file, path, (id, segment.name.sequence, last), reading)
    }

    /// Notes the segments that are missing between the last one that was read and `number`: those that
    /// the table lists, if there is one.
    fn miss(&mut self, table: Option<&Table>, number: u64, dir: &Path, reading: &Reading<'_>) {
        let missing = match table {
            Some(table) => table.between(self.named, number),
            None => number.saturating_sub(self.named.saturating_add(1)),
        };
        if reading.accept {
            self.room += missing.saturating_mul(GONE).min(ALL_GONE);
        }
        if table.is_some() && missing != 0 {
            self.damages.push(Damage::in_file("a segment is missing", dir));
        }
    }

    /// Takes the changes of the last segment, up to where nothing says that more was durable.
    fn end_of_log(&mut self, segment: u32, read: change::Segment, reading: &Reading<'_>) {
        let count = read.counted(self.sequence, reading);
        let mut changes = read.changes.into_iter();
        for change in changes.by_ref().take(count) {
            (self.end, self.chain) = (change.end, change.chain);
            self.heads = change.heads.clone().unwrap_or_default();
            self.take(segment, change, reading);
        }
        self.clean = read.clean;
        if let Some(mut change) = changes.next() {
            let behind = !change.state.is_empty() && change.damage.is_none();
            self.clean &= change.records.is_empty() && change.damage.is_none() && !behind;
            self.torn = change.damage.take();
        }
    }

    fn take(&mut self, segment: u32, change: Change, reading: &Reading<'_>) {
        if let Some(entry) = self.index.segments.get_mut(&segment) {
            change.deks.into_iter().for_each(|dek| entry.name_dek(dek));
            entry.damaged |= change.damage.is_some();
        }
        let mut committed = None;
        let mut gap = |found: &mut Self| {
            let committed = *committed.get_or_insert_with(|| (reading.committed)(&found.state));
            found.gap = Some(found.gap.map_or(committed, |before| before.min(committed)));
        };
        self.damages.extend(change.damage);
        let mut gaps = change.gaps.into_iter().peekable();
        for (n, (id, prev, slot)) in change.records.into_iter().enumerate() {
            while gaps.next_if(|at| *at <= n).is_some() {
                gap(self);
            }
            let contradicted = self.entry(id, prev, slot).filter(|_| reading.accept);
            if let Some(found) = contradicted.and_then(|at| self.breaks.get_mut(&at)) {
                found.committed = (reading.committed)(&self.entered);
            }
        }
        gaps.for_each(|_| gap(self));
        let last = self.runs.last().and_then(|run| run.slots.last());
        let same = last.is_some_and(|last| last.segment == segment);
        if reading.accept && same && !change.state.is_empty() {
            self.entered.clone_from(&change.state);
        }
        self.meta = change.meta.or(self.meta.take());
        self.snapshot = change.snapshot.or(self.snapshot.take());
        if !change.state.is_empty() {
            (self.sequence, self.state) = (change.sequence, change.state);
        }
    }

    /// Adds an entry, in place of those from its index on. Returns where something contradicts what is
    /// stored before it.
    fn entry(&mut self, id: LogId, prev: Era, slot: Slot) -> Option<u64> {
        while self.runs.pop_if(|run| run.first >= id.index).is_some() {}
        if let Some(run) = self.runs.last_mut() {
            run.slots.truncate(id.index.saturating_sub(run.first));
        }
        self.breaks.split_off(&self.runs.last().map_or(0, Run::end));
        self.vouch(prev);
        // Also where entries are missing in between.
        let before = self.runs.last().and_then(|run| Some((run.end(), run.slots.last()?)));
        let other = |last: Slot| last.len != 0 && last.era != prev.get();
        let contradicted = before.filter(|(_, last)| other(*last)).map(|(end, _)| end);
        match self.runs.last_mut() {
            Some(run) if run.end() >= id.index => {}
            Some(run) if !self.damages.is_empty() && id.index - run.end() <= self.room => {
                self.room -= id.index - run.end();
                let before = run.slots.last().map_or(0, |slot| slot.segment);
                run.lose(id.index - run.end(), lost_in(&self.index, before, slot.segment));
            }
            _ => self.runs.push(Run { first: id.index, prev, slots: Slots::default() }),
        }
        let run = self.runs.last_mut()?;
        if let Some(at) = contradicted {
            self.breaks.insert(at, Break { prev, committed: 0 });
        }
        run.slots.push(slot);
        contradicted
    }

    /// Behind a gap something names `era` as that of an entry at, or behind, the last one: what was
    /// stored before the gap counts if it is of that era, or was committed.
    fn vouch(&mut self, era: Era) {
        let Some(committed) = self.gap.take() else { return };
        let Some(run) = self.runs.last_mut() else { return };
        if run.slots.last().is_some_and(|last| last.len != 0 && last.era == era.get()) {
            return;
        }
        let first = committed.saturating_add(1).max(run.first);
        if first < run.end() {
            run.slots.lose(first - run.first, u64::MAX);
            self.breaks.split_off(&first);
            self.may_be_replaced(first);
        }
    }

    fn may_be_replaced(&mut self, first: u64) {
        let place = Place { file: None, offset: None, index: Some(first) };
        self.damages.push(Damage { what: "entries that may have been replaced", place });
    }

    /// The state is behind everything, and names the era of the last entry: as an entry behind that
    /// one would.
    fn end_with(&mut self, last: LogId, committed: &dyn Fn(&[u8]) -> u64) {
        if let Some(run) = self.runs.last_mut() {
            run.slots.truncate(last.index.saturating_add(1).saturating_sub(run.first));
        }
        self.vouch(last.era);
        if let Some(run) = self.runs.last()
            && run.slots.last().is_some_and(|slot| slot.len != 0 && slot.era != last.era.get())
        {
            let committed = committed(&self.entered);
            self.breaks.insert(run.end(), Break { prev: last.era, committed });
        }
    }

    /// Takes the entries for lost that something contradicts which was stored later: the entries
    /// that replaced them were in a segment that is gone, which no frame tells.
    fn lose_contradicted(&mut self, start: u64, last: LogId) {
        let Some(run) = self.runs.last_mut() else { return };
        let breaks = self.breaks.split_off(&start.saturating_add(1));
        let mut lost = Vec::new();
        for (index, Break { committed, .. }) in breaks {
            let from = committed.saturating_add(1).max(start).max(run.first);
            if from < index && index <= last.index.saturating_add(1) {
                run.slots.lose(from - run.first, index - run.first);
                lost.push(from);
            }
        }
        lost.into_iter().for_each(|from| self.may_be_replaced(from));
    }

    /// Leaves the entries that `state` says there are; with `accept`, lost ones among them.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if they are not all there, or do not follow each other.
    pub(super) fn settle_on(&mut self, state: &State, reading: &Reading<'_>) -> Result<()> {
        let accept = reading.accept;
        let (last, purged) = (state.last, state.purged);
        self.index.purged = purged;
        if last == purged {
            return Ok(());
        }
        while self.runs.pop_if(|run| run.first > last.index).is_some() {}
        let begins = if accept { self.runs.first() } else { self.runs.last() };
        let start = match (purged, begins) {
            (LogId::START, Some(run)) if run.first <= 1 => run.first,
            (LogId::START, _) => 1,
            (purged, _) => purged.index.saturating_add(1),
        };
        if accept {
            self.end_with(last, reading.committed);
            self.close_gaps(start, last);
            self.lose_contradicted(start, last);
        }
        let missing = |index| Err(Error::damaged("entries are missing").at_index(index));
        let Some(run) = self.runs.pop() else { return missing(last.index) };
        let (first, prev, end) = (run.first, run.prev, run.end());
        self.index.adopt(first, run.slots);
        self.index.truncate(last.index.saturating_add(1));
        if first > start || end <= last.index {
            return missing(if first > start { start } else { end });
        }
        let lost = |index: u64| self.index.get(index).is_some_and(|slot| slot.len == 0);
        let prev = match (self.breaks.get(&start), self.index.get(purged.index)) {
            _ if lost(start) => purged.era,
            // What was purged need not be what is stored: the log went on after an entry that it did
            // not hold.
            (Some(found), _) => found.prev,
            (None, Some(slot)) if first < start && slot.len != 0 => Era::term(slot.era),
            (None, Some(_)) if first < start => purged.era,
            _ => prev,
        };
        let end_lost = lost(last.index);
        self.index.drop_before(start);
        if prev != purged.era || (!end_lost && self.index.id_at(last.index) != Some(last)) {
            let index = if prev != purged.era { start } else { last.index };
            return Err(Error::damaged("an entry of another history").at_index(index));
        }
        match self.breaks.range(start.saturating_add(1)..).next() {
            Some((index, _)) if *index <= last.index => {
                Err(Error::damaged("an entry of another history").at_index(*index))
            }
            _ => Ok(()),
        }
    }

    /// Makes one run of what is left between `start` and `last`, with lost entries where the log has
    /// none. Without corruption, and where more is missing than was stored, it stays as it is.
    fn close_gaps(&mut self, start: u64, last: LogId) {
        let whole =
            self.runs.last().is_some_and(|run| run.first <= start && run.end() > last.index);
        if whole {
            return;
        }
        let mut joined = Run { first: start, prev: Era::NONE, slots: Slots::default() };
        let mut lost = Vec::new();
        for run in core::mem::take(&mut self.runs) {
            if run.end() <= start {
                continue;
            }
            let behind = run.slots.get(0).map_or(self.last, |slot| slot.segment);
            if run.first > joined.end() {
                let gap = run.first - joined.end();
                lost.push((joined.end(), gap));
                if gap > self.room {
                    self.runs.push(run);
                    return;
                }
                self.room -= gap;
                let before = joined.slots.last().map_or(0, |slot| slot.segment);
                joined.lose(gap, lost_in(&self.index, before, behind));
            }
            if joined.slots.len() == 0 {
                (joined.first, joined.prev) = (run.first, run.prev);
            }
            joined.slots.append(run.slots);
        }
        if let Some(gap) = last.index.checked_add(1).and_then(|end| end.checked_sub(joined.end()))
            && gap > 0
            && gap <= self.room
        {
            lost.push((joined.end(), gap));
            let before = joined.slots.last().map_or(0, |slot| slot.segment);
            joined.lose(gap, lost_in(&self.index, before, self.last));
        }
        for (index, _) in lost {
            let place = Place { file: None, offset: None, index: Some(index) };
            self.damages.push(Damage { what: "entries are missing", place });
        }
        self.runs.push(joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else a record that names a far index would make it allocate for all that might be between.
    #[test]
    fn no_more_is_taken_for_lost_than_there_was_room_for() {
        let place = Place { file: None, offset: None, index: None };
        let damages = vec![Damage { what: "a test", place }];
        let mut found = Found { room: 10, damages, ..Found::default() };
        let era = Era::term(1);
        let mut ends = Vec::new();
        for index in [1, 5, 13, 15, 1 << 40] {
            let slot = Slot { era: 1, segment: 0, place: 0, len: 80 };
            found.entry(LogId::new(index, era), era, slot);
            ends.push((found.runs.len(), found.runs.last().unwrap().end(), found.room));
        }
        assert_eq!(ends, [(1, 2, 10), (1, 6, 7), (1, 14, 0), (2, 16, 0), (3, (1 << 40) + 1, 0)]);
    }
}
