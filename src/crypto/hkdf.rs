//! HKDF-SHA256 (RFC 5869) without salt, its info built so that no two inputs give the same bytes.

use sha2::Sha256;

use super::stack::wiped;
use crate::secret::SecretKey;

/// Stack that one derivation may use, in bytes; without optimization it is more.
const STACK: usize = if cfg!(debug_assertions) { 8 << 10 } else { 2 << 10 };

/// Derives a key from `ikm`.
///
/// `info = len64(label) ‖ label ‖ len64(x1) ‖ x1 ‖ …`, lengths as u64 little-endian. A label is a
/// constant local to the one function that uses it and begins with `nodeseal/v1/`.
pub(crate) fn derive(ikm: &[u8], label: &str, context: &[&[u8]]) -> SecretKey {
    SecretKey::init(|out| expand(ikm, label, context, out))
}

/// As [`derive`], for `out` of at most 32 bytes that need not be secret.
pub(crate) fn expand<const N: usize>(
    ikm: &[u8],
    label: &str,
    context: &[&[u8]],
    out: &mut [u8; N],
) {
    const { assert!(1 <= N && N <= 32, "one block of HMAC-SHA256") };
    debug_assert!(label.starts_with("nodeseal/v1/"));
    let parts: Vec<&[u8]> = [label.as_bytes()].into_iter().chain(context.iter().copied()).collect();
    let lengths: Vec<[u8; 8]> = parts.iter().map(|part| len64(part)).collect();
    let info: Vec<&[u8]> =
        parts.iter().zip(&lengths).flat_map(|(p, l)| [l.as_slice(), p]).collect();
    // Only an output beyond 255 blocks is refused, and this is one.
    let expanded = wiped::<STACK, _>(|| expand_parts(ikm, &info, out));
    debug_assert!(expanded.is_ok());
}

fn expand_parts(ikm: &[u8], info: &[&[u8]], out: &mut [u8]) -> Result<(), hkdf::InvalidLength> {
    hkdf::Hkdf::<Sha256>::new(None, ikm).expand_multi_info(info, out)
}

/// Returns `len64(x1) ‖ x1 ‖ len64(x2) ‖ x2 ‖ …`, which no other parts give. For parts that are public.
pub(crate) fn encode(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&len64(part), *part].concat()).collect()
}

/// HKDF-Extract of all parts of `ikm`, one after the other, as HPKE needs it.
pub(super) fn extract(salt: &[u8], ikm: &[&[u8]]) -> SecretKey {
    SecretKey::init(|prk| {
        wiped::<STACK, _>(|| {
            let mut extract = hkdf::HkdfExtract::<Sha256>::new(Some(salt));
            ikm.iter().for_each(|part| extract.input_ikm(part));
            prk.copy_from_slice(&extract.finalize().0);
        });
    })
}

/// HKDF-Expand to one block at the most, as HPKE needs it.
pub(super) fn expand_prk<const N: usize>(prk: &SecretKey, info: &[&[u8]], out: &mut [u8; N]) {
    const { assert!(1 <= N && N <= 32, "one block of HMAC-SHA256") };
    // Refused are a key shorter than a block and an output beyond 255 blocks.
    let expanded = wiped::<STACK, _>(|| {
        hkdf::Hkdf::<Sha256>::from_prk(prk.expose())
            .is_ok_and(|hkdf| hkdf.expand_multi_info(info, out).is_ok())
    });
    debug_assert!(expanded);
}

/// The length of `part`, as it stands before it in an info or an AAD.
pub(crate) fn len64(part: &[u8]) -> [u8; 8] {
    u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes()
}

#[cfg(test)]
pub(crate) mod tests;
