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
//! and `b` by three words take the places of `b`, `c` and `d`. Wider vectors hold the rows of more
//! blocks, which differ in their counter only: [`super::pairs`] and [`super::fours`].

use core::arch::x86_64::*;

use crate::crypto::kernel::memory::{load128, store128};

/// The diagonals of one block.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) a: __m128i,
    pub(super) b: __m128i,
    pub(super) c: __m128i,
    pub(super) d: __m128i,
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

/// `x ^ (sum <<< left)`. Two shifts and a sum of three take two cycles where AMD's rotation and a sum
/// of two take three; a block alone is one chain of such steps.
macro_rules! turn {
    ($x:expr, $left:literal, $sum:expr) => {{
        let sum = $sum;
        let high = _mm_slli_epi32::<$left>(sum);
        let low = _mm_srli_epi32::<{ 32 - $left }>(sum);
        _mm_ternarylogic_epi32::<0b1001_0110>($x, high, low)
    }};
}

impl Rows {
    /// A round, and the turn that makes the next one a round of the other kind.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    fn round(&mut self) {
        let Self { a, b, c, d } = *self;
        let b = turn!(b, 7, _mm_add_epi32(a, d));
        let c = turn!(c, 9, _mm_add_epi32(b, a));
        let d = turn!(d, 13, _mm_add_epi32(c, b));
        self.a = turn!(a, 18, _mm_add_epi32(d, c));
        self.b = _mm_shuffle_epi32::<0b00_11_10_01>(d);
        self.c = _mm_shuffle_epi32::<0b01_00_11_10>(c);
        self.d = _mm_shuffle_epi32::<0b10_01_00_11>(b);
    }
}
