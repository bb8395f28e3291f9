//! Where each entry is stored: 24 bytes an entry.

use core::ops::Range;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use super::chain::Chain;
use super::table::Part;
use crate::key::DekId;
use crate::seal::{Era, LogId};

/// Slots are allocated so many at a time: a vector that doubles would take twice the memory.
const CHUNK: usize = 1024;

/// Where an entry's frame is. Frames begin at multiples of 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) era: u64,
    pub(super) segment: u32,
    /// Offset of the frame, in units of 8 bytes.
    pub(super) place: u32,
    /// Length of the frame, in bytes; 0 for an entry that is lost.
    pub(super) len: u32,
}

impl Slot {
    pub(super) fn offset(&self) -> u64 {
        u64::from(self.place) * 8
    }
}

/// A segment, by its number in the index. One that is re-sealed is another file under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    /// How often its file was replaced.
    pub(super) version: u32,
}

/// A segment's file.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// Its number in its name.
    pub(super) number: u64,
    pub(super) version: u32,
    /// How many entries of the log are stored in it, lost ones among them.
    pub(super) live: u64,
    /// DEKs that its records name, or named.
    pub(super) deks: Vec<DekId>,
    /// This process made its bytes and its name durable itself.
    pub(super) settled: bool,
    /// Not all of it can be read.
    pub(super) damaged: bool,
    /// It is being removed.
    pub(super) going: bool,
    /// The table lists it, with these chains; the last segment is in no table.
    pub(super) listed: bool,
    pub(super) chains: Vec<Chain>,
}

impl Segment {
    pub(super) const fn new(path: PathBuf, number: u64, settled: bool) -> Self {
        Self {
            path,
            number,
            version: 0,
            live: 0,
            deks: Vec::new(),
            settled,
            damaged: false,
            going: false,
            listed: false,
            chains: Vec::new(),
        }
    }

    pub(super) fn name_dek(&mut self, dek: DekId) {
        if !self.deks.contains(&dek) {
            self.deks.push(dek);
        }
    }
}

/// The entries of a log and the segments that hold them.
#[derive(Debug, Default)]
pub(super) struct Index {
    first: u64,
    slots: Slots,
    /// The entry before the first one.
    pub(super) purged: LogId,
    pub(super) segments: BTreeMap<u32, Segment>,
    truncations: Truncations,
}

/// What was cut off the log's end, so that a reader finds out that it was cut off under it.
#[derive(Debug, Default)]
struct Truncations {
    count: u64,
    /// Of truncations, which number it was and the first entry that it removed. Those that a later
    /// one went below are left out, so both rise.
    lowest: Vec<(u64, u64)>,
}

impl Truncations {
    fn note(&mut self, from: u64) {
        self.count += 1;
        while self.lowest.pop_if(|(_, other)| *other >= from).is_some() {}
        self.lowest.push((self.count, from));
    }

    /// Joins those that removed entries before `first` only, of which no reader asks which.
    fn drop_before(&mut self, first: u64) {
        let below = self.lowest.iter().take_while(|(_, from)| *from < first).count();
        self.lowest.drain(..below.saturating_sub(1));
    }

    fn since(&self, count: u64) -> Option<u64> {
        self.lowest.iter().find(|(number, _)| *number > count).map(|(_, from)| *from)
    }
}

impl Index {
    /// The segment's file as it is now.
    pub(super) fn place(&self, segment: u32) -> Option<Place> {
        let version = self.segments.get(&segment)?.version;
        Some(Place { segment, version })
    }

    /// How many truncations there were.
    pub(super) const fn truncations(&self) -> u64 {
        self.truncations.count
    }

    /// The first entry that was removed from the end since there were `count` truncations.
    pub(super) fn truncated_since(&self, count: u64) -> Option<u64> {
        self.truncations.since(count)
    }

    /// The segments before `last` that hold nothing of the log any more. A damaged one may have held
    /// what is lost, as long as entries before it are in the log.
    pub(super) fn dead(&self, last: u32) -> Vec<u32> {
        if self.segments.len() < 2 {
            return Vec::new();
        }
        let first = self.get(self.first).map_or(u32::MAX, |slot| slot.segment);
        let dead = self.segments.range(..last);
        dead.filter(|(id, entry)| entry.live == 0 && (!entry.damaged || **id < first))
            .map(|(id, _)| *id)
            .collect()
    }

