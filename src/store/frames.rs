//! Changes as they are stored: sealed, in frames.

use core::ops::Range;

use super::Inner;
use super::chain::Heads;
use super::change::Change;
use super::format::{
    self, Extra, META, Meta, RECORD, SNAPSHOT, STATE, SnapshotHeader, TABLE, meta_row, record_head,
};
use super::index::Slot;
use super::table::{self, Part};
use super::write::Writer;
use crate::error::{Error, Misuse, Result};
use crate::key::DekId;
use crate::seal::{Cells, InFlight, LogId, SealedCell, State, Streams};
use crate::wal::{Frames, Kind};

const META_TABLE: &str = "nodeseal/meta";

/// A change as it will be stored, and what follows from it.
pub(super) struct Sealed {
    pub(super) frames: Frames,
    pub(super) slots: Vec<Slot>,
    pub(super) entries: Option<InFlight>,
    pub(super) state: State,
    pub(super) state_cell: SealedCell,
    pub(super) extra: Extra,
    /// The chain, with these frames.
    pub(super) heads: Heads,
    /// The metadata, and its cell.
    pub(super) meta: Option<(Meta, SealedCell)>,
    /// A snapshot's header, and the DEK that it names.
    pub(super) header: Option<(SnapshotHeader, DekId)>,
}

impl Inner {
    /// Seals all of a change and makes its frames: whatever fails, nothing is written yet.
    pub(super) fn seal(
        &self,
        writer: &Writer,
        after: LogId,
        change: &mut Change,
        (state, mut extra, meta, header): (State, Extra, Option<Meta>, Option<SnapshotHeader>),
        parts: Option<&[Part]>,
    ) -> Result<Sealed> {
        let entries = self.seal_entries(after, change)?;
        let buffer = core::mem::take(&mut change.buffer).into_vec();
        let mut frames = Frames::over(buffer, writer.out.chain());
        let mut slots = Vec::with_capacity(change.entries.len());
        let mut heads = writer.heads.clone();
        let mut prev = after.era;
        for (id, record) in &change.entries {
            let head = record_head(*id, prev);
            let frame = frames.put_around(RECORD, &head, record.clone())?;
            heads.entry(&head, frames.bytes().get(record.clone()).ok_or(Misuse::Buffer)?);
            slots.push(writer.slot(*id, frame.start, frame.len())?);
            prev = id.era;
        }
        if let Some(parts) = parts {
            put(&mut frames, &mut heads, TABLE, &[&table::encode(parts)?])?;
        }
        let meta_cell =
            meta.as_ref().map(|meta| self.put_meta(&mut frames, &mut heads, meta, extra.meta));
        let meta = meta.zip(meta_cell.transpose()?);
        if let Some(header) = &header {
            put(&mut frames, &mut heads, SNAPSHOT, &[&header[..]])?;
        }
        let header_dek = header.as_ref().map(|header| Streams::dek_of(&header[..])).transpose()?;
        let header = header.zip(header_dek);
        let durable = self.view.seen().durable;
        extra.chain = heads.chain();
        let state_cell = self.put_state(&mut frames, &state, &extra, durable)?;
        Ok(Sealed { frames, slots, entries, state, state_cell, extra, heads, meta, header })
    }

    fn seal_entries(&self, after: LogId, change: &mut Change) -> Result<Option<InFlight>> {
        if change.entries.is_empty() {
            return Ok(None);
        }
        let (mut rest, mut at) = (change.buffer.expose_mut(), 0);
        let mut records = Vec::with_capacity(change.entries.len());
        for (id, range) in &change.entries {
            let (before, later) =
                rest.split_at_mut_checked(range.end - at).ok_or(Misuse::Buffer)?;
            records.push((*id, before.get_mut(range.start - at..).ok_or(Misuse::Buffer)?));
            (rest, at) = (later, range.end);
        }
        self.log.seal_batch(after, &mut records).map(Some)
    }

    pub(super) fn put_meta(
        &self,
        frames: &mut Frames,
        heads: &mut Heads,
        meta: &Meta,
        sequence: u64,
    ) -> Result<SealedCell> {
        let plain = format::encode_meta(meta)?;
        let row = meta_row(sequence);
        let cell = self.cells.seal_any(META_TABLE, &row, plain.expose())?;
        put(frames, heads, META, &[&sequence.to_le_bytes(), cell.bytes()])?;
        Ok(cell)
    }

    pub(super) fn put_state(
        &self,
        frames: &mut Frames,
        state: &State,
        extra: &Extra,
        durable: u64,
    ) -> Result<SealedCell> {
        let cell = self.cells.seal_state_with(state, &extra.to_bytes())?;
        let (sequence, durable) = (state.sequence.to_le_bytes(), durable.to_le_bytes());
        frames.put(STATE, &[&sequence, &durable, cell.bytes()])?;
        Ok(cell)
    }
}

/// Adds a frame, and its head to the chain.
pub(super) fn put(
    frames: &mut Frames,
    heads: &mut Heads,
    kind: Kind,
    parts: &[&[u8]],
) -> Result<Range<usize>> {
    heads.frame(kind, parts);
    frames.put(kind, parts)
}

/// Opens the metadata that was saved with the change `sequence`.
pub(super) fn open_meta(cells: &Cells, sequence: u64, sealed: &[u8]) -> Result<Meta> {
    format::decode_meta(cells.open_any(META_TABLE, &meta_row(sequence), sealed)?.expose())
}

impl Writer {
    /// Where a frame will be that begins `start` bytes behind the end.
    fn slot(&self, id: LogId, start: usize, len: usize) -> Result<Slot> {
        let too_large = || Error::from(Misuse::OutOfBounds("a segment"));
        let start = u64::try_from(start).map_err(|_| too_large())?;
        let place = self.out.end().checked_add(start).ok_or_else(too_large)? / 8;
        Ok(Slot {
            era: id.era.get(),
            segment: self.segment,
            place: u32::try_from(place).map_err(|_| too_large())?,
            len: u32::try_from(len).map_err(|_| too_large())?,
        })
    }
}
