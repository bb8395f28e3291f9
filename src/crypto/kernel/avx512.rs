//! The kernel for processors with AVX-512 (F, BW, VL) and its 52-bit multiplier (IFMA).

mod lanes;
mod poly;
mod rows;

use core::arch::x86_64::*;

use self::poly::Powers;
use self::rows::Key;
use super::many::LANES;
use super::memory::{load_part, load512, store_part, store512};
use super::poly64::{Poly64, equal};
use super::words::{Blocks, xor};
use crate::crypto::TAG_LEN;

pub(super) use self::lanes::{at, stream};

/// Up to which length a message is encrypted with four blocks of diagonals, in bytes.
const SHORT: usize = 4 * 64 - 32;
/// The same with eight blocks.
pub(super) const MEDIUM: usize = 8 * 64 - 32;
/// One more than `SHORT`.
const BEYOND_SHORT: usize = SHORT + 1;
/// From which length on the powers of `r` are worth their price, in bytes.
pub(super) const WIDE: usize = MEDIUM + 1;
/// How much is encrypted before it is authenticated, in bytes: stays in the first cache.
const PIECE: usize = 16 << 10;

/// Derives `HSalsa20(key, input)`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn derive(key: &[u8; 32], input: &[u8; 16], out: &mut [u8; 32]) {
    Key::load(key).derive(input).store(out);
}

/// Seals `data` under a subkey.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn seal(key: &[u8; 32], suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN] {
    match data.len() {
        ..=SHORT => seal_rows::<1>(&Key::load(key), suffix, data),
        BEYOND_SHORT..=MEDIUM => seal_rows::<2>(&Key::load(key), suffix, data),
        _ => seal_long(key, suffix, data),
    }
}

/// Seals `data` under the subkey of `key` and `prefix`, which stays in registers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn derive_seal(
    key: &[u8; 32],
    prefix: &[u8; 16],
    suffix: &[u8; 8],
    data: &mut [u8],
) -> [u8; TAG_LEN] {
    let key = Key::load(key).derive(prefix);
    match data.len() {
        ..=SHORT => seal_rows::<1>(&key, suffix, data),
        BEYOND_SHORT..=MEDIUM => seal_rows::<2>(&key, suffix, data),
        _ => {
            let mut bytes = Blocks::<1, 32>::new();
            key.store(&mut bytes.0[0]);
            seal_long(&bytes.0[0], suffix, data)
        }
    }
}

/// Opens `data` under a subkey, if the tag is right.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn open(key: &[u8; 32], suffix: &[u8; 8], tag: &[u8; TAG_LEN], data: &mut [u8]) -> bool {
    match data.len() {
        ..=SHORT => open_rows::<1>(&Key::load(key), suffix, tag, data),
        BEYOND_SHORT..=MEDIUM => open_rows::<2>(&Key::load(key), suffix, tag, data),
        _ => open_long(key, suffix, tag, data),
    }
}

/// As [`open`], under the subkey of `key` and `prefix`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn derive_open(
    key: &[u8; 32],
    prefix: &[u8; 16],
    suffix: &[u8; 8],
    tag: &[u8; TAG_LEN],
    data: &mut [u8],
) -> bool {
    let key = Key::load(key).derive(prefix);
    match data.len() {
        ..=SHORT => open_rows::<1>(&key, suffix, tag, data),
        BEYOND_SHORT..=MEDIUM => open_rows::<2>(&key, suffix, tag, data),
        _ => {
            let mut bytes = Blocks::<1, 32>::new();
            key.store(&mut bytes.0[0]);
            open_long(&bytes.0[0], suffix, tag, data)
        }
    }
}

