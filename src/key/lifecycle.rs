//! The rotation life cycle: events in, the next state and its effects out.
//!
//! Pure: no key material, no clock, no randomness, no files. Whoever drives it (the native key
//! file, Docker Swarm's key file) writes the next state together with the effects in one atomic
//! write of the key file, and forgets it if that write fails.
//!
//! A rotation makes a new active DEK at once; the one before becomes retiring and is dropped when
//! nothing names it any more. Rules that hold in every state, whatever led to it, stand in
//! [`Lifecycle::settle`].

use core::mem;
use std::collections::BTreeMap;

use super::card::SlotId;
use super::dek::DekId;
use crate::error::{Misuse, Result};

mod reason;
#[cfg(test)]
mod tests;

pub use reason::{Reason, Reasons};

/// How many DEKs a key file holds at most, the active one among them.
pub(crate) const MAX_DEKS: usize = 64;
/// The number of them that are reserved for a leak, a first lock and an exposed slot that is dropped, which
/// cannot wait for a sweep.
pub(crate) const RESERVED_DEKS: usize = 2;

/// How far a node's keys are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Protection {
    /// Not locked: the key file opens without any key.
    Clear,
    /// Locked, but a DEK, an attachment or a slot that was exposed is still in use.
    Locking,
    /// Locked, and nothing that is in use was ever exposed.
    Locked,
    /// Locked still; the file will stand in the clear when the DEKs of the locked time are gone.
    Unlocking,
}

/// What a changed unlock key means for the DEKs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Rekey {
    /// A new active DEK in the same write, so that the old unlock key and an old key file open
    /// nothing that is sealed from now on.
    #[default]
    NewDek,
    /// The DEK stays. The old unlock key and an old key file go on opening what this node seals.
    KeepDek,
    /// The old unlock key leaked: a new DEK, and everything under the old key counts as exposed.
    /// Acts also where the record was applied before.
    Leaked,
}

/// What became of a lock record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reconciled {
    /// It says what the key file says.
    Unchanged,
    /// It is older than what the key file has applied, and was ignored.
    Stale {
        /// The version that the key file has applied.
        applied: u64,
    },
    /// It was applied.
    Applied,
}

/// The answer to a request for another DEK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RotateDek {
    /// A new DEK is active.
    Rotated,
    /// The active DEK is the same; a new one follows, as [`Keyring::rotate_dek`] says.
    ///
    /// [`Keyring::rotate_dek`]: crate::Keyring::rotate_dek
    Queued,
}

/// Whether, and until when, the file is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Clear,
    Locked,
    /// Locked until no DEK is retiring; `target` is the version of the record that asked for it.
    Unlocking {
        target: u64,
    },
}

/// What is known of a DEK beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DekFacts {
    pub(crate) id: DekId,
    /// Seconds since the Unix epoch.
    pub(crate) made_at: u64,
    /// Was stored unencrypted, or under a key that was declared leaked.
    pub(crate) exposed: bool,
}

/// How a lock record compares with the key that the file is locked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Off,
    SameKey,
    OtherKey,
}

/// Some slots, at most as many as there are of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SlotIds([Option<SlotId>; 4]);

