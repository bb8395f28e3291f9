use core::fmt;

use super::cell::{Cells, SealedCell};
use super::log_id::{Era, LogId};
use super::stream::StreamId;
use crate::error::{Error, Result};
use crate::secret::SecretBytes;

const TABLE: &str = "nodeseal/state";
const FORMAT: u8 = 1;
/// Largest vote, in bytes.
const MAX_VOTE: usize = 4096;

/// Where a log ends and what else must not be put back, sealed as the log's *state cell*.
///
/// Written anew with every append, truncation, purge and vote, under the same fsync. When the log
/// is opened it must end at `last`, begin after `purged`, and the key file must not be older: so a
/// tail that was cut off, or a vote, log, snapshot or key file that was put back alone, is found
/// out. All of them put back together are not; only a monotonic store elsewhere that keeps
/// `(epoch, sequence)` finds that.
///
/// # Format
///
/// The plaintext of a cell in the table `nodeseal/state`, its row empty:
/// `1 (0x01) · last 16 · committed 16 · purged 16 · sequence 8 · epoch 8 · snapshot 1 or 17 ·
/// vote`; a log id is index and era, integers are u64 little-endian, the snapshot is `0x00` for
/// none, else `0x01` and the stream's id.
#[derive(Clone, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_structs, reason = "its fields are the format's")]
pub struct State {
    /// The last entry of the log.
    pub last: LogId,
    /// The last entry that is known to be committed.
    pub committed: LogId,
    /// The last entry that was purged.
    pub purged: LogId,
    /// The snapshot that the log goes on from.
    pub snapshot: Option<StreamId>,
    /// Grows by one whenever the cell is written.
    pub sequence: u64,
    /// The vote, in the engine's encoding, at most 4096 bytes.
    pub vote: Vec<u8>,
}

impl Cells {
    /// Seals the state cell of the keyspace's log, with the key file's epoch.
    ///
    /// # Errors
    ///
    /// [`Misuse::TooLarge`](crate::Misuse::TooLarge) for a vote over 4096 bytes, or as
    /// [`Cells::seal`].
    pub fn seal_state(&self, state: &State) -> Result<SealedCell> {
        self.seal_state_with(state, &[])
    }

    /// Like [`Cells::seal_state`], with `extra` before the vote, of which it counts as a part.
    pub(crate) fn seal_state_with(&self, state: &State, extra: &[u8]) -> Result<SealedCell> {
        let vote_len = extra.len() + state.vote.len();
        if vote_len > MAX_VOTE {
            return Err(Error::too_large("a vote", vote_len, MAX_VOTE));
        }
        // The epoch comes after the DEK: to take one may write the key file.
        let in_flight = self.acquire()?;
        let mut plain = SecretBytes::with_capacity(128 + vote_len);
        plain.extend_from_slice(&[FORMAT]);
        let ids = [state.last, state.committed, state.purged];
        let numbers = ids.iter().flat_map(|id| [id.index, id.era.get()]);
        for number in numbers.chain([state.sequence, self.shared().epoch()]) {
            plain.extend_from_slice(&number.to_le_bytes());
        }
        match &state.snapshot {
            None => plain.extend_from_slice(&[0]),
            Some(id) => {
                plain.extend_from_slice(&[1]);
                plain.extend_from_slice(&id.to_bytes());
            }
        }
        plain.extend_from_slice(extra);
        plain.extend_from_slice(&state.vote);
        self.seal_under(in_flight, TABLE, &[], plain.expose())
    }

    /// Opens the state cell of the keyspace's log.
    ///
    /// # Errors
    ///
    /// [`Error::RolledBack`] if the key file is older than the one with which the cell was
    /// written ([`Error::UnknownDek`] if it is so old that it does not hold the cell's DEK), or as
    /// [`Cells::open`].
    pub fn open_state(&self, sealed: &[u8]) -> Result<State> {
        self.open_state_at(sealed).map(|(state, _)| state)
    }

    /// Like [`Cells::open_state`], with the epoch of the key file when the cell was sealed.
    pub(crate) fn open_state_at(&self, sealed: &[u8]) -> Result<(State, u64)> {
        let plain = self.open_any(TABLE, &[], sealed)?;
        let (state, epoch) = decode(plain.expose())?;
        let found = self.shared().epoch();
        if found < epoch {
            return Err(Error::RolledBack { what: "key file", found, expected: epoch });
        }
        Ok((state, epoch))
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("last", &self.last)
            .field("committed", &self.committed)
            .field("purged", &self.purged)
            .field("snapshot", &self.snapshot)
            .field("sequence", &self.sequence)
            .field("vote", &format_args!("{} bytes", self.vote.len()))
            .finish()
    }
}

fn decode(plain: &[u8]) -> Result<(State, u64)> {
    let damaged = || Error::damaged("a state cell of another form");
    let (format, rest) = plain.split_first().ok_or_else(damaged)?;
    if *format != FORMAT {
        return Err(Error::unsupported("state cell format", format));
    }
    let (numbers, rest) = rest.split_first_chunk::<64>().ok_or_else(damaged)?;
    let (numbers, _) = numbers.as_chunks::<8>();
    let mut numbers = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes));
    let mut number = || numbers.next().ok_or_else(damaged);
    let mut id = || Ok::<_, Error>(LogId::new(number()?, Era::term(number()?)));
    let (last, committed, purged) = (id()?, id()?, id()?);
    let (sequence, epoch) = (number()?, number()?);
    let (snapshot, vote) = match rest.split_first() {
        Some((0, vote)) => (None, vote),
        Some((1, rest)) => {
            let (id, vote) = rest.split_first_chunk().ok_or_else(damaged)?;
            (Some(StreamId::from_bytes(*id)), vote)
        }
        _ => return Err(damaged()),
    };
    if vote.len() > MAX_VOTE {
        return Err(damaged());
    }
    Ok((State { last, committed, purged, snapshot, sequence, vote: vote.to_vec() }, epoch))
}
