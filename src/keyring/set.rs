//! The key set: what is stored sealed in a key file.
//!
//! A version byte, then fields of `tag 1 · length 4 (little-endian) · value`. Unknown fields with
//! the tag's highest bit set are kept as they are; any other unknown field means that a later
//! version wrote the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check_attachment;
use super::keyspace::{KeyspaceId, MAX_KEYSPACES, Registered};
use super::live::LiveDek;
use super::slot::Slot;
use crate::crypto::xchacha;
use crate::crypto::xwing::{self, PUBLIC_LEN};
use crate::error::{Error, Result};
use crate::key::{Card, Dek, DekFacts, DekId, Lifecycle, MAX_DEKS, Mode, Reasons, valid_name};
use crate::secret::{KEY_LEN, SecretBytes, SecretKey};

const VERSION: u8 = 1;
/// Active DEK: `key 32 · made-at 8 · exposed 1 · uses 8`.
const ACTIVE: u8 = 1;
/// Retiring DEK, in the same form.
const RETIRING: u8 = 2;
/// `mode 1 · target version 8 · running reasons 1 · queued reasons 1 · leak 8`.
const ROTATION: u8 = 3;
/// A known slot's card: `exposed 1 · recipient 1216 · auth 32`; in the order of the slots.
const CARD: u8 = 4;
/// `exposed 1 · name length 1 · name · bytes`.
const ATTACHMENT: u8 = 5;
/// `id 16 · made 1 · name length 1 · name`; in the order of the names.
const KEYSPACE: u8 = 6;
const OPTIONAL: u8 = 0x80;
const CARD_LEN: usize = 1 + PUBLIC_LEN + KEY_LEN;

const CLEAR: u8 = 0;
const LOCKED: u8 = 1;
const UNLOCKING: u8 = 2;

/// Everything that a keyring knows and writes.
#[derive(Clone)]
pub(super) struct KeySet {
    pub(super) lifecycle: Lifecycle,
    pub(super) deks: Vec<StoredDek>,
    pub(super) slots: Vec<Arc<Slot>>,
    pub(super) attachments: BTreeMap<String, Arc<SecretBytes>>,
    /// The register of keyspaces, by their names.
    pub(super) keyspaces: BTreeMap<String, Registered>,
    /// Optional fields of a later version.
    pub(super) kept: Vec<(u8, Arc<SecretBytes>)>,
}

#[derive(Clone)]
pub(super) struct StoredDek {
    pub(super) live: Arc<LiveDek>,
    /// The DEK seals no more than this many times before the file is written again.
    pub(super) reserved: u64,
}

