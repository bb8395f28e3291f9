use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};

use super::format::{self, Extra, Meta};
use super::next::Next;
use super::options::Options;
use super::read::read_exact;
use super::replay::{self, Damage, Found};
use super::stats::Counters;
use super::witness::Witness;
use super::write::{Synced, Writer};
use super::{Inner, Store};
use crate::error::{Error, Result};
use crate::fs::{self, File, Fs, Lock};
use crate::keyring::{Keyring, Location};
use crate::seal::State;
use crate::secret::SecretBytes;
use crate::wal::{self, Appender, SegmentName};

/// How much is copied at once, in bytes.
const BLOCK: usize = 1 << 20;

impl Store {
    /// Makes an empty store in a folder, which is created where it is missing.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if a log is there; [`Error::Busy`]; [`Misuse::Name`](crate::Misuse::Name);
    /// [`Error::Io`].
    pub fn create(
        location: impl Into<Location>,
        keyring: &Keyring,
        options: Options<'_>,
    ) -> Result<Self> {
        options.check()?;
        let (fs, dir) = location.into().into_parts();
        fs.create_dir_all(&dir).map_err(|e| Error::io("create", &dir, e))?;
        let lock = lock(&*fs, &dir)?;
        if let Some(segment) = wal::list(&*fs, &dir)?.0.into_iter().next() {
            return Err(Error::Exists(segment.path));
        }
        remove_temps(&*fs, &dir)?;
        let state = State { sequence: 1, ..State::default() };
        let cells = keyring.cells();
        // Before the log: a log without a witness would be one that was tampered with.
        let witness = Witness::create(&*fs, &dir, &cells, &options.name, state.sequence)?;
        let path = dir.join(SegmentName { sequence: 1, first_index: 1 }.to_string());
        let temp = dir.join("first.tmp");
        let file = fs.create_new(&temp).map_err(|e| Error::io("create", &temp, e))?;
        let out = Appender::new(file.into(), path, 0, 0);
        let writer = Writer::new(out, state, Extra::default());
        let mut found = Found::default();
        found.named = 1;
        let inner = Inner::new((fs, dir), lock, keyring, &options, (writer, witness), found)?;
        let mut writer = inner.writer();
        inner.begin_segment(&mut writer, &temp)?;
        drop(writer);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens the store in a folder.
    ///
    /// The log must end where its state cell says and must be without a gap, and neither it nor the
    /// key file may be older than what is known. What was written and never became durable is cut
    /// off; what is there is made durable before anything relies on it, so the last segment is
    /// written anew.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if there is no log, or its witness or snapshot is gone; [`Error::Busy`];
    /// [`Error::UnknownDek`] if these are not its keys; [`Error::RolledBack`] if the log, the key
    /// file or the metadata is an older one; [`Error::Unauthentic`], [`Error::Damaged`], with its
    /// place; [`Error::Unsupported`]; [`Error::Io`].
    pub fn open(
        location: impl Into<Location>,
        keyring: &Keyring,
        mut options: Options<'_>,
    ) -> Result<Self> {
        options.check()?;
        let (fs, dir) = location.into().into_parts();
        let lock = lock(&*fs, &dir)?;
        let cells = keyring.cells();
        let witnessed = match Witness::read(&*fs, &dir, &cells, &options.name) {
            Err(Error::Missing(_)) if wal::list(&*fs, &dir)?.0.is_empty() => {
                return Err(Error::Missing(dir));
            }
            read => read?,
        };
        let mut found = replay::replay(&*fs, &dir, witnessed)?;
        if found.index.segments.is_empty() {
            return Err(Error::Missing(dir));
        }
        let (state, extra) = found.checked(&cells, &options, keyring, witnessed)?;
        remove_temps(&*fs, &dir)?;
        let out = settle(&*fs, &dir, &mut found)?;
        let witness = Witness::create(&*fs, &dir, &cells, &options.name, state.sequence)?;
        let writer = Writer::new(out, state, extra);
        let verify = options.verify.take();
        let inner = Inner::new((fs, dir), lock, keyring, &options, (writer, witness), found)?;
        inner.remove_leftovers()?;
        let mut store = Self { inner: Arc::new(inner) };
        store.check_snapshot(verify.is_some())?;
        if let Some(progress) = verify {
            let lost = store.verify(progress, options.threads, options.skip)?;
            if let Some(inner) = Arc::get_mut(&mut store.inner) {
                inner.damages.extend(lost);
            }
        }
        Ok(store)
    }
}

impl Found {
    /// Opens the state cell and holds the log to it.
    fn checked(
        &mut self,
        cells: &crate::seal::Cells,
        options: &Options<'_>,
        keyring: &Keyring,
        witnessed: u64,
    ) -> Result<(State, Extra)> {
        if self.state.is_empty() {
            return Err(match self.torn.take() {
                Some(damage) => Error::Damaged { what: damage.what, place: damage.place },
                None => Error::damaged("a log without a state cell"),
            });
        }
        let state = cells.open_state(&options.name, &self.state)?;
        let (state, extra) = format::without_extra(state)?;
        if state.sequence != self.sequence {
            return Err(Error::damaged("a state cell under another sequence"));
        }
        let (epoch, sequence) = options.not_before.unwrap_or_default();
        let known = sequence.max(witnessed);
        if state.sequence < known {
            return Err(match self.torn.take() {
                Some(damage) if state.sequence < witnessed => {
                    Error::Damaged { what: damage.what, place: damage.place }
                }
                _ => Error::RolledBack { what: "log", found: state.sequence, expected: known },
            });
        }
        let found = keyring.shared().epoch();
        if found < epoch {
            return Err(Error::RolledBack { what: "key file", found, expected: epoch });
        }
        let meta = self.meta.as_ref().map_or(0, |(sequence, _)| *sequence);
        if meta != extra.meta {
            return Err(Error::RolledBack { what: "metadata", found: meta, expected: extra.meta });
        }
        if !options.skip
            && let Some(Damage { what, place }) = self.damages.first()
        {
            return Err(Error::Damaged { what, place: place.clone() });
        }
        self.settle_on(&state)?;
        Ok((state, extra))
    }
}

impl Inner {
    fn new(
        (fs, dir): (Arc<dyn Fs>, PathBuf),
        lock: Box<dyn Lock>,
        keyring: &Keyring,
        options: &Options<'_>,
        (writer, witness): (Writer, Witness),
        found: Found,
    ) -> Result<Self> {
        let log = keyring.log(&options.name)?;
        let next = Next::new(Arc::clone(&fs), &dir, options.segment_size, options.prepare_ahead)?;
        let synced = Synced { sequence: writer.state.sequence, witness };
        let inner = Self {
            fs,
            dir,
            name: options.name.clone(),
            stream: format!("{}.snapshot", options.name),
            keyring: keyring.clone(),
            log,
            cells: keyring.cells(),
            streams: keyring.streams(),
            segment_size: options.segment_size,
            next,
            damages: found.damages,
            synced: Mutex::new(synced),
            writer: Mutex::new(writer),
            index: RwLock::new(found.index),
            poisoned: AtomicBool::new(false),
            temps: AtomicU64::new(0),
            stats: Counters::default(),
            _lock: lock,
        };
        let mut writer = inner.writer();
        (writer.segment, writer.named) = (found.last, found.named);
        if let Some((sequence, sealed)) = &found.meta {
            writer.meta = inner.open_meta(*sequence, sealed)?;
        }
        writer.snapshot = found.snapshot.filter(|_| writer.state.snapshot.is_some());
        drop(writer);
        Ok(inner)
    }

