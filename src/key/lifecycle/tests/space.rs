//! The machine's whole state space, closed by breadth-first search.
//!
//! The machine runs as it is, but for at most [`MAX`] DEKs. Beside it an [`Oracle`] says how each event must
//! be answered, and keeps what was ever exposed. States that differ only in the names or the order of what
//! is retiring, in the names of slots, in the number of a version, or in why the round runs, are one state.

use std::collections::{HashSet, VecDeque};

use super::*;

mod oracle;

use oracle::{Answer, File, Oracle};

/// One DEK that seals, two that can retire beside it, and those that are reserved.
const MAX: usize = 5;
const OPEN: usize = MAX - RESERVED_DEKS;
const NAME: &str = "tls";
/// The version of the lock record that was applied.
const APPLIED: u64 = 5;
/// The version of the lock record whose leak was acted on.
const LEAK: u64 = 3;
/// A locked file has the slot of an unlock key, and may have these.
const CURRENT: usize = 0;
const PENDING: usize = 1;
const PASSPHRASE: usize = 2;
/// The names of slots, and of those that an event makes.
const NAMES: [u8; 3] = [1, 2, 3];
const FRESH: [u8; 3] = [11, 12, 13];
const FRESH_DEK: Offer = Offer { id: DekId::from_bytes([0xff; 8]), now: 0 };

/// An unlock key of a record: one that the file has a slot of already, or another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Held(usize),
    New,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Keys {
    current: Key,
    pending: Option<Key>,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    /// A lock record, off without keys; its version in relation to the applied one.
    Record {
        newer: i8,
        keys: Option<Keys>,
        rekey: Rekey,
        /// It says that something leaked that was not acted on.
        declares: bool,
    },
    Rotate(Reason),
    /// Nothing names the retiring DEKs with these bits.
    Unreferenced(u8),
    Attach,
    Detach,
    AddPassphrase,
    RemovePassphrases,
    /// A passphrase opens the file, and has another slot if its own was exposed.
    EnrollAgain,
    Settle,
}

impl Action {
    const fn record(keys: Keys) -> Self {
        Self::Record { newer: 1, keys: Some(keys), rekey: Rekey::NewDek, declares: false }
    }

    /// Reports whether it says of what the file holds that it leaked.
    const fn leaks(self) -> bool {
        match self {
            Self::Record { newer, rekey, declares, .. } => {
                newer >= 0 && (declares || matches!(rekey, Rekey::Leaked))
            }
            Self::Rotate(reason) => matches!(reason, Reason::Leaked),
            _ => false,
        }
    }
}

const OTHER_KEY: Keys = Keys { current: Key::New, pending: None };

fn actions() -> Vec<Action> {
    use Key::{Held, New};
    let pending = [None, Some(New), Some(Held(PENDING)), Some(Held(CURRENT))];
    let keys = [Held(CURRENT), New, Held(PENDING)].into_iter().flat_map(|current| {
        let others = pending.into_iter().filter(move |pending| *pending != Some(current));
        others.map(move |pending| Some(Keys { current, pending }))
    });
    let keys: Vec<_> = keys.chain([None]).collect();
    let mut all = vec![
        Action::Attach,
        Action::Detach,
        Action::AddPassphrase,
        Action::RemovePassphrases,
        Action::EnrollAgain,
        Action::Settle,
    ];
    let few = &[None, Some(OTHER_KEY)];
    let (all_rekeys, two) = (&[Rekey::NewDek, Rekey::Leaked, Rekey::KeepDek], 2);
    let records = [(-1, &few[..], two), (0, &keys[..], two), (1, &keys[..], 3)];
    for (newer, keys, rekeys) in records {
        for rekey in all_rekeys.iter().take(rekeys).copied() {
            for declares in [false, true] {
                let record =
                    |keys: &Option<Keys>| Action::Record { newer, keys: *keys, rekey, declares };
                all.extend(keys.iter().map(record));
            }
        }
    }
    let reasons = [
        Reason::Requested,
        Reason::UnlockKeyChanged,
        Reason::AutolockOff,
        Reason::Leaked,
        Reason::Locked,
        Reason::Exposed,
    ];
    all.extend(reasons.map(Action::Rotate));
    all.extend((1..1 << (MAX - 1)).map(Action::Unreferenced));
    all
}

#[derive(Clone)]
struct Node {
    state: Lifecycle,
    oracle: Oracle,
}

impl Node {
    fn first(mode: Mode) -> Self {
        let mut state = Lifecycle::first(mode, APPLIED, offer(0));
        let oracle = Oracle::first(mode == Mode::Locked);
        state.leak = LEAK;
        state.slots = slots(&oracle);
        Self { state, oracle }.named()
    }

    /// The state after `action`, if it can happen here and does something.
    fn after(&self, action: Action) -> Option<Self> {
        self.unnamed_after(action).map(Self::named)
    }

