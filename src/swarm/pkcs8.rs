//! Private keys in PKCS#8's encrypted form, as far as Docker writes it.

use pkcs5::der::asn1::OctetStringRef;
use pkcs5::der::{self, Decode, Encode, ErrorKind, Reader, SliceReader};
use pkcs5::pbes2::{
    EncryptionScheme as Cipher, Kdf, PBES2_OID, Parameters, Pbkdf2Params, Pbkdf2Prf, Salt,
};
use pkcs5::{AlgorithmIdentifierRef, EncryptionScheme};
use zeroize::zeroize_stack;

use super::der::{OCTET_STRING, SEQUENCE, tlv};
use crate::crypto::random;
use crate::error::{Error, Result};
use crate::secret::SecretBytes;

/// The most PBKDF2 iterations that are done: some seconds. Docker writes 2048. A fuzzer would find
/// nothing but the slow ones.
const MAX_ITERATIONS: u32 = if cfg!(nodeseal_fuzzing) { 10_000 } else { 10_000_000 };
/// How many iterations Docker does.
const ITERATIONS: u32 = 2048;
const SALT_LEN: usize = 8;
/// More than the algorithm and its parameters take, in bytes.
const MAX_ALGORITHM: usize = 128;
const BLOCK_LEN: usize = 16;
/// More than the derivation and the decryption use, in bytes.
const STACK_LEN: usize = 8 << 10;

/// An `EncryptedPrivateKeyInfo`, parsed and not yet opened.
///
/// # Format
///
/// ```text
/// SEQUENCE {
///     SEQUENCE { PBES2, SEQUENCE {
///         SEQUENCE { PBKDF2, SEQUENCE { salt (8), iterations (2048) } }
///         SEQUENCE { AES-256-CBC, iv (16) } } }
///     OCTET STRING ciphertext, PKCS#7 padding }
/// ```
///
/// in DER; the numbers in parentheses are what Docker writes. The PRF is HMAC-SHA1 unless another
/// one follows the iterations. OpenSSL writes one; it is read here, but Docker ignores it and
/// takes the right key for a wrong one.
pub(crate) struct Encrypted<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    ciphertext: &'a [u8],
}

impl<'a> Encrypted<'a> {
    /// Reads the outer form; nothing if it is another one. The algorithm is judged when the key is
    /// opened.
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let parse = || {
            let mut reader = SliceReader::new(der)?;
            let parsed = reader.sequence(|info| {
                let algorithm = AlgorithmIdentifierRef::decode(info)?;
                let ciphertext = <&OctetStringRef>::decode(info)?.as_bytes();
                der::Result::Ok(Self { algorithm, ciphertext })
            })?;
            reader.finish()?;
            der::Result::Ok(parsed)
        };
        parse().ok()
    }

    /// Decrypts the key. That it is what was encrypted is not known: by chance one wrong password
    /// in 256 passes here.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthentic`] if the padding is wrong, [`Error::Unsupported`] for anything but
    /// PBES2 with PBKDF2 and AES-256-CBC, or more than 10 million iterations; [`Error::Damaged`]
    /// if parameters or ciphertext are malformed.
    pub(crate) fn decrypt(&self, password: &[u8]) -> Result<SecretBytes> {
        let parameters = self.parameters()?;
        if self.ciphertext.is_empty() || !self.ciphertext.len().is_multiple_of(BLOCK_LEN) {
            return Err(Error::damaged("an encrypted private key that is not whole blocks"));
        }
        let mut plaintext = SecretBytes::from(self.ciphertext);
        let len = decrypt_in_place(&parameters, password, plaintext.expose_mut());
        // `pkcs5` leaves the derived key behind on the stack.
        zeroize_stack::<STACK_LEN>();
        plaintext.resize(len?);
        Ok(plaintext)
    }

    fn parameters(&self) -> Result<Parameters> {
        let unsupported = |found: &dyn core::fmt::Display| {
            Err(Error::unsupported("encryption of the private key", found))
        };
        if self.algorithm.oid != PBES2_OID {
            return unsupported(&self.algorithm.oid);
        }
        let parameters = match EncryptionScheme::try_from(self.algorithm) {
            Ok(EncryptionScheme::Pbes2(parameters)) => parameters,
            Ok(_) => return Err(malformed()),
            Err(error) => match error.kind() {
                ErrorKind::OidUnknown { oid } => return unsupported(&oid),
                _ => return Err(malformed()),
            },
        };
        match (&parameters.kdf, &parameters.encryption) {
            (Kdf::Pbkdf2(kdf), Cipher::Aes256Cbc { .. }) => match kdf.iteration_count {
                0 => Err(malformed()),
                1..=MAX_ITERATIONS => Ok(parameters),
                many => unsupported(&format_args!("{many} iterations")),
            },
            (Kdf::Pbkdf2(_), cipher) => unsupported(&cipher.oid()),
            (kdf, _) => unsupported(&kdf.oid()),
        }
    }
}