    /// Removes segments that hold nothing any more, and files of snapshots that were replaced.
    fn remove_leftovers(&self) -> Result<()> {
        let writer = self.writer();
        let dead = self.dead_segments(writer.segment);
        let current = writer.state.snapshot.map(|id| self.snapshot_path(id));
        drop(writer);
        for file in wal::list(&*self.fs, &self.dir)?.1 {
            let snapshot = file.extension().is_some_and(|ext| ext == "snap");
            if snapshot && current.as_ref() != Some(&file) {
                fs::remove_if_there(&*self.fs, &file)?;
            }
        }
        self.drop_segments(&dead)
    }
}

impl Writer {
    fn new(out: Appender, state: State, extra: Extra) -> Self {
        Self {
            out,
            segment: 0,
            named: 0,
            durable: state.sequence,
            state,
            extra,
            meta: Meta::new(),
            snapshot: None,
            in_flight: Vec::new(),
            changes: Vec::new(),
        }
    }
}

fn lock(fs: &dyn Fs, dir: &Path) -> Result<Box<dyn Lock>> {
    let path = dir.join("store.lock");
    fs.try_lock(&path).map_err(|e| Error::io("lock", &path, e))?.ok_or(Error::Busy(path))
}

fn remove_temps(fs: &dyn Fs, dir: &Path) -> Result<()> {
    for file in wal::list(fs, dir)?.1 {
        if file.extension().is_some_and(|ext| ext == "tmp") {
            fs::remove_if_there(fs, &file)?;
        }
    }
    Ok(())
}

/// Writes the last segment anew up to the end of the log, and puts it in its place.
///
/// Its bytes, and its name, may not be durable: a process that was killed may have left them so,
/// and after a failed fsync another one proves nothing. The segments before it were durable before
/// it was begun; those that a rotation replaced are not relied on until they are replaced again.
fn settle(fs: &dyn Fs, dir: &Path, found: &mut Found) -> Result<Appender> {
    let gone = || Error::damaged("no segment").in_file(dir);
    let segment = found.index.segments.get_mut(&found.last).ok_or_else(gone)?;
    let temp = dir.join("settle.tmp");
    let copy: Arc<dyn File> =
        fs.create_new(&temp).map_err(|e| Error::io("create", &temp, e))?.into();
    let mut block = SecretBytes::new();
    let mut at = 0;
    while at < found.end {
        let len = usize::try_from(found.end - at).map_or(BLOCK, |rest| rest.min(BLOCK));
        block.resize(len);
        read_exact(&*segment.file, &segment.path, at, block.expose_mut())?;
        copy.write_all_at(block.expose(), at).map_err(|e| Error::io("write", &temp, e))?;
        at += u64::try_from(len).unwrap_or(u64::MAX);
    }
    copy.sync().map_err(|e| Error::io("sync", &temp, e))?;
    fs.rename(&temp, &segment.path).map_err(|e| Error::io("rename", &temp, e))?;
    fs.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
    (segment.file, segment.settled) = (Arc::clone(&copy), true);
    Ok(Appender::new(copy, segment.path.clone(), found.end, found.chain))
}
