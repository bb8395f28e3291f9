//! Fernet tokens, which Docker writes in FIPS mode.
//!
//! ```text
//! 0     1  0x80
//! 1     8  seconds since 1970, big-endian
//! 9    16  IV
//! 25    n  AES-128-CBC, PKCS#7 padding: at least 16 bytes, a multiple of 16
//! 25+n 32  HMAC-SHA256 over all before it
//! ```
//!
//! All of it stands in URL-safe base64 with padding. The key is 16 bytes for the HMAC, then 16
//! for AES.

use std::time::{SystemTime, UNIX_EPOCH};

use aes::Aes128;
use base64ct::{Base64Url, Encoding};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use cbc::{Decryptor, Encryptor};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::crypto::random;
use crate::error::{Error, Result};
use crate::secret::{SecretBytes, SecretKey};

const VERSION: u8 = 0x80;
const VERSION_AND_TIME_LEN: usize = 9;
const IV_LEN: usize = 16;
const BLOCK_LEN: usize = 16;
const MAC_LEN: usize = 32;
const SIGNING_KEY_LEN: usize = 16;

/// The plaintext of `token`, whose time is ignored, as Docker does.
///
/// Stricter than Docker in one point: Docker accepts a token that is followed by junk.
///
/// # Errors
///
/// [`Error::Unauthentic`] if the MAC is wrong, [`Error::Damaged`] if it is no token,
/// [`Error::Unsupported`] if it is authentic and of another version.
pub(crate) fn open(key: &SecretKey, token: &[u8]) -> Result<SecretBytes> {
    let mut buffer = SecretBytes::new();
    buffer.resize(token.len() / 4 * 3);
    let raw = Base64Url::decode(token, buffer.expose_mut())
        .map_err(|_| Error::damaged("a fernet token that is not base64"))?;
    let too_short = || Error::damaged("a fernet token that is too short");

    let (signed, mac) = raw.split_last_chunk::<MAC_LEN>().ok_or_else(too_short)?;
    let (start, rest) = signed.split_first_chunk::<VERSION_AND_TIME_LEN>().ok_or_else(too_short)?;
    let (iv, ciphertext) = rest.split_first_chunk::<IV_LEN>().ok_or_else(too_short)?;

    let (signing, encryption) = key.expose().split_at(SIGNING_KEY_LEN);
    let mut authenticator = Hmac::<Sha256>::new_from_slice(signing).map_err(|_| too_short())?;
    authenticator.update(signed);
    authenticator.verify_slice(mac).map_err(|_| Error::Unauthentic)?;

    if start[0] != VERSION {
        return Err(Error::unsupported("fernet version", start[0]));
    }
    let malformed = || Error::damaged("an authentic fernet token with malformed padding");
    let decryptor =
        Decryptor::<Aes128>::new_from_slices(encryption, iv).map_err(|_| malformed())?;
    // Where it stands: what is sealed may be a whole store.
    let len = ciphertext.len();
    let start = VERSION_AND_TIME_LEN + IV_LEN;
    let text = buffer.expose_mut().get_mut(start..start + len).unwrap_or_default();
    let len = decryptor.decrypt_padded::<Pkcs7>(text).map_err(|_| malformed())?.len();
    buffer.remove_front(start);
    buffer.resize(len);
    Ok(buffer)
}

/// A token of `plaintext`, with an IV of its own and the time of now.
///
/// # Errors
///
/// [`Error::Random`], [`Error::OutOfMemory`].
pub(crate) fn seal(key: &SecretKey, plaintext: SecretBytes) -> Result<SecretBytes> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let sealed = seal_with(key, now, &random::array()?, plaintext);
    sealed.ok_or(Error::OutOfMemory)
}

