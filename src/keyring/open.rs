use core::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::inspect::Inspection;
use super::set::KeySet;
use super::shared::{Access, READ_ONLY, Shared, Writer, destroy, encode, live};
use super::slot::{Credential, Slot, commitment};
use super::text::{Header, KeyFile, MAX_FILE, SlotLine, Slots};
use super::{Keyring, Location};
use crate::audit::{Action, Event, Sink};
use crate::crypto::{verdict, xchacha};
use crate::error::{Error, Misuse, Result};
use crate::fs::{self, Fs, Unreplaced};
use crate::grant::Time;
use crate::key::{Card, Costs, Identity, Mode, Passphrase, SlotId, UnlockKey};
use crate::secret::{SecretBytes, SecretKey};

use subtle::ConstantTimeEq;

/// Whether a key file that is not locked will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockPolicy {
    /// Only a locked file: a node of an autolocked cluster must not seal under the DEK of a file
    /// that anybody could have put there.
    Locked,
    /// A file in the clear will do too. Whoever can write to the disk decides then what is sealed
    /// under.
    Any,
}

/// A key file that was opened.
#[derive(Debug)]
pub enum Opened {
    /// It is locked.
    Locked(LockedKeyring),
    /// It stood in the clear.
    Unlocked(Keyring),
}

/// A key file that is still locked, with the lock on the file held.
pub struct LockedKeyring(Box<LockedFile>);

struct LockedFile {
    location: Location,
    access: Access,
    file: KeyFile,
    bytes: usize,
    audit: Option<Arc<dyn Sink>>,
    /// The most that is paid for a guess.
    ceiling: Costs,
}

/// Why a file could not be unlocked, and the file to try again with.
pub struct UnlockError {
    /// Why.
    pub error: Error,
    /// The file as it was.
    pub locked: LockedKeyring,
}

impl Keyring {
    /// Opens the key file of `identity`. The file is written once more as it is, because one who
    /// was interrupted may have left it less than durable.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if there is none (it is never created here); [`Error::Busy`] if another
    /// handle has it open; [`Error::Damaged`]; [`Error::Unsupported`] for a later version;
    /// [`Error::OtherIdentity`]; [`Error::ExpectedLocked`] if it stands in the clear and `policy`
    /// does not allow that; [`Error::Unauthentic`] if such a file was altered; [`Error::Io`].
    pub fn open(
        at: impl Into<Location>,
        identity: &Identity,
        policy: LockPolicy,
    ) -> Result<Opened> {
        let location = at.into();
        let path = location.file();
        // Before the lock file is created in a folder that may not even be ours.
        location.fs.open_read(&path).map_err(|e| Error::io("open", &path, e))?;
        let lock = location.lock()?;
        let (file, bytes) = read(&*location.fs, &path)?;
        expect_identity(identity, &file.header.identity)?;
        if policy == LockPolicy::Locked && matches!(file.header.slots, Slots::Clear(_)) {
            return Err(Error::ExpectedLocked);
        }
        settle(&location, &bytes)?;
        let access = Access::Write(lock);
        LockedFile {
            location,
            access,
            file,
            bytes: bytes.len(),
            audit: None,
            ceiling: Costs::CEILING,
        }
        .opened()
    }

    /// Opens the key file of `identity` without creating, writing or syncing anything, also on a
    /// mount that is read-only or beside a process that has it open. What is sealed can be opened with
    /// the DEKs that the file holds now; every call that would seal or write is an error.
    ///
    /// A shared lock is held where the file system has such locks and no other process writes.
    ///
    /// # Errors
    ///
    /// As [`Keyring::open`], but [`Error::Busy`].
    pub fn open_read_only(
        at: impl Into<Location>,
        identity: &Identity,
        policy: LockPolicy,
    ) -> Result<Opened> {
        let location = at.into();
        let lock = location.shared_lock()?;
        let (file, bytes) = read(&*location.fs, &location.file())?;
        expect_identity(identity, &file.header.identity)?;
        if policy == LockPolicy::Locked && matches!(file.header.slots, Slots::Clear(_)) {
            return Err(Error::ExpectedLocked);
        }
        let access = Access::Read { _lock: lock };
        LockedFile {
            location,
            access,
            file,
            bytes: bytes.len(),
            audit: None,
            ceiling: Costs::CEILING,
        }
        .opened()
    }
}