/// Encrypts a key in DER as Docker does, with a salt and an IV of its own.
///
/// # Errors
///
/// [`Error::Random`].
pub(crate) fn encrypt(key: &SecretBytes, password: &[u8]) -> Result<SecretBytes> {
    encrypt_with(key, password, random::array()?, random::array()?)
}

fn encrypt_with(
    key: &SecretBytes,
    password: &[u8],
    salt: [u8; SALT_LEN],
    iv: [u8; BLOCK_LEN],
) -> Result<SecretBytes> {
    let kdf = Pbkdf2Params {
        salt: Salt::new(salt).map_err(|_| malformed())?,
        iteration_count: ITERATIONS,
        key_length: None,
        prf: Pbkdf2Prf::HmacWithSha1,
    };
    let parameters = Parameters { kdf: kdf.into(), encryption: Cipher::Aes256Cbc { iv } };
    let mut data = SecretBytes::from(key.expose());
    data.resize(key.len() / BLOCK_LEN * BLOCK_LEN + BLOCK_LEN);
    let encrypted = encrypt_in_place(&parameters, password, data.expose_mut(), key.len());
    // `pkcs5` leaves the derived key behind on the stack.
    zeroize_stack::<STACK_LEN>();
    encrypted?;
    let mut algorithm = [0; MAX_ALGORITHM];
    let algorithm = EncryptionScheme::from(parameters)
        .encode_to_slice(&mut algorithm)
        .map_err(|_| malformed())?;
    let ciphertext = tlv(OCTET_STRING, &[data.expose()]);
    Ok(tlv(SEQUENCE, &[algorithm, ciphertext.expose()]))
}

/// The encrypted key again, with its own salt and IV.
#[cfg(test)]
pub(crate) fn again(der: &[u8], password: &[u8]) -> SecretBytes {
    let encrypted = Encrypted::parse(der).unwrap();
    let parameters = encrypted.parameters().unwrap();
    let (Kdf::Pbkdf2(kdf), Cipher::Aes256Cbc { iv }) = (parameters.kdf, parameters.encryption)
    else {
        panic!("another form");
    };
    let salt = kdf.salt.as_ref().try_into().unwrap();
    encrypt_with(&encrypted.decrypt(password).unwrap(), password, salt, iv).unwrap()
}

#[inline(never)]
fn encrypt_in_place(
    parameters: &Parameters,
    password: &[u8],
    data: &mut [u8],
    len: usize,
) -> Result<()> {
    parameters.encrypt_in_place(password, data, len).map(drop).map_err(|_| malformed())
}

/// Gives the plaintext's length. Not inlined, so that what it leaves on the stack lies below.
#[inline(never)]
fn decrypt_in_place(parameters: &Parameters, password: &[u8], data: &mut [u8]) -> Result<usize> {
    match parameters.decrypt_in_place(password, data) {
        Ok(plaintext) => Ok(plaintext.len()),
        Err(pkcs5::Error::DecryptFailed) => Err(Error::Unauthentic),
        Err(_) => Err(malformed()),
    }
}

