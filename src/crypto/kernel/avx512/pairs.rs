//! Salsa20 with the diagonals of two blocks in each vector, as in [`super::rows`].
//!
//! A few blocks are a matter of latency, and half the width has twice the shifts in a cycle.

use core::arch::x86_64::*;

use super::rows::Rows;

/// `x ^ (sum <<< left)`, as for one block. Three and more vectors keep the shifts busy: they rotate.
macro_rules! turn {
    ($x:expr, $left:literal, $sum:expr) => {{
        let sum = $sum;
        if N <= 2 {
            let high = _mm256_slli_epi32::<$left>(sum);
            let low = _mm256_srli_epi32::<{ 32 - $left }>(sum);
            _mm256_ternarylogic_epi32::<0b1001_0110>($x, high, low)
        } else {
            _mm256_xor_si256($x, _mm256_rol_epi32::<$left>(sum))
        }
    }};
}

/// The diagonals of `2·N` blocks.
struct Wide<const N: usize> {
    a: [__m256i; N],
    b: [__m256i; N],
    c: [__m256i; N],
    d: [__m256i; N],
}

impl<const N: usize> Wide<N> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
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

/// The first `2·N` blocks, from counter 0, each in one vector.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn blocks<const N: usize>(rows: Rows) -> [[__m512i; 2]; N] {
    let [a, b, c, d] = [rows.a, rows.b, rows.c, rows.d].map(|row| _mm256_broadcastsi128_si256(row));
    let mut start = [c; N];
    for (i, start) in (0i32..).step_by(2).zip(&mut start) {
        *start = _mm256_add_epi32(c, _mm256_setr_epi32(i, 0, 0, 0, i + 1, 0, 0, 0));
    }
    let mut wide = Wide { a: [a; N], b: [b; N], c: start, d: [d; N] };
    for _ in 0..10 {
        wide.round();
        wide.round();
    }
    let mut out = [[_mm512_setzero_si512(); 2]; N];
    for i in 0..N {
        let a = _mm256_add_epi32(wide.a[i], a);
        let b = _mm256_add_epi32(wide.b[i], b);
        let c = _mm256_add_epi32(wide.c[i], start[i]);
        let d = _mm256_add_epi32(wide.d[i], d);
        out[i] = transpose(a, b, c, d);
    }
    out
}

/// Two whole blocks from their diagonals.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn transpose(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> [__m512i; 2] {
    // Row 0 of the matrix is (a0, d1, c2, b3), row 1 (b0, a1, d2, c3), and so on.
    let ad = _mm256_blend_epi32::<0xaa>(a, d);
    let cb = _mm256_blend_epi32::<0xaa>(c, b);
    let ba = _mm256_blend_epi32::<0xaa>(b, a);
    let dc = _mm256_blend_epi32::<0xaa>(d, c);
    let row0 = _mm256_blend_epi32::<0xcc>(ad, cb);
    let row1 = _mm256_blend_epi32::<0xcc>(ba, dc);
    let row2 = _mm256_blend_epi32::<0xcc>(cb, ad);
    let row3 = _mm256_blend_epi32::<0xcc>(dc, ba);
    // Each row is that of two blocks; a block is to have its four rows.
    let [first01, first23] = [
        _mm256_permute2x128_si256::<0x20>(row0, row1),
        _mm256_permute2x128_si256::<0x20>(row2, row3),
    ];
    let [second01, second23] = [
        _mm256_permute2x128_si256::<0x31>(row0, row1),
        _mm256_permute2x128_si256::<0x31>(row2, row3),
    ];
    [
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first01), first23),
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(second01), second23),
    ]
}
