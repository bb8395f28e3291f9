//! Docker Swarm's formats, written a second time.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use aes::Aes128;
use base64ct::{Base64, Base64Url, Encoding};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use hmac::{Hmac, Mac};
use nodeseal::fs::SimFs;
use nodeseal::swarm::{Objects, State, inspect_in};
use sha2::Sha256;

use crate::reference::{Key, open_secretbox, secretbox};

/// The folder of a manager.
pub const DIR: &str = "/swarm";

/// A genuine key file that is not locked: its DEK opens without the cost of a key derivation.
pub const KEY_FILE: &str = include_str!("../../tests/data/swarm-keys/3-unlocked/swarm-node.key");

/// The DEK of [`KEY_FILE`].
pub static DEK: LazyLock<Key> = LazyLock::new(|| {
    let line = KEY_FILE.lines().find_map(|line| line.strip_prefix("raft-dek: "));
    let record = Base64::decode_vec(line.expect("a DEK")).expect("base64");
    *record.last_chunk().expect("32 bytes")
});

/// A disk with nothing but the key file.
#[must_use]
pub fn disk() -> SimFs {
    let disk = SimFs::new();
    put(&disk, "certificates/swarm-node.key", KEY_FILE.as_bytes());
    disk
}

/// Puts a file into the manager's folder.
pub fn put(disk: &SimFs, path: impl AsRef<Path>, bytes: &[u8]) {
    disk.write_file(&Path::new(DIR).join(path), bytes).expect("a plain file");
}

#[must_use]
pub fn segment_path(sequence: u64, first_index: u64) -> PathBuf {
    format!("raft/wal-v3-encrypted/{sequence:016x}-{first_index:016x}.wal").into()
}

#[must_use]
pub fn snapshot_path(term: u64, index: u64) -> PathBuf {
    format!("raft/snap-v3-encrypted/{term:016x}-{index:016x}.snap").into()
}

/// A value in a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Uint(u64),
    Bytes(&'a [u8]),
}

/// The fields of a protobuf message; `None` if it is none.
#[must_use]
pub fn fields(message: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let (fields, whole) = leading_fields(message);
    whole.then_some(fields)
}

/// The fields up to the first that is none, and whether there was no such.
#[must_use]
pub fn leading_fields(mut message: &[u8]) -> (Vec<(u64, Value<'_>)>, bool) {
    let mut fields = Vec::new();
    while !message.is_empty() {
        match field(&mut message) {
            Some(field) => fields.push(field),
            None => return (fields, false),
        }
    }
    (fields, true)
}

fn field<'a>(message: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let tag = varint(message)?;
    let value = match tag & 7 {
        0 => Value::Uint(varint(message)?),
        1 => Value::Uint(u64::from_le_bytes(*cut(message, 8)?.first_chunk()?)),
        2 => {
            let len = usize::try_from(varint(message)?).ok()?;
            Value::Bytes(cut(message, len)?)
        }
        5 => Value::Uint(u32::from_le_bytes(*cut(message, 4)?.first_chunk()?).into()),
        _ => return None,
    };
    let number = tag >> 3;
    (1..1 << 29).contains(&number).then_some((number, value))
}

fn cut<'a>(message: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(len)?;
    *message = rest;
    Some(taken)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for n in 0..10 {
        let byte = cut(message, 1)?[0];
        if n == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn put_uint(out: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(out, number << 3);
    put_varint(out, value);
}

pub fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// A message of one field.
#[must_use]
pub fn bytes_field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, number, bytes);
    out
}

