//! The way into the kernels that need processor features: a value proves that they are there.
#![expect(unsafe_code, reason = "a function that needs processor features is unsafe to call")]

use super::many::{ABREAST, LANES, Lanes, Way};
use super::words;
use super::{Message, Places, avx2, avx512};
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

/// The processor has AVX2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// As [`Avx512::detect`].
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

/// Methods of the same names as a kernel's functions.
macro_rules! methods {
    ($token:ident, $kernel:ident; $(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
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

/// One message, or one subkey, on a kernel of vectors.
macro_rules! messages {
    ($token:ident, $kernel:ident) => {
        methods! { $token, $kernel;
            fn seal(key: &[u8; 32], suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN];
            fn open(
                key: &[u8; 32], suffix: &[u8; 8], tag: &[u8; TAG_LEN], data: &mut [u8]
            ) -> bool;
        }

        #[cfg(test)]
        methods! { $token, $kernel;
            fn mac(key: &[u8; 32], data: &[u8]) -> [u8; TAG_LEN];
        }
    };
}

messages!(Avx512, avx512);
messages!(Avx2, avx2);

methods! { Avx512, avx512;
    fn derive(key: &[u8; 32], input: &[u8; 16], out: &mut [u8; 32]);
    fn derive_seal(
        key: &[u8; 32], prefix: &[u8; 16], suffix: &[u8; 8], data: &mut [u8]
    ) -> [u8; TAG_LEN];
    fn derive_open(
        key: &[u8; 32], prefix: &[u8; 16], suffix: &[u8; 8], tag: &[u8; TAG_LEN], data: &mut [u8]
    ) -> bool;
}

/// Without rotations a vector takes four steps where an integer takes three: subkeys are derived on
/// integers.
impl Avx2 {
    #[inline]
    pub(super) fn derive(self, key: &[u8; 32], input: &[u8; 16], out: &mut [u8; 32]) {
        words::derive(key, input, out);
    }

    #[inline]
    pub(super) fn derive_seal(
        self,
        key: &[u8; 32],
        prefix: &[u8; 16],
        suffix: &[u8; 8],
        data: &mut [u8],
    ) -> [u8; TAG_LEN] {
        self.seal(&derived(key, prefix), suffix, data)
    }

    #[inline]
    pub(super) fn derive_open(
        self,
        key: &[u8; 32],
        prefix: &[u8; 16],
        suffix: &[u8; 8],
        tag: &[u8; TAG_LEN],
        data: &mut [u8],
    ) -> bool {
        self.open(&derived(key, prefix), suffix, tag, data)
    }
}

/// A subkey, derived on integers.
#[inline(always)]
fn derived(key: &[u8; 32], prefix: &[u8; 16]) -> [u8; 32] {
    let mut subkey = [0; 32];
    words::derive(key, prefix, &mut subkey);
    subkey
}

/// Batches on a kernel of vectors.
macro_rules! batches {
    ($token:ident, $kernel:ident) => {
        impl $token {
            pub(super) fn seal_many(self, key: &[u8; 32], messages: &mut [Message<'_>]) {
                // SAFETY: as in `methods`.
                unsafe { $kernel::many(self, Way::Seal, key, messages) }
            }

            pub(super) fn open_many(self, key: &[u8; 32], messages: &mut [Message<'_>]) {
                // SAFETY: as in `methods`.
                unsafe { $kernel::many(self, Way::Open, key, messages) }
            }
        }

        impl Lanes for $token {
            #[inline]
            fn at(
                self,
                key: &[u8; 32],
                places: &Places<LANES>,
                used: usize,
                out: &mut [[u8; 64]; LANES],
            ) {
                // SAFETY: as in `methods`.
                unsafe { $kernel::at(key, places, used, out) }
            }

            #[inline]
            fn stream(self, key: &[u8; 32], suffix: &[u8; 8], counter: u64, data: &mut [u8]) {
                // SAFETY: as in `methods`.
                unsafe { $kernel::stream(key, suffix, counter, data) }
            }

            #[inline]
            fn xor(self, data: &mut [u8], block: &[u8; 64]) {
                // SAFETY: as in `methods`.
                unsafe { $kernel::xor(data, block) }
            }

            #[inline]
            fn macs(
                self,
                keys: &[[u8; 64]; ABREAST],
                texts: &[&[u8]],
                tags: &mut [[u8; TAG_LEN]; ABREAST],
            ) {
                // SAFETY: as in `methods`.
                unsafe { $kernel::macs(keys, texts, tags) }
            }
        }
    };
}

batches!(Avx512, avx512);
batches!(Avx2, avx2);
