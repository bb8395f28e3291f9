use core::fmt;
use core::ops::Range;

use super::format::ENTRY_HEAD;
use super::index::Index;
use crate::error::{Error, Misuse, Result};
use crate::seal::{Entry, Era, LogId, Plaintext, RECORD_OVERHEAD, State};
use crate::secret::SecretBytes;
use crate::wal::Use;

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
    /// Every entry where it will be in its frame, in plaintext, the room before it zeros.
    pub(super) buffer: SecretBytes,
    /// With each entry, where its sealed record will be.
    pub(super) entries: Vec<(LogId, Range<usize>)>,
    pub(super) purge: Option<LogId>,
    pub(super) restart: Option<LogId>,
    pub(super) clear_accepted: bool,
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
    /// come right after the log's last entry, every further one right after the one before. A log
    /// that never had an entry and has no snapshot may begin at any index.
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

    /// Removes the entries from `index` on. Entries that are known to be committed are not removed:
    /// the change is refused.
    pub const fn truncate(&mut self, index: u64) -> &mut Self {
        self.truncate = Some(index);
        self
    }

    /// Removes the entries up to and with `id`. It must be an entry that the snapshot covers, or the
    /// last one that it covers, also if the log does not hold that one: all entries go then, and the
    /// log continues after it. In a store without a snapshot, `id` must be an entry that is known to
    /// be committed. An `id` that was purged already changes nothing.
    pub const fn purge(&mut self, id: LogId) -> &mut Self {
        self.purge = Some(id);
        self
    }

    /// Removes all entries, and lets the log continue after `id`, which must be beyond its end: for a
    /// snapshot that covers `id` and is kept elsewhere. A store that has a snapshot of its own
    /// refuses it.
    pub const fn restart_after(&mut self, id: LogId) -> &mut Self {
        self.restart = Some(id);
        self
    }

    /// Notes the last entry that is known to be committed; it must be an entry of the log. One that
    /// comes before what is known already changes nothing.
    pub const fn committed(&mut self, id: LogId) -> &mut Self {
        self.committed = Some(id);
        self
    }

    /// Notes that nothing of what [`Options::accept`](super::Options::accept) let pass is left: a
    /// snapshot from a peer has replaced the log.
    pub const fn clear_accepted(&mut self) -> &mut Self {
        self.clear_accepted = true;
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

    /// Refuses what does not fit a log in this state; returns the entry that the first new one comes
    /// after, and the state that follows, without its sequence. `snapshot`: the last entry that the
    /// snapshot covers, once the change is made.
    pub(super) fn plan(
        &self,
        state: &State,
        snapshot: Option<LogId>,
        index: &Index,
    ) -> Result<(LogId, State)> {
        let mut next = state.clone();
        if let Some(from) = self.truncate {
            next.last = before(from, state, index)?;
        }
        if let Some((first, _)) = self.entries.first() {
            follow(first.index, &mut next, snapshot)?;
        }
        let after = next.last;
        if let Some((last, _)) = self.entries.last() {
            next.last = *last;
        }
        let held = |id: LogId, next: &State| {
            let mut new = self.entries.iter().map(|(id, _)| *id);
            match new.find(|entry| entry.index == id.index) {
                Some(entry) => entry == id,
                None if id.index <= after.index => index.holds(id),
                None => id == next.purged,
            }
        };
        if let Some(at) = snapshot.filter(|at| at.index > next.committed.index && held(*at, &next))
        {
            // A snapshot covers nothing else.
            next.committed = at;
        }
        let committed = self.committed.filter(|id| id.index > next.committed.index);
        if let Some(id) = committed.filter(|id| held(*id, &next)) {
            next.committed = id;
        }
        if let Some(id) = self.purge
            && (state.purged == LogId::START || id.index > state.purged.index)
        {
            let held = held(id, &next);
            // One that was made before anything was applied covers nothing, not even entry 0.
            let covered = match snapshot.filter(|at| *at != LogId::START) {
                Some(at) => (held && id.index <= at.index) || id == at,
                None => held && id.index <= next.committed.index,
            };
            if !covered {
                let what = "a purge beyond what the snapshot covers or is known to be committed";
                return Err(Misuse::State(what).into());
            }
            next.purged = id;
            if !held {
                self.all_go(&mut next, id)?;
            }
        }
        if let Some(id) = self.restart {
            if snapshot.is_some() || id.index <= next.last.index {
                let what =
                    "a log that is to continue elsewhere although it, or a snapshot, is there";
                return Err(Misuse::State(what).into());
            }
            next.purged = id;
            self.all_go(&mut next, id)?;
        }
        if (self.purge.is_some() || self.restart.is_some())
            && next.purged.index > next.committed.index
        {
            next.committed = next.purged;
        }
        let contradicted = snapshot.is_some_and(|at| {
            let other = index.id_at(at.index).is_some() && !index.holds(at);
            other
                && (next.purged.index.saturating_add(1)..=after.index).contains(&at.index)
                && next.committed.index >= at.index
        });
        if contradicted && next.committed != state.committed {
            return Err(Misuse::State("a snapshot contradicts what is to be committed").into());
        }
        if let Some(id) = committed
            && id.index > next.committed.index
        {
            return Err(Misuse::State("an entry is committed that is not in the log").into());
        }
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

    /// What the change may use on a full disk: what frees room, or is small, may use the reserve.
    pub(super) const fn use_of_room(&self) -> Use {
        if self.entries.is_empty() && self.meta.is_empty() { Use::Reserve } else { Use::Entries }
    }

    /// Lets the log continue after `id`, without an entry.
    fn all_go(&self, next: &mut State, id: LogId) -> Result<()> {
        if !self.entries.is_empty() {
            return Err(Misuse::State("a purge would drop the entries it comes with").into());
        }
        if id.index <= next.committed.index {
            return Err(
                Misuse::State("a snapshot contradicts what is known to be committed").into()
            );
        }
        next.last = id;
        Ok(())
    }
}

/// Refuses a hole before the entry `first`. A log that has nothing yet may begin anywhere: what it
/// continues after then counts as purged.
fn follow(first: u64, next: &mut State, snapshot: Option<LogId>) -> Result<()> {
    let hole = Misuse::State("the first entry does not follow the last");
    if next.last != LogId::START {
        let follows = next.last.index.checked_add(1) == Some(first);
        return if follows { Ok(()) } else { Err(hole.into()) };
    }
    let before = match snapshot {
        Some(at) if at.index.checked_add(1) == Some(first) => at,
        Some(at) if at.index < first => return Err(hole.into()),
        _ if first <= 1 => return Ok(()),
        _ => LogId::new(first - 1, Era::NONE),
    };
    (next.last, next.purged) = (before, before);
    Ok(())
}

/// The entry before `from`, where the log ends after a truncation.
fn before(from: u64, state: &State, index: &Index) -> Result<LogId> {
    let outside = Error::from(Misuse::OutOfBounds("truncation"));
    if from > state.last.index {
        // Nothing to remove.
        return Ok(state.last);
    }
    if state.committed != LogId::START && from <= state.committed.index {
        return Err(Misuse::State("a truncation of entries that are known to be committed").into());
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
