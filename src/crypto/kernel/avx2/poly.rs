//! Poly1305 with the 32-bit multiplier, four blocks at once.
//!
//! Numbers are `x0 + x1·2²⁶ + x2·2⁵² + x3·2⁷⁸ + x4·2¹⁰⁴`, one limb a vector, one block a lane. As
//! `2¹³⁰ ≡ 5`, with `s = 5·r`,
//!
//! ```text
//! d0 = h0·r0 + h1·s4 + h2·s3 + h3·s2 + h4·s1
//! d1 = h0·r1 + h1·r0 + h2·s4 + h3·s3 + h4·s2
//! d2 = h0·r2 + h1·r1 + h2·r0 + h3·s4 + h4·s3
//! d3 = h0·r3 + h1·r2 + h2·r1 + h3·r0 + h4·s4
//! d4 = h0·r4 + h1·r3 + h2·r2 + h3·r1 + h4·r0
//! ```
//!
//! Limbs are below 2²⁷ where a product begins, `s` below 2²⁹: all are in the multiplier's reach, and sums
//! of twenty products below 2⁶¹.
//!
//! Lane `i` takes every fourth block: `h ← h·r⁴ + m`. At the end each lane is multiplied by the power of
//! `r` that is due to its block, and the lanes are added. What is long takes steps of `r¹⁶` instead,
//! `h ← h·r¹⁶ + m0·r¹² + m1·r⁸ + m2·r⁴ + m3`, whose four products are carried only once.

use core::arch::x86_64::*;
use core::hint::black_box;

use crate::crypto::kernel::memory::{load256, store256};
use crate::crypto::kernel::poly64::{Poly64, fold, halves};
use crate::crypto::kernel::power::{self, Power};

#[derive(Clone, Copy)]
struct Limbs([__m256i; 5]);

/// A factor, and its limbs 1 to 4 times five.
#[derive(Clone, Copy)]
struct Factor {
    r: [__m256i; 5],
    s: [__m256i; 4],
}

/// Of which bits a limb consists. The compiler is not to know: it would take the products for those of 64
/// bits, for which it needs three multiplications each.
#[inline]
#[target_feature(enable = "avx2")]
fn mask() -> __m256i {
    black_box(_mm256_set1_epi64x((1 << 26) - 1))
}

impl Limbs {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn factor(self) -> Factor {
        let Self(r) = self;
        let mut s = [_mm256_setzero_si256(); 4];
        for i in 0..4 {
            s[i] = _mm256_add_epi64(r[i + 1], _mm256_slli_epi64::<2>(r[i + 1]));
        }
        Factor { r, s }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn times(self, by: &Factor, limb: __m256i) -> Self {
        Products([_mm256_setzero_si256(); 5]).and(self, by).carried(limb)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn plus(self, other: Self) -> Self {
        let Self(mut sums) = self;
        for (sum, other) in sums.iter_mut().zip(other.0) {
            *sum = _mm256_add_epi64(*sum, other);
        }
        Self(sums)
    }

    /// Each lane's number from its two words; what is above them is zero.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(low: __m256i, high: __m256i, limb: __m256i) -> Self {
        let middle = _mm256_or_si256(_mm256_srli_epi64::<52>(low), _mm256_slli_epi64::<12>(high));
        Self([
            _mm256_and_si256(low, limb),
            _mm256_and_si256(_mm256_srli_epi64::<26>(low), limb),
            _mm256_and_si256(middle, limb),
            _mm256_and_si256(_mm256_srli_epi64::<14>(high), limb),
            _mm256_srli_epi64::<40>(high),
        ])
    }

    /// Four blocks, in the order 0, 2, 1, 3.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(data: &[u8; 64], limb: __m256i) -> Self {
        let (first, second) = match data.as_chunks::<32>().0 {
            [first, second] => (load256(first), load256(second)),
            _ => (_mm256_setzero_si256(), _mm256_setzero_si256()),
        };
        let low = _mm256_unpacklo_epi64(first, second);
        let Self([x0, x1, x2, x3, x4]) = Self::new(low, _mm256_unpackhi_epi64(first, second), limb);
        Self([x0, x1, x2, x3, _mm256_or_si256(x4, _mm256_set1_epi64x(1 << 24))])
    }

    /// The lanes of `MASK`, two bits each, from `other`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn blend<const MASK: i32>(self, other: Self) -> Self {
        let Self(mut limbs) = self;
        for (limb, other) in limbs.iter_mut().zip(other.0) {
            *limb = _mm256_blend_epi32::<MASK>(*limb, other);
        }
        Self(limbs)
    }
}

/// A sum of products before anything is carried.
struct Products([__m256i; 5]);

