//! Many messages under one subkey: the lanes hold blocks of different messages.
//!
//! Messages come in groups of as many as there are lanes. A message of `n` bytes takes block 0, whose
//! first half is its authenticator's key, and the blocks after it. Runs of blocks that fill all lanes
//! are left to the path of one message; the others share their lanes: first all blocks 0, and then what
//! remains of each message, in their order. After the first pass all messages can be authenticated, which
//! is done to eight of them at once.

use super::words::{xor, xor_whole};
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

    /// XORs a block into the beginning of `data`, as far as both go.
    fn xor(self, data: &mut [u8], block: &[u8; 64]);

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
    let mut pass = Pass::new();
    let (mut firsts, mut stream) = ([[0; 64]; LANES], [[0; 64]; LANES]);
    for group in messages.chunks_mut(LANES) {
        let mut plans = [Plan::new(0); LANES];
        for (at, (message, plan)) in group.iter_mut().zip(&mut plans).enumerate() {
            // What is shorter than a tag takes a lane for nothing.
            message.right = message.sealed.len() >= TAG_LEN;
            *plan = Plan::new(message.sealed.len());
            pass.add(at, 0, message.suffix);
        }
        let mut shared = plans.iter().enumerate().flat_map(|(at, plan)| plan.shared(at));
        pass.fill(&mut shared, group);
        // Blocks 0 of the group, and what else there is room for.
        lanes.at(key, &pass.places, pass.used, &mut firsts);
        if way == Way::Open {
            authenticate(lanes, &firsts, group, |tag, made| equal(tag, made));
        }
        for ((message, plan), first) in group.iter_mut().zip(&plans).zip(&firsts) {
            if message.right {
                begin(lanes, key, message, plan, first);
            }
        }
        pass.finish(lanes, &firsts, group.len(), group);
        while pass.fill(&mut shared, group) {
            lanes.at(key, &pass.places, pass.used, &mut stream);
            pass.finish(lanes, &stream, 0, group);
        }
        if way == Way::Seal {
            authenticate(lanes, &firsts, group, |tag, made| {
                *tag = made;
                true
            });
        }
    }
}

/// Works block 0 and the blocks that are not shared into a message.
#[inline(always)]
fn begin<L: Lanes>(
    lanes: L,
    key: &[u8; 32],
    message: &mut Message<'_>,
    plan: &Plan,
    first: &[u8; 64],
) {
    let (_, text) = message.sealed.split_at_mut(TAG_LEN);
    let (head, body) = text.split_at_mut(text.len().min(32));
    match (head.first_chunk_mut::<32>(), first.last_chunk()) {
        (Some(head), Some(stream)) => xor_whole(head, stream),
        _ => xor(head, &first[32..]),
    }
    if plan.alone > 0 {
        let alone = body.len().min(64 * plan.alone);
        lanes.stream(key, &message.suffix, 1, &mut body[..alone]);
    }
}

/// Gives `call` the tag of each message, and the one that it should have; what `call` says of it is
/// whether the message is right.
#[inline(always)]
fn authenticate<L: Lanes>(
    lanes: L,
    firsts: &[[u8; 64]; LANES],
    group: &mut [Message<'_>],
    call: impl Fn(&mut [u8; TAG_LEN], [u8; TAG_LEN]) -> bool,
) {
    for (part, keys) in group.chunks_mut(ABREAST).zip(firsts.as_chunks::<ABREAST>().0) {
        let mut tags = [[0; TAG_LEN]; ABREAST];
        let mut texts: [&[u8]; ABREAST] = [&[]; ABREAST];
        for (text, message) in texts.iter_mut().zip(&*part) {
            *text = message.sealed.get(TAG_LEN..).unwrap_or_default();
        }
        lanes.macs(keys, &texts[..part.len()], &mut tags);
        for (message, made) in part.iter_mut().zip(tags) {
            message.right = match message.sealed.first_chunk_mut() {
                Some(tag) => call(tag, made),
                None => false,
            };
        }
    }
}

/// How a message's blocks are made: block 0 shared, blocks 1 to `alone` by themselves, and the rest
/// up to `last` shared.
#[derive(Clone, Copy)]
struct Plan {
    alone: usize,
    last: usize,
}

impl Plan {
    /// For a message of `sealed` bytes with its tag.
    const fn new(sealed: usize) -> Self {
        let last = sealed.saturating_sub(TAG_LEN + 32).div_ceil(64);
        let over = last % LANES;
        Self { alone: if over >= FILLED { last } else { last - over }, last }
    }

    /// The shared blocks, but block 0, each with its message's number.
    #[inline(always)]
    fn shared(&self, at: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        (self.alone + 1..self.last + 1).map(move |block| (at, block))
    }
}

/// The lanes of one pass.
struct Pass {
    places: Places<LANES>,
    /// Whose blocks they hold.
    owners: [usize; LANES],
    used: usize,
}

impl Pass {
    const fn new() -> Self {
        Self {
            places: Places { nonces: [0; LANES], counters: [0; LANES] },
            owners: [0; LANES],
            used: 0,
        }
    }

    #[inline(always)]
    fn add(&mut self, at: usize, block: usize, suffix: [u8; 8]) {
        let lane = self.used;
        self.places.nonces[lane] = u64::from_le_bytes(suffix);
        self.places.counters[lane] = block as u64;
        self.owners[lane] = at;
        self.used += 1;
    }

    /// Fills the lanes that are left, and tells whether any is used.
    #[inline(always)]
    fn fill(
        &mut self,
        blocks: &mut impl Iterator<Item = (usize, usize)>,
        group: &[Message<'_>],
    ) -> bool {
        while self.used < LANES
            && let Some((at, block)) = blocks.next()
        {
            self.add(at, block, group[at].suffix);
        }
        self.used > 0
    }

    /// Works the blocks from lane `from` on into their messages, and begins anew.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "it was the number of a block in memory")]
    fn finish<L: Lanes>(
        &mut self,
        lanes: L,
        stream: &[[u8; 64]; LANES],
        from: usize,
        group: &mut [Message<'_>],
    ) {
        let owners = self.owners.iter().zip(&self.places.counters).take(self.used);
        for ((at, counter), block) in owners.zip(stream).skip(from) {
            let message = &mut group[*at];
            if message.right {
                let start = TAG_LEN + 64 * (*counter as usize) - 32;
                lanes.xor(&mut message.sealed[start..], block);
            }
        }
        self.used = 0;
    }
}
