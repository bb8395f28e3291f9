use std::io::{self, Read, Seek, SeekFrom};

use nodeseal::{Error, Store};

use super::MAX_SNAPSHOT_META;
use crate::stream;

/// First byte of what a snapshot's header holds.
const FORM: u8 = 1;

/// Reads an installed snapshot: the plaintext that the state machine wrote, from any position of
/// it.
pub struct SnapshotReader {
    stream: nodeseal::store::SnapshotReader,
    /// Length of the state machine's part; the metadata comes behind it.
    len: u64,
    position: u64,
}

/// The metadata of a snapshot, encoded, and its reader.
pub(super) type Found = (Vec<u8>, SnapshotReader);

/// Returns what the header of a snapshot holds whose state machine wrote `len` bytes.
pub(super) fn header(len: u64) -> [u8; 9] {
    let mut header = [FORM; 9];
    header[1..].copy_from_slice(&len.to_le_bytes());
    header
}

/// Opens the snapshot of a store.
pub(super) fn current(store: &Store) -> Result<Option<Found>, Error> {
    store.snapshot()?.map(open).transpose()
}

pub(super) fn open(mut stream: nodeseal::store::SnapshotReader) -> Result<Found, Error> {
    let info = stream.info();
    let rest = info.meta.split_first().filter(|(form, _)| **form == FORM).map(|(_, rest)| rest);
    let len = rest.and_then(|len| Some(u64::from_le_bytes(len.try_into().ok()?)));
    let size = len.and_then(|len| usize::try_from(info.len.checked_sub(len)?).ok());
    let (Some(len), Some(size)) = (len, size.filter(|size| *size <= MAX_SNAPSHOT_META)) else {
        return Err(stream_of_another_form());
    };
    let mut meta = vec![0; size];
    stream.seek(SeekFrom::Start(len)).map_err(Error::Stream)?;
    stream.read_exact(&mut meta).map_err(Error::Stream)?;
    stream.rewind().map_err(Error::Stream)?;
    Ok((meta, SnapshotReader { stream, len, position: 0 }))
}

fn stream_of_another_form() -> Error {
    stream("the snapshot is of another form than this version of nodeseal-openraft writes")
}

impl SnapshotReader {
    /// Returns the length of what the state machine wrote, in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Reports whether the state machine wrote nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Read for SnapshotReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.position);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        let count = self.stream.read(out.get_mut(..count).unwrap_or_default())?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for SnapshotReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = resolve(to, self.position, self.len)?;
        self.stream.seek(SeekFrom::Start(position))?;
        self.position = position;
        Ok(position)
    }
}

/// Where a seek leads.
pub(super) fn resolve(to: SeekFrom, position: u64, len: u64) -> io::Result<u64> {
    let position = match to {
        SeekFrom::Start(at) => Some(at),
        SeekFrom::Current(by) => position.checked_add_signed(by),
        SeekFrom::End(by) => len.checked_add_signed(by),
    };
    position.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
