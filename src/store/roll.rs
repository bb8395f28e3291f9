//! Segments: begun and ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Inner;
use super::chain::Heads;
use super::format::{Extra, MAGIC, SNAPSHOT, SnapshotHeader, TABLE};
use super::frames::put;
use super::index::Segment;
use super::snapshot::STREAM;
use super::sync::Synced;
use super::table::{self, Part};
use super::write::Writer;
use crate::error::{Error, Misuse, Result};
use crate::fs;
use crate::seal::{InFlight, Streams};
use crate::wal::{Appender, Frames, Kind, SegmentName, Use};

/// A new segment that is whole and durable, but for its name.
struct Begun {
    out: Appender,
    heads: Heads,
    temp: PathBuf,
    header: Option<SnapshotHeader>,
    in_flight: Vec<InFlight>,
}

impl Inner {
    /// Ends the last segment if it is full. Where there is no room for another one, a change that
    /// needs little goes into the one that there is.
    pub(super) fn roll_if_full(&self, for_what: Use) -> Result<()> {
        let mut synced = self.synced();
        let mut writer = self.writer();
        self.intact()?;
        // Another may have done so.
        if writer.out.end() < self.segment_size {
            return Ok(());
        }
        match self.roll(&mut synced, &mut writer) {
            Err(Error::Io { source, .. }) if for_what == Use::Reserve && fs::is_full(&source) => {
                self.intact()
            }
            rolled => rolled,
        }
    }

    /// Ends the last segment and begins the next, which holds all that is not entries: nothing but
    /// entries is read from the segments before it.
    ///
    /// If it fails without poisoning the store, the last segment is still in use.
    pub(super) fn roll(&self, synced: &mut Synced, writer: &mut Writer) -> Result<()> {
        let named = writer.named.checked_add(1).ok_or(Misuse::OutOfBounds("segments"))?;
        let segment = writer.segment.checked_add(1).ok_or(Misuse::OutOfBounds("segments"))?;
        let first_index = writer.state.last.index.saturating_add(1);
        let path = self.dir.join(SegmentName { sequence: named, first_index }.to_string());
        let parts = {
            let index = self.index();
            let mut parts = index.listed(writer.segment);
            let ended = index.segments.get(&writer.segment).map(|entry| entry.number);
            parts.extend(ended.map(|number| (number, vec![writer.heads.chain()])));
            parts
        };
        let begun = self.begin_segment(writer, (path, named), &parts)?;

        let closed = writer.out.close();
        let (id, path) = (writer.out.id(), Arc::clone(writer.out.path()));
        let kept = closed.and_then(|()| synced.named.check(&*self.fs, id, &path));
        self.or_poison(kept)?;
        // What is in it is durable.
        writer.in_flight.clear();
        synced.sequence = writer.state.sequence;
        self.view.seen().durable = synced.sequence;
        synced.replaced.append(&mut writer.replaced);
        self.name_segment(writer, (segment, named), begun)
    }

    /// Makes a new segment of a first state.
    pub(super) fn first_segment(&self, writer: &mut Writer) -> Result<()> {
        let path = self.dir.join(SegmentName { sequence: 1, first_index: 1 }.to_string());
        let begun = self.begin_segment(writer, (path, 1), &[])?;
        self.name_segment(writer, (writer.segment, 1), begun)
    }

    /// Fills a new segment with all that is not entries and makes it durable under a temporary name.
    fn begin_segment(
        &self,
        writer: &Writer,
        (path, named): (PathBuf, u64),
        parts: &[Part],
    ) -> Result<Begun> {
        let (mut frames, mut heads) = (Frames::new(0), Heads::new(named));
        let mut in_flight = Vec::new();
        frames.put_crc()?;
        put(&mut frames, &mut heads, Kind::Metadata, &[MAGIC, self.keyspace.id_bytes()])?;
        put(&mut frames, &mut heads, TABLE, &[&table::encode(parts)?])?;
        if writer.extra.meta != 0 {
            let cell = self.put_meta(&mut frames, &mut heads, &writer.meta, writer.extra.meta)?;
            in_flight.push(cell.into_in_flight());
        }
        let mut header = writer.snapshot.clone();
        if let Some(header) = &mut header {
            match self.streams.reseal_header(STREAM, header) {
                // Under its exposed DEK until a rotation has copied the snapshot under another content key.
                Err(Error::Misuse(Misuse::ExposedStream)) => {}
                resealed => in_flight.extend(resealed?),
            }
            put(&mut frames, &mut heads, SNAPSHOT, &[&header[..]])?;
        }
        let durable = writer.state.sequence;
        let extra = Extra { chain: heads.chain(), ..writer.extra };
        let cell = self.put_state(&mut frames, &writer.state, &extra, durable)?;
        in_flight.push(cell.into_in_flight());

        let (mut out, temp) = match self.take_next() {
            Some(prepared) => {
                (Appender::new(prepared.file, path, (0, prepared.allocated), 0), prepared.temp)
            }
            None => {
                let temp = self.temp();
                let file = self.fs.create_new(&temp).map_err(|e| Error::io("create", &temp, e))?;
                (Appender::new(file.into(), path, (0, 0), 0), temp)
            }
        };
        let written = self.fill(&mut out, &frames, &temp);
        if let Err(error) = written {
            // If this fails too, the next opening removes it.
            let _ = self.fs.remove(&temp);
            return Err(error);
        }
        Ok(Begun { out, heads, temp, header, in_flight })
    }

    /// Writes and syncs what a segment begins with. Whatever fails, that file alone is lost.
    fn fill(&self, out: &mut Appender, frames: &Frames, temp: &Path) -> Result<()> {
        use crate::wal::Unwritten::{Full, Unknown};
        let mut written = out.append(frames, self.segment_size, Use::Entries);
        if matches!(written, Err(Full(_))) && self.give_back() {
            written = out.append(frames, self.segment_size, Use::Entries);
        }
        written.map_err(|(Full(error) | Unknown(error))| error)?;
        out.file().sync_data().map_err(|e| Error::io("sync", temp, e))
    }

    /// Gives a new segment its name, durably: from then on it is the last.
    fn name_segment(
        &self,
        writer: &mut Writer,
        (segment, named): (u32, u64),
        begun: Begun,
    ) -> Result<()> {
        let Begun { out, heads, temp, header, in_flight } = begun;
        if let Err(e) = self.fs.rename(&temp, out.path()) {
            let full = fs::is_full(&e);
            let renamed = Err(Error::io("rename", &temp, e));
            if full && self.fs.remove(&temp).is_ok() {
                return renamed;
            }
            return self.or_poison(renamed);
        }
        self.sync_dir()?;

        let mut entry = Segment::new(out.path().to_path_buf(), named, true);
        for held in in_flight {
            entry.name_dek(held.dek());
            held.durable();
        }
        let resealed = header.is_some();
        if let Some(header) = &header {
            // It may have been under the active DEK already.
            entry.name_dek(Streams::dek_of(&header[..])?);
        }
        let mut index = self.index_mut();
        let dead = index.dead_but_listed(writer.segment);
        index.unlist(&dead);
        if let Some(ended) = index.segments.get_mut(&writer.segment) {
            (ended.listed, ended.chains) = (true, vec![writer.heads.chain()]);
        }
        index.segments.insert(segment, entry);
        drop(index);
        (writer.segment, writer.named, writer.snapshot) = (segment, named, header);
        writer.heads = heads;
        writer.out = out;
        self.view.show(writer, false, resealed);
        Ok(())
    }
}
