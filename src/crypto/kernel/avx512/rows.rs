//! Salsa20 with a block's diagonals in vectors: the shortest way to the first blocks.
//!
//! Of the matrix of words
//!
//! ```text
//!  0  1  2  3        a = ( 0,  5, 10, 15)      constants
//!  4  5  6  7        b = ( 4,  9, 14,  3)
//!  8  9 10 11        c = ( 8, 13,  2,  7)
//! 12 13 14 15        d = (12,  1,  6, 11)
//! ```
//!
//! each diagonal is a row of its own, so the four quarter-rounds of a column round are one
//! quarter-round of vectors. For the row round, the transposed matrix, `d` turned by one, `c` by two
//! and `b` by three words take the places of `b`, `c` and `d`. A 512-bit vector holds the rows of four
//! blocks, which differ in their counter only.

use core::arch::x86_64::*;

use crate::crypto::kernel::memory::{load128, store128};

/// The diagonals of one block.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    a: __m128i,
    b: __m128i,
    c: __m128i,
    d: __m128i,
}

/// A key, as its words 0–3 and 4–7.
#[derive(Clone, Copy)]
pub(super) struct Key(__m128i, __m128i);

impl Key {
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn load(key: &[u8; 32]) -> Self {
        match key.as_chunks::<16>().0 {
            [low, high] => Self(load128(low), load128(high)),
            _ => Self(_mm_setzero_si128(), _mm_setzero_si128()),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn store(self, key: &mut [u8; 32]) {
        if let [low, high] = key.as_chunks_mut::<16>().0 {
            store128(low, self.0);
            store128(high, self.1);
        }
    }

    /// The matrix with `input` as its words 6 to 9.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    fn rows(self, input: __m128i) -> Rows {
        let Self(low, high) = self;
        // Words 4–7 of an index stand for the second source.
        let b = _mm_permutex2var_epi32(low, _mm_setr_epi32(3, 0, 7, 2), high);
        let c = _mm_permutex2var_epi32(low, _mm_setr_epi32(0, 6, 1, 0), high);
        let d = _mm_permutex2var_epi32(low, _mm_setr_epi32(5, 0, 0, 4), high);
        Rows {
            // "expand 32-byte k"
            a: _mm_setr_epi32(0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574),
            b: _mm_mask_shuffle_epi32::<0b00_00_11_00>(b, 0b0010, input),
            c: _mm_mask_shuffle_epi32::<0b01_00_00_10>(c, 0b1001, input),
            d: _mm_mask_shuffle_epi32::<0b00_00_00_00>(d, 0b0100, input),
        }
    }

    /// `HSalsa20`: what the rounds leave at the places of constants and input.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn derive(self, input: &[u8; 16]) -> Self {
        let mut rows = self.rows(load128(input));
        for _ in 0..10 {
            rows.round();
            rows.round();
        }
        let Rows { a, b, c, d } = rows;
        let high = _mm_permutex2var_epi32(d, _mm_setr_epi32(2, 7, 4, 0), c);
        Self(a, _mm_mask_shuffle_epi32::<0b01_00_00_00>(high, 0b1000, b))
    }

    /// The matrix of block 0.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn start(self, suffix: &[u8; 8]) -> Rows {
        self.rows(_mm_cvtsi64_si128(i64::from_le_bytes(*suffix)))
    }
}

impl Rows {
    /// A round, and the turn that makes the next one a round of the other kind.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    fn round(&mut self) {
        let Self { a, b, c, d } = *self;
        let b = _mm_xor_si128(b, _mm_rol_epi32::<7>(_mm_add_epi32(a, d)));
        let c = _mm_xor_si128(c, _mm_rol_epi32::<9>(_mm_add_epi32(b, a)));
        let d = _mm_xor_si128(d, _mm_rol_epi32::<13>(_mm_add_epi32(c, b)));
        self.a = _mm_xor_si128(a, _mm_rol_epi32::<18>(_mm_add_epi32(d, c)));
        self.b = _mm_shuffle_epi32::<0b00_11_10_01>(d);
        self.c = _mm_shuffle_epi32::<0b01_00_11_10>(c);
        self.d = _mm_shuffle_epi32::<0b10_01_00_11>(b);
    }
}