impl LockedKeyring {
    /// Reports every attempt to unlock the file to `sink`: [`Action::Unlocked`] or
    /// [`Action::UnlockFailed`], with the node's name, and the error's text as the detail.
    #[must_use]
    pub fn audited(mut self, sink: Arc<dyn Sink>) -> Self {
        self.0.audit = Some(sink);
        self
    }

    /// Sets the most that [`LockedKeyring::unlock_with_passphrase`] pays for a slot;
    /// [`Costs::CEILING`] if it is not called. A file says what its slots cost before anything in it is
    /// authenticated.
    #[must_use]
    pub fn ceiling(mut self, most: Costs) -> Self {
        self.0.ceiling = most;
        self
    }

    /// Unlocks the file with the cluster's unlock key.
    ///
    /// # Errors
    ///
    /// The locked keyring comes back with the error: [`Error::WrongKey`]; [`Error::Unauthentic`]
    /// or [`Error::Damaged`] if the key is right and the file was altered;
    /// [`Error::Unsupported`] if a later version wrote it.
    pub fn unlock(self, key: &UnlockKey) -> Result<Keyring, UnlockError> {
        self.unlock_with(Credential::UnlockKey(key))
    }

    /// Unlocks the file with a passphrase. Takes one guess's time for each passphrase of the file, but
    /// for those that ask for more than the [ceiling](LockedKeyring::ceiling), which are passed over.
    ///
    /// If the passphrase's slot was exposed, it is enrolled again, in one more guess's time and a write
    /// of the file: the new slot has another `auth`. On a full disk, and in a file that is open
    /// read-only, that waits for the next unlock.
    ///
    /// # Errors
    ///
    /// As [`LockedKeyring::unlock`]; [`Error::TooCostly`] if no slot opened and one was passed over.
    pub fn unlock_with_passphrase(self, passphrase: &Passphrase) -> Result<Keyring, UnlockError> {
        self.unlock_with(Credential::Passphrase(passphrase))
    }

    fn unlock_with(self, credential: Credential<'_>) -> Result<Keyring, UnlockError> {
        // Before anything opens: what is not recorded does not happen.
        let unlocked = self.0.file_key(credential).and_then(|unlocked| {
            self.0.report(None)?;
            Ok(unlocked)
        });
        let opened = match unlocked {
            Ok((file_key, slot)) => self.0.open(&file_key, Some((slot, credential))),
            Err(error) => Err((error, self.0)),
        };
        if let Err((error, file)) = &opened {
            // There is nothing left to hold back.
            file.report(Some(error)).ok();
        }
        opened.map_err(|(error, file)| UnlockError { error, locked: Self(file) })
    }

    /// The file's public facts.
    #[must_use]
    pub fn inspection(&self) -> Inspection {
        Inspection::of(&self.0.file, self.0.bytes)
    }

    /// Overwrites and removes the key file, as [`Keyring::destroy`] does.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and the like; the file may then still be there.
    pub fn destroy(self) -> Result<()> {
        match self.0.access {
            Access::Write(lock) => destroy(&self.0.location, lock),
            Access::Read { .. } => Err(Misuse::State(READ_ONLY).into()),
        }
    }
}

impl LockedFile {
    /// Opens it at once if it is not locked.
    fn opened(self) -> Result<Opened> {
        let locked = Box::new(self);
        match &locked.file.header.slots {
            Slots::Clear(file_key) => {
                let file_key = file_key.duplicate();
                locked.open(&file_key, None).map(Opened::Unlocked).map_err(|(error, _)| error)
            }
            Slots::Wrapped(_) => Ok(Opened::Locked(LockedKeyring(locked))),
        }
    }

