//! The powers of Poly1305's `r`, on integers: what the kernels multiply many blocks by.
//!
//! Numbers are `x0 + x1·2⁴⁴ + x2·2⁸⁸`; as `2¹³² ≡ 20`, what stands at 2¹³² and above comes back twenty times.

use super::poly64::{halves, wide};

pub(super) const LIMB: u64 = (1 << 44) - 1;
pub(super) const TOP: u64 = (1 << 42) - 1;

/// A power of `r`. Its limbs are below 2⁴⁴, the middle one 2⁴⁴ + 2¹⁰, the last 2⁴².
#[derive(Clone, Copy)]
pub(super) struct Power(pub(super) [u64; 3]);

impl Power {
    /// `r` itself, from its words.
    #[inline(always)]
    pub(super) const fn new([r0, r1]: [u64; 2]) -> Self {
        Self(limbs([r0, r1, 0]))
    }

    #[inline(always)]
    pub(super) fn square(self) -> Self {
        self.times(self)
    }

    #[inline(always)]
    pub(super) fn times(self, Self([r0, r1, r2]): Self) -> Self {
        let (Self([h0, h1, h2]), [s1, s2]) = (self, [20 * r1, 20 * r2]);
        let d0 = wide(h0, r0) + wide(h1, s2) + wide(h2, s1);
        let d1 = wide(h0, r1) + wide(h1, r0) + wide(h2, s2) + (d0 >> 44);
        let d2 = wide(h0, r2) + wide(h1, r1) + wide(h2, r0) + (d1 >> 44);
        let ([d0, _], [d1, _], [x2, _]) = (halves(d0), halves(d1), halves(d2));
        // What is over counts 2¹³⁰.
        let [over, _] = halves(d2 >> 42);
        let x0 = (d0 & LIMB) + 5 * over;
        Self([x0 & LIMB, (d1 & LIMB) + (x0 >> 44), x2 & TOP])
    }
}

/// The limbs of a number in words.
#[inline(always)]
pub(super) const fn limbs([h0, h1, h2]: [u64; 3]) -> [u64; 3] {
    [h0 & LIMB, (h0 >> 44 | h1 << 20) & LIMB, h1 >> 24 | h2 << 40]
}
