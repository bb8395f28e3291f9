//! Who records that the keys changed.
//!
//! A key file that is put back alone looks like any key file. What is stored elsewhere has to say how
//! far it had come, and has to say so when the change is made, not when it is next written to.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::Result;

/// Something that keeps the key file's epoch, and is open.
pub(crate) trait Follower: Send + Sync {
    /// Makes the epoch of the key file durable. No lock of the keyring is held.
    fn record(&self) -> Result<()>;
}

#[derive(Default)]
pub(super) struct Followers {
    all: Mutex<Vec<Weak<dyn Follower>>>,
    /// A change was made that not all of them have recorded.
    behind: AtomicBool,
    /// How many changes there were.
    changes: AtomicU64,
    /// Held while they are told: who finds nothing to tell must not return before they have recorded it.
    telling: Mutex<()>,
}

impl Followers {
    pub(super) fn add(&self, follower: Weak<dyn Follower>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() != 0);
        all.push(follower);
    }

    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.behind.store(true, Ordering::Release);
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Lets all of them record what changed, also what an earlier call failed to. One that fails keeps
    /// none of the others from it; the first error is returned.
    pub(super) fn tell(&self) -> Result<()> {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.behind.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let open: Vec<Arc<dyn Follower>> = {
            let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().filter_map(Weak::upgrade).collect()
        };
        let told = open.iter().map(|one| one.record()).fold(Ok(()), Result::and);
        told.inspect_err(|_| self.behind.store(true, Ordering::Release))
    }
}
