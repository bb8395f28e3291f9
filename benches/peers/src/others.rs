use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use orion::hazardous::aead::xchacha20poly1305 as orion_box;
use orion_box::XChaCha20Poly1305 as OrionBox;
use poly1305::Poly1305;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use salsa20::Salsa20;
use salsa20::cipher::consts::U10;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use xsalsa20poly1305::XSalsa20Poly1305;
use xsalsa20poly1305::aead::{AeadInPlace, KeyInit as _};
use zeroize::Zeroizing;

use crate::{KEY_LEN, NONCE_LEN, Peer, TAG_LEN};

/// RustCrypto's parts of today, composed directly: what one would write without a crate for the box.
pub(crate) struct Composed(pub(crate) [u8; KEY_LEN]);

impl Composed {
    /// The stream after its first block's first half, and that half, which is the authenticator's key.
    fn begin(&self, nonce: &[u8; NONCE_LEN]) -> (Salsa20, Poly1305) {
        let (prefix, suffix) = nonce.split_first_chunk::<16>().expect("24 bytes");
        let subkey = salsa20::hsalsa::<U10>(&self.0.into(), &(*prefix).into());
        let subkey = Zeroizing::new(<[u8; KEY_LEN]>::from(subkey));
        let suffix: [u8; 8] = suffix.try_into().expect("8 bytes");
        let mut stream = Salsa20::new(&(*subkey).into(), &suffix.into());
        let mut mac_key = Zeroizing::new([0; 32]);
        stream.apply_keystream(&mut *mac_key);
        (stream, Poly1305::new(&(*mac_key).into()))
    }
}

impl Peer for Composed {
    fn name(&self) -> &'static str {
        "salsa20+poly1305"
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], _: &[u8], target: &mut [u8]) -> [u8; TAG_LEN] {
        let (mut stream, mac) = self.begin(nonce);
        stream.apply_keystream(target);
        mac.compute_unpadded(target).into()
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        _: &[u8],
        target: &mut [u8],
    ) -> bool {
        let (mut stream, mac) = self.begin(nonce);
        let right = mac.compute_unpadded(target) == *tag;
        if right {
            stream.apply_keystream(target);
        }
        right
    }
}

pub(crate) struct XSalsa(XSalsa20Poly1305);

impl XSalsa {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(XSalsa20Poly1305::new(key.into()))
    }
}

impl Peer for XSalsa {
    fn name(&self) -> &'static str {
        "xsalsa20poly1305"
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], _: &[u8], target: &mut [u8]) -> [u8; TAG_LEN] {
        let tag = self.0.encrypt_in_place_detached(nonce.into(), b"", target);
        tag.expect("the length is right").into()
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        _: &[u8],
        target: &mut [u8],
    ) -> bool {
        self.0.decrypt_in_place_detached(nonce.into(), b"", target, tag.into()).is_ok()
    }
}

/// Another cipher, with a nonce of the same length: what one would take if the format were free.
pub(crate) struct XChaCha(XChaCha20Poly1305);

impl XChaCha {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }
}

impl Peer for XChaCha {
    fn name(&self) -> &'static str {
        "chacha20poly1305"
    }

    fn is_secretbox(&self) -> bool {
        false
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], _: &[u8], target: &mut [u8]) -> [u8; TAG_LEN] {
        let tag = self.0.encrypt_inout_detached(nonce.into(), b"", target.into());
        tag.expect("the length is right").into()
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        _: &[u8],
        target: &mut [u8],
    ) -> bool {
        self.0.decrypt_inout_detached(nonce.into(), b"", target.into(), tag.into()).is_ok()
    }
}

/// The same cipher as [`XChaCha`].
pub(crate) struct Orion(orion_box::SecretKey);

impl Orion {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(orion_box::SecretKey::try_from(key).expect("32 bytes"))
    }
}

impl Peer for Orion {
    fn name(&self) -> &'static str {
        "orion"
    }

    fn is_secretbox(&self) -> bool {
        false
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], _: &[u8], target: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = orion_box::Nonce::try_from(nonce).expect("24 bytes");
        let tag = OrionBox::seal_inplace(&self.0, &nonce, None, target).expect("sealed");
        tag.unprotected_as_ref::<[u8]>().try_into().expect("16 bytes")
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        _: &[u8],
        target: &mut [u8],
    ) -> bool {
        let nonce = orion_box::Nonce::try_from(nonce).expect("24 bytes");
        let tag = orion_box::Tag::try_from(tag).expect("16 bytes");
        OrionBox::open_inplace(&self.0, &nonce, &tag, None, target).is_ok()
    }
}

/// ChaCha20-Poly1305 with a nonce of 12 bytes, so without the derivation of a subkey: for scale.
pub(crate) struct Ring(LessSafeKey);

impl Ring {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes")))
    }
}

fn short(nonce: &[u8; NONCE_LEN]) -> Nonce {
    Nonce::try_assume_unique_for_key(&nonce[..12]).expect("12 bytes")
}

impl Peer for Ring {
    fn name(&self) -> &'static str {
        "ring"
    }

    fn is_secretbox(&self) -> bool {
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
        _: &[u8],
        target: &mut [u8],
    ) -> bool {
        let tag = (*tag).into();
        let opened =
            self.0.open_in_place_separate_tag(short(nonce), Aad::empty(), tag, target, 0..);
        opened.is_ok()
    }
}
