//! Everything that names a retiring DEK is written anew under the active one, piece by piece, while
//! the log is in use; then everything is counted, and the DEK goes. The snapshot comes first if the
//! DEK was exposed.
//!
//! What is on the disk and in the key file says how far it has come: one who crashed begins again
//! and finds less to do.

use core::fmt;
use core::ops::ControlFlow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::index::Segment;
use super::{Inner, Store};
use crate::error::{Error, Misuse, Result};
use crate::key::DekId;
use crate::keyring::Sweep;

mod count;
mod reseal;
mod rewrite;

pub(super) use count::Count;
use reseal::Reseal;
use rewrite::Rewrite;

/// How much a step reads or writes, in bytes, unless it is said otherwise.
const BUDGET: u64 = 256 << 10;
/// How much [`Rotation::run`] reads or writes in a second, in bytes, unless it is said otherwise.
const RATE: u64 = 16 << 20;
/// How long [`Rotation::run`] waits for what is on its way.
const PAUSE: Duration = Duration::from_millis(5);

/// What a step of a [`Rotation`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Wrote entries anew.
    Resealed {
        /// How many.
        entries: u64,
        /// Entries in segments that are still to be written anew.
        left: u64,
    },
    /// Copied a piece of the snapshot under a new content key, or read it back, because the DEK that
    /// its header is under was exposed.
    Rewritten {
        /// How many bytes.
        bytes: u64,
        /// Bytes that are still to be copied or read back.
        left: u64,
    },
    /// Counted what a piece of the store names.
    Counted,
    /// Something that is sealed under a DEK that is to go is on its way to the disk, here or in the
    /// caller's hands. Try again.
    Waiting,
    /// The DEKs that nothing named have gone from the key file. What is wanted next follows.
    Dropped,
    /// Only the active DEK is left.
    Done,
}

/// Brings a store under the keyring's active DEK, and drops the others.
///
/// A step reads or writes a bounded number of bytes ([`Rotation::budget`]) and makes them durable.
/// Appends go on meanwhile: they wait for no step, but for the renaming of a file where a segment
/// is whole, and once for the end of the segment in use. One that is dropped may be begun again;
/// what it loses is the segment that it was at, or the copy of the snapshot.
///
/// # Snapshots
///
/// Of a snapshot whose header is under a DEK that was not exposed, the header alone is sealed
/// again. If the DEK was exposed, so was the content key in the header, which is all that
/// authenticates the snapshot: it is copied under a new one, which takes as much room again until
/// the old file goes. Those who are reading the old file can continue. Until it is copied, or
/// another snapshot is installed in its place, the DEK stays, and the keys are
/// [`Protection::Locking`](crate::key::Protection::Locking). One that is lost or does not open
/// cannot be copied: the rotation fails until another is installed.
///
/// ```
/// # use nodeseal::{Identity, Keyring, Protector, UnlockKey, Store, store::Options};
/// # let dir = tempfile::tempdir()?;
/// # let me = Identity::new("prod", "m1")?;
/// # let protector = Protector::unlock_key(&UnlockKey::generate()?);
/// # let keyring = Keyring::create(dir.path().join("keys"), &me, protector, &[])?;
/// # let store = Store::create(dir.path().join("raft"), &keyring, Options::new("raft"))?;
/// use std::ops::ControlFlow;
///
/// use nodeseal::{Reason, store::Step};
///
/// keyring.rotate_dek(Reason::Age)?;
/// let done = store.rotation().run(|step| {
///     if let Step::Resealed { left, .. } = step {
///         println!("{left} entries to go");
///     }
///     ControlFlow::Continue(())
/// })?;
/// assert!(done && keyring.status().deks.len() == 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Rotation {
    store: Store,
    budget: u64,
    rate: u64,
    work: Work,
    also: Option<Also>,
}

/// What is under way.
enum Work {
    Nothing,
    Rewrite(Box<Rewrite>),
    Reseal(Box<Reseal>),
    Count(Count, Sweep),
}

type Also = Box<dyn FnMut(&mut Sweep) -> Result<()> + Send>;

impl Store {
    /// Begins, or goes on with, the rotation that [`Keyring::rotate_dek`] or a changed unlock key
    /// asked for.
    ///
    /// [`Keyring::rotate_dek`]: crate::Keyring::rotate_dek
    #[must_use]
    pub fn rotation(&self) -> Rotation {
        let store = self.clone();
        Rotation { store, budget: BUDGET, rate: RATE, work: Work::Nothing, also: None }
    }