/// A message of integers, zeros included.
#[must_use]
pub fn uints(values: &[(u64, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|(number, value)| put_uint(&mut out, *number, *value));
    out
}

/// A record that is sealed with secretbox.
#[must_use]
pub fn boxed_record(key: &Key, nonce: &[u8; 24], plain: &[u8]) -> Vec<u8> {
    let mut record = uints(&[(1, 1)]);
    put_bytes(&mut record, 2, &secretbox(key, nonce, plain));
    put_bytes(&mut record, 3, nonce);
    record
}

/// A record that is not sealed.
#[must_use]
pub fn clear_record(plain: &[u8]) -> Vec<u8> {
    bytes_field(2, plain)
}

/// A record that is sealed as a fernet token.
#[must_use]
pub fn fernet_record(key: &Key, iv: &[u8; 16], plain: &[u8]) -> Vec<u8> {
    let (signing, encryption) = key.split_at(16);
    let sealed = cbc::Encryptor::<Aes128>::new(encryption.into(), iv.into())
        .encrypt_padded_vec_mut::<Pkcs7>(plain);
    let signed = [&[0x80], &[0; 8][..], iv, &sealed].concat();
    let token = [&signed[..], &mac(signing, &signed).finalize().into_bytes()].concat();
    let mut record = uints(&[(1, 2)]);
    put_bytes(&mut record, 2, Base64Url::encode_string(&token).as_bytes());
    record
}

/// The plaintext of a record that is sealed, and under this key.
#[must_use]
pub fn open_record(key: &Key, record: &[u8]) -> Option<Vec<u8>> {
    let (mut algorithm, mut data, mut nonce) = (0, &[][..], &[][..]);
    for field in fields(record)? {
        match field {
            (1, Value::Uint(value)) => algorithm = value,
            (2, Value::Bytes(value)) => data = value,
            (3, Value::Bytes(value)) => nonce = value,
            (1..=3, _) => return None,
            _ => {}
        }
    }
    match algorithm {
        1 => open_secretbox(key, nonce.try_into().ok()?, data),
        2 => open_fernet(key, data),
        _ => None,
    }
}

fn open_fernet(key: &Key, token: &[u8]) -> Option<Vec<u8>> {
    let (signing, encryption) = key.split_at(16);
    let token = Base64Url::decode_vec(str::from_utf8(token).ok()?).ok()?;
    let (signed, tag) = token.split_last_chunk::<32>()?;
    mac(signing, signed).verify_slice(tag).ok()?;
    let (head, sealed) = signed.split_first_chunk::<25>()?;
    if head[0] != 0x80 {
        return None;
    }
    cbc::Decryptor::<Aes128>::new(encryption.into(), head[9..].into())
        .decrypt_padded_vec_mut::<Pkcs7>(sealed)
        .ok()
}

fn mac(key: &[u8], signed: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(signed);
    mac
}

/// A snapshot file with the CRC that belongs to it.
#[must_use]
pub fn snapshot_file(raft_snapshot: &[u8]) -> Vec<u8> {
    let mut file = uints(&[(1, crc32c::crc32c(raft_snapshot).into())]);
    put_bytes(&mut file, 2, raft_snapshot);
    file
}

/// A raft snapshot of a sealed record.
#[must_use]
pub fn raft_snapshot(term: u64, index: u64, voters: &[u64], sealed: &[u8]) -> Vec<u8> {
    let voters: Vec<(u64, u64)> = voters.iter().map(|voter| (1, *voter)).collect();
    let mut metadata = bytes_field(1, &uints(&voters));
    put_uint(&mut metadata, 2, index);
    put_uint(&mut metadata, 3, term);
    let mut snapshot = bytes_field(1, sealed);
    put_bytes(&mut snapshot, 2, &metadata);
    snapshot
}

/// All that objects hold, payloads included, to compare them.
#[must_use]
pub fn content(objects: &Objects) -> (String, Vec<u8>) {
    let payloads = objects.secrets.values().flat_map(|secret| secret.payload.expose());
    let keys = objects.clusters.values().flat_map(|cluster| &cluster.unlock_keys);
    let keys = keys.flat_map(|entry| entry.key.secret().expose());
    (format!("{objects:?}"), payloads.chain(keys).copied().collect())
}

/// Reads a manager's folder in every way, which must agree.
///
/// Its key file is [`KEY_FILE`], and there is a log or a snapshot.
#[must_use]
pub fn read(disk: &SimFs) -> State {
    let (before, dir) = (disk.paths(), Path::new(DIR));
    let state = State::read_in(disk, dir, None).expect("the key file is right");
    let inspection = inspect_in(disk, dir, None).expect("the folder can be read");
    assert!(inspection.locked_by.is_none());
    assert_eq!(inspection.raft, state.raft);
    assert_eq!(inspection.objects, Some(state.objects.counts()));
    // It has those of key file and certificate, too. Of very many both keep only the first.
    if inspection.findings.len() < 4096 {
        let mut inspected = inspection.findings.iter();
        assert!(state.findings.iter().all(|finding| inspected.any(|other| other == finding)));
    }
    assert_eq!(state.is_complete(), state.losses().count() == 0);
    assert_eq!(disk.paths(), before);

    let raft = &state.raft;
    for segment in &raft.segments {
        assert!(segment.used <= segment.size && segment.entries <= segment.records);
    }
    let entries = &raft.entries;
    assert_eq!(entries.by_algorithm.values().sum::<u64>(), entries.total);
    assert!(entries.opened_by_current.count + entries.unopened.count <= entries.total);
    assert!(raft.segments.iter().map(|segment| segment.entries).sum::<u64>() >= entries.total);
    state
}
