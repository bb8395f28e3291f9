//! X25519 (RFC 7748) with scalars that are wiped.

use x25519_dalek::{PublicKey, StaticSecret};

use super::stack::wiped;
use super::verdict;
use crate::error::{Error, Result};
use crate::secret::SecretKey;

/// Length of a public key, in bytes.
pub(crate) const POINT_LEN: usize = 32;

/// Stack that one call may use, in bytes; without optimization it is more.
const STACK: usize = if cfg!(debug_assertions) { 64 << 10 } else { 8 << 10 };

/// The public key of `scalar`.
pub(crate) fn public(scalar: &SecretKey) -> [u8; POINT_LEN] {
    wiped::<STACK, _>(|| PublicKey::from(&StaticSecret::from(*scalar.expose())).to_bytes())
}

/// The secret that `scalar` shares with the holder of `point`.
///
/// A point of low order, with which every scalar shares the same secret, is refused.
pub(crate) fn shared(scalar: &SecretKey, point: &[u8; POINT_LEN]) -> Result<SecretKey> {
    SecretKey::try_init(|bytes| {
        wiped::<STACK, _>(|| {
            let secret = StaticSecret::from(*scalar.expose());
            let shared = secret.diffie_hellman(&PublicKey::from(*point));
            if !verdict::public(shared.was_contributory()) {
                return Err(Error::damaged("a public key of low order"));
            }
            bytes.copy_from_slice(shared.as_bytes());
            Ok(())
        })
    })
}

#[cfg(test)]
mod tests;