/// The plaintext is encrypted where it stands; `None` if no memory has room for the token.
fn seal_with(
    key: &SecretKey,
    time: u64,
    iv: &[u8; IV_LEN],
    mut plaintext: SecretBytes,
) -> Option<SecretBytes> {
    let (signing, encryption) = key.expose().split_at(SIGNING_KEY_LEN);
    let len = plaintext.len();
    plaintext.resize((len / BLOCK_LEN).checked_add(1)?.checked_mul(BLOCK_LEN)?);
    let encryptor = Encryptor::<Aes128>::new_from_slices(encryption, iv).ok()?;
    let ciphertext = encryptor.encrypt_padded::<Pkcs7>(plaintext.expose_mut(), len).ok()?;

    let mut raw = Vec::with_capacity(VERSION_AND_TIME_LEN + IV_LEN + ciphertext.len() + MAC_LEN);
    raw.push(VERSION);
    raw.extend_from_slice(&time.to_be_bytes());
    raw.extend_from_slice(iv);
    raw.extend_from_slice(ciphertext);
    drop(plaintext);
    let mut authenticator = Hmac::<Sha256>::new_from_slice(signing).ok()?;
    authenticator.update(&raw);
    raw.extend_from_slice(&authenticator.finalize().into_bytes());
    let mut token = vec![0; raw.len().div_ceil(3).checked_mul(4)?];
    let len = Base64Url::encode(&raw, &mut token).ok()?.len();
    token.truncate(len);
    Some(SecretBytes::from_vec(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    /// `generate.json` and `verify.json` of the fernet specification.
    const TOKEN: &str = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";

    fn key() -> SecretKey {
        SecretKey::try_init(|k| Base64Url::decode(SECRET, k).map(drop)).unwrap()
    }

    fn opened(token: &str) -> Result<Vec<u8>> {
        open(&key(), token.as_bytes()).map(|plaintext| plaintext.expose().to_vec())
    }

    #[test]
    fn the_specifications_token_opens_and_is_made() {
        assert_eq!(opened(TOKEN).unwrap(), b"hello");
        let iv = core::array::from_fn(|n| u8::try_from(n).unwrap());
        let token = seal_with(&key(), 499_162_800, &iv, b"hello"[..].into()).unwrap();
        assert_eq!(token.expose(), TOKEN.as_bytes());
    }

    #[test]
    fn what_is_sealed_opens_and_has_swarms_length() {
        for len in [0, 1, 15, 16, 17, 4096] {
            let plaintext = vec![7; len];
            let token = seal(&key(), plaintext[..].into()).unwrap();
            assert_eq!(open(&key(), token.expose()).unwrap().expose(), plaintext);
            assert_eq!(token.len(), (57 + 16 * (len / 16 + 1)).div_ceil(3) * 4);
            assert_ne!(seal(&key(), plaintext[..].into()).unwrap().expose(), token.expose());
        }
    }

    /// `invalid.json` of the specification, without "expired TTL" and "far-future TS": Swarm
    /// looks at no time, so these two open.
    #[test]
    fn the_specifications_invalid_tokens_are_refused() {
        let unauthentic = [
            "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykQUFBQUFBQUFBQQ==",
        ];
        for token in unauthentic {
            assert!(matches!(opened(token), Err(Error::Unauthentic)), "{token}");
        }
        let damaged = [
            // too short
            "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA==",
            // invalid base64
            "%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==",
            // payload size not a multiple of the block size
            "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nmxbx_v7mrfyudzUm",
            // payload padding error
            "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWke6CnJNYIbkuKNqOhw==",
            // incorrect IV (causes a padding error)
            "gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2AUEZ1TIvcZjK1zQ==",
        ];
        for token in damaged {
            assert!(matches!(opened(token), Err(Error::Damaged { .. })), "{token}");
        }
        let untimely = [
            "gAAAAAAdwStRAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAnja1xKYyhd-Y6mSkTOyTGJmw2Xc2a6kBd-iX9b_qXQcw==",
            "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==",
        ];
        for token in untimely {
            assert_eq!(opened(token).unwrap(), b"", "{token}");
        }
    }

    #[test]
    fn swarms_key_is_the_32_raw_bytes() {
        // Made by Python's `cryptography` under the URL-safe base64 of the same 32 bytes.
        let token = "gAAAAABlU_EALa0TGdmZPvhtjB3TfxIqbXmNkVyUqoM_OGoyBn2ypPUjh_WOqhcjx1yBL5296dbfeT4Z1K48Qlp9QQoTOJdYpVcO_S7oRNDuANcRkgGoZAg=";
        let key = SecretKey::init(|k| k.copy_from_slice(b"0123456789abcdefFEDCBA9876543210"));
        assert_eq!(open(&key, token.as_bytes()).unwrap().expose(), b"a secret of the swarm's");
        let other = SecretKey::init(|k| k.copy_from_slice(b"0123456789abcdefFEDCBA9876543211"));
        // The MAC's key is the first half alone, so that the second is checked by the padding.
        assert!(open(&other, token.as_bytes()).is_err());
        let other = SecretKey::init(|k| k.copy_from_slice(b"1123456789abcdefFEDCBA9876543210"));
        assert!(matches!(open(&other, token.as_bytes()), Err(Error::Unauthentic)));
    }

    #[test]
    fn junk_after_a_token_is_refused() {
        for junk in ["A", "AAAA", "=", "\n", " ", "!", "%%%%"] {
            assert!(opened(&format!("{TOKEN}{junk}")).is_err(), "{junk:?}");
        }
        assert!(opened(&TOKEN.replace("==", "")).is_err());
    }

    #[test]
    fn an_authentic_token_of_another_version_is_unsupported() {
        let mut raw = [0; 73];
        Base64Url::decode(TOKEN, &mut raw).unwrap();
        raw[0] = 0x81;
        let (signed, mac) = raw.split_at_mut(41);
        let mut authenticator =
            Hmac::<Sha256>::new_from_slice(&key().expose()[..SIGNING_KEY_LEN]).unwrap();
        authenticator.update(signed);
        mac.copy_from_slice(&authenticator.finalize().into_bytes());
        let mut text = [0; 100];
        let token = Base64Url::encode(&raw, &mut text).unwrap();
        assert!(matches!(opened(token), Err(Error::Unsupported { found, .. }) if found == "129"));
    }

    #[test]
    fn no_bit_can_change_unseen() {
        for bit in 0..TOKEN.len() * 8 {
            let mut token = TOKEN.as_bytes().to_vec();
            token[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key(), &token).is_err(), "bit {bit}");
        }
        for len in 0..TOKEN.len() {
            assert!(opened(&TOKEN[..len]).is_err(), "{len} bytes");
        }
    }
}