    /// Shows everything that the store holds to a sweep of its keyring, at once, and says that its keyspace
    /// was shown. A store that is open read-only does not say so: what another writes it has not seen.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] where something cannot be read; [`Error::Io`].
    pub fn show(&self, sweep: &mut Sweep) -> Result<()> {
        self.inner.settle_witness()?;
        let mut count = Count::new(&self.inner);
        while count.go_on(&self.inner, u64::MAX, sweep)? {}
        count.finish(&self.inner, sweep)?;
        self.inner.shown_to(sweep);
        Ok(())
    }
}

impl Rotation {
    /// How many bytes a step reads or writes; a single longer entry, or 64 KiB of a snapshot, is written
    /// all the same. 256 KiB unless it is said otherwise.
    #[must_use]
    pub const fn budget(mut self, bytes: u64) -> Self {
        self.budget = bytes;
        self
    }

    /// How many bytes [`Rotation::run`] reads or writes in a second; 16 MiB unless it is said
    /// otherwise. Appends that come meanwhile share the disk with it: `BENCHMARKS.md` has what that
    /// costs them. `u64::MAX` is as fast as it goes.
    #[must_use]
    pub const fn rate(mut self, bytes: u64) -> Self {
        self.rate = bytes;
        self
    }

    /// Shows what else is sealed under the keyring. No DEK is dropped before every registered keyspace was
    /// shown: other stores with [`Store::show`], what is stored elsewhere with [`Sweep::see`] and
    /// [`Sweep::shown`]. Called before each drop; all of it has to be under the active DEK by then.
    #[must_use]
    pub fn also(mut self, see: impl FnMut(&mut Sweep) -> Result<()> + Send + 'static) -> Self {
        self.also = Some(Box::new(see));
        self
    }

    /// Does step after step, at [`Rotation::rate`], and tells each to `progress`, which may break off.
    /// Whether only the active DEK is left.
    ///
    /// # Errors
    ///
    /// As [`Rotation::step`].
    pub fn run(&mut self, mut progress: impl FnMut(Step) -> ControlFlow<()>) -> Result<bool> {
        let pause = pause(self.budget, self.rate);
        loop {
            let begun = Instant::now();
            let step = self.step()?;
            if progress(step).is_break() || step == Step::Done {
                return Ok(step == Step::Done);
            }
            match step {
                Step::Resealed { .. } | Step::Rewritten { .. } | Step::Counted => {
                    thread::sleep(pause.saturating_sub(begun.elapsed()));
                }
                Step::Waiting => thread::sleep(PAUSE),
                Step::Dropped | Step::Done => {}
            }
        }
    }

    /// Does the next piece of work.
    ///
    /// # Errors
    ///
    /// As [`Store::read`], [`Store::snapshot`] and [`Store::apply`]; [`Misuse::NotShown`], once the store is
    /// under the active DEK, if the keyring has other keyspaces that [`Rotation::also`] did not show;
    /// [`Error::Damaged`] where damage keeps the proof from being complete. What was not yet replaced is
    /// as it was.
    pub fn step(&mut self) -> Result<Step> {
        let work = core::mem::replace(&mut self.work, Work::Nothing);
        self.next(work).inspect_err(|e| self.store.inner.stats.failed(e))
    }

    fn next(&mut self, work: Work) -> Result<Step> {
        let inner = Arc::clone(&self.store.inner);
        inner.writable()?;
        match work {
            Work::Nothing => {}
            Work::Rewrite(rewrite) => return self.rewrite(rewrite),
            Work::Reseal(reseal) => return self.reseal(&inner, reseal),
            Work::Count(count, sweep) => return self.count(&inner, count, sweep),
        }
        let retiring = inner.retiring();
        if retiring.is_empty() {
            return Ok(Step::Done);
        }
        // Before the last segment is left: the next one begins with the header.
        if let Some(rewrite) = Rewrite::begin(&self.store)? {
            return self.rewrite(Box::new(rewrite));
        }
        inner.leave_last_segment(&retiring)?;
        inner.drop_dead()?;
        if let Some(segment) = inner.to_reseal(&retiring).0 {
            return match Reseal::begin(&self.store, segment)? {
                Some(reseal) => self.reseal(&inner, Box::new(reseal)),
                None => Ok(Step::Resealed { entries: 0, left: inner.to_reseal(&retiring).1 }),
            };
        }
        inner.settle_witness()?;
        match inner.keyring.sweep() {
            Ok(sweep) => self.work = Work::Count(Count::new(&inner), sweep),
            Err(Error::Misuse(Misuse::InFlight)) => return Ok(Step::Waiting),
            Err(other) => return Err(other),
        }
        Ok(Step::Counted)
    }

