//! A short message: all its blocks at once, as diagonals, and Poly1305 on integers.

use core::arch::x86_64::*;

use super::rows::Key;
use super::{fours, pairs, room};
use crate::crypto::TAG_LEN;
use crate::crypto::kernel::memory::{load_part, load512, store_part, store512};
use crate::crypto::kernel::poly64::Poly64;
use crate::crypto::verdict::equal;

/// Up to which length a message is encrypted with two blocks of diagonals, in bytes.
const TWO: usize = room(2);
const BEYOND_TWO: usize = TWO + 1;
/// The same with four.
const FOUR: usize = room(4);
const BEYOND_FOUR: usize = FOUR + 1;
/// The same with six.
const SIX: usize = room(6);

/// Calls a function with as many blocks of diagonals as `data` takes.
macro_rules! with_rows {
    ($call:ident($key:ident, $suffix:ident, $($argument:expr),*), $len:expr) => {{
        let start = $key.start($suffix);
        match $len {
            ..=TWO => $call(pairs::blocks::<1>(start).as_flattened(), $($argument),*),
            BEYOND_TWO..=FOUR => $call(pairs::blocks::<2>(start).as_flattened(), $($argument),*),
            BEYOND_FOUR..=SIX => $call(pairs::blocks::<3>(start).as_flattened(), $($argument),*),
            _ => $call(fours::blocks::<2>(start).as_flattened(), $($argument),*),
        }
    }};
}

/// Seals `data`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn seal(key: &Key, suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN] {
    with_rows!(seal_with(key, suffix, data), data.len())
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn seal_with(blocks: &[__m512i], data: &mut [u8]) -> [u8; TAG_LEN] {
    xor_from_half(blocks, data);
    authenticator(blocks).tag(data)
}

/// Opens `data`, if the tag is right.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn open(key: &Key, suffix: &[u8; 8], tag: &[u8; TAG_LEN], data: &mut [u8]) -> bool {
    with_rows!(open_with(key, suffix, tag, data), data.len())
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn open_with(blocks: &[__m512i], tag: &[u8; TAG_LEN], data: &mut [u8]) -> bool {
    let right = equal(tag, authenticator(blocks).tag(data));
    if right {
        xor_from_half(blocks, data);
    }
    right
}

/// The authenticator whose key is the first half of block 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn authenticator(blocks: &[__m512i]) -> Poly64 {
    let first = match blocks {
        [first, ..] => *first,
        [] => _mm512_setzero_si512(),
    };
    Poly64::new(
        integer(_mm512_castsi512_si128(first)),
        integer(_mm512_extracti32x4_epi32::<1>(first)),
    )
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn integer(x: __m128i) -> u128 {
    let low = _mm_cvtsi128_si64(x).cast_unsigned();
    let high = _mm_extract_epi64::<1>(x).cast_unsigned();
    u128::from(low) | u128::from(high) << 64
}

/// XORs the stream from its 33rd byte on into `data`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn xor_from_half(blocks: &[__m512i], data: &mut [u8]) {
    let mut rest = data;
    for (i, block) in blocks.iter().enumerate() {
        // The second half of this block, the first of the next.
        let next = blocks.get(i + 1).unwrap_or(block);
        let stream = _mm512_shuffle_i64x2::<0b01_00_11_10>(*block, *next);
        let (chunk, more) = rest.split_at_mut(rest.len().min(64));
        match chunk.as_chunks_mut::<64>() {
            ([chunk], _) => store512(chunk, _mm512_xor_si512(load512(chunk), stream)),
            (_, []) => return,
            (_, part) => store_part(part, _mm512_xor_si512(load_part(part), stream)),
        }
        rest = more;
    }
}