    /// The confirmations decide: if none fits, the key is wrong.
    fn file_key(&self, credential: Credential<'_>) -> Result<(SecretKey, SlotId)> {
        let Slots::Wrapped(slots) = &self.file.header.slots else { return Err(Error::WrongKey) };
        let mut passed_over = None;
        for slot in slots {
            let SlotLine::Known(slot) = slot else { continue };
            if let (Credential::Passphrase(_), Some(asked)) = (credential, slot.head.costs)
                && !asked.are_within(&self.ceiling)
            {
                passed_over = Some(asked);
                continue;
            }
            if let Some(file_key) = slot.unwrap(&self.file.header.identity, credential)? {
                return Ok((file_key, slot.head.id));
            }
        }
        Err(passed_over.map_or(Error::WrongKey, |asked| Error::TooCostly {
            asked: asked.to_string(),
            ceiling: self.ceiling.to_string(),
        }))
    }

    fn report(&self, failed: Option<&Error>) -> Result<()> {
        let Some(sink) = &self.audit else { return Ok(()) };
        let action = if failed.is_none() { Action::Unlocked } else { Action::UnlockFailed };
        let mut event = Event::new(action, Time::now());
        event.node = Some(self.file.header.identity.node_id().clone());
        event.detail = failed.map(ToString::to_string);
        sink.record(&event)
    }