    /// The segments before `last` that count, and are to be listed.
    pub(super) fn listed(&self, last: u32) -> Vec<Part> {
        let dead = self.dead(last);
        let listed = self.segments.range(..last);
        let listed = listed.filter(|(id, entry)| entry.listed && !dead.contains(id));
        listed.map(|(_, entry)| (entry.number, entry.chains.clone())).collect()
    }

    /// The segments before `last` that hold nothing of the log any more and are listed all the same.
    pub(super) fn dead_but_listed(&self, last: u32) -> Vec<u32> {
        let listed = |id: &u32| self.segments.get(id).is_some_and(|entry| entry.listed);
        self.dead(last).into_iter().filter(listed).collect()
    }

    /// Notes that the table does not list `segments` any more.
    pub(super) fn unlist(&mut self, segments: &[u32]) {
        for id in segments {
            self.segments.entry(*id).and_modify(|entry| entry.listed = false);
        }
    }

    /// The indices that there are.
    pub(super) fn range(&self) -> Range<u64> {
        self.first..self.first + self.slots.len()
    }

    pub(super) fn get(&self, index: u64) -> Option<Slot> {
        self.slots.get(index.checked_sub(self.first)?)
    }

    /// The first entry that is stored in `segment` or in a later one: entries are stored in order.
    pub(super) fn first_in(&self, segment: u32) -> u64 {
        let Range { mut start, mut end } = self.range();
        while start < end {
            let middle = start + (end - start) / 2;
            match self.get(middle) {
                Some(slot) if slot.segment < segment => start = middle + 1,
                _ => end = middle,
            }
        }
        start
    }

    /// The first entry from `index` on that is not lost.
    pub(super) fn skip_lost(&self, mut index: u64) -> u64 {
        while self.get(index).is_some_and(|slot| slot.len == 0) {
            index += 1;
        }
        index
    }

    pub(super) fn id_at(&self, index: u64) -> Option<LogId> {
        self.get(index).map(|slot| LogId::new(index, Era::term(slot.era)))
    }

    /// Reports whether the log holds the entry `id`, or lost what it held at its index.
    pub(super) fn holds(&self, id: LogId) -> bool {
        self.get(id.index).is_some_and(|slot| slot.len == 0 || slot.era == id.era.get())
    }

    /// Takes the entries from `first` on; there are none yet.
    pub(super) fn adopt(&mut self, first: u64, slots: Slots) {
        for of_one in slots.chunks.iter().flat_map(|chunk| chunk.chunk_by(same_segment)) {
            self.add_live(of_one);
        }
        (self.first, self.slots) = (first, slots);
    }

    /// Adds entries of one segment behind the last; the first one of all may have any index.
    pub(super) fn extend(&mut self, first: u64, slots: &[Slot]) {
        if self.slots.len() == 0 {
            self.first = first;
        }
        debug_assert_eq!(first, self.range().end, "entries without a gap");
        debug_assert!(slots.is_sorted_by(same_segment), "entries of one segment");
        self.add_live(slots);
        slots.iter().for_each(|slot| self.slots.push(*slot));
    }

    /// Removes the entries from `index` on.
    pub(super) fn truncate(&mut self, index: u64) {
        if self.range().end > index {
            self.truncations.note(index);
        }
        while self.range().end > index
            && let Some(slot) = self.slots.pop()
        {
            self.remove_live(slot);
        }
    }

    /// Removes the entries before `index`.
    pub(super) fn drop_before(&mut self, index: u64) {
        self.truncations.drop_before(index);
        while self.first < index
            && let Some(slot) = self.slots.pop_front()
        {
            self.remove_live(slot);
            self.first += 1;
        }
    }

    /// Replaces where an entry is in its segment.
    pub(super) fn replace(&mut self, index: u64, slot: Slot) {
        if let Some(place) = index.checked_sub(self.first).and_then(|n| self.slots.get_mut(n)) {
            debug_assert!(same_segment(place, &slot), "an entry stays in its segment");
            *place = slot;
        }
    }

    /// Counts entries of one segment.
    fn add_live(&mut self, slots: &[Slot]) {
        if let Some(first) = slots.first()
            && let Some(segment) = self.segments.get_mut(&first.segment)
        {
            segment.live += u64::try_from(slots.len()).unwrap_or(u64::MAX);
        }
    }

    fn remove_live(&mut self, slot: Slot) {
        if let Some(segment) = self.segments.get_mut(&slot.segment) {
            segment.live = segment.live.saturating_sub(1);
        }
    }
}

const fn same_segment(one: &Slot, other: &Slot) -> bool {
    one.segment == other.segment
}

