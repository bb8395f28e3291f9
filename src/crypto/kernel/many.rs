//! Many messages under one subkey: the lanes hold blocks of different messages.
//!
//! A message of `n` bytes takes block 0, whose first half is its authenticator's key, and the blocks
//! after it. Runs of blocks that fill all lanes are left to the path of one message; block 0 and what
//! remains share their lanes with other messages, in the order of the messages. So between two passes
//! only one message is unfinished: all that is kept of it is the authenticator's key, and whether its
//! tag is right.

use super::poly64::{Poly64, equal};
use super::words::{Blocks, split, xor, xor_block};
use super::{Message, Places};
use crate::crypto::TAG_LEN;

/// Blocks that one pass makes.
pub(super) const LANES: usize = 16;
/// How many of a pass's blocks must be of use for it to be left to one message.
const FILLED: usize = 12;

/// What a kernel brings to batches.
pub(super) trait Lanes: Copy {
    /// From which length on [`Lanes::mac`] is faster than [`Poly64`], in bytes.
    const WIDE: usize;

    /// The blocks at the first `used` places.
    fn at(self, key: &[u8; 32], places: &Places<LANES>, used: usize, out: &mut [[u8; 64]; LANES]);

    /// XORs the stream from block `counter` on into `data`.
    fn stream(self, key: &[u8; 32], suffix: &[u8; 8], counter: u64, data: &mut [u8]);

    /// The tag of `data` under a one-time key.
    fn mac(self, key: &[u8; 32], data: &[u8]) -> [u8; TAG_LEN];
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
    for at in 0..messages.len() {
        let message = &mut messages[at];
        message.right = false;
        let Some(plan) = message.sealed.len().checked_sub(TAG_LEN).map(Plan::new) else {
            continue;
        };
        let nonce = split(u64::from_le_bytes(message.suffix));
        for block in plan.shared() {
            pass.add(Owner { at, block, plan }, nonce);
            if pass.used == LANES {
                pass.finish(messages);
            }
        }
    }
    pass.finish(messages);
}

/// How a message's blocks are made: block 0 shared, blocks 1 to `alone` by themselves, and the rest
/// up to `last` shared.
#[derive(Clone, Copy)]
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

    fn shared(self) -> impl Iterator<Item = usize> {
        core::iter::once(0).chain(self.alone + 1..=self.last)
    }

    /// The last block in the order of the passes.
    const fn is_end(self, block: usize) -> bool {
        block == if self.alone == self.last { 0 } else { self.last }
    }
}

/// Whose block a lane holds.
#[derive(Clone, Copy)]
struct Owner {
    at: usize,
    block: usize,
    plan: Plan,
}

struct Pass<'a, L> {
    lanes: L,
    way: Way,
    key: &'a [u8; 32],
    places: Places<LANES>,
    owners: [Owner; LANES],
    used: usize,
    stream: Blocks<LANES>,
    /// Block 0 of the message that is being worked on.
    first: Blocks<1>,
    /// Whether that message is to be encrypted or decrypted.
    right: bool,
}

impl<'a, L: Lanes> Pass<'a, L> {
    #[inline(always)]
    fn new(lanes: L, way: Way, key: &'a [u8; 32]) -> Self {
        Self {
            lanes,
            way,
            key,
            places: Places { n0: [0; LANES], n1: [0; LANES], c0: [0; LANES], c1: [0; LANES] },
            owners: [Owner { at: 0, block: 0, plan: Plan::new(0) }; LANES],
            used: 0,
            stream: Blocks::new(),
            first: Blocks::new(),
            right: false,
        }
    }

    #[inline(always)]
    fn add(&mut self, owner: Owner, [n0, n1]: [u32; 2]) {
        let lane = self.used;
        let [c0, c1] = split(owner.block as u64);
        self.places.n0[lane] = n0;
        self.places.n1[lane] = n1;
        self.places.c0[lane] = c0;
        self.places.c1[lane] = c1;
        self.owners[lane] = owner;
        self.used += 1;
    }

    /// Makes the blocks and works them into their messages.
    #[inline(always)]
    fn finish(&mut self, messages: &mut [Message<'_>]) {
        self.lanes.at(self.key, &self.places, self.used, &mut self.stream.0);
        for lane in 0..self.used {
            let owner = self.owners[lane];
            let message = &mut messages[owner.at];
            if let Some((tag, text)) = message.sealed.split_first_chunk_mut::<TAG_LEN>() {
                if owner.block == 0 {
                    self.first.0[0] = self.stream.0[lane];
                    self.begin(owner.plan, &message.suffix, tag, text);
                    message.right = self.right;
                } else if self.right {
                    xor_block(&mut text[64 * owner.block - 32..], &self.stream.0[lane]);
                }
                if self.way == Way::Seal && owner.plan.is_end(owner.block) {
                    *tag = self.mac(text);
                }
            }
        }
        self.used = 0;
    }

    /// Works block 0 and the blocks that are not shared into a message, unless its tag is wrong.
    #[inline(always)]
    fn begin(&mut self, plan: Plan, suffix: &[u8; 8], tag: &[u8; TAG_LEN], text: &mut [u8]) {
        self.right = match self.way {
            Way::Seal => true,
            Way::Open => equal(tag, self.mac(text)),
        };
        if self.right {
            let (head, body) = text.split_at_mut(text.len().min(32));
            xor(head, &self.first.0[0][32..]);
            let alone = body.len().min(64 * plan.alone);
            self.lanes.stream(self.key, suffix, 1, &mut body[..alone]);
        }
    }

    #[inline(always)]
    fn mac(&self, text: &[u8]) -> [u8; TAG_LEN] {
        let [first] = &self.first.0;
        let Some(key) = first.first_chunk() else {
            return [0; TAG_LEN];
        };
        if text.len() >= L::WIDE {
            return self.lanes.mac(key, text);
        }
        let mut poly = Poly64::from_key(key);
        poly.update(text);
        poly.finish()
    }
}