impl KeySet {
    /// The slots of unlock keys: the current one's, and after it the pending one's.
    pub(super) fn unlock_slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.slots.iter().filter(|slot| slot.is_unlock())
    }

    pub(super) fn passphrase_slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.slots.iter().filter(|slot| !slot.is_unlock())
    }

    pub(super) fn stored(&self, id: DekId) -> Option<&StoredDek> {
        self.deks.iter().find(|stored| stored.live.id() == id)
    }

    /// The set's bytes, after room for what sealing puts before them.
    pub(super) fn encode(&self) -> Result<SecretBytes> {
        let mut out = SecretBytes::new();
        out.resize(xchacha::OVERHEAD);
        out.extend_from_slice(&[VERSION]);
        let life = &self.lifecycle;
        for facts in life.deks() {
            let tag = if facts.id == life.active.id { ACTIVE } else { RETIRING };
            let stored = self.stored(facts.id).ok_or_else(|| facts.id.unknown())?;
            field(&mut out, tag, 49)?;
            out.extend_from_slice(stored.live.secret().expose());
            out.extend_from_slice(&facts.made_at.to_le_bytes());
            out.extend_from_slice(&[u8::from(facts.exposed)]);
            out.extend_from_slice(&stored.reserved.to_le_bytes());
        }
        let (mode, target) = match life.mode {
            Mode::Clear => (CLEAR, 0),
            Mode::Locked => (LOCKED, 0),
            Mode::Unlocking { target } => (UNLOCKING, target),
        };
        field(&mut out, ROTATION, 19)?;
        out.extend_from_slice(&[mode]);
        out.extend_from_slice(&target.to_le_bytes());
        out.extend_from_slice(&[life.running.bits(), life.queued.bits()]);
        out.extend_from_slice(&life.leak.to_le_bytes());
        for slot in &self.slots {
            let exposed = life.slots.get(&slot.head.id).copied().unwrap_or(true);
            field(&mut out, CARD, CARD_LEN)?;
            out.extend_from_slice(&[u8::from(exposed)]);
            out.extend_from_slice(&*slot.card.recipient);
            out.extend_from_slice(slot.card.auth.expose());
        }
        for (name, bytes) in &self.attachments {
            let exposed = life.attachments.get(name).copied().unwrap_or(true);
            let name_len = u8::try_from(name.len()).map_err(|_| unreadable())?;
            field(&mut out, ATTACHMENT, 2 + name.len() + bytes.len())?;
            out.extend_from_slice(&[u8::from(exposed), name_len]);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(bytes.expose());
        }
        for (name, registered) in &self.keyspaces {
            let name_len = u8::try_from(name.len()).map_err(|_| unreadable())?;
            field(&mut out, KEYSPACE, 18 + name.len())?;
            out.extend_from_slice(registered.id.as_bytes());
            out.extend_from_slice(&[u8::from(registered.made), name_len]);
            out.extend_from_slice(name.as_bytes());
        }
        for (tag, bytes) in &self.kept {
            field(&mut out, *tag, bytes.len())?;
            out.extend_from_slice(bytes.expose());
        }
        Ok(out)
    }

    /// Reads what [`KeySet::encode`] wrote; `slots` makes slots of the cards that it held.
    pub(super) fn decode(
        bytes: &[u8],
        kek_version: u64,
        slots: impl FnOnce(Vec<Card>) -> Result<Vec<Arc<Slot>>>,
    ) -> Result<Self> {
        let mut parts = Parts::default();
        let (version, mut rest) = bytes.split_first().ok_or_else(unreadable)?;
        if *version != VERSION {
            return Err(Error::unsupported("key set version", version));
        }
        while !rest.is_empty() {
            let (head, after) = rest.split_first_chunk::<5>().ok_or_else(unreadable)?;
            let [tag, len @ ..] = *head;
            let len = usize::try_from(u32::from_le_bytes(len)).map_err(|_| unreadable())?;
            let (value, after) = after.split_at_checked(len).ok_or_else(unreadable)?;
            parts.field(tag, value)?;
            rest = after;
        }
        let (mode, running, queued, leak) = parts.rotation.ok_or_else(unreadable)?;
        let active = parts.active.ok_or_else(unreadable)?;
        let (exposed, cards): (Vec<bool>, Vec<Card>) = parts.cards.into_iter().unzip();
        let slots = slots(cards)?;
        let exposure = slots.iter().map(|slot| slot.head.id).zip(exposed).collect();
        Ok(Self {
            lifecycle: Lifecycle {
                mode,
                kek_version,
                active,
                retiring: parts.retiring,
                running,
                queued,
                attachments: parts.exposure,
                slots: exposure,
                leak,
            },
            deks: parts.deks,
            slots,
            attachments: parts.attachments,
            keyspaces: parts.keyspaces,
            kept: parts.kept,
        })
    }
}

#[derive(Default)]
struct Parts {
    active: Option<DekFacts>,
    retiring: Vec<DekFacts>,
    deks: Vec<StoredDek>,
    rotation: Option<Rotation>,
    cards: Vec<(bool, Card)>,
    exposure: BTreeMap<String, bool>,
    attachments: BTreeMap<String, Arc<SecretBytes>>,
    /// Length of all attachments, in bytes.
    attached: usize,
    keyspaces: BTreeMap<String, Registered>,
    kept: Vec<(u8, Arc<SecretBytes>)>,
}

impl Parts {
    fn field(&mut self, tag: u8, value: &[u8]) -> Result<()> {
        match tag {
            ACTIVE => {
                let facts = self.dek(value)?;
                if self.active.replace(facts).is_some() {
                    return Err(unreadable());
                }
            }
            RETIRING => {
                let facts = self.dek(value)?;
                self.retiring.push(facts);
            }
            ROTATION => {
                if self.rotation.replace(rotation(value)?).is_some() {
                    return Err(unreadable());
                }
            }
            CARD => self.cards.push(card(value)?),
            ATTACHMENT => self.attachment(value)?,
            KEYSPACE => self.keyspace(value)?,
            _ if tag & OPTIONAL != 0 => self.kept.push((tag, Arc::new(value.into()))),
            _ => return Err(Error::unsupported("key set field", tag)),
        }
        Ok(())
    }

