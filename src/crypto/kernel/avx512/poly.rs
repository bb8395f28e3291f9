//! Poly1305 with the 52-bit multiplier, eight blocks at once.
//!
//! Numbers are `x0 + x1·2⁴⁴ + x2·2⁸⁸`, one limb a vector, one block a lane. As `2¹³² ≡ 20`,
//!
//! ```text
//! d0 = h0·r0 + 20·(h1·r2 + h2·r1)
//! d1 = h0·r1 + h1·r0 + 20·h2·r2
//! d2 = h0·r2 + h1·r1 + h2·r0
//! ```
//!
//! A product comes as its low 52 bits and the rest, which stands at 2⁵² = 2⁴⁴·2⁸: it goes, eight bits
//! up, into the limb above. Limbs are below 2⁴⁶ where a product begins, `20·r` below 2⁵⁰, so all are in
//! the multiplier's reach; what is carried around is below 2⁵³, and all sums below 2⁶⁴.
//!
//! Lane `i` takes every eighth block: `h ← h·r⁸ + m`. At the end each lane is multiplied by the power
//! of `r` that is due to its block, and the lanes are added. Two such chains, 128 bytes apart and in
//! steps of `r¹⁶`, hide the multiplier's latency. What is long takes steps of `r³²` instead,
//! `h ← h·r³² + m0·r²⁴ + m1·r¹⁶ + m2·r⁸ + m3`, whose four products are carried only once.

use core::arch::x86_64::*;

use crate::crypto::kernel::memory::load512;
use crate::crypto::kernel::poly64::{Poly64, fold, halves};
use crate::crypto::kernel::power::{LIMB, Power, TOP, limbs};

#[derive(Clone, Copy)]
pub(super) struct Limbs(pub(super) [__m512i; 3]);

/// A factor, with its limbs 1 and 2 times twenty.
#[derive(Clone, Copy)]
pub(super) struct Factor {
    r: [__m512i; 3],
    s: [__m512i; 2],
}

/// The powers of one key.
pub(super) struct Powers {
    r1: Power,
    r2: Power,
    r4: Power,
    r8: Power,
    r16: Power,
}

/// More of them, for what is long.
pub(super) struct HighPowers {
    r24: Power,
    r32: Power,
}

impl Limbs {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(super) fn factor(self) -> Factor {
        let Self([_, r1, r2]) = self;
        let s = [r1, r2]
            .map(|r| _mm512_add_epi64(_mm512_slli_epi64::<4>(r), _mm512_slli_epi64::<2>(r)));
        Factor { r: self.0, s }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(super) fn times(self, by: &Factor) -> Self {
        self.times_plus(by, Self([_mm512_setzero_si512(); 3]))
    }

    /// `self·by + other`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(super) fn times_plus(self, by: &Factor, other: Self) -> Self {
        Products::new(other).and(self, by).carried()
    }

