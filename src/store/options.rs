use core::fmt;
use core::num::NonZeroUsize;
use core::ops::RangeInclusive;

use super::accept::{Accept, Accepted};
use crate::error::{Misuse, Result};
use crate::key::valid_name;

const SEGMENT: u64 = 16 << 20;
/// Lengths of segments that are allowed, in bytes.
const SEGMENTS: RangeInclusive<u64> = 512..=1 << 30;

/// How far the opening of a store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Entries that were opened.
    pub entries: u64,
    /// Entries there are.
    pub of: u64,
}

/// How a [`Store`](super::Store) is created or opened.
pub struct Options<'a> {
    pub(super) name: String,
    pub(super) segment_size: u64,
    pub(super) prepare_ahead: bool,
    pub(super) read_only: bool,
    pub(super) accept: Accepted,
    pub(super) not_before: Option<(u64, u64)>,
    pub(super) threads: NonZeroUsize,
    pub(super) verify: Option<Box<dyn FnMut(Progress) + Send + 'a>>,
}

impl<'a> Options<'a> {
    /// For the store whose keyspace is `name`, of the form of the names in [`Identity`](crate::Identity).
    #[must_use]
    pub fn new(name: &str) -> Self {
        let name = name.to_owned();
        Self {
            name,
            segment_size: SEGMENT,
            prepare_ahead: true,
            read_only: false,
            accept: Accepted::default(),
            not_before: None,
            threads: NonZeroUsize::MIN,
            verify: None,
        }
    }

    /// Length at which a segment is ended, in bytes: 512 bytes to 1 GiB, 16 MiB unless said otherwise.
    /// Purges and rotations go segment by segment.
    #[must_use]
    pub const fn segment_size(mut self, bytes: u64) -> Self {
        self.segment_size = bytes;
        self
    }

    /// Whether a thread of the store's own makes the next segment's file before the one in use is
    /// full, so that no append waits for it; it does unless said otherwise. Without the thread the
    /// store does nothing but in its callers' calls.
    #[must_use]
    pub const fn prepare_ahead(mut self, prepare: bool) -> Self {
        self.prepare_ahead = prepare;
        self
    }

    /// Opens what could not be opened otherwise, for an operator who accepts what that means. May be
    /// called several times; what is not needed has no effect. [`Store::accepted`](super::Store::accepted)
    /// returns what was needed.
    ///
    /// Opening so removes nothing, and may be done again: what was left out before is left out then,
    /// unless the files have been put back meanwhile.
    #[must_use]
    pub const fn accept(mut self, what: Accept) -> Self {
        self.accept.add(what);
        self
    }

    /// Opens the store without creating, writing or syncing anything, also on a full disk or a mount
    /// that is read-only: every call that would write is an error.
    ///
    /// A shared lock is taken where the file system has such locks, so that no writer opens it
    /// meanwhile. Beside a writer that has it open, the store is read as it was durable at one moment;
    /// [`Error::Busy`](crate::Error::Busy) if three attempts met changes of files, or later, when
    /// something is to be read that the writer has replaced or sealed under a newer DEK: open keyring
    /// and store again then. A write at the end that did not finish is left out, and stays on the
    /// disk. Without a shared lock, only what is known to be durable is read.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Refuses a log, or a key file, that is older than this [`Store::anchor`](super::Store::anchor).
    #[must_use]
    pub const fn not_before(mut self, anchor: (u64, u64)) -> Self {
        self.not_before = Some(anchor);
        self
    }

    /// Opens every entry, and the snapshot, at the start, and reports to `progress` now and then.
    /// Without this an entry that does not open is found when it is read. With [`Accept::Damage`] it
    /// is among [`Store::damages`](super::Store::damages), and found again when it is read.
    #[must_use]
    pub fn verify(mut self, progress: impl FnMut(Progress) + Send + 'a) -> Self {
        self.verify = Some(Box::new(progress));
        self
    }

    /// How many threads open the entries of [`Options::verify`], the caller's among them; one unless
    /// said otherwise. The threads have exited when `open` returns.
    #[must_use]
    pub const fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        valid_name("store", &self.name)?;
        if !SEGMENTS.contains(&self.segment_size) {
            return Err(Misuse::OutOfBounds("a segment's size").into());
        }
        Ok(())
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("name", &self.name)
            .field("segment_size", &self.segment_size)
            .field("prepare_ahead", &self.prepare_ahead)
            .field("read_only", &self.read_only)
            .field("accept", &self.accept)
            .field("not_before", &self.not_before)
            .finish_non_exhaustive()
    }
}
