//! Keyspaces: registered names under a keyring, each with keys of its own.
//!
//! A name alone binds nothing: a log that is made again under it, with the same DEKs, would accept what
//! was sealed for the one before. The key set holds a random id for each name, and every key that seals
//! is derived for that id.

use core::fmt;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::Keyring;
use super::shared::{Change, Shared};
use crate::crypto::random;
use crate::error::{Error, Misuse, Result};
use crate::key::{Event, valid_name};

/// How many keyspaces a key file registers at most.
pub(super) const MAX_KEYSPACES: usize = 256;

/// The id of a keyspace: 16 random bytes, drawn when its name is registered. It is no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId([u8; 16]);

impl KeyspaceId {
    /// Returns the id that has these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the id's bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for KeyspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyspaceId({self})")
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for KeyspaceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the key set holds of a keyspace beside its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) id: KeyspaceId,
    /// Says whether its owner is complete: a store that is being created is not.
    pub(super) made: bool,
}

/// A keyspace that is open: one owner's log, cells and streams, under keys of their own.
///
/// What was sealed in one keyspace does not open in another, whatever its name was and also under the
/// same DEK. Clones, and the sealers made from them, share the keyspace; it is open until the last of
/// them is dropped, and can be open only once at a time in the process.
///
/// [`Keyring::keyspace`] registers it. A [`Store`](crate::Store) has one of its own, of its name.
///
/// ```
/// # use nodeseal::{Error, Identity, Keyring, Misuse, Protector, UnlockKey};
/// # let dir = tempfile::tempdir()?;
/// # let me = Identity::new("prod", "m1")?;
/// # let protector = Protector::unlock_key(&UnlockKey::generate()?);
/// # let keyring = Keyring::create(dir.path(), &me, protector, &[])?;
/// let mine = keyring.keyspace("mine")?;
/// let sealed = mine.cells().seal("table", b"row", b"value")?;
/// let stored = sealed.bytes().to_vec();
/// sealed.durable(); // once it is
///
/// let other = keyring.keyspace("other")?;
/// assert!(matches!(other.cells().open("table", b"row", &stored), Err(Error::Unauthentic)));
/// // It is open already.
/// assert!(matches!(keyring.keyspace("mine"), Err(Error::Misuse(Misuse::KeyspaceOpen(_)))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Keyspace {
    open: Arc<Open>,
}

struct Open {
    shared: Arc<Shared>,
    name: String,
    id: KeyspaceId,
    /// `None`: it is only read, beside the one that has it open.
    _claim: Option<Claim>,
}

impl Keyspace {
    fn new(shared: &Arc<Shared>, name: &str, id: KeyspaceId, claim: Option<Claim>) -> Self {
        let (shared, name) = (Arc::clone(shared), name.to_owned());
        Self { open: Arc::new(Open { shared, name, id, _claim: claim }) }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.open.name
    }

    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> KeyspaceId {
        self.open.id
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.open.shared
    }

    pub(crate) fn id_bytes(&self) -> &[u8; 16] {
        self.open.id.as_bytes()
    }

    /// Notes that the store of this name is whole, unless that is noted already.
    pub(crate) fn set_made(&self) -> Result<()> {
        let registered = self.open.shared.registered(self.name());
        if registered.is_some_and(|found| found.id == self.open.id && !found.made) {
            self.open.shared.enter(self.name(), Registered { id: self.open.id, made: true })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyspace")
            .field("name", &self.open.name)
            .field("id", &self.open.id)
            .finish_non_exhaustive()
    }
}

/// The names that are open.
#[derive(Default)]
pub(super) struct Names(Mutex<BTreeSet<String>>);

/// Keeps a name from being opened, registered or forgotten by another.
pub(crate) struct Claim {
    shared: Arc<Shared>,
    name: String,
}

impl Claim {
    fn take(shared: &Arc<Shared>, name: &str) -> Result<Self> {
        valid_name("keyspace", name)?;
        let mut names = shared.names().0.lock().unwrap_or_else(PoisonError::into_inner);
        if !names.insert(name.to_owned()) {
            return Err(Misuse::KeyspaceOpen(name.to_owned()).into());
        }
        Ok(Self { shared: Arc::clone(shared), name: name.to_owned() })
    }

    /// Reports whether the name is registered, and whether its owner was made whole.
    pub(crate) fn registered(&self) -> Option<(KeyspaceId, bool)> {
        self.shared.registered(&self.name).map(|found| (found.id, found.made))
    }

