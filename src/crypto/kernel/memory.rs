//! Loads and stores of vectors, from and to byte arrays of any alignment: the only place where the
//! kernels touch memory through pointers.
#![expect(unsafe_code, reason = "the intrinsics that load and store take raw pointers")]

use core::arch::x86_64::*;

/// The first `data.len()` bytes, at most 64, and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn load_part(data: &[u8]) -> __m512i {
    // SAFETY: the mask covers no byte outside `data`; masked bytes are not accessed.
    unsafe { _mm512_maskz_loadu_epi8(mask(data.len()), data.as_ptr().cast()) }
}

/// The first `data.len()` bytes, at most 64.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn store_part(data: &mut [u8], vector: __m512i) {
    // SAFETY: as in `load_part`.
    unsafe { _mm512_mask_storeu_epi8(data.as_mut_ptr().cast(), mask(data.len()), vector) }
}

const fn mask(len: usize) -> u64 {
    match len {
        64.. => u64::MAX,
        _ => (1 << len) - 1,
    }
}

macro_rules! whole {
    ($load:ident, $store:ident, $vector:ident, $bytes:literal, $feature:literal, $from:ident, $to:ident) => {
        #[inline]
        #[target_feature(enable = $feature)]
        pub(super) fn $load(data: &[u8; $bytes]) -> $vector {
            // SAFETY: `data` is as long as the vector; the intrinsic needs no alignment.
            unsafe { $from(data.as_ptr().cast()) }
        }

        #[inline]
        #[target_feature(enable = $feature)]
        pub(super) fn $store(data: &mut [u8; $bytes], vector: $vector) {
            // SAFETY: as above.
            unsafe { $to(data.as_mut_ptr().cast(), vector) }
        }
    };
}

whole!(load128, store128, __m128i, 16, "sse2", _mm_loadu_si128, _mm_storeu_si128);
whole!(load256, store256, __m256i, 32, "avx", _mm256_loadu_si256, _mm256_storeu_si256);
whole!(load512, store512, __m512i, 64, "avx512f", _mm512_loadu_si512, _mm512_storeu_si512);

/// Eight words, as they stand in memory.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_words512(words: &[u64; 8]) -> __m512i {
    // SAFETY: `words` is as long as the vector; the intrinsic needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// Four words, as they stand in memory.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn load_words256(words: &[u64; 4]) -> __m256i {
    // SAFETY: as above.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}
