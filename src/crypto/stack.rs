//! Overwrites the stack that a computation with secrets used.
//!
//! The primitives wipe the objects that hold keys, not every copy that moving and spilling them
//! leaves in frames that are gone: hsalsa20's state, HKDF's pseudorandom key, HMAC's padded key,
//! X25519's scalar bits. Their callers run them through [`wiped`]. Best effort: registers, and
//! frames deeper than was allowed for, stay.

use core::hint::black_box;

use zeroize::zeroize_stack;

/// Runs `call`, then overwrites `N` bytes of the stack below the caller's frame.
///
/// What `call` returns is the caller's to wipe: secrets are written through a reference instead.
#[inline(always)]
pub(crate) fn wiped<const N: usize, T>(call: impl FnOnce() -> T) -> T {
    let result = apart(call);
    zeroize_stack::<N>();
    result
}

/// As [`wiped`], for so many bytes or somewhat more, where the number is known only when it is called.
#[inline(always)]
pub(crate) fn wiped_to<T>(bytes: usize, call: impl FnOnce() -> T) -> T {
    let result = apart(call);
    overwrite(bytes);
    result
}

#[inline(always)]
fn overwrite(bytes: usize) {
    macro_rules! steps {
        ($($step:literal)*) => { $(if bytes <= $step { return zeroize_stack::<$step>(); })* };
    }
    steps!(1024 1536 2560 3072 3584 5120 6144 8192);
    zeroize_stack::<{ 64 << 10 }>();
}

/// Keeps the frames of `call` below the caller's, and below what of its own frame the overwriting
/// does not reach.
#[inline(never)]
fn apart<T>(call: impl FnOnce() -> T) -> T {
    let slack = [0u8; 64];
    black_box(&slack);
    let result = below(call);
    black_box(&slack);
    result
}

#[inline(never)]
fn below<T>(call: impl FnOnce() -> T) -> T {
    call()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
pub(crate) mod tests;
