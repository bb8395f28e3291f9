//! Changes of a stopped manager's folder: other keys, another membership.
//!
//! The key file is driven by the same machine as the native one. A change reads everything, writes
//! a snapshot of the whole state and a segment that goes on from it, sealed under the new DEK, and
//! removes what stood there, so that nothing is left under a DEK that is given up.
//!
//! # Order
//!
//! 1. The new snapshot and segment, durable, under temporary names that Swarm ignores.
//! 2. The key file, with the DEK so far as current and the new one as pending, wrapped for the new
//!    unlock key if there is one. Up to here a failure leaves the folder as it was.
//! 3. The segment gets its name, then the snapshot; the old ones are removed.
//! 4. The key file with the new DEK alone.
//!
//! Wherever it stops, the folder opens: before 2 with the old unlock key, after it with the new one,
//! for us and for dockerd, which takes a pending DEK for a rotation of its own. A second run
//! finishes: between 2 and 3 the cluster's object has the old unlock key still, which dockerd would put
//! back at its next change.

mod keys;
mod report;
mod rewrite;
#[cfg(test)]
mod tests;
mod turn;

use core::fmt;
use std::path::Path;
use std::sync::Arc;

use keys::KeyState;
pub use report::{Progress, Report};
use rewrite::{Edit, Reading, Rewrite};
use turn::{Turn, again};

use crate::error::{Error, Result};
use crate::fs::{Fs, Lock, RealFs};
use crate::key::{Rekey, UnlockKey};
use crate::swarm::folder::Folder;
use crate::swarm::state::read_key_file;
use crate::wal::etcd::SEGMENT_SIZE;

/// A change of a manager's folder.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Change<'a> {
    /// Finishes a rotation of the DEK that was found half done, by dockerd or by an earlier run, gives
    /// the cluster the unlock key of a change that was interrupted, and rotates a DEK that is marked as
    /// one that stood in the clear. Nothing else, but that a `kek-version` beyond the log is mended, here
    /// and by a new DEK, where the key is the cluster's.
    FinishRotation,
    /// A new DEK. Also for one of several managers: nothing changes but this node's own files.
    RotateDek,
    /// Another unlock key. In a cluster of several managers it can only be the one that the cluster
    /// has already, as this node's own store knows it: what one manager writes into its log on its own
    /// is not the cluster's.
    RotateUnlockKey {
        /// The key.
        new: &'a UnlockKey,
        /// Whether the DEK changes too. Unless it does, the old unlock key and an old copy of the
        /// key file go on opening what the node seals.
        rekey: Rekey,
    },
    /// Locks a manager that was not locked, with a new DEK: the one so far stood in the clear.
    Lock {
        /// The key.
        new: &'a UnlockKey,
    },
    /// Autolock off, with a new DEK: the one of the locked time is not put into the clear.
    AutolockOff,
    /// Cuts the membership down to this node, so that dockerd starts alone from it. For a cluster
    /// that lost its quorum for good; the other managers must never come back.
    ForceNewCluster,
}

/// The folder of a stopped manager, held for a change.
///
/// While it is held no dockerd opens the folder's log: it has etcd's own locks.
///
/// ```no_run
/// use nodeseal::swarm::{Change, Manager, Progress};
/// use nodeseal::{Rekey, UnlockKey};
///
/// let old = UnlockKey::from_text("SWMKEY-1-Lh2nIahpm1gNl17yUYIEjb90rMgvE9CS+rrp/d1nquo")?;
/// let manager = Manager::open("/var/lib/docker/swarm", Some(&old))?;
/// let new = UnlockKey::generate()?;
/// // Kept in a safe place first: from some moment on nothing else opens the folder.
/// println!("{}", &*new.to_text());
/// let change = Change::RotateUnlockKey { new: &new, rekey: Rekey::NewDek };
/// let report = manager.apply(change, &mut |progress| eprintln!("{progress:?}"))?;
/// println!("{} secrets", report.objects[&nodeseal::swarm::ObjectKind::Secret]);
/// # Ok::<(), nodeseal::Error>(())
/// ```
pub struct Manager {
    fs: Arc<dyn Fs>,
    folder: Folder,
    state: KeyState,
    locks: Vec<Box<dyn Lock>>,
    segment_size: u64,
}

impl Manager {
    /// Takes the folder in `dir`, which holds `certificates` and `raft`. The key is not looked at
    /// when the key file is not locked. Nothing is changed.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while a dockerd runs on it. [`Error::KeyRequired`] and [`Error::WrongKey`] are
    /// of the unlock key. [`Error::Missing`] when there is no key file or no log. [`Error::Damaged`]
    /// when the key file is, or has no DEK. [`Error::Io`] is what the system says, on systems other
    /// than Linux that there are no such locks.
    pub fn open(dir: impl AsRef<Path>, key: Option<&UnlockKey>) -> Result<Self> {
        Self::open_in(Arc::new(RealFs::default()), dir.as_ref(), key)
    }