    /// Eight blocks, in the order 0, 4, 1, 5, 2, 6, 3, 7.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    fn load(data: &[u8; 128]) -> Self {
        let (first, second) = match data.as_chunks::<64>().0 {
            [first, second] => (load512(first), load512(second)),
            _ => (_mm512_setzero_si512(), _mm512_setzero_si512()),
        };
        Self::block(_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second))
    }

    /// Numbers below 2¹²⁸, from their words.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(super) fn new(low: __m512i, high: __m512i) -> Self {
        let limb = _mm512_set1_epi64(LIMB.cast_signed());
        let (below, above) = (_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
        Self([
            _mm512_and_si512(low, limb),
            // (below | above) & limb
            _mm512_ternarylogic_epi64::<0b1010_1000>(below, above, limb),
            _mm512_srli_epi64::<24>(high),
        ])
    }

    /// Blocks, with the bit above.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(super) fn block(low: __m512i, high: __m512i) -> Self {
        Self::new(low, high).ended(u8::MAX)
    }

    /// With the bit above in the lanes of `whole`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(super) fn ended(self, whole: __mmask8) -> Self {
        let Self([x0, x1, x2]) = self;
        Self([x0, x1, _mm512_mask_or_epi64(x2, whole, x2, _mm512_set1_epi64(1 << 40))])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    fn plus(self, other: Self) -> Self {
        let (Self([a0, a1, a2]), Self([b0, b1, b2])) = (self, other);
        Self([_mm512_add_epi64(a0, b0), _mm512_add_epi64(a1, b1), _mm512_add_epi64(a2, b2)])
    }

    /// The same numbers, below 2¹³⁰ - 5.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(super) fn reduced(self) -> Self {
        let limb = _mm512_set1_epi64(LIMB.cast_signed());
        let top = _mm512_set1_epi64(TOP.cast_signed());
        let Self([mut x0, mut x1, mut x2]) = self;
        // What is left too large after the first time is x1, by one at the most: the second settles it.
        for _ in 0..2 {
            x2 = _mm512_add_epi64(x2, _mm512_srli_epi64::<44>(x1));
            x1 = _mm512_and_si512(x1, limb);
            let over = _mm512_srli_epi64::<42>(x2);
            x2 = _mm512_and_si512(x2, top);
            x0 = _mm512_add_epi64(x0, _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over)));
            x1 = _mm512_add_epi64(x1, _mm512_srli_epi64::<44>(x0));
            x0 = _mm512_and_si512(x0, limb);
        }
        // With five more it reaches 2¹³⁰ exactly if it is to be taken off.
        let y0 = _mm512_add_epi64(x0, _mm512_set1_epi64(5));
        let y1 = _mm512_add_epi64(x1, _mm512_srli_epi64::<44>(y0));
        let y2 = _mm512_add_epi64(x2, _mm512_srli_epi64::<44>(y1));
        let more = _mm512_cmpgt_epu64_mask(y2, top);
        let same = Self([x0, x1, x2]);
        let less = Self([
            _mm512_and_si512(y0, limb),
            _mm512_and_si512(y1, limb),
            _mm512_and_si512(y2, top),
        ]);
        same.blend(more, less)
    }

    /// The lanes of `mask` from `other`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(super) fn blend(self, mask: __mmask8, other: Self) -> Self {
        let (Self([a0, a1, a2]), Self([b0, b1, b2])) = (self, other);
        Self([
            _mm512_mask_blend_epi64(mask, a0, b0),
            _mm512_mask_blend_epi64(mask, a1, b1),
            _mm512_mask_blend_epi64(mask, a2, b2),
        ])
    }
}

/// A sum of products before anything is carried.
struct Products {
    low: [__m512i; 3],
    /// What stands 2⁵² above.
    high: [__m512i; 3],
}

impl Products {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    fn new(Limbs(low): Limbs) -> Self {
        Self { low, high: [_mm512_setzero_si512(); 3] }
    }

    /// Adds `x·by`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    fn and(self, Limbs([h0, h1, h2]): Limbs, by: &Factor) -> Self {
        let Factor { r: [r0, r1, r2], s: [s1, s2] } = *by;
        let Self { low: [d0, d1, d2], high: [e0, e1, e2] } = self;
        let low = |sum, x, y| _mm512_madd52lo_epu64(sum, x, y);
        let high = |sum, x, y| _mm512_madd52hi_epu64(sum, x, y);
        let e2 = high(high(high(e2, h0, r2), h1, r1), h2, r0);
        let e1 = high(high(high(e1, h0, r1), h1, r0), h2, s2);
        let e0 = high(high(high(e0, h0, r0), h1, s2), h2, s1);
        let d2 = low(low(low(d2, h0, r2), h1, r1), h2, r0);
        let d1 = low(low(low(d1, h0, r1), h1, r0), h2, s2);
        let d0 = low(low(low(d0, h0, r0), h1, s2), h2, s1);
        Self { low: [d0, d1, d2], high: [e0, e1, e2] }
    }

    /// All carries are made at once, and only the one that is large goes on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    fn carried(self) -> Limbs {
        let Self { low: [d0, d1, d2], high: [e0, e1, e2] } = self;
        let d1 = _mm512_add_epi64(d1, _mm512_slli_epi64::<8>(e0));
        let d2 = _mm512_add_epi64(d2, _mm512_slli_epi64::<8>(e1));
        let limb = _mm512_set1_epi64(LIMB.cast_signed());
        let top = _mm512_set1_epi64(TOP.cast_signed());
        // What is over counts 2¹³⁰.
        let over = _mm512_add_epi64(_mm512_slli_epi64::<10>(e2), _mm512_srli_epi64::<42>(d2));
        let five = _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over));
        let x0 = _mm512_add_epi64(_mm512_and_si512(d0, limb), five);
        let x1 = _mm512_add_epi64(_mm512_and_si512(d1, limb), _mm512_srli_epi64::<44>(d0));
        let x2 = _mm512_add_epi64(_mm512_and_si512(d2, top), _mm512_srli_epi64::<44>(d1));
        let x1 = _mm512_add_epi64(x1, _mm512_srli_epi64::<44>(x0));
        Limbs([_mm512_and_si512(x0, limb), x1, x2])
    }
}

