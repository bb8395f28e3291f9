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
    Costs, Event, Holder, Identity, Lock, LockRecord, MAX_VERSION, Passphrase, Reason, Reconciled,
    Rekey, RotateDek, SlotChange, SlotId, SlotIds, Wanted, valid_name,
};
use crate::secret::SecretBytes;

mod create;
mod follow;
mod inspect;
mod keyspace;
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
pub(crate) use follow::Follower;
pub use inspect::{Inspection, SlotInfo};
pub use keyspace::{Keyspace, KeyspaceId};
pub(crate) use live::{LiveDek, Pin};
pub use open::{LockPolicy, LockedKeyring, Opened, UnlockError};
use set::KeySet;
use shared::Change;
pub(crate) use shared::Shared;
use slot::Slot;
#[cfg(nodeseal_ct)]
pub(crate) use slot::wrap_unwrap;
pub use status::{DekStatus, Exposed, KeyspaceStatus, SlotKind, SlotStatus, Status};
pub use sweep::Sweep;

/// How far the version of a lock record may be beyond the one applied.
const MAX_STEP: u64 = 1 << 32;
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
/// What seals and opens belongs to a [`Keyspace`]: [`Keyring::keyspace`], or a [`Store`](crate::Store).
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
    /// With a pending unlock key in the record the file opens with either key until a later record
    /// confirms or withdraws it. A leak that the record declares ([`LockRecord::leaked`]) is acted on
    /// once, like [`Rekey::Leaked`], also by a node that was away when it was declared.
    ///
    /// # Errors
    ///
    /// [`Misuse::ConflictingLockRecord`] if the record has the version of the one that was applied
    /// but says something else; [`Misuse::OutOfBounds`] if its version is `u64::MAX` or more than 2^32
    /// beyond the one applied; or like [`Keyring::rotate_dek`].
    pub fn reconcile(&self, record: &LockRecord) -> Result<Reconciled> {
        self.reconcile_with(record, Rekey::default())
    }

    /// Like [`Keyring::reconcile`], with what a changed unlock key means for the DEK.
    ///
    /// [`Rekey::Leaked`] acts also where the record was applied before, each time it is given. It
    /// concerns this node alone: [`LockRecord::with_leak`] declares a leak to every node.
    ///
    /// # Errors
    ///
    /// Like [`Keyring::reconcile`], and [`Misuse::State`] for [`Rekey::Leaked`] with a record older
    /// than the one applied, which would otherwise be ignored.
    pub fn reconcile_with(&self, record: &LockRecord, rekey: Rekey) -> Result<Reconciled> {
        let version = record.version();
        let done = self.shared.drive(|set| {
            let applied = set.lifecycle.applied_version();
            if version > MAX_VERSION || version.saturating_sub(applied) > MAX_STEP {
                return Err(Misuse::OutOfBounds("version of a lock record").into());
            }
            let (wanted, slots, unlock) = match record.lock() {
                Lock::Off => (Wanted::Off, SlotChange::default(), Vec::new()),
                Lock::On { current, pending } => wanted(set, current, pending.as_ref())?,
            };
            let leaked = record.leaked();
            let event = Event::Lock { version, leaked, wanted, slots, rekey };
            Ok((event, Change { unlock, edit: None }))
        });
        done.map(|(reconciled, _)| reconciled)
    }

    /// Makes a new DEK the active one, or queues the request. [`Keyring::sweep`] ends a round:
    /// it drops the DEKs that nothing names.
    ///
    /// A key file holds at most 64 DEKs, two of them reserved for what cannot wait:
    ///
    /// | reason | a new DEK at once | otherwise queued until |
    /// |---|---|---|
    /// | [`Requested`](Reason::Requested), [`Age`](Reason::Age), [`Uses`](Reason::Uses) | if no DEK is retiring | the last retiring DEK is dropped |
    /// | [`UnlockKeyChanged`](Reason::UnlockKeyChanged), [`AutolockOff`](Reason::AutolockOff) | if fewer than 62 are held | a sweep leaves fewer than 62 |
    /// | [`Leaked`](Reason::Leaked), [`Locked`](Reason::Locked), [`Exposed`](Reason::Exposed) | if fewer than 64 are held | never: the call fails |
    ///
    /// The same holds where a lock record or [`Keyring::remove_passphrases`] asks for the DEK; a slot
    /// that was exposed and is dropped counts as [`Exposed`](Reason::Exposed). [`Status::queued`] lists
    /// what is waiting. A new DEK satisfies everything that was queued before it.
    ///
    /// # Errors
    ///
    /// [`Misuse::FullOfDeks`] if the request may not wait and there is no room: nothing was changed,
    /// and [`Store::rotation`](crate::Store::rotation) or a finished [`Keyring::sweep`] makes room.
    /// [`Error::Poisoned`] after an earlier failure; [`Misuse::ReadOnly`] for a file of a later
    /// version; [`Error::Io`] and the like if the key file could not be written, after which every
    /// handle is poisoned; [`Error::Unrecorded`] if the change stands and a store could not record it.
    ///
    /// ```
    /// # use nodeseal::{Identity, Keyring, Protector, Reason, UnlockKey};
    /// use nodeseal::key::RotateDek;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let me = Identity::new("prod", "m1")?;
    /// # let protector = Protector::unlock_key(&UnlockKey::generate()?);
    /// # let keyring = Keyring::create(dir.path(), &me, protector, &[])?;
    /// assert_eq!(keyring.rotate_dek(Reason::Age)?, RotateDek::Rotated);
    /// assert_eq!(keyring.rotate_dek(Reason::Uses)?, RotateDek::Queued);
    /// assert_eq!(keyring.rotate_dek(Reason::Leaked)?, RotateDek::Rotated);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rotate_dek(&self, reason: Reason) -> Result<RotateDek> {
        let done = self.shared.drive(|_| Ok((Event::Rotate(reason), Change::default())));
        done.map(|(_, rotate)| rotate)
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
                let count = set.passphrase_slots().count() + 1;
                if count > text::MAX_PASSPHRASES {
                    return Err(Error::too_large("passphrases", count, text::MAX_PASSPHRASES));
                }
                let added = Event::SlotAdded(slot.head.id);
                Ok((added, Change::edit(|set| set.slots.push(slot))))
            })
            .map(drop)
    }

    /// Removes all passphrases, with a new DEK, so that an old copy of the file opens nothing that
    /// is sealed from now on. If the file holds 62 DEKs or more, the new one follows when a sweep
    /// leaves fewer, and [`Status::queued`] says so until then; for passphrases that were exposed it
    /// does not wait. Without a passphrase nothing changes.
    ///
    /// # Errors
    ///
    /// As [`Keyring::rotate_dek`].
    pub fn remove_passphrases(&self) -> Result<()> {
        self.shared
            .drive(|set| {
                let removed: SlotIds = set.passphrase_slots().map(|slot| slot.head.id).collect();
                if set.passphrase_slots().next().is_none() {
                    return Ok((Event::Settle, Change::default()));
                }
                let edit = Change::edit(|set| set.slots.retain(|slot| slot.is_unlock()));
                Ok((Event::SlotsRemoved(removed), edit))
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

/// How a lock record's keys compare with the file's, and the slots that it asks for: those of cards
/// that the file has already stay what they are.
fn wanted(
    set: &KeySet,
    current: &Holder,
    pending: Option<&Holder>,
) -> Result<(Wanted, SlotChange, Vec<Arc<Slot>>)> {
    let held: Vec<&Arc<Slot>> = set.unlock_slots().collect();
    let slot = |holder: &Holder| match held.iter().find(|slot| slot.card.same(&holder.card)) {
        Some(slot) => Ok(Arc::clone(slot)),
        None => Slot::for_card(holder.card.duplicate()).map(Arc::new),
    };
    let unlock: Vec<Arc<Slot>> =
        [current].into_iter().chain(pending).map(slot).collect::<Result<_>>()?;
    let same = |at: usize| match (held.get(at), unlock.get(at)) {
        (Some(held), Some(wanted)) => held.head.id == wanted.head.id,
        (held, wanted) => held.is_none() && wanted.is_none(),
    };
    let change = SlotChange {
        other_pending: !same(1),
        added: without(&unlock, &held),
        dropped: without(&held, &unlock),
    };
    let wanted = if same(0) { Wanted::SameKey } else { Wanted::OtherKey };
    Ok((wanted, change, unlock))
}

/// The ids of `these` slots that are not among `those`.
fn without<S: AsRef<Slot>, T: AsRef<Slot>>(these: &[S], those: &[T]) -> SlotIds {
    let among = |id: &SlotId| those.iter().any(|slot| slot.as_ref().head.id == *id);
    these.iter().map(|slot| slot.as_ref().head.id).filter(|id| !among(id)).collect()
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
