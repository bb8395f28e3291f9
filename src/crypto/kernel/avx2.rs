//! The kernel for processors with AVX2.

mod lanes;
mod poly;
mod rows;
mod stream;

use self::lanes::EIGHT;
use self::rows::{FEW, few};
use self::stream::Stream;
use super::many::{self, ABREAST, Way};
use super::poly64::Poly64;
use super::vector::Avx2;
use super::words;
use super::{Call, Message};
use crate::crypto::TAG_LEN;
use crate::crypto::verdict::equal;

pub(super) use self::lanes::at;
pub(super) use self::stream::stream;

/// Up to which length a message is encrypted with blocks of diagonals, in bytes: the first half of block 0 is
/// the authenticator's.
const SHORT: usize = FEW - 32;
/// The first blocks of longer messages: one on the integer units, and eight by lanes.
const NINE: usize = 1 + EIGHT;
/// What they are for, in bytes.
const NEAR: usize = NINE * 64 - 32;
/// From which length on the powers of `r` are worth their price, in bytes.
const WIDE: usize = 384;
/// From which length on more of them are.
const LONG: usize = 2 << 10;
/// How much is encrypted before it is authenticated, in bytes: stays in the first cache.
const PIECE: usize = 16 << 10;

/// How much stack a call uses at most, in bytes.
pub(super) const fn depth(call: Call) -> usize {
    match call {
        Call::Derive | Call::Seal(..=SHORT) | Call::Open(..=SHORT) => 1536,
        Call::Seal(..LONG) | Call::Open(..LONG) => 3072,
        Call::Seal(_) | Call::Open(_) => 5120,
        Call::Many => 8192,
    }
}

/// Seals `data` under a subkey.
#[target_feature(enable = "avx2")]
pub(super) fn seal(key: &[u8; 32], suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN] {
    match data.len() {
        ..=SHORT => seal_short(key, suffix, data),
        _ => seal_long(&Stream::new(key, suffix), data),
    }
}

/// Opens `data` under a subkey, if the tag is right.
#[target_feature(enable = "avx2")]
pub(super) fn open(key: &[u8; 32], suffix: &[u8; 8], tag: &[u8; TAG_LEN], data: &mut [u8]) -> bool {
    match data.len() {
        ..=SHORT => open_short(key, suffix, tag, data),
        _ => open_long(&Stream::new(key, suffix), tag, data),
    }
}

#[inline(never)]
#[target_feature(enable = "avx2")]
fn seal_short(key: &[u8; 32], suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN] {
    let mut blocks = [[0; 64]; FEW / 64];
    let mut poly = begin(key, suffix, data.len(), &mut blocks);
    words::xor(data, stream_of(&blocks));
    update(&mut poly, data);
    poly.finish()
}

#[inline(never)]
#[target_feature(enable = "avx2")]
fn open_short(key: &[u8; 32], suffix: &[u8; 8], tag: &[u8; TAG_LEN], data: &mut [u8]) -> bool {
    let mut blocks = [[0; 64]; FEW / 64];
    let mut poly = begin(key, suffix, data.len(), &mut blocks);
    update(&mut poly, data);
    let right = equal(tag, poly.finish());
    if right {
        words::xor(data, stream_of(&blocks));
    }
    right
}

#[inline(never)]
#[target_feature(enable = "avx2")]
fn seal_long(stream: &Stream, data: &mut [u8]) -> [u8; TAG_LEN] {
    let mut blocks = [[0; 64]; NINE];
    let [zero, next @ ..] = &mut blocks;
    stream.first(zero, next);
    let mut poly = authenticator(&blocks);
    let len = data.len();
    let (mut taken, mut done, mut counter) = (0, len.min(NEAR), NINE as u64);
    words::xor(data, stream_of(&blocks));
    loop {
        let next = len.min(done + PIECE);
        stream.apply(counter, &mut data[done..next]);
        (done, counter) = (next, counter + (PIECE / 64) as u64);
        if done == len {
            break;
        }
        let whole = done & !63;
        update(&mut poly, &data[taken..whole]);
        taken = whole;
    }
    update(&mut poly, &data[taken..]);
    poly.finish()
}

#[inline(never)]
#[target_feature(enable = "avx2")]
fn open_long(stream: &Stream, tag: &[u8; TAG_LEN], data: &mut [u8]) -> bool {
    let mut blocks = [[0; 64]; NINE];
    let [zero, next @ ..] = &mut blocks;
    stream.first(zero, next);
    let mut poly = authenticator(&blocks);
    update(&mut poly, data);
    let right = equal(tag, poly.finish());
    if right {
        words::xor(data, stream_of(&blocks));
        let near = data.len().min(NEAR);
        stream.apply(NINE as u64, &mut data[near..]);
    }
    right
}

/// Seals or opens `messages`. Here, so that all of it may use the features.
#[target_feature(enable = "avx2")]
pub(super) fn many(lanes: Avx2, way: Way, key: &[u8; 32], messages: &mut [Message<'_>]) {
    many::run(lanes, way, key, messages);
}

/// The tag of `data` under a one-time key.
#[cfg(test)]
#[target_feature(enable = "avx2")]
pub(super) fn mac(key: &[u8; 32], data: &[u8]) -> [u8; TAG_LEN] {
    let mut poly = Poly64::from_key(key);
    update(&mut poly, data);
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
        update(&mut poly, text);
        *tag = poly.finish();
    }
}

/// XORs a block into the beginning of `data`, as far as both go.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn xor(data: &mut [u8], block: &[u8; 64]) {
    words::xor_block(data, block);
}

/// Takes in `data`; unless it is the last call, a multiple of 16 bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn update(poly: &mut Poly64, data: &[u8]) {
    let rest = if data.len() >= WIDE { poly::update(poly, data, data.len() >= LONG) } else { data };
    poly.update(rest);
}

/// Makes as many blocks as `len` bytes take, at most six; gives the authenticator.
#[inline]
#[target_feature(enable = "avx2")]
fn begin(
    key: &[u8; 32],
    suffix: &[u8; 8],
    len: usize,
    blocks: &mut [[u8; 64]; FEW / 64],
) -> Poly64 {
    few(&words::start(key, suffix), 0, 32 + len, blocks);
    authenticator(blocks)
}

/// The authenticator whose key is the first half of block 0.
#[inline(always)]
fn authenticator(blocks: &[[u8; 64]]) -> Poly64 {
    blocks
        .first()
        .and_then(|zero| zero.first_chunk())
        .map_or_else(|| Poly64::new(0, 0), Poly64::from_key)
}

/// The stream from its 33rd byte on.
#[inline(always)]
fn stream_of(blocks: &[[u8; 64]]) -> &[u8] {
    blocks.as_flattened().get(32..).unwrap_or_default()
}
