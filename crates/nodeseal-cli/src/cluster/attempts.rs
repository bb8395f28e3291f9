//! Unlocks that failed. The audit file's key is behind the lock, so they are noted beside it, and
//! become lines of it at the next unlock.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nodeseal::audit::{Action, Event};
use nodeseal::fs::{Fs, RealFs};
use nodeseal::grant::Time;

use crate::fail::{Failure, Result};

/// What is noted, at most, in bytes: some hundred attempts. Whoever has no key cannot fill the disk.
const MAX: u64 = 64 << 10;

/// The file: for each attempt, `length 2 (little-endian) · encoded event`. Nothing protects it but
/// its mode, so nothing but failed unlocks is taken from it.
pub(super) struct Attempts(PathBuf);

impl Attempts {
    pub(super) fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("unlock-failures"))
    }

    /// Notes the failed ones among `events`, for good.
    pub(super) fn note(&self, events: &[Event]) -> Result<()> {
        let mut bytes = Vec::new();
        for event in events.iter().filter(|event| event.action == Action::UnlockFailed) {
            let event = event.encode();
            // A node's name and an error's text are never that long.
            let Ok(len) = u16::try_from(event.len()) else { continue };
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&event);
        }
        let failed = Failure::io(&self.0);
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(&self.0);
        let noted = file.and_then(|mut file| {
            if file.metadata()?.len() >= MAX {
                return Ok(());
            }
            file.write_all(&bytes)?;
            file.sync_all()?;
            RealFs::default().sync_dir(self.0.parent().unwrap_or(&self.0))
        });
        noted.map_err(failed)
    }

    /// What was noted, for the audit file.
    pub(super) fn read(&self) -> Result<Vec<Event>> {
        let file = match File::open(&self.0) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            file => file.map_err(Failure::io(&self.0))?,
        };
        let mut bytes = Vec::new();
        file.take(2 * MAX).read_to_end(&mut bytes).map_err(Failure::io(&self.0))?;
        let mut events = Vec::new();
        let mut rest = bytes.as_slice();
        let damaged = loop {
            if rest.is_empty() {
                break false;
            }
            let Some(event) = next(&mut rest) else { break true };
            events.push(event);
        };
        let full = u64::try_from(bytes.len()).is_ok_and(|len| len >= MAX);
        for (is, what) in
            [(damaged, "what was noted of further ones is damaged"), (full, "more were not noted")]
        {
            if is {
                let mut event = Event::new(Action::UnlockFailed, Time::now());
                event.detail = Some(what.to_owned());
                events.push(event);
            }
        }
        Ok(events)
    }

    /// Forgets what the audit file has.
    pub(super) fn forget(&self) -> Result<()> {
        match std::fs::remove_file(&self.0) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Failure::io(&self.0)(e)),
            _ => Ok(()),
        }
    }
}

fn next(rest: &mut &[u8]) -> Option<Event> {
    let (len, behind) = rest.split_first_chunk()?;
    let (bytes, behind) = behind.split_at_checked(u16::from_le_bytes(*len).into())?;
    *rest = behind;
    let noted = Event::decode(bytes).ok().filter(|event| event.action == Action::UnlockFailed)?;
    let mut event = Event::new(Action::UnlockFailed, noted.time);
    event.by = noted.by;
    event.node = noted.node;
    event.detail = noted.detail.map(|detail| format!("{detail} (noted while locked)"));
    Some(event)
}
