//! Salsa20 with a block's diagonals in vectors, two blocks a vector. The diagonals and their turns are
//! those of the same file for AVX-512.

use core::arch::x86_64::*;

use crate::crypto::kernel::memory::store128;

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

/// The blocks from `counter`, the low word, on that `len` bytes take, which are [`FEW`] at the most; `start` is
/// what they start from but for the counter.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn few(start: &[u32; 16], counter: u32, len: usize, out: &mut [[u8; 64]]) {
    match len.div_ceil(64) {
        ..=2 => blocks::<1>(start, counter, out),
        3..=4 => blocks::<2>(start, counter, out),
        _ => blocks::<3>(start, counter, out),
    }
}

/// `2·N` blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn blocks<const N: usize>(start: &[u32; 16], counter: u32, out: &mut [[u8; 64]]) {
    let [x0, x1, x2, x3, x4, x5, x6, x7, _, x9, x10, x11, x12, x13, x14, x15] = *start;
    let row = |a: u32, b: u32, c: u32, d: u32| {
        let [a, b, c, d] = [a.cast_signed(), b.cast_signed(), c.cast_signed(), d.cast_signed()];
        _mm256_broadcastsi128_si256(_mm_setr_epi32(a, b, c, d))
    };
    let (a, b, d) = (row(x0, x5, x10, x15), row(x4, x9, x14, x3), row(x12, x1, x6, x11));
    let mut c = [row(counter, x13, x2, x7); N];
    for (i, c) in (0i32..).step_by(2).zip(&mut c) {
        *c = _mm256_add_epi32(*c, _mm256_setr_epi32(i, 0, 0, 0, i + 1, 0, 0, 0));
    }
    let mut wide = Wide { a: [a; N], b: [b; N], c, d: [d; N] };
    for _ in 0..10 {
        wide.round();
        wide.round();
    }
    for (i, out) in out.as_chunks_mut::<2>().0.iter_mut().take(N).enumerate() {
        let a = _mm256_add_epi32(wide.a[i], a);
        let b = _mm256_add_epi32(wide.b[i], b);
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
    let [first, second] = out;
    let (first, second) = (first.as_chunks_mut::<16>().0, second.as_chunks_mut::<16>().0);
    for ((first, second), row) in first.iter_mut().zip(second).zip(rows) {
        store128(first, _mm256_castsi256_si128(row));
        store128(second, _mm256_extracti128_si256::<1>(row));
    }
}
