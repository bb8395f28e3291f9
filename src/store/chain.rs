//! The chain: a running SHA-256 over what a segment's frames begin with.
//!
//! A record is bound to its index, its era and the era before it, which is no name for one content: a
//! log may write an index again in the same era, and be put back. So the state cell holds the chain of
//! its segment, and with it the *set* of records. It needs no key: without the DEK nobody makes another
//! record under the same tag, so a record's head stands for all of it. Whoever has the DEK can; against
//! them the chain binds nothing.

use core::fmt;

use sha2::{Digest, Sha256};

use super::format::{RECORD, RECORD_HEAD, STATE};
use crate::seal::RECORD_OVERHEAD;
use crate::wal::Kind;

const LABEL: &[u8] = b"nodeseal/v1/segment";
/// Kind and length of a frame.
const FRAME: usize = 9;
/// What is hashed of an entry's frame, in bytes.
const ENTRY: usize = FRAME + RECORD_HEAD + RECORD_OVERHEAD;

/// A chain as it is stored.
pub(super) type Chain = [u8; 32];

/// The chain of a segment up to some frame:
/// `SHA-256("nodeseal/v1/segment" · segment number 8 · heads)`, where a frame's head is
/// `kind 1 · length of its data 8`, then of an entry the first 65 bytes (ids, and the record's header
/// and tag), of any other frame all of its data. States and the CRC record are left out.
#[derive(Clone)]
pub(super) struct Heads(Sha256);

impl Heads {
    /// The chain of the segment with the number `number` in its name, before its first frame.
    pub(super) fn new(number: u64) -> Self {
        Self(Sha256::new().chain_update(LABEL).chain_update(number.to_le_bytes()))
    }

    /// Adds a frame whose data is `parts`, joined.
    pub(super) fn frame(&mut self, kind: Kind, parts: &[&[u8]]) {
        if matches!(kind, Kind::Crc | STATE) {
            return;
        }
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut head = [0; ENTRY];
        let (start, mut rest) = head.split_at_mut(FRAME);
        let [number, ..] = kind.number().to_le_bytes();
        let len = u64::try_from(len).unwrap_or(u64::MAX).to_le_bytes();
        start.iter_mut().zip([number].iter().chain(&len)).for_each(|(to, from)| *to = *from);
        if kind != RECORD {
            self.0.update(start);
            parts.iter().for_each(|part| self.0.update(part));
            return;
        }
        // In one piece: an append hashes no more often than this.
        for part in parts {
            let (to, left) = rest.split_at_mut(part.len().min(rest.len()));
            to.copy_from_slice(part.split_at(to.len()).0);
            rest = left;
        }
        let used = ENTRY - rest.len();
        self.0.update(head.split_at(used).0);
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
