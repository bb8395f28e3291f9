use core::fmt;

use super::card::Card;
use super::unlock::UnlockKey;
use crate::crypto::xwing::{self, PUBLIC_LEN};
use crate::error::{Error, Result};
use crate::secret::{KEY_LEN, SecretBytes, SecretKey};

const FORMAT: u8 = 1;
const OFF: u8 = 0;
const ON: u8 = 1;
const RETRIEVABLE: u8 = 2;

/// The replicated record from which every node learns how to lock its key file.
///
/// It holds a version that only grows, and, if the cluster is locked, what it takes to wrap for
/// the unlock key: its card, an X-Wing public key and `auth`. The unlock key itself does not follow from
/// it, unless the record was made [`retrievable`](LockRecord::retrievable).
///
/// # Format
///
/// `format 1 (0x01) · kind 1 · version 8 (little-endian)`, then for kind 1 (locked)
/// `recipient 1216 · auth 32`, for kind 2 (retrievable) `recipient 1216 · auth 32 · unlock key 32`;
/// kind 0 (not locked) has no more.
///
/// # Security
///
/// `auth` is a secret of the cluster's managers: replicate the record only in sealed logs. Whoever
/// has it can make key files that open with the unlock key, but can open none.
///
/// ```
/// use nodeseal::{LockRecord, UnlockKey};
///
/// let key = UnlockKey::generate()?;
/// let record = LockRecord::locked(7, &key);
/// let again = LockRecord::decode(record.encode().expose())?;
/// assert_eq!(again.version(), 7);
/// assert!(again.is_locked() && again.unlock_key().is_none());
/// # Ok::<(), nodeseal::Error>(())
/// ```
pub struct LockRecord {
    version: u64,
    lock: Lock,
}

pub(crate) enum Lock {
    Off,
    On { card: Card, key: Option<UnlockKey> },
}

impl LockRecord {
    /// The cluster is locked with `key`.
    #[must_use]
    pub fn locked(version: u64, key: &UnlockKey) -> Self {
        let card = Card::of_unlock_key(key.secret());
        Self { version, lock: Lock::On { card, key: None } }
    }

    /// As [`LockRecord::locked`], with the unlock key itself in the record, so that an operator
    /// can be shown it again, as Docker Swarm does.
    ///
    /// # Security
    ///
    /// Every manager's memory, log and snapshot then hold the unlock key: who opens one of them
    /// can unlock every manager of the cluster.
    #[must_use]
    pub fn retrievable(version: u64, key: &UnlockKey) -> Self {
        let card = Card::of_unlock_key(key.secret());
        let key = Some(UnlockKey::from_key(key.secret().duplicate()));
        Self { version, lock: Lock::On { card, key } }
    }

    /// The cluster is not locked.
    #[must_use]
    pub const fn off(version: u64) -> Self {
        Self { version, lock: Lock::Off }
    }