    /// Like [`Node::after`], with what is new under names of its own.
    fn unnamed_after(&self, action: Action) -> Option<Self> {
        let mut unnamed = Vec::new();
        let mut changes = false;
        let passphrase = self.oracle.slots[PASSPHRASE];
        let event = match action {
            Action::Record { newer, keys, rekey, declares } => {
                let version = APPLIED.checked_add_signed(newer.into())?;
                let leaked = LEAK + u64::from(declares);
                let (wanted, slots) = self.compared(keys)?;
                changes = match self.oracle.file {
                    File::Locked => wanted != Wanted::SameKey || slots.other_pending,
                    File::Clear | File::Unlocking => wanted != Wanted::Off,
                };
                Event::Lock { version, leaked, wanted, slots, rekey }
            }
            Action::Rotate(reason) => Event::Rotate(reason),
            Action::Unreferenced(bits) => {
                if bits >> self.state.retiring.len() != 0 {
                    return None;
                }
                let named = self.state.retiring.iter().enumerate();
                unnamed.extend(named.filter(|(at, _)| bits >> at & 1 == 1).map(|(_, dek)| dek.id));
                Event::Unreferenced(&unnamed)
            }
            Action::Attach => Event::Attached(NAME),
            Action::Detach => Event::Detached(NAME),
            Action::AddPassphrase if self.oracle.file == File::Clear || passphrase.is_some() => {
                return None;
            }
            Action::AddPassphrase => Event::SlotAdded(slot(FRESH[PASSPHRASE])),
            Action::RemovePassphrases => {
                let ids = [slot(passphrase?.id)].into_iter().collect();
                Event::SlotsRemoved(ids)
            }
            Action::EnrollAgain => {
                let mut next = self.clone();
                let old = passphrase.filter(|slot| slot.exposed)?;
                next.state.replace_slot(&slot(old.id), slot(FRESH[PASSPHRASE]));
                next.oracle.enroll_again();
                next.check(action);
                return Some(next);
            }
            Action::Settle => Event::Settle,
        };
        let done = self.state.apply_within::<MAX>(event, FRESH_DEK);
        let answer = match &done {
            Ok(step) => Answer::Done(step.reconciled),
            Err(crate::Error::Misuse(Misuse::FullOfDeks { limit: MAX })) => Answer::Full,
            Err(crate::Error::Misuse(Misuse::ConflictingLockRecord { version: APPLIED })) => {
                Answer::Conflict
            }
            Err(crate::Error::Misuse(Misuse::State(_))) => Answer::LateLeak,
            Err(other) => panic!("{action:?}: {other}"),
        };
        let expected = self.oracle.answer(action, changes);
        assert_eq!(answer, expected, "{action:?} in {:?}", self.state);
        if answer == Answer::Full {
            self.makes_room(action, changes);
        }
        let step = done.ok()?;
        if answer != Answer::Done(Reconciled::Applied) {
            assert!(
                step.next == self.state && step.effects.is_empty(),
                "{action:?} changes nothing"
            );
            return None;
        }
        let oracle = self.oracle.after(action, &self.state, &step);
        let next = Self { state: step.next, oracle };
        let (version, leaked) = match event {
            Event::Lock { version, leaked, .. } => (version, leaked),
            _ => (APPLIED, LEAK),
        };
        assert_eq!((next.state.applied_version(), next.state.leak), (version, leaked));
        if next.oracle.file == File::Unlocking {
            assert_eq!(next.state.kek_version, self.state.kek_version, "the slots are the same");
        }
        if let Event::Unreferenced(_) = event {
            assert!(
                next.oracle.left() < self.oracle.left(),
                "{action:?} brings nothing nearer to its end"
            );
        }
        next.check(action);
        Some(next)
    }

    /// Makes room by what the error names: a sweep that drops one DEK.
    fn makes_room(&self, action: Action, changes: bool) {
        let swept = self.after(Action::Unreferenced(1)).unwrap();
        assert_ne!(swept.oracle.answer(action, changes), Answer::Full);
    }

    /// Compares a record with the file, like whoever drives the machine; nothing if it names a key
    /// that the file has no slot of.
    fn compared(&self, keys: Option<Keys>) -> Option<(Wanted, SlotChange)> {
        let Some(keys) = keys else { return Some((Wanted::Off, SlotChange::default())) };
        let held = [CURRENT, PENDING].map(|role| self.oracle.slots[role].map(|slot| slot.id));
        let id = |key, role: usize| match key {
            Key::Held(role) => held[role],
            Key::New => Some(FRESH[role]),
        };
        let current = id(keys.current, CURRENT)?;
        let pending = match keys.pending {
            Some(key) => Some(id(key, PENDING)?),
            None => None,
        };
        let wanted = [Some(current), pending];
        let without = |these: [Option<u8>; 2], those: [Option<u8>; 2]| {
            these.into_iter().filter(|id| !those.contains(id)).flatten().map(slot).collect()
        };
        let change = SlotChange {
            other_pending: held[1] != wanted[1],
            added: without(wanted, held),
            dropped: without(held, wanted),
        };
        let same = held[0] == wanted[0];
        Some((if same { Wanted::SameKey } else { Wanted::OtherKey }, change))
    }

