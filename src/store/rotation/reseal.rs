//! One segment, written anew piece by piece and put in the old one's place.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::key::DekId;
use crate::seal::{InFlight, Log, LogId};
use crate::secret::SecretBytes;
use crate::store::chain::Heads;
use crate::store::cursor::Span;
use crate::store::format::{MAGIC, RECORD, record_head};
use crate::store::frames::put;
use crate::store::index::{Place, Slot};
use crate::store::read::Records;
use crate::store::{Inner, Store};
use crate::wal::{Appender, Frames, Kind, Unwritten, Use};

/// A segment that is being written anew: its entries, under the active DEK, and nothing else.
///
/// Until it is put in its place nothing depends on it. One that is dropped before leaves nothing
/// behind, and the segment is begun again.
pub(super) struct Reseal {
    store: Store,
    old: Place,
    out: Appender,
    heads: Heads,
    temp: PathBuf,
    placed: bool,
    /// The entry that is looked at next.
    next: u64,
    moved: Vec<Moved>,
    in_flight: Vec<InFlight>,
    deks: Vec<DekId>,
    /// Bytes of records that were sealed again.
    bytes: u64,
    block: SecretBytes,
}

/// An entry of the segment: where it was, and where it will be.
struct Moved {
    id: LogId,
    old: Slot,
    new: Slot,
}

impl Reseal {
    /// Begins with `segment`; `None` if it has gone.
    pub(super) fn begin(store: &Store, segment: u32) -> Result<Option<Self>> {
        let inner = &store.inner;
        let (old, number, next) = {
            let index = inner.index();
            let entry = index.segments.get(&segment).filter(|entry| !entry.going);
            let (Some(entry), Some(old)) = (entry, index.place(segment)) else { return Ok(None) };
            if entry.damaged {
                // In the copy nothing would tell what is lost.
                return Err(Error::damaged("a segment that is corrupted is not written again")
                    .in_file(&entry.path));
            }
            (old, entry.number, index.first_in(segment))
        };
        let temp = inner.temp();
        let file = inner.fs.create_new(&temp).map_err(|e| Error::io("create", &temp, e))?;
        let out = Appender::new(file.into(), temp.clone(), (0, 0), 0);
        let mut begun = Self {
            store: store.clone(),
            old,
            out,
            heads: Heads::new(number),
            temp,
            placed: false,
            next,
            moved: Vec::new(),
            in_flight: Vec::new(),
            deks: Vec::new(),
            bytes: 0,
            block: SecretBytes::new(),
        };
        let mut frames = Frames::new(0);
        frames.put_crc()?;
        put(&mut frames, &mut begun.heads, Kind::Metadata, &[MAGIC, inner.keyspace.id_bytes()])?;
        append(&mut begun.out, &frames)?;
        Ok(Some(begun))
    }

    /// How many entries were copied.
    pub(super) fn copied(&self) -> u64 {
        u64::try_from(self.moved.len()).unwrap_or(u64::MAX)
    }

    /// Writes the next entries, `budget` bytes of them or a single longer one, and makes them
    /// durable. Gives how many there were, 0 after the last.
    pub(super) fn go_on(&mut self, budget: u64) -> Result<u64> {
        let inner = Arc::clone(&self.store.inner);
        self.next = inner.index().skip_lost(self.next);
        let span = Span::of_any(self.next, u64::MAX);
        let Some(run) = inner.run(&span, budget)? else { return Ok(0) };
        if run.place != self.old {
            return Ok(0);
        }
        inner.load(&run, &mut self.block)?;
        let Records { after, mut records, failed } = run.records(self.block.expose_mut());
        if let Some(error) = failed {
            return Err(error);
        }
        let keys = inner.keyring.shared();
        let stale = |record: &[u8]| Ok(!keys.is_active(Log::dek_of(record)?));
        let stale = records.iter().map(|(_, record)| stale(record)).collect::<Result<Vec<_>>>()?;
        if stale.contains(&true) {
            if let Err((n, error)) = inner.log.open_batch(after, &mut records) {
                return Err(match records.get(n) {
                    Some((id, _)) => run.placed(error, *id),
                    None => error,
                });
            }
            inner.stats.opened(records.iter().map(|(_, record)| &**record));
            let held = inner.log.seal_batch(after, &mut records)?;
            let bytes = records.iter().map(|(_, record)| len(record)).sum::<u64>();
            let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
            inner.stats.add().sealed(held.dek(), count, bytes);
            self.bytes += bytes;
            if self.in_flight.iter().all(|other| other.dek() != held.dek()) {
                self.in_flight.push(held);
            }
        }
        let mut frames = Frames::new(self.out.chain());
        let mut prev = after.era;
        for ((id, record), (_, old)) in records.iter().zip(&run.entries) {
            let dek = Log::dek_of(record)?;
            if !self.deks.contains(&dek) {
                self.deks.push(dek);
            }
            let head = record_head(*id, prev);
            self.heads.entry(&head, record);
            let frame = frames.put(RECORD, &[&head, record])?;
            let out_of_range = || Error::damaged("a segment that is too long");
            let start = self.out.end() + u64::try_from(frame.start).unwrap_or(u64::MAX);
            let new = Slot {
                place: u32::try_from(start / 8).map_err(|_| out_of_range())?,
                len: u32::try_from(frame.len()).map_err(|_| out_of_range())?,
                ..*old
            };
            self.moved.push(Moved { id: *id, old: *old, new });
            (prev, self.next) = (id.era, id.index.saturating_add(1));
        }
        append(&mut self.out, &frames)?;
        // Now, so that no later fsync has more to do than this.
        self.out.file().sync_data().map_err(|e| Error::io("sync", &self.temp, e))?;
        Ok(u64::try_from(records.len()).unwrap_or(u64::MAX))
    }

