//! Salsa20 on eight blocks at once, one in each lane: word `i` of all blocks is one vector.

use core::arch::x86_64::*;
use core::hint::black_box;

use super::rows::turn;
use crate::crypto::kernel::Places;
use crate::crypto::kernel::memory::{load_words256, load256, store256};
use crate::crypto::kernel::words;

pub(super) type Words = [__m256i; 16];

/// How many blocks one pass makes.
pub(super) const EIGHT: usize = 8;

/// Each word in all lanes. A loop: `map` is not inlined where features differ.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn spread<const N: usize>(words: [u32; N]) -> [__m256i; N] {
    let mut out = [_mm256_setzero_si256(); N];
    for (vector, word) in out.iter_mut().zip(words) {
        *vector = _mm256_set1_epi32(word.cast_signed());
    }
    out
}

/// `x ^= (y + z) <<< left` in places that do not depend on each other.
macro_rules! step {
    ($x:ident, $left:literal, $([$to:literal, $y:literal, $z:literal]),*) => {
        $($x[$to] = turn!($x[$to], $left, _mm256_add_epi32($x[$y], $x[$z]));)*
    };
}
pub(super) use step;

/// Quarter after quarter: of the orders tried the one in which the fewest words leave the registers.
macro_rules! quarter_round {
    ($x:ident, $a:literal, $b:literal, $c:literal, $d:literal) => {
        step!($x, 7, [$b, $a, $d]);
        step!($x, 9, [$c, $b, $a]);
        step!($x, 13, [$d, $c, $b]);
        step!($x, 18, [$a, $d, $c]);
    };
}

macro_rules! double_round {
    ($x:ident) => {
        quarter_round!($x, 0, 4, 8, 12);
        quarter_round!($x, 5, 9, 13, 1);
        quarter_round!($x, 10, 14, 2, 6);
        quarter_round!($x, 15, 3, 7, 11);
        quarter_round!($x, 0, 1, 2, 3);
        quarter_round!($x, 5, 6, 7, 4);
        quarter_round!($x, 10, 11, 8, 9);
        quarter_round!($x, 15, 12, 13, 14);
    };
}
pub(super) use {double_round, quarter_round};

/// Adds what the blocks started from, and turns words of blocks into blocks of words.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn finish<const XOR: bool>(x: &Words, start: &Words, out: &mut [[u8; 64]; EIGHT]) {
    // Words 0–7 of all blocks become their first halves, words 8–15 their second.
    let (low, high) = x.split_at(8);
    let (start_low, start_high) = start.split_at(8);
    for (half, (x, start)) in [(low, start_low), (high, start_high)].into_iter().enumerate() {
        let mut words = [_mm256_setzero_si256(); 8];
        for (word, (x, start)) in words.iter_mut().zip(x.iter().zip(start)) {
            *word = _mm256_add_epi32(*x, *start);
        }
        for (block, row) in out.iter_mut().zip(transpose(words)) {
            if let Some(bytes) = block.as_chunks_mut::<32>().0.get_mut(half) {
                let row = if XOR { _mm256_xor_si256(row, load256(bytes)) } else { row };
                store256(bytes, row);
            }
        }
    }
}

/// Eight words of eight blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(x: [__m256i; 8]) -> [__m256i; 8] {
    // quarters[4·i + j] has words 4·i … 4·i + 3 of the blocks j and 4 + j.
    let mut quarters = [_mm256_setzero_si256(); 8];
    for i in [0, 4] {
        let low01 = _mm256_unpacklo_epi32(x[i], x[i + 1]);
        let high01 = _mm256_unpackhi_epi32(x[i], x[i + 1]);
        let low23 = _mm256_unpacklo_epi32(x[i + 2], x[i + 3]);
        let high23 = _mm256_unpackhi_epi32(x[i + 2], x[i + 3]);
        quarters[i] = _mm256_unpacklo_epi64(low01, low23);
        quarters[i + 1] = _mm256_unpackhi_epi64(low01, low23);
        quarters[i + 2] = _mm256_unpacklo_epi64(high01, high23);
        quarters[i + 3] = _mm256_unpackhi_epi64(high01, high23);
    }
    let mut blocks = [_mm256_setzero_si256(); 8];
    for j in 0..4 {
        blocks[j] = _mm256_permute2x128_si256::<0x20>(quarters[j], quarters[4 + j]);
        blocks[4 + j] = _mm256_permute2x128_si256::<0x31>(quarters[j], quarters[4 + j]);
    }
    blocks
}

/// The low and the high words of eight numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn halves(numbers: &[u64; EIGHT]) -> [__m256i; 2] {
    let (first, second) = match numbers.as_chunks::<4>().0 {
        [first, second] => (load_words256(first), load_words256(second)),
        _ => (_mm256_setzero_si256(), _mm256_setzero_si256()),
    };
    let (first, second) = (_mm256_castsi256_ps(first), _mm256_castsi256_ps(second));
    let low = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(first, second));
    let high = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(first, second));
    // Words of both come in turns of two.
    [
        _mm256_permute4x64_epi64::<0b11_01_10_00>(low),
        _mm256_permute4x64_epi64::<0b11_01_10_00>(high),
    ]
}

/// The blocks at the first `used` of sixteen places.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::crypto::kernel) fn at(
    key: &[u8; 32],
    places: &Places<16>,
    used: usize,
    out: &mut [[u8; 64]; 16],
) {
    let places = places.nonces.as_chunks().0.iter().zip(places.counters.as_chunks().0);
    for (out, (nonces, counters)) in
        out.as_chunks_mut().0.iter_mut().zip(places).take(used.div_ceil(EIGHT))
    {
        eight(key, nonces, counters, out);
    }
}

#[inline(never)]
#[target_feature(enable = "avx2")]
fn eight(
    key: &[u8; 32],
    nonces: &[u64; EIGHT],
    counters: &[u64; EIGHT],
    out: &mut [[u8; 64]; EIGHT],
) {
    let (input, nonces, counters) = (words::start(key, &[0; 8]), halves(nonces), halves(counters));
    let mut x = start(input, nonces, counters);
    for _ in 0..10 {
        double_round!(x);
    }
    // From memory: the compiler would keep what it made before, all of it, in the frame.
    finish::<false>(&x, &start(*black_box(&input), nonces, counters), out);
}

#[inline]
#[target_feature(enable = "avx2")]
fn start(input: [u32; 16], nonces: [__m256i; 2], counters: [__m256i; 2]) -> Words {
    let mut words = spread(input);
    [words[6], words[7]] = nonces;
    [words[8], words[9]] = counters;
    words
}
