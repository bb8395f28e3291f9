//! What the tests must know to look for it, found by hand: HKDF, and the DEK of a key file that is
//! not locked. Nothing here is watched; what is secret is returned in arrays.

use base64ct::{Base64Unpadded, Encoding};
use chacha20poly1305::aead::{AeadInOut, KeyInit as _};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// HKDF-SHA256 without salt, each part of the info after its length.
pub(crate) fn hkdf(ikm: &[u8], parts: &[impl AsRef<[u8]>]) -> [u8; 32] {
    let mut info = Vec::new();
    for part in parts.iter().map(AsRef::as_ref) {
        info.extend_from_slice(&(part.len() as u64).to_le_bytes());
        info.extend_from_slice(part);
    }
    hmac(&hmac(&[0; 32], &[ikm]), &[&info, &[1]])
}

/// Opens `nonce 24 · tag 16 · ciphertext`.
pub(crate) fn open(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Vec<u8> {
    let (nonce, rest) = sealed.split_first_chunk::<24>().unwrap();
    let (tag, body) = rest.split_first_chunk::<16>().unwrap();
    let mut body = body.to_vec();
    let (nonce, tag) = (XNonce::from(*nonce), Tag::from(*tag));
    let cipher = XChaCha20Poly1305::new(&(*key).into());
    cipher.decrypt_inout_detached(&nonce, aad, body.as_mut_slice().into(), &tag).unwrap();
    body
}

/// The rest of the line that begins with `name`.
pub(crate) fn fact<'a>(file: &'a str, name: &str) -> &'a str {
    file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap()
}

/// File key and active DEK of a key file that is not locked.
pub(crate) fn keys_in_the_clear(file: &str) -> ([u8; 32], [u8; 32]) {
    let key: [u8; 32] =
        Base64Unpadded::decode_vec(fact(file, "slot none")).unwrap().try_into().unwrap();
    let aad = &file[..file.find("sealed ").unwrap()];
    let sealed = Base64Unpadded::decode_vec(fact(file, "sealed")).unwrap();
    let set = open(&key, aad.as_bytes(), &sealed);
    assert_eq!(set[0], 1, "version of the key set");
    let mut rest = &set[1..];
    while let Some(([tag, len @ ..], after)) = rest.split_first_chunk::<5>() {
        let (value, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        if *tag == 1 {
            return (key, value[..32].try_into().unwrap());
        }
        rest = after;
    }
    panic!("no active DEK")
}

/// `file` with one character of its sealed part changed and its check made right again.
pub(crate) fn forged(file: &str) -> String {
    let at = file.find("sealed ").unwrap() + 100;
    let other = if file.as_bytes()[at] == b'A' { "B" } else { "A" };
    let end = file.find("check ").unwrap();
    let above = [&file[..at], other, &file[at + 1..end]].concat();
    let check: String = Sha256::digest(&above).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{above}check {check}\n")
}
