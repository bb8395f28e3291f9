use std::num::NonZeroUsize;

/// 1 MiB: a few hundred ordinary entries.
const READ_LIMIT: NonZeroUsize = NonZeroUsize::new(1 << 20).unwrap();

/// How a [`LogStore`](crate::LogStore) works.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) read_limit: NonZeroUsize,
    pub(crate) snapshots_here: bool,
}

impl Settings {
    /// Reads limited to 1 MiB, and snapshots in the store of the log.
    #[must_use]
    pub const fn new() -> Self {
        Self { read_limit: READ_LIMIT, snapshots_here: true }
    }

    /// Limits the entries that one message to a follower gets, in bytes; 1 MiB by default. A longer
    /// entry is sent alone.
    #[must_use]
    pub const fn read_limit(mut self, bytes: NonZeroUsize) -> Self {
        self.read_limit = bytes;
        self
    }

    /// For a state machine that keeps its snapshots, or its state, somewhere else than in
    /// [`Snapshots`](crate::Snapshots) of this store.
    ///
    /// Purges take effect at once. openraft purges the log up to a received snapshot before the
    /// state machine has installed it: the application must make sure that a crash in between does
    /// not leave it with neither.
    #[must_use]
    pub const fn snapshots_elsewhere(mut self) -> Self {
        self.snapshots_here = false;
        self
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}
