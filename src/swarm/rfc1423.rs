//! Private keys in the encrypted PEM form of RFC 1423, which Docker keeps for old key files.
//!
//! The header `DEK-Info` names the cipher and the IV in hexadecimal, `AES-256-CBC,0123…`. The key
//! is `D1 ‖ D2 ‖ …` cut to size, `D1 = MD5(password ‖ salt)`, `Di = MD5(Di-1 ‖ password ‖ salt)`;
//! the salt is the IV's first 8 bytes.
//!
//! # Security
//!
//! One round of MD5 and no authentication: only read, for keys of 32 random bytes.

use aes::{Aes128, Aes192, Aes256};
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit};
use des::{Des, TdesEde3};
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::secret::SecretBytes;

const SALT_LEN: usize = 8;
/// The largest key, of AES-256, in bytes.
const MAX_KEY_LEN: usize = 32;
/// The largest IV, of AES, in bytes.
const MAX_IV_LEN: usize = 16;
const MD5_LEN: usize = 16;

#[derive(Clone, Copy)]
enum Cipher {
    Des,
    TripleDes,
    Aes128,
    Aes192,
    Aes256,
}

/// What the header `DEK-Info` says.
pub(crate) struct DekInfo {
    cipher: Cipher,
    iv: [u8; MAX_IV_LEN],
}

impl DekInfo {
    /// Reads the header's value.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for another cipher, [`Error::Damaged`] if the IV is not one.
    pub(crate) fn parse(value: &[u8]) -> Result<Self> {
        let malformed = || Error::damaged("a malformed DEK-Info header");
        let value = core::str::from_utf8(value).map_err(|_| malformed())?;
        let (name, hex) = value.split_once(',').ok_or_else(malformed)?;
        let cipher = match name {
            "DES-CBC" => Cipher::Des,
            "DES-EDE3-CBC" => Cipher::TripleDes,
            "AES-128-CBC" => Cipher::Aes128,
            "AES-192-CBC" => Cipher::Aes192,
            "AES-256-CBC" => Cipher::Aes256,
            _ => return Err(Error::unsupported("PEM encryption", "the cipher in DEK-Info")),
        };
        if hex.len() != 2 * cipher.block_len() {
            return Err(malformed());
        }
        let mut iv = [0; MAX_IV_LEN];
        for (byte, pair) in iv.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = pair.iter().try_fold(0, |byte, &digit| {
                let digit = char::from(digit).to_digit(16).ok_or_else(malformed)?;
                u8::try_from(digit).map(|digit| byte << 4 | digit).map_err(|_| malformed())
            })?;
        }
        Ok(Self { cipher, iv })
    }

    /// Decrypts `body`. That it is what was encrypted is not known: by chance one wrong password
    /// in 256 passes here.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthentic`] if the padding is wrong, [`Error::Damaged`] if `body` is not a
    /// positive number of blocks.
    pub(crate) fn decrypt(&self, body: &[u8], password: &[u8]) -> Result<SecretBytes> {
        match self.cipher {
            Cipher::Des => self.decrypt_with::<Des>(body, password),
            Cipher::TripleDes => self.decrypt_with::<TdesEde3>(body, password),
            Cipher::Aes128 => self.decrypt_with::<Aes128>(body, password),
            Cipher::Aes192 => self.decrypt_with::<Aes192>(body, password),
            Cipher::Aes256 => self.decrypt_with::<Aes256>(body, password),
        }
    }

    fn decrypt_with<C>(&self, body: &[u8], password: &[u8]) -> Result<SecretBytes>
    where
        C: BlockCipherDecrypt + KeyInit,
    {
        let block = self.cipher.block_len();
        let malformed = || Error::damaged("an encrypted private key that is not whole blocks");
        if body.is_empty() || !body.len().is_multiple_of(block) {
            return Err(malformed());
        }
        let key = self.derive(password);
        let key = key.get(..C::key_size()).ok_or_else(malformed)?;
        let iv = self.iv.get(..block).ok_or_else(malformed)?;
        let mut plaintext = SecretBytes::from(body);
        let len = Decryptor::<C>::new_from_slices(key, iv)
            .map_err(|_| malformed())?
            .decrypt_padded::<Pkcs7>(plaintext.expose_mut())
            .map_err(|_| Error::Unauthentic)?
            .len();
        plaintext.resize(len);
        Ok(plaintext)
    }

    fn derive(&self, password: &[u8]) -> Zeroizing<[u8; MAX_KEY_LEN]> {
        let mut key = Zeroizing::new([0; MAX_KEY_LEN]);
        let mut last = Zeroizing::new([0; MD5_LEN]);
        for (n, part) in key.chunks_exact_mut(MD5_LEN).enumerate() {
            let mut digest = Md5::new();
            if n > 0 {
                digest.update(last.as_slice());
            }
            digest.update(password);
            digest.update(&self.iv[..SALT_LEN]);
            digest.finalize_into((&mut *last).into());
            part.copy_from_slice(&*last);
        }
        key
    }
}

impl Cipher {
    const fn block_len(self) -> usize {
        match self {
            Self::Des | Self::TripleDes => 8,
            Self::Aes128 | Self::Aes192 | Self::Aes256 => 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AES: &[u8] = b"AES-256-CBC,000102030405060708090a0b0c0d0e0F";

    fn what(result: Result<impl Sized>) -> &'static str {
        match result.map(drop) {
            Err(Error::Damaged { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    }

    /// `printf 'the password' | openssl enc -aes-256-cbc -md md5 …` derives in the same way:
    /// its `-p` prints this key for the salt 0001020304050607.
    #[test]
    fn the_key_is_openssls() {
        let key = DekInfo::parse(AES).unwrap().derive(b"the password");
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "91cd68cd547b38f6a871eff8bea3b685351730f10252230199d6238ef4a74d7a");
    }

    #[test]
    fn the_header_is_checked() {
        assert!(DekInfo::parse(AES).is_ok());
        assert!(DekInfo::parse(b"DES-CBC,0011223344556677").is_ok());
        for bad in [
            &b""[..],
            b"AES-256-CBC",
            b"AES-256-CBC,",
            b"AES-256-CBC,0011223344556677",
            b"DES-CBC,000102030405060708090a0b0c0d0e0f",
            b"DES-CBC,001122334455667",
            b"DES-CBC,001122334455667g",
            b"DES-CBC,+011223344556677",
            b"DES-CBC, 011223344556677",
            b"DES-CBC,\xff011223344556677",
        ] {
            assert_eq!(what(DekInfo::parse(bad)), "a malformed DEK-Info header", "{bad:?}");
        }
        for other in [&b"DES-EDE-CBC,0011223344556677"[..], b"aes-256-cbc,00"] {
            assert!(matches!(DekInfo::parse(other), Err(Error::Unsupported { .. })));
        }
    }

    #[test]
    fn a_body_is_whole_blocks() {
        let info = DekInfo::parse(AES).unwrap();
        for len in [0, 1, 15, 17, 31] {
            let fault = what(info.decrypt(&vec![0; len], b"x"));
            assert_eq!(fault, "an encrypted private key that is not whole blocks", "{len}");
        }
        assert!(matches!(info.decrypt(&[0; 32], b"x"), Err(Error::Unauthentic)));
    }
}
