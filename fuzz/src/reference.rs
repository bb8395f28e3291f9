//! Sealed records, cells and streams, written a second time.

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use salsa20::cipher::consts::U10;
use salsa20::hsalsa;
use sha2::Sha256;
use xsalsa20poly1305::XSalsa20Poly1305;

use crate::fixed::{CLUSTER, KEYSPACE_ID, NODE};

pub type Key = [u8; 32];

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, arbitrary::Arbitrary)]
pub struct Place {
    pub index: u64,
    pub era: u64,
    pub prev: u64,
}

/// `HKDF(ikm, label, context)`, every part after its length.
#[must_use]
pub fn derive(ikm: &[u8], label: &str, context: &[&[u8]]) -> Key {
    let mut info = prefixed(&[format!("nodeseal/v1/{label}").as_bytes()]);
    info.extend(prefixed(context));
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(None, ikm).expand(&info, &mut key).expect("one block");
    key
}

/// Every part after its length.
#[must_use]
pub fn prefixed(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u64).to_le_bytes()[..], part].concat()).collect()
}

#[must_use]
pub fn dek_id(dek: &Key) -> [u8; 8] {
    *derive(dek, "dek-id", &[]).first_chunk().expect("32 bytes")
}

/// NaCl's secretbox: tag, then ciphertext.
#[must_use]
pub fn secretbox(key: &Key, nonce: &[u8; 24], plain: &[u8]) -> Vec<u8> {
    let mut data = plain.to_vec();
    let tag = XSalsa20Poly1305::new(key.into())
        .encrypt_in_place_detached(nonce.into(), b"", &mut data)
        .expect("short enough");
    [&tag[..], &data].concat()
}

/// The plaintext of what [`secretbox`] gives.
#[must_use]
pub fn open_secretbox(key: &Key, nonce: &[u8; 24], sealed: &[u8]) -> Option<Vec<u8>> {
    let (tag, data) = sealed.split_first_chunk::<16>()?;
    let mut data = data.to_vec();
    XSalsa20Poly1305::new(key.into())
        .decrypt_in_place_detached(nonce.into(), b"", &mut data, tag.into())
        .ok()?;
    Some(data)
}

/// XChaCha20-Poly1305: nonce, tag, ciphertext.
#[must_use]
pub fn xchacha(key: &Key, nonce: &[u8; 24], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut data = plain.to_vec();
    let tag = XChaCha20Poly1305::new(key.into())
        .encrypt_in_place_detached(XNonce::from_slice(nonce), aad, &mut data)
        .expect("short enough");
    [&nonce[..], &tag, &data].concat()
}

/// The plaintext of what [`xchacha`] gives.
#[must_use]
pub fn open_xchacha(key: &Key, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, rest) = sealed.split_first_chunk::<24>()?;
    let (tag, data) = rest.split_first_chunk::<16>()?;
    let mut data = data.to_vec();
    XChaCha20Poly1305::new(key.into())
        .decrypt_in_place_detached(XNonce::from_slice(nonce), aad, &mut data, Tag::from_slice(tag))
        .ok()?;
    Some(data)
}

fn record_key(dek: &Key, place: Place) -> Key {
    let context: &[&[u8]] = &[&[1], CLUSTER.as_bytes(), NODE.as_bytes(), &KEYSPACE_ID];
    let key = derive(dek, "record", context);
    let eras: [u8; 16] =
        [place.era.to_le_bytes(), place.prev.to_le_bytes()].concat().try_into().expect("16 bytes");
    hsalsa::<U10>(&key.into(), &eras.into()).into()
}

fn nonce(prefix: &[u8; 16], suffix: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..16].copy_from_slice(prefix);
    nonce[16..].copy_from_slice(&suffix.to_le_bytes());
    nonce
}

#[must_use]
pub fn record(dek: &Key, place: Place, prefix: &[u8; 16], plain: &[u8]) -> Vec<u8> {
    let boxed = secretbox(&record_key(dek, place), &nonce(prefix, place.index), plain);
    [&[1], &dek_id(dek)[..], prefix, &boxed].concat()
}

/// The plaintext of a record that is sealed under one of `deks`.
#[must_use]
pub fn open_record(deks: &[Key], place: Place, record: &[u8]) -> Option<Vec<u8>> {
    let dek = named(1, deks, record)?;
    let prefix = record.get(9..25)?.try_into().ok()?;
    let key = record_key(dek, place);
    open_secretbox(&key, &nonce(prefix, place.index), record.get(25..)?)
}

fn named<'a>(format: u8, deks: &'a [Key], sealed: &[u8]) -> Option<&'a Key> {
    let (first, rest) = sealed.split_first()?;
    deks.iter().find(|dek| *first == format && rest.starts_with(&dek_id(dek)))
}

fn cell_key(dek: &Key, keyspace: &[u8; 16]) -> Key {
    derive(dek, "cell", &[&[3], CLUSTER.as_bytes(), NODE.as_bytes(), keyspace])
}

