use ::dryoc::classic::crypto_secretbox as secretbox;

use crate::{KEY_LEN, NONCE_LEN, Peer, TAG_LEN};

/// From buffer to buffer: its calls in place move the whole message by 16 bytes.
pub(crate) struct Dryoc(pub(crate) [u8; KEY_LEN]);

impl Peer for Dryoc {
    fn name(&self) -> &'static str {
        "dryoc"
    }

    fn in_place(&self) -> bool {
        false
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], source: &[u8], target: &mut [u8]) -> [u8; TAG_LEN] {
        let mut tag = [0; TAG_LEN];
        secretbox::crypto_secretbox_detached(target, &mut tag, source, nonce, &self.0)
            .expect("the lengths are right");
        tag
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        source: &[u8],
        target: &mut [u8],
    ) -> bool {
        secretbox::crypto_secretbox_open_detached(target, source, tag, nonce, &self.0).is_ok()
    }
}

/// The same, held to AVX2 by the way it was built: see `build.rs`.
#[cfg(dryoc_avx2)]
pub(crate) struct DryocAvx2(pub(crate) [u8; KEY_LEN]);

#[cfg(dryoc_avx2)]
unsafe extern "C" {
    fn dryoc_avx2_seal(
        target: *mut u8,
        source: *const u8,
        len: usize,
        tag: *mut [u8; TAG_LEN],
        nonce: *const [u8; NONCE_LEN],
        key: *const [u8; KEY_LEN],
    ) -> bool;
    fn dryoc_avx2_open(
        target: *mut u8,
        source: *const u8,
        len: usize,
        tag: *const [u8; TAG_LEN],
        nonce: *const [u8; NONCE_LEN],
        key: *const [u8; KEY_LEN],
    ) -> bool;
}

#[cfg(dryoc_avx2)]
impl Peer for DryocAvx2 {
    fn name(&self) -> &'static str {
        "dryoc"
    }

    fn kernel(&self) -> Option<&'static str> {
        Some("avx2")
    }

    fn in_place(&self) -> bool {
        false
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], source: &[u8], target: &mut [u8]) -> [u8; TAG_LEN] {
        assert_eq!(source.len(), target.len());
        let mut tag = [0; TAG_LEN];
        let (to, from) = (target.as_mut_ptr(), source.as_ptr());
        // SAFETY: both are slices of the one length, one of them exclusive; the arrays have the
        // lengths that are asked for.
        let sealed = unsafe {
            dryoc_avx2_seal(to, from, source.len(), &raw mut tag, nonce, &raw const self.0)
        };
        assert!(sealed);
        tag
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        source: &[u8],
        target: &mut [u8],
    ) -> bool {
        assert_eq!(source.len(), target.len());
        let (to, from) = (target.as_mut_ptr(), source.as_ptr());
        // SAFETY: as in seal.
        unsafe { dryoc_avx2_open(to, from, source.len(), tag, nonce, &raw const self.0) }
    }
}
