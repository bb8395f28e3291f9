//! In place of the system's generator: numbers that differ.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::secret::SecretKey;

pub(crate) fn fill(bytes: &mut [u8]) -> Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    bytes.iter_mut().zip(next).for_each(|(byte, next)| *byte = next);
    Ok(())
}

pub(crate) fn array<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn key() -> Result<SecretKey> {
    SecretKey::try_init(|bytes| fill(bytes))
}
