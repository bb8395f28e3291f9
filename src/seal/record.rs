//! The record, in place.
//!
//! ```text
//! 0    1   0x01
//! 1    8   DEK id
//! 9   16   prefix: random, one draw per call
//! 25  16   Poly1305 tag
//! 41   n   ciphertext
//! ```
//!
//! `K = HKDF(DEK, "record", 0x01, cluster, node, keyspace id)`, `K' = HSalsa20(K, era ‖ prev)`, both u64
//! little-endian; the record is a NaCl secretbox under `K'` with the nonce `prefix ‖ index`.

use std::sync::Arc;

use super::log_id::{Era, LogId};
use super::{MAX_PLAINTEXT, NAME_LEN, RECORD, named, put_name};
use crate::crypto::TAG_LEN;
use crate::crypto::secretbox::{self, Message, NONCE_LEN, PREFIX_LEN, SUFFIX_LEN, Subkey};
use crate::error::{Error, Misuse, Result};
use crate::key::DekId;
use crate::secret::{KEY_LEN, SecretKey};

/// How much longer a record is than its plaintext, in bytes.
pub const RECORD_OVERHEAD: usize = NAME_LEN + PREFIX_LEN + TAG_LEN;

/// Seals the records of one call, which all have one prefix.
pub(super) struct Sealer<'a> {
    key: &'a SecretKey,
    head: Head,
}

impl<'a> Sealer<'a> {
    pub(super) fn new(key: &'a SecretKey, dek: DekId, prefix: [u8; PREFIX_LEN]) -> Self {
        let mut head = [0; HEAD_LEN];
        if let Some((name, rest)) = head.split_first_chunk_mut() {
            put_name(RECORD, dek, name);
            rest.copy_from_slice(&prefix);
        }
        Self { key, head }
    }

    /// Seals `record`, whose plaintext stands after [`RECORD_OVERHEAD`] bytes of room.
    pub(super) fn seal(&self, id: LogId, prev: Era, record: &mut [u8]) -> Result<()> {
        check(record)?;
        let sealed = self.head(record)?;
        let (tag, body) = sealed.split_first_chunk_mut().ok_or(Misuse::Buffer)?;
        with_key_of(self.key, (id.era, prev), |key| {
            *tag = secretbox::seal(key, &nonce(&self.head, id), body);
        });
        Ok(())
    }

    /// Seals records that were checked, as [`Sealer::seal`] does; `prev` is the era before the first.
    pub(super) fn seal_all<'r>(
        &self,
        mut prev: Era,
        records: impl Iterator<Item = Result<(LogId, &'r mut [u8])>>,
    ) -> Result<()> {
        let mut group = Group::default();
        let mut run = Run::default();
        for record in records {
            let (id, record) = record?;
            let eras = (id.era, prev);
            let same = run.of.as_ref() == Some(&eras);
            if group.is_full() || !same {
                group.take(&run, Subkey::seal_many);
            }
            if !same {
                run.begin(eras, self.key, eras, prefix(&self.head));
            }
            group.push(suffix(id), self.head(record)?);
            prev = id.era;
        }
        group.take(&run, Subkey::seal_many);
        Ok(())
    }

    /// Writes what stands before the tag, and gives the rest.
    fn head<'r>(&self, record: &'r mut [u8]) -> Result<&'r mut [u8]> {
        let (head, rest) = record.split_first_chunk_mut().ok_or(Misuse::Buffer)?;
        *head = self.head;
        Ok(rest)
    }
}

/// What stands before the tag: format, DEK and prefix.
type Head = [u8; HEAD_LEN];

const HEAD_LEN: usize = NAME_LEN + PREFIX_LEN;

/// The eras of a record and of the one before it.
type Eras = (Era, Era);

/// The keys of records that follow each other and share what `T` says, filled in where they are.
struct Run<T> {
    of: Option<T>,
    /// The log's key between the two eras.
    eras: Subkey,
    /// The same, with the prefix.
    subkey: Subkey,
}

impl<T> Default for Run<T> {
    fn default() -> Self {
        Self { of: None, eras: Subkey::default(), subkey: Subkey::default() }
    }
}

impl<T> Run<T> {
    fn begin(&mut self, of: T, key: &SecretKey, eras: Eras, prefix: &[u8; PREFIX_LEN]) {
        self.eras.set(key.expose(), &era_bytes(eras));
        self.subkey.set(self.eras.as_key(), prefix);
        self.of = Some(of);
    }
}

/// How many records are sealed or opened in one go, at most.
const GROUP: usize = 32;

/// Records under one subkey, to be sealed or opened in one go.
#[derive(Default)]
struct Group<'r> {
    messages: [Message<'r>; GROUP],
    used: usize,
}

impl<'r> Group<'r> {
    const fn is_full(&self) -> bool {
        self.used == GROUP
    }

    /// Adds a tag and the text after it; there is room.
    fn push(&mut self, suffix: [u8; SUFFIX_LEN], sealed: &'r mut [u8]) {
        if let Some(message) = self.messages.get_mut(self.used) {
            *message = Message { suffix, sealed, right: false };
            self.used += 1;
        }
    }