/// Slots one after the other.
#[derive(Debug, Default)]
pub(super) struct Slots {
    chunks: VecDeque<Vec<Slot>>,
    /// How many of the first chunk were removed.
    gone: usize,
    len: u64,
}

impl Slots {
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn last(&self) -> Option<Slot> {
        self.chunks.back()?.last().copied()
    }

    /// Adds `more` behind.
    pub(super) fn append(&mut self, more: Self) {
        let mut gone = more.gone;
        for slot in more.chunks.into_iter().flatten() {
            if gone == 0 {
                self.push(slot);
            }
            gone = gone.saturating_sub(1);
        }
    }

    pub(super) fn truncate(&mut self, len: u64) {
        while self.len > len && self.pop().is_some() {}
    }

    /// Marks the entries from the `n`th on, up to `end`, as lost.
    pub(super) fn lose(&mut self, n: u64, end: u64) {
        for n in n..end.min(self.len) {
            if let Some(slot) = self.get_mut(n) {
                (slot.len, slot.era) = (0, 0);
            }
        }
    }

    fn place(&self, n: u64) -> Option<(usize, usize)> {
        let n = usize::try_from(n).ok()?.checked_add(self.gone)?;
        Some((n / CHUNK, n % CHUNK))
    }

    pub(super) fn get(&self, n: u64) -> Option<Slot> {
        let (chunk, at) = self.place(n)?;
        self.chunks.get(chunk)?.get(at).copied()
    }

    fn get_mut(&mut self, n: u64) -> Option<&mut Slot> {
        let (chunk, at) = self.place(n)?;
        self.chunks.get_mut(chunk)?.get_mut(at)
    }

    pub(super) fn push(&mut self, slot: Slot) {
        match self.chunks.back_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(slot),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(slot);
                self.chunks.push_back(chunk);
            }
        }
        self.len += 1;
    }

    fn pop(&mut self) -> Option<Slot> {
        if self.len == 0 {
            return None;
        }
        let chunk = self.chunks.back_mut()?;
        let slot = chunk.pop();
        if chunk.is_empty() {
            self.chunks.pop_back();
        }
        self.removed();
        slot
    }

    fn pop_front(&mut self) -> Option<Slot> {
        if self.len == 0 {
            return None;
        }
        let slot = self.chunks.front()?.get(self.gone).copied();
        self.gone += 1;
        if self.gone == CHUNK {
            self.chunks.pop_front();
            self.gone = 0;
        }
        self.removed();
        slot
    }

    fn removed(&mut self) {
        self.len -= 1;
        if self.len == 0 {
            self.chunks.clear();
            self.gone = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slot(era: u64) -> Slot {
        Slot { era, segment: 0, place: 0, len: 8 }
    }

    #[test]
    fn an_entry_takes_24_bytes() {
        assert_eq!(size_of::<Slot>(), 24);
        let mut index = Index::default();
        (1..=100_000).for_each(|n| index.extend(n, &[slot(n)]));
        let held: usize = index.slots.chunks.iter().map(|chunk| chunk.capacity() * 24).sum();
        assert!(held <= 26 * 100_000, "{held}");
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_deque(steps in prop::collection::vec((0..4, 0..3000_u64), 1..40)) {
            let mut index = Index::default();
            let mut model: VecDeque<(u64, u64)> = VecDeque::new();
            let mut era = 0;
            for (step, n) in steps {
                let next = model.back().map_or(n, |(index, _)| index + 1);
                let first = model.front().map_or(0, |(index, _)| *index);
                match step {
                    0 | 1 => {
                        let slots: Vec<Slot> = (era + 1..=era + n).map(slot).collect();
                        index.extend(next, &slots);
                        for at in next..next + n {
                            era += 1;
                            model.push_back((at, era));
                        }
                    }
                    2 => {
                        index.truncate(next.saturating_sub(n));
                        model.retain(|(at, _)| *at < next.saturating_sub(n));
                    }
                    _ => {
                        index.drop_before(first + n);
                        model.retain(|(at, _)| *at >= first + n);
                    }
                }
                prop_assert_eq!(index.slots.len(), u64::try_from(model.len()).unwrap());
                for (at, era) in model.iter().step_by(97).chain(model.back()) {
                    prop_assert_eq!(index.get(*at), Some(slot(*era)));
                }
                prop_assert!(model.front().is_none_or(|(at, _)| *at == 0 || index.get(at - 1).is_none()));
                prop_assert!(index.get(next + n + 1).is_none() || step < 2);
            }
        }
    }
}
