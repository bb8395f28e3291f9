//! Implementations of NaCl's secretbox behind one trait, to compare nodeseal with.

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
mod batch;
mod dryoc;
#[cfg(feature = "libsodium")]
mod libsodium;
mod others;

use batch::{Batch, OneByOne};
use nodeseal::hazmat;
use nodeseal::secret::SecretKey;

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

    /// Appends the records, as they are, to `out`.
    fn write(&self, out: &mut Vec<u8>);

    /// Opens all records, and tells whether they were right.
    fn open(&mut self) -> bool;
}

/// nodeseal's batch on each of its kernels, and for each other implementation as many calls of its own
/// with a random nonce each.
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
        Box::new(dryoc::Dryoc(*key)),
        #[cfg(dryoc_avx2)]
        Box::new(dryoc::DryocAvx2(*key)),
        Box::new(others::Composed(*key)),
        Box::new(others::XSalsa::new(key)),
        #[cfg(feature = "libsodium")]
        Box::new(libsodium::Libsodium::new(*key)),
        Box::new(others::XChaCha::new(key)),
        Box::new(others::Orion::new(key)),
        Box::new(others::Ring::new(key)),
        #[cfg(feature = "aws-lc-rs")]
        Box::new(aws_lc::AwsLc::new(key)),
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

/// Runs `call` on one of [`hazmat::kernels`]. One that runs anyway is not forced: within another call
/// of this, it costs next to nothing.
pub fn on<T>(kernel: &'static str, call: impl FnOnce() -> T) -> T {
    if kernel == hazmat::kernel() {
        return call();
    }
    hazmat::on_kernel(kernel, call).expect("the machine has it")
}
