use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::wide;
use super::frames::Frames;
use crate::error::{Error, Result};
use crate::fs::{File, FileId, is_full};

/// How far ahead of its end a segment is preallocated, in bytes: an append within it changes no
/// file length and needs no blocks.
const AHEAD: u64 = 1 << 20;
/// From which length on an append does not preallocate itself, in bytes: to write everything twice
/// in one go would cost more than a file that grows.
const LARGE: u64 = 256 << 10;

/// How much room behind its end a segment keeps for what frees room, in bytes: some changes that
/// purge, truncate or vote fit on a full disk.
pub(crate) const RESERVE: u64 = 16 << 10;

/// Writes frames at the end of one segment.
#[derive(Debug)]
pub(crate) struct Appender {
    file: Arc<dyn File>,
    path: Arc<Path>,
    end: u64,
    /// Up to where the file has its room on the disk, zeros behind `end`.
    allocated: u64,
    chain: u32,
    /// Asked for once.
    id: Option<FileId>,
}

/// Why frames were not appended.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// They did not fit; the segment is as it was.
    Full(Error),
    /// Something else failed: what is stored behind [`Appender::end`] is unknown, and nothing more
    /// may be appended.
    Unknown(Error),
}

/// What frames are for, if the disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// They leave the reserve alone.
    Entries,
    /// They may use the reserve.
    Reserve,
    /// They make a copy, to which nothing is added later: it needs no room ahead.
    Copy,
}

impl Appender {
    /// A file whose frames end at `end` with the chain at `chain`, followed by zeros up to
    /// `allocated`.
    pub(crate) fn new(
        file: Arc<dyn File>,
        path: PathBuf,
        (end, allocated): (u64, u64),
        chain: u32,
    ) -> Self {
        let id = file.id().ok().flatten();
        Self { file, path: path.into(), end, allocated, chain, id }
    }

    /// The file's id, where files have one.
    pub(crate) const fn id(&self) -> Option<FileId> {
        self.id
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

    pub(crate) const fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Writes `frames`, which were begun with this chain. Preallocates up to `size` bytes and the
    /// reserve.
    ///
    /// # Errors
    ///
    /// [`Unwritten`] says whether more may be appended.
    pub(crate) fn append(
        &mut self,
        frames: &Frames,
        size: u64,
        for_what: Use,
    ) -> Result<(), Unwritten> {
        let len = wide(frames.bytes().len());
        let end = self.end.saturating_add(len);
        let keep = if for_what == Use::Copy { 0 } else { end.saturating_add(RESERVE) };
        if keep > self.allocated && len < LARGE {
            // What was preallocated may be enough for the frames, though not for the reserve too.
            let made = self.allocate(end.saturating_add(AHEAD).min(size).max(keep));
            let made = made.or_else(|_| self.allocate(keep));
            if let (Err(error), Use::Entries) = (made, for_what) {
                return Err(self.failed(error));
            }
        }
        if let Err(e) = self.file.write_all_at(frames.bytes(), self.end) {
            return Err(self.undo(Error::io("write", &self.path, e)));
        }
        self.allocated = self.allocated.max(end);
        if len >= LARGE
            && keep > self.allocated
            && let (Err(error), Use::Entries) = (self.allocate(keep), for_what)
        {
            return Err(self.undo(error));
        }
        (self.end, self.chain) = (end, frames.chain());
        Ok(())
    }

    /// Preallocates up to `len`. If that fails, the room is given back.
    fn allocate(&mut self, len: u64) -> Result<()> {
        let allocated = self.file.allocate(len).map_err(|e| Error::io("allocate", &self.path, e));
        match allocated {
            Ok(()) => self.allocated = len,
            // If this fails too, zeros are left, which the next append finds room in.
            Err(_) => drop(self.file.set_len(self.allocated)),
        }
        allocated
    }

    /// Takes back what a write that failed may have left.
    fn undo(&mut self, error: Error) -> Unwritten {
        let failed = self.failed(error);
        if let Unwritten::Full(_) = &failed {
            if let Err(e) = self.file.set_len(self.end) {
                return Unwritten::Unknown(Error::io("truncate", &self.path, e));
            }
            self.allocated = self.end;
            // The room that was just given back; without it a purge may not fit.
            let _ = self.allocate(self.end.saturating_add(RESERVE));
        }
        failed
    }

    fn failed(&self, error: Error) -> Unwritten {
        match &error {
            Error::Io { source, .. } if is_full(source) => Unwritten::Full(error),
            _ => Unwritten::Unknown(error),
        }
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
        let mut out = Appender::new(file.into(), "/seg".into(), (0, 0), 7);
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
            out.append(&frames, 1 << 16, Use::Entries).unwrap();
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
        let mut out = Appender::new(disk.create_new(path).unwrap().into(), path.into(), (0, 0), 0);
        for n in 0..20_u8 {
            let large = n >= 10;
            let mut frames = Frames::new(out.chain());
            let size = if large { 300 << 10 } else { 40 };
            frames.put(Kind::Own(16), &[&vec![n; size]]).unwrap();
            out.append(&frames, 16 << 20, Use::Entries).unwrap();
            assert_eq!(len(), (out.end() + if large { RESERVE } else { 0 }).max(AHEAD + 64), "{n}");
        }
        assert_eq!(read(&disk, 0).0.len(), 20);
    }
}
