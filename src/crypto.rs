//! The primitives, knowing nothing of what they seal.
//!
//! `cfg(unsealed)` is set by one package alone, `benches/store/unsealed`, which measures the store
//! without them; what it puts in their place is not among the published files.

pub(crate) mod argon2id;
pub(crate) mod hkdf;
pub(crate) mod hmac;
pub(crate) mod kernel;
#[cfg_attr(unsealed, path = "../benches/store/unsealed/random.rs")]
pub(crate) mod random;
pub(crate) mod sealed_box;
#[cfg_attr(unsealed, path = "../benches/store/unsealed/secretbox.rs")]
pub(crate) mod secretbox;
pub(crate) mod stack;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod verdict;
pub(crate) mod x25519;
#[cfg_attr(unsealed, path = "../benches/store/unsealed/xchacha.rs")]
pub(crate) mod xchacha;

/// Length of a Poly1305 tag, in bytes.
pub(crate) const TAG_LEN: usize = 16;
