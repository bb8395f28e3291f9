//! Opening a store.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::accept::{Accept, Accepted};
use super::change::Change;
use super::files::Files;
use super::format::{self, Extra, Meta, SnapshotHeader};
use super::named::Named;
use super::next::Next;
use super::options::{Options, Progress};
use super::replay::{self, Damage, Found, Reading};
use super::settle::settle;
use super::spare::Spare;
use super::stats::Counters;
use super::sync::Synced;
use super::view::View;
use super::witness::Witness;
use super::write::Writer;
use super::{Inner, Store, names, read_only};
use crate::error::{Error, Place, Result};
use crate::fs::{self, Fs, Lock};
use crate::keyring::{Follower, Keyring, Keyspace, Location};
use crate::process::Process;
use crate::seal::{Cells, LogId, State, StreamId};
use crate::secret::SecretBytes;
use crate::wal::{self, Appender, RESERVE};

/// A store's directory, looked at and found to be whole, or accepted as it is.
pub(super) struct Looked {
    pub(super) found: Found,
    state: State,
    extra: Extra,
    meta: Meta,
    /// Up to where the witness says that the log had come.
    witnessed: u64,
    /// What had to be accepted.
    needed: Accepted,
    /// The epoch of the key file that the state was sealed with.
    epoch: u64,
}

type Verify<'a> = Option<Box<dyn FnMut(Progress) + Send + 'a>>;

impl Store {
    /// Opens the store in a directory.
    ///
    /// The log must end where its state cell says and must be without a gap, and neither it nor the
    /// key file may be older than what is known. What was written and never became durable is cut
    /// off; what is there is made durable before anything relies on it, so the last segment is
    /// written again: to a copy, or in place where there is no room for one.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if there is no log, or its witness or snapshot is gone;
    /// [`Error::UnknownKeyspace`] if there is one, but its name is not registered; [`Error::Busy`];
    /// [`Misuse::KeyspaceOpen`](crate::Misuse::KeyspaceOpen); [`Error::UnknownDek`] if these are
    /// not its keys; [`Error::RolledBack`] if the log, the key file, the metadata or the snapshot
    /// is an older one; [`Error::Damaged`], with its location, also if a segment belongs to another
    /// keyspace; [`Error::Unauthentic`]; [`Error::Unsupported`]; [`Error::Io`].
    /// [`Options::accept`] has what an operator may let pass.
    pub fn open(
        location: impl Into<Location>,
        keyring: &Keyring,
        mut options: Options<'_>,
    ) -> Result<Self> {
        options.check()?;
        let (fs, dir) = location.into().into_parts();
        if options.read_only {
            return read_only::open((fs, dir), keyring, options);
        }
        let lock = lock(&*fs, &dir)?;
        let claim = keyring.claim(&options.name)?;
        let keyspace = claim.open().map_err(|e| missing_or(e, &*fs, &dir))?;
        let changes = keyring.shared().changes();
        let mut looked = look(&*fs, &dir, &keyspace, &options, false)?;
        // The creation may have ended before it could say so.
        keyspace.set_made()?;
        // Before anything is sealed, which may reserve uses in the key file.
        let behind = looked.epoch < keyring.shared().epoch();
        // A rescue removes nothing.
        let tidy = options.accept.is_empty();
        if tidy {
            remove_temps(&*fs, &dir)?;
        }
        let sequence = looked.state.sequence;
        let cut_short = sequence < looked.witnessed || looked.needed.has(Accept::Witness);
        let out = settle(&*fs, &dir, &mut looked.found, cut_short)?;
        let witness = Witness::settle_found(&*fs, &dir, &keyspace.cells(), sequence)?;
        let verify = options.verify.take();
        let lock = (Some(lock), false);
        let leftovers = core::mem::take(&mut looked.found.leftovers);
        let keys = (keyring, keyspace);
        let inner = Inner::new((fs, dir), lock, keys, &options, (out, Some(witness)), looked)?;
        if tidy {
            inner.remove_leftovers(&leftovers)?;
        } else {
            inner.temps.store(names::first_free(&*inner.fs, &inner.dir)?, Ordering::Relaxed);
        }
        let store = Self::opened(inner, verify, &options)?;
        store.follow_keys();
        // Keys that changed meanwhile were not told to it. What was accepted is in a state already.
        let behind = behind && store.state().sequence == sequence;
        if behind || keyring.shared().changes() != changes {
            // Opening needs no room: the next change records it then.
            match store.inner.record() {
                Err(Error::Unrecorded { source, .. }) if is_full(&source) => {}
                recorded => recorded?,
            }
        }
        Ok(store)
    }

