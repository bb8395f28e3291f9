//! dryoc's secretbox behind C's calling convention.

use dryoc::classic::crypto_secretbox as secretbox;

/// Encrypts `len` bytes from `source` to `target`, and writes the tag.
///
/// # Safety
///
/// `target` is valid for writes, `source` for reads of `len` bytes, and they do not overlap; `tag` is
/// valid for 16 bytes, `nonce` for 24, `key` for 32.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dryoc_avx2_seal(
    target: *mut u8,
    source: *const u8,
    len: usize,
    tag: *mut [u8; 16],
    nonce: *const [u8; 24],
    key: *const [u8; 32],
) -> bool {
    // SAFETY: the caller's promises.
    unsafe {
        let target = core::slice::from_raw_parts_mut(target, len);
        let source = core::slice::from_raw_parts(source, len);
        secretbox::crypto_secretbox_detached(target, &mut *tag, source, &*nonce, &*key).is_ok()
    }
}

/// Decrypts `len` bytes from `source` to `target` if the tag is right, and tells whether it is.
///
/// # Safety
///
/// As for [`dryoc_avx2_seal`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dryoc_avx2_open(
    target: *mut u8,
    source: *const u8,
    len: usize,
    tag: *const [u8; 16],
    nonce: *const [u8; 24],
    key: *const [u8; 32],
) -> bool {
    // SAFETY: the caller's promises.
    unsafe {
        let target = core::slice::from_raw_parts_mut(target, len);
        let source = core::slice::from_raw_parts(source, len);
        secretbox::crypto_secretbox_open_detached(target, source, &*tag, &*nonce, &*key).is_ok()
    }
}
