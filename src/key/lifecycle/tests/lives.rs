//! Random lives of a node, with writes that are lost and what its disk names.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Move {
    Record { newer: u64, wanted: Wanted, rekey: Rekey },
    Rotate(Reason),
    Seal,
    Reseal,
    Sweep,
    Attach(u8),
    Detach(u8),
    LostWrite(Box<Move>),
    Restart,
}

fn moves() -> impl Strategy<Value = Move> {
    let wanted = prop_oneof![Just(Wanted::Off), Just(Wanted::SameKey), Just(Wanted::OtherKey)];
    let rekey = prop_oneof![Just(Rekey::NewDek), Just(Rekey::KeepDek), Just(Rekey::Leaked)];
    let reason = prop_oneof![Just(Reason::Requested), Just(Reason::Age), Just(Reason::Leaked)];
    let simple = prop_oneof![
        (0..3u64, wanted, rekey).prop_map(|(newer, wanted, rekey)| Move::Record {
            newer,
            wanted,
            rekey
        }),
        reason.prop_map(Move::Rotate),
        Just(Move::Seal),
        Just(Move::Reseal),
        Just(Move::Sweep),
        (0..3u8).prop_map(Move::Attach),
        (0..3u8).prop_map(Move::Detach),
        Just(Move::Restart),
    ];
    simple.clone().prop_recursive(1, 2, 1, |inner| inner.prop_map(|m| Move::LostWrite(m.into())))
}

/// A node: what its key file says, and which DEK each sealed thing on its disk names.
struct Node {
    state: Lifecycle,
    sealed: Vec<DekId>,
    next: u64,
    /// Ids of DEKs that were ever stored unencrypted, or under a leaked key.
    exposed: Vec<DekId>,
    /// The slot of the unlock key, and whether what is in the key set was ever known to others since
    /// it was made.
    unlock: Option<(SlotId, bool)>,
}

impl Node {
    fn event(&mut self, event: Event<'_>, lost: bool) {
        self.next += 1;
        let Ok(step) = self.state.apply(event, offer(self.next)) else { return };
        if lost {
            return;
        }
        for effect in &step.effects {
            if let Effect::DropDek(id) = effect {
                assert!(!self.sealed.contains(id), "a DEK went that the disk names");
            }
        }
        // By what was asked for, not by what the machine says of it.
        let before: Vec<DekId> = self.state.deks().map(|dek| dek.id).collect();
        let wrapped = step.effects.contains(&Effect::WrapForRecord);
        let dropped = self.unlock.filter(|_| {
            matches!(event, Event::Lock { slots, .. }
            if wrapped && !slots.dropped.is_empty())
        });
        let acted = step.reconciled == Reconciled::Applied;
        let leaked = match event {
            Event::Rotate(reason) => reason == Reason::Leaked,
            Event::Lock { rekey, .. } => rekey == Rekey::Leaked && acted,
            _ => false,
        };
        if leaked || dropped.is_some_and(|(_, exposed)| exposed) {
            self.exposed.extend(before);
        }
        if leaked && let Some((_, exposed)) = &mut self.unlock {
            *exposed = true;
        }
        if let Event::Lock { slots, .. } = event
            && wrapped
            && let Some(added) = slots.added.iter().next()
        {
            self.unlock = Some((added, false));
        }
        if step.effects.contains(&Effect::StandInClear) {
            self.unlock = None;
        }
        self.state = step.next;
        if self.state.mode == Mode::Clear {
            self.exposed.extend(self.state.deks().map(|dek| dek.id));
        }
        self.check();
    }

