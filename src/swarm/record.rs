//! `MaybeEncryptedRecord`, the message in which everything that Swarm seals stands.

use core::ops::Range;

use super::fernet;
use crate::crypto::secretbox::NONCE_LEN;
use crate::crypto::{TAG_LEN, random, secretbox};
use crate::error::{Error, Result};
use crate::secret::{SecretBytes, SecretKey};
use crate::wal::encode::Message;
use crate::wal::proto::{Fields, place_of};

/// How a record of Swarm's is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Not sealed: the plaintext stands in the record.
    None,
    /// NaCl secretbox, XSalsa20-Poly1305: what Docker writes.
    SecretBox,
    /// A fernet token, AES-128-CBC and HMAC-SHA256: what Docker writes in FIPS mode.
    Fernet,
    /// A number that is not known, as it stands in the record.
    Other(u64),
}

/// A record, parsed and not yet opened.
///
/// # Format
///
/// | field | number | type | content |
/// |---|---|---|---|
/// | algorithm | 1 | varint | 0 none, 1 secretbox, 2 fernet |
/// | data | 2 | bytes | secretbox: tag (16 bytes), then ciphertext |
/// | nonce | 3 | bytes | secretbox: 24 bytes; fernet ignores it |
///
/// A field that is absent is zero or empty, of one that is repeated the last counts, others are
/// skipped. Nothing binds a record to its place, and nothing names its key.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) algorithm: Algorithm,
    data: &'a [u8],
    nonce: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads the message.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if it is none.
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self> {
        let mut record = Self { algorithm: Algorithm::None, data: &[], nonce: &[] };
        for field in Fields::of(message) {
            let (number, value) = field?;
            match number {
                1 => record.algorithm = Algorithm::of(value.uint()?),
                2 => record.data = value.bytes()?,
                3 => record.nonce = value.bytes()?,
                _ => (),
            }
        }
        Ok(record)
    }

    /// The plaintext. With no key only a record that is not sealed is taken, with a key only one
    /// that is: a plaintext where a key is in force would be a way around the key.
    ///
    /// Docker pads or cuts keys of other lengths than 32 bytes; that is not followed.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthentic`] if the key does not open the record, be it the key's fault or the
    /// record's; [`Error::KeyRequired`] if it is sealed and there is no key; [`Error::Damaged`]
    /// if it cannot be opened by any key, or is plain and there is one; [`Error::Unsupported`]
    /// for an unknown algorithm.
    pub(crate) fn open(&self, key: Option<&SecretKey>) -> Result<SecretBytes> {
        match (self.algorithm, key) {
            (Algorithm::Other(number), _) => Err(Error::unsupported("record algorithm", number)),
            (Algorithm::None, None) => Ok(SecretBytes::from(self.data)),
            (Algorithm::None, Some(_)) => {
                Err(Error::damaged("a plaintext record where a key is in force"))
            }
            (_, None) => Err(Error::KeyRequired),
            (Algorithm::SecretBox, Some(key)) => self.open_secretbox(key),
            (Algorithm::Fernet, Some(key)) => fernet::open(key, self.data),
        }
    }

    /// The tag of a secretbox: no two that were sealed apart have the same.
    pub(crate) fn tag(&self) -> Option<[u8; TAG_LEN]> {
        match self.algorithm {
            Algorithm::SecretBox => self.data.first_chunk().copied(),
            _ => None,
        }
    }

    fn open_secretbox(&self, key: &SecretKey) -> Result<SecretBytes> {
        let (nonce, tag, ciphertext) = self.secretbox()?;
        let mut plaintext = SecretBytes::from(ciphertext);
        secretbox::open(key.expose(), nonce, tag, plaintext.expose_mut())?;
        Ok(plaintext)
    }

    fn secretbox(&self) -> Result<(&'a [u8; NONCE_LEN], &'a [u8; TAG_LEN], &'a [u8])> {
        let nonce = self
            .nonce
            .try_into()
            .map_err(|_| Error::damaged("a secretbox nonce that is not 24 bytes"))?;
        let (tag, ciphertext) = self
            .data
            .split_first_chunk::<TAG_LEN>()
            .ok_or(Error::damaged("a secretbox shorter than its tag"))?;
        Ok((nonce, tag, ciphertext))
    }
}

/// Opens the record that stands at `at` in `buffer` where it stands, so that the memory holds it
/// once: `buffer` is the plaintext then. Else it is as it was.
///
/// # Errors
///
/// As for [`Record::open`].
pub(crate) fn open_in_place(
    buffer: &mut SecretBytes,
    at: &Range<usize>,
    key: &SecretKey,
) -> Result<()> {
    let whole = buffer.expose();
    let record = Record::parse(whole.get(at.clone()).unwrap_or_default())?;
    if record.algorithm != Algorithm::SecretBox {
        *buffer = record.open(Some(key))?;
        return Ok(());
    }
    let (nonce, tag, ciphertext) = record.secretbox()?;
    let (nonce, tag) = (*nonce, *tag);
    let Range { start, end } = place_of(ciphertext, whole).unwrap_or_default();
    let text = buffer.expose_mut().get_mut(start..end).unwrap_or_default();
    let len = text.len();
    secretbox::open(key.expose(), &nonce, &tag, text)?;
    buffer.remove_front(start);
    buffer.resize(len);
    Ok(())
}

