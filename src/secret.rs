//! Memory that holds secrets: 32-byte keys and payloads of any length.
//!
//! Both are filled in place and overwritten with zeros before their memory is released, also when
//! filling fails half-way. Neither can be cloned, compared with `==` or serialized, and their
//! `Debug` tells nothing.
//!
//! # Security
//!
//! Promised: every heap block that held the secret is overwritten before it is released. Not
//! promised: registers, stack spills, swap, core dumps, hibernation.

mod bytes;
mod key;

pub use bytes::SecretBytes;
pub(crate) use key::KEY_LEN;
pub use key::SecretKey;
