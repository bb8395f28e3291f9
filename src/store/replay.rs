//! Reads a log's folder: which entries there are, where they stand, and where the log ends.
//!
//! A change counts once its state frame is whole. In the last segment, what comes after the last
//! change that is whole was never acknowledged, unless something says that it was durable: a later
//! state frame, or the witness.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::format::{self, MAGIC, META, RECORD, SNAPSHOT, STATE, SnapshotHeader};
use super::index::{Index, Segment, Slot, Slots};
use crate::error::{Error, Place, Result};
use crate::fs::{File, Fs};
use crate::key::DekId;
use crate::seal::{Cells, Era, Log, LogId, State, Streams};
use crate::wal::{self, Check, Kind, Record, SegmentReader, Step, Tail};

/// What is wrong with a log that was opened all the same, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// What is wrong.
    pub what: &'static str,
    /// Where.
    pub place: Place,
}

/// No entry takes less in a segment, in bytes: as many may be lost to damage as there was room for, and a
/// larger gap is another mistake.
const LEAST: u64 = 64;

/// What stands in a folder.
#[derive(Default)]
pub(super) struct Found {
    pub(super) index: Index,
    /// The entries so far. Between two runs there is a gap: a purge that went beyond the log's end,
    /// or segments in which everything was replaced and which have gone.
    runs: Vec<Run>,
    /// Entries that do not name the era of the one before them, and the one that they name.
    breaks: BTreeMap<u64, Era>,
    /// How many entries more may be lost.
    room: u64,
    /// The last change: its sequence and its sealed state.
    pub(super) sequence: u64,
    pub(super) state: Vec<u8>,
    pub(super) meta: Option<(u64, Vec<u8>)>,
    pub(super) snapshot: Option<SnapshotHeader>,
    /// The last segment: its number here and in its name, where its last whole change ends, and
    /// the chain there.
    pub(super) last: u32,
    pub(super) named: u64,
    pub(super) end: u64,
    pub(super) chain: u32,
    /// Where the last segment stops to be whole, if it does.
    pub(super) torn: Option<Damage>,
    /// Damage amid what is whole.
    pub(super) damages: Vec<Damage>,
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
}

/// One change as it stands.
#[derive(Default)]
struct Change {
    records: Vec<(LogId, Era, Slot)>,
    deks: Vec<DekId>,
    meta: Option<(u64, Vec<u8>)>,
    snapshot: Option<SnapshotHeader>,
    sequence: u64,
    /// Up to which sequence changes were durable when this one was written.
    durable: u64,
    state: Vec<u8>,
    end: u64,
    chain: u32,
    /// The first damage since the change before.
    damage: Option<Damage>,
}

/// Reads all segments. Opens nothing that is sealed, and changes nothing.
///
/// # Errors
///
/// [`Error::Unsupported`] for what another version wrote; what the system says.
pub(super) fn replay(fs: &dyn Fs, dir: &Path, witness: u64) -> Result<Found> {
    let (segments, _) = wal::list(fs, dir)?;
    let mut found = Found::default();
    let count = segments.len();
    for (n, segment) in segments.into_iter().enumerate() {
        let file = fs.open_read(&segment.path).map_err(|e| Error::io("open", &segment.path, e))?;
        let file: Arc<dyn File> = file.into();
        let id = u32::try_from(n).map_err(|_| Error::damaged("too many segments").in_file(dir))?;
        let last = n + 1 == count;
        found.room += file.len().map_err(|e| Error::io("stat", &segment.path, e))? / LEAST;
        let changes = read(&*file, &segment.path, last, id)?;
        let path = segment.path;
        found.index.segments.insert(id, Segment::new(path, file, false));
        (found.last, found.named) = (id, segment.name.sequence);
        if last {
            found.end_of_log(id, changes, witness);
        } else {
            // A segment that others follow was whole when they were begun.
            changes.into_iter().for_each(|change| found.take(id, change));
        }
    }
    Ok(found)
}

