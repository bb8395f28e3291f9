//! Checks that an open file still has its name: what is synced in a directory that was removed or
//! moved away is not found again.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::fs::{ChangeTime, Dir, FileId, Fs};

/// Longer than a tick of any file system's clock. Two changes within a tick may have one time.
const TICK: Duration = Duration::from_millis(20);

/// Looks a name up only if it may have changed.
///
/// A lookup of a whole path takes several times as long as asking an open directory when a name in
/// it, or its own, last changed. The answer does not cover the directories above it, so the path is
/// looked up at least once in every 20 ms of appends.
pub(super) struct Named {
    dir: Option<Box<dyn Dir>>,
    seen: Option<Seen>,
}

/// When the directory had changed last, as it was seen first at `since`.
struct Seen {
    file: FileId,
    changed: ChangeTime,
    since: Instant,
    looked_up: Instant,
}

impl Named {
    pub(super) fn new(fs: &dyn Fs, dir: &Path) -> Result<Self> {
        let dir = fs.open_dir(dir).map_err(|e| Error::io("open", dir, e))?;
        Ok(Self { dir, seen: None })
    }

    /// Fails if `file`, which was opened as `path`, no longer has that name.
    pub(super) fn check(&mut self, fs: &dyn Fs, file: Option<FileId>, path: &Path) -> Result<()> {
        let Some(file) = file else { return Ok(()) };
        let now = Instant::now();
        let within = |since: Instant| now.duration_since(since) < TICK;
        if self.seen.as_ref().is_some_and(|seen| seen.file == file && within(seen.since)) {
            return look_up(fs, file, path);
        }
        // Before the path is looked up: the next check sees a change in between.
        let changed = match &self.dir {
            Some(dir) => dir.changed().map_err(|e| Error::io("stat", path, e))?,
            None => None,
        };
        let same = |seen: &&mut Seen| seen.file == file && Some(seen.changed) == changed;
        match self.seen.as_mut().filter(same) {
            Some(seen) if seen.is_settled() && within(seen.looked_up) => Ok(()),
            Some(seen) => {
                seen.looked_up = now;
                look_up(fs, file, path)
            }
            None => {
                self.seen =
                    changed.map(|changed| Seen { file, changed, since: now, looked_up: now });
                look_up(fs, file, path)
            }
        }
    }
}

impl Seen {
    /// Reports whether a change after the last lookup has a later time.
    fn is_settled(&self) -> bool {
        self.looked_up.duration_since(self.since) >= TICK
    }
}

fn look_up(fs: &dyn Fs, file: FileId, path: &Path) -> Result<()> {
    match fs.id_of(path).map_err(|e| Error::io("stat", path, e))? {
        Some(named) if named != file => {
            let what = "the file was moved away or replaced while it was open";
            Err(Error::damaged(what).in_file(path))
        }
        _ => Ok(()),
    }
}
