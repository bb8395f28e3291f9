use core::fmt;

/// What protects a delivery's files, read back from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub(super) missing: Vec<Missing>,
}

impl Report {
    pub(super) const NOTHING: Self = Self { missing: Vec::new() };

    /// What is missing; empty if everything holds: a memory-backed file system of its own, with a
    /// limit, that never swaps, is read-only, has no devices, no set-user-id and no programs, and
    /// appears nowhere else.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }
}

/// One protection that a delivery lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// Pages may reach swap: the kernel did not take `noswap`, which needs Linux 6.4 and is only
    /// for the first user namespace's root.
    NoSwap {
        /// Whether there is any swap at the moment, as far as the kernel tells.
        swap_in_use: Option<bool>,
    },
    /// No file system of its own: the files stand in the folder that was given, without a limit.
    OwnMount,
    /// They stand on a file system that is not memory-backed, as [`Options::allow_disk`] allows.
    ///
    /// [`Options::allow_disk`]: super::Options::allow_disk
    Memory,
    /// The mount lacks a flag: `ro`, `nodev`, `nosuid` or `noexec`.
    Flag(&'static str),
    /// The mount stands on a shared one: it appears in other mount namespaces too.
    Private,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSwap { swap_in_use } => {
                f.write_str("noswap is not set, so pages can reach swap")?;
                f.write_str(match swap_in_use {
                    Some(true) => " (swap is in use)",
                    Some(false) => " (no swap is in use now)",
                    None => "",
                })
            }
            Self::OwnMount => f.write_str("no tmpfs of its own and no limit on its size"),
            Self::Memory => f.write_str("the file system is not memory-backed"),
            Self::Flag(flag) => write!(f, "the mount is not {flag}"),
            Self::Private => {
                f.write_str("the folder is on a shared mount: other namespaces see the tmpfs")
            }
        }
    }
}