    /// Puts the new file in the old one's place, unless the segment went meanwhile.
    pub(super) fn put_in_place(mut self) -> Result<()> {
        let inner = Arc::clone(&self.store.inner);
        self.out.close()?;
        // What was left out must be gone in a state that is durable.
        let announced = self.announce(&inner)?;
        announced.map(|sequence| inner.sync(sequence)).transpose()?;
        if let Some(placed) = self.rename(&inner)? {
            // Until this returned either of the two files may be there, which are both whole.
            inner.sync_dir()?;
            if let Some(entry) = inner.index_mut().segments.get_mut(&placed.segment)
                && entry.version == placed.version
            {
                entry.settled = true;
                entry.chains.truncate(1);
            }
        }
        self.in_flight.drain(..).for_each(InFlight::durable);
        let mut stats = inner.stats.add();
        stats.segments_resealed += 1;
        stats.bytes_resealed += self.bytes;
        Ok(())
    }

    /// Writes to the table that the segment's file may be either of the two; `None` if there is no place
    /// for the copy any more.
    fn announce(&self, inner: &Inner) -> Result<Option<u64>> {
        let mut writer = inner.writer();
        inner.intact()?;
        let Some(part) = inner.index().segments.get(&self.old.segment).and_then(|entry| {
            let stays = entry.version == self.old.version && entry.listed && !entry.going;
            let chains = entry.chains.iter().copied().chain([self.heads.chain()]);
            stays.then(|| (entry.number, chains.collect::<Vec<_>>()))
        }) else {
            return Ok(None);
        };
        let sequence = inner.write_table(&mut writer, core::slice::from_ref(&part))?;
        if let Some(entry) = inner.index_mut().segments.get_mut(&self.old.segment) {
            entry.chains = part.1;
        }
        Ok(Some(sequence))
    }

    /// Where the copy is then; `None` if there is no place for it any more.
    fn rename(&mut self, inner: &Inner) -> Result<Option<Place>> {
        // A purge must not remove the file in between.
        let _writer = inner.writer();
        inner.intact()?;
        // Held over the rename: who opens the file by its name must know which of the two it is.
        let mut index = inner.index_mut();
        let segment = self.old.segment;
        let placed = index.place(segment) == Some(self.old);
        let entry = index.segments.get_mut(&segment);
        let Some(entry) = entry.filter(|entry| placed && entry.listed && !entry.going) else {
            return Ok(None);
        };
        if let Err(e) = inner.fs.rename(&self.temp, &entry.path) {
            return inner.or_poison(Err(Error::io("rename", &self.temp, e)));
        }
        self.placed = true;
        // Not known to be there after a power cut.
        entry.settled = false;
        entry.version = entry.version.wrapping_add(1);
        entry.deks = core::mem::take(&mut self.deks);
        // The last of them is the one that was announced.
        entry.chains.rotate_right(1);
        let place = Place { segment, version: entry.version };
        inner.files.forget(segment);
        inner.files.put(place, Arc::clone(self.out.file()));
        for moved in &self.moved {
            if index.get(moved.id.index) == Some(moved.old) {
                index.replace(moved.id.index, moved.new);
            }
        }
        Ok(Some(place))
    }
}

/// Adds frames to a copy, which is as long as it needs to be.
fn append(out: &mut Appender, frames: &Frames) -> Result<()> {
    let written = out.append(frames, 0, Use::Copy);
    written.map_err(|(Unwritten::Full(error) | Unwritten::Unknown(error))| error)
}

impl Drop for Reseal {
    fn drop(&mut self) {
        // In a forked child the file is the parent's.
        if !self.placed && self.store.inner.process.is_current() {
            // If this fails, the next opening removes it.
            let _ = self.store.inner.fs.remove(&self.temp);
        }
    }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
