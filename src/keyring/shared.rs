//! What all handles of one open key file share, and the one way in which it is written.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Location;
use super::follow::{Follower, Followers};
use super::keyspace::Names;
use super::live::{Live, LiveDek, Pin, Poison};
use super::set::{KeySet, StoredDek};
use super::slot::Slot;
use super::text::{Header, KeyFile, MAX_FILE, SlotLine, Slots};
use crate::crypto::{random, xchacha};
use crate::error::{Error, Misuse, Result};
use crate::fs::{self, Lock, Unreplaced};
use crate::key::{Dek, DekId, Effect, Event, Identity, Mode, Offer, Reconciled, RotateDek};
use crate::process::Process;
use crate::secret::SecretBytes;

/// How many uses of a DEK one write of the key file reserves.
const RESERVE: u64 = 1 << 20;
/// How many uses more a process takes on a full disk, which the file then does not know of: as many as
/// it needs to make room.
const OVERDRAFT: u64 = 1 << 12;

pub(crate) struct Shared {
    identity: Identity,
    location: Location,
    live: RwLock<Live>,
    writer: Mutex<Writer>,
    poison: Poison,
    /// The process that may write.
    process: Process,
    followers: Followers,
    /// The keyspaces that are open.
    names: Names,
}

pub(super) struct Writer {
    pub(super) set: KeySet,
    /// The file has slots that this version does not know, and so cannot write.
    later: bool,
    access: Access,
}

/// What the file was opened for.
pub(super) enum Access {
    /// To be written: the lock keeps others out.
    Write(Held),
    /// To be read, with a shared lock if there was one to be had.
    Read { _lock: Option<Box<dyn Lock>> },
}

/// The lock on a key file that is to be written, and the process that took it.
pub(super) struct Held {
    process: Process,
    _lock: Box<dyn Lock>,
}

pub(super) const READ_ONLY: &str = "the key file is open read-only";

impl Writer {
    pub(super) const fn new(set: KeySet, later: bool, access: Access) -> Self {
        Self { set, later, access }
    }
}

/// What a change adds to the effects of its event.
#[derive(Default)]
pub(super) struct Change {
    /// The slots of the unlock keys that the file is wrapped for, if the event asks for it.
    pub(super) unlock: Vec<Arc<Slot>>,
    pub(super) edit: Option<Edit>,
}

type Edit = Box<dyn FnOnce(&mut KeySet)>;

impl Change {
    pub(super) fn edit(edit: impl FnOnce(&mut KeySet) + 'static) -> Self {
        Self { unlock: Vec::new(), edit: Some(Box::new(edit)) }
    }
}

impl Shared {
    pub(super) fn new(identity: Identity, location: Location, live: Live, writer: Writer) -> Self {
        let process = match &writer.access {
            Access::Write(held) => held.process,
            Access::Read { .. } => Process::current(),
        };
        let (live, writer) = (RwLock::new(live), Mutex::new(writer));
        Self {
            identity,
            location,
            live,
            writer,
            poison: Poison::default(),
            process,
            followers: Followers::default(),
            names: Names::default(),
        }
    }

    pub(crate) const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The epoch of the key file as it was last written. Waits for no write of it.
    pub(crate) fn epoch(&self) -> u64 {
        self.live.read().unwrap_or_else(PoisonError::into_inner).epoch
    }

    pub(super) const fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn is_of_this_process(&self) -> bool {
        self.process.is_current()
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Refuses after a write that failed.
    pub(super) fn intact(&self) -> Result<()> {
        if self.is_poisoned() { Err(Error::Poisoned) } else { Ok(()) }
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The active DEK, pinned, for `uses` uses that are counted and reserved on disk.
    pub(crate) fn acquire(&self, uses: u64) -> Result<Pin> {
        loop {
            self.intact()?;
            let dek = {
                let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
                if live.active.count(uses) {
                    return Ok(Pin::new(Arc::clone(&live.active)));
                }
                live.active.id()
            };
            self.reserve(dek, uses)?;
        }
    }

    /// Whether `id` is the DEK that seals now.
    pub(crate) fn is_active(&self, id: DekId) -> bool {
        self.live.read().unwrap_or_else(PoisonError::into_inner).active.id() == id
    }

    /// A DEK to open with.
    pub(crate) fn find(&self, id: DekId) -> Result<Arc<LiveDek>> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.find(id).map(Arc::clone).ok_or_else(|| id.unknown())
    }

    /// Reports whether a DEK was exposed. Once it is, it stays so, and so is every other DEK that there
    /// was when it became so.
    pub(crate) fn is_exposed(&self, id: DekId) -> Result<bool> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.find(id).map(|_| live.exposed.contains(&id)).ok_or_else(|| id.unknown())
    }

    /// Reports whether a DEK was exposed, and the active one was not.
    pub(crate) fn is_exposed_unlike_active(&self, id: DekId) -> bool {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.exposed.contains(&id) && !live.exposed.contains(&live.active.id())
    }

