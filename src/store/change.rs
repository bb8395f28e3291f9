use core::fmt;
use core::ops::Range;

use super::format::ENTRY_HEAD;
use super::index::Index;
use crate::error::{Error, Misuse, Result};
use crate::seal::{Entry, LogId, Plaintext, RECORD_OVERHEAD, State};
use crate::secret::SecretBytes;

/// Largest entry, in bytes.
pub(super) const MAX_ENTRY: usize = 64 << 20;
/// Largest vote, in bytes: the state cell holds it.
const MAX_VOTE: usize = 4000;
/// Largest sum of all metadata, in bytes.
pub(super) const MAX_META: usize = 1 << 20;

/// What is to change in a [`Store`](super::Store), all of it or nothing.
///
/// Whatever the order of the calls, a truncation comes first, then the entries, then the purge.
///
/// ```
/// use nodeseal::seal::{Era, LogId};
/// use nodeseal::store::Change;
///
/// let mut change = Change::new();
/// change.truncate(8); // from entry 8 on
/// change.push(LogId::new(8, Era::term(2)), |out| out.extend_from_slice(b"another entry"))?;
/// change.vote(b"term 2, for m1");
/// # Ok::<(), nodeseal::Error>(())
/// ```
#[derive(Default)]
pub struct Change {
    pub(super) truncate: Option<u64>,
    /// Every entry where it will stand in its frame, in plaintext, the room before it zeros.
    pub(super) buffer: SecretBytes,
    /// With each entry, where its sealed record will stand.
    pub(super) entries: Vec<(LogId, Range<usize>)>,
    pub(super) purge: Option<LogId>,
    pub(super) committed: Option<LogId>,
    pub(super) vote: Option<Vec<u8>>,
    pub(super) meta: Vec<(String, Option<SecretBytes>)>,
}

impl Change {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing yet, in memory that another change used.
    pub(super) fn reuse(buffer: SecretBytes) -> Self {
        Self { buffer, ..Self::default() }
    }