    /// Has every change of the keys recorded in the log.
    pub(super) fn follow_keys(&self) {
        let inner: Arc<dyn Follower> = Arc::clone(&self.inner) as _;
        self.inner.keyring.shared().follow(Arc::downgrade(&inner));
    }

    /// Looks at the snapshot, opens every entry if that is wanted, and keeps what was accepted.
    pub(super) fn opened(inner: Inner, verify: Verify<'_>, options: &Options<'_>) -> Result<Self> {
        let mut store = Self { inner: Arc::new(inner) };
        let mut needed = store.inner.view.seen().accepted;
        match store.check_snapshot(verify.is_some()) {
            Err(error) if options.accept.has(Accept::Snapshot) && is_lost(&error) => {
                needed.add(Accept::Snapshot);
            }
            checked => checked?,
        }
        if let Some(progress) = verify {
            let skip = options.accept.has(Accept::Damage);
            let lost = store.verify(progress, options.threads, skip)?;
            if !lost.is_empty() {
                needed.add(Accept::Damage);
            }
            if let Some(inner) = Arc::get_mut(&mut store.inner) {
                inner.damages.extend(lost);
            }
        }
        store.inner.keep_accepted(needed)?;
        Ok(store)
    }
}

impl Looked {
    /// Nothing yet but a first state.
    pub(super) fn empty(state: State, epoch: u64) -> Self {
        Self {
            found: Found::default(),
            witnessed: state.sequence,
            state,
            extra: Extra::default(),
            meta: Meta::new(),
            needed: Accepted::default(),
            epoch,
        }
    }

    /// The snapshot that the state names, and its header, if the log has it.
    pub(super) fn snapshot(&self) -> Option<(StreamId, Option<SnapshotHeader>)> {
        self.state.snapshot.map(|id| (id, self.found.snapshot.clone()))
    }
}

/// Reads a store's directory, and holds it to its state cell. Changes nothing.
pub(super) fn look(
    fs: &dyn Fs,
    dir: &Path,
    keyspace: &Keyspace,
    options: &Options<'_>,
    beside: bool,
) -> Result<Looked> {
    let cells = keyspace.cells();
    let mut needed = Accepted::default();
    let witnessed = match Witness::read(fs, dir, &cells) {
        Err(error) if is_lost(&error) && names::segments(fs, dir)?.is_empty() => {
            return Err(match error {
                Error::Missing(_) => Error::Missing(dir.to_owned()),
                other => other,
            });
        }
        Err(error) if is_lost(&error) => {
            // That it is another store's says more than that its witness does not open.
            for segment in names::segments(fs, dir)? {
                replay::hold_to_keyspace(fs, &segment.path, keyspace.id())?;
            }
            if !options.accept.has(Accept::Witness) {
                return Err(error);
            }
            needed.add(Accept::Witness);
            0
        }
        read => read?,
    };
    let committed =
        |sealed: &[u8]| cells.open_state(sealed).map_or(0, |state| state.committed.index);
    let accept = options.accept.has(Accept::Damage);
    let log = keyspace.log();
    let authentic = |id: LogId, prev, sealed: &[u8]| {
        let mut record = SecretBytes::from(sealed);
        let after = LogId { era: prev, ..LogId::START };
        log.open_batch(after, &mut [(id, record.expose_mut())]).is_ok()
    };
    let reading = Reading {
        keyspace: keyspace.id(),
        witnessed,
        accept,
        beside,
        committed: &committed,
        authentic: &authentic,
    };
    let mut found = replay::replay(fs, dir, &reading)?;
    if found.index.segments.is_empty() {
        return Err(Error::Missing(dir.to_owned()));
    }
    let (state, mut extra, sealed_at) = found.state(&cells)?;
    found.hold_to(&state, options, witnessed, &mut needed)?;
    let epoch = options.not_before.unwrap_or_default().0;
    let key_file = keyspace.shared().epoch();
    if key_file < epoch {
        return Err(Error::RolledBack { what: "key file", found: key_file, expected: epoch });
    }
    found.hold_to_chain(&extra);
    let meta = found.metadata(&cells, options, &mut extra)?;
    if !found.damages.is_empty() && !accept {
        return Err(first(&found.damages));
    }
    found.settle_on(&state, &reading)?;
    if !found.damages.is_empty() {
        needed.add(Accept::Damage);
    }
    if state.sequence < witnessed {
        let torn = found.torn.take();
        found.damages.extend(torn);
    }
    let covered = extra.snapshot_at.index;
    if state.snapshot.is_some() && covered < state.purged.index {
        let expected = state.purged.index;
        return Err(Error::RolledBack { what: "snapshot", found: covered, expected });
    }
    if state.committed.index > state.last.index {
        return Err(Error::damaged("the log ends before what is committed").in_file(dir));
    }
    Ok(Looked { found, state, extra, meta, witnessed, needed, epoch: sealed_at })
}

