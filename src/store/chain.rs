//! The chain: a running SHA-256 over what a segment's frames begin with.
//!
//! A record is bound to its index, its era and the era before it, which is no name for one content: a
//! log may write an index again in the same era, and be put back. So the state cell holds the chain of
//! its segment, and with it the *set* of records. It needs no key: without the DEK nobody makes another
//! record under the same tag, so a record's tag stands for all of it. Whoever has the DEK can; against
//! them the chain binds nothing.

use core::fmt;

use sha2::{Digest, Sha256};

use super::format::{RECORD, RECORD_HEAD, STATE};
use crate::crypto::TAG_LEN;
use crate::seal::RECORD_OVERHEAD;
use crate::wal::Kind;

const LABEL: &[u8] = b"nodeseal/v1/segment";
/// What is hashed of an entry's frame, in bytes: kind, ids, tag. Less than SHA-256 takes in one block.
const ENTRY: usize = 1 + RECORD_HEAD + TAG_LEN;

/// A chain as it is stored.
pub(super) type Chain = [u8; 32];

/// The chain of a segment up to some frame: `SHA-256("nodeseal/v1/segment" · segment number 8 · heads)`.
/// An entry's head is `kind 1 · index 8 · era 8 · era of the entry before 8 · its record's tag 16`, that
/// of any other frame `kind 1 · length 8 · data`. States and the CRC record have none.
#[derive(Clone)]
pub(super) struct Heads(Sha256);

impl Heads {
    /// The chain of the segment with the number `number` in its name, before its first frame.
    pub(super) fn new(number: u64) -> Self {
        Self(Sha256::new().chain_update(LABEL).chain_update(number.to_le_bytes()))
    }

    /// Adds an entry.
    pub(super) fn entry(&mut self, ids: &[u8; RECORD_HEAD], record: &[u8]) {
        let mut head = [0; ENTRY];
        let (start, tag) = head.split_at_mut(1 + RECORD_HEAD);
        let (kind, rest) = start.split_at_mut(1);
        kind.copy_from_slice(&RECORD.number().to_le_bytes()[..1]);
        rest.copy_from_slice(ids);
        let stored = record.get(RECORD_OVERHEAD - TAG_LEN..RECORD_OVERHEAD);
        tag.copy_from_slice(stored.unwrap_or(&[0; TAG_LEN]));
        self.0.update(head);
    }

    /// Adds a frame that is no entry and whose data is `parts`, joined.
    pub(super) fn frame(&mut self, kind: Kind, parts: &[&[u8]]) {
        if matches!(kind, Kind::Crc | STATE) {
            return;
        }
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.0.update(&kind.number().to_le_bytes()[..1]);
        self.0.update(u64::try_from(len).unwrap_or(u64::MAX).to_le_bytes());
        parts.iter().for_each(|part| self.0.update(part));
    }

    /// Adds a frame as it was read.
    pub(super) fn stored(&mut self, kind: Kind, data: &[u8]) {
        match data.split_first_chunk() {
            Some((ids, record)) if kind == RECORD => self.entry(ids, record),
            _ => self.frame(kind, &[data]),
        }
    }

    /// The chain behind the last frame.
    pub(super) fn chain(&self) -> Chain {
        self.0.clone().finalize().into()
    }
}

impl Default for Heads {
    fn default() -> Self {
        Self::new(0)
    }
}

impl fmt::Debug for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heads(..)")
    }
}
