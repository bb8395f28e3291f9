//! The key file of a node, and the handles through which its keys are used.
//!
//! A node has one key file, `node.keys` in a folder of the caller's choice. It holds the node's
//! DEKs and a few attachments (the node's TLS key, for example), sealed under a file key that is
//! fresh at every write; the file key is wrapped in *slots*, for the cluster's unlock key and for
//! passphrases. `docs/design.md` has the bytes.
//!
//! All calls block on the disk; none is `async`. Under an async runtime, call them where blocking
//! is allowed (`spawn_blocking`).

use core::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::error::{Error, Misuse, Result};
use crate::fs::{Fs, RealFs};
use crate::key::{
    Costs, Event, Identity, Kind, Lock, LockRecord, Passphrase, Reason, Reconciled, Rekey, Wanted,
    valid_name,
};
use crate::secret::SecretBytes;

mod create;
mod inspect;
mod live;
mod open;
mod set;
mod shared;
mod slot;
mod status;
mod sweep;
#[cfg(test)]
mod tests;
mod text;

pub use create::Protector;
pub use inspect::{Inspection, SlotInfo};
pub(crate) use live::{LiveDek, Pin};
pub use open::{LockPolicy, LockedKeyring, Opened, UnlockError};
use shared::Change;
pub(crate) use shared::Shared;
use slot::Slot;
#[cfg(nodeseal_ct)]
pub(crate) use slot::wrap_unwrap;
pub use status::{DekStatus, Status};
pub use sweep::Sweep;

/// Largest attachment, in bytes.
const MAX_ATTACHMENT: usize = 64 << 10;
/// Largest sum of all attachments, in bytes.
const MAX_ATTACHMENTS: usize = 1 << 20;

/// Where a key file is: a folder, on the real file system unless said otherwise.
#[derive(Debug, Clone)]
pub struct Location {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
}

impl Location {
    /// The folder `dir` on `fs`.
    #[must_use]
    pub fn on(fs: Arc<dyn Fs>, dir: impl Into<PathBuf>) -> Self {
        Self { fs, dir: dir.into() }
    }

    /// The file system and the folder.
    pub(crate) fn into_parts(self) -> (Arc<dyn Fs>, PathBuf) {
        (self.fs, self.dir)
    }
}

impl<P: AsRef<Path>> From<P> for Location {
    /// A relative path is one of the directory that the process is in now.
    fn from(dir: P) -> Self {
        let dir = dir.as_ref();
        Self::on(Arc::new(RealFs), std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()))
    }
}

/// An open, unlocked key file.
///
/// Clones are handles on the same keys: cheap, `Send + Sync + 'static`, and all see a rotation at
/// once. The lock on the key file is released when the last of them, and of the sealers made from
/// them, is dropped.
///
/// In a process that is forked later every call that would write is [`Misuse::Forked`]: open the key
/// file after the fork. Two processes that have the same number in different namespaces are not told
/// apart.
///
/// ```
/// use nodeseal::{Identity, Keyring, LockPolicy, Opened, Protector, UnlockKey};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path();
/// let unlock_key = UnlockKey::generate()?; // shown to the operator once
/// let me = Identity::new("prod", "m1")?;
/// let keyring = Keyring::create(dir, &me, Protector::unlock_key(&unlock_key), &[])?;
/// drop(keyring);
///
/// let keyring = match Keyring::open(dir, &me, LockPolicy::Locked)? {
///     Opened::Locked(locked) => locked.unlock(&unlock_key)?,
///     Opened::Unlocked(keyring) => keyring,
/// };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Keyring {
    shared: Arc<Shared>,
}

