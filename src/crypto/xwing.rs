//! X-Wing (draft-connolly-cfrg-xwing-kem): a KEM that holds as long as ML-KEM-768 or X25519 does.
//!
//! The crate computes it. Here are the checks that it leaves to its callers, and the wiping of the
//! stack: it wipes neither the seeds that it expands nor ML-KEM's shared secret.

use x_wing::{
    DecapsulationKeyRejectNonContrib, Decapsulator, ENCAPSULATION_RANDOMNESS_SIZE,
    EncapsulationKey, KeyExport, TryDecapsulate,
};

use super::stack::wiped;
use super::x25519;
use crate::error::{Error, Result};
use crate::secret::{KEY_LEN, SecretKey};

/// Length of a public key, in bytes.
pub(crate) const PUBLIC_LEN: usize = x_wing::ENCAPSULATION_KEY_SIZE;
/// Length of what an encapsulation sends, in bytes.
pub(crate) const SHARE_LEN: usize = x_wing::CIPHERTEXT_SIZE;
/// How many random bytes an encapsulation takes.
pub(crate) const RANDOMNESS_LEN: usize = ENCAPSULATION_RANDOMNESS_SIZE;

/// Stack that one call may use, in bytes; without optimization it is more.
const STACK: usize = if cfg!(debug_assertions) { 128 << 10 } else { 64 << 10 };

/// A public key of X-Wing.
pub(crate) type Public = Box<[u8; PUBLIC_LEN]>;
/// What an encapsulation sends.
pub(crate) type Share = Box<[u8; SHARE_LEN]>;

/// Returns the public key of `key`.
pub(crate) fn public(key: &SecretKey) -> Public {
    let mut public = Box::new([0; PUBLIC_LEN]);
    wiped::<STACK, _>(|| {
        let key = DecapsulationKeyRejectNonContrib::from(*key.expose());
        public.copy_from_slice(&key.encapsulation_key().to_bytes());
    });
    public
}

/// Checks that something can be encapsulated to `public`.
///
/// # Errors
///
/// [`Error::Damaged`] if it is not the encoding of an ML-KEM key and a point of X25519 that is not of
/// low order.
pub(crate) fn check(public: &[u8; PUBLIC_LEN]) -> Result<()> {
    parse(public).map(drop)
}

/// Draws a secret and sends it to the holder of `public`: returns what is sent, and the secret.
///
/// `randomness` must be random and never be used again.
///
/// # Errors
///
/// As [`check`].
pub(crate) fn encapsulate(
    public: &[u8; PUBLIC_LEN],
    randomness: &[u8; RANDOMNESS_LEN],
) -> Result<(Share, SecretKey)> {
    let key = parse(public)?;
    let mut share = Box::new([0; SHARE_LEN]);
    let secret = SecretKey::init(|secret| {
        wiped::<STACK, _>(|| {
            let (sent, shared) = key.encapsulate_deterministic(randomness.into());
            share.copy_from_slice(&sent);
            secret.copy_from_slice(&shared);
        });
    });
    Ok((share, secret))
}

/// Returns the secret that `share` sends to the holder of `key`.
///
/// ML-KEM rejects implicitly: a share for another key gives another secret, not an error.
///
/// # Errors
///
/// [`Error::Damaged`] if the share's point of X25519 is of low order.
pub(crate) fn decapsulate(key: &SecretKey, share: &[u8; SHARE_LEN]) -> Result<SecretKey> {
    SecretKey::try_init(|secret| {
        // An error is made after the wiping: moved out of there, its unused bytes would take along what
        // the stack held.
        let contributory = wiped::<STACK, _>(|| {
            let key = DecapsulationKeyRejectNonContrib::from(*key.expose());
            let shared = key.try_decapsulate(share.into());
            shared.is_ok_and(|shared| {
                secret.copy_from_slice(&shared);
                true
            })
        });
        if contributory { Ok(()) } else { Err(Error::damaged("a share of low order")) }
    })
}

fn parse(public: &[u8; PUBLIC_LEN]) -> Result<EncapsulationKey> {
    let key = EncapsulationKey::try_from(&public[..]).map_err(|_| malformed())?;
    // With a point of low order every scalar shares the same secret.
    let point: &[u8; KEY_LEN] = public.last_chunk().ok_or_else(malformed)?;
    x25519::shared(&SecretKey::init(|scalar| scalar.fill(1)), point)?;
    Ok(key)
}

fn malformed() -> Error {
    Error::damaged("not a public key of X-Wing")
}

#[cfg(test)]
mod tests;
