//! What the store writes into its frames.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::accept::Accepted;
use super::chain::Chain;
use crate::error::{Error, Misuse, Result};
use crate::keyring::KeyspaceId;
use crate::seal::{Era, LogId, RECORD_OVERHEAD, STREAM_HEADER_LEN, State};
use crate::secret::SecretBytes;
use crate::wal::{self, Kind};

/// An entry: `index 8 · era 8 · era of the entry before 8 · sealed record`.
pub(super) const RECORD: Kind = Kind::Own(16);
/// The end of a change: `sequence 8 · durable 8 · sealed state cell`. What comes before a whole one
/// counts, what comes after the last one does not. `durable`: the sequence up to which changes were
/// known to be durable when it was written.
pub(super) const STATE: Kind = Kind::Own(17);
/// All metadata: `sequence 8 · sealed cell`, the sequence being that of the change it came with.
pub(super) const META: Kind = Kind::Own(18);
/// The header of the snapshot's stream.
pub(super) const SNAPSHOT: Kind = Kind::Own(19);
/// Which earlier segments count ([`super::table`]).
pub(super) const TABLE: Kind = Kind::Own(20);

/// What the record says that every segment begins with, before the id of the store's keyspace.
pub(super) const MAGIC: &[u8] = b"nodeseal store 1\n";
pub(super) const RECORD_HEAD: usize = 24;
/// What stands before an entry's plaintext in its frame, in bytes.
pub(super) const ENTRY_HEAD: usize = wal::HEAD + RECORD_HEAD + RECORD_OVERHEAD;

pub(super) type Meta = BTreeMap<String, Arc<SecretBytes>>;

/// Takes what a segment begins with apart: the keyspace that it belongs to.
pub(super) fn parse_owner(data: &[u8]) -> Result<KeyspaceId> {
    let other = || Error::unsupported("segment", "of another version");
    let id = data.strip_prefix(MAGIC).ok_or_else(other)?;
    let id =
        id.try_into().map_err(|_| Error::damaged("a segment that does not say whose it is"))?;
    Ok(KeyspaceId::from_bytes(id))
}

pub(super) fn record_head(id: LogId, prev: Era) -> [u8; RECORD_HEAD] {
    let mut head = [0; RECORD_HEAD];
    let numbers = [id.index, id.era.get(), prev.get()];
    for (place, number) in head.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    head
}

/// Takes an entry's frame apart: its id, the era before, the sealed record.
pub(super) fn parse_record(data: &[u8]) -> Result<(LogId, Era, &[u8])> {
    let short = || Error::damaged("too short for an entry");
    let (index, rest) = number(data).ok_or_else(short)?;
    if index == u64::MAX {
        return Err(Error::damaged("an entry's index is out of range"));
    }
    let (era, rest) = number(rest).ok_or_else(short)?;
    let (prev, sealed) = number(rest).ok_or_else(short)?;
    Ok((LogId::new(index, Era::term(era)), Era::term(prev), sealed))
}

pub(super) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u64::from_le_bytes(*number), rest))
}

/// What the store keeps in the state cell beside [`State`]'s own: it comes before the vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extra {
    /// The last entry that the snapshot covers.
    pub(super) snapshot_at: LogId,
    /// Sequence of the change that last changed the metadata; 0 for none.
    pub(super) meta: u64,
    /// What an operator accepted when the store was opened.
    pub(super) accepted: Accepted,
    /// The chain of the segment that the state is in, before the state.
    pub(super) chain: Chain,
}

const EXTRA: usize = 57;

impl Extra {
    pub(super) fn to_bytes(self) -> [u8; EXTRA] {
        let at = self.snapshot_at;
        let mut bytes = [0; EXTRA];
        let numbers = [at.index, at.era.get(), self.meta];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[24] = self.accepted.bits();
        bytes[25..].copy_from_slice(&self.chain);
        bytes
    }
}

/// Takes [`Extra`] off the front of the vote.
pub(super) fn without_extra(mut state: State) -> Result<(State, Extra)> {
    let damaged = || Error::damaged("a state cell that is not a store's");
    let (index, rest) = number(&state.vote).ok_or_else(damaged)?;
    let (era, rest) = number(rest).ok_or_else(damaged)?;
    let (meta, rest) = number(rest).ok_or_else(damaged)?;
    let (accepted, rest) = rest.split_first().ok_or_else(damaged)?;
    let (chain, vote) = rest.split_first_chunk().ok_or_else(damaged)?;
    let accepted = Accepted::from_bits(*accepted)
        .ok_or_else(|| Error::unsupported("acceptance", format_args!("{accepted:#x}")))?;
    let snapshot_at = LogId::new(index, Era::term(era));
    let extra = Extra { snapshot_at, meta, accepted, chain: *chain };
    state.vote = vote.to_vec();
    Ok((state, extra))
}

/// Every name and value after its length: `name length 1 · name · value length 4 · value`.
pub(super) fn encode_meta(meta: &Meta) -> Result<SecretBytes> {
    let sum = meta.iter().map(|(name, value)| 5 + name.len() + value.len()).sum();
    let mut plain = SecretBytes::with_capacity(sum);
    for (name, value) in meta {
        let name_len = u8::try_from(name.len()).map_err(|_| Misuse::Name("metadata"))?;
        let value_len = u32::try_from(value.len()).map_err(|_| Misuse::OutOfBounds("metadata"))?;
        plain.extend_from_slice(&[name_len]);
        plain.extend_from_slice(name.as_bytes());
        plain.extend_from_slice(&value_len.to_le_bytes());
        plain.extend_from_slice(value.expose());
    }
    Ok(plain)
}

pub(super) fn decode_meta(plain: &[u8]) -> Result<Meta> {
    let damaged = || Error::damaged("metadata of another form");
    let mut meta = Meta::new();
    let mut rest = plain;
    while let Some((len, after)) = rest.split_first() {
        let (name, after) = after.split_at_checked(usize::from(*len)).ok_or_else(damaged)?;
        let (len, after) = after.split_first_chunk().ok_or_else(damaged)?;
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| damaged())?;
        let (value, after) = after.split_at_checked(len).ok_or_else(damaged)?;
        let name = core::str::from_utf8(name).map_err(|_| damaged())?;
        meta.insert(name.to_owned(), Arc::new(SecretBytes::from(value)));
        rest = after;
    }
    Ok(meta)
}

/// The row of the cell that holds the metadata: an older one does not open as this one.
pub(super) const fn meta_row(sequence: u64) -> [u8; 8] {
    sequence.to_le_bytes()
}

pub(super) type SnapshotHeader = Box<[u8; STREAM_HEADER_LEN]>;

pub(super) fn parse_snapshot(data: &[u8]) -> Result<SnapshotHeader> {
    let header = data.first_chunk().filter(|_| data.len() == STREAM_HEADER_LEN);
    header.map(|bytes| Box::new(*bytes)).ok_or_else(|| Error::damaged("a snapshot's header"))
}