impl SlotIds {
    fn iter(&self) -> impl Iterator<Item = SlotId> {
        self.0.into_iter().flatten()
    }

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl FromIterator<SlotId> for SlotIds {
    /// Takes the first four.
    fn from_iter<T: IntoIterator<Item = SlotId>>(ids: T) -> Self {
        let mut all = Self::default();
        all.0.iter_mut().zip(ids).for_each(|(at, id)| *at = Some(id));
        all
    }
}

/// What a lock record does to the slots of unlock keys beside the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SlotChange {
    /// The record's pending key is not the file's.
    pub(crate) other_pending: bool,
    pub(crate) added: SlotIds,
    pub(crate) dropped: SlotIds,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'a> {
    /// The cluster's lock record, at start and after every change.
    Lock {
        version: u64,
        /// Version of the record that last declared a leak.
        leaked: u64,
        wanted: Wanted,
        slots: SlotChange,
        rekey: Rekey,
    },
    /// A passphrase's slot was added.
    SlotAdded(SlotId),
    /// The passphrases' slots were removed.
    SlotsRemoved(SlotIds),
    /// Another DEK is wanted.
    Rotate(Reason),
    /// Nothing on disk or on its way there names these DEKs.
    Unreferenced(&'a [DekId]),
    /// An attachment was added or replaced.
    Attached(&'a str),
    /// An attachment was removed.
    Detached(&'a str),
    /// Nothing but what follows from the rules.
    Settle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The DEK that was offered becomes the active one.
    NewDek(DekId),
    /// This DEK goes.
    DropDek(DekId),
    /// The file is wrapped for the lock record's keys from now on.
    WrapForRecord,
    /// The file stands in the clear from now on, without any other slot.
    StandInClear,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) next: Lifecycle,
    pub(crate) effects: Vec<Effect>,
    pub(crate) reconciled: Reconciled,
}

impl Step {
    /// Returns whether it made a new DEK.
    pub(crate) fn rotate_dek(&self) -> RotateDek {
        let made = self.effects.iter().any(|effect| matches!(effect, Effect::NewDek(_)));
        if made { RotateDek::Rotated } else { RotateDek::Queued }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lifecycle {
    pub(crate) mode: Mode,
    /// Version of the lock record that the file's slots follow.
    pub(crate) kek_version: u64,
    pub(crate) active: DekFacts,
    pub(crate) retiring: Vec<DekFacts>,
    /// Why DEKs are retiring.
    pub(crate) running: Reasons,
    /// Why there will be one more round.
    pub(crate) queued: Reasons,
    /// The attachments, and whether each was exposed.
    pub(crate) attachments: BTreeMap<String, bool>,
    /// The slots, and whether each was exposed: who has its auth can forge a key file.
    pub(crate) slots: BTreeMap<SlotId, bool>,
    /// Version of the lock record whose leak was acted on last.
    pub(crate) leak: u64,
}

/// A DEK that the machine may take: its id and the present time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    pub(crate) id: DekId,
    pub(crate) now: u64,
}

impl Lifecycle {
    /// The state of a new key file.
    pub(crate) fn first(mode: Mode, kek_version: u64, offer: Offer) -> Self {
        let exposed = mode == Mode::Clear;
        Self {
            mode,
            kek_version,
            active: DekFacts { id: offer.id, made_at: offer.now, exposed },
            retiring: Vec::new(),
            running: Reasons::NONE,
            queued: Reasons::NONE,
            attachments: BTreeMap::new(),
            slots: BTreeMap::new(),
            leak: 0,
        }
    }

    /// The version of the newest lock record that was applied or is being applied.
    pub(crate) const fn applied_version(&self) -> u64 {
        match self.mode {
            Mode::Unlocking { target } => target,
            _ => self.kek_version,
        }
    }

    pub(crate) fn protection(&self) -> Protection {
        match self.mode {
            Mode::Clear => Protection::Clear,
            Mode::Unlocking { .. } => Protection::Unlocking,
            Mode::Locked if self.any_exposed() => Protection::Locking,
            Mode::Locked => Protection::Locked,
        }
    }

    pub(crate) fn deks(&self) -> impl Iterator<Item = &DekFacts> {
        core::iter::once(&self.active).chain(&self.retiring)
    }

    fn any_exposed(&self) -> bool {
        let mut others = self.attachments.values().chain(self.slots.values());
        self.deks().any(|dek| dek.exposed) || others.any(|exposed| *exposed)
    }

    /// Notes that a secret was enrolled again: its new slot has another auth, which nobody else knows.
    pub(crate) fn replace_slot(&mut self, old: &SlotId, new: SlotId) {
        if self.slots.remove(old).is_some() {
            self.slots.insert(new, false);
        }
    }

    /// What follows from `event`.
    pub(crate) fn apply(&self, event: Event<'_>, offer: Offer) -> Result<Step> {
        self.apply_within::<MAX_DEKS>(event, offer)
    }

    /// Like [`Lifecycle::apply`], for at most `MAX` DEKs.
    fn apply_within<const MAX: usize>(&self, event: Event<'_>, offer: Offer) -> Result<Step> {
        let mut turn = Turn::<MAX> { next: self.clone(), effects: Vec::new(), offer: Some(offer) };
        let reconciled = match event {
            Event::Lock { version, leaked, wanted, slots, rekey } => {
                turn.reconcile(version, leaked, wanted, slots, rekey)?
            }
            Event::SlotAdded(id) => {
                turn.next.slots.insert(id, false);
                Reconciled::Applied
            }
            Event::SlotsRemoved(ids) => {
                turn.drop_slots(ids);
                turn.rotate(Reason::UnlockKeyChanged)?;
                Reconciled::Applied
            }
            Event::Rotate(reason) => {
                turn.rotate(reason)?;
                Reconciled::Applied
            }
            Event::Unreferenced(ids) => {
                turn.drop_retiring(ids);
                Reconciled::Applied
            }
            Event::Attached(name) => {
                let exposed = self.mode == Mode::Clear;
                turn.next.attachments.insert(name.to_owned(), exposed);
                Reconciled::Applied
            }
            Event::Detached(name) => {
                turn.next.attachments.remove(name);
                Reconciled::Applied
            }
            Event::Settle => Reconciled::Unchanged,
        };
        turn.settle()?;
        Ok(Step { next: turn.next, effects: turn.effects, reconciled })
    }
}

const LATE_LEAK: Misuse = Misuse::State(
    "a leak was declared with a lock record older than the one applied: rotate the DEK as leaked",
);

/// One event on its way to the next state, which has at most `MAX` DEKs.
struct Turn<const MAX: usize> {
    next: Lifecycle,
    effects: Vec<Effect>,
    /// The DEK that may be taken; `None` once it was.
    offer: Option<Offer>,
}

impl<const MAX: usize> Turn<MAX> {
    fn reconcile(
        &mut self,
        version: u64,
        leaked: u64,
        wanted: Wanted,
        slots: SlotChange,
        rekey: Rekey,
    ) -> Result<Reconciled> {
        let applied = self.next.applied_version();
        if version < applied {
            // A wish is not ignored because the record that came with it is.
            let stale = rekey == Rekey::Leaked;
            return if stale { Err(LATE_LEAK.into()) } else { Ok(Reconciled::Stale { applied }) };
        }
        let agrees = match self.next.mode {
            Mode::Clear | Mode::Unlocking { .. } => wanted == Wanted::Off,
            Mode::Locked => wanted == Wanted::SameKey && !slots.other_pending,
        };
        if version == applied && !agrees {
            return Err(Misuse::ConflictingLockRecord { version }.into());
        }
        // Each leak is acted on once, also by a node that was away when it was declared.
        let rekey = if leaked > self.next.leak { Rekey::Leaked } else { rekey };
        self.next.leak = self.next.leak.max(leaked);
        if version == applied {
            if rekey != Rekey::Leaked {
                return Ok(Reconciled::Unchanged);
            }
            self.rotate(Reason::Leaked)?;
            return Ok(Reconciled::Applied);
        }
        match (self.next.mode, wanted) {
            (from, Wanted::Off) => {
                if from == Mode::Clear {
                    self.next.kek_version = version;
                } else {
                    self.next.mode = Mode::Unlocking { target: version };
                }
                if rekey == Rekey::Leaked {
                    self.rotate(Reason::Leaked)?;
                }
                if from == Mode::Locked {
                    self.rotate(Reason::AutolockOff)?;
                }
            }
            (from, Wanted::SameKey | Wanted::OtherKey) => {
                self.next.mode = Mode::Locked;
                self.next.kek_version = version;
                self.effects.push(Effect::WrapForRecord);
                self.drop_slots(slots.dropped);
                if from == Mode::Clear {
                    self.rotate(Reason::Locked)?;
                } else if rekey == Rekey::Leaked {
                    self.rotate(Reason::Leaked)?;
                } else if rekey == Rekey::NewDek
                    && (wanted == Wanted::OtherKey || !slots.dropped.is_empty())
                {
                    self.rotate(Reason::UnlockKeyChanged)?;
                }
                // Last: what is made now was not there when something leaked.
                self.next.slots.extend(slots.added.iter().map(|id| (id, false)));
            }
        }
        Ok(Reconciled::Applied)
    }

    /// Drops slots whose secrets open the file no more. The secret of one that was exposed may be
    /// known: then so is what the file held under it until now.
    fn drop_slots(&mut self, ids: SlotIds) {
        let exposed = ids.iter().filter(|id| self.next.slots.remove(id) == Some(true)).count();
        if exposed != 0 {
            self.expose_contents();
        }
    }

    /// Makes a new DEK, now or once there is room for it.
    fn rotate(&mut self, reason: Reason) -> Result<()> {
        if reason == Reason::Leaked {
            self.expose_all();
        }
        let reasons = Reasons::of(reason);
        let now = match reason {
            Reason::Leaked | Reason::Locked | Reason::Exposed => true,
            Reason::UnlockKeyChanged | Reason::AutolockOff => self.has_unreserved_room(),
            Reason::Requested | Reason::Age | Reason::Uses => self.next.retiring.is_empty(),
        };
        if now || self.offer.is_none() {
            return self.new_dek(reasons);
        }
        self.next.queued = self.next.queued.and(reasons);
        Ok(())
    }

    fn has_unreserved_room(&self) -> bool {
        self.next.deks().count() + RESERVED_DEKS < MAX
    }

    fn drop_retiring(&mut self, ids: &[DekId]) {
        let (dropped, kept) =
            mem::take(&mut self.next.retiring).into_iter().partition(|dek| ids.contains(&dek.id));
        self.next.retiring = kept;
        let dropped: Vec<DekFacts> = dropped;
        self.effects.extend(dropped.iter().map(|dek| Effect::DropDek(dek.id)));
    }

    /// Makes the offered DEK the active one. It answers what was queued too, and what else the same
    /// event asks for.
    fn new_dek(&mut self, reasons: Reasons) -> Result<()> {
        if self.offer.is_some() && self.next.deks().count() >= MAX {
            return Err(Misuse::FullOfDeks { limit: MAX }.into());
        }
        let queued = mem::replace(&mut self.next.queued, Reasons::NONE);
        self.next.running = self.next.running.and(reasons).and(queued);
        let Some(offer) = self.offer.take() else { return Ok(()) };
        let exposed = self.next.mode == Mode::Clear;
        let active = DekFacts { id: offer.id, made_at: offer.now, exposed };
        let old = mem::replace(&mut self.next.active, active);
        self.next.retiring.push(old);
        self.effects.push(Effect::NewDek(offer.id));
        Ok(())
    }

    fn expose_all(&mut self) {
        self.expose_contents();
        self.next.slots.values_mut().for_each(|exposed| *exposed = true);
    }

    /// What the file holds, but for its slots.
    fn expose_contents(&mut self) {
        self.next.active.exposed = true;
        self.next.retiring.iter_mut().for_each(|dek| dek.exposed = true);
        self.next.attachments.values_mut().for_each(|exposed| *exposed = true);
    }

    /// The rules that hold in every state.
    fn settle(&mut self) -> Result<()> {
        // A locked file never seals under a DEK that others may have.
        if self.next.mode != Mode::Clear && self.next.active.exposed {
            self.new_dek(Reasons::of(Reason::Exposed))?;
        }
        if self.next.retiring.is_empty() {
            self.next.running = Reasons::NONE;
        }
        let queued = self.next.queued;
        let urgent =
            queued.contains(Reason::UnlockKeyChanged) || queued.contains(Reason::AutolockOff);
        let begins = self.next.retiring.is_empty() || urgent && self.has_unreserved_room();
        if !queued.is_empty() && begins {
            self.new_dek(Reasons::NONE)?;
        }
        // Only a file that holds no DEK of the locked time may stand in the clear.
        if let Mode::Unlocking { target } = self.next.mode
            && self.next.retiring.is_empty()
        {
            self.next.mode = Mode::Clear;
            self.next.kek_version = target;
            self.next.slots.clear();
            self.expose_all();
            self.effects.push(Effect::StandInClear);
        }
        Ok(())
    }
}