    /// Opens the keyspace that is registered.
    pub(crate) fn open(self) -> Result<Keyspace> {
        match self.registered() {
            Some((id, _)) => Ok(self.of(id)),
            None => Err(Error::UnknownKeyspace(self.name.clone())),
        }
    }

    /// Registers the name under a new id, also in the place of one whose owner was never whole.
    pub(crate) fn register(self, made: bool) -> Result<Keyspace> {
        let id = KeyspaceId(random::array()?);
        self.shared.enter(&self.name, Registered { id, made })?;
        Ok(self.of(id))
    }

    fn of(self, id: KeyspaceId) -> Keyspace {
        let (shared, name) = (Arc::clone(&self.shared), self.name.clone());
        Keyspace::new(&shared, &name, id, Some(self))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let names = &self.shared.names().0;
        let names = if self.shared.is_of_this_process() {
            Some(names.lock().unwrap_or_else(PoisonError::into_inner))
        } else {
            // In a forked child a thread of the parent's may hold it for good.
            names.try_lock().ok()
        };
        if let Some(mut names) = names {
            names.remove(&self.name);
        }
    }
}

impl Shared {
    fn registered(&self, name: &str) -> Option<Registered> {
        self.writer().set.keyspaces.get(name).copied()
    }

    /// Writes what the key set holds of `name`.
    fn enter(&self, name: &str, registered: Registered) -> Result<()> {
        let entered = name.to_owned();
        self.drive(|set| {
            let others = set.keyspaces.iter().filter(|(other, _)| **other != entered);
            if others.clone().any(|(_, other)| other.id == registered.id) {
                return Err(Error::Random);
            }
            if others.count() >= MAX_KEYSPACES {
                return Err(
                    Misuse::TooManyKeyspaces(set.keyspaces.keys().cloned().collect()).into()
                );
            }
            let edit = Change::edit(move |set| {
                set.keyspaces.insert(entered, registered);
            });
            Ok((Event::Settle, edit))
        })
        .map(drop)
    }
}

impl Keyring {
    /// Opens the keyspace `name`, and registers it in the key file if it is not yet.
    ///
    /// # Errors
    ///
    /// [`Misuse::KeyspaceOpen`] while it is open in this process, also as a store's;
    /// [`Misuse::TooManyKeyspaces`] for the 257th; [`Misuse::Name`] for a name that has not the form of
    /// those in [`Identity`](crate::Identity); [`Misuse::State`] if a store of that name was being created when the
    /// process ended, or if it is not registered and the file is open read-only; or like
    /// [`Keyring::rotate_dek`].
    pub fn keyspace(&self, name: &str) -> Result<Keyspace> {
        let claim = self.claim(name)?;
        match claim.registered() {
            Some((_, true)) => claim.open(),
            Some((_, false)) => Err(Misuse::State(
                "a store of that name was being created: create it again, or forget the keyspace",
            )
            .into()),
            None => claim.register(true),
        }
    }

    /// Removes the keyspace `name` from the key file; whether it was registered.
    ///
    /// What was sealed in it does not open any more. The name may be registered again, by
    /// [`Keyring::keyspace`] or [`Store::create`](crate::Store::create), as another keyspace.
    ///
    /// # Errors
    ///
    /// [`Misuse::KeyspaceOpen`] while it is open; or like [`Keyring::rotate_dek`].
    ///
    /// # Security
    ///
    /// An older copy of the key file still has the id, which is no secret: what was sealed opens with it
    /// for as long as its DEK is there.
    pub fn forget(&self, name: &str) -> Result<bool> {
        let claim = self.claim(name)?;
        let found = claim.registered().is_some();
        if found {
            let forgotten = name.to_owned();
            let edit = Change::edit(move |set| {
                set.keyspaces.remove(&forgotten);
            });
            self.shared().drive(|_| Ok((Event::Settle, edit)))?;
        }
        Ok(found)
    }

    pub(crate) fn claim(&self, name: &str) -> Result<Claim> {
        Claim::take(self.shared(), name)
    }

    /// Opens the keyspace `name` to read what is sealed in it, also beside the one that has it open.
    pub(crate) fn keyspace_to_read(&self, name: &str) -> Result<Keyspace> {
        valid_name("keyspace", name)?;
        let shared = self.shared();
        match shared.registered(name) {
            Some(found) => Ok(Keyspace::new(shared, name, found.id, None)),
            None => Err(Error::UnknownKeyspace(name.to_owned())),
        }
    }
}
