//! Opening without creating, writing or syncing anything.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::open::{Looked, look, missing_or};
use super::options::Options;
use super::witness::Witness;
use super::{Inner, Store};
use crate::error::{Error, Result};
use crate::fs::{Fs, Lock};
use crate::keyring::{Keyring, Keyspace};
use crate::wal::Appender;

/// How often a store that another changes is read until it stays the same meanwhile.
const ATTEMPTS: usize = 3;

/// Who else may have the store open.
enum Others {
    /// None that writes.
    Shared(Box<dyn Lock>),
    /// A writer.
    Writer,
    /// It is not known: there is no lock file, or the file system has no such locks.
    Unknown,
}

pub(super) fn open(
    (fs, dir): (Arc<dyn Fs>, std::path::PathBuf),
    keyring: &Keyring,
    mut options: Options<'_>,
) -> Result<Store> {
    let keyspace = keyring.keyspace_to_read(&options.name);
    let keyspace = keyspace.map_err(|e| missing_or(e, &*fs, &dir))?;
    let others = others(&*fs, &dir.join("store.lock"))?;
    let beside = matches!(others, Others::Writer);
    // One that holds no lock that is seen here may write, too.
    let alone = matches!(others, Others::Shared(_));
    let mut attempt = 1;
    let (looked, out) = loop {
        match attempt_to_look(&*fs, &dir, &keyspace, &options, !alone) {
            Err(error) if !alone && may_pass(&error) => {
                if attempt == ATTEMPTS {
                    return Err(if beside { Error::Busy(dir) } else { error });
                }
                attempt += 1;
            }
            looked => break looked?,
        }
    };
    let lock = match others {
        Others::Shared(lock) => Some(lock),
        Others::Writer | Others::Unknown => None,
    };
    let verify = options.verify.take();
    let keys = (keyring, keyspace);
    let inner = Inner::new((fs, dir), (lock, beside), keys, &options, (out, None), looked)?;
    Store::opened(inner, verify, &options)
}

/// Reads the directory, and finds that its files are still the same.
fn attempt_to_look(
    fs: &dyn Fs,
    dir: &Path,
    keyspace: &Keyspace,
    options: &Options<'_>,
    beside: bool,
) -> Result<(Looked, Appender)> {
    let looked = look(fs, dir, keyspace, options, beside)?;
    let found = &looked.found;
    let path = found.last_path().ok_or_else(|| Error::Missing(dir.to_owned()))?;
    let file = fs.open_read(&path).map_err(|e| Error::io("open", &path, e))?;
    if beside {
        for segment in found.index.segments.values() {
            fs.open_read(&segment.path).map_err(|e| Error::io("open", &segment.path, e))?;
        }
        // The witness is not older than what was read: that was durable.
        Witness::read(fs, dir, &keyspace.cells())?;
    }
    let out = Appender::new(file.into(), path, (found.end, found.end), found.chain);
    Ok((looked, out))
}

/// Whether an error may come of what a writer does meanwhile.
const fn may_pass(error: &Error) -> bool {
    matches!(
        error,
        Error::Missing(_)
            | Error::Damaged { .. }
            | Error::RolledBack { .. }
            | Error::Unauthentic
            | Error::UnknownDek(_)
    )
}

fn others(fs: &dyn Fs, lock: &Path) -> Result<Others> {
    match fs.try_lock_shared(lock) {
        Ok(Some(lock)) => Ok(Others::Shared(lock)),
        Ok(None) => Ok(Others::Writer),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => {
            Ok(Others::Unknown)
        }
        Err(e) => Err(Error::io("lock", lock, e)),
    }
}
