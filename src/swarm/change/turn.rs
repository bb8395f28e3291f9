//! What a change does to the key file and to the cluster, by what was found.

use super::keys::KeyState;
use super::rewrite::{Edit, Reading};
use super::{Change, Report};
use crate::error::{Error, Misuse, Result};
use crate::key::{Event, Mode, Reason, Rekey, SlotChange, UnlockKey, Wanted};

/// The key file's unlock key, if a run was interrupted before the cluster had it too: dockerd would put
/// the cluster's back at its next change. Only of a sole manager, which alone can know a newer one than its
/// log; of a file in the clear it cannot be, as that is written last; and a version beyond the log is forged.
fn owed<'s>(reading: &Reading, state: &'s KeyState) -> Option<&'s UnlockKey> {
    let kek = state.kek()?;
    let version = state.lifecycle.kek_version;
    let behind = reading.image.parsed_cluster().is_ok_and(|one| one.is_behind(kek, version));
    (reading.is_alone() && behind && version <= reading.index).then_some(kek)
}

/// The cluster's version of the key file's unlock key, if the file has one beyond the log: dockerd would
/// ignore newer keys up to it. With another key than the cluster's it may be the newer one, of a manager
/// that lags behind.
fn mended(reading: &Reading, state: &KeyState) -> Option<u64> {
    let cluster = reading.image.parsed_cluster().ok()?;
    let same = match (cluster.unlock_key(), state.kek()) {
        (Some(one), Some(other)) => one.ct_eq(other),
        (one, other) => one.is_none() && other.is_none(),
    };
    let forged = state.lifecycle.kek_version > reading.end();
    (forged && same).then_some(cluster.facts.meta.version)
}

/// The cluster's lock as the log has it: Swarm knows one key, and no leak is in its record.
fn lock(version: u64, wanted: Wanted, rekey: Rekey) -> Event<'static> {
    Event::Lock { version, leaked: 0, wanted, slots: SlotChange::default(), rekey }
}

/// What is left of a change that was interrupted and is asked for again.
pub(super) fn again<'a>(change: Change<'a>, reading: &Reading, state: &KeyState) -> Change<'a> {
    let (Change::RotateUnlockKey { new, .. } | Change::Lock { new }) = change else {
        return change;
    };
    let begun = state.is_rotating() || owed(reading, state).is_some();
    if !begun || state.accepts(new).is_ok() {
        return change;
    }
    match change {
        Change::RotateUnlockKey { rekey, .. }
            if rekey != Rekey::KeepDek && !state.is_rotating() =>
        {
            Change::RotateDek
        }
        _ => Change::FinishRotation,
    }
}

/// A change, fitted to what was found.
pub(super) struct Turn<'a> {
    event: Option<Event<'static>>,
    key: Option<&'a UnlockKey>,
    pub(super) edit: Edit<'a>,
    /// The edit is what an earlier run owes the cluster.
    owed: bool,
    /// What takes the place of a forged `kek-version` before the event.
    version: Option<u64>,
}

impl<'a> Turn<'a> {
    pub(super) fn of(change: Change<'a>, reading: &Reading, state: &'a KeyState) -> Result<Self> {
        let alone = || {
            let what = "of several managers, one cannot change the cluster's unlock key on its own: \
                        rotate-dek, or force-new-cluster first";
            if reading.is_alone() { Ok(()) } else { Err(Error::from(Misuse::State(what))) }
        };
        let locked = state.lifecycle.mode != Mode::Clear;
        // The version that dockerd would give: of the entry before the change's own.
        let event = |wanted, rekey| lock(reading.index, wanted, rekey);
        let turn = |event, key, edit| Ok(Self { event, key, edit, owed: false, version: None });
        match change {
            Change::FinishRotation | Change::RotateDek => {
                let new_dek = matches!(change, Change::RotateDek);
                let Some(kek) = owed(reading, state) else {
                    let rotate = Event::Rotate(Reason::Requested);
                    let event = if new_dek { rotate } else { Event::Settle };
                    let version = mended(reading, state);
                    return Ok(Self { version, ..turn(Some(event), None, Edit::Nothing)? });
                };
                let event = if new_dek {
                    event(Wanted::OtherKey, Rekey::NewDek)
                } else {
                    event(Wanted::SameKey, Rekey::KeepDek)
                };
                let edit = Edit::UnlockKey(Some(kek));
                Ok(Self { owed: true, ..turn(Some(event), Some(kek), edit)? })
            }
            Change::RotateUnlockKey { new, rekey } => {
                state.accepts(new)?;
                if !locked {
                    return Err(Misuse::State("the manager is not locked: lock it").into());
                }
                if !reading.is_alone() {
                    let cluster = reading.image.parsed_cluster()?;
                    let version = cluster.facts.meta.version;
                    let known = cluster.unlock_key().is_some_and(|key| key.ct_eq(new));
                    let applied = state.lifecycle.kek_version;
                    if !known || version <= applied && applied <= reading.end() {
                        alone()?;
                    }
                    let event = lock(version, Wanted::OtherKey, rekey);
                    return turn(Some(event), Some(new), Edit::Nothing);
                }
                turn(Some(event(Wanted::OtherKey, rekey)), Some(new), Edit::UnlockKey(Some(new)))
            }
            Change::Lock { new } => {
                alone()?;
                // Locked already, with a cluster that does not know it, is how an earlier run that
                // was interrupted leaves it.
                if locked && reading.image.parsed_cluster()?.unlock_key().is_some() {
                    let what = "the manager is locked already: rotate its unlock key";
                    return Err(Misuse::State(what).into());
                }
                state.accepts(new)?;
                let event = event(Wanted::OtherKey, Rekey::NewDek);
                turn(Some(event), Some(new), Edit::UnlockKey(Some(new)))
            }
            Change::AutolockOff => {
                alone()?;
                if !locked {
                    return Err(Misuse::State("the manager is not locked").into());
                }
                turn(Some(event(Wanted::Off, Rekey::NewDek)), None, Edit::UnlockKey(None))
            }
            Change::ForceNewCluster => {
                if reading.is_alone() {
                    return Err(Misuse::State("it is the only manager already").into());
                }
                if reading.image.removed.contains(&reading.member.raft_id) {
                    let what = "this node was removed from the cluster, and cannot begin a new one";
                    return Err(Misuse::State(what).into());
                }
                turn(None, None, Edit::Alone)
            }
        }
    }

    /// The key file's state after it. `kek-version` is not protected by anything; what is beyond
    /// the log's end was not written by a manager.
    pub(super) fn apply(&self, state: &KeyState) -> Result<KeyState> {
        let Some(event) = self.event else { return Ok(state.duplicate()) };
        let mut state = state.duplicate();
        state.lifecycle.kek_version = self.version.unwrap_or(state.lifecycle.kek_version);
        if let Event::Lock { version, .. } = event {
            let before = version.saturating_sub(1);
            state.lifecycle.kek_version = state.lifecycle.kek_version.min(before);
        }
        state.after(event, self.key)
    }

    pub(super) fn report(&self, reading: &Reading) -> Report {
        Report { finishes_unlock_key: self.owed, ..reading.report(self.edit) }
    }

    pub(super) fn is_needed(&self, before: &KeyState, after: &KeyState) -> bool {
        !matches!(self.edit, Edit::Nothing) || before.lifecycle != after.lifecycle
    }
}
