use core::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::wide;
use super::frame::{Kind, MAX_RECORD, Size, parse};
use crate::error::{Error, Misuse, Result};
use crate::fs::File;

/// How far ahead of its end a segment is preallocated, in bytes: an append within it changes no
/// file length and needs no blocks.
const AHEAD: u64 = 1 << 20;
/// From which length on an append does not preallocate itself, in bytes: to write everything twice
/// in one go would cost more than a file that grows.
const LARGE: u64 = 256 << 10;

/// Frames as they will stand in a segment, one after the other.
#[derive(Debug)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    chain: u32,
}

impl Frames {
    /// None yet; the chain has the value `chain` where they begin.
    pub(crate) const fn new(chain: u32) -> Self {
        Self { bytes: Vec::new(), chain }
    }

    /// As [`Frames::new`], in memory that was used before.
    pub(crate) fn reuse(mut bytes: Vec<u8>, chain: u32) -> Self {
        bytes.clear();
        Self { bytes, chain }
    }

    /// Makes room for `more` bytes.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.bytes.reserve(more);
    }

    /// Adds the record that opens a segment and states the chain's value.
    pub(crate) fn put_crc(&mut self) -> Result<()> {
        self.put_record(Kind::Crc, None).map(drop)
    }

    /// Adds a record whose data is `parts`, joined; gives where its frame stands among these bytes.
    ///
    /// # Errors
    ///
    /// [`Misuse::TooLarge`] for a record that no reader would take.
    pub(crate) fn put(&mut self, kind: Kind, parts: &[&[u8]]) -> Result<Range<usize>> {
        for part in parts {
            self.chain = crc32c::crc32c_append(self.chain, part);
        }
        self.put_record(kind, Some(parts))
    }

    fn put_record(&mut self, kind: Kind, data: Option<&[&[u8]]>) -> Result<Range<usize>> {
        let mut head = Varints::default();
        head.tagged(0x08, kind.number());
        head.tagged(0x10, u64::from(self.chain));
        let len: usize = data.map_or(0, |parts| parts.iter().map(|part| part.len()).sum());
        if data.is_some() {
            head.tagged(0x1a, wide(len));
        }
        let record = wide(head.as_bytes().len() + len);
        if record > MAX_RECORD {
            return Err(
                Misuse::TooLarge { what: "a frame", actual: record, limit: MAX_RECORD }.into()
            );
        }
        let start = self.bytes.len();
        let (word, padding) = Size::for_record(record);
        self.bytes.extend_from_slice(&word.to_le_bytes());
        self.bytes.extend_from_slice(head.as_bytes());
        for part in data.unwrap_or_default() {
            self.bytes.extend_from_slice(part);
        }
        let padding = usize::try_from(padding).unwrap_or(0);
        self.bytes.resize(self.bytes.len() + padding, 0);
        Ok(start..self.bytes.len())
    }

    /// The bytes.
    #[cfg(any(feature = "swarm", test))]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The chain's value behind them.
    #[cfg(feature = "swarm")]
    pub(crate) const fn chain(&self) -> u32 {
        self.chain
    }
}

/// The start of a record: type, CRC and the length of its data take at most 18 bytes.
#[derive(Default)]
struct Varints {
    bytes: [u8; 24],
    len: usize,
}

