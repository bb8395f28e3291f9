//! Salsa20 on eight blocks at once, one in each lane: word `i` of all blocks is one vector.

use core::arch::x86_64::*;
use core::hint::black_box;

use super::rows::{FEW, few, turn};
use crate::crypto::kernel::Places;
use crate::crypto::kernel::memory::{load_words256, load256, store256};
use crate::crypto::kernel::words::{Block, CONSTANTS, Common, key_words, xor_block};

type Words = [__m256i; 16];

/// How many blocks one pass makes.
pub(super) const EIGHT: usize = 8;

#[inline]
#[target_feature(enable = "avx2")]
fn start(key: &[u8; 32], nonce: [__m256i; 2], counter: [__m256i; 2]) -> Words {
    let [k0, k1, k2, k3, k4, k5, k6, k7] = spread(key_words(key));
    let [x0, x1, x2, x3] = spread(CONSTANTS);
    let ([n0, n1], [c0, c1]) = (nonce, counter);
    [x0, k0, k1, k2, k3, x1, n0, n1, c0, c1, x2, k4, k5, k6, k7, x3]
}

/// Each word in all lanes. A loop: `map` is not inlined where features differ.
#[inline]
#[target_feature(enable = "avx2")]
fn spread<const N: usize>(words: [u32; N]) -> [__m256i; N] {
    let mut out = [_mm256_setzero_si256(); N];
    for (vector, word) in out.iter_mut().zip(words) {
        *vector = _mm256_set1_epi32(word.cast_signed());
    }
    out
}

macro_rules! quarter {
    ($x:ident, $a:literal, $b:literal, $c:literal, $d:literal) => {
        $x[$b] = turn!($x[$b], 7, _mm256_add_epi32($x[$a], $x[$d]));
        $x[$c] = turn!($x[$c], 9, _mm256_add_epi32($x[$b], $x[$a]));
        $x[$d] = turn!($x[$d], 13, _mm256_add_epi32($x[$c], $x[$b]));
        $x[$a] = turn!($x[$a], 18, _mm256_add_epi32($x[$d], $x[$c]));
    };
}

macro_rules! double_round {
    ($x:ident) => {
        quarter!($x, 0, 4, 8, 12);
        quarter!($x, 5, 9, 13, 1);
        quarter!($x, 10, 14, 2, 6);
        quarter!($x, 15, 3, 7, 11);
        quarter!($x, 0, 1, 2, 3);
        quarter!($x, 5, 6, 7, 4);
        quarter!($x, 10, 11, 8, 9);
        quarter!($x, 15, 12, 13, 14);
    };
}

/// Eight blocks after their first double round.
#[inline]
#[target_feature(enable = "avx2")]
fn begun(common: &Common, counter: __m256i) -> Words {
    let mut x = spread(common.x);
    let [column4, row8, row12] = spread([common.column4, common.row8, common.row12]);
    x[8] = _mm256_xor_si256(x[8], counter);
    x[12] = turn!(x[12], 13, _mm256_add_epi32(x[8], column4));
    x[0] = turn!(x[0], 18, _mm256_add_epi32(x[12], x[8]));
    x[8] = _mm256_xor_si256(x[8], row8);
    x[12] = _mm256_xor_si256(x[12], row12);
    quarter!(x, 0, 1, 2, 3);
    x[9] = turn!(x[9], 13, _mm256_add_epi32(x[8], x[11]));
    x[10] = turn!(x[10], 18, _mm256_add_epi32(x[9], x[8]));
    x[13] = turn!(x[13], 9, _mm256_add_epi32(x[12], x[15]));
    x[14] = turn!(x[14], 13, _mm256_add_epi32(x[13], x[12]));
    x[15] = turn!(x[15], 18, _mm256_add_epi32(x[14], x[13]));
    x
}

/// Eight blocks, to `out` or, if `XOR`, into it. What they have `common` of their first double round, if it
/// is known, is not done again.
#[inline(never)]
#[target_feature(enable = "avx2")]
fn core<const XOR: bool>(
    common: Option<&Common>,
    key: &[u8; 32],
    nonces: &[u64; EIGHT],
    counters: &[u64; EIGHT],
    out: &mut [[u8; 64]; EIGHT],
) {
    let (nonces, counters) = (halves(nonces), halves(counters));
    let mut x = if let Some(common) = common {
        begun(common, counters[0])
    } else {
        let mut x = start(key, nonces, counters);
        double_round!(x);
        x
    };
    for _ in 1..10 {
        double_round!(x);
    }
    // From memory: the compiler would keep what it made before, all of it, in the frame.
    finish::<XOR>(&x, &start(black_box(key), nonces, counters), out);
}

/// Adds what the blocks started from, and turns words of blocks into blocks of words.
#[inline]
#[target_feature(enable = "avx2")]
fn finish<const XOR: bool>(x: &Words, start: &Words, out: &mut [[u8; 64]; EIGHT]) {
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

/// Blocks 1 to 8, and beside, on the integer units, block 0.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn first(
    key: &[u8; 32],
    suffix: &[u8; 8],
    zero: &mut [u8; 64],
    out: &mut [[u8; 64]; EIGHT],
) {
    let (nonces, counters) = (halves(&nonces(suffix)), halves(&counters(1)));
    let mut x = start(key, nonces, counters);
    let mut beside = Block::new(key, suffix);
    for _ in 0..10 {
        double_round!(x);
        beside.double_round();
    }
    beside.finish(zero);
    finish::<false>(&x, &start(black_box(key), nonces, counters), out);
}

#[inline(always)]
const fn nonces(suffix: &[u8; 8]) -> [u64; EIGHT] {
    [u64::from_le_bytes(*suffix); EIGHT]
}

/// Counters from `first` on.
#[inline(always)]
fn counters(first: u64) -> [u64; EIGHT] {
    let mut counters = [0; EIGHT];
    for (i, counter) in (0..).zip(&mut counters) {
        *counter = first.wrapping_add(i);
    }
    counters
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

/// XORs the stream from block `counter` on into `data`.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::crypto::kernel) fn stream(
    key: &[u8; 32],
    suffix: &[u8; 8],
    mut counter: u64,
    data: &mut [u8],
) {
    let nonces = nonces(suffix);
    let common = (data.len() > 2 * EIGHT * 64).then(|| Common::new(key, suffix));
    let common_of = |counter| common.as_ref().filter(|_| counter < Common::END - EIGHT as u64);
    let (blocks, rest) = data.as_chunks_mut::<64>();
    let (eights, last) = blocks.as_chunks_mut();
    for eight in eights {
        core::<true>(common_of(counter), key, &nonces, &counters(counter), eight);
        counter = counter.wrapping_add(EIGHT as u64);
    }
    if last.is_empty() && rest.is_empty() {
        return;
    }
    let mut stream = [[0; 64]; EIGHT];
    let len = last.as_flattened().len() + rest.len();
    if len <= FEW {
        few(key, suffix, counter, len, &mut stream);
    } else {
        core::<false>(common_of(counter), key, &nonces, &counters(counter), &mut stream);
    }
    let (stream, next) = stream.split_at(last.len());
    xor_all(stream, last.as_flattened_mut());
    xor_all(next, rest);
}

/// XORs blocks into `data`, as far as both go.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn xor_all(blocks: &[[u8; 64]], data: &mut [u8]) {
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
        core::<false>(None, key, nonces, counters, out);
    }
}
