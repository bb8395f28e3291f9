//! What an error says, for people.

use core::fmt;

use super::{Error, KeyTextFault, Misuse, Place};

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongKey => f.write_str("wrong key"),
            Self::UnknownDek(id) => write!(f, "sealed under DEK {id}, which is not in the keyring"),
            Self::UnknownKeyspace(name) => write!(
                f,
                "the key file has no keyspace {name}: it is one from before {name} was made, or {name} was \
                 forgotten"
            ),
            Self::KeyRequired => f.write_str("a key is needed and none was given"),
            Self::KeyText(fault) => write!(f, "not an unlock key: {fault}"),
            Self::Unauthentic => f.write_str("the data does not authenticate"),
            Self::Damaged { what, place } => write!(f, "damaged: {what}{place}"),
            Self::RolledBack { what, found, expected } => {
                write!(f, "rolled back: the {what} is at {found}, it was at {expected}")
            }
            Self::Unsupported { what, found } => write!(f, "unsupported {what}: {found}"),
            Self::TooCostly { asked, ceiling } => write!(
                f,
                "a passphrase of the key file asks for Argon2id with {asked}, more than the ceiling of \
                 {ceiling}: raise it if the file is known to be one of yours"
            ),
            Self::ExpectedLocked => {
                f.write_str("the key file is not locked, although a locked one is expected")
            }
            Self::OtherIdentity { what, expected, found } => {
                write!(f, "the file is of {what} {found:?}, expected {expected:?}")
            }
            Self::Missing(path) => write!(f, "{} is missing", path.display()),
            Self::Exists(path) => write!(f, "{} exists already", path.display()),
            Self::Busy(path) => write!(f, "{} is locked by another", path.display()),
            Self::NotGranted { task, secret } => {
                write!(f, "task {task} not authorized to access secret {secret}")
            }
            Self::NotAssigned { task, secret } => {
                write!(f, "secret {secret} of task {task} is not on this node")
            }
            Self::Gap { at: Some(at), from } => {
                write!(f, "changes since {from}, but what there is has the sequence {at}")
            }
            Self::Gap { at: None, from } => write!(f, "changes since {from}, but there is nothing"),
            Self::Compacted { upto } => {
                write!(f, "the entries up to {upto} were purged: read the snapshot")
            }
            Self::Truncated { from } => {
                write!(
                    f,
                    "the entries from {from} on were replaced while they were read: read again"
                )
            }
            Self::NotInMemory(path) => write!(f, "{} is not memory-backed", path.display()),
            Self::Poisoned => f.write_str("an earlier write failed: open anew before going on"),
            Self::Unrecorded { store, source } => write!(
                f,
                "the keys were changed, but the store in {} could not record it: {source}",
                store.display()
            ),
            Self::Io { op, path, source } => write!(f, "{op} {}: {source}", path.display()),
            Self::Stream(source) => write!(f, "stream: {source}"),
            Self::Random => f.write_str("the system's random generator failed"),
            Self::OutOfMemory => f.write_str("not enough memory"),
            Self::Misuse(misuse) => write!(f, "misuse: {misuse}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, " in {}", file.display())?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        if let Some(index) = self.index {
            write!(f, " (entry {index})")?;
        }
        Ok(())
    }
}

impl fmt::Display for KeyTextFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefix => "it does not begin with SWMKEY-1-",
            Self::Length => "it does not stand for 32 bytes",
            Self::Alphabet => "a character is outside the standard base64 alphabet",
            Self::Padding => "it has padding, or unused bits that are not zero",
        })
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(what) => write!(
                f,
                "the {what} is not 1 to 64 of [A-Za-z0-9._-] that begin with a letter or digit"
            ),
            Self::Grant(fault) => f.write_str(fault),
            Self::NotIncreasing { index, after } => {
                write!(f, "index {index} does not come after {after}")
            }
            Self::TooLarge { what, actual, limit } => {
                write!(f, "{what} of {actual}, at most {limit}")
            }
            Self::OutOfBounds(what) => write!(f, "{what} out of bounds"),
            Self::TooWeak { what, least } => write!(f, "{what} too weak: at least {least}"),
            Self::Buffer => f.write_str("the buffer is too short"),
            Self::ConflictingLockRecord { version } => {
                write!(f, "another unlock key under the same version {version}")
            }
            Self::Forked => f.write_str(
                "opened before this process was forked: only the process that opened it may write",
            ),
            Self::FullOfDeks { limit } => write!(
                f,
                "the key file holds {limit} DEKs, as many as it can: run Store::rotation, or re-seal \
                 what is stored and finish a Keyring::sweep, and try again"
            ),
            Self::ReadOnly => f.write_str("the key file was written by a later version"),
            Self::State(what) => f.write_str(what),
            Self::InFlight => f.write_str("sealed data is not yet said to be durable"),
            Self::ExposedStream => f.write_str(
                "the DEK of the stream's header was exposed, and its content key with it: copy the \
                 stream with Streams::rewrite",
            ),
            Self::KeyspaceOpen(name) => {
                write!(f, "the keyspace {name} is open in this process already")
            }
            Self::KeyspaceRegistered(name) => write!(
                f,
                "a store {name} was created earlier: open it, or give up what it holds with \
                 Keyring::forget"
            ),
            Self::TooManyKeyspaces(names) => write!(
                f,
                "{} keyspaces are as many as fit, forget one with Keyring::forget: {}",
                names.len(),
                names.join(", ")
            ),
            Self::NotShown(names) => write!(
                f,
                "no DEK was dropped, for not all keyspaces were shown: {}; re-seal what they hold and show \
                 it with Rotation::also, Store::show or Sweep::shown, or forget them with Keyring::forget",
                names.join(", ")
            ),
        }
    }
}
