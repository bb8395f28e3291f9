//! Everything that names a retiring DEK is written anew under the active one, segment by segment,
//! while the log is in use; then everything is counted, and the DEK goes.
//!
//! What is on the disk and in the key file says how far it has come: one who crashed begins again
//! and finds less to do.

use core::fmt;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::format::{META, RECORD, RECORD_HEAD, SNAPSHOT, STATE};
use super::witness::Witness;
use super::{Inner, Store};
use crate::error::{Error, Misuse, Result};
use crate::fs::File;
use crate::key::DekId;
use crate::keyring::Sweep;
use crate::wal::{self, SegmentReader};

mod reseal;

/// What a step of a [`Rotation`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Wrote something anew; so many segments are left.
    Resealed {
        /// Segments that still name a DEK that is to go.
        left: usize,
    },
    /// Counted what one segment names.
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
/// Steps are bounded by the length of a segment; appends go on meanwhile and wait at most for the
/// rename and the fsync at a step's end. One that is dropped may be begun again.
///
/// ```
/// # use nodeseal::{Identity, Keyring, Protector, UnlockKey, Store, store::Options};
/// # let dir = tempfile::tempdir()?;
/// # let me = Identity::new("prod", "m1")?;
/// # let protector = Protector::unlock_key(&UnlockKey::generate()?);
/// # let keyring = Keyring::create(dir.path().join("keys"), &me, protector, &[])?;
/// # let store = Store::create(dir.path().join("raft"), &keyring, Options::new("raft"))?;
/// use nodeseal::{Reason, store::Step};
///
/// keyring.rotate_dek(Reason::Age)?;
/// let mut rotation = store.rotation();
/// while rotation.step()? != Step::Done {
///     // sleep as long as others are to have the disk
/// }
/// assert_eq!(keyring.status().deks.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Rotation {
    store: Store,
    /// What is named, and the segment that is looked at next.
    count: Option<(Sweep, u32)>,
    also: Option<Also>,
}

type Also = Box<dyn FnMut(&mut Sweep) -> Result<()> + Send>;

impl Store {
    /// Begins, or goes on with, the rotation that [`Keyring::rotate_dek`] or a changed unlock key
    /// asked for.
    ///
    /// [`Keyring::rotate_dek`]: crate::Keyring::rotate_dek
    #[must_use]
    pub fn rotation(&self) -> Rotation {
        Rotation { store: self.clone(), count: None, also: None }
    }
}

impl Rotation {
    /// Shows what else is sealed under the keyring, in no store: without this the DEKs of whatever
    /// is stored elsewhere would be dropped. Called before each drop; a caller with several stores
    /// has to bring all of them under the active DEK first, and show each with [`Store::show`].
    #[must_use]
    pub fn also(mut self, see: impl FnMut(&mut Sweep) -> Result<()> + Send + 'static) -> Self {
        self.also = Some(Box::new(see));
        self
    }

    /// Does the next piece of work.
    ///
    /// # Errors
    ///
    /// As [`Store::read`] and [`Store::apply`]; [`Error::Damaged`] where damage keeps the proof
    /// from being complete. What was not yet replaced is as it was.
    pub fn step(&mut self) -> Result<Step> {
        let step = self.next();
        if step.is_err() {
            self.count = None;
        }
        step.inspect_err(|e| self.store.inner.stats.failed(e))
    }

    fn next(&mut self) -> Result<Step> {
        let inner = Arc::clone(&self.store.inner);
        inner.intact()?;
        if let Some((sweep, segment)) = self.count.take() {
            return self.count_on(&inner, sweep, segment);
        }
        let status = inner.keyring.status();
        let retiring = status.deks.iter().filter(|dek| !dek.active);
        let retiring: BTreeSet<DekId> = retiring.map(|dek| dek.id).collect();
        if retiring.is_empty() {
            return Ok(Step::Done);
        }
        inner.leave_last_segment(&retiring)?;
        inner.drop_dead()?;
        let left = inner.to_reseal(&retiring);
        if let Some(segment) = left.first() {
            inner.reseal(*segment)?;
            return Ok(Step::Resealed { left: left.len() - 1 });
        }
        inner.settle_witness()?;
        match inner.keyring.sweep() {
            Ok(sweep) => self.count = Some((sweep, 0)),
            Err(Error::Misuse(Misuse::InFlight)) => return Ok(Step::Waiting),
            Err(other) => return Err(other),
        }
        Ok(Step::Counted)
    }

