//! A sealed log in one plain file, to show what an author with storage of his own has to do.
//!
//! The file is frame after frame: `kind 1 · index 8 · era 8 · previous era 8 · length 4 · sealed`.
//! A frame is a record (kind 1) or the log's state cell (kind 2). Every append is its records and
//! then the state cell, in one write and one fsync: what stands after the last whole state cell
//! was never acknowledged, and is cut off at the next start.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nodeseal::Keyring;
use nodeseal::seal::{Cells, Era, Log, LogId, State};
use nodeseal::secret::SecretBytes;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

const NAME: &str = "raft";
const RECORD: u8 = 1;
const STATE: u8 = 2;
const FRAME: usize = 29;

/// A frame, as it stands in the file.
pub(crate) struct Frame {
    kind: u8,
    pub(crate) id: LogId,
    pub(crate) prev: Era,
    pub(crate) sealed: Vec<u8>,
}

pub(crate) struct PlainLog {
    path: PathBuf,
    file: File,
    log: Log,
    cells: Cells,
    pub(crate) state: State,
    buffer: SecretBytes,
}

impl PlainLog {
    /// Opens the log, or begins it, and cuts off what was never acknowledged.
    pub(crate) fn open(path: &Path, keyring: &Keyring) -> Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let (log, cells) = (keyring.log(NAME)?, keyring.cells());
        let buffer = SecretBytes::new();
        let mut plain =
            Self { path: path.to_owned(), file, log, cells, state: State::default(), buffer };
        let frames = plain.frames()?;
        let acknowledged =
            frames.iter().rposition(|frame| frame.kind == STATE).map_or(0, |n| n + 1);
        if let Some(cell) = acknowledged.checked_sub(1) {
            // Refuses a key file that is older than the log.
            plain.state = plain.cells.open_state(NAME, &frames[cell].sealed)?;
        }
        let kept = &frames[..acknowledged];
        let last = kept.iter().rfind(|frame| frame.kind == RECORD).map_or(LogId::START, |f| f.id);
        if last != plain.state.last {
            return Err("the log does not end where its state cell says".into());
        }
        plain.file.set_len(kept.iter().map(|frame| to_u64(FRAME + frame.sealed.len())).sum())?;
        plain.file.sync_all()?;
        plain.file.seek(SeekFrom::End(0))?;
        Ok(plain)
    }

    /// Appends entries of one era: sealed together, durable together.
    pub(crate) fn append(&mut self, era: Era, entries: &[impl AsRef<[u8]>]) -> Result<()> {
        let after = self.state.last;
        let mut batch = self.log.batch(after).with_buffer(std::mem::take(&mut self.buffer));
        for (id, entry) in (after.index + 1..).map(|index| LogId::new(index, era)).zip(entries) {
            batch.push(id, |out| out.extend_from_slice(entry.as_ref()))?;
        }
        let sealed = batch.seal()?;
        let mut bytes = Vec::new();
        let mut prev = after.era;
        for record in sealed.records() {
            put_frame(&mut bytes, RECORD, record.id, prev, record.bytes);
            prev = record.id.era;
            self.state.last = record.id;
        }
        let cell = self.seal_state(&mut bytes)?;
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        // Only now may the entries be acknowledged, and the DEK be dropped by a later sweep.
        cell.durable();
        self.buffer = sealed.durable();
        Ok(())
    }

    /// Every entry's plaintext, each opened at its place.
    pub(crate) fn entries(&mut self) -> Result<Vec<Vec<u8>>> {
        let frames = self.frames()?;
        let records = frames.into_iter().filter(|frame| frame.kind == RECORD);
        records
            .map(|mut frame| {
                Ok(self.log.open_in_place(frame.id, frame.prev, &mut frame.sealed)?.to_vec())
            })
            .collect()
    }

    /// Writes the whole log anew under the active DEK and puts it in the old one's place.
    pub(crate) fn reseal(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        let mut in_flight = Vec::new();
        for mut frame in self.frames()?.into_iter().filter(|frame| frame.kind == RECORD) {
            in_flight.extend(self.log.reseal(frame.id, frame.prev, &mut frame.sealed)?);
            put_frame(&mut bytes, RECORD, frame.id, frame.prev, &frame.sealed);
        }
        let cell = self.seal_state(&mut bytes)?;
        let temp = self.path.with_extension("tmp");
        let mut file = File::create(&temp)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        #[expect(clippy::disallowed_methods, reason = "storage of the author's own")]
        std::fs::rename(&temp, &self.path)?;
        File::open(self.path.parent().ok_or("no folder")?)?.sync_all()?;
        cell.durable();
        in_flight.into_iter().for_each(nodeseal::seal::InFlight::durable);
        self.file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        self.file.seek(SeekFrom::End(0))?;
        Ok(())
    }

    /// The frames of the file, up to the first that is not whole.
    pub(crate) fn frames(&mut self) -> Result<Vec<Frame>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut bytes)?;
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        while let Some((head, after)) = rest.split_first_chunk::<FRAME>() {
            let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| head[at + n]));
            let len = usize::try_from(u32::from_le_bytes(std::array::from_fn(|n| head[25 + n])))?;
            let Some((sealed, after)) = after.split_at_checked(len) else { break };
            frames.push(Frame {
                kind: head[0],
                id: LogId::new(number(1), Era::term(number(9))),
                prev: Era::term(number(17)),
                sealed: sealed.to_vec(),
            });
            rest = after;
        }
        Ok(frames)
    }

    fn seal_state(&mut self, bytes: &mut Vec<u8>) -> Result<nodeseal::seal::SealedCell> {
        self.state.sequence += 1;
        let cell = self.cells.seal_state(NAME, &self.state)?;
        put_frame(bytes, STATE, self.state.last, Era::NONE, cell.bytes());
        Ok(cell)
    }
}

fn put_frame(out: &mut Vec<u8>, kind: u8, id: LogId, prev: Era, sealed: &[u8]) {
    out.push(kind);
    for number in [id.index, id.era.get(), prev.get()] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(sealed);
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