    /// Adds the entry `id`, whose plaintext `write` appends to what it is given. The first one must
    /// come right after the log's last entry (in an empty log its index is 0 or 1), every further
    /// one right after the one before.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotIncreasing`] if it does not come after the one before; [`Misuse::TooLarge`]
    /// over 64 MiB; [`Misuse::OutOfBounds`] for [`LogId::START`], which is no entry, and for the index 2⁶⁴−1. The change is
    /// then as it was.
    pub fn push(&mut self, id: LogId, write: impl FnOnce(&mut Plaintext<'_>)) -> Result<()> {
        self.try_push(id, |out| {
            write(out);
            Ok(())
        })
    }

    /// As [`Change::push`], with a `write` that may fail; what it had written is wiped then.
    ///
    /// # Errors
    ///
    /// As [`Change::push`], and the error of `write`. The change is then as it was, also when `write` panics.
    pub fn try_push<E: From<Error>>(
        &mut self,
        id: LogId,
        write: impl FnOnce(&mut Plaintext<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if id == LogId::START || id.index == u64::MAX {
            return Err(Error::from(Misuse::OutOfBounds("an entry's id")).into());
        }
        if let Some((before, _)) = self.entries.last()
            && before.index.checked_add(1) != Some(id.index)
        {
            let (index, after) = (id.index, before.index);
            return Err(Error::from(Misuse::NotIncreasing { index, after }).into());
        }
        let mut entry = Entry::begin(&mut self.buffer, ENTRY_HEAD);
        write(&mut entry.plaintext())?;
        let len = entry.bytes().len().saturating_sub(ENTRY_HEAD);
        if len > MAX_ENTRY {
            return Err(Error::too_large("an entry", len, MAX_ENTRY).into());
        }
        let Range { start, end } = entry.end();
        self.buffer.resize(end.next_multiple_of(8));
        self.entries.push((id, start + ENTRY_HEAD - RECORD_OVERHEAD..end));
        Ok(())
    }

    /// Removes the entries from `index` on.
    pub const fn truncate(&mut self, index: u64) -> &mut Self {
        self.truncate = Some(index);
        self
    }

    /// Removes the entries up to and with `id`, which a snapshot covers. If the log does not hold
    /// `id`, all entries go, and it goes on after `id`. An `id` that was purged already changes
    /// nothing.
    pub const fn purge(&mut self, id: LogId) -> &mut Self {
        self.purge = Some(id);
        self
    }

    /// Notes the last entry that is known to be committed.
    pub const fn committed(&mut self, id: LogId) -> &mut Self {
        self.committed = Some(id);
        self
    }

    /// Saves the vote, in the engine's encoding, at most 4000 bytes.
    pub fn vote(&mut self, vote: &[u8]) -> &mut Self {
        self.vote = Some(vote.to_vec());
        self
    }

    /// Saves something small under a name, or replaces it; at most 1 MiB in all. It is written
    /// again with every segment and with every change of another name.
    pub fn put_meta(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.meta.push((name.to_owned(), Some(SecretBytes::from(value))));
        self
    }

    /// Removes what was saved under a name.
    pub fn remove_meta(&mut self, name: &str) -> &mut Self {
        self.meta.push((name.to_owned(), None));
        self
    }

    /// Refuses what does not fit a log in this state; gives the entry that the first new one comes
    /// after, and the state that follows, without its sequence.
    pub(super) fn plan(&self, state: &State, index: &Index) -> Result<(LogId, State)> {
        let mut next = state.clone();
        if let Some(from) = self.truncate {
            next.last = before(from, state, index)?;
        }
        let after = next.last;
        if let Some((first, _)) = self.entries.first() {
            let follows = match after {
                LogId::START => first.index <= 1,
                after => after.index.checked_add(1) == Some(first.index),
            };
            if !follows {
                return Err(Misuse::State("the first entry does not follow the last").into());
            }
        }
        if let Some((last, _)) = self.entries.last() {
            next.last = *last;
        }
        if let Some(id) = self.purge
            && (state.purged == LogId::START || id.index > state.purged.index)
        {
            let mut held = self.entries.iter().map(|(id, _)| *id);
            let held = held.any(|entry| entry == id)
                || (index.id_at(id.index) == Some(id) && id.index <= after.index);
            next.purged = id;
            if !held {
                if !self.entries.is_empty() {
                    return Err(
                        Misuse::State("a purge would drop the entries it comes with").into()
                    );
                }
                next.last = id;
            }
        }
        next.committed = self.committed.unwrap_or(next.committed);
        if let Some(vote) = &self.vote {
            if vote.len() > MAX_VOTE {
                return Err(Error::too_large("a vote", vote.len(), MAX_VOTE));
            }
            next.vote.clone_from(vote);
        }
        let sizes = self.meta.iter().map(|(name, value)| {
            if name.len() > 255 {
                return Err(Error::too_large("a name of metadata", name.len(), 255));
            }
            Ok(value.as_ref().map_or(0, SecretBytes::len))
        });
        let sum: usize = sizes.sum::<Result<usize>>()?;
        if sum > MAX_META {
            return Err(Error::too_large("metadata", sum, MAX_META));
        }
        Ok((after, next))
    }
}

/// The entry before `from`, where the log ends after a truncation.
fn before(from: u64, state: &State, index: &Index) -> Result<LogId> {
    let outside = Error::from(Misuse::OutOfBounds("truncation"));
    if from > state.last.index {
        // Nothing to remove.
        return Ok(state.last);
    }
    match from.checked_sub(1) {
        Some(last) if last == state.purged.index && state.purged != LogId::START => {
            Ok(state.purged)
        }
        Some(last) => match index.id_at(last) {
            Some(id) => Ok(id),
            None if state.purged == LogId::START => Ok(LogId::START),
            None => Err(outside),
        },
        None if state.purged == LogId::START => Ok(LogId::START),
        None => Err(outside),
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("truncate", &self.truncate)
            .field("entries", &self.entries.len())
            .field("purge", &self.purge)
            .field("committed", &self.committed)
            .finish_non_exhaustive()
    }
}
