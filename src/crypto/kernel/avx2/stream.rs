//! The stream of one message: its blocks have everything in common but the counter.

use core::arch::x86_64::*;

use super::lanes::{EIGHT, Words, double_round, finish, quarter_round, spread, step};
use super::rows::{FEW, few, turn};
use crate::crypto::kernel::memory::{load256, store256};
use crate::crypto::kernel::words::{Block, Common, split, xor_block};

/// The stream of one message.
pub(super) struct Stream(Common);

impl Stream {
    #[inline(always)]
    pub(super) fn new(key: &[u8; 32], suffix: &[u8; 8]) -> Self {
        Self(Common::new(key, suffix))
    }

    /// What eight blocks start from.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn start(&self, counters: __m256i) -> Words {
        let mut words = spread(self.0.input);
        words[8] = counters;
        words
    }

    /// What the first double round makes of it.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn first_round(&self, counters: __m256i) -> Words {
        let mut x = spread(self.0.x);
        let [column4, row8, row12] = spread([self.0.column4, self.0.row8, self.0.row12]);
        x[8] = _mm256_xor_si256(x[8], counters);
        x[12] = turn!(x[12], 13, _mm256_add_epi32(x[8], column4));
        x[0] = turn!(x[0], 18, _mm256_add_epi32(x[12], x[8]));
        x[8] = _mm256_xor_si256(x[8], row8);
        x[12] = _mm256_xor_si256(x[12], row12);
        step!(x, 7, [1, 0, 3]);
        step!(x, 9, [2, 1, 0], [13, 12, 15]);
        step!(x, 13, [3, 2, 1], [9, 8, 11], [14, 13, 12]);
        step!(x, 18, [0, 3, 2], [10, 9, 8], [15, 14, 13]);
        x
    }

    /// Eight blocks from `counter` on, to `out` or, if `XOR`, into it.
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    fn eight<const XOR: bool>(&self, counter: u32, out: &mut [[u8; 64]; EIGHT]) {
        let counters = counters(counter);
        let mut x = self.first_round(counters);
        for _ in 1..10 {
            double_round!(x);
        }
        finish::<XOR>(&x, &self.start(counters), out);
    }

    /// Blocks 1 to 8, and beside, on the integer units, block 0.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn first(&self, zero: &mut [u8; 64], out: &mut [[u8; 64]; EIGHT]) {
        let counters = counters(1);
        let (mut x, mut beside) = (self.first_round(counters), Block::from(self.0.input));
        beside.double_round();
        for _ in 1..10 {
            double_round!(x);
            beside.double_round();
        }
        beside.finish(zero);
        finish::<false>(&x, &self.start(counters), out);
    }

    /// XORs the stream from block `counter` on into `data`.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn apply(&self, mut counter: u64, mut data: &mut [u8]) {
        while !data.is_empty() {
            let [low, high] = split(counter);
            let blocks = Common::END - u64::from(low);
            let bytes = usize::try_from(64 * blocks).map_or(data.len(), |max| max.min(data.len()));
            let (here, beyond) = data.split_at_mut(bytes);
            if high == self.0.input[9] {
                self.apply_below(low, here);
            } else {
                let mut input = self.0.input;
                input[9] = high;
                Self(Common::from(input)).apply_below(low, here);
            }
            (counter, data) = (counter.wrapping_add(blocks), beyond);
        }
    }

    /// The same, where the counter's low word does not overflow before the end of `data`.
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    fn apply_below(&self, mut counter: u32, data: &mut [u8]) {
        let (blocks, rest) = data.as_chunks_mut::<64>();
        let (eights, last) = blocks.as_chunks_mut();
        for eight in eights {
            self.eight::<true>(counter, eight);
            counter = counter.wrapping_add(8);
        }
        if last.is_empty() && rest.is_empty() {
            return;
        }
        let mut stream = [[0; 64]; EIGHT];
        let len = last.as_flattened().len() + rest.len();
        if len <= FEW {
            few(&self.0.input, counter, len, &mut stream);
        } else {
            self.eight::<false>(counter, &mut stream);
        }
        let (stream, next) = stream.split_at(last.len());
        xor_all(stream, last.as_flattened_mut());
        xor_all(next, rest);
    }
}

/// Counters from `first` on.
#[inline]
#[target_feature(enable = "avx2")]
fn counters(first: u32) -> __m256i {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_add_epi32(_mm256_set1_epi32(first.cast_signed()), lanes)
}

/// XORs the stream from block `counter` on into `data`.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::crypto::kernel) fn stream(
    key: &[u8; 32],
    suffix: &[u8; 8],
    counter: u64,
    data: &mut [u8],
) {
    Stream::new(key, suffix).apply(counter, data);
}

/// XORs blocks into `data`, as far as both go.
#[inline]
#[target_feature(enable = "avx2")]
fn xor_all(blocks: &[[u8; 64]], data: &mut [u8]) {
    let (whole, rest) = data.as_chunks_mut::<64>();
    for (bytes, block) in whole.iter_mut().zip(blocks) {
        for (bytes, stream) in bytes.as_chunks_mut::<32>().0.iter_mut().zip(block.as_chunks().0) {
            store256(bytes, _mm256_xor_si256(load256(bytes), load256(stream)));
        }
    }
    if let Some(block) = blocks.get(whole.len()) {
        xor_block(rest, block);
    }
}
