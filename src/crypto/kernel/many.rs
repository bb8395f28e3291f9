//! Many messages under one subkey: the lanes hold blocks of different messages.
//!
//! Messages come in groups of as many as there are lanes. A message of `n` bytes takes block 0, whose
//! first half is its authenticator's key, and the blocks after it. Runs of blocks that fill all lanes
//! are left to the path of one message; the others share their lanes: first all blocks 0, and then what
//! remains of each message, in their order. After the first pass all messages can be authenticated, which
//! is done to eight of them at once.

use super::words::{xor, xor_block, xor_whole};
use super::{Message, Places};
use crate::crypto::TAG_LEN;
use crate::crypto::verdict::equal;

/// Blocks that one pass makes, and messages in a group.
pub(super) const LANES: usize = 16;
/// Messages that are authenticated at once.
pub(super) const ABREAST: usize = 8;
/// How many of a pass's blocks must be of use for it to be left to one message.
const FILLED: usize = 12;

/// What a kernel brings to batches.
pub(super) trait Lanes: Copy {
    /// The blocks at the first `used` places.
    fn at(self, key: &[u8; 32], places: &Places<LANES>, used: usize, out: &mut [[u8; 64]; LANES]);

    /// XORs the stream from block `counter` on into `data`.
    fn stream(self, key: &[u8; 32], suffix: &[u8; 8], counter: u64, data: &mut [u8]);

    /// The tags of at most eight texts, each under the one-time key that its block begins with.
    fn macs(self, keys: &[[u8; 64]; ABREAST], texts: &[&[u8]], tags: &mut [[u8; TAG_LEN]; ABREAST]);
}

/// What is done to the messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Seal,
    Open,
}

/// Seals or opens all `messages`.
#[inline(always)]
pub(super) fn run<L: Lanes>(lanes: L, way: Way, key: &[u8; 32], messages: &mut [Message<'_>]) {
    let mut pass = Pass::new(lanes, way, key);
    for group in messages.chunks_mut(LANES) {
        pass.run(group);
    }
}

/// How a message's blocks are made: block 0 shared, blocks 1 to `alone` by themselves, and the rest
/// up to `last` shared.
struct Plan {
    alone: usize,
    last: usize,
}

impl Plan {
    const fn new(len: usize) -> Self {
        let last = len.saturating_sub(32).div_ceil(64);
        let over = last % LANES;
        Self { alone: if over >= FILLED { last } else { last - over }, last }
    }
}

/// Whose block a lane holds.
#[derive(Clone, Copy)]
struct Owner {
    at: usize,
    block: usize,
}

struct Pass<'a, L> {
    lanes: L,
    way: Way,
    key: &'a [u8; 32],
    places: Places<LANES>,
    owners: [Owner; LANES],
    used: usize,
    stream: [[u8; 64]; LANES],
    /// What the first pass made: blocks 0 of the group, and what else there was room for.
    firsts: [[u8; 64]; LANES],
}

impl<'a, L: Lanes> Pass<'a, L> {
    #[inline(always)]
    fn new(lanes: L, way: Way, key: &'a [u8; 32]) -> Self {
        Self {
            lanes,
            way,
            key,
            places: Places { nonces: [0; LANES], counters: [0; LANES] },
            owners: [Owner { at: 0, block: 0 }; LANES],
            used: 0,
            stream: [[0; 64]; LANES],
            firsts: [[0; 64]; LANES],
        }
    }

    /// Seals or opens at most sixteen messages.
    #[inline(always)]
    fn run(&mut self, group: &mut [Message<'_>]) {
        for (at, message) in group.iter_mut().enumerate() {
            // What is shorter than a tag takes a lane for nothing.
            message.right = message.sealed.len() >= TAG_LEN;
            self.add(at, 0, message.suffix);
        }
        let mut begun = false;
        for at in 0..group.len() {
            let plan = Plan::new(group[at].sealed.len().saturating_sub(TAG_LEN));
            for block in plan.alone + 1..=plan.last {
                if self.used == LANES {
                    self.finish(group, &mut begun);
                }
                self.add(at, block, group[at].suffix);
            }
        }
        self.finish(group, &mut begun);
        if self.way == Way::Seal {
            self.authenticate(group, |tag, made| {
                *tag = made;
                true
            });
        }
    }

    #[inline(always)]
    fn add(&mut self, at: usize, block: usize, suffix: [u8; 8]) {
        let lane = self.used;
        self.places.nonces[lane] = u64::from_le_bytes(suffix);
        self.places.counters[lane] = block as u64;
        self.owners[lane] = Owner { at, block };
        self.used += 1;
    }

    /// Makes the blocks and works them into their messages.
    #[inline(always)]
    fn finish(&mut self, group: &mut [Message<'_>], begun: &mut bool) {
        let first = !core::mem::replace(begun, true);
        let stream = if first { &mut self.firsts } else { &mut self.stream };
        self.lanes.at(self.key, &self.places, self.used, stream);
        if first {
            self.begin(group);
        }
        let stream = if first { &self.firsts } else { &self.stream };
        for (owner, block) in self.owners.iter().zip(stream).take(self.used) {
            let message = &mut group[owner.at];
            if owner.block > 0 && message.right {
                xor_block(&mut message.sealed[TAG_LEN + 64 * owner.block - 32..], block);
            }
        }
        self.used = 0;
    }

    /// Works blocks 0 and the blocks that are not shared into the messages, unless a tag is wrong.
    #[inline(always)]
    fn begin(&mut self, group: &mut [Message<'_>]) {
        if self.way == Way::Open {
            self.authenticate(group, |tag, made| equal(tag, made));
        }
        for (message, first) in group.iter_mut().zip(&self.firsts).filter(|(m, _)| m.right) {
            let (_, text) = message.sealed.split_at_mut(TAG_LEN);
            let plan = Plan::new(text.len());
            let (head, body) = text.split_at_mut(text.len().min(32));
            match (head.first_chunk_mut::<32>(), first.last_chunk()) {
                (Some(head), Some(stream)) => xor_whole(head, stream),
                _ => xor(head, &first[32..]),
            }
            let alone = body.len().min(64 * plan.alone);
            if alone > 0 {
                self.lanes.stream(self.key, &message.suffix, 1, &mut body[..alone]);
            }
        }
    }

    /// Gives `call` the tag of each message, and the one that it should have; what `call` says of it is
    /// whether the message is right.
    #[inline(always)]
    fn authenticate(
        &self,
        group: &mut [Message<'_>],
        call: impl Fn(&mut [u8; TAG_LEN], [u8; TAG_LEN]) -> bool,
    ) {
        for (part, keys) in group.chunks_mut(ABREAST).zip(self.firsts.as_chunks::<ABREAST>().0) {
            let mut tags = [[0; TAG_LEN]; ABREAST];
            let mut texts: [&[u8]; ABREAST] = [&[]; ABREAST];
            for (text, message) in texts.iter_mut().zip(&*part) {
                *text = message.sealed.get(TAG_LEN..).unwrap_or_default();
            }
            self.lanes.macs(keys, &texts[..part.len()], &mut tags);
            for (message, made) in part.iter_mut().zip(tags) {
                message.right = match message.sealed.first_chunk_mut() {
                    Some(tag) => call(tag, made),
                    None => false,
                };
            }
        }
    }
}
