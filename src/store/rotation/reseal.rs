//! One segment, written anew and put in the old one's place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::{self, File};
use crate::key::DekId;
use crate::seal::{Era, InFlight, Log, LogId};
use crate::secret::SecretBytes;
use crate::store::Inner;
use crate::store::format::{self, MAGIC, RECORD, RECORD_HEAD, record_head};
use crate::store::index::Slot;
use crate::store::read::read_exact;
use crate::wal::{self, Appender, Frames, Kind};

/// How much is sealed before it is written, in bytes.
const BLOCK: usize = 1 << 20;

/// An entry of a segment that is written anew: where it stood, and where it will.
struct Moved {
    id: LogId,
    prev: Option<Era>,
    old: Slot,
    new: Slot,
}

impl Inner {
    /// Writes a segment anew: its entries, under the active DEK, and nothing else.
    pub(super) fn reseal(&self, segment: u32) -> Result<()> {
        let Some((file, path, mut entries)) = self.entries_of(segment) else { return Ok(()) };
        // What is left out must be gone in a state that is durable.
        let sequence = self.writer().state.sequence;
        self.sync(sequence)?;
        let temp = self.temp();
        let copied = self.copy(&temp, (&*file, &path), &mut entries);
        let replaced = copied.and_then(|(out, in_flight, deks)| {
            let replaced = self.replace(segment, &file, &temp, &out, &entries, deks);
            in_flight.into_iter().for_each(InFlight::durable);
            replaced
        });
        if !matches!(replaced, Ok(true)) {
            fs::remove_if_there(&*self.fs, &temp)?;
        }
        replaced.map(drop)
    }

    fn entries_of(&self, segment: u32) -> Option<(Arc<dyn File>, PathBuf, Vec<Moved>)> {
        let index = self.index();
        let entry = index.segments.get(&segment)?;
        let mut prev = Some(index.purged.era);
        let mut entries = Vec::new();
        for at in index.range() {
            let Some(slot) = index.get(at) else { break };
            let lost = slot.len == 0;
            if slot.segment == segment && !lost {
                let id = LogId::new(at, Era::term(slot.era));
                entries.push(Moved { id, prev, old: slot, new: slot });
            }
            prev = (!lost).then_some(Era::term(slot.era));
        }
        Some((Arc::clone(&entry.file), entry.path.clone(), entries))
    }

    /// Copies entries into a new file, sealed anew where they are not under the active DEK.
    fn copy(
        &self,
        temp: &Path,
        (file, path): (&dyn File, &Path),
        entries: &mut [Moved],
    ) -> Result<(Appender, Vec<InFlight>, Vec<DekId>)> {
        let copy = self.fs.create_new(temp).map_err(|e| Error::io("create", temp, e))?;
        let mut out = Appender::new(copy.into(), temp.to_owned(), 0, 0);
        let mut frames = Frames::new(0);
        frames.put_crc()?;
        frames.put(Kind::Metadata, &[MAGIC])?;
        let mut block = SecretBytes::new();
        let (mut in_flight, mut deks) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        for moved in entries {
            let damaged = |what| {
                Error::damaged(what)
                    .in_file(path)
                    .at_offset(moved.old.offset())
                    .at_index(moved.id.index)
            };
            let other = || damaged("another entry than the one that was written");
            block.resize(usize::try_from(moved.old.len).map_err(|_| other())?);
            read_exact(file, path, moved.old.offset(), block.expose_mut())?;
            let (kind, data) = wal::take_frame(block.expose()).map_err(|_| other())?;
            let data = block.expose_mut().get_mut(data).ok_or_else(other)?;
            let (id, named, _) = format::parse_record(data)?;
            if kind != RECORD || id != moved.id {
                return Err(other());
            }
            let prev = moved.prev.unwrap_or(named);
            let sealed = data.get_mut(RECORD_HEAD..).ok_or_else(other)?;
            if let Some(held) = self.log.reseal(id, prev, sealed)? {
                bytes += u64::try_from(sealed.len()).unwrap_or(u64::MAX);
                if in_flight.iter().all(|other: &InFlight| other.dek() != held.dek()) {
                    in_flight.push(held);
                }
            }
            let dek = Log::dek_of(sealed)?;
            if !deks.contains(&dek) {
                deks.push(dek);
            }
            let frame = frames.put(RECORD, &[&record_head(id, prev), sealed])?;
            let start = u64::try_from(frame.start).map_err(|_| other())?;
            moved.new = Slot {
                place: u32::try_from((out.end() + start) / 8).map_err(|_| other())?,
                len: u32::try_from(frame.len()).map_err(|_| other())?,
                ..moved.old
            };
            if frames.bytes().len() >= BLOCK {
                out.append(&frames, 0)?;
                let chain = out.chain();
                frames = Frames::reuse(frames.into_bytes(), chain);
            }
        }
        out.append(&frames, 0)?;
        out.close()?;
        let mut stats = self.stats.add();
        stats.segments_resealed += 1;
        stats.bytes_resealed += bytes;
        Ok((out, in_flight, deks))
    }

    /// Puts the new file in the old one's place, unless the segment went meanwhile.
    fn replace(
        &self,
        segment: u32,
        old: &Arc<dyn File>,
        temp: &Path,
        out: &Appender,
        entries: &[Moved],
        deks: Vec<DekId>,
    ) -> Result<bool> {
        // Held over the rename: a purge must not remove the file in between.
        let _writer = self.writer();
        self.intact()?;
        let path = {
            let index = self.index();
            match index.segments.get(&segment) {
                Some(entry) if Arc::ptr_eq(&entry.file, old) => entry.path.clone(),
                _ => return Ok(false),
            }
        };
        let renamed = self.fs.rename(temp, &path).map_err(|e| Error::io("rename", temp, e));
        self.or_poison(renamed.and_then(|()| self.sync_dir()))?;
        let mut index = self.index_mut();
        if let Some(entry) = index.segments.get_mut(&segment) {
            (entry.file, entry.deks, entry.settled) = (Arc::clone(out.file()), deks, true);
        }
        for moved in entries {
            if index.get(moved.id.index) == Some(moved.old) {
                index.replace(moved.id.index, moved.new);
            }
        }
        Ok(true)
    }
}
