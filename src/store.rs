//! A durable sealed log for any raft engine or none: entries, votes, metadata and snapshots.
//!
//! A [`Store`] is a folder. A [`Change`] is what one write adds to it, whole or not at all: entries,
//! a truncation, a purge, a vote, metadata. Every change ends with the log's state cell, so that one
//! fsync covers all of it, and opening finds out a log that was cut, mixed or put back.
//!
//! | file | what it is |
//! |---|---|
//! | `<sequence>-<first index>.wal` | segments: frames as in etcd's log, their content sealed |
//! | `<stream id>.snap` | the snapshot's stream; its header stands in the log |
//! | `store.witness` | how far the log had come |
//! | `next.tmp` | the next segment's file, prepared |
//! | `store.lock` | the lock of the process that has it open; never renamed or removed |
//!
//! `docs/design.md` has the bytes.
//!
//! Calls block; none is `async`. A thread of the store's own prepares segment files ahead
//! ([`Options::prepare_ahead`]). After a write or a sync that failed, what is on the disk is not
//! known: everything but reading returns [`Error::Poisoned`] until the store is opened anew.
//!
//! ```
//! use nodeseal::seal::{Era, LogId};
//! use nodeseal::store::{Change, Options};
//! use nodeseal::{Identity, Keyring, Protector, Store, UnlockKey};
//!
//! # let dir = tempfile::tempdir()?;
//! let me = Identity::new("prod", "m1")?;
//! let protector = Protector::unlock_key(&UnlockKey::generate()?);
//! let keyring = Keyring::create(dir.path().join("keys"), &me, protector, &[])?;
//! let store = Store::create(dir.path().join("raft"), &keyring, Options::new("raft"))?;
//!
//! let term = Era::term(1);
//! let mut change = Change::new();
//! change.push(LogId::new(1, term), |out| out.extend_from_slice(b"create secret db_password"))?;
//! change.push(LogId::new(2, term), |out| out.extend_from_slice(b"create service web"))?;
//! change.vote(b"term 1, for m1");
//! store.apply(change)?; // durable when it returns
//! drop(store);
//!
//! let store = Store::open(dir.path().join("raft"), &keyring, Options::new("raft"))?;
//! assert_eq!(store.state().last, LogId::new(2, term));
//! let mut seen = Vec::new();
//! store.read(1..=2, |id, entry| {
//!     seen.push((id.index, entry.len()));
//!     Ok::<(), nodeseal::Error>(())
//! })?;
//! assert_eq!(seen, [(1, 25), (2, 18)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::{Error, Result};
use crate::fs::{Fs, Lock};
use crate::keyring::Keyring;
use crate::seal::{Cells, Log, LogId, State, Streams};
use crate::secret::SecretBytes;

mod change;
mod cut;
mod format;
mod frames;
mod index;
mod next;
mod open;
mod options;
mod read;
mod replay;
mod rotation;
mod snapshot;
mod stats;
#[cfg(test)]
mod tests;
mod verify;
mod witness;
mod write;

pub use change::Change;
pub use options::{Options, Progress};
pub use replay::Damage;
pub use rotation::{Rotation, Step};
pub use snapshot::{Snapshot, SnapshotReader, SnapshotWriter};
pub use stats::{DekStats, Stats};
pub use write::Pending;

use index::Index;
use next::Next;
use stats::Counters;
use write::{Synced, Writer};

/// A durable sealed log with its vote, metadata and snapshot.
///
/// Clones are handles on the same store: cheap, `Send + Sync + 'static`. The folder's lock is
/// released when the last of them is dropped.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// Locks are taken in the order `synced`, `writer`, `index`.
struct Inner {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// The log's name.
    name: String,
    /// The name of its snapshots' streams.
    stream: String,
    keyring: Keyring,
    log: Log,
    cells: Cells,
    streams: Streams,
    segment_size: u64,
    next: Next,
    damages: Vec<Damage>,
    synced: Mutex<Synced>,
    writer: Mutex<Writer>,
    index: RwLock<Index>,
    poisoned: AtomicBool,
    temps: AtomicU64,
    stats: Counters,
    _lock: Box<dyn Lock>,
}

impl Store {
    /// Where the log begins and ends, the vote, the last entry known to be committed, the snapshot.
    ///
    /// It may be ahead of what is durable by what was written and not waited for.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.writer().state.clone()
    }

    /// What was saved under a name.
    #[must_use]
    pub fn meta(&self, name: &str) -> Option<Arc<SecretBytes>> {
        self.inner.writer().meta.get(name).map(Arc::clone)
    }

    /// The id of the entry `index`, if the log holds it.
    #[must_use]
    pub fn id_at(&self, index: u64) -> Option<LogId> {
        self.inner.index().id_at(index)
    }

    /// What a caller keeps in a monotonic store elsewhere to find out that everything was put back
    /// together: the key file's epoch and the sequence of the last change that is durable. For
    /// [`Options::not_before`].
    #[must_use]
    pub fn anchor(&self) -> (u64, u64) {
        (self.inner.keyring.shared().epoch(), self.inner.writer().durable)
    }

    /// What was damaged when the store was opened, and left out.
    #[must_use]
    pub fn damages(&self) -> &[Damage] {
        &self.inner.damages
    }

    /// What the store did since it was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.stats.add().clone()
    }
}

impl Inner {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn synced(&self) -> MutexGuard<'_, Synced> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn intact(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Refuses everything after a write that failed.
    fn or_poison<T>(&self, written: Result<T>) -> Result<T> {
        if written.is_err() {
            self.poisoned.store(true, Ordering::Release);
        }
        written
    }

    /// A name for a temporary file that nobody else has.
    fn temp(&self) -> PathBuf {
        let n = self.temps.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{n}.tmp"))
    }

    fn sync_dir(&self) -> Result<()> {
        self.fs.sync_dir(&self.dir).map_err(|e| Error::io("sync", &self.dir, e))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.inner.dir)
            .field("name", &self.inner.name)
            .finish_non_exhaustive()
    }
}
