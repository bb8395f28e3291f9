//! Reading: several entries with one read, each opened where it stands in memory.

use core::ops::{ControlFlow, RangeBounds};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cursor::Span;
use super::format::{self, RECORD};
use super::index::{Index, Place, Slot};
use super::{Inner, Store};
use crate::error::{Error, Result};
use crate::fs::File;
use crate::seal::{Era, LogId, RECORD_OVERHEAD};
use crate::secret::SecretBytes;
use crate::wal;

/// How much is read at once, in bytes, unless one entry is longer.
pub(super) const BLOCK: u64 = 256 << 10;

/// Entries that follow each other and are stored one after the other in one file.
pub(super) struct Run {
    pub(super) place: Place,
    file: Option<Arc<dyn File>>,
    path: PathBuf,
    start: u64,
    len: usize,
    /// The era of the entry before the first, if that one is known.
    prev: Option<Era>,
    pub(super) entries: Vec<(LogId, Slot)>,
}

/// Records in a block of memory.
#[derive(Default)]
pub(super) struct Records<'a> {
    /// The entry before the first: its era alone counts.
    pub(super) after: LogId,
    pub(super) records: Vec<(LogId, &'a mut [u8])>,
    /// What keeps the records behind from being taken.
    pub(super) failed: Option<Error>,
}

impl Store {
    /// Gives the entries of `range` that the log holds to `each`, in order: all of them as they are
    /// when it begins. Others may read and write meanwhile.
    ///
    /// The plaintext is in memory that is wiped; it is gone when `each` returns. [`Store::cursor`]
    /// has limits, and can be read on.
    ///
    /// # Errors
    ///
    /// [`Error::Compacted`] if the range begins with entries that were purged (one without a start
    /// begins with the first entry that there is); and as [`Cursor::read`](super::Cursor::read).
    pub fn read<E: From<Error>>(
        &self,
        range: impl RangeBounds<u64>,
        mut each: impl FnMut(LogId, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut cursor = self.cursor(range)?;
        cursor.read(|id, plain| each(id, plain).map(ControlFlow::Continue)).map(drop)
    }

    /// Returns one entry; `None` if the log does not hold it.
    ///
    /// # Errors
    ///
    /// As [`Cursor::read`](super::Cursor::read).
    pub fn entry(&self, index: u64) -> Result<Option<(LogId, SecretBytes)>> {
        if self.id_at(index).is_none() {
            return Ok(None);
        }
        let mut found = None;
        let read = self.read(index..=index, |id, plain| {
            found = Some((id, SecretBytes::from(plain)));
            Ok::<(), Error>(())
        });
        match read {
            Err(Error::Compacted { .. } | Error::Truncated { .. }) => Ok(None),
            read => read.map(|()| found),
        }
    }
}

impl Inner {
    /// The next entries of `span` that can be read at once: `limit` bytes, or a single longer one.
    pub(super) fn run(&self, span: &Span, limit: u64) -> Result<Option<Run>> {
        loop {
            let planned = self.planned(span, limit)?;
            let Some(mut run) = planned else { return Ok(None) };
            run.file = self.open_segment(run.place, &run.path)?;
            if run.file.is_some() {
                return Ok(Some(run));
            }
        }
    }

    fn planned(&self, span: &Span, limit: u64) -> Result<Option<Run>> {
        let index = self.index();
        let end = span.check(&index)?;
        let held = index.range();
        let mut run: Option<Run> = None;
        for at in span.next.max(held.start)..end.min(held.end) {
            let Some(slot) = index.get(at) else { break };
            if slot.len == 0 {
                if run.is_some() {
                    break;
                }
                return Err(Error::damaged("the entry is lost").in_file(&self.dir).at_index(at));
            }
            let id = LogId::new(at, Era::term(slot.era));
            match &mut run {
                None => run = Run::begin(&index, id, slot),
                Some(run) => {
                    if !run.add(id, slot, limit) {
                        break;
                    }
                }
            }
        }
        Ok(run)
    }

    pub(super) fn load(&self, run: &Run, block: &mut SecretBytes) -> Result<()> {
        let Some(file) = &run.file else { return Err(other()) };
        block.resize(run.len);
        read_exact(&**file, &run.path, run.start, block.expose_mut())
    }

    /// Counts a failure to read. Beside a writer it may only mean that what was read is not the
    /// log's any more.
    pub(super) fn read_failed(&self, error: Error) -> Error {
        self.stats.failed(&error);
        match error {
            Error::Damaged { .. } | Error::Missing(_) | Error::UnknownDek(_)
                if self.beside && self.damages.is_empty() =>
            {
                Error::Busy(self.dir.clone())
            }
            error => error,
        }
    }

