use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::wide;
use super::frames::Frames;
use crate::error::{Error, Result};
use crate::fs::File;

/// How far ahead of its end a segment is preallocated, in bytes: an append within it changes no
/// file length and needs no blocks.
const AHEAD: u64 = 1 << 20;
/// From which length on an append does not preallocate itself, in bytes: to write everything twice
/// in one go would cost more than a file that grows.
const LARGE: u64 = 256 << 10;

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
        let end = self.end.saturating_add(wide(frames.bytes().len()));
        let large = wide(frames.bytes().len()) >= LARGE;
        if end > self.allocated && end < size && !large {
            let ahead = end.saturating_add(AHEAD).min(size);
            self.file.allocate(ahead).map_err(|e| Error::io("allocate", &self.path, e))?;
            self.allocated = ahead;
        }
        self.file
            .write_all_at(frames.bytes(), self.end)
            .map_err(|e| Error::io("write", &self.path, e))?;
        self.end = end;
        self.allocated = self.allocated.max(end);
        self.chain = frames.chain();
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
    use super::super::{Kind, Record, SegmentReader, Step, Tail, take_frame};
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
}
