//! One segment, written anew piece by piece and put in the old one's place.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::File;
use crate::key::DekId;
use crate::seal::{InFlight, Log, LogId};
use crate::secret::SecretBytes;
use crate::store::format::{MAGIC, RECORD, record_head};
use crate::store::index::Slot;
use crate::store::read::Records;
use crate::store::{Inner, Store};
use crate::wal::{Appender, Frames, Kind};

/// A segment that is being written anew: its entries, under the active DEK, and nothing else.
///
/// Until it is put in its place nothing depends on it. One that is dropped before leaves nothing
/// behind, and the segment is begun again.
pub(super) struct Reseal {
    store: Store,
    segment: u32,
    old: Arc<dyn File>,
    out: Appender,
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

/// An entry of the segment: where it stood, and where it will.
struct Moved {
    id: LogId,
    old: Slot,
    new: Slot,
}

impl Reseal {
    /// Begins with `segment`; `None` if it has gone.
    pub(super) fn begin(store: &Store, segment: u32) -> Result<Option<Self>> {
        let inner = &store.inner;
        let (old, next) = {
            let index = inner.index();
            let Some(entry) = index.segments.get(&segment) else { return Ok(None) };
            (Arc::clone(&entry.file), index.first_in(segment))
        };
        let temp = inner.temp();
        let file = inner.fs.create_new(&temp).map_err(|e| Error::io("create", &temp, e))?;
        let out = Appender::new(file.into(), temp.clone(), 0, 0);
        let mut begun = Self {
            store: store.clone(),
            segment,
            old,
            out,
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
        frames.put(Kind::Metadata, &[MAGIC])?;
        begun.out.append(&frames, 0)?;
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
        let Some(run) = inner.run(self.next, u64::MAX, budget)? else { return Ok(0) };
        if !Arc::ptr_eq(&run.file, &self.old) {
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
            let frame = frames.put(RECORD, &[&record_head(*id, prev), record])?;
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
        self.out.append(&frames, 0)?;
        // Now, so that no later fsync has more to do than this.
        self.out.file().sync_data().map_err(|e| Error::io("sync", &self.temp, e))?;
        Ok(u64::try_from(records.len()).unwrap_or(u64::MAX))
    }

    /// Puts the new file in the old one's place, unless the segment went meanwhile.
    pub(super) fn put_in_place(mut self) -> Result<()> {
        let inner = Arc::clone(&self.store.inner);
        self.out.close()?;
        // What was left out must be gone in a state that is durable.
        let sequence = inner.writer().state.sequence;
        inner.sync(sequence)?;
        let renamed = self.rename(&inner);
        // Until this returned either of the two files may be there, which are both whole.
        let synced = renamed.and_then(|renamed| if renamed { inner.sync_dir() } else { Ok(()) });
        inner.or_poison(synced)?;
        if let Some(entry) = inner.index_mut().segments.get_mut(&self.segment)
            && Arc::ptr_eq(&entry.file, self.out.file())
        {
            entry.settled = true;
        }
        self.in_flight.drain(..).for_each(InFlight::durable);
        let mut stats = inner.stats.add();
        stats.segments_resealed += 1;
        stats.bytes_resealed += self.bytes;
        Ok(())
    }

    fn rename(&mut self, inner: &Inner) -> Result<bool> {
        // A purge must not remove the file in between.
        let _writer = inner.writer();
        inner.intact()?;
        let path = {
            let index = inner.index();
            match index.segments.get(&self.segment) {
                Some(entry) if Arc::ptr_eq(&entry.file, &self.old) => entry.path.clone(),
                _ => return Ok(false),
            }
        };
        inner.fs.rename(&self.temp, &path).map_err(|e| Error::io("rename", &self.temp, e))?;
        self.placed = true;
        let mut index = inner.index_mut();
        if let Some(entry) = index.segments.get_mut(&self.segment) {
            // Not known to be there after a power cut.
            entry.settled = false;
            entry.file = Arc::clone(self.out.file());
            entry.deks = core::mem::take(&mut self.deks);
        }
        for moved in &self.moved {
            if index.get(moved.id.index) == Some(moved.old) {
                index.replace(moved.id.index, moved.new);
            }
        }
        Ok(true)
    }
}

impl Drop for Reseal {
    fn drop(&mut self) {
        if !self.placed {
            // If this fails, the next opening removes it.
            let _ = self.store.inner.fs.remove(&self.temp);
        }
    }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
