use core::fmt;
use core::num::NonZeroUsize;

use crate::error::{Misuse, Result};
use crate::key::valid_name;

const SEGMENT: u64 = 16 << 20;

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
    pub(super) skip: bool,
    pub(super) not_before: Option<(u64, u64)>,
    pub(super) threads: NonZeroUsize,
    pub(super) verify: Option<Box<dyn FnMut(Progress) + Send + 'a>>,
}

impl<'a> Options<'a> {
    /// For the log `name`, 1 to 48 of `[A-Za-z0-9._-]`: it is bound into everything that is sealed.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let name = name.to_owned();
        Self {
            name,
            segment_size: SEGMENT,
            prepare_ahead: true,
            skip: false,
            not_before: None,
            threads: NonZeroUsize::MIN,
            verify: None,
        }
    }

    /// Length at which a segment is ended, in bytes; 16 MiB unless said otherwise. Purges and
    /// rotations go segment by segment.
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

    /// Opens a damaged log all the same, without what is lost;
    /// [`Store::damages`](super::Store::damages) tells what and where. Not for a log that ends
    /// before its end, or whose state cell is lost: an engine that goes on from there could vote
    /// twice.
    #[must_use]
    pub const fn skip_damage(mut self) -> Self {
        self.skip = true;
        self
    }

    /// Refuses a log, or a key file, that is older than this [`Store::anchor`](super::Store::anchor).
    #[must_use]
    pub const fn not_before(mut self, anchor: (u64, u64)) -> Self {
        self.not_before = Some(anchor);
        self
    }

    /// Opens every entry, and the snapshot, at the start, and tells `progress` now and then. Without
    /// this an entry that does not open is found when it is read. With [`Options::skip_damage`] it is
    /// among [`Store::damages`](super::Store::damages), and found again when it is read.
    #[must_use]
    pub fn verify(mut self, progress: impl FnMut(Progress) + Send + 'a) -> Self {
        self.verify = Some(Box::new(progress));
        self
    }

    /// How many threads open the entries of [`Options::verify`], the caller's among them; one unless
    /// said otherwise. They have ended when the store is open.
    #[must_use]
    pub const fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        valid_name("log", &self.name)?;
        // Snapshots need room for a suffix.
        if self.name.len() > 48 {
            return Err(Misuse::Name("log").into());
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
            .field("skip_damage", &self.skip)
            .field("not_before", &self.not_before)
            .finish_non_exhaustive()
    }
}