    fn reserve(&self, id: DekId, uses: u64) -> Result<()> {
        self.process.check()?;
        let mut writer = self.writer();
        let mut set = writer.set.clone();
        let Some(stored) = set.deks.iter_mut().find(|stored| stored.live.id() == id) else {
            return Ok(()); // dropped meanwhile
        };
        if stored.live.left() >= uses {
            return Ok(()); // another reserved meanwhile
        }
        stored.reserved = stored
            .live
            .used()
            .checked_add(uses.max(RESERVE))
            .ok_or(Misuse::OutOfBounds("uses of a DEK"))?;
        match self.write(&mut writer, set) {
            Err(Error::Io { source, .. })
                if fs::is_full(&source) && self.overdraw(&writer, id, uses) =>
            {
                Ok(())
            }
            written => written,
        }
    }

    /// Lets a DEK be used a little although the file could not be written; `false`: it has been.
    fn overdraw(&self, writer: &Writer, id: DekId, uses: u64) -> bool {
        let Some(stored) = writer.set.stored(id).filter(|_| !self.is_poisoned()) else {
            return false;
        };
        let limit = stored.reserved.saturating_add(OVERDRAFT);
        let fits = stored.live.used().checked_add(uses).is_some_and(|sum| sum <= limit);
        if fits {
            stored.live.allow(limit);
        }
        fits
    }

    /// Tells `follower` of every change of the keys, before the call that makes it returns.
    pub(crate) fn follow(&self, follower: Weak<dyn Follower>) {
        self.followers.add(follower);
    }

    /// How often the keys were changed since the file was opened.
    pub(crate) fn changes(&self) -> u64 {
        self.followers.changes()
    }

    /// Lets `event` happen: the next state and its effects in one write of the key file. Then tells
    /// the followers; if one of them fails, the change stands.
    ///
    /// `plan` tells the event, and what else changes, from what stands now.
    pub(super) fn drive<'a>(
        &self,
        plan: impl FnOnce(&KeySet) -> Result<(Event<'a>, Change)>,
    ) -> Result<(Reconciled, RotateDek)> {
        // Before the lock, which another thread may have held when this process was forked.
        self.process.check()?;
        let done = self.change(plan)?;
        // Without the lock: to record it, a store may have to reserve uses of a DEK.
        self.followers.tell()?;
        Ok(done)
    }

    fn change<'a>(
        &self,
        plan: impl FnOnce(&KeySet) -> Result<(Event<'a>, Change)>,
    ) -> Result<(Reconciled, RotateDek)> {
        let mut writer = self.writer();
        // Also where nothing would change: what is on disk is not known any more.
        self.intact()?;
        let (event, change) = plan(&writer.set)?;
        let fresh = Dek::generate(|id| writer.set.stored(id).is_some())?;
        let offer = Offer { id: fresh.id(), now: now() };
        let step = writer.set.lifecycle.apply(event, offer)?;
        let done = (step.reconciled, step.rotate_dek());
        if step.next == writer.set.lifecycle && change.edit.is_none() {
            return Ok(done);
        }
        let mut set = writer.set.clone();
        if let Some(edit) = change.edit {
            edit(&mut set);
        }
        let mut fresh = Some(fresh);
        for effect in step.effects {
            match effect {
                Effect::NewDek(_) => set.deks.extend(fresh.take().map(first_reserve)),
                Effect::DropDek(id) => set.deks.retain(|stored| stored.live.id() != id),
                Effect::WrapForRecord => {
                    let passphrases = set.passphrase_slots().map(Arc::clone);
                    set.slots = change.unlock.iter().map(Arc::clone).chain(passphrases).collect();
                }
                Effect::StandInClear => set.slots.clear(),
            }
        }
        set.lifecycle = step.next;
        self.write(&mut writer, set)?;
        self.followers.changed();
        Ok(done)
    }

    /// Replaces the key file by one that holds `set`, and only then lets it take effect.
    fn write(&self, writer: &mut Writer, set: KeySet) -> Result<()> {
        self.intact()?;
        if matches!(writer.access, Access::Read { .. }) {
            return Err(Misuse::State(READ_ONLY).into());
        }
        if writer.later {
            return Err(Misuse::ReadOnly.into());
        }
        let epoch = self.epoch().checked_add(1).ok_or(Misuse::OutOfBounds("epoch"))?;
        let next = live(&set, epoch)?;
        let file = encode(&self.identity, epoch, &set)?;
        match fs::try_replace(&*self.location.fs, &self.location.file(), file.expose()) {
            Ok(()) => {}
            // Nothing was changed: what the file allows may go on.
            Err(Unreplaced::Full(error)) => return Err(error),
            Err(Unreplaced::Unknown(error)) => {
                self.poison.set();
                return Err(error);
            }
        }
        for stored in &set.deks {
            stored.live.allow(stored.reserved);
        }
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = next;
        writer.set = set;
        Ok(())
    }

