//! Reading an audit file from its beginning, line by line.

use std::path::Path;

use super::{Anchor, line};
use crate::error::{Error, Place, Result};
use crate::fs::{File, Fs};
use crate::secret::SecretKey;

/// How much is read at once, in bytes.
const BLOCK: usize = 64 << 10;
/// Longest line that is looked at, in bytes.
const MAX_LINE: usize = 1 << 20;

/// What a file holds, as far as it is right.
pub(super) struct Found {
    pub(super) at: Anchor,
    pub(super) last_index: Option<u64>,
    /// The lines behind the end mark.
    pub(super) behind: Vec<u8>,
    /// Bytes after the last line that is right.
    pub(super) unfinished: u64,
}

/// Checks every line up to the mark, and what follows as far as it is right.
pub(super) fn check(
    fs: &dyn Fs,
    path: &Path,
    key: &SecretKey,
    marked: &Anchor,
    anchor: Option<&Anchor>,
) -> Result<Found> {
    let file = fs.open_read(path).map_err(|e| Error::io("open", path, e))?;
    let mut reader = Reader { file: &*file, path, block: Vec::new(), start: 0, read: 0 };
    let mut found =
        Found { at: Anchor::START, last_index: None, behind: Vec::new(), unfinished: 0 };
    let mut sought = [Some(marked), anchor].map(|at| at.filter(|at| at.lines > 0));
    while let Some(text) = reader.line()? {
        let whole = text.strip_suffix(b"\n");
        let read = whole.and_then(|text| line::read(text, key, &found.at.chain));
        let Some(read) = read.filter(|read| read.n == found.at.lines + 1) else {
            if found.at.lines < marked.lines {
                let claimed = whole.and_then(line::claims);
                let what = match claimed {
                    Some(n) if n > found.at.lines + 1 => "audit lines are missing before this one",
                    Some(n) if n <= found.at.lines => "an audit line stands here again",
                    _ => "an audit line was altered",
                };
                return Err(damaged(what, path, &found.at));
            }
            break;
        };
        found.at.lines += 1;
        found.at.len += u64::try_from(text.len()).unwrap_or(0);
        found.at.chain = read.chain;
        found.last_index = found.last_index.max(read.index);
        if found.at.lines > marked.lines {
            found.behind.extend_from_slice(text);
        }
        for at in &mut sought {
            if at.is_some_and(|at| at.lines == found.at.lines) {
                if at.is_some_and(|at| *at != found.at) {
                    return Err(damaged("another audit file's line", path, &found.at));
                }
                *at = None;
            }
        }
    }
    if found.at.lines < marked.lines {
        return Err(damaged("the audit file was cut before this line", path, &found.at));
    }
    if let Some(anchor) = sought.into_iter().flatten().next() {
        let (found, expected) = (found.at.lines, anchor.lines);
        return Err(Error::RolledBack { what: "audit file", found, expected });
    }
    let len = file.len().map_err(|e| Error::io("stat", path, e))?;
    found.unfinished = len.saturating_sub(found.at.len);
    Ok(found)
}

/// Damage at the line after `at`.
fn damaged(what: &'static str, path: &Path, at: &Anchor) -> Error {
    let place =
        Place { file: Some(path.to_owned()), offset: Some(at.len), index: Some(at.lines + 1) };
    Error::Damaged { what, place }
}

struct Reader<'a> {
    file: &'a dyn File,
    path: &'a Path,
    block: Vec<u8>,
    /// Where the next line begins in `block`.
    start: usize,
    /// How much of the file was read.
    read: u64,
}

impl Reader<'_> {
    /// The next line with its end, or what is left without one; `None` at the end.
    fn line(&mut self) -> Result<Option<&[u8]>> {
        let mut searched = self.start;
        let end = loop {
            let rest = self.block.get(searched..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                break searched + at + 1;
            }
            if self.block.len() - self.start > MAX_LINE {
                break self.block.len();
            }
            self.block.drain(..self.start);
            self.start = 0;
            searched = self.block.len();
            if self.more()? == 0 {
                break self.block.len();
            }
        };
        let line = self.block.get(self.start..end).filter(|line| !line.is_empty());
        self.start = end;
        Ok(line)
    }

    fn more(&mut self) -> Result<usize> {
        let len = self.block.len();
        self.block.resize(len + BLOCK, 0);
        loop {
            let rest = self.block.get_mut(len..).unwrap_or_default();
            match self.file.read_at(rest, self.read) {
                Ok(read) => {
                    self.block.truncate(len + read);
                    self.read += u64::try_from(read).unwrap_or(0);
                    return Ok(read);
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", self.path, e)),
            }
        }
    }
}
