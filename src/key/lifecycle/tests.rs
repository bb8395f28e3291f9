use proptest::prelude::*;

use super::*;

fn offer(n: u64) -> Offer {
    Offer { id: DekId::from_bytes(n.to_be_bytes()), now: n }
}

fn first(mode: Mode) -> Lifecycle {
    Lifecycle::first(mode, 5, offer(1))
}

fn step(state: &Lifecycle, event: Event<'_>, n: u64) -> Step {
    state.apply(event, offer(n)).unwrap()
}

fn lock(version: u64, wanted: Wanted, rekey: Rekey) -> Event<'static> {
    Event::Lock { version, wanted, rekey }
}

fn id(n: u64) -> DekId {
    offer(n).id
}

#[test]
fn the_first_dek_is_exposed_only_in_the_clear() {
    assert_eq!(first(Mode::Clear).protection(), Protection::Clear);
    assert!(first(Mode::Clear).active.exposed);
    assert_eq!(first(Mode::Locked).protection(), Protection::Locked);
    assert!(!first(Mode::Locked).active.exposed);
}

#[test]
fn locking_makes_a_new_dek_and_ends_when_nothing_exposed_is_left() {
    let clear = step(&first(Mode::Clear), Event::Attached("tls"), 2).next;
    let locking = step(&clear, lock(6, Wanted::OtherKey, Rekey::KeepDek), 3);
    assert_eq!(locking.effects, [Effect::WrapForRecord, Effect::NewDek(id(3))]);
    let locking = locking.next;
    assert_eq!(locking.protection(), Protection::Locking);
    assert_eq!(locking.kek_version, 6);

    let resealed = step(&locking, Event::Unreferenced(&[id(1)]), 4);
    assert_eq!(resealed.effects, [Effect::DropDek(id(1))]);
    assert_eq!(resealed.next.protection(), Protection::Locking, "the TLS key is exposed still");
    let locked = step(&resealed.next, Event::Attached("tls"), 5).next;
    assert_eq!(locked.protection(), Protection::Locked);
}

#[test]
fn autolock_off_stands_in_the_clear_only_with_a_dek_of_its_own() {
    let off = step(&first(Mode::Locked), lock(6, Wanted::Off, Rekey::NewDek), 2);
    assert_eq!(off.effects, [Effect::NewDek(id(2))]);
    assert_eq!(off.next.protection(), Protection::Unlocking);
    assert_eq!((off.next.kek_version, off.next.applied_version()), (5, 6));

    let clear = step(&off.next, Event::Unreferenced(&[id(1)]), 3);
    assert_eq!(clear.effects, [Effect::DropDek(id(1)), Effect::StandInClear]);
    assert_eq!(clear.next.protection(), Protection::Clear);
    assert_eq!(clear.next.kek_version, 6);
    assert!(clear.next.active.exposed);
}

#[test]
fn autolock_on_again_while_it_goes_off() {
    let off = step(&first(Mode::Locked), lock(6, Wanted::Off, Rekey::NewDek), 2).next;
    let same = step(&off, lock(7, Wanted::SameKey, Rekey::NewDek), 3);
    assert_eq!(same.effects, [Effect::WrapForRecord]);
    assert_eq!(same.next.protection(), Protection::Locked);
    let other = step(&off, lock(7, Wanted::OtherKey, Rekey::NewDek), 3);
    assert_eq!(other.effects, [Effect::WrapForRecord, Effect::NewDek(id(3))]);
}

#[test]
fn a_changed_unlock_key_brings_a_new_dek_unless_told_otherwise() {
    let locked = first(Mode::Locked);
    let changed = step(&locked, lock(6, Wanted::OtherKey, Rekey::NewDek), 2);
    assert_eq!(changed.effects, [Effect::WrapForRecord, Effect::NewDek(id(2))]);
    assert!(changed.next.running.contains(Reason::UnlockKeyChanged));
    // It does not wait for a rotation that is under way.
    let again = step(&changed.next, lock(7, Wanted::OtherKey, Rekey::NewDek), 3);
    assert_eq!(again.effects, [Effect::WrapForRecord, Effect::NewDek(id(3))]);
    assert_eq!(again.next.retiring.len(), 2);

    let kept = step(&locked, lock(6, Wanted::OtherKey, Rekey::KeepDek), 2);
    assert_eq!(kept.effects, [Effect::WrapForRecord]);

    let leaked = step(&locked, lock(6, Wanted::OtherKey, Rekey::Leaked), 2);
    assert_eq!(leaked.next.protection(), Protection::Locking);
    assert!(leaked.next.retiring[0].exposed && !leaked.next.active.exposed);
    // Also where the key that leaked is still the cluster's.
    let leaked = step(&locked, lock(6, Wanted::SameKey, Rekey::Leaked), 2);
    assert_eq!(leaked.effects, [Effect::WrapForRecord, Effect::NewDek(id(2))]);
}

