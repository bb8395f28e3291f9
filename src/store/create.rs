//! Making a store.

use std::path::Path;
use std::sync::Arc;

use super::open::{Looked, lock, remove_temps};
use super::options::Options;
use super::witness::Witness;
use super::{Inner, Store, names};
use crate::error::{Error, Misuse, Result};
use crate::fs::{self, Fs};
use crate::keyring::{Follower, Keyring, Location};
use crate::seal::State;
use crate::wal::Appender;

impl Store {
    /// Makes an empty store in a directory, which is created where it is missing, and registers its name
    /// as a [`Keyspace`](crate::Keyspace). One that was cut short can be begun again.
    ///
    /// # Errors
    ///
    /// [`Misuse::KeyspaceRegistered`] if the name is registered, wherever the store of that name is: its
    /// directory may be on a volume that is not mounted; [`Misuse::KeyspaceOpen`];
    /// [`Misuse::TooManyKeyspaces`]; [`Error::Exists`] if a log is there, or the witness of one;
    /// [`Error::Busy`]; [`Misuse::Name`], [`Misuse::OutOfBounds`] for a segment size that is not allowed;
    /// [`Misuse::State`] with [`Options::read_only`]; [`Error::Unrecorded`] if another store could not
    /// record that the key file was written, after which this one may be complete and open; [`Error::Io`];
    /// or like [`Keyring::rotate_dek`].
    pub fn create(
        location: impl Into<Location>,
        keyring: &Keyring,
        options: Options<'_>,
    ) -> Result<Self> {
        options.check()?;
        if options.read_only {
            return Err(Misuse::State("a store that is made is written").into());
        }
        let claim = keyring.claim(&options.name)?;
        let before = claim.registered();
        if before.is_some_and(|(_, made)| made) {
            return Err(Misuse::KeyspaceRegistered(options.name).into());
        }
        let (fs, dir) = location.into().into_parts();
        fs.create_dir_all(&dir).map_err(|e| Error::io("create", &dir, e))?;
        let lock = lock(&*fs, &dir)?;
        if let Some(segment) = names::segments(&*fs, &dir)?.into_iter().next() {
            return Err(Error::Exists(segment.path));
        }
        remove_unused_witness(&*fs, &dir, keyring, &options.name, before.is_some())?;
        let changes = keyring.shared().changes();
        let keyspace = claim.register(false)?;
        let cells = keyspace.cells();
        remove_temps(&*fs, &dir)?;
        let state = State { sequence: 1, ..State::default() };
        // Before the log: a log without a witness would be one that was tampered with.
        let witness = Witness::create(&*fs, &dir, &cells, state.sequence)?;
        let looked = Looked::empty(state, keyring.shared().epoch());
        // Never written to: the first segment takes its place.
        let none = witness.file();
        let out = Appender::new(none, Witness::path(&dir), (0, 0), 0);
        let lock = (Some(lock), false);
        let keys = (keyring, keyspace);
        let inner = Inner::new((fs, dir), lock, keys, &options, (out, Some(witness)), looked)?;
        inner.first_segment(&mut inner.writer())?;
        let store = Self { inner: Arc::new(inner) };
        store.inner.keyspace.set_made()?;
        store.follow_keys();
        // The two of its own concern no key that it is sealed under: its first change records them.
        if keyring.shared().changes() != changes.saturating_add(2) {
            store.inner.record()?;
        }
        Ok(store)
    }
}

/// Removes the witness of a creation that was cut short, whose id nothing will know any more.
fn remove_unused_witness(
    fs: &dyn Fs,
    dir: &Path,
    keyring: &Keyring,
    name: &str,
    registered: bool,
) -> Result<()> {
    let path = Witness::path(dir);
    let unused = || Witness::read(fs, dir, &keyring.keyspace_to_read(name)?.cells());
    let found = if registered { unused() } else { Witness::sealed(fs, dir).map(|_| 0) };
    match found {
        Err(Error::Missing(_)) => Ok(()),
        Ok(1) => {
            fs::remove_if_there(fs, &path)?;
            fs.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))
        }
        Err(error @ Error::Io { .. }) => Err(error),
        // Of a log that cannot be seen here.
        _ => Err(Error::Exists(path)),
    }
}
