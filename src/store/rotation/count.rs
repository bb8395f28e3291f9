//! What a store names, counted frame by frame on the disk.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::File;
use crate::keyring::Sweep;
use crate::store::Inner;
use crate::store::format::{META, RECORD, RECORD_HEAD, SNAPSHOT, STATE, SnapshotHeader};
use crate::store::witness::Witness;
use crate::wal::{Record, SegmentReader, Step, Tail};

/// A segment that is counted: its number, its file and name.
type Counted = (u32, Arc<dyn File>, PathBuf);

/// How far a count has come.
pub(in crate::store) struct Count {
    /// The segment that is looked at, or is next.
    segment: u32,
    /// Where in it, and the chain there.
    offset: u64,
    chain: u32,
    /// The last segment when the count began, and its end. What is appended later is under the DEK
    /// that was active by then, or a later one.
    last: u32,
    end: u64,
    /// The snapshot's header when the count began, until it is found in the last segment. That segment
    /// may go before: then the header is in the next one, perhaps under the same, exposed DEK.
    header: Option<SnapshotHeader>,
}

impl Count {
    pub(in crate::store) fn new(inner: &Inner) -> Self {
        let writer = inner.writer();
        let (last, end) = (writer.segment, writer.out.end());
        let header = writer.snapshot.clone();
        Self { segment: 0, offset: 0, chain: 0, last, end, header }
    }

    /// Shows the next `budget` bytes of segments; `false` after the last.
    pub(in crate::store) fn go_on(
        &mut self,
        inner: &Inner,
        budget: u64,
        sweep: &mut Sweep,
    ) -> Result<bool> {
        let Some((id, file, path)) = self.at(inner)? else { return Ok(false) };
        if id != self.segment {
            (self.segment, self.offset, self.chain) = (id, 0, 0);
        }
        let open = id == self.last;
        let reader = SegmentReader::new(&*file, &path, open, Some(self.chain))?;
        let mut reader = reader.from(self.offset, Some(self.chain));
        let stop = self.offset.saturating_add(budget);
        while reader.position() < stop && !(open && reader.position() >= self.end) {
            match reader.next()? {
                Some(Step::Record(record)) => {
                    see(&reader, record, sweep)
                        .map_err(|e| e.in_file(&path).at_offset(record.offset))?;
                    self.header.take_if(|header| header[..] == *reader.data());
                }
                None | Some(Step::End { tail: Tail::Clean, .. }) => {
                    return Ok(self.go_to(id.saturating_add(1)));
                }
                Some(
                    Step::End { offset, .. }
                    | Step::Damage { offset, .. }
                    | Step::ChainBroken { offset },
                ) => {
                    let what = "a segment of which not everything can be read";
                    return Err(Error::damaged(what).in_file(&path).at_offset(offset));
                }
            }
        }
        if open && reader.position() >= self.end {
            return Ok(self.go_to(id.saturating_add(1)));
        }
        let lost = || Error::damaged("a chain of CRCs that was lost").in_file(&path);
        (self.offset, self.chain) = (reader.position(), reader.chain().ok_or_else(lost)?);
        Ok(true)
    }

    /// The segment to look at, of those that there were when the count began.
    fn at(&self, inner: &Inner) -> Result<Option<Counted>> {
        let mut from = self.segment;
        while from <= self.last {
            let found = {
                let index = inner.index();
                let found = index.segments.range(from..=self.last).next();
                found.and_then(|(id, entry)| {
                    Some((index.place(*id)?, entry.path.clone(), entry.going))
                })
            };
            let Some((place, path, going)) = found else { return Ok(None) };
            from = place.segment;
            match inner.open_segment(place, &path) {
                Ok(Some(file)) => return Ok(Some((place.segment, file, path))),
                // Replaced or removed just now.
                Ok(None) => {}
                Err(Error::Missing(_)) if going => from = from.saturating_add(1),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn go_to(&mut self, segment: u32) -> bool {
        (self.segment, self.offset, self.chain) = (segment, 0, 0);
        true
    }

    /// Shows what is in no segment.
    pub(in crate::store) fn finish(self, inner: &Inner, sweep: &mut Sweep) -> Result<()> {
        self.header.iter().try_for_each(|header| sweep.see(&header[..]))?;
        let cells = Witness::sealed(&*inner.fs, &inner.dir)?;
        cells.iter().try_for_each(|cell| sweep.see(cell))
    }
}

fn see(reader: &SegmentReader<'_>, record: Record, sweep: &mut Sweep) -> Result<()> {
    let data = reader.data();
    let sealed = match record.kind {
        RECORD => data.get(RECORD_HEAD..),
        STATE => data.get(16..),
        META => data.get(8..),
        SNAPSHOT => Some(data),
        _ => return Ok(()),
    };
    sweep.see(sealed.ok_or_else(|| Error::damaged("too short for its kind"))?)
}