fn malformed() -> Error {
    Error::damaged("malformed parameters of the private key's encryption")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(iterations: u32, prf: Pbkdf2Prf) -> Parameters {
        let salt = Salt::new([1; 8]).unwrap();
        Parameters {
            kdf: Pbkdf2Params { salt, iteration_count: iterations, key_length: None, prf }.into(),
            encryption: Cipher::Aes256Cbc { iv: [2; 16] },
        }
    }

    fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
        let len = u8::try_from(value.len()).unwrap();
        let head = if len < 0x80 { vec![tag, len] } else { vec![tag, 0x81, len] };
        [&head[..], value].concat()
    }

    fn der(parameters: Parameters, ciphertext: &[u8]) -> Vec<u8> {
        let mut buffer = [0; 200];
        let len = EncryptionScheme::from(parameters).encode_to_slice(&mut buffer).unwrap().len();
        tlv(0x30, &[&buffer[..len], &tlv(4, ciphertext)].concat())
    }

    fn sealed(parameters: Parameters) -> Vec<u8> {
        let ciphertext = parameters.encrypt("kek", b"the key").unwrap();
        der(parameters, &ciphertext)
    }

    fn decrypt(der: &[u8], password: &[u8]) -> Result<Vec<u8>> {
        let encrypted = Encrypted::parse(der).ok_or(Error::damaged("another form"))?;
        encrypted.decrypt(password).map(|key| key.expose().to_vec())
    }

    fn what(result: Result<Vec<u8>>) -> &'static str {
        match result {
            Err(Error::Damaged { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    }

    fn replaced(der: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = der.windows(from.len()).position(|window| window == from).unwrap();
        [&der[..at], to, &der[at + from.len()..]].concat()
    }

    #[test]
    fn what_is_encrypted_has_dockers_form() {
        let key = SecretBytes::from(&[9; 138][..]);
        let one = encrypt(&key, b"kek").unwrap();
        assert_eq!(one.len(), 225);
        assert_eq!(decrypt(one.expose(), b"kek").unwrap(), key.expose());
        assert_ne!(one.expose(), encrypt(&key, b"kek").unwrap().expose());
        let der = encrypt_with(&SecretBytes::from(&b"the key"[..]), b"kek", [1; 8], [2; 16]);
        assert_eq!(der.unwrap().expose(), sealed(parameters(2048, Pbkdf2Prf::HmacWithSha1)));
    }

    #[test]
    fn every_prf_is_read() {
        for prf in [Pbkdf2Prf::HmacWithSha1, Pbkdf2Prf::HmacWithSha256, Pbkdf2Prf::HmacWithSha512] {
            let der = sealed(parameters(3, prf));
            assert_eq!(decrypt(&der, b"kek").unwrap(), b"the key");
            assert!(decrypt(&der, b"kel").is_err());
        }
    }

    #[test]
    fn the_ciphertext_is_whole_blocks() {
        for len in [0, 1, 15, 17, 33] {
            let der = der(parameters(1, Pbkdf2Prf::HmacWithSha1), &vec![0; len]);
            let fault = what(decrypt(&der, b"kek"));
            assert_eq!(fault, "an encrypted private key that is not whole blocks", "{len}");
        }
    }

    #[test]
    fn the_iteration_count_is_bounded() {
        for iterations in [MAX_ITERATIONS + 1, u32::MAX] {
            let der = der(parameters(iterations, Pbkdf2Prf::HmacWithSha1), &[0; 16]);
            assert!(matches!(decrypt(&der, b"kek"), Err(Error::Unsupported { .. })));
        }
        let der = der(parameters(0, Pbkdf2Prf::HmacWithSha1), &[0; 16]);
        assert_eq!(
            what(decrypt(&der, b"kek")),
            "malformed parameters of the private key's encryption"
        );
    }

    #[test]
    fn an_iv_or_salt_of_another_length_is_damaged() {
        let good = sealed(parameters(1, Pbkdf2Prf::HmacWithSha1));
        let iv = tlv(4, &[2; 16]);
        // The length of all that is around stays, so the shorter IV is followed by a NULL.
        let short = replaced(&good, &iv, &[tlv(4, &[2; 14]), vec![5, 0]].concat());
        assert!(decrypt(&short, b"kek").is_err());
        let mut long_salt = Vec::new();
        for salt in [33_usize, 100] {
            let kdf = tlv(0x30, &[tlv(4, &vec![1; salt]), vec![2, 1, 1]].concat());
            let kdf = tlv(0x30, &[&good[19..30], &kdf].concat());
            assert_eq!(good[19..21], [6, 9]);
            let cipher = &good[good.len() - 18 - 31..good.len() - 18];
            assert_eq!(cipher[..2], [0x30, 29]);
            let pbes2 = tlv(0x30, &[&kdf, cipher].concat());
            let algorithm = tlv(0x30, &[&good[4..15], &pbes2].concat());
            long_salt = tlv(0x30, &[&algorithm[..], &good[good.len() - 18..]].concat());
            what(decrypt(&long_salt, b"kek"));
        }
        assert!(Encrypted::parse(&long_salt).is_some());
    }

    #[test]
    fn other_ciphers_and_kdfs_are_unsupported() {
        let mut gcm = parameters(1, Pbkdf2Prf::HmacWithSha1);
        gcm.encryption = Cipher::Aes256Gcm { nonce: [0; 12] };
        let good = sealed(parameters(1, Pbkdf2Prf::HmacWithSha1));
        let aes = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 0x2a];
        let pbes2 = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 0x0d];
        let with = |from: &[u8; 9], last| {
            let mut to = *from;
            to[8] = last;
            replaced(&good, from, &to)
        };
        for der in [der(gcm, &[0; 32]), with(&aes, 0x16), with(&aes, 0x2b), with(&pbes2, 0x0e)] {
            assert!(matches!(decrypt(&der, b"kek"), Err(Error::Unsupported { .. })), "{der:x?}");
        }
    }

    #[test]
    fn no_truncation_is_taken() {
        let good = sealed(parameters(1, Pbkdf2Prf::HmacWithSha1));
        for len in 0..good.len() {
            assert!(Encrypted::parse(&good[..len]).is_none(), "{len} bytes");
        }
        assert!(Encrypted::parse(&[&good[..], &[0]].concat()).is_none());
    }
}