/// The changes of a segment. The last one has no state if none stands behind it.
fn read(file: &dyn File, path: &Path, last: bool, segment: u32) -> Result<Vec<Change>> {
    let mut reader = SegmentReader::new(file, path, last, Some(0))?;
    let mut changes = Vec::new();
    let mut change = Change::default();
    let note = |change: &mut Change, offset, what| {
        let place = Place { file: Some(path.to_owned()), offset: Some(offset), index: None };
        change.damage.get_or_insert(Damage { what, place });
    };
    while let Some(step) = reader.next()? {
        match step {
            Step::Record(record) => {
                if record.check != Check::Good || record.odd_word {
                    note(&mut change, record.offset, "an altered frame");
                }
                if matches!(record.check, Check::DataAltered | Check::Unfollowed) {
                    continue;
                }
                let taken = change.take(record, &reader, segment);
                match taken.map_err(|e| e.in_file(path).at_offset(record.offset)) {
                    Ok(true) => changes.push(core::mem::take(&mut change)),
                    Ok(false) => {}
                    Err(Error::Damaged { what, .. }) => note(&mut change, record.offset, what),
                    Err(other) => return Err(other),
                }
            }
            Step::ChainBroken { offset } => note(&mut change, offset, "a broken chain of CRCs"),
            Step::Damage { offset, what, .. } => note(&mut change, offset, what),
            Step::End { offset, tail } => match tail {
                Tail::Clean => {}
                Tail::Torn(what) | Tail::Damaged(what) => note(&mut change, offset, what),
                Tail::Garbage { at, .. } => note(&mut change, at, "bytes behind the last frame"),
            },
        }
    }
    changes.push(change);
    Ok(changes)
}

impl Change {
    /// Adds a frame; whether it ends the change.
    fn take(&mut self, record: Record, reader: &SegmentReader<'_>, segment: u32) -> Result<bool> {
        let data = reader.data();
        let short = || Error::damaged("too short for its kind");
        match record.kind {
            Kind::Crc => {}
            Kind::Metadata if data == MAGIC => {}
            Kind::Metadata => return Err(Error::unsupported("segment", "of another version")),
            RECORD => {
                let (id, prev, sealed) = format::parse_record(data)?;
                self.name_dek(Log::dek_of(sealed)?);
                let out_of_range = || Error::damaged("a frame out of range");
                let slot = Slot {
                    era: id.era.get(),
                    segment,
                    place: u32::try_from(record.offset / 8).map_err(|_| out_of_range())?,
                    len: u32::try_from(reader.position().saturating_sub(record.offset))
                        .map_err(|_| out_of_range())?,
                };
                self.records.push((id, prev, slot));
            }
            META => {
                let (sequence, sealed) = format::number(data).ok_or_else(short)?;
                self.name_dek(Cells::dek_of(sealed)?);
                self.meta = Some((sequence, sealed.to_vec()));
            }
            SNAPSHOT => {
                self.name_dek(Streams::dek_of(data)?);
                self.snapshot = Some(format::parse_snapshot(data)?);
            }
            STATE => {
                let (sequence, rest) = format::number(data).ok_or_else(short)?;
                let (durable, sealed) = format::number(rest).ok_or_else(short)?;
                self.name_dek(Cells::dek_of(sealed)?);
                (self.sequence, self.durable, self.state) = (sequence, durable, sealed.to_vec());
                self.end = reader.position();
                self.chain = reader.chain().unwrap_or_default();
                return Ok(true);
            }
            other => return Err(Error::unsupported("frame", format_args!("{other:?}"))),
        }
        Ok(false)
    }

    fn name_dek(&mut self, dek: DekId) {
        if !self.deks.contains(&dek) {
            self.deks.push(dek);
        }
    }
}

