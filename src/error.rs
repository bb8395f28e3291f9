//! The errors of the whole crate.
//!
//! Wrong key, damaged data and misuse are three different errors. A failed authentication says
//! nothing more than that it failed.

mod text;

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What every fallible call of this crate returns.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Why a call failed.
///
/// The text is for people and not part of the API; match on the variant, or on [`Error::kind`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The key that was given does not fit. The data was found whole as far as that can be told
    /// without the key.
    WrongKey,
    /// The data is sealed under a DEK that the keyring does not hold (id in hexadecimal).
    UnknownDek(String),
    /// The keyring has no keyspace of this name: the key file is one from before it was registered, or it was
    /// forgotten.
    UnknownKeyspace(String),
    /// A key is needed and none was given.
    KeyRequired,
    /// The text is not an unlock key.
    KeyText(KeyTextFault),
    /// The key fits, the data does not authenticate: it was altered, moved or replaced.
    Unauthentic,
    /// The data is not well formed; says what and where.
    Damaged {
        /// What is wrong, without any of the data.
        what: &'static str,
        /// Where it is.
        place: Place,
    },
    /// Authentic, but older than what it stands beside: a copy from the past was put back.
    RolledBack {
        /// What is too old.
        what: &'static str,
        /// What it says.
        found: u64,
        /// What it must say at least.
        expected: u64,
    },
    /// Well formed, but from a version or of a kind that this version does not know.
    Unsupported {
        /// What is not known.
        what: &'static str,
        /// What was found, for example a version number.
        found: String,
    },
    /// A slot of the key file asks for more Argon2id than the caller's ceiling, and no other slot opened.
    /// Nothing was computed for it.
    TooCostly {
        /// What the slot asks for.
        asked: String,
        /// What the caller allows.
        ceiling: String,
    },
    /// The key file is not locked although the caller expects a locked one.
    ExpectedLocked,
    /// The file belongs to another cluster or node.
    OtherIdentity {
        /// `cluster` or `node`.
        what: &'static str,
        /// What the caller expects.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A file that must be there is not.
    Missing(PathBuf),
    /// A file that must not be there is.
    Exists(PathBuf),
    /// Another handle, perhaps in another process, holds the lock.
    Busy(PathBuf),
    /// The task was not granted the secret.
    NotGranted {
        /// The task's id.
        task: String,
        /// The secret's id.
        secret: String,
    },
    /// The task was granted the secret, but its node was not given it.
    NotAssigned {
        /// The task's id.
        task: String,
        /// The secret's id.
        secret: String,
    },
    /// The changes lead on from somewhere else: some are missing, or came twice.
    Gap {
        /// The sequence that was reached, if any was.
        at: Option<u64>,
        /// The sequence that the changes lead on from.
        from: u64,
    },
    /// The entries up to `upto` were purged: a snapshot covers them.
    Compacted {
        /// Index of the last entry that was purged.
        upto: u64,
    },
    /// The entries from `from` on were replaced or cut off while they were read.
    Truncated {
        /// Index of the first entry that was removed.
        from: u64,
    },
    /// The folder is not on a memory-backed file system, and secrets are to stand in it.
    NotInMemory(PathBuf),
    /// An earlier write failed; what is on disk is unknown until it is opened anew.
    Poisoned,
    /// The keys were changed, but an open store could not record it. Until its next change, or another
    /// call that changes keys, an older key file that is put back is not noticed.
    Unrecorded {
        /// The store's directory.
        store: PathBuf,
        /// Why it could not.
        source: Box<Self>,
    },
    /// The operating system refused a file operation.
    Io {
        /// The operation: `open`, `write`, `sync`, …
        op: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A reader or writer of the caller's failed.
    Stream(io::Error),
    /// The system's random generator failed.
    Random,
    /// The memory that is needed is not to be had.
    OutOfMemory,
    /// The caller's fault, whatever the data.
    Misuse(Misuse),
}

/// Where damage was found. What is not known is `None`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The file.
    pub file: Option<PathBuf>,
    /// Offset in the file, in bytes.
    pub offset: Option<u64>,
    /// Index of the log entry.
    pub index: Option<u64>,
}

/// What is wrong with an unlock key's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyTextFault {
    /// It does not begin with `SWMKEY-1-`.
    Prefix,
    /// It does not stand for exactly 32 bytes.
    Length,
    /// A character is not of the standard base64 alphabet.
    Alphabet,
    /// It has `=` padding, or unused bits that are not zero.
    Padding,
}

