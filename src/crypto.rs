//! The primitives, knowing nothing of what they seal.

pub(crate) mod argon2id;
pub(crate) mod hkdf;
pub(crate) mod hmac;
pub(crate) mod hpke;
pub(crate) mod kernel;
pub(crate) mod random;
pub(crate) mod sealed_box;
pub(crate) mod secretbox;
pub(crate) mod stack;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod verdict;
pub(crate) mod x25519;
pub(crate) mod xchacha;
pub(crate) mod xwing;

/// Length of a Poly1305 tag, in bytes.
pub(crate) const TAG_LEN: usize = 16;
