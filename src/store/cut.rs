//! Segments: begun, ended, removed.

use std::path::Path;
use std::sync::Arc;

use super::Inner;
use super::format::{MAGIC, SNAPSHOT};
use super::index::Segment;
use super::write::Writer;
use crate::error::{Error, Misuse, Result};
use crate::fs;
use crate::seal::Streams;
use crate::wal::{Appender, Frames, Kind, SegmentName};

impl Inner {
    /// Ends the last segment and begins the next, which holds all that is not entries: nothing but
    /// entries is read from the segments before it.
    pub(super) fn cut(&self, writer: &mut Writer) -> Result<()> {
        writer.out.close()?;
        // What stood in it is durable.
        writer.in_flight.clear();
        writer.durable = writer.state.sequence;
        let named = writer.named.checked_add(1).ok_or(Misuse::OutOfBounds("segments"))?;
        let segment = writer.segment.checked_add(1).ok_or(Misuse::OutOfBounds("segments"))?;
        let first_index = writer.state.last.index.saturating_add(1);
        let path = self.dir.join(SegmentName { sequence: named, first_index }.to_string());
        let temp = if let Some(prepared) = self.next.take() {
            writer.out = Appender::prepared(prepared.file, path, prepared.allocated);
            prepared.temp
        } else {
            let temp = self.temp();
            let file = self.fs.create_new(&temp).map_err(|e| Error::io("create", &temp, e))?;
            writer.out = Appender::new(file.into(), path, 0, 0);
            temp
        };
        (writer.segment, writer.named) = (segment, named);
        self.begin_segment(writer, &temp)
    }

    /// Fills a new segment with all that is not entries and makes it durable with its name; `temp`
    /// is the one that it has so far.
    pub(super) fn begin_segment(&self, writer: &mut Writer, temp: &Path) -> Result<()> {
        let mut frames = Frames::new(0);
        let mut in_flight = Vec::new();
        frames.put_crc()?;
        frames.put(Kind::Metadata, &[MAGIC])?;
        if writer.extra.meta != 0 {
            let cell = self.put_meta(&mut frames, &writer.meta, writer.extra.meta)?;
            in_flight.push(cell.into_in_flight());
        }
        if let Some(header) = &mut writer.snapshot {
            in_flight.extend(self.streams.reseal_header(&self.stream, header)?);
            frames.put(SNAPSHOT, &[&header[..]])?;
        }
        let durable = writer.state.sequence;
        let cell = self.put_state(&mut frames, &writer.state, &writer.extra, durable)?;
        in_flight.push(cell.into_in_flight());

        let out = &mut writer.out;
        out.append(&frames, self.segment_size)?;
        out.file().sync_data().map_err(|e| Error::io("sync", temp, e))?;
        self.fs.rename(temp, out.path()).map_err(|e| Error::io("rename", temp, e))?;
        self.sync_dir()?;

        let mut entry = Segment::new(out.path().to_owned(), Arc::clone(out.file()), true);
        for held in in_flight {
            entry.name_dek(held.dek());
            held.durable();
        }
        if let Some(header) = &writer.snapshot {
            // It may have been under the active DEK already.
            entry.name_dek(Streams::dek_of(&header[..])?);
        }
        self.index_mut().segments.insert(writer.segment, entry);
        Ok(())
    }

    /// The segments before the last one that hold no entry of the log.
    pub(super) fn dead_segments(&self, last: u32) -> Vec<u32> {
        let index = self.index();
        let dead = index.segments.range(..last).filter(|(_, entry)| entry.live == 0);
        dead.map(|(id, _)| *id).collect()
    }

    /// Removes segments that hold no entry in a state that is durable.
    pub(super) fn drop_segments(&self, dead: &[u32]) -> Result<()> {
        let removed: Vec<Segment> = {
            // A rotation may be about to put another file in the place of one.
            let _writer = self.writer();
            let mut index = self.index_mut();
            dead.iter().filter_map(|id| index.segments.remove(id)).collect()
        };
        if removed.is_empty() {
            return Ok(());
        }
        for segment in removed {
            fs::remove_if_there(&*self.fs, &segment.path)?;
        }
        self.sync_dir()
    }
}