/// A power in all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn spread(Power([r0, r1, r2]): Power) -> Limbs {
    let spread = |limb: u64| _mm512_set1_epi64(limb.cast_signed());
    Limbs([spread(r0), spread(r1), spread(r2)])
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn factor(power: Power) -> Factor {
    spread(power).factor()
}

impl Powers {
    #[inline(always)]
    pub(super) fn new(r: [u64; 2]) -> Self {
        let r1 = Power::new(r);
        let r2 = r1.square();
        let r4 = r2.square();
        let r8 = r4.square();
        Self { r1, r2, r4, r8, r16: r8.square() }
    }

    /// `r⁸` … `r`, each in the lane of its block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    fn last(&self) -> Factor {
        // Block b is due 8 - b factors. 7 - b in binary, with the lanes' order: 111, 011, 110, 010,
        // 101, 001, 100, 000.
        let last = spread(self.r1).blend(0b0011_0011, spread(self.r2));
        let last = last.blend(0b0000_1111, last.times(&factor(self.r2)));
        last.blend(0b0101_0101, last.times(&factor(self.r4))).factor()
    }
}

impl HighPowers {
    #[inline(always)]
    pub(super) fn new(powers: &Powers) -> Self {
        Self { r24: powers.r16.times(powers.r8), r32: powers.r16.square() }
    }
}

/// The sums of blocks that came in eights, a lane for every eighth block.
#[derive(Clone, Copy)]
pub(super) struct Sums(Limbs);

impl Sums {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(super) fn none() -> Self {
        Self(Limbs([_mm512_setzero_si512(); 3]))
    }

    /// Takes in the first eight blocks after those of `state`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(super) fn after(state: &Poly64, data: &[u8; 128]) -> Self {
        let before = limbs(state.h)
            .map(|limb| _mm512_zextsi128_si512(_mm_cvtsi64_si128(limb.cast_signed())));
        Self(Limbs::load(data).plus(Limbs(before)))
    }

    /// Takes in as many blocks of `data` as come in eights, and gives the rest back.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(super) fn update<'a>(&mut self, powers: &Powers, data: &'a [u8]) -> &'a [u8] {
        let (mut eights, rest) = data.as_chunks::<128>();
        let r8 = factor(powers.r8);
        if eights.len().is_multiple_of(2)
            && let Some((first, more)) = eights.split_first()
        {
            self.0 = self.0.times_plus(&r8, Limbs::load(first));
            eights = more;
        }
        if let Some((first, pairs)) = eights.split_first() {
            let (r16, mut other) = (factor(powers.r16), Limbs::load(first));
            for [first, second] in pairs.as_chunks().0 {
                self.0 = self.0.times_plus(&r16, Limbs::load(first));
                other = other.times_plus(&r16, Limbs::load(second));
            }
            self.0 = self.0.times_plus(&r8, other);
        }
        rest
    }

    /// As [`Sums::update`], for much data.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(super) fn update_long<'a>(
        &mut self,
        powers: &Powers,
        high: &HighPowers,
        data: &'a [u8],
    ) -> &'a [u8] {
        let (r8, r16) = (factor(powers.r8), factor(powers.r16));
        let (r24, r32) = (factor(high.r24), factor(high.r32));
        let (chunks, rest) = data.as_chunks::<512>();
        for chunk in chunks {
            if let [first, second, third, last] = chunk.as_chunks::<128>().0 {
                self.0 = Products::new(Limbs::load(last))
                    .and(Limbs::load(third), &r8)
                    .and(Limbs::load(second), &r16)
                    .and(Limbs::load(first), &r24)
                    .and(self.0, &r32)
                    .carried();
            }
        }
        self.update(powers, rest)
    }

    /// Adds all up.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    pub(super) fn finish(self, powers: &Powers, state: &mut Poly64) {
        let Limbs([x0, x1, x2]) = self.0.times(&powers.last());
        let [x0, x1, x2] =
            [_mm512_reduce_add_epi64(x0), _mm512_reduce_add_epi64(x1), _mm512_reduce_add_epi64(x2)];
        state.h = joined([x0.cast_unsigned(), x1.cast_unsigned(), x2.cast_unsigned()]);
    }
}

/// The words of a number in limbs below 2⁵⁰.
#[inline]
pub(super) fn joined([l0, l1, l2]: [u64; 3]) -> [u64; 3] {
    let low = u128::from(l0) + (u128::from(l1) << 44);
    let (low, carry) = low.overflowing_add(u128::from(l2 & ((1 << 40) - 1)) << 88);
    let [h0, h1] = halves(low);
    fold([h0, h1, (l2 >> 40) + u64::from(carry)])
}
