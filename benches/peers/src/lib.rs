//! Implementations of NaCl's secretbox behind one trait, to compare nodeseal with.

mod batch;
#[cfg(feature = "libsodium")]
mod libsodium;

use batch::{Batch, OneByOne};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use dryoc::classic::crypto_secretbox as dryoc_box;
use nodeseal::hazmat;
use nodeseal::secret::SecretKey;
use xsalsa20poly1305::XSalsa20Poly1305;
use xsalsa20poly1305::aead::{AeadInPlace, KeyInit as _};

/// Length of a key, in bytes.
pub const KEY_LEN: usize = 32;
/// Length of a nonce, in bytes.
pub const NONCE_LEN: usize = 24;
/// Length of a tag, in bytes.
pub const TAG_LEN: usize = 16;

/// A sealer under one key.
///
/// Both calls may work in place on `target` or read `source`, whichever is the implementation's
/// fastest way; see [`Peer::in_place`].
pub trait Peer {
    /// The package's name.
    fn name(&self) -> &'static str;

    /// Which of its kernels runs, if it tells.
    fn kernel(&self) -> Option<&'static str> {
        None
    }

    /// Whether it reads and writes `target`; else it reads `source` and writes `target`.
    fn in_place(&self) -> bool {
        true
    }

    /// Whether it is the same algorithm, so that its bytes can be compared.
    fn is_secretbox(&self) -> bool {
        true
    }

    /// Encrypts and gives the tag.
    fn seal(&self, nonce: &[u8; NONCE_LEN], source: &[u8], target: &mut [u8]) -> [u8; TAG_LEN];

    /// Decrypts if the tag is right, and tells whether it is.
    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        source: &[u8],
        target: &mut [u8],
    ) -> bool;
}

/// A batch of records, each with whatever it is stored with, that is sealed and opened in place with
/// random nonces.
pub trait Records {
    /// The package's name.
    fn name(&self) -> &'static str;

    /// Which of its kernels runs, if it tells.
    fn kernel(&self) -> Option<&'static str> {
        None
    }

    /// Seals all records.
    fn seal(&mut self);

    /// Whether opening needs a fresh copy of the sealed records; see [`Peer::in_place`].
    fn in_place(&self) -> bool {
        true
    }

    /// Takes a fresh copy of the sealed records.
    fn restore(&mut self);

    /// Opens all records, and tells whether they were right.
    fn open(&mut self) -> bool;
}

/// nodeseal's batch on each of its kernels, and for each other implementation as many calls of its own with a random nonce
/// each.
#[must_use]
pub fn batches(count: usize, size: usize) -> Vec<Box<dyn Records>> {
    let ours = hazmat::kernels()
        .map(|kernel| Box::new(Batch::new(kernel, count, size)) as Box<dyn Records>);
    let others = others(&[1; KEY_LEN])
        .into_iter()
        .map(|peer| Box::new(OneByOne::new(peer, count, size)) as Box<dyn Records>);
    ours.chain(others).collect()
}

/// nodeseal on each of its kernels that the machine can run, fastest first, and every other
/// implementation that was built in.
#[must_use]
pub fn peers(key: &[u8; KEY_LEN]) -> Vec<Box<dyn Peer>> {
    hazmat::kernels()
        .map(|kernel| Box::new(Nodeseal::new(key, kernel)) as Box<dyn Peer>)
        .chain(others(key))
        .collect()
}

fn others(key: &[u8; KEY_LEN]) -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(Dryoc(*key)),
        Box::new(XSalsa(XSalsa20Poly1305::new(key.into()))),
        Box::new(XChaCha(XChaCha20Poly1305::new(key.into()))),
        #[cfg(feature = "libsodium")]
        Box::new(libsodium::Libsodium::new(*key)),
    ]
}

struct Nodeseal {
    key: SecretKey,
    kernel: &'static str,
}

impl Nodeseal {
    fn new(key: &[u8; KEY_LEN], kernel: &'static str) -> Self {
        Self { key: SecretKey::init(|bytes| bytes.copy_from_slice(key)), kernel }
    }
}

impl Peer for Nodeseal {
    fn name(&self) -> &'static str {
        "nodeseal"
    }

    fn kernel(&self) -> Option<&'static str> {
        Some(self.kernel)
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], _: &[u8], target: &mut [u8]) -> [u8; TAG_LEN] {
        on(self.kernel, || hazmat::secretbox_seal(&self.key, nonce, target))
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        _: &[u8],
        target: &mut [u8],
    ) -> bool {
        on(self.kernel, || hazmat::secretbox_open(&self.key, nonce, tag, target).is_ok())
    }
}

/// Runs `call` on one of [`hazmat::kernels`]. The one that the machine runs anyway is not forced.
fn on<T>(kernel: &'static str, call: impl FnOnce() -> T) -> T {
    if kernel == hazmat::kernel() {
        return call();
    }
    hazmat::on_kernel(kernel, call).expect("the machine has it")
}

/// From buffer to buffer: its calls in place move the whole message by 16 bytes.
struct Dryoc([u8; KEY_LEN]);

impl Peer for Dryoc {
    fn name(&self) -> &'static str {
        "dryoc"
    }

    fn in_place(&self) -> bool {
        false
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], source: &[u8], target: &mut [u8]) -> [u8; TAG_LEN] {
        let mut tag = [0; TAG_LEN];
        dryoc_box::crypto_secretbox_detached(target, &mut tag, source, nonce, &self.0)
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
        dryoc_box::crypto_secretbox_open_detached(target, source, tag, nonce, &self.0).is_ok()
    }
}

struct XSalsa(XSalsa20Poly1305);

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
struct XChaCha(XChaCha20Poly1305);

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
