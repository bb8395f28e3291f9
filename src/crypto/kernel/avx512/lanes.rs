//! Salsa20 on sixteen blocks at once, one in each lane: word `i` of all blocks is one vector.

use core::arch::x86_64::*;

use crate::crypto::kernel::Places;
use crate::crypto::kernel::many::LANES;
use crate::crypto::kernel::memory::{load_part, load_words512, load512, store_part, store512};
use crate::crypto::kernel::words::{Block, CONSTANTS, key_words, split};

type Words = [__m512i; 16];

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

macro_rules! quarter {
    ($x:ident, $a:literal, $b:literal, $c:literal, $d:literal) => {
        $x[$b] = _mm512_xor_si512($x[$b], _mm512_rol_epi32::<7>(_mm512_add_epi32($x[$a], $x[$d])));
        $x[$c] = _mm512_xor_si512($x[$c], _mm512_rol_epi32::<9>(_mm512_add_epi32($x[$b], $x[$a])));
        $x[$d] = _mm512_xor_si512($x[$d], _mm512_rol_epi32::<13>(_mm512_add_epi32($x[$c], $x[$b])));
        $x[$a] = _mm512_xor_si512($x[$a], _mm512_rol_epi32::<18>(_mm512_add_epi32($x[$d], $x[$c])));
    };
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn double_round(x: &mut Words) {
    quarter!(x, 0, 4, 8, 12);
    quarter!(x, 5, 9, 13, 1);
    quarter!(x, 10, 14, 2, 6);
    quarter!(x, 15, 3, 7, 11);
    quarter!(x, 0, 1, 2, 3);
    quarter!(x, 5, 6, 7, 4);
    quarter!(x, 10, 11, 8, 9);
    quarter!(x, 15, 12, 13, 14);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn core(start: &Words) -> Words {
    let mut x = *start;
    for _ in 0..10 {
        double_round(&mut x);
    }
    finish(x, start)
}

/// Adds what the blocks started from, and turns words of blocks into blocks of words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn finish(mut x: Words, start: &Words) -> Words {
    for (word, start) in x.iter_mut().zip(start) {
        *word = _mm512_add_epi32(*word, *start);
    }
    let zero = _mm512_setzero_si512();
    // Four words of four blocks, in each quarter: quarters[4·i + j] has words 4·i … 4·i + 3 of the
    // blocks j, 4 + j, 8 + j, 12 + j.
    let mut quarters = [zero; 16];
    for i in 0..4 {
        let low01 = _mm512_unpacklo_epi32(x[4 * i], x[4 * i + 1]);
        let high01 = _mm512_unpackhi_epi32(x[4 * i], x[4 * i + 1]);
        let low23 = _mm512_unpacklo_epi32(x[4 * i + 2], x[4 * i + 3]);
        let high23 = _mm512_unpackhi_epi32(x[4 * i + 2], x[4 * i + 3]);
        quarters[4 * i] = _mm512_unpacklo_epi64(low01, low23);
        quarters[4 * i + 1] = _mm512_unpackhi_epi64(low01, low23);
        quarters[4 * i + 2] = _mm512_unpacklo_epi64(high01, high23);
        quarters[4 * i + 3] = _mm512_unpackhi_epi64(high01, high23);
    }
    let mut blocks = [zero; 16];
    for j in 0..4 {
        let [q0, q1, q2, q3] = [quarters[j], quarters[4 + j], quarters[8 + j], quarters[12 + j]];
        let low01 = _mm512_shuffle_i32x4::<0b01_00_01_00>(q0, q1);
        let high01 = _mm512_shuffle_i32x4::<0b11_10_11_10>(q0, q1);
        let low23 = _mm512_shuffle_i32x4::<0b01_00_01_00>(q2, q3);
        let high23 = _mm512_shuffle_i32x4::<0b11_10_11_10>(q2, q3);
        blocks[j] = _mm512_shuffle_i32x4::<0b10_00_10_00>(low01, low23);
        blocks[4 + j] = _mm512_shuffle_i32x4::<0b11_01_11_01>(low01, low23);
        blocks[8 + j] = _mm512_shuffle_i32x4::<0b10_00_10_00>(high01, high23);
        blocks[12 + j] = _mm512_shuffle_i32x4::<0b11_01_11_01>(high01, high23);
    }
    blocks
}

/// Counters from `first` on, as their low and high words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn counters(first: u64) -> [__m512i; 2] {
    let ones = _mm512_set1_epi64(first.cast_signed());
    let low = _mm512_add_epi64(ones, _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
    let high = _mm512_add_epi64(ones, _mm512_setr_epi64(8, 9, 10, 11, 12, 13, 14, 15));
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    [_mm512_permutex2var_epi32(low, even, high), _mm512_permutex2var_epi32(low, odd, high)]
}

/// XORs blocks into `data`, which is no longer than they are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn xor_blocks(blocks: &Words, data: &mut [u8]) {
    let (whole, rest) = data.as_chunks_mut::<64>();
    for (bytes, block) in whole.iter_mut().zip(blocks) {
        store512(bytes, _mm512_xor_si512(load512(bytes), *block));
    }
    if let Some(block) = blocks.get(whole.len())
        && !rest.is_empty()
    {
        store_part(rest, _mm512_xor_si512(load_part(rest), *block));
    }
}

/// XORs the stream from block `counter` on into `data`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::crypto::kernel) fn stream(
    key: &[u8; 32],
    suffix: &[u8; 8],
    mut counter: u64,
    data: &mut [u8],
) {
    let nonce = nonce(suffix);
    for chunk in data.chunks_mut(64 * LANES) {
        xor_blocks(&core(&start(key, nonce, counters(counter))), chunk);
        counter = counter.wrapping_add(16);
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
    let [n0, n1, c0, c1] =
        [&places.n0, &places.n1, &places.c0, &places.c1].map(|w| load_words512(w));
    for (out, block) in out.iter_mut().zip(core(&start(key, [n0, n1], [c0, c1]))) {
        store512(out, block);
    }
}

/// Block 0 beside, on the integer units, and blocks 1 to 16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn first(
    key: &[u8; 32],
    suffix: &[u8; 8],
    zero: &mut [u8; 64],
    out: &mut [[u8; 64]; LANES],
) {
    let mut beside = Block::new(key, suffix);
    let start = start(key, nonce(suffix), counters(1));
    let mut x = start;
    for _ in 0..10 {
        double_round(&mut x);
        beside.double_round();
    }
    beside.finish(zero);
    for (out, block) in out.iter_mut().zip(finish(x, &start)) {
        store512(out, block);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn nonce(suffix: &[u8; 8]) -> [__m512i; 2] {
    split(u64::from_le_bytes(*suffix)).map(|word| _mm512_set1_epi32(word.cast_signed()))
}