    fn count_on(&mut self, inner: &Inner, mut sweep: Sweep, from: u32) -> Result<Step> {
        let next = inner
            .index()
            .segments
            .range(from..)
            .next()
            .map(|(id, entry)| (*id, Arc::clone(&entry.file), entry.path.clone()));
        if let Some((id, file, path)) = next {
            let open = id == inner.writer().segment;
            see_segment(&*file, &path, open, &mut sweep)?;
            self.count = Some((sweep, id.saturating_add(1)));
            return Ok(Step::Counted);
        }
        for cell in Witness::sealed(&*inner.fs, &inner.dir)? {
            sweep.see(&cell)?;
        }
        if let Some(also) = &mut self.also {
            also(&mut sweep)?;
        }
        let left = sweep.finish()?;
        Ok(if left.is_empty() { Step::Dropped } else { Step::Waiting })
    }
}

impl Store {
    /// Shows everything that the store holds to a sweep of its keyring, at once.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] where something cannot be read; [`Error::Io`].
    pub fn show(&self, sweep: &mut Sweep) -> Result<()> {
        let inner = &self.inner;
        inner.settle_witness()?;
        let segments: Vec<_> = {
            let index = inner.index();
            let all = index.segments.iter();
            all.map(|(id, entry)| (*id, Arc::clone(&entry.file), entry.path.clone())).collect()
        };
        let last = inner.writer().segment;
        for (id, file, path) in segments {
            see_segment(&*file, &path, id == last, sweep)?;
        }
        let cells = Witness::sealed(&*inner.fs, &inner.dir)?;
        cells.iter().try_for_each(|cell| sweep.see(cell))
    }
}

impl Inner {
    /// Ends the last segment if it names a DEK that is to go.
    fn leave_last_segment(&self, retiring: &BTreeSet<DekId>) -> Result<()> {
        let mut writer = self.writer();
        self.intact()?;
        let names = |dek: &DekId| retiring.contains(dek);
        let named = {
            let index = self.index();
            let segment = index.segments.get(&writer.segment);
            segment.is_some_and(|segment| segment.deks.iter().any(names))
        };
        if named {
            let cut = self.cut(&mut writer);
            self.or_poison(cut)?;
        }
        Ok(())
    }

    /// Removes segments that hold no entry any more.
    fn drop_dead(&self) -> Result<()> {
        let (dead, sequence) = {
            let writer = self.writer();
            let index = self.index();
            let dead = index.segments.range(..writer.segment).filter(|(_, entry)| entry.live == 0);
            (dead.map(|(id, _)| *id).collect::<Vec<_>>(), writer.state.sequence)
        };
        if dead.is_empty() {
            return Ok(());
        }
        // The state in which they are free of entries must be durable.
        self.sync(sequence)?;
        let _writer = self.writer();
        let dropped = self.drop_segments(&dead);
        self.or_poison(dropped)
    }

    /// The segments that name a DEK that is to go, or of which it is not known that they do not
    /// after a power cut.
    fn to_reseal(&self, retiring: &BTreeSet<DekId>) -> Vec<u32> {
        let last = self.writer().segment;
        let index = self.index();
        let left = index.segments.range(..last).filter(|(_, entry)| {
            !entry.settled || entry.deks.iter().any(|dek| retiring.contains(dek))
        });
        left.map(|(id, _)| *id).collect()
    }

    /// Writes the witness anew, durably, and with it everything that is on its way.
    fn settle_witness(&self) -> Result<()> {
        let sequence = self.writer().state.sequence;
        self.sync(sequence)?;
        let mut synced = self.synced();
        let sequence = synced.sequence;
        let written = synced.witness.settle(&self.cells, &self.name, sequence);
        self.or_poison(written)
    }
}

/// Shows a sweep what a segment holds. What is appended meanwhile is under the active DEK.
fn see_segment(file: &dyn File, path: &Path, open: bool, sweep: &mut Sweep) -> Result<()> {
    let mut reader = SegmentReader::new(file, path, open, Some(0))?;
    while let Some(step) = reader.next()? {
        match step {
            wal::Step::Record(record) => {
                let short = || Error::damaged("too short for its kind").in_file(path);
                let data = reader.data();
                let sealed = match record.kind {
                    RECORD => data.get(RECORD_HEAD..).ok_or_else(short)?,
                    STATE => data.get(16..).ok_or_else(short)?,
                    META => data.get(8..).ok_or_else(short)?,
                    SNAPSHOT => data,
                    _ => continue,
                };
                sweep.see(sealed).map_err(|e| e.in_file(path).at_offset(record.offset))?;
            }
            wal::Step::End { tail: wal::Tail::Clean, .. } => {}
            wal::Step::End { .. } if open => {}
            wal::Step::End { offset, .. }
            | wal::Step::Damage { offset, .. }
            | wal::Step::ChainBroken { offset } => {
                let what = "a segment of which not everything can be read";
                return Err(Error::damaged(what).in_file(path).at_offset(offset));
            }
        }
    }
    Ok(())
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotation").field("counting", &self.count.is_some()).finish_non_exhaustive()
    }
}