impl Keyring {
    fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whose keys these are.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.shared.identity()
    }

    /// Brings the key file in line with the cluster's lock record, with a new DEK if the unlock
    /// key changed. Idempotent: call it at every start and after every change of the record.
    ///
    /// # Errors
    ///
    /// [`Misuse::ConflictingLockRecord`] if the record has the version of the one that was applied
    /// but says something else, or as [`Keyring::rotate_dek`].
    pub fn reconcile(&self, record: &LockRecord) -> Result<Reconciled> {
        self.reconcile_with(record, Rekey::default())
    }

    /// As [`Keyring::reconcile`], told what a changed unlock key means for the DEK.
    ///
    /// # Errors
    ///
    /// As [`Keyring::reconcile`].
    pub fn reconcile_with(&self, record: &LockRecord, rekey: Rekey) -> Result<Reconciled> {
        self.shared.drive(|set| {
            let (wanted, card) = match record.lock() {
                Lock::Off => (Wanted::Off, None),
                Lock::On { card, .. } => {
                    let mut slots = set.slots.iter().filter(|slot| slot.head.kind == Kind::Unlock);
                    let same = slots.any(|slot| slot.card.same(card));
                    let wanted = if same { Wanted::SameKey } else { Wanted::OtherKey };
                    (wanted, Some(card.duplicate()))
                }
            };
            let event = Event::Lock { version: record.version(), wanted, rekey };
            Ok((event, Change { card, edit: None }))
        })
    }

    /// Makes a new DEK the active one, or, while older ones are still retiring, notes that one
    /// more round is wanted. [`Keyring::sweep`] ends a round.
    ///
    /// A key file holds 64 DEKs at most. In a full one every new DEK, also one that a changed
    /// unlock key asks for, waits until a sweep has dropped one: [`Status::queued`] tells.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] after an earlier failure; [`Misuse::ReadOnly`] for a file of a later
    /// version; [`Error::Io`] and the like if the key file could not be written, after which every
    /// handle is poisoned.
    pub fn rotate_dek(&self, reason: Reason) -> Result<()> {
        self.shared.drive(|_| Ok((Event::Rotate(reason), Change::default()))).map(drop)
    }

    /// Begins to look for the DEKs that nothing names any more.
    ///
    /// # Errors
    ///
    /// [`Misuse::InFlight`] as long as data that was sealed under a retiring DEK is not said to be
    /// durable; [`Error::Poisoned`] after an earlier failure.
    pub fn sweep(&self) -> Result<Sweep> {
        Sweep::begin(Arc::clone(&self.shared))
    }

    /// Adds an attachment, or replaces it. With the bytes that are there already nothing changes:
    /// an attachment that was exposed is so until other bytes take its place.
    ///
    /// # Errors
    ///
    /// [`Misuse::Name`] for a name that has not the form of those in [`Identity`];
    /// [`Misuse::TooLarge`] for one over 64 KiB, or for over 1 MiB in all; or as [`Keyring::rotate_dek`].
    pub fn attach(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (key, value) = (name.to_owned(), Arc::new(SecretBytes::from(bytes)));
        self.shared
            .drive(|set| {
                let others = set.attachments.iter().filter(|(other, _)| *other != name);
                check_attachment(name, bytes, others.map(|(_, bytes)| bytes.len()).sum())?;
                let old = set.attachments.get(name);
                if old.is_some_and(|old| old.expose().ct_eq(bytes).into()) {
                    return Ok((Event::Settle, Change::default()));
                }
                let edit = Change::edit(|set| {
                    set.attachments.insert(key, value);
                });
                Ok((Event::Attached(name), edit))
            })
            .map(drop)
    }

    /// An attachment's bytes.
    #[must_use]
    pub fn attachment(&self, name: &str) -> Option<Arc<SecretBytes>> {
        self.shared.writer().set.attachments.get(name).map(Arc::clone)
    }

    /// Removes an attachment; whether it was there.
    ///
    /// # Errors
    ///
    /// As [`Keyring::rotate_dek`].
    pub fn detach(&self, name: &str) -> Result<bool> {
        let mut found = false;
        self.shared.drive(|set| {
            found = set.attachments.contains_key(name);
            if !found {
                return Ok((Event::Settle, Change::default()));
            }
            let key = name.to_owned();
            let edit = Change::edit(move |set| {
                set.attachments.remove(&key);
            });
            Ok((Event::Detached(name), edit))
        })?;
        Ok(found)
    }

    /// Adds a passphrase as another way to unlock this file. Takes as long as one guess at it.
    ///
    /// # Errors
    ///
    /// [`Misuse::TooWeak`] for a passphrase of fewer than 8 characters, or costs below
    /// [`Costs::FLOOR`]; [`Misuse::State`] if the file is not locked, [`Misuse::TooLarge`] if it has
    /// four already, or as [`Keyring::rotate_dek`].
    ///
    /// # Security
    ///
    /// Argon2id alone stands between the file and whoever guesses: costs multiply the price of a guess,
    /// characters the number of guesses. Costs above [`Costs::CEILING`] have to be allowed again by
    /// everyone who opens the file ([`LockedKeyring::ceiling`]).
    pub fn add_passphrase(&self, passphrase: &Passphrase, costs: Costs) -> Result<()> {
        passphrase.check_new(costs)?;
        let slot = Arc::new(Slot::for_passphrase(self.identity(), passphrase, costs)?);
        self.shared
            .drive(|set| {
                if set.slots.is_empty() {
                    return Err(Misuse::State("the key file is not locked").into());
                }
                let count =
                    set.slots.iter().filter(|s| s.head.kind == Kind::Passphrase).count() + 1;
                if count > text::MAX_PASSPHRASES {
                    return Err(Error::too_large("passphrases", count, text::MAX_PASSPHRASES));
                }
                Ok((Event::Settle, Change::edit(|set| set.slots.push(slot))))
            })
            .map(drop)
    }

    /// Removes all passphrases, with a new DEK, so that an old copy of the file opens nothing that
    /// is sealed from now on. Without a passphrase nothing changes.
    ///
    /// # Errors
    ///
    /// As [`Keyring::rotate_dek`].
    pub fn remove_passphrases(&self) -> Result<()> {
        self.shared
            .drive(|set| {
                if set.slots.iter().all(|slot| slot.head.kind != Kind::Passphrase) {
                    return Ok((Event::Settle, Change::default()));
                }
                let edit =
                    Change::edit(|set| set.slots.retain(|slot| slot.head.kind != Kind::Passphrase));
                Ok((Event::Rotate(Reason::UnlockKeyChanged), edit))
            })
            .map(drop)
    }

    /// Overwrites and removes the key file. Everything that was sealed under its DEKs is lost.
    /// Every other handle refuses to seal after that.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and the like; the file may then still be there.
    ///
    /// # Security
    ///
    /// Copies that the disk or its file system keeps are not reached.
    pub fn destroy(self) -> Result<()> {
        self.shared.destroy()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("identity", self.identity()).finish_non_exhaustive()
    }
}

/// Refuses an attachment that does not fit beside `others` bytes of others.
fn check_attachment(name: &str, bytes: &[u8], others: usize) -> Result<()> {
    valid_name("attachment", name)?;
    if bytes.len() > MAX_ATTACHMENT {
        return Err(Error::too_large("an attachment", bytes.len(), MAX_ATTACHMENT));
    }
    if others + bytes.len() > MAX_ATTACHMENTS {
        return Err(Error::too_large("all attachments", others + bytes.len(), MAX_ATTACHMENTS));
    }
    Ok(())
}
