use sha2::{Digest, Sha256};

/// Which leader an entry is from, as a number: what a sealed record is bound to beside its index.
///
/// In raft that is the term. Where an engine can have several leaders in one term (openraft by
/// default), it is [`Era::of_leader`]. Without raft it is [`Era::NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Era(u64);

impl Era {
    /// Before the first entry, or without raft.
    pub const NONE: Self = Self(0);

    /// The era of a term.
    #[must_use]
    pub const fn term(term: u64) -> Self {
        Self(term)
    }

    /// The era of a leader whose id needs more than a term: the first 8 bytes, little-endian, of
    /// SHA-256 of `era` and the encoded id.
    #[must_use]
    pub fn of_leader(encoded_leader_id: &[u8]) -> Self {
        let hash = Sha256::new().chain_update(b"era").chain_update(encoded_leader_id).finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        Self(u64::from_le_bytes(first))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// An entry of a log: its index, and the era in which it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogId {
    /// The index.
    pub index: u64,
    /// The era.
    pub era: Era,
}

impl LogId {
    /// Before the first entry.
    pub const START: Self = Self { index: 0, era: Era::NONE };

    /// The entry `index` of `era`.
    #[must_use]
    pub const fn new(index: u64, era: Era) -> Self {
        Self { index, era }
    }
}
