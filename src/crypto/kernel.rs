//! The kernels of XSalsa20-Poly1305, and which of them this processor runs.
//!
//! | kernel | needs | Salsa20 | Poly1305 |
//! |---|---|---|---|
//! | `avx512` | AVX-512 F, BW, VL, IFMA | 2 to 8 blocks by diagonals; 16 by lanes | eight blocks, or messages, by lanes |
//! | `avx2` | AVX2 | 2 to 6 blocks by diagonals; 8 by lanes | four blocks by lanes |
//! | `portable` | nothing | crate `salsa20` | crate `poly1305` |
//!
//! What a kernel computes with secrets stays in registers and in its frames, and the stack that it used
//! is overwritten whenever it returns: nothing in the kernels wipes anything.
//!
//! A kernel with vectors is a set of functions that need processor features. Its value in [`Kernel`]
//! is made only where those were found, and is the one way to call them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod many;
#[cfg(target_arch = "x86_64")]
mod memory;
#[cfg(target_arch = "x86_64")]
mod poly64;
mod portable;
#[cfg(target_arch = "x86_64")]
mod power;
#[cfg(target_arch = "x86_64")]
mod vector;
#[cfg(target_arch = "x86_64")]
mod words;

use std::sync::OnceLock;

use super::TAG_LEN;
use super::stack::wiped_to;
#[cfg(target_arch = "x86_64")]
use vector::{Avx2, Avx512};

/// One message of a batch.
#[derive(Default)]
pub(crate) struct Message<'a> {
    /// The nonce's second part.
    pub(crate) suffix: [u8; 8],
    /// The tag, and after it the text.
    pub(crate) sealed: &'a mut [u8],
    /// Whether it was sealed, or opened: what is shorter than a tag, or has a wrong one, is not.
    pub(crate) right: bool,
}

/// Where the blocks of one pass stand: each in its stream.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Places<const N: usize> {
    nonces: [u64; N],
    counters: [u64; N],
}

/// What a call is for, of how many bytes where that matters.
#[derive(Clone, Copy)]
enum Call {
    Derive,
    Seal(usize),
    Open(usize),
    Many,
}

/// One way to compute the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Portable,
}

/// Runs a function of the chosen kernel and overwrites the stack that it used.
macro_rules! dispatch {
    ($kernel:ident, $for:expr, $call:ident($($argument:expr),*)) => {
        wiped_to($kernel.depth($for), || match $kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(kernel) => kernel.$call($($argument),*),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(kernel) => kernel.$call($($argument),*),
            Kernel::Portable => portable::$call($($argument),*),
        })
    };
}

impl Kernel {
    /// The fastest that the processor can run.
    #[inline]
    pub(crate) fn current() -> Self {
        static CURRENT: OnceLock<Kernel> = OnceLock::new();
        if let Some(forced) = force::get() {
            return forced;
        }
        *CURRENT.get_or_init(|| Self::available().next().unwrap_or(Self::Portable))
    }

    /// Those that the processor can run, fastest first.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vector =
            Avx512::detect().map(Self::Avx512).into_iter().chain(Avx2::detect().map(Self::Avx2));
        #[cfg(not(target_arch = "x86_64"))]
        let vector = core::iter::empty();
        vector.chain([Self::Portable])
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            Self::Portable => "portable",
        }
    }

    /// How much stack a call uses at most, in bytes.
    const fn depth(self, call: Call) -> usize {
        // Unoptimized code keeps every vector on the stack.
        if cfg!(debug_assertions) {
            return 64 << 10;
        }
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => avx512::depth(call),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => avx2::depth(call),
            Self::Portable => portable::DEPTH,
        }
    }

    /// `HSalsa20(key, input)`.
    pub(crate) fn derive(self, key: &[u8; 32], input: &[u8; 16], out: &mut [u8; 32]) {
        dispatch!(self, Call::Derive, derive(key, input, out));
    }

    /// Encrypts `data` under a subkey and gives its tag.
    pub(crate) fn seal(self, key: &[u8; 32], suffix: &[u8; 8], data: &mut [u8]) -> [u8; TAG_LEN] {
        dispatch!(self, Call::Seal(data.len()), seal(key, suffix, data))
    }

    /// Decrypts `data` under a subkey if its tag is right, and tells whether it is.
    pub(crate) fn open(
        self,
        key: &[u8; 32],
        suffix: &[u8; 8],
        tag: &[u8; TAG_LEN],
        data: &mut [u8],
    ) -> bool {
        dispatch!(self, Call::Open(data.len()), open(key, suffix, tag, data))
    }

    /// The tag of `data` under a one-time key.
    #[cfg(test)]
    fn mac(self, key: &[u8; 32], data: &[u8]) -> [u8; TAG_LEN] {
        dispatch!(self, Call::Seal(data.len()), mac(key, data))
    }

    /// The tags of eight texts, each under the one-time key that its block begins with.
    #[cfg(test)]
    fn macs(self, keys: &[[u8; 64]; 8], texts: &[&[u8]]) -> [[u8; TAG_LEN]; 8] {
        let mut tags = [[0; TAG_LEN]; 8];
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(vector) => many::Lanes::macs(vector, keys, texts, &mut tags),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(vector) => many::Lanes::macs(vector, keys, texts, &mut tags),
            Self::Portable => {
                for ((tag, key), text) in tags.iter_mut().zip(keys).zip(texts) {
                    *tag = key.first_chunk().map_or([0; TAG_LEN], |key| portable::mac(key, text));
                }
            }
        }
        tags
    }

    /// As [`Kernel::seal`], under the subkey of `key` and `prefix`.
    pub(crate) fn derive_seal(
        self,
        key: &[u8; 32],
        prefix: &[u8; 16],
        suffix: &[u8; 8],
        data: &mut [u8],
    ) -> [u8; TAG_LEN] {
        dispatch!(self, Call::Seal(data.len()), derive_seal(key, prefix, suffix, data))
    }

    /// As [`Kernel::open`], under the subkey of `key` and `prefix`.
    pub(crate) fn derive_open(
        self,
        key: &[u8; 32],
        prefix: &[u8; 16],
        suffix: &[u8; 8],
        tag: &[u8; TAG_LEN],
        data: &mut [u8],
    ) -> bool {
        dispatch!(self, Call::Open(data.len()), derive_open(key, prefix, suffix, tag, data))
    }

    /// As [`Kernel::seal`], for each of `messages`.
    pub(crate) fn seal_many(self, key: &[u8; 32], messages: &mut [Message<'_>]) {
        dispatch!(self, Call::Many, seal_many(key, messages));
    }

    /// As [`Kernel::open`], for each of `messages`.
    pub(crate) fn open_many(self, key: &[u8; 32], messages: &mut [Message<'_>]) {
        dispatch!(self, Call::Many, open_many(key, messages));
    }
}

/// Makes one thread use a given kernel: for tests, fuzzing and measurements.
pub(crate) mod force {
    use core::cell::Cell;

    use super::Kernel;

    std::thread_local! {
        static FORCED: Cell<Option<Kernel>> = const { Cell::new(None) };
    }

    pub(super) fn get() -> Option<Kernel> {
        FORCED.get()
    }

    /// Runs `call` on `kernel`.
    pub(crate) fn on<T>(kernel: Kernel, call: impl FnOnce() -> T) -> T {
        /// Also a panic ends it.
        struct Restore(Option<Kernel>);
        impl Drop for Restore {
            fn drop(&mut self) {
                FORCED.set(self.0);
            }
        }
        let _restore = Restore(FORCED.replace(Some(kernel)));
        call()
    }
}

#[cfg(test)]
mod tests;