impl Found {
    /// Takes the changes of the last segment, up to where nothing says that more was durable.
    fn end_of_log(&mut self, segment: u32, changes: Vec<Change>, witness: u64) {
        let durable = changes.iter().map(|change| change.durable).fold(witness, u64::max);
        for mut change in changes {
            if (change.damage.is_some() && self.sequence >= durable) || change.state.is_empty() {
                self.torn = change.damage.take();
                return;
            }
            (self.end, self.chain) = (change.end, change.chain);
            self.take(segment, change);
        }
    }

    fn take(&mut self, segment: u32, change: Change) {
        self.damages.extend(change.damage);
        for (id, prev, slot) in change.records {
            self.entry(id, prev, slot);
        }
        if let Some(segment) = self.index.segments.get_mut(&segment) {
            change.deks.into_iter().for_each(|dek| segment.name_dek(dek));
        }
        self.meta = change.meta.or(self.meta.take());
        self.snapshot = change.snapshot.or(self.snapshot.take());
        if !change.state.is_empty() {
            (self.sequence, self.state) = (change.sequence, change.state);
        }
    }

    /// Adds an entry, in place of those from its index on.
    fn entry(&mut self, id: LogId, prev: Era, slot: Slot) {
        self.breaks.split_off(&id.index);
        while self.runs.pop_if(|run| run.first >= id.index).is_some() {}
        match self.runs.last_mut() {
            Some(run) if run.end() >= id.index => {
                run.slots.truncate(id.index - run.first);
            }
            Some(run) if !self.damages.is_empty() && id.index - run.end() <= self.room => {
                self.room -= id.index - run.end();
                while run.end() < id.index {
                    run.slots.push(Slot { len: 0, era: 0, ..slot });
                }
            }
            _ => self.runs.push(Run { first: id.index, prev, slots: Slots::default() }),
        }
        let Some(run) = self.runs.last_mut() else { return };
        if run.slots.last().is_some_and(|before| before.len != 0 && before.era != prev.get()) {
            self.breaks.insert(id.index, prev);
        }
        run.slots.push(slot);
    }

    /// Leaves the entries that `state` says there are.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if they are not all there, or do not follow each other.
    pub(super) fn settle_on(&mut self, state: &State) -> Result<()> {
        let (last, purged) = (state.last, state.purged);
        self.index.purged = purged;
        if last == purged {
            return Ok(());
        }
        let missing = |index| Err(Error::damaged("entries are missing").at_index(index));
        while self.runs.pop_if(|run| run.first > last.index).is_some() {}
        let Some(run) = self.runs.pop() else { return missing(last.index) };
        let (prev, end) = (run.prev, run.end());
        self.index.adopt(run.first, run.slots);
        self.index.truncate(last.index.saturating_add(1));
        let start = match purged {
            LogId::START if run.first <= 1 => run.first,
            LogId::START => return missing(run.first - 1),
            purged => purged.index.saturating_add(1),
        };
        if run.first > start || end <= last.index {
            return missing(if run.first > start { start } else { end });
        }
        let prev = match (self.breaks.get(&start), self.index.get(purged.index)) {
            // What was purged need not be what stands there: the log went on after an entry that it
            // did not hold.
            (Some(prev), _) => *prev,
            (None, Some(slot)) if run.first < start && slot.len != 0 => Era::term(slot.era),
            (None, Some(_)) if run.first < start => purged.era,
            _ => prev,
        };
        self.index.drop_before(start);
        let lost = self.index.get(last.index).is_some_and(|slot| slot.len == 0);
        if prev != purged.era || (!lost && self.index.id_at(last.index) != Some(last)) {
            let index = if prev != purged.era { start } else { last.index };
            return Err(Error::damaged("an entry of another history").at_index(index));
        }
        match self.breaks.range(start.saturating_add(1)..).next() {
            Some((index, _)) => Err(Error::damaged("an entry of another history").at_index(*index)),
            None => Ok(()),
        }
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
