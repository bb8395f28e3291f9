//! Salsa20 on sixteen blocks at once, one in each lane: word `i` of all blocks is one vector.

use core::arch::x86_64::*;
use core::hint::black_box;

use crate::crypto::kernel::Places;
use crate::crypto::kernel::many::LANES;
use crate::crypto::kernel::memory::{load_part, load_words512, load512, store_part, store512};
use crate::crypto::kernel::words::{Block, CONSTANTS, key_words, split};

type Words = [__m512i; 16];

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

/// The same, from memory: the compiler would keep what it made before, all of it, in the frame.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn start_again(key: &[u8; 32], nonce: [__m512i; 2], counter: [__m512i; 2]) -> Words {
    start(black_box(key), nonce, counter)
}

/// `x ^= (y + z) <<< left` in four places that do not depend on each other.
macro_rules! step {
    ($x:ident, $left:literal, $([$to:literal, $y:literal, $z:literal]),*) => {
        $($x[$to] = _mm512_xor_si512(
            $x[$to],
            _mm512_rol_epi32::<$left>(_mm512_add_epi32($x[$y], $x[$z])),
        );)*
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

/// Four words in a row, of all blocks. The vector `j` of the result has those words of the blocks j,
/// 4 + j, 8 + j, 12 + j.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn quarters([x0, x1, x2, x3]: [__m512i; 4]) -> [__m512i; 4] {
    let low01 = _mm512_unpacklo_epi32(x0, x1);
    let high01 = _mm512_unpackhi_epi32(x0, x1);
    let low23 = _mm512_unpacklo_epi32(x2, x3);
    let high23 = _mm512_unpackhi_epi32(x2, x3);
    [
        _mm512_unpacklo_epi64(low01, low23),
        _mm512_unpackhi_epi64(low01, low23),
        _mm512_unpacklo_epi64(high01, high23),
        _mm512_unpackhi_epi64(high01, high23),
    ]
}

/// The blocks j, 4 + j, 8 + j, 12 + j from their four quarters.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn whole([q0, q1, q2, q3]: [__m512i; 4]) -> [__m512i; 4] {
    let low01 = _mm512_shuffle_i32x4::<0b01_00_01_00>(q0, q1);
    let high01 = _mm512_shuffle_i32x4::<0b11_10_11_10>(q0, q1);
    let low23 = _mm512_shuffle_i32x4::<0b01_00_01_00>(q2, q3);
    let high23 = _mm512_shuffle_i32x4::<0b11_10_11_10>(q2, q3);
    [
        _mm512_shuffle_i32x4::<0b10_00_10_00>(low01, low23),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(low01, low23),
        _mm512_shuffle_i32x4::<0b10_00_10_00>(high01, high23),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(high01, high23),
    ]
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
/// done during the rounds of the next sixteen blocks, where the rotations leave room for it.
pub(super) type Waiting = [[u8; 64]; LANES];

/// Makes blocks 1 to 16, and beside, on the integer units, block 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn first(key: &[u8; 32], suffix: &[u8; 8], zero: &mut [u8; 64], waiting: &mut Waiting) {
    let (nonce, counters) = (nonce(suffix), counters(1));
    let mut x = start(key, nonce, counters);
    let mut beside = Block::new(key, suffix);
    for _ in 0..10 {
        double_round(&mut x);
        beside.double_round();
    }
    beside.finish(zero);
    put(&x, &start_again(key, nonce, counters), waiting);
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
    while data.len() - at > CHUNK
        && let Some(chunk) = data[at..].first_chunk_mut()
    {
        counter = counter.wrapping_add(LANES as u64);
        let counters = counters(counter);
        let mut x = start(key, nonce, counters);
        for words in waiting.as_chunks_mut::<4>().0 {
            double_round(&mut x);
            to_quarters(words);
        }
        for j in 0..4 {
            double_round(&mut x);
            to_blocks(waiting, j, chunk);
        }
        double_round(&mut x);
        double_round(&mut x);
        put(&x, &start_again(key, nonce, counters), waiting);
        at += CHUNK;
        encrypted(data, at);
    }
    waiting.as_chunks_mut().0.iter_mut().for_each(|words| to_quarters(words));
    xor_blocks(waiting, &mut data[at..]);
}

/// XORs the stream from block `counter` on into `data`.
#[inline]
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
    let mut waiting = [[0; 64]; LANES];
    let (nonce, counters) = (nonce(suffix), counters(counter));
    let x = rounds(start(key, nonce, counters));
    put(&x, &start_again(key, nonce, counters), &mut waiting);
    apply(key, suffix, counter, &mut waiting, data, 0, |_, _| {});
}

/// Adds what the blocks started from, and puts them word by word.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn put(x: &Words, start: &Words, waiting: &mut Waiting) {
    for (bytes, (x, start)) in waiting.iter_mut().zip(x.iter().zip(start)) {
        store512(bytes, _mm512_add_epi32(*x, *start));
    }
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
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::crypto::kernel) fn at(
    key: &[u8; 32],
    places: &Places<LANES>,
    _used: usize,
    out: &mut [[u8; 64]; LANES],
) {
    let (nonces, counters) = (halves_of(&places.nonces), halves_of(&places.counters));
    let mut x = rounds(start(key, nonces, counters));
    for (x, start) in x.iter_mut().zip(start_again(key, nonces, counters)) {
        *x = _mm512_add_epi32(*x, start);
    }
    let [x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15] = x;
    let [a0, a1, a2, a3] = quarters([x0, x1, x2, x3]);
    let [b0, b1, b2, b3] = quarters([x4, x5, x6, x7]);
    let [c0, c1, c2, c3] = quarters([x8, x9, x10, x11]);
    let [d0, d1, d2, d3] = quarters([x12, x13, x14, x15]);
    let quarters = [[a0, b0, c0, d0], [a1, b1, c1, d1], [a2, b2, c2, d2], [a3, b3, c3, d3]];
    for (j, quarters) in quarters.into_iter().enumerate() {
        for (out, block) in out.iter_mut().skip(j).step_by(4).zip(whole(quarters)) {
            store512(out, block);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn nonce(suffix: &[u8; 8]) -> [__m512i; 2] {
    split(u64::from_le_bytes(*suffix)).map(|word| _mm512_set1_epi32(word.cast_signed()))
}
