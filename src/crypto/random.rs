//! The operating system's generator. No state of it is kept in this process, so a fork or a
//! restored image of the process cannot make it repeat.

use getrandom::SysRng;
use rand_core::TryRng;

use crate::error::{Error, Result};
use crate::secret::SecretKey;

/// Fills `bytes`.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<()> {
    SysRng.try_fill_bytes(bytes).map_err(|_| Error::Random)
}

/// A random array of public bytes: a nonce, a salt.
pub(crate) fn array<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// A random key.
pub(crate) fn key() -> Result<SecretKey> {
    SecretKey::try_init(|bytes| fill(bytes))
}
