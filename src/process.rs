//! The process that opened a handle.
//!
//! After a fork two processes have the same handles, each with its own idea of what the files hold. The
//! one that opened them continues; in the other every write is an error.

use crate::error::{Misuse, Result};

/// The process that opened something, by its id.
///
/// Not told apart is a child that has the same id in a process id namespace of its own, or one that got
/// the id of a parent that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Self {
        Self(std::process::id())
    }

    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }

    /// Fails in a process that was forked from this one.
    pub(crate) fn check(self) -> Result<()> {
        if self.is_current() { Ok(()) } else { Err(Misuse::Forked.into()) }
    }
}
