//! Salsa20 with a block's diagonals in vectors, two blocks a vector. The diagonals and their turns are
//! those of the same file for AVX-512.

use core::arch::x86_64::*;

use crate::crypto::kernel::memory::store128;
use crate::crypto::kernel::words::{CONSTANTS, key_words, split};

/// `x ^ (sum <<< left)`: there is no rotation.
macro_rules! turn {
    ($x:expr, $left:literal, $sum:expr) => {{
        let sum = $sum;
        let high = _mm256_slli_epi32::<$left>(sum);
        let low = _mm256_srli_epi32::<{ 32 - $left }>(sum);
        _mm256_xor_si256(_mm256_xor_si256($x, high), low)
    }};
}
pub(super) use turn;

/// The diagonals of `2·N` blocks.
struct Wide<const N: usize> {
    a: [__m256i; N],
    b: [__m256i; N],
    c: [__m256i; N],
    d: [__m256i; N],
}

impl<const N: usize> Wide<N> {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn round(&mut self) {
        let Self { a, b, c, d } = self;
        for i in 0..N {
            b[i] = turn!(b[i], 7, _mm256_add_epi32(a[i], d[i]));
        }
        for i in 0..N {
            c[i] = turn!(c[i], 9, _mm256_add_epi32(b[i], a[i]));
        }
        for i in 0..N {
            d[i] = turn!(d[i], 13, _mm256_add_epi32(c[i], b[i]));
        }
        for i in 0..N {
            a[i] = turn!(a[i], 18, _mm256_add_epi32(d[i], c[i]));
        }
        for i in 0..N {
            let turned = _mm256_shuffle_epi32::<0b00_11_10_01>(d[i]);
            c[i] = _mm256_shuffle_epi32::<0b01_00_11_10>(c[i]);
            d[i] = _mm256_shuffle_epi32::<0b10_01_00_11>(b[i]);
            b[i] = turned;
        }
    }
}

/// How many bytes are few.
pub(super) const FEW: usize = 6 * 64;

/// The blocks from `counter` on that `len` bytes take, which are [`FEW`] at the most.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn few(
    key: &[u8; 32],
    suffix: &[u8; 8],
    counter: u64,
    len: usize,
    out: &mut [[u8; 64]],
) {
    match len.div_ceil(64) {
        ..=2 => blocks::<1>(key, suffix, counter, out),
        3..=4 => blocks::<2>(key, suffix, counter, out),
        _ => blocks::<3>(key, suffix, counter, out),
    }
}

/// `2·N` blocks, from `counter` on.
#[inline]
#[target_feature(enable = "avx2")]
fn blocks<const N: usize>(key: &[u8; 32], suffix: &[u8; 8], counter: u64, out: &mut [[u8; 64]]) {
    let [k0, k1, k2, k3, k4, k5, k6, k7] = key_words(key).map(u32::cast_signed);
    let [n0, n1] = split(u64::from_le_bytes(*suffix)).map(u32::cast_signed);
    let [x0, x1, x2, x3] = CONSTANTS.map(u32::cast_signed);
    let a = _mm256_broadcastsi128_si256(_mm_setr_epi32(x0, x1, x2, x3));
    let d = _mm256_broadcastsi128_si256(_mm_setr_epi32(k5, k0, n0, k4));
    let zero = _mm256_setzero_si256();
    let (mut b, mut c) = ([zero; N], [zero; N]);
    for (first, (b, c)) in (counter..).step_by(2).zip(b.iter_mut().zip(&mut c)) {
        let [l0, h0] = split(first).map(u32::cast_signed);
        let [l1, h1] = split(first.wrapping_add(1)).map(u32::cast_signed);
        *b = _mm256_setr_epi32(k3, h0, k7, k2, k3, h1, k7, k2);
        *c = _mm256_setr_epi32(l0, k6, k1, n1, l1, k6, k1, n1);
    }
    let mut wide = Wide { a: [a; N], b, c, d: [d; N] };
    for _ in 0..10 {
        wide.round();
        wide.round();
    }
    for (i, out) in out.as_chunks_mut::<2>().0.iter_mut().take(N).enumerate() {
        let a = _mm256_add_epi32(wide.a[i], a);
        let b = _mm256_add_epi32(wide.b[i], b[i]);
        let c = _mm256_add_epi32(wide.c[i], c[i]);
        let d = _mm256_add_epi32(wide.d[i], d);
        store(out, a, b, c, d);
    }
}

/// Two whole blocks from their diagonals.
#[inline]
#[target_feature(enable = "avx2")]
fn store(out: &mut [[u8; 64]; 2], a: __m256i, b: __m256i, c: __m256i, d: __m256i) {
    let ad = _mm256_blend_epi32::<0xaa>(a, d);
    let cb = _mm256_blend_epi32::<0xaa>(c, b);
    let ba = _mm256_blend_epi32::<0xaa>(b, a);
    let dc = _mm256_blend_epi32::<0xaa>(d, c);
    let rows = [
        _mm256_blend_epi32::<0xcc>(ad, cb),
        _mm256_blend_epi32::<0xcc>(ba, dc),
        _mm256_blend_epi32::<0xcc>(cb, ad),
        _mm256_blend_epi32::<0xcc>(dc, ba),
    ];
    let [first, second] = out.each_mut().map(|block| block.as_chunks_mut::<16>().0);
    for ((first, second), row) in first.iter_mut().zip(second).zip(rows) {
        store128(first, _mm256_castsi256_si128(row));
        store128(second, _mm256_extracti128_si256::<1>(row));
    }
}