    /// Checks what must hold in every state. That opening it again changes nothing is [`Action::Settle`].
    fn check(&self, action: Action) {
        let Self { state, oracle } = self;
        oracle.check();
        let flags = state.deks().map(|dek| dek.exposed);
        assert!(
            flags.eq(oracle.deks.iter().map(|dek| dek.exposed)),
            "exposure of DEKs after {action:?}: {state:?}"
        );
        let attached = state.attachments.get(NAME).copied();
        assert_eq!(attached, oracle.attached, "exposure of the attachment after {action:?}");
        let known = oracle.slots.iter().flatten();
        let same = known.clone().all(|one| state.slots.get(&slot(one.id)) == Some(&one.exposed));
        assert!(
            same && known.count() == state.slots.len(),
            "exposure of slots after {action:?}: {state:?}"
        );
        let protection = match oracle.file {
            File::Clear => Protection::Clear,
            File::Unlocking => Protection::Unlocking,
            File::Locked if oracle.any_exposed() => Protection::Locking,
            File::Locked => Protection::Locked,
        };
        assert_eq!(state.protection(), protection, "after {action:?}: {state:?}");
        assert_eq!(state.retiring.is_empty(), state.running.is_empty());
        assert_eq!(state.queued.is_empty(), !oracle.waiting, "after {action:?}: {state:?}");
    }

    /// With sweeps, and with the calls that replace what was exposed, every state comes to rest.
    fn rests(&self) {
        let swept = |mut node: Self| {
            while !node.state.retiring.is_empty() {
                let all = (1_u8 << node.state.retiring.len()) - 1;
                node = node.after(Action::Unreferenced(all)).unwrap();
            }
            node
        };
        let mut node = swept(self.clone());
        assert!(node.state.queued.is_empty() && node.oracle.file != File::Unlocking);
        if node.oracle.file == File::Clear {
            return;
        }
        if node.oracle.attached.is_some() {
            node = node.after(Action::Attach).unwrap();
        }
        node = node.after(Action::EnrollAgain).unwrap_or(node);
        node = swept(node.after(Action::record(OTHER_KEY)).unwrap());
        // The slot that went may have been exposed, and with it the attachment.
        if node.oracle.attached == Some(true) {
            node = node.after(Action::Attach).unwrap();
        }
        assert_eq!(node.state.protection(), Protection::Locked);
    }

    /// The same state with the names that the oracle's has.
    fn named(self) -> Self {
        let (mut state, oracle) = (self.state, self.oracle.named());
        let deks = core::iter::once(&mut state.active).chain(&mut state.retiring);
        for ((dek, n), known) in deks.zip(1..).zip(&oracle.deks) {
            *dek = DekFacts { id: offer(n).id, made_at: 0, exposed: known.exposed };
        }
        state.slots = slots(&oracle);
        state.leak = LEAK;
        state.kek_version = APPLIED;
        if let Mode::Unlocking { target } = &mut state.mode {
            (*target, state.kek_version) = (APPLIED, APPLIED - 1);
        }
        if !state.retiring.is_empty() {
            state.running = Reasons::of(Reason::Requested);
        }
        Self { state, oracle }
    }

    /// Returns what tells states apart: all that the machine knows besides was compared with the oracle.
    fn key(&self) -> (u8, Oracle) {
        (self.state.queued.bits(), self.oracle.clone().named())
    }
}

fn slots(oracle: &Oracle) -> BTreeMap<SlotId, bool> {
    oracle.slots.iter().flatten().map(|known| (slot(known.id), known.exposed)).collect()
}

#[test]
fn the_whole_state_space_keeps_the_rules() {
    let actions = actions();
    let firsts = [Node::first(Mode::Clear), Node::first(Mode::Locked)];
    let mut seen: HashSet<_> = firsts.iter().map(Node::key).collect();
    let mut todo: VecDeque<(Node, u32)> = firsts.into_iter().map(|node| (node, 0)).collect();
    let (mut steps, mut diameter) = (0_u64, 0);
    while let Some((node, depth)) = todo.pop_front() {
        diameter = depth;
        node.rests();
        for next in actions.iter().filter_map(|action| node.unnamed_after(*action)) {
            steps += 1;
            if seen.insert(next.key()) {
                todo.push_back((next.named(), depth + 1));
            }
        }
    }
    println!("{} states of at most {MAX} DEKs, {steps} steps, diameter {diameter}", seen.len());
    // All that there are: a search that stops early shows nothing.
    assert!(seen.len() > 10_000, "{}", seen.len());
}