    fn rewrite(&mut self, mut rewrite: Box<Rewrite>) -> Result<Step> {
        let bytes = rewrite.go_on(self.budget)?;
        let left = rewrite.left();
        if rewrite.is_read_back() {
            rewrite.put_in_place()?;
        } else {
            self.work = Work::Rewrite(rewrite);
        }
        Ok(Step::Rewritten { bytes, left })
    }

    fn reseal(&mut self, inner: &Inner, mut reseal: Box<Reseal>) -> Result<Step> {
        let entries = reseal.go_on(self.budget)?;
        let copied = reseal.copied();
        if entries == 0 {
            reseal.put_in_place()?;
        } else {
            self.work = Work::Reseal(reseal);
        }
        let (_, left) = inner.to_reseal(&inner.retiring());
        let left = if entries == 0 { left } else { left.saturating_sub(copied) };
        inner.stats.add().entries_to_reseal = left;
        Ok(Step::Resealed { entries, left })
    }

    fn count(&mut self, inner: &Inner, mut count: Count, mut sweep: Sweep) -> Result<Step> {
        if count.go_on(inner, self.budget, &mut sweep)? {
            self.work = Work::Count(count, sweep);
            return Ok(Step::Counted);
        }
        count.finish(inner, &mut sweep)?;
        inner.shown_to(&mut sweep);
        if let Some(also) = &mut self.also {
            also(&mut sweep)?;
        }
        let left = sweep.finish()?;
        Ok(if left.is_empty() { Step::Dropped } else { Step::Waiting })
    }
}

/// How long `bytes` take at `rate` bytes a second.
pub(super) fn pause(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl Inner {
    fn retiring(&self) -> BTreeSet<DekId> {
        let deks = self.keyring.status().deks;
        deks.iter().filter(|dek| !dek.active).map(|dek| dek.id).collect()
    }

    /// Says that everything of the store was shown.
    fn shown_to(&self, sweep: &mut Sweep) {
        if self.next.is_some() {
            sweep.shown_keyspace(self.keyspace.id());
        }
    }

    /// Ends the last segment if it names a DEK that is to go.
    fn leave_last_segment(&self, retiring: &BTreeSet<DekId>) -> Result<()> {
        let mut synced = self.synced();
        let mut writer = self.writer();
        self.intact()?;
        let named = {
            let index = self.index();
            let segment = index.segments.get(&writer.segment);
            segment.is_some_and(|segment| segment.deks.iter().any(|dek| retiring.contains(dek)))
        };
        if named { self.roll(&mut synced, &mut writer) } else { Ok(()) }
    }

    /// Removes segments that hold no entry any more.
    fn drop_dead(&self) -> Result<()> {
        let (dead, sequence) = {
            let mut writer = self.writer();
            (self.unlist_dead(&mut writer)?, writer.state.sequence)
        };
        if dead.is_empty() {
            return Ok(());
        }
        // The state in which they are free of entries must be durable.
        self.sync(sequence)?;
        self.remove_segments(&dead)
    }

    /// The first segment that names a DEK that is to go, or of which it is not known that it does
    /// not after a power cut; and how many entries stand in all of those.
    fn to_reseal(&self, retiring: &BTreeSet<DekId>) -> (Option<u32>, u64) {
        let last = self.writer().segment;
        let index = self.index();
        let left = index.segments.range(..last).filter(|(_, entry)| !entry.going);
        let left = left.filter(|(_, entry)| {
            !entry.settled || entry.deks.iter().any(|dek| retiring.contains(dek))
        });
        let add = |(first, sum): (Option<u32>, u64), (id, entry): (&u32, &Segment)| {
            (first.or(Some(*id)), sum + entry.live)
        };
        left.fold((None, 0), add)
    }

    /// Writes the witness anew, durably, and with it everything that is on its way.
    fn settle_witness(&self) -> Result<()> {
        if self.next.is_some() {
            self.process.check()?;
        }
        let sequence = self.writer().state.sequence;
        self.sync(sequence)?;
        let mut synced = self.synced();
        let sequence = synced.sequence;
        self.intact()?;
        let Some(witness) = &mut synced.witness else { return Ok(()) };
        let written = witness.settle(&self.cells, sequence);
        self.or_poison(written)
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counting = matches!(self.work, Work::Count(..));
        f.debug_struct("Rotation").field("counting", &counting).finish_non_exhaustive()
    }
}
