use std::sync::Once;

use libsodium_sys::{crypto_secretbox_detached, crypto_secretbox_open_detached, sodium_init};

use crate::{KEY_LEN, NONCE_LEN, Peer, TAG_LEN};

pub(crate) struct Libsodium([u8; KEY_LEN]);

impl Libsodium {
    /// Initializes libsodium, which else runs its portable code instead of this processor's.
    pub(crate) fn new(key: [u8; KEY_LEN]) -> Self {
        static INIT: Once = Once::new();
        // SAFETY: no arguments; called once.
        INIT.call_once(|| assert!(unsafe { sodium_init() } >= 0));
        Self(key)
    }
}

impl Peer for Libsodium {
    fn name(&self) -> &'static str {
        "libsodium"
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], _: &[u8], target: &mut [u8]) -> [u8; TAG_LEN] {
        let mut tag = [0; TAG_LEN];
        let data = target.as_mut_ptr();
        // SAFETY: data is valid for target.len() bytes, and message and ciphertext may be the same
        // buffer; tag, nonce and key have the lengths that the call reads and writes.
        let result = unsafe {
            crypto_secretbox_detached(
                data,
                tag.as_mut_ptr(),
                data,
                target.len() as u64,
                nonce.as_ptr(),
                self.0.as_ptr(),
            )
        };
        assert_eq!(result, 0);
        tag
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        _: &[u8],
        target: &mut [u8],
    ) -> bool {
        let data = target.as_mut_ptr();
        // SAFETY: as in seal.
        let result = unsafe {
            crypto_secretbox_open_detached(
                data,
                data,
                tag.as_ptr(),
                target.len() as u64,
                nonce.as_ptr(),
                self.0.as_ptr(),
            )
        };
        result == 0
    }
}
