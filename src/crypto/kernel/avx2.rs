//! The kernel for processors with AVX2.
//!
//! The authenticator runs on the integer units.

mod lanes;
mod rows;

use self::lanes::EIGHT;
use super::many::ABREAST;
use super::poly64::{Poly64, equal};
use super::words::{Blocks, xor};
use crate::crypto::TAG_LEN;

pub(super) use self::lanes::{at, stream};

/// Up to which length a message is encrypted with four blocks of diagonals, in bytes.
const SHORT: usize = 4 * 64 - 32;
/// The same with six blocks.
const MEDIUM: usize = 6 * 64 - 32;
/// What the first eight blocks are for, in bytes.
const NEAR: usize = 8 * 64 - 32;
/// How much is encrypted before it is authenticated, in bytes: stays in the first cache.
const PIECE: usize = 8 << 10;

/// Seals `data` under a subkey.
#[target_feature(enable = "avx2")]
pub(super) fn seal(key: &[u8; 32], suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN] {
    let mut blocks = Blocks::new();
    let mut poly = begin(key, suffix, data.len(), &mut blocks);
    let (near, far) = data.split_at_mut(data.len().min(NEAR));
    xor(near, stream_of(&blocks));
    poly.update(near);
    let mut counter = EIGHT as u64;
    for piece in far.chunks_mut(PIECE) {
        stream(key, suffix, counter, piece);
        poly.update(piece);
        counter += (PIECE / 64) as u64;
    }
    poly.finish()
}

/// Opens `data` under a subkey, if the tag is right.
#[target_feature(enable = "avx2")]
pub(super) fn open(key: &[u8; 32], suffix: &[u8; 8], tag: &[u8; TAG_LEN], data: &mut [u8]) -> bool {
    let mut blocks = Blocks::new();
    let mut poly = begin(key, suffix, data.len(), &mut blocks);
    poly.update(data);
    let right = equal(tag, poly.finish());
    if right {
        let (near, far) = data.split_at_mut(data.len().min(NEAR));
        xor(near, stream_of(&blocks));
        stream(key, suffix, EIGHT as u64, far);
    }
    right
}

/// The tag of `data` under a one-time key.
#[cfg(test)]
#[target_feature(enable = "avx2")]
pub(super) fn mac(key: &[u8; 32], data: &[u8]) -> [u8; TAG_LEN] {
    let mut poly = Poly64::from_key(key);
    poly.update(data);
    poly.finish()
}

/// The tags of texts, each under the one-time key that its block begins with.
#[target_feature(enable = "avx2")]
pub(super) fn macs(
    keys: &[[u8; 64]; ABREAST],
    texts: &[&[u8]],
    tags: &mut [[u8; TAG_LEN]; ABREAST],
) {
    for ((tag, key), text) in tags.iter_mut().zip(keys).zip(texts) {
        let mut poly = key.first_chunk().map_or_else(|| Poly64::new(0, 0), Poly64::from_key);
        poly.update(text);
        *tag = poly.finish();
    }
}

/// Makes as many blocks as `len` bytes take, at most eight; gives the authenticator.
#[inline]
#[target_feature(enable = "avx2")]
fn begin(key: &[u8; 32], suffix: &[u8; 8], len: usize, blocks: &mut Blocks<EIGHT>) -> Poly64 {
    if len <= SHORT {
        rows::blocks::<2>(key, suffix, &mut blocks.0);
    } else if len <= MEDIUM {
        rows::blocks::<3>(key, suffix, &mut blocks.0);
    } else {
        lanes::eight(key, suffix, 0, &mut blocks.0);
    }
    let [first, ..] = &blocks.0;
    first.first_chunk().map_or_else(|| Poly64::new(0, 0), Poly64::from_key)
}

/// The stream from its 33rd byte on.
#[inline(always)]
fn stream_of(blocks: &Blocks<EIGHT>) -> &[u8] {
    blocks.0.as_flattened().get(32..).unwrap_or_default()
}
