use core::fmt;

/// Why a DEK is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Reason {
    /// Somebody asked for it.
    Requested,
    /// It has been in use for long enough.
    Age,
    /// It has sealed enough.
    Uses,
    /// It is known, or must be feared, to have leaked: it and everything beside it counts as
    /// exposed.
    Leaked,
    /// It stood in the clear.
    Exposed,
    /// The unlock key changed.
    UnlockKeyChanged,
    /// Autolock was switched on.
    Locked,
    /// Autolock is being switched off.
    AutolockOff,
}

const ALL: [Reason; 8] = [
    Reason::Requested,
    Reason::Age,
    Reason::Uses,
    Reason::Leaked,
    Reason::Exposed,
    Reason::UnlockKeyChanged,
    Reason::Locked,
    Reason::AutolockOff,
];

/// A set of [`Reason`]s.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Reasons(u8);

impl Reasons {
    /// No reason.
    pub const NONE: Self = Self(0);

    pub(crate) const fn of(reason: Reason) -> Self {
        Self(1 << reason as u8)
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `reason` is among them.
    #[must_use]
    pub const fn contains(self, reason: Reason) -> bool {
        self.0 & Self::of(reason).0 != 0
    }

    /// The reasons, one by one.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        ALL.into_iter().filter(move |reason| self.contains(*reason))
    }
}

impl fmt::Debug for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Reasons {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_a_bit_of_its_own() {
        for (n, reason) in ALL.into_iter().enumerate() {
            let one = Reasons::of(reason);
            assert_eq!(one.bits(), 1 << n, "the bits stand in key files");
            assert_eq!(Reasons::from_bits(one.bits()).iter().collect::<Vec<_>>(), [reason]);
        }
        let two = Reasons::of(Reason::Age).and(Reasons::of(Reason::Leaked));
        assert!(two.contains(Reason::Age) && !two.contains(Reason::Uses) && !two.is_empty());
        assert_eq!(format!("{two:?}"), "{Age, Leaked}");
        assert!(Reasons::NONE.is_empty() && Reasons::default() == Reasons::NONE);
    }
}
