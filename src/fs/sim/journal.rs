use super::Loss;
use super::prng::Prng;

/// What a file or a folder holds.
pub(super) trait State: Clone + Default {
    type Change: Clone;

    /// How often [`apply`](Self::apply) asks at most.
    fn units(change: &Self::Change) -> u64;

    /// Makes a change, as far as `keep` says so for each unit that a disk writes at once.
    fn apply(&mut self, change: &Self::Change, keep: &mut dyn FnMut() -> bool);
}

/// What became of a change that was made to the live state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// The next sync makes it durable.
    Dirty,
    /// A sync failed: no later one makes it durable, yet it may have reached the disk.
    Orphaned,
    /// Durable, but an orphaned change comes before it.
    Durable,
}

/// A state as programs see it, and what of it a power cut leaves.
#[derive(Clone)]
pub(super) struct Journal<S: State> {
    live: S,
    /// Durable; the changes in `log`, in order, make it `live`.
    base: S,
    log: Vec<(S::Change, Mark)>,
}

impl<S: State> Journal<S> {
    /// A state that is durable.
    pub(super) fn new(state: S) -> Self {
        Self { live: state.clone(), base: state, log: Vec::new() }
    }

    pub(super) const fn live(&self) -> &S {
        &self.live
    }

    pub(super) fn make(&mut self, change: S::Change) {
        self.live.apply(&change, &mut || true);
        self.log.push((change, Mark::Dirty));
    }

    /// Makes a change that is durable at once, whatever comes of those before it.
    pub(super) fn make_durable(&mut self, change: S::Change) {
        self.make(change);
        if let Some((_, mark)) = self.log.last_mut() {
            *mark = Mark::Durable;
        }
        self.settle();
    }

    pub(super) fn sync(&mut self) {
        for (_, mark) in &mut self.log {
            if *mark == Mark::Dirty {
                *mark = Mark::Durable;
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        let settled = self.log.iter().take_while(|(_, mark)| *mark == Mark::Durable).count();
        for (change, _) in self.log.drain(..settled) {
            self.base.apply(&change, &mut || true);
        }
    }

    pub(super) fn fail_sync(&mut self) {
        for (_, mark) in &mut self.log {
            if *mark == Mark::Dirty {
                *mark = Mark::Orphaned;
            }
        }
    }

    /// What is there after a power cut.
    pub(super) fn survivor(&self, loss: Loss, prng: &mut Prng) -> S {
        let unsynced = self.log.iter().filter(|(_, mark)| *mark != Mark::Durable);
        let units = unsynced.map(|(change, _)| S::units(change)).sum();
        let mut left = match loss {
            Loss::Kept => return self.live.clone(),
            Loss::Torn => prng.up_to(units),
            Loss::Dropped | Loss::Reordered => 0,
        };
        let mut keep = || {
            let torn = left > 0;
            left = left.saturating_sub(1);
            torn || (loss == Loss::Reordered && prng.coin())
        };
        let mut state = self.base.clone();
        for (change, mark) in &self.log {
            if *mark == Mark::Durable {
                state.apply(change, &mut || true);
            } else {
                state.apply(change, &mut keep);
            }
        }
        state
    }
}