impl Products {
    /// Adds `x·by`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn and(self, Limbs([h0, h1, h2, h3, h4]): Limbs, by: &Factor) -> Self {
        let Self([d0, d1, d2, d3, d4]) = self;
        let Factor { r: [r0, r1, r2, r3, r4], s: [s1, s2, s3, s4] } = *by;
        let mul = |x, y| _mm256_mul_epu32(x, y);
        let add = |x, y| _mm256_add_epi64(x, y);
        let six = |d, a, b, c, e, f| add(add(add(a, b), add(c, e)), add(d, f));
        let d0 = six(d0, mul(h0, r0), mul(h1, s4), mul(h2, s3), mul(h3, s2), mul(h4, s1));
        let d3 = six(d3, mul(h0, r3), mul(h1, r2), mul(h2, r1), mul(h3, r0), mul(h4, s4));
        let d1 = six(d1, mul(h0, r1), mul(h1, r0), mul(h2, s4), mul(h3, s3), mul(h4, s2));
        let d4 = six(d4, mul(h0, r4), mul(h1, r3), mul(h2, r2), mul(h3, r1), mul(h4, r0));
        let d2 = six(d2, mul(h0, r2), mul(h1, r1), mul(h2, r0), mul(h3, s4), mul(h4, s3));
        Self([d0, d1, d2, d3, d4])
    }

    /// Two chains of carries: 0 to 1 to 2 to 3, and 3 to 4 to 0 to 1.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn carried(self, limb: __m256i) -> Limbs {
        let Self([d0, d1, d2, d3, d4]) = self;
        let add = |x, y| _mm256_add_epi64(x, y);
        let low = |x| _mm256_and_si256(x, limb);
        let over = |x| _mm256_srli_epi64::<26>(x);
        let (d1, d4) = (add(d1, over(d0)), add(d4, over(d3)));
        let (d0, d3) = (low(d0), low(d3));
        let (d2, top) = (add(d2, over(d1)), over(d4));
        let (d1, d4) = (low(d1), low(d4));
        let d0 = add(d0, add(top, _mm256_slli_epi64::<2>(top)));
        let (d3, d1) = (add(d3, over(d2)), add(d1, over(d0)));
        let (d2, d0) = (low(d2), low(d0));
        let d4 = add(d4, over(d3));
        Limbs([d0, d1, d2, low(d3), d4])
    }
}

/// A power in all lanes. As with the mask, the compiler is not to know of how many bits a limb is.
#[inline]
#[target_feature(enable = "avx2")]
fn spread(Power([x0, x1, x2]): Power) -> Limbs {
    let limb = (1 << 26) - 1;
    // What the middle limb has too much goes to the last one.
    let (x1, x2) = (x1 & power::LIMB, x2 + (x1 >> 44));
    let words = [x0, x0 >> 26 | x1 << 18, x1 >> 8, x1 >> 34 | x2 << 10];
    let [r0, r1, r2, r3] = words.map(|word| word & limb);
    let mut limbs = [_mm256_setzero_si256(); 5];
    for (limb, word) in limbs.iter_mut().zip([r0, r1, r2, r3, x2 >> 16]) {
        *limb = _mm256_set1_epi64x(word.cast_signed());
    }
    Limbs(black_box(limbs))
}

#[inline]
#[target_feature(enable = "avx2")]
fn factor(power: Power) -> Factor {
    spread(power).factor()
}

/// Takes as many blocks of `data` as come in fours into `state`, and gives the rest back. If it is `long`
/// the higher powers of `r` are worth their price.
#[inline(never)]
#[target_feature(enable = "avx2")]
pub(super) fn update<'a>(state: &mut Poly64, data: &'a [u8], long: bool) -> &'a [u8] {
    let (fours, rest) = data.as_chunks::<64>();
    let Some((first, mut fours)) = fours.split_first() else {
        return data;
    };
    let limb = mask();
    let r1 = Power::new(state.r);
    let r2 = r1.square();
    let r4 = r2.square();
    let mut h = before(state.h, limb).plus(Limbs::load(first, limb));
    if long {
        let (sixteens, more) = fours.as_chunks::<4>();
        h = sum_long(h, r4, sixteens, limb);
        fours = more;
    }
    let by = factor(r4);
    for four in fours {
        h = Products(Limbs::load(four, limb).0).and(h, &by).carried(limb);
    }
    // Block b is due 4 - b factors. 3 - b in binary, with the lanes' order: 11, 01, 10, 00.
    let last = spread(r1).blend::<0b0000_1111>(spread(r2));
    let last = last.blend::<0b0011_0011>(last.times(&factor(r2), limb));
    state.h = sum(h.times(&last.factor(), limb));
    rest
}

/// Takes sixteen blocks after sixteen into `h`.
#[inline(never)]
#[target_feature(enable = "avx2")]
fn sum_long(mut h: Limbs, r4: Power, data: &[[[u8; 64]; 4]], limb: __m256i) -> Limbs {
    let r8 = r4.square();
    let [r4, r8, r12, r16] = [r4, r8, r8.times(r4), r8.square()];
    let (r4, r8, r12, r16) = (factor(r4), factor(r8), factor(r12), factor(r16));
    for [first, second, third, last] in data {
        h = Products(Limbs::load(last, limb).0)
            .and(Limbs::load(third, limb), &r4)
            .and(Limbs::load(second, limb), &r8)
            .and(Limbs::load(first, limb), &r12)
            .and(h, &r16)
            .carried(limb);
    }
    h
}

/// What the blocks before come to, added to the first block.
#[inline]
#[target_feature(enable = "avx2")]
fn before([h0, h1, h2]: [u64; 3], limb: __m256i) -> Limbs {
    let lane = |x: u64| _mm256_setr_epi64x(x.cast_signed(), 0, 0, 0);
    let Limbs([x0, x1, x2, x3, x4]) = Limbs::new(lane(h0), lane(h1), limb);
    Limbs([x0, x1, x2, x3, _mm256_add_epi64(x4, lane(h2 << 24))])
}

/// The sum of the lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn sum(limbs: Limbs) -> [u64; 3] {
    let mut lanes = [[0; 32]; 5];
    let mut sums = [0; 5];
    for ((sum, lanes), limb) in sums.iter_mut().zip(&mut lanes).zip(limbs.0) {
        store256(lanes, limb);
        *sum = lanes.as_chunks().0.iter().map(|lane| u64::from_le_bytes(*lane)).sum();
    }
    let [x0, x1, x2, x3, x4] = sums.map(u128::from);
    let (low, carry) =
        (x0 + (x1 << 26) + (x2 << 52) + (x3 << 78)).overflowing_add((x4 & ((1 << 24) - 1)) << 104);
    let [h0, h1] = halves(low);
    let [top, _] = halves(x4 >> 24);
    fold([h0, h1, top + u64::from(carry)])
}
