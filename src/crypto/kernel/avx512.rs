//! The kernel for processors with AVX-512 (F, BW, VL) and its 52-bit multiplier (IFMA).

mod abreast;
mod fours;
mod lanes;
mod pairs;
mod poly;
mod rows;
mod short;
mod transpose;

use core::arch::x86_64::*;

use self::poly::{HighPowers, Powers, Sums};
use self::rows::Key;
use super::many::{self, ABREAST, LANES, Way};
use super::memory::{load_part, load512, store_part, store512};
use super::poly64::Poly64;
use super::vector::Avx512;
use super::words::xor_whole;
use super::{Call, Message};
use crate::crypto::TAG_LEN;
use crate::crypto::verdict::equal;

pub(super) use self::lanes::{at, stream};

/// Up to which length a message is encrypted with blocks of diagonals, in bytes.
const MEDIUM: usize = room(8);
const BEYOND_MEDIUM: usize = MEDIUM + 1;
/// Up to which length it is encrypted with block 0 and sixteen more that stay in registers, in bytes.
const NEAR: usize = 64 * LANES;
/// From which length on the powers of `r` are worth their price, in bytes.
const WIDE: usize = BEYOND_MEDIUM;
/// From which length on more of them are.
const LONG: usize = 2 << 10;
/// Up to which length many messages are authenticated faster abreast than with powers, in bytes.
const MANY: usize = 3 << 10;
/// How much is encrypted before it is authenticated, in bytes: stays in the first cache.
const PIECE: usize = 8 << 10;

/// How much stack a call uses at most, in bytes.
pub(super) const fn depth(call: Call) -> usize {
    match call {
        Call::Derive | Call::Seal(..=NEAR) | Call::Open(..=MEDIUM) => 1024,
        Call::Seal(..LONG) | Call::Open(..LONG) => 2560,
        Call::Seal(_) | Call::Open(_) => 3072,
        Call::Many => 6144,
    }
}

/// Derives `HSalsa20(key, input)`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn derive(key: &[u8; 32], input: &[u8; 16], out: &mut [u8; 32]) {
    Key::load(key).derive(input).store(out);
}

/// Seals `data` under a subkey.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn seal(key: &[u8; 32], suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN] {
    match data.len() {
        ..=MEDIUM => short::seal(&Key::load(key), suffix, data),
        BEYOND_MEDIUM..=NEAR => seal_near(key, suffix, data),
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
    match data.len() {
        ..=MEDIUM => short::seal(&Key::load(key).derive(prefix), suffix, data),
        BEYOND_MEDIUM..=NEAR => seal_near(&derived(key, prefix), suffix, data),
        _ => seal_long(&derived(key, prefix), suffix, data),
    }
}

/// Opens `data` under a subkey, if the tag is right.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn open(key: &[u8; 32], suffix: &[u8; 8], tag: &[u8; TAG_LEN], data: &mut [u8]) -> bool {
    match data.len() {
        ..=MEDIUM => short::open(&Key::load(key), suffix, tag, data),
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
    match data.len() {
        ..=MEDIUM => short::open(&Key::load(key).derive(prefix), suffix, tag, data),
        _ => open_long(&derived(key, prefix), suffix, tag, data),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn derived(key: &[u8; 32], prefix: &[u8; 16]) -> [u8; 32] {
    let mut subkey = [0; 32];
    derive(key, prefix, &mut subkey);
    subkey
}

/// For how many bytes `blocks` blocks are enough: the first half of the first is the authenticator's.
const fn room(blocks: usize) -> usize {
    blocks * 64 - 32
}

/// The tags of at most eight texts, each under the one-time key that its block begins with.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn macs(
    keys: &[[u8; 64]; ABREAST],
    texts: &[&[u8]],
    tags: &mut [[u8; TAG_LEN]; ABREAST],
) {
    let (mut shortest, mut longest) = (usize::MAX, 0);
    for text in texts {
        (shortest, longest) = (shortest.min(text.len()), longest.max(text.len()));
    }
    let common = shortest & !63;
    let ends = |text: &[u8]| text.len() - common < 64;
    let worth = if texts.len() > ABREAST / 2 { MANY } else { WIDE };
    let mut sums = None;
    if let [first, _, _, ..] = texts
        && common < worth
        && (common > 0 || texts.iter().filter(|text| ends(text)).count() > 2)
    {
        // Lanes that would be idle repeat the first text.
        let mut lanes = [*first; ABREAST];
        for (lane, text) in lanes.iter_mut().zip(texts) {
            *lane = text;
        }
        let made = abreast::update(keys, &lanes, common, tags);
        if longest - common < 64 {
            return;
        }
        sums = Some(abreast::sums(made));
    }
    for (i, ((tag, key), text)) in tags.iter_mut().zip(keys).zip(texts).enumerate() {
        let (mut state, _) = split(key);
        match &sums {
            None => *tag = authenticate(state, text),
            Some(sums) if !ends(text) => {
                state.h = sums[i];
                *tag = authenticate(state, &text[common..]);
            }
            Some(_) => {}
        }
    }
}

/// XORs a block into the beginning of `data`, as far as both go.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn xor(data: &mut [u8], block: &[u8; 64]) {
    match data.first_chunk_mut() {
        Some(data) => store512(data, _mm512_xor_si512(load512(data), load512(block))),
        None => store_part(data, _mm512_xor_si512(load_part(data), load512(block))),
    }
}

