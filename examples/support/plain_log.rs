//! A sealed log in one plain file: what an embedder with storage of their own has to do. Copy it
//! together with its tests (`tests/plain_log.rs`), which cut the power at every operation.
//!
//! | rule | how |
//! |---|---|
//! | An append counts whole or not at all. | A batch has a CRC, and ends with the state cell. |
//! | An append is acknowledged only if it can be found again. | One write and one fsync; after that the file of the log's name must end with it. |
//! | After a failed write or fsync nothing more is written. | The file is taken before the write, and put back only after success. |
//! | What one start reads, the next reads too. | Opening writes what it found to a new file and renames that over the log. Another fsync would prove nothing: after a failed one the kernel takes the lost bytes for written. |
//! | The file's name is durable. | The directory is synced after every rename, also the first. |
//! | A missing log is an error. | `create` and `open` are two calls. |
//!
//! Once an append is durable, its sequence is written to the file's head, the *mark*, without an
//! fsync of its own. The mark is never ahead of what is durable, and at most one append behind it.
//!
//! | `open` finds | it is |
//! |---|---|
//! | a last batch that is not whole, and a mark that does not cover it | an append that was never acknowledged: left out |
//! | a mark that is ahead of the last whole batch | corruption of an acknowledged append: an error |
//! | a whole batch that does not open | tampering, or another key file: an error |
//!
//! It cannot tell:
//!
//! - that the last acknowledged append was corrupted, if its mark is lost too (in a power cut, or
//!   corrupted itself): that append is left out;
//! - that the file as a whole is an older copy: to find that, keep the state's sequence elsewhere.
//!
//! Opening and re-sealing need room for a second copy of the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nodeseal::fs::{File, Fs, Lock};
use nodeseal::keyring::Keyspace;
use nodeseal::seal::{Cells, Era, InFlight, Log, LogId, SealedCell, State};
use nodeseal::secret::SecretBytes;
use nodeseal::{Error, Keyring, Place, Result};

mod batch;

use batch::{Batch, Contents, Frame};
pub(crate) use batch::{HEAD, SECTOR};

const NAME: &str = "raft";
const MARKS: &str = "plain-log-marks";

pub(crate) struct PlainLog {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    /// `None` after a failed write or fsync: nothing knows what is durable until the log is opened
    /// again.
    file: Option<Box<dyn File>>,
    /// Where the next batch goes.
    end: u64,
    keyspace: Keyspace,
    log: Log,
    cells: Cells,
    state: State,
    buffer: SecretBytes,
    _lock: Box<dyn Lock>,
}