    /// Has `call` work on them, empties the group, and gives them back.
    fn take<T>(&mut self, run: &Run<T>, call: fn(&Subkey, &mut [Message<'r>])) -> &[Message<'r>] {
        let used = core::mem::take(&mut self.used);
        let messages = self.messages.get_mut(..used).unwrap_or_default();
        if !messages.is_empty() {
            call(&run.subkey, messages);
        }
        messages
    }
}

/// Whether `record` can be sealed: has room for its header, and a plaintext that is not too large.
pub(super) fn check(record: &mut [u8]) -> Result<(&mut [u8; RECORD_OVERHEAD], &mut [u8])> {
    let (head, body) = record.split_first_chunk_mut().ok_or(Misuse::Buffer)?;
    if body.len() > MAX_PLAINTEXT {
        return Err(Error::too_large("a record", body.len(), MAX_PLAINTEXT));
    }
    Ok((head, body))
}

/// Opens `record` in place and gives its plaintext; one that does not authenticate stays as it is.
pub(super) fn open<'a>(
    key: &SecretKey,
    id: LogId,
    prev: Era,
    record: &'a mut [u8],
) -> Result<&'a mut [u8]> {
    let (head, sealed) = parts(record)?;
    let (tag, body) = sealed.split_first_chunk_mut().ok_or(Misuse::Buffer)?;
    with_key_of(key, (id.era, prev), |key| secretbox::open(key, &nonce(head, id), tag, body))?;
    Ok(body)
}

/// Opens records in place, as [`open`] does; `prev` is the era before the first. `key` gives the key
/// of the DEK that a record names.
///
/// An error comes with the number of the first record that did not open.
pub(super) fn open_all(
    key: impl Fn(DekId) -> Result<Arc<SecretKey>>,
    mut prev: Era,
    records: &mut [(LogId, &mut [u8])],
) -> Result<(), (usize, Error)> {
    let mut group = Group::default();
    let mut run = Run::default();
    let mut judged = 0;
    let mut judge = |messages: &[Message<'_>]| {
        let wrong = messages.iter().position(|message| !message.right);
        judged += messages.len();
        wrong.map_or(Ok(()), |at| Err((judged - messages.len() + at, Error::Unauthentic)))
    };
    for (at, (id, record)) in records.iter_mut().enumerate() {
        let eras = (id.era, prev);
        let (head, sealed) = match parts(record) {
            Ok(parts) => parts,
            Err(short) => {
                // Those before it are judged first, so that the error is the first one.
                judge(group.take(&run, Subkey::open_many))?;
                return Err((at, named(RECORD, record).err().unwrap_or(short)));
            }
        };
        let same = run.of.as_ref().is_some_and(|(h, e)| h == head && *e == eras);
        if group.is_full() || !same {
            judge(group.take(&run, Subkey::open_many))?;
        }
        if !same {
            let key = named(RECORD, head).and_then(&key).map_err(|error| (at, error))?;
            run.begin((*head, eras), &key, eras, prefix(head));
        }
        group.push(suffix(*id), sealed);
        prev = id.era;
    }
    judge(group.take(&run, Subkey::open_many))
}

/// What stands before the tag of a sealed record, and the rest.
fn parts(record: &mut [u8]) -> Result<(&Head, &mut [u8])> {
    if record.len().saturating_sub(RECORD_OVERHEAD) > MAX_PLAINTEXT {
        return Err(Error::damaged("longer than a record can be"));
    }
    match record.split_first_chunk_mut() {
        Some((head, sealed)) if sealed.len() >= TAG_LEN => Ok((head, sealed)),
        _ => Err(Error::damaged("too short for a record")),
    }
}

/// The nonce's first part.
fn prefix(head: &Head) -> &[u8; PREFIX_LEN] {
    let [_, _, _, _, _, _, _, _, _, prefix @ ..] = head;
    prefix
}

/// The nonce's second part.
fn suffix(id: LogId) -> [u8; SUFFIX_LEN] {
    id.index.to_le_bytes()
}

fn nonce(head: &Head, id: LogId) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[..PREFIX_LEN].copy_from_slice(prefix(head));
    nonce[PREFIX_LEN..].copy_from_slice(&suffix(id));
    nonce
}

/// Runs `call` with the log's key between a record of the one era and one of the other.
fn with_key_of<T>(key: &SecretKey, eras: Eras, call: impl FnOnce(&[u8; KEY_LEN]) -> T) -> T {
    Subkey::with(key.expose(), &era_bytes(eras), |subkey| call(subkey.as_key()))
}

fn era_bytes((era, prev): Eras) -> [u8; PREFIX_LEN] {
    let mut eras = [0; PREFIX_LEN];
    eras[..8].copy_from_slice(&era.get().to_le_bytes());
    eras[8..].copy_from_slice(&prev.get().to_le_bytes());
    eras
}