/// Seals or opens `messages`. Here, so that all of it may use the features.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn many(lanes: Avx512, way: Way, key: &[u8; 32], messages: &mut [Message<'_>]) {
    many::run(lanes, way, key, messages);
}

/// The tag of `data` under a one-time key.
#[cfg(test)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn mac(key: &[u8; 32], data: &[u8]) -> [u8; TAG_LEN] {
    authenticate(Poly64::from_key(key), data)
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn seal_near(key: &[u8; 32], suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN] {
    let mut first = [0; 64];
    let blocks = lanes::near(key, suffix, &mut first);
    let (poly, _) = split(&first);
    let powers = Powers::new(poly.r);
    xor_near(load512(&first), blocks, data);
    authenticate_with(&powers, poly, data)
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn seal_long(key: &[u8; 32], suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN] {
    let mut first = [0; 64];
    let mut waiting = lanes::first(key, suffix, &mut first);
    let (poly, head) = split(&first);
    xor_start(data, head);
    if data.len() >= LONG {
        return seal_pieces(key, suffix, &mut waiting, poly, data);
    }
    let powers = Powers::new(poly.r);
    lanes::apply(key, suffix, 1, &mut waiting, data, 32, |_, _| {});
    authenticate_with(&powers, poly, data)
}

/// Encrypts `data` from its 33rd byte on, and authenticates each piece as soon as it is encrypted.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn seal_pieces(
    key: &[u8; 32],
    suffix: &[u8; 8],
    waiting: &mut lanes::Waiting,
    mut poly: Poly64,
    data: &mut [u8],
) -> [u8; TAG_LEN] {
    let powers = Powers::new(poly.r);
    let high = HighPowers::new(&powers);
    let (mut sums, mut taken) = (Sums::none(), 0);
    lanes::apply(key, suffix, 1, waiting, data, 32, |data, done| {
        if let Some(piece) = data[taken..done].first_chunk::<PIECE>() {
            sums.update_long(&powers, &high, piece);
            taken += PIECE;
        }
    });
    let rest = sums.update_long(&powers, &high, &data[taken..]);
    sums.finish(&powers, &mut poly);
    poly.update(rest);
    poly.finish()
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn open_long(key: &[u8; 32], suffix: &[u8; 8], tag: &[u8; TAG_LEN], data: &mut [u8]) -> bool {
    let mut first = [0; 64];
    let mut waiting = lanes::first(key, suffix, &mut first);
    let (poly, head) = split(&first);
    let right = equal(tag, authenticate(poly, data));
    if right {
        xor_start(data, head);
        lanes::apply(key, suffix, 1, &mut waiting, data, 32, |_, _| {});
    }
    right
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn authenticate(poly: Poly64, data: &[u8]) -> [u8; TAG_LEN] {
    match data.len() {
        ..WIDE => poly.tag(data),
        _ => authenticate_with(&Powers::new(poly.r), poly, data),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn authenticate_with(powers: &Powers, mut poly: Poly64, data: &[u8]) -> [u8; TAG_LEN] {
    let mut rest = data;
    if let Some((first, more)) = data.split_first_chunk() {
        let mut sums = Sums::after(&poly, first);
        rest = match more.len() {
            ..LONG => sums.update(powers, more),
            _ => sums.update_long(powers, &HighPowers::new(powers), more),
        };
        sums.finish(powers, &mut poly);
    }
    poly.update(rest);
    poly.finish()
}

/// XORs half a block into the beginning of `data`, which is longer.
#[inline(always)]
fn xor_start(data: &mut [u8], stream: &[u8; 32]) {
    if let Some(data) = data.first_chunk_mut() {
        xor_whole(data, stream);
    }
}

/// The authenticator whose key is the first half of block 0, and the second half.
#[inline(always)]
fn split(first: &[u8; 64]) -> (Poly64, &[u8; 32]) {
    match first.as_chunks::<32>().0 {
        [key, stream] => (Poly64::from_key(key), stream),
        _ => (Poly64::new(0, 0), &[0; 32]),
    }
}

/// XORs the stream from the second half of `zero` on into `data`, of at most [`NEAR`] bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn xor_near(zero: __m512i, blocks: [__m512i; LANES], data: &mut [u8]) {
    let (chunks, part) = data.as_chunks_mut::<64>();
    let (mut chunks, mut before, mut stream) = (chunks.iter_mut(), zero, zero);
    // By value, and left where the data ends: so it is unrolled, and the blocks stay in registers.
    for block in blocks {
        stream = _mm512_shuffle_i64x2::<0b01_00_11_10>(before, block);
        let Some(chunk) = chunks.next() else { break };
        store512(chunk, _mm512_xor_si512(load512(chunk), stream));
        before = block;
    }
    if !part.is_empty() {
        store_part(part, _mm512_xor_si512(load_part(part), stream));
    }
}
