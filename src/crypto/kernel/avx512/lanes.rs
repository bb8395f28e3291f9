//! Salsa20 on sixteen blocks at once, one in each lane: word `i` of all blocks is one vector.

use core::arch::x86_64::*;
use core::hint::black_box;

use super::transpose::{all, quarters, whole};
use crate::crypto::kernel::Places;
use crate::crypto::kernel::many::LANES;
use crate::crypto::kernel::memory::{load_part, load_words512, load512, store_part, store512};
use crate::crypto::kernel::words::{self, Block, CONSTANTS, Common, key_words, split};

type Words = [__m512i; LANES];

/// What sixteen blocks are for, in bytes.
const CHUNK: usize = 64 * LANES;

/// What the sixteen blocks start from.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn start(key: &[u8; 32], nonce: [__m512i; 2], counter: [__m512i; 2]) -> Words {
    let key = key_words(key).map(|word| _mm512_set1_epi32(word.cast_signed()));
    let constants = CONSTANTS.map(|word| _mm512_set1_epi32(word.cast_signed()));
    let ([k0, k1, k2, k3, k4, k5, k6, k7], [x0, x1, x2, x3]) = (key, constants);
    let ([n0, n1], [c0, c1]) = (nonce, counter);
    [x0, k0, k1, k2, k3, x1, n0, n1, c0, c1, x2, k4, k5, k6, k7, x3]
}

/// The same, from memory: the compiler would keep what it made before, all of it, in registers or the frame.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn start_again(key: &[u8; 32], nonce: [__m512i; 2], counter: [__m512i; 2]) -> Words {
    start(black_box(key), nonce, counter)
}

/// `x ^ ((y + z) <<< left)`
macro_rules! turn {
    ($x:expr, $left:literal, $y:expr, $z:expr) => {
        _mm512_xor_si512($x, _mm512_rol_epi32::<$left>(_mm512_add_epi32($y, $z)))
    };
}

/// The same in places that do not depend on each other.
macro_rules! step {
    ($x:ident, $left:literal, $([$to:literal, $y:literal, $z:literal]),*) => {
        $($x[$to] = turn!($x[$to], $left, $x[$y], $x[$z]);)*
    };
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn double_round(x: &mut Words) {
    step!(x, 7, [4, 0, 12], [9, 5, 1], [14, 10, 6], [3, 15, 11]);
    step!(x, 9, [8, 4, 0], [13, 9, 5], [2, 14, 10], [7, 3, 15]);
    step!(x, 13, [12, 8, 4], [1, 13, 9], [6, 2, 14], [11, 7, 3]);
    step!(x, 18, [0, 12, 8], [5, 1, 13], [10, 6, 2], [15, 11, 7]);
    step!(x, 7, [1, 0, 3], [6, 5, 4], [11, 10, 9], [12, 15, 14]);
    step!(x, 9, [2, 1, 0], [7, 6, 5], [8, 11, 10], [13, 12, 15]);
    step!(x, 13, [3, 2, 1], [4, 7, 6], [9, 8, 11], [14, 13, 12]);
    step!(x, 18, [0, 3, 2], [5, 4, 7], [10, 9, 8], [15, 14, 13]);
}

/// The sixteen blocks after their first double round.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn begun(common: &Common, counter: __m512i) -> Words {
    // From memory, as in `start_again`.
    let common = black_box(common);
    let spread = |word: u32| _mm512_set1_epi32(word.cast_signed());
    let mut x = [_mm512_setzero_si512(); 16];
    for (x, word) in x.iter_mut().zip(common.x) {
        *x = spread(word);
    }
    x[8] = _mm512_xor_si512(x[8], counter);
    let column4 = spread(common.column4);
    x[12] = turn!(x[12], 13, x[8], column4);
    x[0] = turn!(x[0], 18, x[12], x[8]);
    x[8] = _mm512_xor_si512(x[8], spread(common.row8));
    x[12] = _mm512_xor_si512(x[12], spread(common.row12));
    step!(x, 7, [1, 0, 3]);
    step!(x, 9, [2, 1, 0], [13, 12, 15]);
    step!(x, 13, [3, 2, 1], [9, 8, 11], [14, 13, 12]);
    step!(x, 18, [0, 3, 2], [10, 9, 8], [15, 14, 13]);
    x
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn rounds(mut x: Words) -> Words {
    for _ in 0..10 {
        double_round(&mut x);
    }
    x
}

/// Counters from `first` on, as their low and high words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn counters(first: u64) -> [__m512i; 2] {
    let ones = _mm512_set1_epi64(first.cast_signed());
    halves(
        _mm512_add_epi64(ones, _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7)),
        _mm512_add_epi64(ones, _mm512_setr_epi64(8, 9, 10, 11, 12, 13, 14, 15)),
    )
}

