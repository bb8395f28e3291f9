//! What a power cut can leave of a disk's cache.

use crate::disk::{Blocks, Disk, Event};
use crate::workload::Draw;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// Goes through what was recorded, forwards.
pub(crate) struct Replay<'a> {
    disk: &'a Disk,
    blocks: Blocks,
    applied: usize,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(disk: &'a Disk) -> Self {
        Self { disk, blocks: disk.base.clone(), applied: 0 }
    }

    /// The disk after a power cut behind the first `cut` events. What was flushed is there, but for
    /// the last `ignored` flushes; of what came behind, anything may be.
    pub(crate) fn crash(&mut self, cut: usize, ignored: usize, draw: &mut Draw) -> Blocks {
        let events = &self.disk.events[..cut];
        let flushes = events.iter().enumerate().filter(|(_, event)| matches!(event, Event::Flush));
        let flushed = flushes.rev().nth(ignored).map_or(0, |(at, _)| at);
        for event in &events[self.applied..flushed] {
            self.blocks.apply(event);
        }
        self.applied = flushed;
        let mut blocks = self.blocks.clone();
        let pending = &events[flushed..];
        let kept = u64::try_from(pending.len()).unwrap();
        match draw.below(4) {
            // In order, up to a write that is torn.
            0 => {
                let whole = usize::try_from(draw.below(kept + 1)).unwrap();
                pending.iter().take(whole).for_each(|event| blocks.apply(event));
                pending.get(whole).iter().for_each(|event| tear(&mut blocks, event, draw));
            }
            // In any order: of each part of the disk, some later and some earlier write.
            way => {
                let [keep, torn] = [[50, 0], [15 + 25 * draw.below(4), 30], [92, 4]]
                    [usize::try_from(way - 1).unwrap()];
                for event in pending {
                    match draw.below(100) {
                        drawn if drawn < torn => tear(&mut blocks, event, draw),
                        drawn if drawn < torn + keep => blocks.apply(event),
                        _ => {}
                    }
                }
            }
        }
        blocks
    }
}

/// Writes some of a write's sectors.
fn tear(blocks: &mut Blocks, event: &Event, draw: &mut Draw) {
    let Event::Write(at, bytes) = event else { return };
    for (number, sector) in (0_u64..).zip(bytes.chunks(SECTOR)) {
        if draw.below(2) == 0 {
            blocks.write(at + number * 512, sector);
        }
    }
}