/// The tag of `data` under a one-time key.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn mac(key: &[u8; 32], data: &[u8]) -> [u8; TAG_LEN] {
    authenticate(Poly64::from_key(key), data)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn seal_rows<const N: usize>(key: &Key, suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN] {
    let blocks = rows::blocks::<N>(key.start(suffix));
    xor_rows(&blocks, data);
    authenticate_short(authenticator(&blocks), data)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn open_rows<const N: usize>(
    key: &Key,
    suffix: &[u8; 8],
    tag: &[u8; TAG_LEN],
    data: &mut [u8],
) -> bool {
    let blocks = rows::blocks::<N>(key.start(suffix));
    let right = equal(tag, authenticate_short(authenticator(&blocks), data));
    if right {
        xor_rows(&blocks, data);
    }
    right
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn seal_long(key: &[u8; 32], suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN] {
    let mut first = Blocks::<1>::new();
    let mut blocks = Blocks::new();
    lanes::first(key, suffix, &mut first.0[0], &mut blocks.0);
    let (mut poly, stream) = split(&first.0[0]);
    let powers = Powers::new(poly.r);
    let (head, body) = data.split_at_mut(32);
    xor(head, stream);
    let (near, _) = body.split_at_mut(body.len().min(64 * LANES));
    xor(near, blocks.0.as_flattened());
    drop(blocks);
    // What was encrypted is authenticated up to a whole number of eight blocks.
    let (mut done, mut counter, len) = (32 + near.len(), 17, data.len());
    let mut taken = 0;
    loop {
        let whole = if done == len { len } else { done & !127 };
        let rest = powers.update(&mut poly, &data[taken..whole]);
        if done == len {
            poly.update(rest);
            break;
        }
        taken = whole;
        let next = len.min(done + PIECE);
        lanes::stream(key, suffix, counter, &mut data[done..next]);
        counter += (PIECE / 64) as u64;
        done = next;
    }
    powers.wipe();
    poly.finish()
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn open_long(key: &[u8; 32], suffix: &[u8; 8], tag: &[u8; TAG_LEN], data: &mut [u8]) -> bool {
    let mut first = Blocks::<1>::new();
    let mut blocks = Blocks::new();
    lanes::first(key, suffix, &mut first.0[0], &mut blocks.0);
    let (poly, stream) = split(&first.0[0]);
    let right = equal(tag, authenticate(poly, data));
    if right {
        let (head, body) = data.split_at_mut(32);
        xor(head, stream);
        let (near, far) = body.split_at_mut(body.len().min(64 * LANES));
        xor(near, blocks.0.as_flattened());
        lanes::stream(key, suffix, 17, far);
    }
    right
}

#[inline(always)]
fn authenticate_short(mut poly: Poly64, data: &[u8]) -> [u8; TAG_LEN] {
    poly.update(data);
    poly.finish()
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn authenticate(mut poly: Poly64, data: &[u8]) -> [u8; TAG_LEN] {
    let mut rest = data;
    if data.len() >= WIDE {
        let powers = Powers::new(poly.r);
        rest = powers.update(&mut poly, rest);
        powers.wipe();
    }
    poly.update(rest);
    poly.finish()
}

/// The authenticator whose key is the first half of block 0, and the second half.
#[inline(always)]
fn split(first: &[u8; 64]) -> (Poly64, &[u8; 32]) {
    match first.as_chunks::<32>().0 {
        [key, stream] => (Poly64::from_key(key), stream),
        _ => (Poly64::new(0, 0), &[0; 32]),
    }
}

/// As [`split`], out of a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn authenticator<const N: usize>(blocks: &[[__m512i; 4]; N]) -> Poly64 {
    let first = blocks[0][0];
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

/// XORs the stream from the 33rd byte on into `data`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn xor_rows<const N: usize>(blocks: &[[__m512i; 4]; N], data: &mut [u8]) {
    let mut rest = data;
    for i in 0..4 * N {
        let block = blocks[i / 4][i % 4];
        let next = if i + 1 < 4 * N { blocks[(i + 1) / 4][(i + 1) % 4] } else { block };
        // The second half of this block, the first of the next.
        let stream = _mm512_shuffle_i64x2::<0b01_00_11_10>(block, next);
        let (chunk, more) = rest.split_at_mut(rest.len().min(64));
        match chunk.as_chunks_mut::<64>() {
            ([chunk], _) => store512(chunk, _mm512_xor_si512(load512(chunk), stream)),
            (_, []) => return,
            (_, part) => store_part(part, _mm512_xor_si512(load_part(part), stream)),
        }
        rest = more;
    }
}