/// The low and the high words of sixteen numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn halves(first: __m512i, second: __m512i) -> [__m512i; 2] {
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    [_mm512_permutex2var_epi32(first, even, second), _mm512_permutex2var_epi32(first, odd, second)]
}

/// The same, from memory.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn halves_of(numbers: &[u64; LANES]) -> [__m512i; 2] {
    match numbers.as_chunks::<8>().0 {
        [first, second] => halves(load_words512(first), load_words512(second)),
        _ => [_mm512_setzero_si512(); 2],
    }
}

/// Sixteen blocks that were made and wait, word by word, to be used.
///
/// What comes after the rounds is shuffles, loads and stores in a row, which leave the adders idle: it is
/// done during the rounds of the next sixteen blocks, where the rotations leave room for it. Aligned, for
/// a vector in two lines of the cache takes twice as long.
#[repr(align(64))]
pub(super) struct Waiting([[u8; 64]; LANES]);

/// Makes blocks 1 to 16, and beside, on the integer units, block 0. `call` is given the sixteen, word by
/// word: so that there is one caller to a copy of this, and they reach it in registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn beside<T>(
    key: &[u8; 32],
    suffix: &[u8; 8],
    zero: &mut [u8; 64],
    call: impl FnOnce(Words) -> T,
) -> T {
    let (nonce, counters) = (nonce(suffix), counters(1));
    let mut x = start(key, nonce, counters);
    let mut beside = Block::from(words::start(key, suffix));
    for _ in 0..10 {
        double_round(&mut x);
        beside.double_round();
    }
    beside.finish(zero);
    call(sum(x, start_again(key, nonce, counters)))
}

/// Makes block 0, and blocks 1 to 16 that wait.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn first(key: &[u8; 32], suffix: &[u8; 8], zero: &mut [u8; 64]) -> Waiting {
    beside(key, suffix, zero, |words| wait(words))
}

/// Makes block 0, and blocks 1 to 16 in registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn near(key: &[u8; 32], suffix: &[u8; 8], zero: &mut [u8; 64]) -> [__m512i; LANES] {
    beside(key, suffix, zero, |words| all(words))
}

/// XORs the stream into `data` from byte `at` on. The blocks from `counter` on wait. On the way `encrypted`
/// is given all of `data` and how much of it is done.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn apply(
    key: &[u8; 32],
    suffix: &[u8; 8],
    mut counter: u64,
    waiting: &mut Waiting,
    data: &mut [u8],
    mut at: usize,
    mut encrypted: impl FnMut(&[u8], usize),
) {
    let nonce = nonce(suffix);
    let common = (data.len() - at > 2 * CHUNK).then(|| Common::new(key, suffix));
    while data.len() - at > CHUNK
        && let Some(chunk) = data[at..].first_chunk_mut()
    {
        counter = counter.wrapping_add(LANES as u64);
        let counters = counters(counter);
        let mut x = match &common {
            Some(common) if counter < Common::END - LANES as u64 => begun(common, counters[0]),
            _ => {
                let mut x = start_again(key, nonce, counters);
                double_round(&mut x);
                x
            }
        };
        for words in waiting.0.as_chunks_mut::<4>().0 {
            double_round(&mut x);
            to_quarters(words);
        }
        for j in 0..4 {
            double_round(&mut x);
            to_blocks(&waiting.0, j, chunk);
        }
        double_round(&mut x);
        *waiting = wait(sum(x, start_again(key, nonce, counters)));
        // The compiler would keep them in registers too, and so in the frame.
        black_box(&mut *waiting);
        at += CHUNK;
        encrypted(data, at);
    }
    waiting.0.as_chunks_mut().0.iter_mut().for_each(|words| to_quarters(words));
    xor_blocks(&waiting.0, &mut data[at..]);
}