fn is_full(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if fs::is_full(source))
}

/// Whether an error says that something is not there as it was, and not that the system failed.
const fn is_lost(error: &Error) -> bool {
    matches!(
        error,
        Error::Missing(_)
            | Error::Damaged { .. }
            | Error::Unauthentic
            | Error::UnknownDek(_)
            | Error::RolledBack { .. }
            | Error::Unsupported { .. }
    )
}

fn first(damages: &[Damage]) -> Error {
    match damages.first() {
        Some(Damage { what, place }) => Error::Damaged { what, place: place.clone() },
        None => Error::damaged("nothing"),
    }
}

impl Found {
    /// Opens the state cell of the last change: the state, and the epoch of the key file that it was
    /// sealed with.
    fn state(&mut self, cells: &Cells) -> Result<(State, Extra, u64)> {
        if self.state.is_empty() {
            return Err(match self.torn.take() {
                Some(damage) => Error::Damaged { what: damage.what, place: damage.place },
                None => Error::damaged("a log without a state cell"),
            });
        }
        let (state, epoch) = cells.open_state_at(&self.state)?;
        let (state, extra) = format::without_extra(state)?;
        if state.sequence != self.sequence {
            return Err(Error::damaged("a state cell under another sequence"));
        }
        Ok((state, extra, epoch))
    }

    /// Refuses a log that ends before its end.
    fn hold_to(
        &mut self,
        state: &State,
        options: &Options<'_>,
        witnessed: u64,
        needed: &mut Accepted,
    ) -> Result<()> {
        let rolled_back =
            |expected| Err(Error::RolledBack { what: "log", found: state.sequence, expected });
        let anchored = options.not_before.unwrap_or_default().1;
        if state.sequence < anchored {
            return rolled_back(anchored);
        }
        if state.sequence >= witnessed {
            return Ok(());
        }
        if options.accept.has(Accept::Witness) {
            needed.add(Accept::Witness);
            return Ok(());
        }
        match self.torn.take() {
            Some(Damage { what, place }) => Err(Error::Damaged { what, place }),
            None => rolled_back(witnessed),
        }
    }

    /// Notes that the last segment holds other records than its state cell says.
    fn hold_to_chain(&mut self, extra: &Extra) {
        if self.damages.is_empty() && self.heads.chain() != extra.chain {
            let path = self.last_path().unwrap_or_default();
            self.damages.push(Damage::in_file("other records than were written", &path));
        }
    }

    /// Opens the metadata.
    fn metadata(
        &mut self,
        cells: &Cells,
        options: &Options<'_>,
        extra: &mut Extra,
    ) -> Result<Meta> {
        let found = self.meta.as_ref().map_or(0, |(sequence, _)| *sequence);
        if found != extra.meta {
            if self.damages.is_empty() || !options.accept.has(Accept::Damage) {
                return Err(Error::RolledBack { what: "metadata", found, expected: extra.meta });
            }
            extra.meta = 0;
            let what = "the metadata is lost";
            self.damages.push(Damage { what, place: Place::default() });
            return Ok(Meta::new());
        }
        match &self.meta {
            Some((sequence, sealed)) => super::frames::open_meta(cells, *sequence, sealed),
            None => Ok(Meta::new()),
        }
    }
}

