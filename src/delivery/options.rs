/// How secrets are laid out.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Options {
    pub(super) size: Option<u64>,
    pub(super) no_swap: bool,
    pub(super) in_place: bool,
    pub(super) disk: bool,
}

impl Options {
    /// A tmpfs for each task, with room for twice its files at their largest; with `noswap` if the
    /// kernel takes it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits each task's tmpfs to so many bytes, rounded up to whole pages. While a new version is
    /// laid out it stands beside the one before.
    pub const fn size_limit(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// Refuses to deliver if the kernel does not take `noswap`.
    pub const fn require_no_swap(mut self) -> Self {
        self.no_swap = true;
        self
    }

    /// Mounts nothing: the files stand in the folder itself, which must be memory-backed, such as one
    /// below `/run` or `/dev/shm`. For a process that may not mount.
    pub const fn in_place(mut self) -> Self {
        self.in_place = true;
        self
    }

    /// With [`Options::in_place`]: takes also a folder that is not memory-backed.
    ///
    /// # Security
    ///
    /// Payloads then reach a disk in the clear. That they are overwritten in the end does not say that
    /// the file system or the disk keeps no copy.
    pub const fn allow_disk(mut self) -> Self {
        self.disk = true;
        self
    }
}