    fn dek(&mut self, value: &[u8]) -> Result<DekFacts> {
        let value: &[u8; 49] = value.try_into().map_err(|_| unreadable())?;
        let (key, rest) = value.split_first_chunk::<32>().ok_or_else(unreadable)?;
        let dek = Dek::from_key(SecretKey::init(|bytes| bytes.copy_from_slice(key)));
        let id = dek.id();
        let facts = DekFacts { id, made_at: u64_at(rest, 0)?, exposed: flag(rest[8])? };
        let reserved = u64_at(rest, 9)?;
        if self.deks.len() == MAX_DEKS || self.deks.iter().any(|d| d.live.id() == id) {
            return Err(unreadable());
        }
        // What was reserved counts as used: how much of it was is not known.
        self.deks.push(StoredDek { live: Arc::new(LiveDek::new(dek, reserved)), reserved });
        Ok(facts)
    }

    fn attachment(&mut self, value: &[u8]) -> Result<()> {
        let (&[exposed, name_len], rest) = value.split_first_chunk().ok_or_else(unreadable)?;
        let (name, bytes) = rest.split_at_checked(usize::from(name_len)).ok_or_else(unreadable)?;
        let name = core::str::from_utf8(name).map_err(|_| unreadable())?;
        check_attachment(name, bytes, self.attached).map_err(|_| unreadable())?;
        self.attached += bytes.len();
        self.exposure.insert(name.to_owned(), flag(exposed)?);
        match self.attachments.insert(name.to_owned(), Arc::new(bytes.into())) {
            None => Ok(()),
            Some(_) => Err(unreadable()),
        }
    }

    fn keyspace(&mut self, value: &[u8]) -> Result<()> {
        let (id, rest) = value.split_first_chunk().ok_or_else(unreadable)?;
        let (&[made, name_len], name) = rest.split_first_chunk().ok_or_else(unreadable)?;
        let name = core::str::from_utf8(name).map_err(|_| unreadable())?;
        let whole = usize::from(name_len) == name.len() && valid_name("keyspace", name).is_ok();
        let registered = Registered { id: KeyspaceId::from_bytes(*id), made: flag(made)? };
        let ordered = self.keyspaces.last_key_value().is_none_or(|(last, _)| **last < *name);
        let another = self.keyspaces.values().all(|other| other.id != registered.id);
        if !whole || !ordered || !another || self.keyspaces.len() == MAX_KEYSPACES {
            return Err(unreadable());
        }
        self.keyspaces.insert(name.to_owned(), registered);
        Ok(())
    }
}

fn card(value: &[u8]) -> Result<(bool, Card)> {
    let value: &[u8; CARD_LEN] = value.try_into().map_err(|_| unreadable())?;
    let ([exposed], card) = value.split_first_chunk().ok_or_else(unreadable)?;
    let (recipient, auth) = card.split_first_chunk::<PUBLIC_LEN>().ok_or_else(unreadable)?;
    // Nothing could be wrapped for another one, and the file could not be written again.
    xwing::check(recipient)?;
    let auth = auth.first_chunk::<KEY_LEN>().ok_or_else(unreadable)?;
    let auth = SecretKey::init(|bytes| bytes.copy_from_slice(auth));
    Ok((flag(*exposed)?, Card { recipient: Box::new(*recipient), auth }))
}

/// Mode, why DEKs are retiring, why there will be one more round, the last leak acted on.
type Rotation = (Mode, Reasons, Reasons, u64);

fn rotation(value: &[u8]) -> Result<Rotation> {
    let value: &[u8; 19] = value.try_into().map_err(|_| unreadable())?;
    let mode = match (value[0], u64_at(value, 1)?) {
        (CLEAR, 0) => Mode::Clear,
        (LOCKED, 0) => Mode::Locked,
        (UNLOCKING, target) => Mode::Unlocking { target },
        _ => return Err(unreadable()),
    };
    let [running, queued] = [value[9], value[10]].map(Reasons::from_bits);
    Ok((mode, running, queued, u64_at(value, 11)?))
}

fn field(out: &mut SecretBytes, tag: u8, len: usize) -> Result<()> {
    let len = u32::try_from(len).map_err(|_| unreadable())?;
    out.extend_from_slice(&[tag]);
    out.extend_from_slice(&len.to_le_bytes());
    Ok(())
}

fn flag(byte: u8) -> Result<bool> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(unreadable()),
    }
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or_else(unreadable)?;
    Ok(u64::from_le_bytes(*bytes))
}

fn unreadable() -> Error {
    Error::damaged("the key set is not well formed")
}
