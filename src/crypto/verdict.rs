//! Where the verdict on a tag, a code, a commitment or a point becomes public: everybody sees whether
//! something opens.
//!
//! With `--cfg nodeseal_ct`, whoever looks for branches that depend on secrets is told of it, so that
//! these are the only ones that may be taken. One verdict does not pass here: that of the crate
//! `chacha20poly1305`, inside of it (`ct/verdicts.supp`).

use subtle::ConstantTimeEq;

use super::TAG_LEN;

/// Whether a tag is the one that was computed. Constant time, until it is known.
#[inline(always)]
pub(super) fn equal(tag: &[u8; TAG_LEN], computed: [u8; TAG_LEN]) -> bool {
    // As words: bytes would be compared one by one.
    let words = tag.as_chunks::<8>().0.iter().zip(computed.as_chunks::<8>().0);
    let difference =
        words.fold(0, |sum, (a, b)| sum | (u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)));
    public(difference.ct_eq(&0).into())
}

/// `right`, which from here on may be branched on.
#[inline(always)]
pub(crate) fn public(right: bool) -> bool {
    #[cfg(nodeseal_ct)]
    let right = watch::tell(right);
    right
}

#[cfg(nodeseal_ct)]
pub(crate) mod watch {
    use std::sync::OnceLock;

    static WATCH: OnceLock<fn(&mut bool)> = OnceLock::new();

    pub(crate) fn set(watch: fn(&mut bool)) {
        let _ = WATCH.set(watch);
    }

    pub(super) fn tell(mut right: bool) -> bool {
        if let Some(watch) = WATCH.get() {
            watch(core::hint::black_box(&mut right));
        }
        core::hint::black_box(right)
    }
}