/// In which of its two ways a node seals what it writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cipher {
    #[default]
    SecretBox,
    /// In FIPS mode. Every manager reads it, one in FIPS mode nothing else.
    Fernet,
}

/// Seals records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealer<'a> {
    pub(crate) cipher: Cipher,
    pub(crate) key: &'a SecretKey,
}

/// A record as Docker writes it: sealed with a nonce of its own, or, without a key, with the
/// plaintext in it.
///
/// In a secretbox the plaintext is sealed where it stands, so that the memory holds it once.
///
/// # Errors
///
/// [`Error::Random`].
pub(crate) fn seal(with: Option<Sealer<'_>>, plaintext: SecretBytes) -> Result<SecretBytes> {
    Sealed::new(with, plaintext).map(|sealed| sealed.joined())
}

/// A record in its three parts, for one that is too long to be copied.
pub(crate) struct Sealed {
    pub(crate) head: SecretBytes,
    /// Ciphertext, or plaintext in a record that is not sealed.
    pub(crate) body: SecretBytes,
    pub(crate) tail: SecretBytes,
}

impl Sealed {
    pub(crate) fn new(with: Option<Sealer<'_>>, body: SecretBytes) -> Result<Self> {
        match with {
            None => Ok(Self::plain(body)),
            Some(Sealer { cipher: Cipher::SecretBox, key }) => {
                Ok(Self::secretbox(key, &random::array()?, body))
            }
            Some(Sealer { cipher: Cipher::Fernet, key }) => {
                let body = fernet::seal(key, body)?;
                let mut head = Message::new();
                head.uint(1, 2);
                head.head(2, body.len());
                Ok(Self { head: head.into_secret(), body, tail: SecretBytes::new() })
            }
        }
    }

    fn secretbox(key: &SecretKey, nonce: &[u8; NONCE_LEN], mut body: SecretBytes) -> Self {
        let (mut head, mut tail) = (Message::new(), Message::new());
        let tag = secretbox::seal(key.expose(), nonce, body.expose_mut());
        head.uint(1, 1);
        head.head(2, TAG_LEN + body.len());
        head.raw(&tag);
        tail.bytes(3, nonce);
        Self { head: head.into_secret(), body, tail: tail.into_secret() }
    }

    fn plain(body: SecretBytes) -> Self {
        let mut head = Message::new();
        if !body.is_empty() {
            head.head(2, body.len());
        }
        Self { head: head.into_secret(), body, tail: SecretBytes::new() }
    }

    pub(crate) const fn len(&self) -> usize {
        self.head.len() + self.body.len() + self.tail.len()
    }

    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        [self.head.expose(), self.body.expose(), self.tail.expose()]
    }

    fn joined(self) -> SecretBytes {
        let mut record = SecretBytes::with_capacity(self.len());
        self.parts().iter().for_each(|part| record.extend_from_slice(part));
        record
    }
}

/// The record again that `message` is, sealed with its own nonce.
#[cfg(test)]
pub(crate) fn again(message: &[u8], key: Option<&SecretKey>) -> SecretBytes {
    let record = Record::parse(message).unwrap();
    let (nonce, body) = (record.nonce.first_chunk::<NONCE_LEN>(), record.open(key).unwrap());
    match key.zip(nonce) {
        Some((key, nonce)) => Sealed::secretbox(key, nonce, body).joined(),
        None => Sealed::plain(body).joined(),
    }
}