impl Varints {
    fn tagged(&mut self, tag: u8, value: u64) {
        self.byte(tag);
        let mut rest = value;
        while rest >= 0x80 {
            self.byte(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.byte(rest.to_le_bytes()[0]);
    }

    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Takes the frame that begins `bytes` apart: its kind, and where its data stands in them. Its CRC
/// is not looked at.
///
/// # Errors
///
/// [`Error::Damaged`] if no frame of exactly this length stands there.
pub(crate) fn take_frame(bytes: &[u8]) -> Result<(Kind, Range<usize>)> {
    let damaged = || Error::damaged("no frame where one was written");
    let (word, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    let word = u64::from_le_bytes(*word);
    let len = word & ((1 << 56) - 1);
    if Size::for_record(len).0 != word {
        return Err(damaged());
    }
    let record = usize::try_from(len).ok().and_then(|len| rest.get(..len)).ok_or_else(damaged)?;
    let (kind, _, data) = parse(record)?;
    let data = data.unwrap_or(0..0);
    let word = bytes.len() - rest.len();
    Ok((kind, word + data.start..word + data.end))
}

/// Writes frames at the end of one segment.
#[derive(Debug)]
pub(crate) struct Appender {
    file: Arc<dyn File>,
    path: PathBuf,
    end: u64,
    allocated: u64,
    chain: u32,
}

impl Appender {
    /// A file that is empty, or whose frames end at `end` with the chain at `chain`; zeros at most
    /// stand behind.
    pub(crate) const fn new(file: Arc<dyn File>, path: PathBuf, end: u64, chain: u32) -> Self {
        Self { file, path, end, allocated: end, chain }
    }

    /// A file of `allocated` bytes, all of them zeros.
    pub(crate) const fn prepared(file: Arc<dyn File>, path: PathBuf, allocated: u64) -> Self {
        Self { file, path, end: 0, allocated, chain: 0 }
    }

    /// Offset behind the last frame.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    pub(crate) const fn chain(&self) -> u32 {
        self.chain
    }

    pub(crate) const fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `frames`, which were begun with this chain. Preallocates up to `size` bytes.
    ///
    /// # Errors
    ///
    /// What the system says; what stands behind [`Appender::end`] is unknown then, and nothing
    /// more may be appended.
    pub(crate) fn append(&mut self, frames: &Frames, size: u64) -> Result<()> {
        let end = self.end.saturating_add(wide(frames.bytes.len()));
        let large = wide(frames.bytes.len()) >= LARGE;
        if end > self.allocated && end < size && !large {
            let ahead = end.saturating_add(AHEAD).min(size);
            self.file.allocate(ahead).map_err(|e| Error::io("allocate", &self.path, e))?;
            self.allocated = ahead;
        }
        self.file
            .write_all_at(&frames.bytes, self.end)
            .map_err(|e| Error::io("write", &self.path, e))?;
        self.end = end;
        self.allocated = self.allocated.max(end);
        self.chain = frames.chain;
        Ok(())
    }

    /// Cuts off what was preallocated and makes everything durable: nothing is appended any more.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.file.set_len(self.end).map_err(|e| Error::io("truncate", &self.path, e))?;
        self.allocated = self.end;
        self.file.sync_data().map_err(|e| Error::io("sync", &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Record, SegmentReader, Step, Tail};
    use super::*;
    use crate::fs::{Fs, SimFs};

    /// The kinds and data of a segment's records, and what its end is.
    fn read(disk: &SimFs, chain: u32) -> (Vec<(Kind, Vec<u8>)>, Tail) {
        let path = Path::new("/seg");
        let file = disk.open_read(path).unwrap();
        let mut reader = SegmentReader::new(&*file, path, true, Some(chain)).unwrap();
        let mut records = Vec::new();
        loop {
            match reader.next().unwrap().unwrap() {
                Step::Record(Record { kind, check, odd_word, .. }) => {
                    assert!(check.is_sound() && !odd_word);
                    records.push((kind, reader.data().to_vec()));
                }
                Step::End { tail, .. } => return (records, tail),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_appended_is_read_with_the_chain_running_on() {
        let disk = SimFs::new();
        let file = disk.create_new(Path::new("/seg")).unwrap();
        let mut out = Appender::new(file.into(), "/seg".into(), 0, 7);
        let mut expected = Vec::new();
        for n in 0..40_u8 {
            let mut frames = Frames::new(out.chain());
            if n == 0 {
                frames.put_crc().unwrap();
                expected.push((Kind::Crc, Vec::new()));
            }
            let data = vec![n + 1; usize::from(n) * 9];
            let (one, two) = data.split_at(data.len() / 3);
            let kind = if n % 2 == 0 { Kind::Own(16 + n % 4) } else { Kind::Entry };
            let range = frames.put(kind, &[one, two]).unwrap();
            let (found, at) = take_frame(&frames.bytes()[range.clone()]).unwrap();
            assert_eq!((found, &frames.bytes()[range][at]), (kind, &data[..]));
            out.append(&frames, 1 << 16).unwrap();
            expected.push((kind, data));
        }
        assert_eq!(read(&disk, 7), (expected.clone(), Tail::Clean));
        assert!(disk.read_file(Path::new("/seg")).unwrap().len() > 1 << 15, "preallocated");
        out.close().unwrap();
        assert_eq!(wide(disk.read_file(Path::new("/seg")).unwrap().len()), out.end());
        assert_eq!(read(&disk, 7), (expected, Tail::Clean));
    }

    #[test]
    fn what_is_large_is_not_written_twice() {
        let disk = SimFs::new();
        let path = Path::new("/seg");
        let len = || wide(disk.read_file(path).unwrap().len());
        let mut out = Appender::new(disk.create_new(path).unwrap().into(), path.into(), 0, 0);
        for n in 0..20_u8 {
            let large = n >= 10;
            let mut frames = Frames::new(out.chain());
            let size = if large { 300 << 10 } else { 40 };
            frames.put(Kind::Own(16), &[&vec![n; size]]).unwrap();
            out.append(&frames, 16 << 20).unwrap();
            assert_eq!(len(), out.end().max(AHEAD + 64), "{n}");
        }
        assert_eq!(read(&disk, 0).0.len(), 20);
    }

    #[test]
    fn a_frame_is_taken_whole_or_not_at_all() {
        let mut frames = Frames::new(0);
        frames.put(Kind::Own(16), &[b"some data"]).unwrap();
        let whole = frames.bytes();
        for cut in 0..whole.len() - 7 {
            assert!(take_frame(&whole[..cut]).is_err(), "{cut}");
        }
        let mut odd = whole.to_vec();
        odd[7] ^= 1;
        assert!(take_frame(&odd).is_err());
    }
}
