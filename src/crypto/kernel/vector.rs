//! The way into the kernels that need processor features: a value proves that they are there.
#![expect(unsafe_code, reason = "a function that needs processor features is unsafe to call")]

use super::avx512;
use crate::crypto::TAG_LEN;

/// The processor has AVX-512 F, BW, VL and IFMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// Asks the processor, and whether the operating system keeps the registers.
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512ifma"))
        .then_some(Self(()))
    }
}

/// Methods of the same names as a kernel's functions.
macro_rules! methods {
    ($token:ident, $kernel:ident: $(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        impl $token {$(
            #[inline]
            pub(super) fn $name(self, $($argument: $type),*) $(-> $result)? {
                // SAFETY: a value exists only where `detect` found every feature that the kernel's
                // functions need.
                unsafe { $kernel::$name($($argument),*) }
            }
        )*}
    };
}

methods! { Avx512, avx512:
    fn derive(key: &[u8; 32], input: &[u8; 16], out: &mut [u8; 32]);
    fn seal(key: &[u8; 32], suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN];
    fn open(key: &[u8; 32], suffix: &[u8; 8], tag: &[u8; TAG_LEN], data: &mut [u8]) -> bool;
    fn derive_seal(key: &[u8; 32], prefix: &[u8; 16], suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN];
    fn derive_open(key: &[u8; 32], prefix: &[u8; 16], suffix: &[u8; 8], tag: &[u8; TAG_LEN], data: &mut [u8]) -> bool;
}