impl Algorithm {
    fn of(number: u64) -> Self {
        match number {
            0 => Self::None,
            1 => Self::SecretBox,
            2 => Self::Fernet,
            other => Self::Other(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: [u8; 24] = [7; 24];

    fn key(byte: u8) -> SecretKey {
        SecretKey::init(|k| k.fill(byte))
    }

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let len = u8::try_from(bytes.len()).unwrap();
        assert!(len < 0x80);
        [&[number << 3 | 2, len], bytes].concat()
    }

    fn sealed(plaintext: &[u8]) -> Vec<u8> {
        let mut data = plaintext.to_vec();
        let tag = secretbox::seal(key(1).expose(), &NONCE, &mut data);
        [vec![8, 1], field(2, &[&tag[..], &data].concat()), field(3, &NONCE)].concat()
    }

    fn open(message: &[u8], key: Option<&SecretKey>) -> Result<Vec<u8>> {
        Ok(Record::parse(message)?.open(key)?.expose().to_vec())
    }

    fn what(result: Result<Vec<u8>>) -> &'static str {
        match result {
            Err(Error::Damaged { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_sealed_record_opens_under_its_key_alone() {
        for plaintext in [&b""[..], b"x", &[9; 64]] {
            let record = sealed(plaintext);
            assert_eq!(open(&record, Some(&key(1))).unwrap(), plaintext);
            assert!(matches!(open(&record, Some(&key(2))), Err(Error::Unauthentic)));
            assert!(matches!(open(&record, Some(&key(0))), Err(Error::Unauthentic)));
            assert!(matches!(open(&record, None), Err(Error::KeyRequired)));
        }
    }

    #[test]
    fn what_is_sealed_opens_and_never_repeats() {
        for plaintext in [&b""[..], b"x", &[9; 300]] {
            let record = |with: Option<Sealer<'_>>| seal(with, plaintext.into()).unwrap();
            let same = key(1);
            for cipher in [Cipher::SecretBox, Cipher::Fernet] {
                let sealer = Some(Sealer { cipher, key: &same });
                let (one, other) = (record(sealer), record(sealer));
                assert_ne!(one.expose(), other.expose());
                assert_eq!(open(one.expose(), Some(&key(1))).unwrap(), plaintext);
                assert!(matches!(open(one.expose(), Some(&key(2))), Err(Error::Unauthentic)));
                // In place too, wherever it stands, and left as it is where it does not open.
                let at = 3..3 + one.len();
                let mut buffer = SecretBytes::from(&[b"...", one.expose(), b".."].concat()[..]);
                let before = buffer.expose().to_vec();
                assert!(open_in_place(&mut buffer, &at, &key(2)).is_err());
                assert_eq!(buffer.expose(), before);
                open_in_place(&mut buffer, &at, &key(1)).unwrap();
                assert_eq!(buffer.expose(), plaintext);
            }
            assert_eq!(open(record(None).expose(), None).unwrap(), plaintext);
        }
        let one = key(1);
        let dek = |cipher| seal(Some(Sealer { cipher, key: &one }), [3; 32][..].into()).unwrap();
        let fernet = dek(Cipher::Fernet);
        // 57 + 48 bytes in base64.
        assert_eq!((fernet.len(), &fernet.expose()[..4]), (145, &[0x08, 0x02, 0x12, 0x8c][..]));
        let dek = dek(Cipher::SecretBox);
        assert_eq!((dek.len(), &dek.expose()[..4]), (78, &[0x08, 0x01, 0x12, 0x30][..]));
        let clear = seal(None, [3; 32][..].into()).unwrap();
        assert_eq!((clear.len(), &clear.expose()[..2]), (34, &[0x12, 0x20][..]));
        assert!(seal(None, SecretBytes::new()).unwrap().is_empty());
    }

    #[test]
    fn a_sealed_dek_has_swarms_78_bytes() {
        let record = sealed(&[3; 32]);
        assert_eq!(record.len(), 78);
        assert_eq!(record[..4], [0x08, 0x01, 0x12, 0x30]);
        assert_eq!(record[52..54], [0x1a, 0x18]);
    }

    #[test]
    fn a_plaintext_record_is_refused_where_a_key_is_in_force() {
        let record = field(2, b"plain");
        assert_eq!(open(&record, None).unwrap(), b"plain");
        assert_eq!(
            what(open(&record, Some(&key(1)))),
            "a plaintext record where a key is in force"
        );
        assert_eq!(open(b"", None).unwrap(), b"");
    }

    #[test]
    fn the_algorithm_field_is_checked() {
        let mut record = sealed(b"x");
        record[1] = 3;
        for key in [None, Some(&key(1))] {
            assert!(
                matches!(open(&record, key), Err(Error::Unsupported { found, .. }) if found == "3")
            );
        }
        record[1] = 2;
        assert_eq!(what(open(&record, Some(&key(1)))), "a fernet token that is not base64");
        record[1] = 0;
        what(open(&record, Some(&key(1))));
    }

    #[test]
    fn the_nonce_and_the_tag_need_their_lengths() {
        let no_nonce = [vec![8, 1], field(2, &[0; 16])].concat();
        for nonce in [&[][..], &[7; 20], &[7; 23], &[7; 25]] {
            let record = [no_nonce.clone(), field(3, nonce)].concat();
            let fault = what(open(&record, Some(&key(1))));
            assert_eq!(fault, "a secretbox nonce that is not 24 bytes");
        }
        let record = [vec![8, 1], field(2, &[0; 15]), field(3, &NONCE)].concat();
        assert_eq!(what(open(&record, Some(&key(1)))), "a secretbox shorter than its tag");
    }

    #[test]
    fn unknown_fields_are_skipped_and_the_last_of_a_repeated_one_counts() {
        let record = [vec![8, 0], field(2, b"no"), field(9, b"?"), sealed(b"yes")].concat();
        assert_eq!(open(&record, Some(&key(1))).unwrap(), b"yes");
    }

    #[test]
    fn no_bit_can_change_unseen() {
        let record = sealed(&[3; 32]);
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&flipped, Some(&key(1))).is_err(), "bit {bit}");
        }
        for len in 0..record.len() {
            assert!(open(&record[..len], Some(&key(1))).is_err(), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(&message, Some(&key(1))).is_err());
        }
    }
}