    /// Overwrites and removes the key file; every handle refuses after that.
    pub(super) fn destroy(&self) -> Result<()> {
        self.process.check()?;
        let mut writer = self.writer();
        match core::mem::replace(&mut writer.access, Access::Read { _lock: None }) {
            Access::Write(lock) => {
                self.poison.set();
                destroy(&self.location, lock)
            }
            read => {
                writer.access = read;
                let gone = Err(Error::Poisoned);
                if self.is_poisoned() { gone } else { Err(Misuse::State(READ_ONLY).into()) }
            }
        }
    }
}

/// Whether every retiring DEK is free of sealed data on its way to the disk.
pub(super) fn settled(writer: &Writer) -> Result<Vec<DekId>> {
    let ids: Vec<DekId> = writer.set.lifecycle.retiring.iter().map(|dek| dek.id).collect();
    let pinned = |id: &DekId| writer.set.stored(*id).is_some_and(|stored| stored.live.is_pinned());
    if ids.iter().any(pinned) { Err(Misuse::InFlight.into()) } else { Ok(ids) }
}

/// Overwrites a key file with zeros and removes it.
pub(super) fn destroy(location: &Location, lock: Held) -> Result<()> {
    lock.process.check()?;
    let path = location.file();
    let io = |op, error| Error::io(op, &path, error);
    let file = location.fs.open_write(&path).map_err(|e| io("open", e))?;
    let len = file.len().map_err(|e| io("stat", e))?;
    let zeros = vec![0; usize::try_from(len).unwrap_or(MAX_FILE).min(MAX_FILE)];
    file.write_all_at(&zeros, 0).map_err(|e| io("write", e))?;
    file.sync().map_err(|e| io("sync", e))?;
    drop(file);
    fs::remove_stale(&*location.fs, &path)?;
    location.fs.remove(&path).map_err(|e| io("remove", e))?;
    location.fs.sync_dir(&location.dir).map_err(|e| Error::io("sync", &location.dir, e))?;
    drop(lock);
    Ok(())
}

/// A DEK that was just made, with its first uses reserved in the write that it comes with.
pub(super) fn first_reserve(dek: Dek) -> StoredDek {
    StoredDek { live: Arc::new(LiveDek::new(dek, 0)), reserved: RESERVE }
}

/// The bytes of a key file with fresh keys for everything that is wrapped or sealed.
pub(super) fn encode(identity: &Identity, epoch: u64, set: &KeySet) -> Result<SecretBytes> {
    let file_key = random::key()?;
    let slots = if set.lifecycle.mode == Mode::Clear {
        Slots::Clear(file_key.duplicate())
    } else {
        let wrap = |slot: &Arc<Slot>| slot.wrap(identity, &file_key).map(SlotLine::Known);
        Slots::Wrapped(set.slots.iter().map(wrap).collect::<Result<_>>()?)
    };
    let kek_version = set.lifecycle.kek_version;
    let header = Header::new(identity.clone(), epoch, kek_version, slots, &file_key).encode();
    let mut sealed = set.encode()?;
    xchacha::seal(file_key.expose(), header.expose(), sealed.expose_mut())?;
    let file = KeyFile::encode(&header, sealed.expose());
    // Nobody could read it again.
    if file.len() > MAX_FILE {
        return Err(Error::too_large("the key file", file.len(), MAX_FILE));
    }
    Ok(file)
}

pub(super) fn live(set: &KeySet, epoch: u64) -> Result<Live> {
    let id = set.lifecycle.active.id;
    let active = set.stored(id).ok_or_else(|| id.unknown())?;
    let all = set.deks.iter().map(|stored| Arc::clone(&stored.live)).collect();
    let exposed = set.lifecycle.deks().filter(|dek| dek.exposed).map(|dek| dek.id).collect();
    Ok(Live { active: Arc::clone(&active.live), all, exposed, epoch })
}

/// Seconds since the Unix epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Location {
    /// The key file.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.join("node.keys")
    }

    /// Takes a lock to read with, if there is one to be had.
    pub(super) fn shared_lock(&self) -> Result<Option<Box<dyn Lock>>> {
        let path = self.dir.join("node.keys.lock");
        match self.fs.try_lock_shared(&path) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => Ok(None),
            locked => locked.map_err(|e| Error::io("lock", &path, e)),
        }
    }

    /// Takes the lock that everything that writes the key file holds.
    pub(super) fn lock(&self) -> Result<Held> {
        let path = self.dir.join("node.keys.lock");
        let lock = self.fs.try_lock(&path).map_err(|e| Error::io("lock", &path, e))?;
        let lock = lock.ok_or(Error::Busy(path))?;
        Ok(Held { process: Process::current(), _lock: lock })
    }
}
