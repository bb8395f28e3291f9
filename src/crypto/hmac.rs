//! HMAC-SHA256 (RFC 2104).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::stack::wiped;
use super::verdict;
use crate::secret::SecretKey;

/// Stack that one call may use, in bytes; without optimization it is more.
const STACK: usize = if cfg!(debug_assertions) { 8 << 10 } else { 2 << 10 };
/// Length of a code, in bytes.
pub(crate) const CODE_LEN: usize = 32;

/// The code of all parts, one after the other.
pub(crate) fn code(key: &SecretKey, parts: &[&[u8]]) -> [u8; CODE_LEN] {
    wiped::<STACK, _>(|| {
        // A key of any length is taken.
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.expose());
        mac.map_or([0; CODE_LEN], |mut mac| {
            parts.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().into()
        })
    })
}

/// Whether it is the code, in time that does not depend on where it differs.
pub(crate) fn is_code(key: &SecretKey, parts: &[&[u8]], found: &[u8]) -> bool {
    verdict::public(code(key, parts).ct_eq(found).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 1, whose key is filled up with zeros to a block either way.
    #[test]
    fn the_published_vector() {
        let key = SecretKey::init(|key| key[..20].fill(0x0b));
        let code = code(&key, &[b"Hi ", b"There"]);
        let text: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        assert!(is_code(&key, &[b"Hi There"], &code));
        assert!(!is_code(&key, &[b"Hi there"], &code));
        assert!(!is_code(&key, &[b"Hi There"], &code[..31]));
    }
}
