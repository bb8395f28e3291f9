//! A segment's frames, gathered into changes.

use std::path::Path;

use super::{Damage, Reading};
use crate::error::{Error, Place, Result};
use crate::fs::File;
use crate::key::DekId;
use crate::keyring::KeyspaceId;
use crate::seal::{Cells, Era, Log, LogId, Streams};
use crate::store::chain::{Chain, Heads};
use crate::store::format::{self, META, RECORD, SNAPSHOT, STATE, SnapshotHeader, TABLE};
use crate::store::index::Slot;
use crate::store::table::{self, Part, Table};
use crate::wal::{Check, Kind, Record, SegmentReader, Step, Tail};

/// One change as it is stored.
#[derive(Default)]
pub(super) struct Change {
    pub(super) records: Vec<(LogId, Era, Slot)>,
    pub(super) deks: Vec<DekId>,
    pub(super) meta: Option<(u64, Vec<u8>)>,
    pub(super) snapshot: Option<SnapshotHeader>,
    /// What it adds to the table.
    pub(super) table: Option<Vec<Part>>,
    pub(super) sequence: u64,
    /// Up to which sequence changes were durable when this one was written.
    pub(super) durable: u64,
    /// Empty if no state ends the change.
    pub(super) state: Vec<u8>,
    pub(super) end: u64,
    pub(super) chain: u32,
    /// The chain up to its end, in the last segment.
    pub(super) heads: Option<Heads>,
    /// The first corruption since the change before.
    pub(super) damage: Option<Damage>,
    /// Before which of the records something is lost; their count for what is behind the last.
    pub(super) gaps: Vec<usize>,
}

/// A segment's changes, and what follows them.
pub(super) struct Segment {
    /// The last one has no state if none is behind it.
    pub(super) changes: Vec<Change>,
    /// Behind the last frame there are zeros alone.
    pub(super) clean: bool,
    /// The chain of all of it.
    pub(super) chain: Chain,
}

/// Reads the segment with the number `number` in its name; `last`: no other follows it.
pub(super) fn read(
    file: &dyn File,
    path: &Path,
    (segment, number, last): (u32, u64, bool),
    reading: &Reading<'_>,
) -> Result<Segment> {
    let mut reader = SegmentReader::new(file, path, last, Some(0))?;
    let (mut changes, mut clean, mut owned) = (Vec::new(), false, false);
    let (mut change, mut heads) = (Change::default(), Heads::new(number));
    let note = |change: &mut Change, offset, what| {
        let place = Place { file: Some(path.to_owned()), offset: Some(offset), index: None };
        change.damage.get_or_insert(Damage { what, place });
    };
    let lose = |change: &mut Change, offset, what| {
        note(change, offset, what);
        change.gaps.push(change.records.len());
    };
    while let Some(step) = reader.next()? {
        match step {
            Step::Record(record) => {
                if matches!(record.check, Check::DataAltered | Check::Unfollowed) {
                    lose(&mut change, record.offset, "an altered frame");
                    continue;
                }
                hold(record, &reader, reading.keyspace).map_err(|e| e.in_file(path))?;
                if !owned && record.kind != Kind::Crc {
                    owned = true;
                    if record.kind != Kind::Metadata {
                        note(&mut change, record.offset, "a segment that does not say whose it is");
                    }
                }
                if record.check != Check::Good || record.odd_word {
                    note(&mut change, record.offset, "an altered frame");
                }
                heads.stored(record.kind, reader.data());
                let taken = change.take(record, &reader, segment, reading);
                match taken.map_err(|e| e.in_file(path).at_offset(record.offset)) {
                    Ok(true) => {
                        change.heads = last.then(|| heads.clone());
                        changes.push(core::mem::take(&mut change));
                    }
                    Ok(false) => {}
                    Err(Error::Damaged { what, .. }) => lose(&mut change, record.offset, what),
                    // No CRC covers a frame's kind, so that this may be corruption too.
                    Err(Error::Unsupported { .. }) if reading.accept => {
                        lose(&mut change, record.offset, "a frame of another version");
                    }
                    Err(other) => return Err(other),
                }
            }
            Step::ChainBroken { offset } => lose(&mut change, offset, "a broken chain of CRCs"),
            Step::Damage { offset, what, .. } => lose(&mut change, offset, what),
            Step::End { offset, tail } => match tail {
                Tail::Clean => clean = true,
                Tail::Torn(what) | Tail::Damaged(what) => lose(&mut change, offset, what),
                Tail::Garbage { at, .. } => lose(&mut change, at, "bytes behind the last frame"),
            },
        }
    }
    changes.push(change);
    Ok(Segment { changes, clean, chain: heads.chain() })
}

