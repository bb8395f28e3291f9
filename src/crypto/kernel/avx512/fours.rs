//! Salsa20 with the diagonals of four blocks in each vector, as in [`super::rows`].

use core::arch::x86_64::*;

use super::rows::Rows;

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
