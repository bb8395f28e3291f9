//! Reading: several entries with one read, each opened where it stands in memory.

use core::ops::{Bound, RangeBounds};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{self, RECORD};
use super::index::Slot;
use super::{Inner, Store};
use crate::error::{Error, Result};
use crate::fs::File;
use crate::seal::{Era, Log, LogId};
use crate::secret::SecretBytes;
use crate::wal;

/// How much is read at once, in bytes, unless one entry is longer.
const BLOCK: u64 = 1 << 20;

/// Entries that stand one after the other in one file.
struct Run {
    file: Arc<dyn File>,
    path: PathBuf,
    start: u64,
    len: usize,
    entries: Vec<(LogId, Option<Era>, Slot)>,
}

impl Store {
    /// Gives the entries of `range` that the log holds to `each`, in order. Others may read and
    /// write meanwhile.
    ///
    /// The plaintext stands in memory that is wiped; it is gone when `each` returns.
    ///
    /// # Errors
    ///
    /// The error of `each`; [`Error::Unauthentic`] for an entry that was altered, is of another
    /// place or of another node; [`Error::UnknownDek`]; [`Error::Damaged`], with its place, for one
    /// that cannot be read; [`Error::Io`].
    pub fn read<E: From<Error>>(
        &self,
        range: impl RangeBounds<u64>,
        mut each: impl FnMut(LogId, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(from) => from.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let mut block = SecretBytes::new();
        loop {
            let run = self.inner.run(from, end);
            let run = run.inspect_err(|e| self.inner.stats.failed(e)).map_err(E::from)?;
            let Some(run) = run else { return Ok(()) };
            self.inner.load(&run, &mut block)?;
            for (id, prev, slot) in &run.entries {
                let opened = self.inner.open_entry(&run, *id, *prev, *slot, &mut block);
                each(*id, opened.inspect_err(|e| self.inner.stats.failed(e))?)?;
                from = id.index.saturating_add(1);
            }
        }
    }

    /// One entry; `None` if the log does not hold it.
    ///
    /// # Errors
    ///
    /// As [`Store::read`].
    pub fn entry(&self, index: u64) -> Result<Option<(LogId, SecretBytes)>> {
        let mut found = None;
        self.read(index..=index, |id, plain| {
            found = Some((id, SecretBytes::from(plain)));
            Ok::<(), Error>(())
        })?;
        Ok(found)
    }
}

impl Inner {
    /// The next entries from `from` on, before `end`, that can be read at once.
    fn run(&self, from: u64, end: u64) -> Result<Option<Run>> {
        let index = self.index();
        let held = index.range();
        let mut run: Option<Run> = None;
        for at in from.max(held.start)..end.min(held.end) {
            let Some(slot) = index.get(at) else { break };
            if slot.len == 0 {
                if run.is_some() {
                    break;
                }
                return Err(Error::damaged("the entry is lost").in_file(&self.dir).at_index(at));
            }
            let prev = match at.checked_sub(1).and_then(|before| index.get(before)) {
                None => Some(index.purged.era),
                // It is lost: what the entry itself names must do.
                Some(before) if before.len == 0 => None,
                Some(before) => Some(Era::term(before.era)),
            };
            let id = LogId::new(at, Era::term(slot.era));
            let stop = slot.offset() + u64::from(slot.len);
            match &mut run {
                None => {
                    let Some(segment) = index.segments.get(&slot.segment) else { break };
                    run = Some(Run {
                        file: Arc::clone(&segment.file),
                        path: segment.path.clone(),
                        start: slot.offset(),
                        len: usize::try_from(slot.len).unwrap_or(usize::MAX),
                        entries: vec![(id, prev, slot)],
                    });
                }
                Some(run) => {
                    let same = run.entries.first().is_some_and(|(.., first)| {
                        first.segment == slot.segment && first.place < slot.place
                    });
                    let len = stop.saturating_sub(run.start);
                    if !same || len > BLOCK {
                        break;
                    }
                    run.len = usize::try_from(len).unwrap_or(usize::MAX);
                    run.entries.push((id, prev, slot));
                }
            }
        }
        Ok(run)
    }

    fn load(&self, run: &Run, block: &mut SecretBytes) -> Result<()> {
        block.resize(run.len);
        read_exact(&*run.file, &run.path, run.start, block.expose_mut())
            .inspect_err(|e| self.stats.failed(e))
    }

    fn open_entry<'a>(
        &self,
        run: &Run,
        id: LogId,
        prev: Option<Era>,
        slot: Slot,
        block: &'a mut SecretBytes,
    ) -> Result<&'a [u8]> {
        let placed =
            |error: Error| error.in_file(&run.path).at_offset(slot.offset()).at_index(id.index);
        let damaged = || placed(Error::damaged("another entry than the one that was written"));
        let from = usize::try_from(slot.offset() - run.start).map_err(|_| damaged())?;
        let len = usize::try_from(slot.len).map_err(|_| damaged())?;
        let frame = block.expose_mut().get_mut(from..).and_then(|rest| rest.get_mut(..len));
        let frame = frame.ok_or_else(damaged)?;
        let (kind, data) = wal::take_frame(frame).map_err(placed)?;
        let data = frame.get_mut(data).ok_or_else(damaged)?;
        let (found, named, _) = format::parse_record(data).map_err(placed)?;
        if kind != RECORD || found != id {
            return Err(damaged());
        }
        let prev = prev.unwrap_or(named);
        let sealed = data.get_mut(format::RECORD_HEAD..).ok_or_else(damaged)?;
        let dek = Log::dek_of(sealed).map_err(placed)?;
        let bytes = u64::try_from(sealed.len()).unwrap_or(u64::MAX);
        let plain = self.log.open_in_place(id, prev, sealed).map_err(placed)?;
        self.stats.add().opened(dek, bytes);
        Ok(plain)
    }
}

/// Fills `out` from `offset`.
pub(super) fn read_exact(
    file: &dyn File,
    path: &Path,
    mut offset: u64,
    out: &mut [u8],
) -> Result<()> {
    let mut rest = out;
    while !rest.is_empty() {
        match file.read_at(rest, offset) {
            Ok(0) => {
                return Err(Error::damaged("the file is shorter than it was")
                    .in_file(path)
                    .at_offset(offset));
            }
            Ok(read) => {
                let read = read.min(rest.len());
                offset = offset.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
                rest = rest.split_at_mut(read).1;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("read", path, e)),
        }
    }
    Ok(())
}