    fn run(&mut self, action: &Move, lost: bool) {
        match action {
            Move::Record { newer, wanted, rekey } => {
                let version = self.state.applied_version() + newer;
                let wanted = match (self.state.mode, wanted) {
                    (Mode::Clear, Wanted::SameKey) => Wanted::OtherKey,
                    (_, wanted) => *wanted,
                };
                let mut slots = SlotChange::default();
                if wanted == Wanted::OtherKey {
                    let id = u8::try_from(self.next % 255).unwrap();
                    slots.added = [slot(id)].into_iter().collect();
                    slots.dropped = self.unlock.map(|(id, _)| id).into_iter().collect();
                }
                let rekey = *rekey;
                self.event(Event::Lock { version, leaked: 0, wanted, slots, rekey }, lost);
            }
            Move::Rotate(reason) => self.event(Event::Rotate(*reason), lost),
            Move::Seal => self.sealed.push(self.state.active.id),
            Move::Reseal => {
                if let Some(old) = self.sealed.iter_mut().find(|id| **id != self.state.active.id) {
                    *old = self.state.active.id;
                }
            }
            Move::Sweep => {
                let unnamed: Vec<DekId> = self
                    .state
                    .retiring
                    .iter()
                    .map(|dek| dek.id)
                    .filter(|id| !self.sealed.contains(id))
                    .collect();
                self.event(Event::Unreferenced(&unnamed), lost);
            }
            Move::Attach(n) => self.event(Event::Attached(&n.to_string()), lost),
            Move::Detach(n) => self.event(Event::Detached(&n.to_string()), lost),
            Move::LostWrite(inner) => self.run(inner, true),
            Move::Restart => self.event(Event::Settle, lost),
        }
    }

    fn check(&self) {
        let state = &self.state;
        let ids: Vec<DekId> = state.deks().map(|dek| dek.id).collect();
        for (n, id) in ids.iter().enumerate() {
            assert!(!ids[..n].contains(id), "a DEK twice");
        }
        assert!(self.sealed.iter().all(|id| ids.contains(id)), "what is on disk opens");
        assert!(ids.len() <= MAX_DEKS);
        assert_eq!(state.slots, self.unlock.into_iter().collect());
        for dek in state.deks() {
            assert_eq!(dek.exposed, self.exposed.contains(&dek.id), "exposure of {:?}", dek.id);
        }
        match state.mode {
            Mode::Clear => {
                assert!(state.deks().all(|dek| dek.exposed));
                assert!(state.attachments.values().all(|exposed| *exposed));
            }
            Mode::Locked | Mode::Unlocking { .. } => {
                assert!(!state.active.exposed);
            }
        }
        assert_eq!(state.retiring.is_empty(), state.running.is_empty());
        // Opening what was written brings nothing new: every write is settled.
        let opened = state.apply(Event::Settle, offer(u64::MAX)).unwrap();
        assert_eq!(opened.next, *state);
    }
}

proptest! {
    #[test]
    fn random_lives_keep_the_rules(actions in proptest::collection::vec(moves(), 1..120)) {
        for mode in [Mode::Clear, Mode::Locked] {
            let state = first(mode);
            let exposed = state.deks().filter(|d| d.exposed).map(|d| d.id).collect();
            let mut node = Node { state, sealed: Vec::new(), next: 1, exposed, unlock: None };
            if mode == Mode::Locked {
                node.state.slots.insert(slot(1), false);
                node.unlock = Some((slot(1), false));
            }
            for action in &actions {
                node.run(action, false);
            }
            // A new unlock key, or none; and left alone, every rotation comes to its end.
            let wanted = if node.state.mode == Mode::Locked { Wanted::OtherKey } else { Wanted::Off };
            node.run(&Move::Record { newer: 1, wanted, rekey: Rekey::NewDek }, false);
            for _ in 0..4 {
                let active = node.state.active.id;
                node.sealed.iter_mut().for_each(|id| *id = active);
                node.run(&Move::Sweep, false);
            }
            prop_assert!(node.state.retiring.is_empty());
            let attached: Vec<String> = node.state.attachments.keys().cloned().collect();
            for name in &attached {
                node.event(Event::Attached(name), false);
            }
            prop_assert!(matches!(node.state.protection(), Protection::Clear | Protection::Locked));
        }
    }
}