    fn open(
        self: Box<Self>,
        file_key: &SecretKey,
        with: Option<(SlotId, Credential<'_>)>,
    ) -> Result<Keyring, (Error, Box<Self>)> {
        match self.set(file_key).and_then(|set| {
            let (set, epoch) = self.enroll_again(set, with)?;
            Ok((live(&set, epoch)?, set))
        }) {
            Err(error) => Err((error, self)),
            Ok((live, set)) => {
                let later = self.is_later();
                let Self { location, access, file, .. } = *self;
                let writer = Writer::new(set, later, access);
                Ok(Keyring::new(Shared::new(file.header.identity, location, live, writer)))
            }
        }
    }

    /// Whether the file has slots that this version does not know, and so cannot write.
    fn is_later(&self) -> bool {
        matches!(&self.file.header.slots, Slots::Wrapped(slots)
            if slots.iter().any(|slot| matches!(slot, SlotLine::Unknown(_))))
    }

    /// Gives a passphrase whose slot was exposed a new one, in a write of the file: returns what the
    /// file holds then, and its epoch.
    fn enroll_again(
        &self,
        mut set: KeySet,
        with: Option<(SlotId, Credential<'_>)>,
    ) -> Result<(KeySet, u64)> {
        let Header { identity, epoch, .. } = &self.file.header;
        let Some((id, Credential::Passphrase(passphrase))) = with else { return Ok((set, *epoch)) };
        let at = set.slots.iter().position(|slot| slot.head.id == id);
        let exposed = set.lifecycle.slots.get(&id) == Some(&true);
        let (true, false, Access::Write(_), Some(at), Some(next)) =
            (exposed, self.is_later(), &self.access, at, epoch.checked_add(1))
        else {
            return Ok((set, *epoch));
        };
        let old = set.slots.get(at).and_then(|slot| slot.head.costs);
        let slot = Slot::for_passphrase(identity, passphrase, old.unwrap_or_default())?;
        let before = set.clone();
        set.lifecycle.replace_slot(&id, slot.head.id);
        set.slots.splice(at..=at, [Arc::new(slot)]);
        let file = encode(identity, next, &set)?;
        match fs::try_replace(&*self.location.fs, &self.location.file(), file.expose()) {
            Ok(()) => Ok((set, next)),
            // Opening does without: the slot stays what it was.
            Err(Unreplaced::Full(_)) => Ok((before, *epoch)),
            Err(Unreplaced::Unknown(error)) => Err(error),
        }
    }

    fn set(&self, file_key: &SecretKey) -> Result<KeySet> {
        let commit = commitment(file_key).ct_eq(&self.file.header.commit);
        if !verdict::public(commit.into()) {
            return Err(Error::damaged("the key file commits to another file key"));
        }
        let header = self.file.header.encode();
        let mut sealed = SecretBytes::from(self.file.sealed.as_slice());
        let opened = xchacha::open(file_key.expose(), header.expose(), sealed.expose_mut())?;
        let set = KeySet::decode(opened, self.file.header.kek_version, |cards| self.slots(cards))?;
        let clear = matches!(self.file.header.slots, Slots::Clear(_));
        if clear != (set.lifecycle.mode == Mode::Clear) {
            return Err(Error::damaged("the key set does not fit its slots"));
        }
        Ok(set)
    }

    /// The slots that are written again, each with the card that the key set holds for it.
    fn slots(&self, cards: Vec<Card>) -> Result<Vec<Arc<Slot>>> {
        let lines: &[SlotLine] = match &self.file.header.slots {
            Slots::Clear(_) => &[],
            Slots::Wrapped(lines) => lines,
        };
        let known: Vec<_> = lines
            .iter()
            .filter_map(|line| match line {
                SlotLine::Known(slot) => Some(slot),
                SlotLine::Unknown(_) => None,
            })
            .collect();
        // With another card the next write would lock the file for a key that nobody has.
        let identity = &self.file.header.identity;
        let fit = known.iter().zip(&cards).all(|(slot, card)| slot.confirms(identity, &card.auth));
        let mut ids: Vec<SlotId> = known.iter().map(|slot| slot.head.id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != cards.len() || known.len() != cards.len() || !fit {
            return Err(Error::damaged("the key set does not fit its slots"));
        }
        let slot = |(line, card): (&&super::slot::WrappedSlot, Card)| {
            Arc::new(Slot { head: line.head.clone(), card })
        };
        Ok(known.iter().zip(cards).map(slot).collect())
    }
}

impl fmt::Debug for LockedKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = &self.0.file.header.identity;
        f.debug_struct("LockedKeyring").field("identity", identity).finish_non_exhaustive()
    }
}

impl fmt::Debug for UnlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnlockError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl fmt::Display for UnlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for UnlockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<UnlockError> for Error {
    fn from(failed: UnlockError) -> Self {
        failed.error
    }
}

/// Reads and parses the key file; gives its bytes too.
pub(super) fn read(fs: &dyn Fs, path: &Path) -> Result<(KeyFile, SecretBytes)> {
    let bytes = SecretBytes::from_vec(fs::read(fs, path, MAX_FILE)?);
    let file = KeyFile::parse(&bytes).map_err(|error| error.in_file(path))?;
    Ok((file, bytes))
}

/// Makes the key file that was found durable, by writing it once more as it is.
///
/// One who was killed while he replaced it, or whose last sync failed, may have left it so that a
/// power cut would bring the one before back, without the newest DEK or for an unlock key that
/// nobody has any more. After a failed sync another one proves nothing; only another write does.
fn settle(location: &Location, bytes: &SecretBytes) -> Result<()> {
    let path = location.file();
    match fs::replace(&*location.fs, &path, bytes.expose()) {
        // Without room nothing is sealed either, but what there is can still be opened.
        Err(Error::Io { path: at, source, .. })
            if at != location.dir
                && matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
        {
            let file = location.fs.open_read(&path).map_err(|e| Error::io("open", &path, e))?;
            file.sync().map_err(|e| Error::io("sync", &path, e))?;
            location.fs.sync_dir(&location.dir).map_err(|e| Error::io("sync", &location.dir, e))
        }
        settled => settled,
    }
}

fn expect_identity(expected: &Identity, found: &Identity) -> Result<()> {
    let differ = |what, expected: &str, found: &str| Error::OtherIdentity {
        what,
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    if expected.cluster() != found.cluster() {
        return Err(differ("cluster", expected.cluster(), found.cluster()));
    }
    if expected.node() != found.node() {
        return Err(differ("node", expected.node(), found.node()));
    }
    Ok(())
}