impl Segment {
    /// How many of the last segment's changes count, if `sequence` is that of the one before them.
    pub(super) fn counted(&self, mut sequence: u64, reading: &Reading<'_>) -> usize {
        let durable = self.changes.iter().map(|change| change.durable);
        let durable = durable.fold(reading.witnessed, u64::max);
        let counts = |change: &&Change| {
            let damaged = change.damage.is_some() && sequence >= durable;
            let behind = reading.beside && change.sequence > durable;
            sequence = change.sequence;
            !damaged && !behind && !change.state.is_empty()
        };
        self.changes.iter().take_while(counts).count()
    }

    /// The table as of the last change that counts; `None` if the segment does not begin with it.
    pub(super) fn table(&self, reading: &Reading<'_>) -> Option<Table> {
        let first = self.changes.first().filter(|change| change.damage.is_none())?;
        first.table.as_ref()?;
        let mut table = Table::default();
        let counted = self.changes.iter().take(self.counted(0, reading));
        counted.filter_map(|change| change.table.clone()).for_each(|parts| table.add(parts));
        Some(table)
    }
}

/// Refuses a segment that begins with the id of another keyspace.
pub(super) fn hold_to_keyspace(file: &dyn File, path: &Path, keyspace: KeyspaceId) -> Result<()> {
    let mut reader = SegmentReader::new(file, path, true, Some(0))?;
    while let Some(Step::Record(record)) = reader.next()? {
        match record.kind {
            Kind::Crc => {}
            _ if record.check != Check::Good => break,
            _ => return hold(record, &reader, keyspace).map_err(|e| e.in_file(path)),
        }
    }
    Ok(())
}

/// Refuses the frame that says whose a segment is if that is another keyspace.
fn hold(record: Record, reader: &SegmentReader<'_>, keyspace: KeyspaceId) -> Result<()> {
    match format::parse_owner(reader.data()) {
        Ok(owner)
            if record.kind == Kind::Metadata
                && record.check == Check::Good
                && owner != keyspace =>
        {
            Err(Error::damaged("a segment of another keyspace").at_offset(record.offset))
        }
        _ => Ok(()),
    }
}

impl Change {
    /// Adds a frame; reports whether it ends the change.
    fn take(
        &mut self,
        record: Record,
        reader: &SegmentReader<'_>,
        segment: u32,
        reading: &Reading<'_>,
    ) -> Result<bool> {
        let data = reader.data();
        let short = || Error::damaged("too short for its kind");
        match record.kind {
            Kind::Crc => {}
            Kind::Metadata => drop(format::parse_owner(data)?),
            RECORD => {
                let (id, prev, sealed) = format::parse_record(data)?;
                self.name_dek(Log::dek_of(sealed)?);
                // Behind what is lost no CRC says that it is whole, and it is to vouch for others.
                let unverified = reading.accept && record.check == Check::Unverified;
                if unverified && !(reading.authentic)(id, prev, sealed) {
                    return Err(Error::damaged("an altered frame"));
                }
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
            TABLE => self.table.get_or_insert_default().extend(table::decode(data)?),
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
