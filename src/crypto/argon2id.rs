//! Argon2id version 1.3 (RFC 9106), its working memory wiped.

use core::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use super::stack::wiped;
use crate::error::{Error, Misuse, Result};
use crate::secret::SecretKey;

/// Stack that one derivation may use, in bytes; without optimization it is more.
const STACK: usize = if cfg!(debug_assertions) { 128 << 10 } else { 32 << 10 };

/// What one guess at a passphrase costs.
///
/// The default is 64 MiB, 3 passes, 4 lanes. The format has room for 8 MiB to 1 GiB, passes and lanes 1
/// to 16. A new slot takes at least [`Costs::FLOOR`], and opening pays at most
/// [`Costs::CEILING`] unless the caller sets another one
/// ([`LockedKeyring::ceiling`](crate::LockedKeyring::ceiling)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Costs {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Costs {
    /// The least for a new slot: 19 MiB, 2 passes, 1 lane, the smallest of OWASP's rows with two passes.
    pub const FLOOR: Self = Self { memory_kib: 19 << 10, passes: 2, lanes: 1 };
    /// The most that opening a file pays for one slot, unless the caller says otherwise: 256 MiB, 8
    /// passes, 4 lanes.
    pub const CEILING: Self = Self { memory_kib: 256 << 10, passes: 8, lanes: 4 };

    /// Costs in KiB of memory, passes over it, and lanes.
    ///
    /// # Errors
    ///
    /// [`Misuse::OutOfBounds`] for costs outside the accepted range.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self> {
        let fits = (8 << 10..=1 << 20).contains(&memory_kib)
            && (1..=16).contains(&passes)
            && (1..=16).contains(&lanes);
        if !fits {
            return Err(Misuse::OutOfBounds("Argon2id costs").into());
        }
        Ok(Self { memory_kib, passes, lanes })
    }

    /// Memory in KiB.
    #[must_use]
    pub const fn memory_kib(&self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    #[must_use]
    pub const fn passes(&self) -> u32 {
        self.passes
    }

    /// Lanes.
    #[must_use]
    pub const fn lanes(&self) -> u32 {
        self.lanes
    }

    /// Reports whether these are at most `most`, in memory, passes and lanes each.
    pub(crate) const fn are_within(&self, most: &Self) -> bool {
        self.memory_kib <= most.memory_kib && self.passes <= most.passes && self.lanes <= most.lanes
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory_kib, passes, lanes } = self;
        write!(f, "{memory_kib} KiB, {passes} passes, {lanes} lanes")
    }
}

impl Default for Costs {
    fn default() -> Self {
        Self { memory_kib: 64 << 10, passes: 3, lanes: 4 }
    }
}

/// A key from a passphrase.
///
/// # Errors
///
/// [`Error::OutOfMemory`] if the memory that the costs ask for is not to be had.
pub(crate) fn derive(passphrase: &[u8], salt: &[u8; 16], costs: Costs) -> Result<SecretKey> {
    let params = Params::new(costs.memory_kib, costs.passes, costs.lanes, Some(32))
        .map_err(|_| Misuse::OutOfBounds("Argon2id costs"))?;
    let mut memory = Memory::new(params.block_count())?;
    SecretKey::try_init(|out| {
        wiped::<STACK, _>(|| {
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into_with_memory(passphrase, salt, out, &mut memory.0)
                .map_err(|_| Error::from(Misuse::OutOfBounds("passphrase")))
        })
    })
}

struct Memory(Vec<Block>);

impl Memory {
    /// The costs stand in a file: what they ask for may be refused, and must not abort the process.
    fn new(blocks: usize) -> Result<Self> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(blocks).map_err(|_| Error::OutOfMemory)?;
        memory.resize(blocks, Block::default());
        Ok(Self(memory))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

#[cfg(test)]
mod tests;
