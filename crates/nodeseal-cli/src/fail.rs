use core::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nodeseal::ErrorKind;

pub(crate) const KEY: u8 = 3;
pub(crate) const DAMAGED: u8 = 4;

pub(crate) type Result<T> = core::result::Result<T, Failure>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Library(nodeseal::Error),
    /// Reading the unlock key, or writing the result.
    Io(PathBuf, io::Error),
    NoSuchSecret(String),
    /// The store said no.
    Refused(String),
    /// The audit file is damaged, cut or gone.
    Audit(nodeseal::Error),
}

impl Failure {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |error| Self::Io(path.to_owned(), error)
    }

    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Library(error) => ExitCode::from(match error.kind() {
                ErrorKind::Key => KEY,
                ErrorKind::Damaged => DAMAGED,
                _ => 1,
            }),
            Self::Audit(_) => ExitCode::from(DAMAGED),
            Self::Io(..) | Self::NoSuchSecret(_) | Self::Refused(_) => ExitCode::FAILURE,
        }
    }
}

impl From<nodeseal::Error> for Failure {
    fn from(error: nodeseal::Error) -> Self {
        Self::Library(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(nodeseal::Error::KeyRequired) => {
                f.write_str("the state is locked: give its unlock key with --unlock-key-file")
            }
            Self::Library(error) => error.fmt(f),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Refused(why) => f.write_str(why),
            Self::Audit(error) => {
                write!(f, "the audit file: {error} (`audit restart` puts it aside)")
            }
            Self::NoSuchSecret(name) => write!(f, "there is no secret named {name:?}"),
        }
    }
}