/// The diagonals of `4·N` blocks.
struct Wide<const N: usize> {
    a: [__m512i; N],
    b: [__m512i; N],
    c: [__m512i; N],
    d: [__m512i; N],
}

impl<const N: usize> Wide<N> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    fn round(&mut self) {
        let Self { a, b, c, d } = self;
        for i in 0..N {
            b[i] = _mm512_xor_si512(b[i], _mm512_rol_epi32::<7>(_mm512_add_epi32(a[i], d[i])));
        }
        for i in 0..N {
            c[i] = _mm512_xor_si512(c[i], _mm512_rol_epi32::<9>(_mm512_add_epi32(b[i], a[i])));
        }
        for i in 0..N {
            d[i] = _mm512_xor_si512(d[i], _mm512_rol_epi32::<13>(_mm512_add_epi32(c[i], b[i])));
        }
        for i in 0..N {
            a[i] = _mm512_xor_si512(a[i], _mm512_rol_epi32::<18>(_mm512_add_epi32(d[i], c[i])));
        }
        for i in 0..N {
            let turned = _mm512_shuffle_epi32::<0b00_11_10_01>(d[i]);
            c[i] = _mm512_shuffle_epi32::<0b01_00_11_10>(c[i]);
            d[i] = _mm512_shuffle_epi32::<0b10_01_00_11>(b[i]);
            b[i] = turned;
        }
    }
}

/// The first `4·N` blocks, from counter 0, each in one vector.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn blocks<const N: usize>(rows: Rows) -> [[__m512i; 4]; N] {
    let [a, b, c, d] = [rows.a, rows.b, rows.c, rows.d].map(|row| _mm512_broadcast_i32x4(row));
    let mut counters = [_mm512_setzero_si512(); N];
    for (i, counters) in (0i32..).step_by(4).zip(&mut counters) {
        let [n0, n1, n2, n3] = [i, i + 1, i + 2, i + 3];
        *counters = _mm512_setr_epi32(n0, 0, 0, 0, n1, 0, 0, 0, n2, 0, 0, 0, n3, 0, 0, 0);
    }
    let start = counters.map(|counters| _mm512_add_epi32(c, counters));
    let mut wide = Wide { a: [a; N], b: [b; N], c: start, d: [d; N] };
    for _ in 0..10 {
        wide.round();
        wide.round();
    }
    let mut out = [[_mm512_setzero_si512(); 4]; N];
    for i in 0..N {
        let a = _mm512_add_epi32(wide.a[i], a);
        let b = _mm512_add_epi32(wide.b[i], b);
        let c = _mm512_add_epi32(wide.c[i], start[i]);
        let d = _mm512_add_epi32(wide.d[i], d);
        out[i] = transpose(a, b, c, d);
    }
    out
}

/// Four whole blocks from their diagonals.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn transpose(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    // Row 0 of the matrix is (a0, d1, c2, b3), row 1 (b0, a1, d2, c3), and so on.
    let ad = _mm512_mask_blend_epi32(0xaaaa, a, d);
    let cb = _mm512_mask_blend_epi32(0xaaaa, c, b);
    let ba = _mm512_mask_blend_epi32(0xaaaa, b, a);
    let dc = _mm512_mask_blend_epi32(0xaaaa, d, c);
    let row0 = _mm512_mask_blend_epi32(0xcccc, ad, cb);
    let row1 = _mm512_mask_blend_epi32(0xcccc, ba, dc);
    let row2 = _mm512_mask_blend_epi32(0xcccc, cb, ad);
    let row3 = _mm512_mask_blend_epi32(0xcccc, dc, ba);
    // Each row is that of four blocks; a block is to have its four rows.
    let low01 = _mm512_shuffle_i32x4::<0b01_00_01_00>(row0, row1);
    let high01 = _mm512_shuffle_i32x4::<0b11_10_11_10>(row0, row1);
    let low23 = _mm512_shuffle_i32x4::<0b01_00_01_00>(row2, row3);
    let high23 = _mm512_shuffle_i32x4::<0b11_10_11_10>(row2, row3);
    [
        _mm512_shuffle_i32x4::<0b10_00_10_00>(low01, low23),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(low01, low23),
        _mm512_shuffle_i32x4::<0b10_00_10_00>(high01, high23),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(high01, high23),
    ]
}