    /// Opens what [`Inner::load`] read; with those that opened, what became of the next one.
    pub(super) fn open_run<'a>(
        &self,
        run: &Run,
        block: &'a mut SecretBytes,
    ) -> (impl Iterator<Item = (LogId, &'a [u8])> + use<'a>, Option<Error>) {
        let Records { after, mut records, mut failed } = run.records(block.expose_mut());
        let mut whole = records.len();
        if let Err((first, error)) = self.log.open_batch(after, &mut records) {
            whole = first.min(whole);
            failed = records.get(first).map(|(id, _)| run.placed(error, *id));
        }
        records.truncate(whole);
        self.stats.opened(records.iter().map(|(_, record)| &**record));
        let plain = |(id, record): (LogId, &'a mut [u8])| {
            (id, record.get(RECORD_OVERHEAD..).unwrap_or_default())
        };
        (records.into_iter().map(plain), failed)
    }
}

impl Run {
    fn begin(index: &Index, id: LogId, slot: Slot) -> Option<Self> {
        let prev = match id.index.checked_sub(1).and_then(|before| index.get(before)) {
            None => Some(index.purged.era),
            // It is lost: what the entry itself names must do.
            Some(before) if before.len == 0 => None,
            Some(before) => Some(Era::term(before.era)),
        };
        Some(Self {
            place: index.place(slot.segment)?,
            file: None,
            path: index.segments.get(&slot.segment)?.path.clone(),
            start: slot.offset(),
            len: usize::try_from(slot.len).unwrap_or(usize::MAX),
            prev,
            entries: vec![(id, slot)],
        })
    }

    /// Adds an entry if it is stored behind the ones there are, and within `limit` bytes.
    fn add(&mut self, id: LogId, slot: Slot, limit: u64) -> bool {
        let same = self
            .entries
            .first()
            .is_some_and(|(_, first)| first.segment == slot.segment && first.place < slot.place);
        let stop = slot.offset() + u64::from(slot.len);
        let len = stop.saturating_sub(self.start);
        if !same || len > limit {
            return false;
        }
        self.len = usize::try_from(len).unwrap_or(usize::MAX);
        self.entries.push((id, slot));
        true
    }

    /// Takes the frames apart that are in `block`, up to the first that is not as it was written.
    pub(super) fn records<'a>(&self, block: &'a mut [u8]) -> Records<'a> {
        let mut found = Records::default();
        let (mut rest, mut at) = (block, self.start);
        for (n, (id, slot)) in self.entries.iter().enumerate() {
            let taken = Self::skip(&mut rest, slot.offset().saturating_sub(at))
                .and_then(|()| Self::take(&mut rest, *id, *slot));
            match taken {
                Ok((prev, record)) => {
                    if n == 0 {
                        found.after.era = self.prev.unwrap_or(prev);
                    }
                    found.records.push((*id, record));
                }
                Err(error) => {
                    found.failed = Some(self.placed(error, *id));
                    break;
                }
            }
            at = slot.offset() + u64::from(slot.len);
        }
        found
    }

    fn skip(rest: &mut &mut [u8], count: u64) -> Result<()> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        *rest = core::mem::take(rest).get_mut(count..).ok_or_else(other)?;
        Ok(())
    }

    /// Takes the frame of entry `id` from the front: the era it names as that before, its record.
    fn take<'a>(rest: &mut &'a mut [u8], id: LogId, slot: Slot) -> Result<(Era, &'a mut [u8])> {
        let len = usize::try_from(slot.len).map_err(|_| other())?;
        let (frame, behind) = core::mem::take(rest).split_at_mut_checked(len).ok_or_else(other)?;
        *rest = behind;
        let (kind, data) = wal::take_frame(frame)?;
        let data = frame.get_mut(data).ok_or_else(other)?;
        let (found, prev, _) = format::parse_record(data)?;
        if kind != RECORD || found != id {
            return Err(other());
        }
        Ok((prev, data.get_mut(format::RECORD_HEAD..).ok_or_else(other)?))
    }

    /// The error, with the place of the entry `id`.
    pub(super) fn placed(&self, error: Error, id: LogId) -> Error {
        let slot = self.entries.iter().find(|(other, _)| *other == id);
        let offset = slot.map_or(self.start, |(_, slot)| slot.offset());
        error.in_file(&self.path).at_offset(offset).at_index(id.index)
    }
}

fn other() -> Error {
    Error::damaged("another entry than the one that was written")
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
