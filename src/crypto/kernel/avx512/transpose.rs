//! Words of sixteen blocks, a vector for each, into blocks.

use core::arch::x86_64::*;

use crate::crypto::kernel::many::LANES;

/// Four words in a row, of all blocks. The vector `j` of the result has those words of the blocks j,
/// 4 + j, 8 + j, 12 + j.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn quarters([x0, x1, x2, x3]: [__m512i; 4]) -> [__m512i; 4] {
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
pub(super) fn whole([q0, q1, q2, q3]: [__m512i; 4]) -> [__m512i; 4] {
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

/// Sixteen blocks from their words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn all(words: [__m512i; LANES]) -> [__m512i; LANES] {
    let [x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15] = words;
    let [a0, a1, a2, a3] = quarters([x0, x1, x2, x3]);
    let [b0, b1, b2, b3] = quarters([x4, x5, x6, x7]);
    let [c0, c1, c2, c3] = quarters([x8, x9, x10, x11]);
    let [d0, d1, d2, d3] = quarters([x12, x13, x14, x15]);
    let [y0, y4, y8, y12] = whole([a0, b0, c0, d0]);
    let [y1, y5, y9, y13] = whole([a1, b1, c1, d1]);
    let [y2, y6, y10, y14] = whole([a2, b2, c2, d2]);
    let [y3, y7, y11, y15] = whole([a3, b3, c3, d3]);
    [y0, y1, y2, y3, y4, y5, y6, y7, y8, y9, y10, y11, y12, y13, y14, y15]
}
