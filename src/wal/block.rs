use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::File;
use crate::secret::SecretBytes;

/// How much is read at once, in bytes. Little under a fuzzer, whose inputs are small: reads cross
/// the end of a block then, too.
const BLOCK: usize = if cfg!(nodeseal_fuzzing) { 512 } else { 64 * 1024 };
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A file that is read mostly forwards, through one block of memory.
///
/// The block is wiped in the end: a log may hold entries that are not sealed.
#[derive(Debug)]
pub(crate) struct BlockFile<'a> {
    file: &'a dyn File,
    path: &'a Path,
    len: u64,
    start: u64,
    block: SecretBytes,
}

impl<'a> BlockFile<'a> {
    /// # Errors
    ///
    /// What the system says when asked for the length.
    pub(crate) fn new(file: &'a dyn File, path: &'a Path) -> Result<Self> {
        let len = file.len().map_err(|e| Error::io("stat", path, e))?;
        Ok(Self { file, path, len, start: 0, block: SecretBytes::with_capacity(BLOCK) })
    }

    /// The file's length when it was opened, in bytes.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Fills `out` from `offset`.
    ///
    /// # Errors
    ///
    /// What the system says; [`Error::Damaged`] when the file became shorter.
    pub(crate) fn read(&mut self, mut offset: u64, out: &mut [u8]) -> Result<()> {
        let mut rest = out;
        while !rest.is_empty() {
            if rest.len() >= BLOCK {
                let read = self.read_some(offset, rest)?;
                rest = rest.get_mut(read..).unwrap_or_default();
                offset = offset.saturating_add(wide(read));
                continue;
            }
            let held = self.held(offset)?;
            let count = held.len().min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(held.get(..count).unwrap_or_default());
            offset = offset.saturating_add(wide(count));
            rest = later;
        }
        Ok(())
    }

    /// The offset of the first byte at or after `offset` that is not zero.
    pub(crate) fn find_nonzero(&mut self, mut offset: u64) -> Result<Option<u64>> {
        while offset < self.len {
            let held = self.held(offset)?;
            if ZEROS.get(..held.len()) != Some(held) {
                let at = held.iter().position(|byte| *byte != 0).unwrap_or(0);
                return Ok(Some(offset.saturating_add(wide(at))));
            }
            offset = offset.saturating_add(wide(held.len()));
        }
        Ok(None)
    }

    /// At least one byte from `offset` on, out of the block.
    fn held(&mut self, offset: u64) -> Result<&[u8]> {
        let inside = |start: u64, len: usize| {
            offset
                .checked_sub(start)
                .and_then(|from| usize::try_from(from).ok())
                .filter(|from| *from < len)
        };
        if inside(self.start, self.block.len()).is_none() {
            let start = offset - offset % 8;
            self.block.resize(BLOCK);
            let mut block = core::mem::take(&mut self.block);
            let read = self.read_some(start, block.expose_mut());
            self.block = block;
            self.block.resize(*read.as_ref().unwrap_or(&0));
            self.start = start;
            read?;
        }
        match inside(self.start, self.block.len()).and_then(|from| self.block.expose().get(from..))
        {
            Some(held) => Ok(held),
            None => Err(self.shorter(offset)),
        }
    }

    fn read_some(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        loop {
            match self.file.read_at(out, offset) {
                Ok(0) => return Err(self.shorter(offset)),
                Ok(read) => return Ok(read.min(out.len())),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", self.path, e)),
            }
        }
    }

    fn shorter(&self, offset: u64) -> Error {
        Error::damaged("the file became shorter while it was read")
            .in_file(self.path)
            .at_offset(offset)
    }
}

pub(crate) fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
