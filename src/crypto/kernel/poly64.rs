//! Poly1305 on 64-bit integers, one block at a time.
//!
//! `h` is kept in two words and a few bits, `h0 + h1·2⁶⁴ + h2·2¹²⁸`. Clamping leaves `r0, r1 < 2⁶⁰`
//! and `r1` a multiple of four, so what stands at 2¹²⁸ times `r1` folds back without a remainder:
//! `2¹²⁸·r1 = 2¹³⁰·r1/4 ≡ 5·r1/4 = r1 + r1/4`, here `s1`. Hence
//!
//! ```text
//! d0 = h0·r0 + h1·s1
//! d1 = h0·r1 + h1·r0 + h2·s1
//! d2 = h2·r0
//! ```
//!
//! with products below 2¹²⁵, so that sums of three fit. `h2` is at most 4 wherever a block begins, and 7
//! with the block's own bit and the carries: `h2·s1` fits a word.

use crate::crypto::TAG_LEN;

/// The bits that `r` may have.
const CLAMP: u128 = 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;

/// The state of one authenticator.
pub(super) struct Poly64 {
    pub(super) r: [u64; 2],
    s1: u64,
    pub(super) h: [u64; 3],
    pad: u128,
}

impl Poly64 {
    /// A one-time authenticator: `r` is the key's first half, unclamped, what is added at the end
    /// its second.
    #[inline(always)]
    pub(super) fn new(r: u128, pad: u128) -> Self {
        let r = r & CLAMP;
        let [r0, r1] = halves(r);
        Self { r: [r0, r1], s1: r1 + (r1 >> 2), h: [0; 3], pad }
    }

    /// As [`Poly64::new`], from the 32 bytes of the key.
    #[inline(always)]
    pub(super) fn from_key(key: &[u8; 32]) -> Self {
        let (halves, _) = key.as_chunks::<16>();
        match halves {
            [r, pad] => Self::new(u128::from_le_bytes(*r), u128::from_le_bytes(*pad)),
            _ => Self::new(0, 0),
        }
    }

    /// Takes in `data`; unless it is the last call, a multiple of 16 bytes.
    #[inline(always)]
    pub(super) fn update(&mut self, data: &[u8]) {
        let (blocks, tail) = data.as_chunks::<16>();
        for block in blocks {
            self.block(u128::from_le_bytes(*block), 1);
        }
        if !tail.is_empty() {
            // The bit that ends the message stands behind its last byte.
            let last = read_tail(data, tail) | 1 << (8 * tail.len());
            self.block(last, 0);
        }
    }

    #[inline(always)]
    fn block(&mut self, block: u128, top: u64) {
        let ([b0, b1], [r0, r1], [h0, h1, h2]) = (halves(block), self.r, self.h);
        let (h0, carry0) = h0.overflowing_add(b0);
        let (h1, carry1) = h1.overflowing_add(b1);
        let (h1, carry2) = h1.overflowing_add(carry0.into());
        let h2 = h2 + top + u64::from(carry1) + u64::from(carry2);
        let d0 = wide(h0, r0) + wide(h1, self.s1);
        let d1 = wide(h0, r1) + wide(h1, r0) + u128::from(h2 * self.s1);
        let [h0, carry] = halves(d0);
        let [h1, carry] = halves(d1 + u128::from(carry));
        self.h = fold([h0, h1, h2 * r0 + carry]);
    }

    /// The tag of all that was taken in, and `data`.
    #[inline(always)]
    pub(super) fn tag(mut self, data: &[u8]) -> [u8; TAG_LEN] {
        self.update(data);
        self.finish()
    }

    /// The tag of all that was taken in.
    #[inline(always)]
    pub(super) fn finish(self) -> [u8; TAG_LEN] {
        // Folded once more h is below 2¹³⁰, and p = 2¹³⁰ - 5 must come off exactly if h + 5 ≥ 2¹³⁰.
        let [h0, h1, h2] = fold(self.h);
        let h = u128::from(h0) | u128::from(h1) << 64;
        let (reduced, carry) = h.overflowing_add(5);
        let choose = u128::from((h2 + u64::from(carry)) >> 2).wrapping_neg();
        (h ^ ((h ^ reduced) & choose)).wrapping_add(self.pad).to_le_bytes()
    }
}

/// Brings what is at or above 2¹³⁰ back, five times.
#[inline(always)]
pub(super) fn fold([h0, h1, h2]: [u64; 3]) -> [u64; 3] {
    let (h0, carry) = h0.overflowing_add((h2 >> 2) * 5);
    let (h1, carry) = h1.overflowing_add(carry.into());
    [h0, h1, (h2 & 3) + u64::from(carry)]
}

#[inline(always)]
pub(super) fn wide(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

/// The low and the high half.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
pub(super) const fn halves(x: u128) -> [u64; 2] {
    [x as u64, (x >> 64) as u64]
}

/// The last, incomplete block of `data`, which is `tail`.
#[inline(always)]
fn read_tail(data: &[u8], tail: &[u8]) -> u128 {
    match data.last_chunk::<16>() {
        // Reading what precedes it, and shifting that out, costs no loop.
        Some(last) => u128::from_le_bytes(*last) >> (8 * (16 - tail.len())),
        None => tail.iter().rev().fold(0, |word, byte| word << 8 | u128::from(*byte)),
    }
}
