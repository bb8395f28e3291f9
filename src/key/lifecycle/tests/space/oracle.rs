//! Knowledge of the search that is not the machine's.

use super::*;

/// What is known of a DEK.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Known {
    pub(super) exposed: bool,
    /// It sealed while the file was locked, and no record asked for the clear.
    locked: bool,
}

/// What is known of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KnownSlot {
    pub(super) id: u8,
    pub(super) exposed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum File {
    Clear,
    Locked,
    /// Locked, and a record asked for the clear.
    Unlocking,
}

/// What was ever exposed, what sealed when, which requests wait. Follows the events and what is written
/// to the key file, and reads none of the machine's flags.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Oracle {
    pub(super) file: File,
    /// The active DEK first, then in the machine's order.
    pub(super) deks: Vec<Known>,
    /// The attachment, and whether it was exposed.
    pub(super) attached: Option<bool>,
    /// Of the current unlock key, the pending one and the passphrase.
    pub(super) slots: [Option<KnownSlot>; 3],
    /// Requests that no new DEK came after. Urgent ones do not wait for each DEK that is retiring.
    pub(super) waiting: bool,
    pub(super) urgent: bool,
}

/// How an event must be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Done(Reconciled),
    LateLeak,
    Conflict,
    Full,
}

/// How soon an event needs a new DEK.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Nothing,
    NextRound,
    Urgent,
    /// It cannot wait.
    Now,
}

impl Oracle {
    pub(super) fn first(locked: bool) -> Self {
        let slot = locked.then_some(KnownSlot { id: NAMES[CURRENT], exposed: false });
        Self {
            file: if locked { File::Locked } else { File::Clear },
            deks: vec![Known { exposed: !locked, locked }],
            attached: None,
            slots: [slot, None, None],
            waiting: false,
            urgent: false,
        }
    }

    /// How `action` must be answered; `changes` says that its record is not what the file follows.
    pub(super) fn answer(&self, action: Action, changes: bool) -> Answer {
        let unchanged = Answer::Done(Reconciled::Unchanged);
        let answer = match action {
            Action::Record { newer: -1, rekey: Rekey::Leaked, .. } => Answer::LateLeak,
            Action::Record { newer: -1, .. } => {
                Answer::Done(Reconciled::Stale { applied: APPLIED })
            }
            Action::Record { newer: 0, .. } if changes => Answer::Conflict,
            Action::Record { newer: 0, .. } if !action.leaks() => unchanged,
            Action::Settle => unchanged,
            _ => Answer::Done(Reconciled::Applied),
        };
        let acts = answer == Answer::Done(Reconciled::Applied);
        let full = acts && self.need(action) == Need::Now && self.deks.len() == MAX;
        if full { Answer::Full } else { answer }
    }

    fn need(&self, action: Action) -> Need {
        match action {
            _ if action.leaks() => Need::Now,
            Action::Rotate(Reason::Requested) => Need::NextRound,
            Action::Rotate(Reason::UnlockKeyChanged | Reason::AutolockOff) => Need::Urgent,
            Action::Rotate(_) => Need::Now,
            _ if self.dropped(action).any(|slot| slot.exposed) => Need::Now,
            Action::RemovePassphrases => Need::Urgent,
            Action::Record { newer: 1, keys: None, .. } if self.file == File::Locked => {
                Need::Urgent
            }
            Action::Record { newer: 1, keys: Some(_), .. } if self.file == File::Clear => Need::Now,
            Action::Record { newer: 1, keys: Some(keys), rekey: Rekey::NewDek, .. }
                if keys.current != Key::Held(CURRENT) || self.dropped(action).next().is_some() =>
            {
                Need::Urgent
            }
            _ => Need::Nothing,
        }
    }

    /// The slots that `action`, which acts, takes out of the file.
    fn dropped(&self, action: Action) -> impl Iterator<Item = KnownSlot> + use<> {
        let kept = move |role: usize| match action {
            Action::Record { newer: 1, keys: Some(keys), .. } => {
                let wanted = [Some(keys.current), keys.pending];
                role == PASSPHRASE || wanted.contains(&Some(Key::Held(role)))
            }
            Action::RemovePassphrases => role != PASSPHRASE,
            _ => true,
        };
        let dropped = self.slots.into_iter().enumerate().filter(move |(role, _)| !kept(*role));
        dropped.filter_map(|(_, slot)| slot)
    }

