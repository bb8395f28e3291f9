//! The formats, written down a second time from their description and the plain primitives. Nothing
//! of `crate::crypto` or `crate::seal` is used, so that a mistake there is not made here too.

use chacha20poly1305::aead::{AeadInOut, KeyInit as _};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use poly1305::Poly1305;
use salsa20::cipher::consts::U10;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use salsa20::{XSalsa20, hsalsa};
use sha2::Sha256;

/// A node, its DEK and a keyspace.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) dek: [u8; 32],
    pub(crate) cluster: String,
    pub(crate) node: String,
    pub(crate) keyspace: [u8; 16],
}

/// Where a record is stored: index, era, era before.
#[derive(Clone, Copy)]
pub(super) struct Spot(pub(super) u64, pub(super) u64, pub(super) u64);

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn len64(bytes: &[u8]) -> [u8; 8] {
    (bytes.len() as u64).to_le_bytes()
}

/// HKDF-SHA256 of RFC 5869: no salt, and one block of output.
pub(super) fn hkdf(ikm: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let extracted = hmac(&[0; 32], &[ikm]);
    let info: Vec<u8> = parts.iter().flat_map(|part| [&len64(part)[..], part].concat()).collect();
    hmac(&extracted, &[&info, &[1]])
}

fn secretbox(key: &[u8; 32], nonce: [u8; 24]) -> (XSalsa20, Poly1305) {
    let mut stream = XSalsa20::new(key.into(), &nonce.into());
    let mut mac_key = [0; 32];
    stream.apply_keystream(&mut mac_key);
    (stream, Poly1305::new(&mac_key.into()))
}

/// `tag ‖ ciphertext`
fn secretbox_seal(key: &[u8; 32], nonce: [u8; 24], plaintext: &[u8]) -> Vec<u8> {
    let (mut stream, mac) = secretbox(key, nonce);
    let mut ciphertext = plaintext.to_vec();
    stream.apply_keystream(&mut ciphertext);
    [mac.compute_unpadded(&ciphertext).to_vec(), ciphertext].concat()
}

fn secretbox_open(key: &[u8; 32], nonce: [u8; 24], sealed: &[u8]) -> Option<Vec<u8>> {
    let (tag, ciphertext) = sealed.split_at_checked(16)?;
    let (mut stream, mac) = secretbox(key, nonce);
    let mut plaintext = ciphertext.to_vec();
    stream.apply_keystream(&mut plaintext);
    (mac.compute_unpadded(ciphertext).to_vec() == tag).then_some(plaintext)
}

fn concat<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    parts.concat().try_into().unwrap()
}

impl Node {
    pub(super) fn dek_id(&self) -> [u8; 8] {
        *hkdf(&self.dek, &[b"nodeseal/v1/dek-id"]).first_chunk().unwrap()
    }

    fn name(&self, format: u8) -> Vec<u8> {
        [&[format][..], &self.dek_id()].concat()
    }

    fn key(&self, label: &str, format: u8) -> [u8; 32] {
        let (cluster, node) = (self.cluster.as_bytes(), self.node.as_bytes());
        hkdf(&self.dek, &[label.as_bytes(), &[format], cluster, node, &self.keyspace])
    }

    pub(super) fn cell_key(&self) -> [u8; 32] {
        self.key("nodeseal/v1/cell", 3)
    }

    pub(super) fn stream_key(&self) -> [u8; 32] {
        self.key("nodeseal/v1/stream", 2)
    }

    /// The key of the log.
    pub(super) fn log_key(&self) -> [u8; 32] {
        self.key("nodeseal/v1/record", 1)
    }

    /// The key of the log between two eras.
    pub(super) fn record_key(&self, spot: Spot) -> [u8; 32] {
        let Spot(_, era, prev) = spot;
        let eras: [u8; 16] = concat(&[&era.to_le_bytes(), &prev.to_le_bytes()]);
        hsalsa::<U10>(&self.log_key().into(), &eras.into()).into()
    }

    /// What seals and opens `record`, and nothing of another draw.
    pub(super) fn subkey(&self, spot: Spot, record: &[u8]) -> [u8; 32] {
        let prefix: [u8; 16] = concat(&[&record[9..25]]);
        hsalsa::<U10>(&self.record_key(spot).into(), &prefix.into()).into()
    }

    pub(super) fn record(&self, spot: Spot, prefix: &[u8; 16], plaintext: &[u8]) -> Vec<u8> {
        let nonce = concat(&[prefix, &spot.0.to_le_bytes()]);
        let boxed = secretbox_seal(&self.record_key(spot), nonce, plaintext);
        [&self.name(1)[..], prefix, &boxed].concat()
    }

    pub(super) fn open_record(&self, spot: Spot, record: &[u8]) -> Option<Vec<u8>> {
        let sealed = record.strip_prefix(&*self.name(1))?;
        let (prefix, boxed) = sealed.split_at_checked(16)?;
        let nonce = concat(&[prefix, &spot.0.to_le_bytes()]);
        secretbox_open(&self.record_key(spot), nonce, boxed)
    }