    /// As [`Manager::open`], through a given file system.
    ///
    /// # Errors
    ///
    /// As for [`Manager::open`].
    pub fn open_in(fs: Arc<dyn Fs>, dir: &Path, key: Option<&UnlockKey>) -> Result<Self> {
        let folder = Folder::new(dir);
        let locks = folder.lock(&*fs)?;
        if locks.is_empty() {
            return Err(Error::Missing(folder.log()));
        }
        let path = folder.key_file();
        let file = read_key_file(&*fs, &path)?;
        let keys = file.unlock(key).map_err(|error| error.in_file(&path))?;
        let state = KeyState::new(&file, keys, key).map_err(|error| error.in_file(&path))?;
        Ok(Self { fs, folder, state, locks, segment_size: SEGMENT_SIZE })
    }

    /// What [`Manager::apply`] would do. Changes nothing.
    ///
    /// # Errors
    ///
    /// As for [`Manager::apply`].
    pub fn plan(&self, change: Change<'_>) -> Result<Report> {
        let mut reading = self.read()?;
        // What is found half done is finished before the machine is asked for more.
        let (mut next, mut finished) = (self.state.duplicate(), None);
        while next.is_rotating() {
            next = next.without_retiring()?;
            finished = Some(reading.index);
            reading.index = reading.last_index_after(reading.index);
        }
        let change = again(change, &reading, &self.state);
        let turn = Turn::of(change, &reading, &next)?;
        let last = turn.apply(&next)?;
        let needed = turn.is_needed(&next, &last);
        let last = if last.is_rotating() { last.without_retiring()? } else { last };
        let mut report = turn.report(&reading);
        match finished {
            _ if needed => {}
            Some(index) => report.snapshot_index = index,
            None => report.replaced.clear(),
        }
        report.keys(&self.state, &last);
        Ok(report)
    }

    /// Makes a change. It is done and durable when this returns; if it fails, the folder is as it
    /// was, or opens with the new unlock key, and a second run or [`Change::FinishRotation`] finishes.
    ///
    /// What a running dockerd did not finish is finished first. `progress` is called as the work
    /// goes on.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if something in log or snapshots would be lost: nothing is changed then.
    /// [`Misuse::State`](crate::Misuse::State) if the change does not fit the state, as locking what
    /// is locked, or is not one that a member of a larger cluster can make on its own. [`Error::Io`]
    /// is what the system says.
    pub fn apply(
        mut self,
        change: Change<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Report> {
        let before = self.state.duplicate();
        progress(Progress::Reading);
        let mut reading = self.read()?;
        let change = again(change, &reading, &before);
        // Refused before anything is changed.
        Turn::of(change, &reading, &before)?;
        let (mut replaced, mut finished) = (Vec::new(), None);
        while self.state.is_rotating() {
            finished = Some(reading.index);
            replaced.extend(reading.report(Edit::Nothing).replaced);
            let next = self.state.duplicate();
            self.rewrite(Edit::Nothing, next, reading, progress)?;
            reading = self.read()?;
        }
        let state = self.state.duplicate();
        let turn = Turn::of(change, &reading, &state)?;
        let next = turn.apply(&state)?;
        let mut report = turn.report(&reading);
        if turn.is_needed(&self.state, &next) {
            replaced.append(&mut report.replaced);
            self.rewrite(turn.edit, next, reading, progress)?;
        } else if let Some(index) = finished {
            report.snapshot_index = index;
        }
        report.replaced = replaced;
        report.keys(&before, &self.state);
        Ok(report)
    }

    fn read(&self) -> Result<Reading> {
        Reading::of(&*self.fs, &self.folder, &self.state.node_keys())
    }

    /// One turn: everything is sealed under `next`'s active DEK, and the retiring one goes.
    fn rewrite(
        &mut self,
        edit: Edit<'_>,
        next: KeyState,
        reading: Reading,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let (fs, path) = (Arc::clone(&self.fs), self.folder.key_file());
        let mut next = next;
        next.cipher = next.cipher.max(reading.cipher());
        let with = Rewrite {
            edit,
            sealer: next.sealer(),
            segment_size: self.segment_size,
            keep_torn: !next.is_rotating(),
        };
        let prepared = reading.prepare(&*fs, &self.folder, &with, progress)?;
        progress(Progress::KeyFile);
        // Also if nothing in it changes: what was found may not be durable.
        if let Err(error) = next.write(&*fs, &path) {
            prepared.discard();
            return Err(error);
        }
        let lock = prepared.publish(&self.folder, progress)?;
        self.locks.push(lock);
        self.state = next;
        if self.state.is_rotating() {
            let last = self.state.without_retiring()?;
            last.write(&*fs, &path)?;
            self.state = last;
        }
        Ok(())
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("key_file", &self.folder.key_file())
            .field("protection", &self.state.lifecycle.protection())
            .finish_non_exhaustive()
    }
}