    /// The oracle after `action`, which acted, and the machine's `step` from `before`.
    pub(super) fn after(&self, action: Action, before: &Lifecycle, step: &Step) -> Self {
        let mut next = self.clone();
        if action.leaks() || self.dropped(action).any(|slot| slot.exposed) {
            next.expose_contents();
        }
        if action.leaks() {
            next.slots.iter_mut().flatten().for_each(|slot| slot.exposed = true);
        }
        match action {
            Action::Record { newer: 1, keys: None, .. } if self.file == File::Locked => {
                next.file = File::Unlocking;
            }
            Action::Record { newer: 1, keys: Some(keys), .. } => {
                next.file = File::Locked;
                let known = next.slots;
                let slot = |key, new| match key {
                    Key::Held(role) => known[role],
                    Key::New => Some(KnownSlot { id: new, exposed: false }),
                };
                next.slots[CURRENT] = slot(keys.current, FRESH[CURRENT]);
                next.slots[PENDING] = keys.pending.and_then(|key| slot(key, FRESH[PENDING]));
            }
            Action::Attach => next.attached = Some(self.file == File::Clear),
            Action::Detach => next.attached = None,
            Action::AddPassphrase => {
                next.slots[PASSPHRASE] = Some(KnownSlot { id: FRESH[PASSPHRASE], exposed: false });
            }
            Action::RemovePassphrases => next.slots[PASSPHRASE] = None,
            _ => {}
        }
        next.write(action, self.need(action), before, step);
        next
    }

    /// A passphrase opened the file and has another slot.
    pub(super) fn enroll_again(&mut self) {
        self.slots[PASSPHRASE] = Some(KnownSlot { id: FRESH[PASSPHRASE], exposed: false });
    }

    /// What the write of the key file does: it must be what the rules ask for.
    fn write(&mut self, action: Action, need: Need, before: &Lifecycle, step: &Step) {
        let wraps = matches!(action, Action::Record { newer: 1, keys: Some(_), .. });
        assert_eq!(step.effects.contains(&Effect::WrapForRecord), wraps, "{action:?}");

        let mut ids: Vec<DekId> = before.deks().map(|dek| dek.id).collect();
        if let Action::Unreferenced(bits) = action {
            for at in (1..ids.len()).rev().filter(|at| bits >> (at - 1) & 1 == 1) {
                let id = ids.remove(at);
                self.deks.remove(at);
                assert!(step.effects.contains(&Effect::DropDek(id)), "{action:?} drops it");
            }
        }
        self.waiting |= need != Need::Nothing;
        self.urgent |= need == Need::Urgent;
        let room = self.deks.len() == 1 || self.urgent && self.deks.len() < OPEN;
        let made = need == Need::Now || self.waiting && room;
        assert_eq!(step.rotate_dek() == RotateDek::Rotated, made, "a new DEK for {action:?}");
        if made {
            // The DEK that was active is the last of the others.
            ids.rotate_left(1);
            self.deks.rotate_left(1);
            ids.insert(0, FRESH_DEK.id);
            self.deks.insert(0, Known { exposed: self.file == File::Clear, locked: false });
            (self.waiting, self.urgent) = (false, false);
        }
        let next: Vec<DekId> = step.next.deks().map(|dek| dek.id).collect();
        assert_eq!(ids, next, "the DEKs after {action:?}");

        let clear = self.file == File::Unlocking && self.deks.len() == 1;
        assert_eq!(step.effects.contains(&Effect::StandInClear), clear, "{action:?}");
        if clear {
            self.file = File::Clear;
            self.expose_contents();
            self.slots = [None; 3];
        }
        // What is sealed from now on is under the active DEK.
        self.deks[0].locked |= self.file == File::Locked;
    }

    fn expose_contents(&mut self) {
        self.deks.iter_mut().for_each(|dek| dek.exposed = true);
        self.attached = self.attached.map(|_| true);
    }

    /// The same with names and an order of its own: the machine treats all that are retiring alike.
    pub(super) fn named(mut self) -> Self {
        self.deks[1..].sort_unstable();
        for (slot, name) in self.slots.iter_mut().zip(NAMES) {
            slot.iter_mut().for_each(|slot| slot.id = name);
        }
        self
    }

    /// Whether anything that the file holds was ever exposed.
    pub(super) fn any_exposed(&self) -> bool {
        let slots = self.slots.iter().flatten().any(|slot| slot.exposed);
        self.deks.iter().any(|dek| dek.exposed) || slots || self.attached == Some(true)
    }

    /// What must hold of every file.
    pub(super) fn check(&self) {
        assert!(self.deks.len() <= MAX);
        match self.file {
            File::Clear => {
                let kept = self.deks.iter().any(|dek| dek.locked);
                assert!(!kept, "a DEK of the locked time is stored in the clear");
            }
            File::Locked | File::Unlocking => {
                assert!(!self.deks[0].exposed, "an exposed DEK seals");
            }
        }
        let room = self.deks.len() == 1 || self.urgent && self.deks.len() < OPEN;
        assert!(!(self.waiting && room), "a request waits although there is room");
    }

    /// How much is left to do. Each sweep that drops a DEK lowers it, so that all requests end.
    pub(super) fn left(&self) -> usize {
        self.deks.len() - 1 + 2 * usize::from(self.waiting)
    }
}
