use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::{KEY_LEN, NONCE_LEN, Peer, TAG_LEN};

/// ChaCha20-Poly1305 with a nonce of 12 bytes, so without the derivation of a subkey: for scale.
pub(crate) struct AwsLc(LessSafeKey);

impl AwsLc {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes")))
    }
}

fn short(nonce: &[u8; NONCE_LEN]) -> Nonce {
    Nonce::try_assume_unique_for_key(&nonce[..12]).expect("12 bytes")
}

impl Peer for AwsLc {
    fn name(&self) -> &'static str {
        "aws-lc-rs"
    }

    fn is_secretbox(&self) -> bool {
        false
    }

    /// It opens from buffer to buffer.
    fn in_place(&self) -> bool {
        false
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], _: &[u8], target: &mut [u8]) -> [u8; TAG_LEN] {
        let tag = self.0.seal_in_place_separate_tag(short(nonce), Aad::empty(), target);
        tag.expect("sealed").as_ref().try_into().expect("16 bytes")
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        source: &[u8],
        target: &mut [u8],
    ) -> bool {
        self.0.open_separate_gather(short(nonce), Aad::empty(), source, tag, target).is_ok()
    }
}