#[test]
fn old_and_conflicting_records_change_nothing() {
    let locked = first(Mode::Locked);
    let stale = step(&locked, lock(4, Wanted::OtherKey, Rekey::NewDek), 2);
    assert_eq!(stale.reconciled, Reconciled::Stale { applied: 5 });
    assert_eq!(stale.next, locked);
    let same = step(&locked, lock(5, Wanted::SameKey, Rekey::NewDek), 2);
    assert_eq!(same.reconciled, Reconciled::Unchanged);
    assert_eq!(same.next, locked);
    for wanted in [Wanted::OtherKey, Wanted::Off] {
        assert!(locked.apply(lock(5, wanted, Rekey::NewDek), offer(2)).is_err());
    }
    let newer = step(&locked, lock(9, Wanted::SameKey, Rekey::NewDek), 2);
    assert_eq!((newer.next.kek_version, newer.next.active.id), (9, id(1)));
}

#[test]
fn requests_coalesce_into_one_more_round() {
    let one = step(&first(Mode::Locked), Event::Rotate(Reason::Requested), 2).next;
    let two = step(&one, Event::Rotate(Reason::Age), 3).next;
    let three = step(&two, Event::Rotate(Reason::Uses), 4);
    assert!(three.effects.is_empty());
    assert_eq!(three.next.active.id, id(2));

    let next = step(&three.next, Event::Unreferenced(&[id(1)]), 5);
    assert_eq!(next.effects, [Effect::DropDek(id(1)), Effect::NewDek(id(5))]);
    assert!(next.next.running.contains(Reason::Age) && next.next.running.contains(Reason::Uses));
    let done = step(&next.next, Event::Unreferenced(&[id(2)]), 6);
    assert_eq!(done.effects, [Effect::DropDek(id(2))]);
    assert!(done.next.running.is_empty() && done.next.queued.is_empty());
}

#[test]
fn the_active_dek_cannot_be_dropped() {
    let state = first(Mode::Locked);
    assert_eq!(step(&state, Event::Unreferenced(&[id(1)]), 2).next, state);
}

#[test]
fn a_full_key_file_queues_the_next_round() {
    let mut state = first(Mode::Locked);
    for n in 2..=200 {
        state = step(&state, Event::Rotate(Reason::Leaked), n).next;
        assert!(state.deks().count() <= MAX_DEKS);
    }
    assert!(state.queued.contains(Reason::Leaked));
    let ids: Vec<_> = state.retiring.iter().map(|dek| dek.id).collect();
    let next = step(&state, Event::Unreferenced(&ids), 300);
    assert_eq!(next.next.active.id, id(300));
}

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
    /// Ids of DEKs that ever stood in a file in the clear, or under a leaked key.
    exposed: Vec<DekId>,
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
        let leaked = matches!(
            event,
            Event::Rotate(Reason::Leaked) | Event::Lock { rekey: Rekey::Leaked, .. }
        );
        if leaked && step.next.running.contains(Reason::Leaked) {
            self.exposed.extend(step.next.retiring.iter().filter(|d| d.exposed).map(|d| d.id));
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
                self.event(lock(version, wanted, *rekey), lost);
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
        for dek in state.deks() {
            assert_eq!(dek.exposed, self.exposed.contains(&dek.id), "exposure of {:?}", dek.id);
        }
        match state.mode {
            Mode::Clear => {
                assert!(state.deks().all(|dek| dek.exposed));
                assert!(state.attachments.values().all(|exposed| *exposed));
            }
            Mode::Locked | Mode::Unlocking { .. } => {
                assert!(!state.active.exposed || ids.len() == MAX_DEKS);
            }
        }
        assert_eq!(state.retiring.is_empty(), state.running.is_empty());
        // Opening what was written brings nothing new: every write is settled.
        let opened = state.apply(Event::Settle, offer(u64::MAX)).unwrap();
        assert!(opened.next == *state || ids.len() == MAX_DEKS);
    }
}

proptest! {
    #[test]
    fn random_lives_keep_the_rules(actions in proptest::collection::vec(moves(), 1..120)) {
        for mode in [Mode::Clear, Mode::Locked] {
            let state = first(mode);
            let exposed = state.deks().filter(|d| d.exposed).map(|d| d.id).collect();
            let mut node = Node { state, sealed: Vec::new(), next: 1, exposed };
            for action in &actions {
                node.run(action, false);
            }
            // Left alone, every rotation comes to its end.
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