    /// The version. A node ignores a record that is older than the one it has applied.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whether the cluster is locked.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        matches!(self.lock, Lock::On { .. })
    }

    /// The unlock key, if the record is retrievable.
    #[must_use]
    pub const fn unlock_key(&self) -> Option<&UnlockKey> {
        match &self.lock {
            Lock::On { key: Some(key), .. } => Some(key),
            _ => None,
        }
    }

    pub(crate) const fn lock(&self) -> &Lock {
        &self.lock
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> SecretBytes {
        let mut bytes = SecretBytes::with_capacity(10 + PUBLIC_LEN + 2 * KEY_LEN);
        let kind = match &self.lock {
            Lock::Off => OFF,
            Lock::On { key: None, .. } => ON,
            Lock::On { key: Some(_), .. } => RETRIEVABLE,
        };
        bytes.extend_from_slice(&[FORMAT, kind]);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        if let Lock::On { card, key } = &self.lock {
            bytes.extend_from_slice(&*card.recipient);
            bytes.extend_from_slice(card.auth.expose());
            if let Some(key) = key {
                bytes.extend_from_slice(key.secret().expose());
            }
        }
        bytes
    }

    /// Reads what [`LockRecord::encode`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] for bytes of another form, [`Error::Unsupported`] for a later format.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::damaged("not a lock record");
        let (&[format, kind], rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
        if format != FORMAT {
            return Err(Error::unsupported("lock record format", format));
        }
        let (version, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let version = u64::from_le_bytes(*version);
        if kind == OFF {
            return if rest.is_empty() { Ok(Self::off(version)) } else { Err(damaged()) };
        }
        let (recipient, rest) = rest.split_first_chunk::<PUBLIC_LEN>().ok_or_else(damaged)?;
        xwing::check(recipient)?;
        let (keys, rest) = rest.as_chunks::<KEY_LEN>();
        if !rest.is_empty() {
            return Err(damaged());
        }
        let secret = |key: &[u8; KEY_LEN]| SecretKey::init(|bytes| bytes.copy_from_slice(key));
        let card = |auth| Card { recipient: Box::new(*recipient), auth: secret(auth) };
        match (kind, keys) {
            (ON, [auth]) => Ok(Self { version, lock: Lock::On { card: card(auth), key: None } }),
            (RETRIEVABLE, [auth, key]) => {
                let read = card(auth);
                let record = Self::retrievable(version, &UnlockKey::from_key(secret(key)));
                match &record.lock {
                    Lock::On { card, .. } if card.same(&read) => Ok(record),
                    _ => Err(Error::damaged("a lock record's key is not its card's")),
                }
            }
            _ => Err(damaged()),
        }
    }
}

impl fmt::Debug for LockRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockRecord")
            .field("version", &self.version)
            .field("locked", &self.is_locked())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_round_trips_and_nothing_else_decodes() {
        let key = UnlockKey::generate().unwrap();
        for record in
            [LockRecord::off(1), LockRecord::locked(2, &key), LockRecord::retrievable(3, &key)]
        {
            let bytes = record.encode();
            let again = LockRecord::decode(bytes.expose()).unwrap();
            assert_eq!(again.encode().expose(), bytes.expose());
            assert_eq!(again.unlock_key().is_some(), record.unlock_key().is_some());
            for len in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
                assert!(LockRecord::decode(&bytes.expose()[..len]).is_err(), "cut to {len}");
            }
            let longer = [bytes.expose(), &[0]].concat();
            assert!(LockRecord::decode(&longer).is_err());
        }
    }

    #[test]
    fn later_formats_and_other_kinds_are_told_apart() {
        let mut bytes = LockRecord::off(1).encode();
        bytes.expose_mut()[0] = 2;
        assert!(matches!(LockRecord::decode(bytes.expose()), Err(Error::Unsupported { .. })));
        let bytes = LockRecord::locked(1, &UnlockKey::generate().unwrap()).encode();
        for kind in [OFF, RETRIEVABLE, 3, 0xff] {
            let other = [&[FORMAT, kind], &bytes.expose()[2..]].concat();
            assert!(matches!(LockRecord::decode(&other), Err(Error::Damaged { .. })), "{kind}");
        }
    }

    #[test]
    fn only_a_retrievable_record_holds_the_key() {
        let key = UnlockKey::generate().unwrap();
        let holds = |record: &LockRecord| {
            record.encode().expose().windows(KEY_LEN).any(|bytes| bytes == key.secret().expose())
        };
        assert!(!holds(&LockRecord::locked(1, &key)));
        let record = LockRecord::retrievable(1, &key);
        assert!(holds(&record) && record.unlock_key().unwrap().ct_eq(&key));
    }

    #[test]
    fn a_retrievable_key_must_be_its_recipients() {
        let mut bytes = LockRecord::retrievable(3, &UnlockKey::generate().unwrap()).encode();
        for at in (10..1226).step_by(19).chain(1226..bytes.len()) {
            bytes.expose_mut()[at] ^= 1;
            assert!(LockRecord::decode(bytes.expose()).is_err(), "byte {at}");
            bytes.expose_mut()[at] ^= 1;
        }
    }
}
