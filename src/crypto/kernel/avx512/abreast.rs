//! Poly1305 with the 52-bit multiplier for eight messages at once, one in each lane, each with its own
//! `r`: no powers are needed. The arithmetic is that of [`super::poly`].

use core::arch::x86_64::*;

use super::poly::{Factor, Limbs, joined};
use crate::crypto::TAG_LEN;
use crate::crypto::kernel::many::ABREAST;
use crate::crypto::kernel::memory::{load_part, load_words512, load512, store512};

/// The bits that the words of `r` may have.
const CLAMP: [i64; 2] = [0x0fff_fffc_0fff_ffff, 0x0fff_fffc_0fff_fffc];

/// Authenticates texts with the keys that their blocks begin with: the first `common` bytes of each, a
/// multiple of 64, and then what is left of those of which less than 64 bytes are left. Gives their tags, and
/// the sums of all.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn update(
    keys: &[[u8; 64]; ABREAST],
    texts: &[&[u8]; ABREAST],
    common: usize,
    tags: &mut [[u8; TAG_LEN]; ABREAST],
) -> Limbs {
    let mut rows = [_mm512_setzero_si512(); ABREAST];
    for (row, key) in rows.iter_mut().zip(keys) {
        *row = load512(key);
    }
    let [r0, r1, pad0, pad1, ..] = transpose(rows);
    let [r0, r1] = [
        _mm512_and_si512(r0, _mm512_set1_epi64(CLAMP[0])),
        _mm512_and_si512(r1, _mm512_set1_epi64(CLAMP[1])),
    ];
    let r = Limbs::new(r0, r1).factor();
    let mut h = Limbs::new(_mm512_setzero_si512(), _mm512_setzero_si512());
    for at in (0..common).step_by(64) {
        let [first, second, third, last] = blocks(texts, at);
        h = if at == 0 { first } else { h.times_plus(&r, first) };
        h = h.times_plus(&r, second).times_plus(&r, third).times_plus(&r, last);
    }
    if texts.iter().any(|text| text.len() > common) {
        h = tails(h, &r, texts, common);
    }
    h = h.times(&r);
    let [low, high] = made(h, [pad0, pad1]);
    // Words 8 to 15 of an index stand for the second source.
    let (first, second) = (
        _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11),
        _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15),
    );
    if let [to_first, to_second] = tags.as_flattened_mut().as_chunks_mut::<64>().0 {
        store512(to_first, _mm512_permutex2var_epi64(low, first, high));
        store512(to_second, _mm512_permutex2var_epi64(low, second, high));
    }
    h
}

/// Takes in the tails, from byte `at` on, that are shorter than 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn tails(mut h: Limbs, r: &Factor, texts: &[&[u8]; ABREAST], at: usize) -> Limbs {
    let (mut rows, mut lens) = ([_mm512_setzero_si512(); ABREAST], [0; ABREAST]);
    for ((row, len), text) in rows.iter_mut().zip(&mut lens).zip(texts) {
        let tail = &text[at..];
        if (1..64).contains(&tail.len()) {
            // The bit that ends a text stands behind its last byte; behind a whole block it does no harm,
            // for the next one is not taken in.
            *row = _mm512_or_si512(load_part(tail), _mm512_maskz_set1_epi8(1 << tail.len(), 1));
            *len = tail.len() as u64;
        }
    }
    let lens = load_words512(&lens);
    let [l0, h0, l1, h1, l2, h2, l3, h3] = transpose(rows);
    for (low, high, from) in [(l0, h0, 0), (l1, h1, 16), (l2, h2, 32), (l3, h3, 48)] {
        let begun = _mm512_cmpgt_epu64_mask(lens, _mm512_set1_epi64(from));
        if begun == 0 {
            break;
        }
        let whole = _mm512_cmpge_epu64_mask(lens, _mm512_set1_epi64(from + 16));
        let block = Limbs::new(low, high).ended(whole);
        h = h.blend(begun, h.times_plus(r, block));
    }
    h
}