impl PlainLog {
    /// Creates an empty log. Its directory must be there, and durable.
    pub(crate) fn create(fs: Arc<dyn Fs>, path: &Path, keyring: &Keyring) -> Result<Self> {
        let mut plain = Self::locked(fs, path, keyring)?;
        match plain.fs.open_read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed("open", path, e)),
            Ok(_) => return Err(Error::Exists(path.to_owned())),
        }
        let state = State { sequence: 1, ..State::default() };
        let cell = plain.cells.seal_state(&state)?;
        plain.replace(&Batch::new().state(&cell)?, state)?;
        cell.durable();
        Ok(plain)
    }

    /// Opens the log, without what was never acknowledged, and makes durable what it found.
    pub(crate) fn open(fs: Arc<dyn Fs>, path: &Path, keyring: &Keyring) -> Result<Self> {
        let mut plain = Self::locked(fs, path, keyring)?;
        let file = plain.fs.open_read(path).map_err(|e| failed("open", path, e))?;
        // Read once: what is checked here is what is written.
        let bytes = read_all(&*file, path)?;
        let contents = Contents::parse(&bytes)?;
        let state = plain.check(&contents)?;
        plain.replace(&bytes[HEAD..contents.end], state)?;
        Ok(plain)
    }

    /// The name of its keyspace, for a sweep.
    pub(crate) fn name(&self) -> &str {
        self.keyspace.name()
    }

    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    /// Appends entries of one era: sealed together, durable together when it returns.
    ///
    /// After an error they may be there or not, all or none: opening the log again tells.
    pub(crate) fn append(&mut self, era: Era, entries: &[impl AsRef<[u8]>]) -> Result<()> {
        let mut state = self.state.clone();
        let mut batch = self.log.batch(state.last).with_buffer(std::mem::take(&mut self.buffer));
        for entry in entries {
            state.last = LogId::new(state.last.index + 1, era);
            batch.push(state.last, |out| out.extend_from_slice(entry.as_ref()))?;
        }
        let sealed = batch.seal()?;
        state.sequence += 1;
        let cell = self.cells.seal_state(&state)?;
        let mark = self.mark(state.sequence)?;
        let mut bytes = Batch::new();
        sealed.records().try_for_each(|record| bytes.record(era, record.bytes))?;
        let bytes = bytes.state(&cell)?;

        // Every return with an error from here on leaves the log without its file.
        let file = self.file.take().ok_or(Error::Poisoned)?;
        file.write_all_at(&bytes, self.end).map_err(|e| failed("write", &self.path, e))?;
        file.sync_data().map_err(|e| failed("sync", &self.path, e))?;
        self.still_ends_with(cell.bytes(), self.end + wide(bytes.len()))?;
        let place = if state.sequence.is_multiple_of(2) { 0 } else { wide(SECTOR) };
        file.write_all_at(mark.bytes(), place).map_err(|e| failed("write", &self.path, e))?;

        // Only now may the entries be acknowledged, and the DEK be dropped by a later sweep.
        self.end += wide(bytes.len());
        self.state = state;
        self.file = Some(file);
        self.buffer = sealed.durable();
        cell.durable();
        mark.durable();
        Ok(())
    }

    /// Passes every entry to `each`, opened at its place.
    pub(crate) fn read(&self, each: impl FnMut(LogId, &[u8])) -> Result<()> {
        self.open_each(&self.contents(&self.bytes()?)?, each).map(drop)
    }

    /// Passes everything that is sealed to `each`, for a sweep.
    pub(crate) fn sealed(&self, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.contents(&self.bytes()?)?.sealed().try_for_each(each)
    }

    /// Writes the whole log again under the active DEK, and puts it in the old one's place.
    pub(crate) fn reseal(&mut self) -> Result<()> {
        let bytes = self.bytes()?;
        let (mut batch, mut in_flight) = (Batch::new(), Vec::new());
        for frame in self.contents(&bytes)?.frames {
            let Frame::Record { id, prev, sealed } = frame else { continue };
            let mut record = sealed.to_vec();
            in_flight.extend(self.log.reseal(id, prev, &mut record)?);
            batch.record(id.era, &record)?;
        }
        let state = State { sequence: self.state.sequence + 1, ..self.state.clone() };
        let cell = self.cells.seal_state(&state)?;
        self.replace(&batch.state(&cell)?, state)?;
        in_flight.into_iter().for_each(InFlight::durable);
        cell.durable();
        Ok(())
    }

    /// A log that has no file yet. The lock keeps a second process from writing the same file.
    fn locked(fs: Arc<dyn Fs>, path: &Path, keyring: &Keyring) -> Result<Self> {
        let lock_path = beside(path, ".lock");
        let lock = fs.try_lock(&lock_path).map_err(|e| failed("lock", &lock_path, e))?;
        let lock = lock.ok_or(Error::Busy(lock_path))?;
        let keyspace = keyring.keyspace(NAME)?;
        Ok(Self {
            _lock: lock,
            fs,
            path: path.to_owned(),
            file: None,
            end: 0,
            log: keyspace.log(),
            cells: keyspace.cells(),
            keyspace,
            state: State::default(),
            buffer: SecretBytes::new(),
        })
    }

    /// Opens everything that was found, and compares it with what was acknowledged.
    fn check(&self, contents: &Contents<'_>) -> Result<State> {
        let acknowledged = self.acknowledged(contents.marks)?;
        let state = self.open_each(contents, |_, _| {})?;
        if state.sequence < acknowledged {
            return Err(self.damaged("an acknowledged append is not whole", contents.end));
        }
        Ok(state)
    }

    /// The sequence of the last append that is known to have been durable. Of two marks one may be
    /// torn: they are written in turn.
    fn acknowledged(&self, marks: [&[u8]; 2]) -> Result<u64> {
        let [one, two] = marks.map(|mark| {
            let sequence = self.cells.open(MARKS, NAME.as_bytes(), mark)?;
            let sequence = sequence.expose().try_into().map(u64::from_le_bytes);
            sequence.map_err(|_| self.damaged("a mark of another form", 0))
        });
        match (one, two) {
            (Ok(one), Ok(two)) => Ok(one.max(two)),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
            (Err(error), Err(_)) => Err(error),
        }
    }

    fn mark(&self, sequence: u64) -> Result<SealedCell> {
        self.cells.seal(MARKS, NAME.as_bytes(), &sequence.to_le_bytes())
    }

    /// Opens everything, and returns the last state.
    fn open_each(&self, found: &Contents<'_>, mut each: impl FnMut(LogId, &[u8])) -> Result<State> {
        let (mut state, mut last, mut buffer) = (None, LogId::START, SecretBytes::new());
        for frame in &found.frames {
            match *frame {
                Frame::Record { id, prev, sealed } => {
                    buffer.clear();
                    buffer.extend_from_slice(sealed);
                    each(id, self.log.open_in_place(id, prev, buffer.expose_mut())?);
                    last = id;
                }
                Frame::State(sealed) => {
                    // Refuses a key file that is older than the log.
                    let next = self.cells.open_state(sealed)?;
                    let follows = state.is_none_or(|s: State| next.sequence == s.sequence + 1);
                    if next.last != last || !follows {
                        return Err(self.damaged("a state cell of another append", found.end));
                    }
                    state = Some(next);
                }
            }
        }
        state.ok_or_else(|| self.damaged("no whole batch", HEAD))
    }

    /// Puts a file with these batches in the log's place, durably, and continues with that.
    fn replace(&mut self, batches: &[u8], state: State) -> Result<()> {
        let mark = self.mark(state.sequence)?;
        let mut bytes = vec![0; HEAD];
        for place in bytes.chunks_exact_mut(SECTOR) {
            place[..mark.bytes().len()].copy_from_slice(mark.bytes());
        }
        bytes.extend_from_slice(batches);

        let temp = beside(&self.path, ".tmp");
        match self.fs.remove(&temp) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &temp, e));
            }
            _ => {}
        }
        let file = self.fs.create_new(&temp).map_err(|e| failed("create", &temp, e))?;
        let written = file.write_all_at(&bytes, 0).map_err(|e| failed("write", &temp, e));
        if let Err(e) = written.and_then(|()| file.sync().map_err(|e| failed("sync", &temp, e))) {
            // Gives a full disk its room back. The log itself was not touched.
            let _ = self.fs.remove(&temp);
            return Err(e);
        }
        // From here on a failure leaves it open which of the two has the name.
        self.file = None;
        self.fs.rename(&temp, &self.path).map_err(|e| failed("rename", &temp, e))?;
        self.fs.sync_dir(folder(&self.path)).map_err(|e| failed("sync", folder(&self.path), e))?;
        mark.durable();
        (self.file, self.end, self.state) = (Some(file), wide(bytes.len()), state);
        Ok(())
    }

    /// Fails if the file that has the log's name does not end with what was just written: it was
    /// removed, moved or replaced, and nobody would find the append.
    fn still_ends_with(&self, written: &[u8], end: u64) -> Result<()> {
        let file = self.fs.open_read(&self.path).map_err(|e| failed("open", &self.path, e))?;
        let mut found = vec![0; written.len()];
        read_at(&*file, &mut found, end - wide(written.len()))
            .map_err(|e| failed("read", &self.path, e))?;
        if found != written {
            return Err(self.damaged("another file has the log's name", 0));
        }
        Ok(())
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        read_all(&**self.file.as_ref().ok_or(Error::Poisoned)?, &self.path)
    }

    /// What the open log holds: all that was acknowledged, or an error.
    fn contents<'a>(&self, bytes: &'a [u8]) -> Result<Contents<'a>> {
        let contents = Contents::parse(bytes)?;
        if wide(contents.end) != self.end {
            return Err(self.damaged("an acknowledged append is not whole", contents.end));
        }
        Ok(contents)
    }

    fn damaged(&self, what: &'static str, offset: usize) -> Error {
        let mut place = Place::default();
        (place.file, place.offset) = (Some(self.path.clone()), Some(wide(offset)));
        Error::Damaged { what, place }
    }
}

fn failed(op: &'static str, path: &Path, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::NotFound => Error::Missing(path.to_owned()),
        _ => Error::Io { op, path: path.to_owned(), source },
    }
}

fn read_all(file: &dyn File, path: &Path) -> Result<Vec<u8>> {
    let len = file.len().map_err(|e| failed("stat", path, e))?;
    let too_large = |_| failed("read", path, io::ErrorKind::FileTooLarge.into());
    let mut bytes = vec![0; usize::try_from(len).map_err(too_large)?];
    let read = read_at(file, &mut bytes, 0).map_err(|e| failed("read", path, e))?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Reads until `buf` is full or the file ends.
fn read_at(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], offset + wide(filled)) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// The file beside `path` whose name is longer by `ending`.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
