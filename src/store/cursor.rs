//! Reading one state of the log, some entries at a time.

use core::fmt;
use core::ops::{Bound, ControlFlow, RangeBounds};

use super::Store;
use super::index::Index;
use super::read::BLOCK;
use crate::error::{Error, Result};
use crate::seal::LogId;
use crate::secret::SecretBytes;

/// Reads a range of one state of the log, in order: that of the moment at which it was made. What is
/// appended later is not in it.
///
/// It holds nothing back: others append, truncate, purge and rotate meanwhile. Where that takes
/// entries away which it has still to give, or replaces some that it gave, it says so.
///
/// ```
/// # use nodeseal::{Identity, Keyring, Protector, UnlockKey, Store};
/// # use nodeseal::seal::{Era, LogId};
/// # use nodeseal::store::{Change, Options};
/// use core::ops::ControlFlow;
/// # let dir = tempfile::tempdir()?;
/// # let me = Identity::new("prod", "m1")?;
/// # let protector = Protector::unlock_key(&UnlockKey::generate()?);
/// # let keyring = Keyring::create(dir.path().join("keys"), &me, protector, &[])?;
/// # let store = Store::create(dir.path().join("raft"), &keyring, Options::new("raft"))?;
/// # let mut change = Change::new();
/// # for index in 1..=5 {
/// #     change.push(LogId::new(index, Era::term(1)), |out| out.extend_from_slice(b"entry"))?;
/// # }
/// # store.apply(change)?;
/// let mut cursor = store.cursor(1..)?.limit_entries(2);
/// let mut messages = Vec::new();
/// loop {
///     let mut indices = Vec::new();
///     let more = cursor.read(|id, _entry| {
///         indices.push(id.index);
///         Ok::<_, nodeseal::Error>(ControlFlow::Continue(()))
///     })?;
///     messages.push(indices);
///     if !more {
///         break;
///     }
/// }
/// assert_eq!(messages, [vec![1, 2], vec![3, 4], vec![5]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Cursor {
    store: Store,
    span: Span,
    entries: u64,
    bytes: u64,
    block: SecretBytes,
}

/// Entries to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// The next one.
    pub(super) next: u64,
    /// The one behind the last.
    pub(super) end: u64,
    /// How many truncations there were when the reading began.
    since: u64,
}

impl Span {
    /// Entries of whatever is the log when they are read.
    pub(super) const fn of_any(next: u64, end: u64) -> Self {
        Self { next, end, since: u64::MAX }
    }

    /// Returns up to where entries are still those that they were.
    pub(super) fn check(&self, index: &Index) -> Result<u64> {
        if self.since == u64::MAX {
            return Ok(self.end);
        }
        if index.purged != LogId::START && self.next <= index.purged.index {
            return Err(Error::Compacted { upto: index.purged.index });
        }
        match index.truncated_since(self.since) {
            Some(from) if from <= self.next => Err(Error::Truncated { from }),
            Some(from) => Ok(from.min(self.end)),
            None => Ok(self.end),
        }
    }
}

impl Store {
    /// Begins to read the entries of `range` that the log holds now.
    ///
    /// # Errors
    ///
    /// [`Error::Compacted`] if the range begins with entries that were purged. One without a start
    /// begins with the first entry that there is.
    pub fn cursor(&self, range: impl RangeBounds<u64>) -> Result<Cursor> {
        let index = self.inner.index();
        let held = index.range();
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(from) => from.saturating_add(1),
            Bound::Unbounded => held.start,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let empty = from >= end || matches!(range.start_bound(), Bound::Unbounded);
        if !empty && index.purged != LogId::START && from <= index.purged.index {
            return Err(Error::Compacted { upto: index.purged.index });
        }
        let (next, end) = (from.max(held.start), end.min(held.end));
        let span = Span { next, end, since: index.truncations() };
        drop(index);
        let (entries, bytes) = (u64::MAX, u64::MAX);
        Ok(Cursor { store: self.clone(), span, entries, bytes, block: SecretBytes::new() })
    }
}

impl Cursor {
    /// Gives at most `entries` in one call of [`Cursor::read`].
    #[must_use]
    pub const fn limit_entries(mut self, entries: u64) -> Self {
        self.entries = entries;
        self
    }

    /// Gives entries of at most `bytes` together in one call of [`Cursor::read`], or a single larger
    /// one.
    #[must_use]
    pub const fn limit_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// Returns the index of the entry that comes next.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.span.next
    }

    /// Gives the next entries to `each`, up to the limits, and reports whether more are left. `each`
    /// may break off after any of them.
    ///
    /// The plaintext is in memory that is wiped; it is gone when `each` returns.
    ///
    /// # Errors
    ///
    /// The error of `each`. [`Error::Compacted`] if what comes next was purged, [`Error::Truncated`]
    /// if it was replaced or cut off, or entries that were given were: make another cursor then.
    /// [`Error::Unauthentic`] for an entry that was altered, is of another location or of another
    /// node; [`Error::UnknownDek`]; [`Error::Damaged`], with its location, for one that cannot be
    /// read; [`Error::Io`]. [`Error::Busy`] in a store that is open read-only beside a writer that
    /// has replaced what was to be read: open it again.
    pub fn read<E: From<Error>>(
        &mut self,
        mut each: impl FnMut(LogId, &[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<bool, E> {
        let inner = &*self.store.inner;
        let (mut entries, mut bytes, mut first) = (self.entries, self.bytes, true);
        while entries > 0 && self.span.next < self.span.end {
            let limit = BLOCK.min(bytes);
            let run = inner.run(&self.span, limit).map_err(|e| inner.read_failed(e))?;
            let Some(run) = run else {
                return Err(inner.read_failed(Error::Truncated { from: self.span.next }).into());
            };
            inner.load(&run, &mut self.block).map_err(|e| inner.read_failed(e))?;
            let (opened, failed) = inner.open_run(&run, &mut self.block);
            for (id, plain) in opened {
                let len = u64::try_from(plain.len()).unwrap_or(u64::MAX);
                if entries == 0 || (len > bytes && !first) {
                    return Ok(true);
                }
                let flow = each(id, plain)?;
                self.span.next = id.index.saturating_add(1);
                (entries, bytes, first) = (entries - 1, bytes.saturating_sub(len), false);
                if flow.is_break() {
                    return Ok(self.span.next < self.span.end);
                }
            }
            match failed {
                // A rotation was faster: the entries are in another file, under a DEK that is there.
                Some(Error::UnknownDek(_))
                    if inner.index().place(run.place.segment) != Some(run.place) => {}
                Some(error) => return Err(inner.read_failed(error).into()),
                None => {}
            }
        }
        Ok(self.span.next < self.span.end)
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("next", &self.span.next)
            .field("end", &self.span.end)
            .finish_non_exhaustive()
    }
}