#[must_use]
pub fn cell(dek: &Key, table: &str, row: &[u8], nonce: &[u8; 24], plain: &[u8]) -> Vec<u8> {
    let aad = prefixed(&[table.as_bytes(), row]);
    [&[3], &dek_id(dek)[..], &xchacha(&cell_key(dek, &KEYSPACE_ID), nonce, &aad, plain)].concat()
}

#[must_use]
pub fn open_cell(deks: &[Key], table: &str, row: &[u8], cell: &[u8]) -> Option<Vec<u8>> {
    open_cell_in(&KEYSPACE_ID, deks, table, row, cell)
}

/// As [`open_cell`], in a keyspace that was registered later.
#[must_use]
pub fn open_cell_in(
    keyspace: &[u8; 16],
    deks: &[Key],
    table: &str,
    row: &[u8],
    cell: &[u8],
) -> Option<Vec<u8>> {
    let dek = named(3, deks, cell)?;
    open_xchacha(&cell_key(dek, keyspace), &prefixed(&[table.as_bytes(), row]), cell.get(9..)?)
}

fn stream_key(dek: &Key) -> Key {
    derive(dek, "stream", &[&[2], CLUSTER.as_bytes(), NODE.as_bytes(), &KEYSPACE_ID])
}

/// Length of a stream's header, and of what is sealed in it, in bytes.
pub const HEADER: usize = 4096;
pub const HEADER_PLAIN: usize = HEADER - 49;

/// A stream's header with this content, which is cut or filled up with zeros.
#[must_use]
pub fn stream_header(dek: &Key, name: &str, nonce: &[u8; 24], plain: &[u8]) -> Vec<u8> {
    let mut plain = plain.to_vec();
    plain.resize(HEADER_PLAIN, 0);
    let sealed = xchacha(&stream_key(dek), nonce, &prefixed(&[name.as_bytes()]), &plain);
    [&[2], &dek_id(dek)[..], &sealed].concat()
}

#[must_use]
pub fn open_stream_header(deks: &[Key], name: &str, header: &[u8]) -> Option<Vec<u8>> {
    let header = header.get(..HEADER)?;
    let dek = named(2, deks, header)?;
    open_xchacha(&stream_key(dek), &prefixed(&[name.as_bytes()]), &header[9..])
}

/// What a stream's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    pub content: Key,
    pub index: u64,
    pub era: u64,
    pub len: u64,
    pub chunk_size: u32,
    pub meta: Vec<u8>,
}

impl StreamFacts {
    #[must_use]
    pub fn parse(mut plain: &[u8]) -> Option<Self> {
        if plain.len() < 62 {
            return None;
        }
        let rest = &mut plain;
        let (content, index, era, len) = (
            crate::take(rest),
            crate::take_u64(rest),
            crate::take_u64(rest),
            crate::take_u64(rest),
        );
        let chunk_size = u32::from_le_bytes(crate::take(rest));
        let meta_len = u16::from_le_bytes(crate::take(rest));
        let meta = rest.get(..usize::from(meta_len))?.to_vec();
        let known = (1 << 10..=16 << 20).contains(&chunk_size);
        known.then_some(Self { content, index, era, len, chunk_size, meta })
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [
            &self.content[..],
            &self.index.to_le_bytes(),
            &self.era.to_le_bytes(),
            &self.len.to_le_bytes(),
            &self.chunk_size.to_le_bytes(),
            &(self.meta.len() as u16).to_le_bytes(),
            &self.meta,
        ]
        .concat()
    }

    fn chunk_len(&self) -> usize {
        usize::try_from(self.chunk_size).expect("64-bit")
    }

    /// The chunks that hold `plain`.
    #[must_use]
    pub fn seal(&self, plain: &[u8], prefix: &[u8; 16]) -> Vec<u8> {
        let mut chunks: Vec<&[u8]> = plain.chunks(self.chunk_len()).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let mut sealed = Vec::new();
        for (i, chunk) in (0..).zip(&chunks) {
            let last = u64::from(i + 1 == chunks.len());
            let nonce = nonce(prefix, (i as u64) << 1 | last);
            sealed.extend_from_slice(prefix);
            sealed.extend(secretbox(&self.content, &nonce, chunk));
        }
        sealed
    }

    /// The plaintext of `sealed`, if it is all of the stream and every chunk opens.
    #[must_use]
    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let pieces: Vec<&[u8]> = sealed.chunks(self.chunk_len() + 32).collect();
        let mut plain = Vec::new();
        for (i, piece) in (0..).zip(&pieces) {
            let (prefix, boxed) = piece.split_first_chunk::<16>()?;
            let last = u64::from(i + 1 == pieces.len());
            let nonce = nonce(prefix, (i as u64) << 1 | last);
            let opened = open_secretbox(&self.content, &nonce, boxed)?;
            // An empty chunk may only stand alone.
            if opened.is_empty() && pieces.len() > 1 {
                return None;
            }
            plain.extend(opened);
        }
        (!pieces.is_empty() && plain.len() as u64 == self.len).then_some(plain)
    }
}
