//! What the fuzz targets share: fixed keys, and a second implementation of the formats.
//!
//! The second implementation is written from the formats' description, apart from the library's,
//! on other crates. It makes what a fuzzer cannot guess (a valid tag, a CRC chain, a check line),
//! so that a target gets behind it, and it says what the library should have found.

pub mod cluster;
pub mod fixed;
pub mod key_file;
pub mod reference;
pub mod segment;
pub mod store;
pub mod swarm;

/// The first byte, which chooses what a target does with the others.
#[must_use]
pub fn split_mode(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(mode, rest)| (*mode, rest))
}

/// `N` bytes from the front, zeros where there are none.
pub fn take<const N: usize>(data: &mut &[u8]) -> [u8; N] {
    let (taken, rest) = data.split_at(N.min(data.len()));
    let mut bytes = [0; N];
    bytes[..taken.len()].copy_from_slice(taken);
    *data = rest;
    bytes
}

/// Eight bytes from the front as a number.
pub fn take_u64(data: &mut &[u8]) -> u64 {
    u64::from_le_bytes(take(data))
}
