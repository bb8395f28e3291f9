//! Memory of changes, to use again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::secret::SecretBytes;
use crate::wal::Frames;

/// How many changes' memory is kept, and how large it may be, in bytes.
const KEPT: usize = 4;
const KEPT_SIZE: usize = 4 << 20;

#[derive(Default)]
pub(super) struct Spare(Mutex<Vec<SecretBytes>>);

impl Spare {
    fn held(&self) -> MutexGuard<'_, Vec<SecretBytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self) -> SecretBytes {
        self.held().pop().unwrap_or_default()
    }

    pub(super) fn put(&self, frames: Frames) {
        let mut buffer = SecretBytes::from_vec(frames.into_bytes());
        buffer.cut_sealed(0);
        let mut held = self.held();
        if held.len() < KEPT && buffer.capacity() <= KEPT_SIZE {
            held.push(buffer);
        }
    }
}