    fn xchacha_seal(&self, key: [u8; 32], aad: &[u8], nonce: [u8; 24], plain: &[u8]) -> Vec<u8> {
        let mut body = plain.to_vec();
        let cipher = XChaCha20Poly1305::new(&key.into());
        let body_ref = body.as_mut_slice().into();
        let tag = cipher.encrypt_inout_detached(&XNonce::from(nonce), aad, body_ref).unwrap();
        [&nonce[..], &tag, &body].concat()
    }

    fn xchacha_open(&self, key: [u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk::<24>()?;
        let (tag, body) = rest.split_first_chunk::<16>()?;
        let mut body = body.to_vec();
        XChaCha20Poly1305::new(&key.into())
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                aad,
                body.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .ok()?;
        Some(body)
    }

    fn cell_aad(table: &str, row: &[u8]) -> Vec<u8> {
        [&len64(table.as_bytes())[..], table.as_bytes(), &len64(row), row].concat()
    }

    pub(super) fn cell(&self, table: &str, row: &[u8], nonce: [u8; 24], plain: &[u8]) -> Vec<u8> {
        let sealed = self.xchacha_seal(self.cell_key(), &Self::cell_aad(table, row), nonce, plain);
        [self.name(3), sealed].concat()
    }

    pub(super) fn open_cell(&self, table: &str, row: &[u8], cell: &[u8]) -> Option<Vec<u8>> {
        let sealed = cell.strip_prefix(&*self.name(3))?;
        self.xchacha_open(self.cell_key(), &Self::cell_aad(table, row), sealed)
    }

    /// The sealed header of a stream whose opened header is `head` and zeros.
    pub(crate) fn stream_header(&self, name: &str, mut head: Vec<u8>) -> Vec<u8> {
        head.resize(4096 - 49, 0);
        let aad = [&len64(name.as_bytes())[..], name.as_bytes()].concat();
        [self.name(2), self.xchacha_seal(self.stream_key(), &aad, [0xa5; 24], &head)].concat()
    }

    /// A whole stream. Its nonces are not random, so that a stream can be golden.
    pub(crate) fn stream(&self, name: &str, plan: &Plan<'_>) -> Vec<u8> {
        let mut stream = self.stream_header(name, plan.head());
        let mut chunks: Vec<&[u8]> = plan.plain.chunks(plan.chunk_size as usize).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        for (i, chunk) in chunks.iter().enumerate() {
            let prefix = [u8::try_from(i % 255 + 1).unwrap(); 16];
            let counter = (i as u64) << 1 | u64::from(i + 1 == chunks.len());
            let nonce = concat(&[&prefix, &counter.to_le_bytes()]);
            stream.extend(prefix);
            stream.extend(secretbox_seal(&plan.content, nonce, chunk));
        }
        stream
    }

    /// What a stream's header holds, and the plaintext.
    pub(crate) fn open_stream(&self, name: &str, stream: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let (header, mut rest) = stream.split_at_checked(4096)?;
        let aad = [&len64(name.as_bytes())[..], name.as_bytes()].concat();
        let sealed = header.strip_prefix(&*self.name(2))?;
        let head = self.xchacha_open(self.stream_key(), &aad, sealed)?;
        let content = head.first_chunk()?;
        let chunk_size = u32::from_le_bytes(*head[56..].first_chunk()?) as usize;
        let mut plain = Vec::new();
        for i in 0u64.. {
            let (chunk, after) = rest.split_at(rest.len().min(chunk_size + 32));
            let (prefix, boxed) = chunk.split_first_chunk::<16>()?;
            let counter = i << 1 | u64::from(after.is_empty());
            let nonce = concat(&[prefix, &counter.to_le_bytes()]);
            plain.extend(secretbox_open(content, nonce, boxed)?);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        Some((head, plain))
    }
}

/// What seals and opens one chunk of a stream.
pub(super) fn chunk_key(content: &[u8; 32], prefix: &[u8; 16]) -> [u8; 32] {
    hsalsa::<U10>(content.into(), prefix.into()).into()
}

/// What a stream is made of.
pub(crate) struct Plan<'a> {
    pub(crate) content: [u8; 32],
    pub(crate) index: u64,
    pub(crate) era: u64,
    pub(crate) chunk_size: u32,
    pub(crate) meta: &'a [u8],
    pub(crate) plain: &'a [u8],
}

impl Plan<'_> {
    /// The header, opened, up to its zeros.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = self.content.to_vec();
        for number in [self.index, self.era, self.plain.len() as u64] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        head.extend_from_slice(&self.chunk_size.to_le_bytes());
        head.extend_from_slice(&u16::try_from(self.meta.len()).unwrap().to_le_bytes());
        head.extend_from_slice(self.meta);
        head
    }
}
