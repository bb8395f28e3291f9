use super::*;

mod lives;
mod space;

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
    Event::Lock { version, leaked: 0, wanted, slots: SlotChange::default(), rekey }
}

/// A record with a leak that was declared at `leaked`, and with other slots.
fn leaky(version: u64, leaked: u64, wanted: Wanted, added: u8, dropped: u8) -> Event<'static> {
    let some = |n: u8| (n != 0).then(|| slot(n)).into_iter().collect();
    let slots = SlotChange { other_pending: false, added: some(added), dropped: some(dropped) };
    Event::Lock { version, leaked, wanted, slots, rekey: Rekey::NewDek }
}

fn slot(n: u8) -> SlotId {
    [n; 16]
}

/// Locked, with the slot of an unlock key and one of a passphrase.
fn with_slots() -> Lifecycle {
    let mut state = first(Mode::Locked);
    state.slots = [(slot(1), false), (slot(8), false)].into();
    state
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

/// The wish is not dropped because the record that comes with it was applied already.
#[test]
fn a_leak_declared_with_an_applied_record_acts_and_with_an_older_one_is_an_error() {
    let locked = first(Mode::Locked);
    let again = step(&locked, lock(5, Wanted::SameKey, Rekey::Leaked), 2);
    assert_eq!((again.reconciled, again.next.active.id), (Reconciled::Applied, id(2)));
    assert!(again.next.retiring[0].exposed);
    let more = step(&again.next, lock(5, Wanted::SameKey, Rekey::Leaked), 3);
    assert_eq!((more.reconciled, more.next.retiring.len()), (Reconciled::Applied, 2));
    assert!(locked.apply(lock(4, Wanted::SameKey, Rekey::Leaked), offer(2)).is_err());
    assert!(locked.apply(lock(5, Wanted::OtherKey, Rekey::Leaked), offer(2)).is_err());
}

#[test]
fn a_declared_leak_is_acted_on_once_also_by_a_node_that_was_away() {
    // Version 6 declared it, 7 and 8 came after it; only 8 arrives.
    let leaked = step(&with_slots(), leaky(8, 6, Wanted::OtherKey, 2, 1), 2);
    assert!(leaked.next.retiring[0].exposed && leaked.next.leak == 6);
    assert_eq!(leaked.next.slots, [(slot(2), false), (slot(8), true)].into());
    assert_eq!(step(&leaked.next, leaky(8, 6, Wanted::SameKey, 0, 0), 3).next, leaked.next);
    let later = step(&leaked.next, leaky(9, 6, Wanted::SameKey, 0, 0), 3);
    assert_eq!(later.next.active.id, leaked.next.active.id);
    // The same record with a leak that was not seen yet, as after a write that was lost.
    let again = step(&leaked.next, leaky(9, 9, Wanted::SameKey, 0, 0), 3);
    assert!(again.next.active.id == id(3) && again.next.leak == 9);
    // Off: no DEK of the leaked time is left when the file stands in the clear.
    let off = step(&with_slots(), leaky(6, 6, Wanted::Off, 0, 0), 2).next;
    assert!(off.retiring[0].exposed && !off.active.exposed && off.queued.is_empty());
    assert!(off.running.contains(Reason::Leaked) && off.running.contains(Reason::AutolockOff));
}

#[test]
fn slots_stay_exposed_until_they_are_replaced() {
    let leaked = step(&with_slots(), Event::Rotate(Reason::Leaked), 2).next;
    let swept = step(&leaked, Event::Unreferenced(&[id(1)]), 3).next;
    assert_eq!(swept.protection(), Protection::Locking, "the slots are exposed");
    // A slot that is dropped takes what it opened until now with it.
    let changed = step(&swept, leaky(6, 0, Wanted::OtherKey, 2, 1), 4).next;
    assert!(changed.retiring[0].exposed && !changed.active.exposed);
    assert_eq!(changed.slots, [(slot(2), false), (slot(8), true)].into());
    let mut swept = step(&changed, Event::Unreferenced(&[id(2)]), 5).next;
    assert_eq!(swept.protection(), Protection::Locking);
    swept.replace_slot(&slot(8), slot(9));
    assert_eq!(swept.protection(), Protection::Locked);
    swept.replace_slot(&slot(8), slot(10));
    assert_eq!(swept.slots, [(slot(2), false), (slot(9), false)].into());
}

#[test]
fn removing_exposed_passphrases_exposes_what_they_opened() {
    let leaked = step(&with_slots(), Event::Rotate(Reason::Leaked), 2).next;
    let ids: SlotIds = [slot(8)].into_iter().collect();
    let removed = step(&leaked, Event::SlotsRemoved(ids), 3).next;
    assert!(removed.retiring.iter().all(|dek| dek.exposed) && removed.active.id == id(3));
    let removed = step(&with_slots(), Event::SlotsRemoved(ids), 3).next;
    assert!(!removed.retiring[0].exposed);
    assert_eq!(removed.slots, [(slot(1), false)].into());
    let added = step(&removed, Event::SlotAdded(slot(9)), 4).next;
    assert_eq!(added.slots, [(slot(1), false), (slot(9), false)].into());
}

/// The pending key comes, and the current one goes, each in a record of its own.
#[test]
fn a_pending_key_changes_no_dek_until_it_is_confirmed() {
    let pending = |version, wanted, other_pending, added: u8, dropped: u8, leaked| {
        let Event::Lock { rekey, slots, .. } = leaky(version, leaked, wanted, added, dropped)
        else {
            unreachable!()
        };
        let slots = SlotChange { other_pending, ..slots };
        Event::Lock { version, leaked, wanted, slots, rekey }
    };
    let locked = with_slots();
    let both = step(&locked, pending(6, Wanted::SameKey, true, 2, 0, 0), 2);
    assert_eq!(both.effects, [Effect::WrapForRecord]);
    assert_eq!(both.next.slots.len(), 3);
    // At the same version, the record without it is another one.
    assert!(both.next.apply(pending(6, Wanted::SameKey, true, 0, 2, 0), offer(3)).is_err());
    let confirmed = step(&both.next, pending(7, Wanted::OtherKey, false, 0, 1, 0), 3);
    assert_eq!(confirmed.effects, [Effect::WrapForRecord, Effect::NewDek(id(3))]);
    assert!(!confirmed.next.retiring[0].exposed);
    let withdrawn = step(&both.next, pending(7, Wanted::SameKey, true, 0, 2, 0), 3);
    assert_eq!(withdrawn.effects, [Effect::WrapForRecord, Effect::NewDek(id(3))]);

    // A leak does not wait for the confirmation; the old slot stays, exposed, until then.
    let leaked = step(&locked, pending(6, Wanted::SameKey, true, 2, 0, 6), 2);
    assert_eq!(leaked.effects, [Effect::WrapForRecord, Effect::NewDek(id(2))]);
    assert_eq!(leaked.next.slots, [(slot(1), true), (slot(2), false), (slot(8), true)].into());
    let swept = step(&leaked.next, Event::Unreferenced(&[id(1)]), 3).next;
    assert_eq!(swept.protection(), Protection::Locking);
    let confirmed = step(&swept, pending(7, Wanted::OtherKey, false, 0, 1, 6), 4).next;
    assert!(confirmed.retiring[0].exposed, "the leaked key opened the file that held it");
    assert!(!confirmed.active.exposed);
    assert_eq!(confirmed.slots, [(slot(2), false), (slot(8), true)].into());
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

/// A locked state in which only a leak or a lock has room.
fn full() -> Lifecycle {
    let mut state = first(Mode::Locked);
    for n in 2.. {
        let next = step(&state, Event::Rotate(Reason::UnlockKeyChanged), n);
        if next.rotate_dek() == RotateDek::Queued {
            assert_eq!(state.deks().count(), MAX_DEKS - RESERVED_DEKS);
            break;
        }
        state = next.next;
    }
    state
}

#[test]
fn an_urgent_request_begins_as_soon_as_there_is_room() {
    let urgent = [
        Event::Rotate(Reason::UnlockKeyChanged),
        lock(6, Wanted::OtherKey, Rekey::NewDek),
        lock(6, Wanted::Off, Rekey::NewDek),
    ];
    for event in urgent {
        let waiting = step(&full(), event, 100);
        assert_eq!(waiting.rotate_dek(), RotateDek::Queued);
        let dropped = [waiting.next.retiring[7].id];
        let next = step(&waiting.next, Event::Unreferenced(&dropped), 101);
        assert_eq!(
            next.effects,
            [Effect::DropDek(dropped[0]), Effect::NewDek(id(101))],
            "{event:?}"
        );
        assert!(next.next.queued.is_empty());
    }
    // Others wait for the round.
    let waiting = step(&full(), Event::Rotate(Reason::Age), 100).next;
    let next = step(&waiting, Event::Unreferenced(&[waiting.retiring[7].id]), 101);
    assert_eq!(next.rotate_dek(), RotateDek::Queued);
}

#[test]
fn a_leak_or_a_lock_never_waits() {
    let mut state = full();
    for n in 100..102 {
        let next = step(&state, Event::Rotate(Reason::Leaked), n);
        assert_eq!(next.rotate_dek(), RotateDek::Rotated);
        state = next.next;
    }
    let error = state.apply(Event::Rotate(Reason::Leaked), offer(102)).unwrap_err();
    assert!(error.to_string().contains("Store::rotation"), "{error}");
    let record = lock(6, Wanted::SameKey, Rekey::Leaked);
    assert!(state.apply(record, offer(102)).is_err());

    state = Lifecycle { mode: Mode::Clear, ..full() };
    let locking = step(&state, lock(6, Wanted::OtherKey, Rekey::NewDek), 100);
    assert_eq!(locking.effects, [Effect::WrapForRecord, Effect::NewDek(id(100))]);
}

#[test]
fn a_leak_is_not_lost_with_the_record_that_ends_the_lock() {
    let off = step(&first(Mode::Locked), lock(6, Wanted::Off, Rekey::Leaked), 2).next;
    let again = step(&off, lock(7, Wanted::SameKey, Rekey::NewDek), 3).next;
    assert_eq!(again.protection(), Protection::Locking);
    assert!(again.retiring[0].exposed && !again.active.exposed);
}