impl Inner {
    pub(super) fn new(
        (fs, dir): (Arc<dyn Fs>, PathBuf),
        (lock, beside): (Option<Box<dyn Lock>>, bool),
        (keyring, keyspace): (&Keyring, Keyspace),
        options: &Options<'_>,
        (out, witness): (Appender, Option<Witness>),
        looked: Looked,
    ) -> Result<Self> {
        let Looked { found, state, mut extra, meta, needed, .. } = looked;
        let size = options.segment_size.saturating_add(RESERVE);
        let next = || Next::new(Arc::clone(&fs), &dir, size, options.prepare_ahead);
        let next = (!options.read_only).then(next).transpose()?;
        let named = Named::new(&*fs, &dir)?;
        let synced = Synced {
            sequence: state.sequence,
            witness,
            named,
            in_flight: Vec::new(),
            replaced: Vec::new(),
        };
        let before = extra.accepted;
        extra.accepted = before.union(needed);
        let unsaved = extra.accepted != before;
        let writer = Writer {
            out,
            segment: found.last,
            named: found.named,
            snapshot: found.snapshot.filter(|_| state.snapshot.is_some()),
            state,
            extra,
            heads: found.heads,
            meta,
            in_flight: Vec::new(),
            replaced: Vec::new(),
            unsaved,
        };
        Ok(Self {
            fs,
            dir,
            name: options.name.clone(),
            keyring: keyring.clone(),
            log: keyspace.log(),
            cells: keyspace.cells(),
            streams: keyspace.streams(),
            keyspace,
            segment_size: options.segment_size,
            next,
            beside,
            process: Process::current(),
            damages: found.damages,
            synced: Mutex::new(synced),
            view: View::of(&writer),
            writer: Mutex::new(writer),
            index: RwLock::new(found.index),
            names: Mutex::new(()),
            files: Files::default(),
            spare: Spare::default(),
            poisoned: AtomicBool::new(false),
            temps: AtomicU64::new(0),
            stats: Counters::default(),
            _lock: lock,
        })
    }

    /// Removes segments that do not count, and files of snapshots that were replaced.
    fn remove_leftovers(&self, segments: &[PathBuf]) -> Result<()> {
        self.remove_old_snapshots()?;
        segments.iter().try_for_each(|path| fs::remove_if_there(&*self.fs, path))
    }

    /// Writes to the log what was accepted, if that is more than it says already.
    fn keep_accepted(&self, needed: Accepted) -> Result<()> {
        let unsaved = {
            let mut writer = self.writer();
            let before = writer.extra.accepted;
            writer.extra.accepted = before.union(needed);
            self.view.show(&writer, false, false);
            writer.unsaved || writer.extra.accepted != before
        };
        if unsaved && self.next.is_some() {
            let sequence = self.write(Change::new(), None)?;
            self.sync_keeping(sequence)?;
        }
        Ok(())
    }
}

pub(super) fn lock(fs: &dyn Fs, dir: &Path) -> Result<Box<dyn Lock>> {
    let path = dir.join("store.lock");
    fs.try_lock(&path).map_err(|e| Error::io("lock", &path, e))?.ok_or(Error::Busy(path))
}

/// The error of a name that is not registered, unless there is no log either.
pub(super) fn missing_or(error: Error, fs: &dyn Fs, dir: &Path) -> Error {
    match names::segments(fs, dir) {
        Ok(segments) if segments.is_empty() => Error::Missing(dir.to_owned()),
        Ok(_) => error,
        Err(missing) => missing,
    }
}

pub(super) fn remove_temps(fs: &dyn Fs, dir: &Path) -> Result<()> {
    for file in wal::list(fs, dir)?.1 {
        if names::is_temp(&file) {
            fs::remove_if_there(fs, &file)?;
        }
    }
    Ok(())
}