/// What the caller did wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// A name or id is empty, too long, begins with neither a letter nor a digit, or has a character
    /// outside `[A-Za-z0-9._-]`.
    Name(&'static str),
    /// A reference to a secret is not of the right form: its target, owner or mode.
    Grant(&'static str),
    /// An index does not come after the one before it.
    NotIncreasing {
        /// The index that was given.
        index: u64,
        /// The index it must exceed.
        after: u64,
    },
    /// Something is larger than the format allows.
    TooLarge {
        /// What it is.
        what: &'static str,
        /// How large it is, in the unit of `limit`.
        actual: u64,
        /// The largest that is allowed.
        limit: u64,
    },
    /// A parameter is outside its bounds.
    OutOfBounds(&'static str),
    /// What protects a new slot is too weak.
    TooWeak {
        /// What it is.
        what: &'static str,
        /// The least that is taken.
        least: &'static str,
    },
    /// The buffer has no room for what is to be written into it.
    Buffer,
    /// The lock record has this file's version but names another key.
    ConflictingLockRecord {
        /// The version that both carry.
        version: u64,
    },
    /// Another process opened the handle, and this one was forked from it: both would write the same
    /// files. Open them again in the process that is to write, once the other has closed them.
    Forked,
    /// The key file holds as many DEKs as it can, and what was asked for cannot wait.
    FullOfDeks {
        /// The number that it holds.
        limit: usize,
    },
    /// The file has parts that only a later version may rewrite.
    ReadOnly,
    /// The call does not fit the state the object is in.
    State(&'static str),
    /// Sealed data that names the DEK was not yet said to be durable.
    InFlight,
    /// The DEK of a stream's header was exposed, and with it the content key, which a new header would
    /// keep: copy the stream with [`Streams::rewrite`](crate::seal::Streams::rewrite).
    ExposedStream,
    /// The keyspace of this name is open in this process already.
    KeyspaceOpen(String),
    /// A store of this name was created earlier.
    KeyspaceRegistered(String),
    /// There is no room for another keyspace beside these.
    TooManyKeyspaces(Vec<String>),
    /// These keyspaces were not shown to the sweep.
    NotShown(Vec<String>),
}

/// What kind of failure an [`Error`] is, for exit codes and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Wrong, unknown or absent key.
    Key,
    /// Damaged, altered, moved or replaced data.
    Damaged,
    /// A version or kind that is not known.
    Unsupported,
    /// Not the state or identity that the caller expects.
    Expectation,
    /// Something is missing.
    Missing,
    /// Another holds it.
    Busy,
    /// The handle refuses to go on.
    Poisoned,
    /// The system failed.
    Io,
    /// The caller's fault.
    Misuse,
}

impl Error {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::WrongKey
            | Self::UnknownDek(_)
            | Self::UnknownKeyspace(_)
            | Self::KeyRequired
            | Self::KeyText(_) => ErrorKind::Key,
            Self::Unauthentic | Self::Damaged { .. } | Self::RolledBack { .. } => {
                ErrorKind::Damaged
            }
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::ExpectedLocked
            | Self::TooCostly { .. }
            | Self::OtherIdentity { .. }
            | Self::Exists(_)
            | Self::NotGranted { .. }
            | Self::Gap { .. }
            | Self::Compacted { .. }
            | Self::Truncated { .. }
            | Self::NotInMemory(_) => ErrorKind::Expectation,
            Self::Missing(_) | Self::NotAssigned { .. } => ErrorKind::Missing,
            Self::Busy(_) => ErrorKind::Busy,
            Self::Poisoned => ErrorKind::Poisoned,
            Self::Unrecorded { source, .. } => source.kind(),
            Self::Io { .. } | Self::Stream(_) | Self::Random | Self::OutOfMemory => ErrorKind::Io,
            Self::Misuse(_) => ErrorKind::Misuse,
        }
    }

    pub(crate) fn damaged(what: &'static str) -> Self {
        Self::Damaged { what, place: Place::default() }
    }

    pub(crate) fn unsupported(what: &'static str, found: impl fmt::Display) -> Self {
        Self::Unsupported { what, found: found.to_string() }
    }

    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing(path.to_owned()),
            _ => Self::Io { op, path: path.to_owned(), source },
        }
    }

    pub(crate) fn too_large(what: &'static str, actual: usize, limit: usize) -> Self {
        let wide = |n| u64::try_from(n).unwrap_or(u64::MAX);
        Self::Misuse(Misuse::TooLarge { what, actual: wide(actual), limit: wide(limit) })
    }

    /// Adds the file to a damage's place; leaves other errors and a known file alone.
    pub(crate) fn in_file(mut self, path: &Path) -> Self {
        if let Self::Damaged { place, .. } = &mut self {
            place.file.get_or_insert_with(|| path.to_owned());
        }
        self
    }

    /// Adds the log entry's index to a damage's place; leaves other errors and a known index alone.
    pub(crate) fn at_index(mut self, index: u64) -> Self {
        if let Self::Damaged { place, .. } = &mut self {
            place.index.get_or_insert(index);
        }
        self
    }

    /// Adds the offset to a damage's place; leaves other errors and a known offset alone.
    pub(crate) fn at_offset(mut self, offset: u64) -> Self {
        if let Self::Damaged { place, .. } = &mut self {
            place.offset.get_or_insert(offset);
        }
        self
    }
}

impl From<Misuse> for Error {
    fn from(misuse: Misuse) -> Self {
        Self::Misuse(misuse)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::Stream(source) => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_and_the_place_are_kept() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = Error::io("open", Path::new("k"), denied);
        assert!(std::error::Error::source(&error).is_some());
        assert_eq!(error.kind(), ErrorKind::Io);

        let error = Error::damaged("no end").in_file(Path::new("a")).in_file(Path::new("b"));
        assert_eq!(error.to_string(), "damaged: no end in a");
    }
}
