//! Raw primitives whose safety is the caller's: a repeated nonce gives both plaintexts away.
//!
//! For interoperation, differential tests and benchmarks. The paved path never needs it.

use crate::crypto::kernel::Kernel;
use crate::crypto::secretbox;
use crate::error::Result;
use crate::secret::SecretKey;

/// Encrypts `data` in place with NaCl's XSalsa20-Poly1305 and gives the tag.
///
/// # Security
///
/// A nonce must never be used twice with one key.
///
/// ```
/// use nodeseal::hazmat;
/// use nodeseal::secret::SecretKey;
///
/// let key = SecretKey::init(|k| k.fill(1));
/// let mut data = *b"attack at dawn";
/// let tag = hazmat::secretbox_seal(&key, &[2; 24], &mut data);
/// hazmat::secretbox_open(&key, &[2; 24], &tag, &mut data)?;
/// assert_eq!(&data, b"attack at dawn");
/// # Ok::<(), nodeseal::Error>(())
/// ```
pub fn secretbox_seal(key: &SecretKey, nonce: &[u8; 24], data: &mut [u8]) -> [u8; 16] {
    secretbox::seal(key.expose(), nonce, data)
}

/// Decrypts in place what [`secretbox_seal`] made.
///
/// # Errors
///
/// [`Error::Unauthentic`](crate::Error::Unauthentic); `data` is then as it was.
pub fn secretbox_open(
    key: &SecretKey,
    nonce: &[u8; 24],
    tag: &[u8; 16],
    data: &mut [u8],
) -> Result<()> {
    secretbox::open(key.expose(), nonce, tag, data)
}

/// The kernel that seals and opens on this machine: `avx512`, `avx2` or `portable`.
#[must_use]
pub fn kernel() -> &'static str {
    Kernel::current().name()
}

/// The kernels that this machine can run, fastest first.
#[doc(hidden)]
pub fn kernels() -> impl Iterator<Item = &'static str> {
    Kernel::available().map(Kernel::name)
}

/// What `call` gives when this thread seals and opens on the kernel `name`, if the machine has it: for
/// tests, fuzzing and measurements, which must reach all of them.
#[doc(hidden)]
pub fn on_kernel<T>(name: &str, call: impl FnOnce() -> T) -> Option<T> {
    let kernel = Kernel::available().find(|kernel| kernel.name() == name)?;
    Some(crate::crypto::kernel::force::on(kernel, call))
}

#[cfg(nodeseal_ct)]
mod watched;
#[cfg(nodeseal_ct)]
#[doc(hidden)]
pub use watched::*;