/// XORs the stream from block `counter` on into `data`.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::crypto::kernel) fn stream(
    key: &[u8; 32],
    suffix: &[u8; 8],
    counter: u64,
    data: &mut [u8],
) {
    if data.is_empty() {
        return;
    }
    let (nonce, counters) = (nonce(suffix), counters(counter));
    let x = rounds(start(key, nonce, counters));
    let mut waiting = wait(sum(x, start_again(key, nonce, counters)));
    apply(key, suffix, counter, &mut waiting, data, 0, |_, _| {});
}

/// Adds what the blocks started from.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn sum(mut x: Words, start: Words) -> Words {
    for (x, start) in x.iter_mut().zip(start) {
        *x = _mm512_add_epi32(*x, start);
    }
    x
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn wait(words: Words) -> Waiting {
    let mut waiting = Waiting([[0; 64]; LANES]);
    for (bytes, word) in waiting.0.iter_mut().zip(words) {
        store512(bytes, word);
    }
    waiting
}

/// Turns words 4·i … 4·i + 3 of all blocks into quarters of blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn to_quarters(words: &mut [[u8; 64]; 4]) {
    let quarters =
        quarters([load512(&words[0]), load512(&words[1]), load512(&words[2]), load512(&words[3])]);
    for (bytes, quarter) in words.iter_mut().zip(quarters) {
        store512(bytes, quarter);
    }
}

/// XORs the blocks j, 4 + j, 8 + j, 12 + j into `data`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn to_blocks(quarters: &[[u8; 64]; LANES], j: usize, data: &mut [u8; CHUNK]) {
    let blocks = blocks(quarters, j);
    for (bytes, block) in data.as_chunks_mut::<64>().0.iter_mut().skip(j).step_by(4).zip(blocks) {
        store512(bytes, _mm512_xor_si512(load512(bytes), block));
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn blocks(quarters: &[[u8; 64]; LANES], j: usize) -> [__m512i; 4] {
    whole([
        load512(&quarters[j]),
        load512(&quarters[4 + j]),
        load512(&quarters[8 + j]),
        load512(&quarters[12 + j]),
    ])
}

/// XORs the blocks into `data`, which is no longer than they are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn xor_blocks(quarters: &[[u8; 64]; LANES], data: &mut [u8]) {
    let (chunks, rest) = data.as_chunks_mut::<64>();
    let len = chunks.len();
    for j in 0..4 {
        for (i, block) in (j..).step_by(4).zip(blocks(quarters, j)) {
            if let Some(bytes) = chunks.get_mut(i) {
                store512(bytes, _mm512_xor_si512(load512(bytes), block));
            } else if i == len && !rest.is_empty() {
                store_part(rest, _mm512_xor_si512(load_part(rest), block));
            }
        }
    }
}

/// The blocks at sixteen places, however many are of use.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::crypto::kernel) fn at(
    key: &[u8; 32],
    places: &Places<LANES>,
    _used: usize,
    out: &mut [[u8; 64]; LANES],
) {
    let (nonces, counters) = (halves_of(&places.nonces), halves_of(&places.counters));
    let x = rounds(start(key, nonces, counters));
    let words = sum(x, start_again(key, nonces, counters));
    for (out, block) in out.iter_mut().zip(all(words)) {
        store512(out, block);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn nonce(suffix: &[u8; 8]) -> [__m512i; 2] {
    split(u64::from_le_bytes(*suffix)).map(|word| _mm512_set1_epi32(word.cast_signed()))
}
