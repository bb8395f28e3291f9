use core::fmt;

/// What an operator accepts of a store that would not open otherwise, for
/// [`Options::accept`](super::Options::accept).
///
/// What was needed is kept in the store's state and returned by [`Store::accepted`](super::Store::accepted),
/// until a change says that a peer's snapshot replaced the log
/// ([`Change::clear_accepted`](super::Change::clear_accepted)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Accept {
    /// The end of the log may have been cut off: the witness is missing or unreadable, or says that
    /// there was more. A node that goes on could vote twice, or lack entries that it acknowledged.
    Witness,
    /// The snapshot's file is missing or does not open. [`Store::snapshot`](super::Store::snapshot)
    /// then fails with why; the entries behind it can be read.
    Snapshot,
    /// Entries are missing, corrupted or exchanged. Those that are left are served, unless they may
    /// have been replaced where it cannot be seen; [`Store::damages`](super::Store::damages) lists
    /// the rest.
    Damage,
}

impl Accept {
    const ALL: [Self; 3] = [Self::Witness, Self::Snapshot, Self::Damage];

    const fn bit(self) -> u8 {
        match self {
            Self::Witness => 1,
            Self::Snapshot => 2,
            Self::Damage => 4,
        }
    }
}

/// Several of [`Accept`], as the state cell holds them.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Accepted(u8);

impl Accepted {
    /// `None` for bits that no version of this crate knows.
    pub(super) fn from_bits(bits: u8) -> Option<Self> {
        let known = Accept::ALL.iter().fold(0, |all, one| all | one.bit());
        (bits & !known == 0).then_some(Self(bits))
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    pub(super) const fn add(&mut self, one: Accept) {
        self.0 |= one.bit();
    }

    pub(super) const fn has(self, one: Accept) -> bool {
        self.0 & one.bit() != 0
    }

    pub(super) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Accept> {
        Accept::ALL.into_iter().filter(move |one| self.has(*one))
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
