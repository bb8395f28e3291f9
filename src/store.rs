//! A durable sealed log for any raft engine or none: entries, votes, metadata and snapshots.
//!
//! A [`Store`] is a directory. A [`Change`] is what one write adds to it, whole or not at all:
//! entries, a truncation, a purge, a vote, metadata. Every change ends with the log's state cell, so
//! that one fsync covers all of it, and opening finds a log that was cut, mixed or put back.
//!
//! | file | what it is |
//! |---|---|
//! | `<sequence>-<first index>.wal` | segments: frames as in etcd's log, their content sealed |
//! | `<stream id>.snap` | the snapshot's stream; its header is in the log |
//! | `store.witness` | how far the log had come |
//! | `store.<name>.tmp` | files that are being made |
//! | `store.lock` | the lock of the process that has it open; never renamed or removed |
//!
//! A store is registered in the key file under its name, as a [`Keyspace`]. It opens from
//! whatever directory it was moved to, and no other store opens in its place.
//!
//! Other files in the directory are left alone. `docs/design.md` has the bytes.
//!
//! Calls block; none is `async`. [`Store::state`], [`Store::meta`], [`Store::anchor`] and their like
//! return without waiting for the disk. A thread of the store's own prepares segment files ahead
//! ([`Options::prepare_ahead`]).
//!
//! # Failures
//!
//! - A change that does not fit the disk is an error and changes nothing; the store can be used
//!   further. Purges, truncations and votes fit a full disk for some time, so that room can be made.
//! - After any other write or sync that failed, what is on the disk is not known: everything but
//!   reading returns [`Error::Poisoned`] until the store is opened again. No sync follows on a file
//!   of which one failed.
//! - What opening refuses, [`Options::accept`] lets pass by name. [`Options::read_only`] looks
//!   without changing anything, and [`Store::inspect`] says what is wrong where.
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

use crate::error::{Error, Misuse, Result};
use crate::fs::{Fs, Lock};
use crate::keyring::{Keyring, Keyspace};
use crate::process::Process;
use crate::seal::{Cells, Log, LogId, State, Streams};
use crate::secret::SecretBytes;

mod accept;
mod chain;
mod change;
mod create;
mod cursor;
mod files;
mod format;
mod frames;
mod index;
mod inspect;
mod named;
mod names;
mod next;
mod open;
mod options;
mod read;
mod read_only;
mod replay;
mod roll;
mod rotation;
mod settle;
mod snapshot;
mod spare;
mod stats;
mod sync;
mod table;
#[cfg(test)]
mod tests;
mod verify;
mod view;
mod witness;
mod write;

pub use accept::Accept;
pub use change::Change;
pub use cursor::Cursor;
pub use inspect::{FileReport, FrameReport, Inspection, Kind, Verdict};
pub use options::{Options, Progress};
pub use replay::Damage;
pub use rotation::{Rotation, Step};
pub use snapshot::{Snapshot, SnapshotReader, SnapshotWriter};
pub use stats::{DekStats, Stats};
pub use write::Pending;

use files::Files;
use index::Index;
use next::Next;
use spare::Spare;
use stats::Counters;
use sync::Synced;
use view::View;
use write::Writer;

/// A durable sealed log with its vote, metadata and snapshot.
///
/// Clones are handles on the same store: cheap, `Send + Sync + 'static`. The directory's lock is
/// released when the last of them is dropped.
///
/// In a process that is forked later every call that would write is [`Misuse::Forked`], as for a
/// [`Keyring`].
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// Locks are taken in the order `synced`, `writer`, `index`, then `names` or `view`.
struct Inner {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// The store's name.
    name: String,
    keyring: Keyring,
    keyspace: Keyspace,
    log: Log,
    cells: Cells,
    streams: Streams,
    segment_size: u64,
    damages: Vec<Damage>,
    /// Held by everything that syncs a segment.
    synced: Mutex<Synced>,
    writer: Mutex<Writer>,
    index: RwLock<Index>,
    /// Held while the directory is synced.
    names: Mutex<()>,
    view: View,
    files: Files,
    spare: Spare,
    poisoned: AtomicBool,
    temps: AtomicU64,
    stats: Counters,
    /// `None`: open read-only.
    next: Option<Next>,
    /// Open read-only, and another may write.
    beside: bool,
    /// The process that may write.
    process: Process,
    /// `None`: open read-only, beside a writer or where there are no shared locks.
    _lock: Option<Box<dyn Lock>>,
}

impl Store {
    /// Returns where the log begins and ends, the vote, the last entry known to be committed, the
    /// snapshot's id. Includes changes that were written but not yet synced.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.view.seen().state.clone()
    }

    /// Returns what was saved under a name.
    #[must_use]
    pub fn meta(&self, name: &str) -> Option<Arc<SecretBytes>> {
        self.inner.view.seen().meta.get(name).map(Arc::clone)
    }

    /// Returns the last entry that the snapshot covers; `None` if there is no snapshot.
    #[must_use]
    pub fn snapshot_at(&self) -> Option<LogId> {
        let seen = self.inner.view.seen();
        seen.state.snapshot.map(|_| seen.snapshot_at)
    }

    /// Returns the id of the entry `index`, if the log holds it.
    #[must_use]
    pub fn id_at(&self, index: u64) -> Option<LogId> {
        self.inner.index().id_at(index)
    }

    /// Returns what a caller keeps in a monotonic store elsewhere to find out that everything was put
    /// back together: the key file's epoch and the sequence of the last change that is durable. For
    /// [`Options::not_before`].
    #[must_use]
    pub fn anchor(&self) -> (u64, u64) {
        (self.inner.keyring.shared().epoch(), self.inner.view.seen().durable)
    }

    /// Returns what was accepted with [`Options::accept`] since a peer's snapshot last replaced the
    /// log, because the store did not open otherwise. A member of a raft group with any of it must
    /// not vote.
    #[must_use]
    pub fn accepted(&self) -> Vec<Accept> {
        self.inner.view.seen().accepted.iter().collect()
    }

    /// Returns the corruption that was skipped when the store was opened, and its location.
    #[must_use]
    pub fn damages(&self) -> &[Damage] {
        &self.inner.damages
    }

    /// Returns what the store did since it was opened.
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

    /// Refuses in a store that is open read-only, in a forked process, and after a write that failed.
    fn writable(&self) -> Result<()> {
        if self.next.is_none() {
            return Err(Misuse::State("the store is open read-only").into());
        }
        self.process.check()?;
        self.intact()
    }

    /// A name for a temporary file that nobody else has.
    fn temp(&self) -> PathBuf {
        let n = self.temps.fetch_add(1, Ordering::Relaxed);
        self.dir.join(names::temp(n))
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