/// Four blocks of each text, from byte `at` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn blocks(texts: &[&[u8]; ABREAST], at: usize) -> [Limbs; 4] {
    let mut rows = [_mm512_setzero_si512(); ABREAST];
    for (row, text) in rows.iter_mut().zip(texts) {
        if let Some(text) = text[at..].first_chunk() {
            *row = load512(text);
        }
    }
    let [l0, h0, l1, h1, l2, h2, l3, h3] = transpose(rows);
    [Limbs::block(l0, h0), Limbs::block(l1, h1), Limbs::block(l2, h2), Limbs::block(l3, h3)]
}

/// The low and high words of the tags.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn made(h: Limbs, [pad0, pad1]: [__m512i; 2]) -> [__m512i; 2] {
    let Limbs([x0, x1, x2]) = h.reduced();
    let low = _mm512_or_si512(x0, _mm512_slli_epi64::<44>(x1));
    let high = _mm512_or_si512(_mm512_srli_epi64::<20>(x1), _mm512_slli_epi64::<24>(x2));
    let low = _mm512_add_epi64(low, pad0);
    let high = _mm512_add_epi64(high, pad1);
    // A sum that is smaller than what was added has carried.
    let carried = _mm512_cmplt_epu64_mask(low, pad0);
    [low, _mm512_mask_add_epi64(high, carried, high, _mm512_set1_epi64(1))]
}

/// The sums of the texts, one by one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn sums(Limbs(limbs): Limbs) -> [[u64; 3]; ABREAST] {
    let mut bytes = [[0; 64]; 3];
    for (bytes, limb) in bytes.iter_mut().zip(limbs) {
        store512(bytes, limb);
    }
    let mut sums = [[0; 3]; ABREAST];
    for (lane, sum) in sums.iter_mut().enumerate() {
        let [x0, x1, x2] = &bytes;
        *sum = joined([word(x0, lane), word(x1, lane), word(x2, lane)]);
    }
    sums
}

#[inline(always)]
fn word(words: &[u8; 64], lane: usize) -> u64 {
    u64::from_le_bytes(words.as_chunks().0[lane])
}

/// Words of messages from messages of words, eight of each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn transpose(x: [__m512i; 8]) -> [__m512i; 8] {
    let [x0, x1, x2, x3, x4, x5, x6, x7] = x;
    let even01 = _mm512_unpacklo_epi64(x0, x1);
    let odd01 = _mm512_unpackhi_epi64(x0, x1);
    let even23 = _mm512_unpacklo_epi64(x2, x3);
    let odd23 = _mm512_unpackhi_epi64(x2, x3);
    let even45 = _mm512_unpacklo_epi64(x4, x5);
    let odd45 = _mm512_unpackhi_epi64(x4, x5);
    let even67 = _mm512_unpacklo_epi64(x6, x7);
    let odd67 = _mm512_unpackhi_epi64(x6, x7);
    let [w0, w2, w4, w6] = quarters(even01, even23, even45, even67);
    let [w1, w3, w5, w7] = quarters(odd01, odd23, odd45, odd67);
    [w0, w1, w2, w3, w4, w5, w6, w7]
}

/// The first, second, third and last quarters of four vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn quarters(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    let low_ab = _mm512_shuffle_i64x2::<0b01_00_01_00>(a, b);
    let high_ab = _mm512_shuffle_i64x2::<0b11_10_11_10>(a, b);
    let low_cd = _mm512_shuffle_i64x2::<0b01_00_01_00>(c, d);
    let high_cd = _mm512_shuffle_i64x2::<0b11_10_11_10>(c, d);
    [
        _mm512_shuffle_i64x2::<0b10_00_10_00>(low_ab, low_cd),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(low_ab, low_cd),
        _mm512_shuffle_i64x2::<0b10_00_10_00>(high_ab, high_cd),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(high_ab, high_cd),
    ]
}
