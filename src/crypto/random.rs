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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_drawn_anew() {
        let (one, other) = (array::<1024>().unwrap(), array::<1024>().unwrap());
        // By chance, two equal runs of eight bytes occur once in 2^57 tries.
        assert!(one.chunks(8).zip(other.chunks(8)).all(|(a, b)| a != b));
        assert!(!key().unwrap().ct_eq(&key().unwrap()));
    }
}
