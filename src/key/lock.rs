use core::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::card::Card;
use super::unlock::UnlockKey;
use crate::crypto::xwing::{self, PUBLIC_LEN};
use crate::crypto::{hkdf, verdict};
use crate::error::{Error, Misuse, Result};
use crate::secret::{KEY_LEN, SecretBytes, SecretKey};

#[cfg(test)]
mod tests;

const FORMAT: u8 = 1;
/// What is stored in the place of a key.
const NONE: u8 = 0;
const CARD: u8 = 1;
const CARD_AND_KEY: u8 = 2;
const CHECK_LEN: usize = 32;
/// The last version that a record can have, so that there is always a next one.
pub(crate) const MAX_VERSION: u64 = u64::MAX - 1;

/// The replicated record from which every node learns how to lock its key file.
///
/// It holds a version that only grows, the version at which a leak was last declared, and, if the
/// cluster is locked, the unlock key's *card*: an X-Wing public key and `auth`, enough to wrap for
/// the key. The unlock key itself does not follow from it, unless the record was made
/// [`retrievable`](LockRecord::retrievable).
///
/// # Changing the unlock key
///
/// A new key binds only once its operator has it: [`LockRecord::with_pending`] puts its card beside
/// the current one, and every node that applies the record opens with either key.
/// [`LockRecord::confirm`], once [`LockRecord::is_pending_for`] held for the key that the operator
/// typed, makes it the only one; [`LockRecord::withdraw`] drops it. Where the new key is known to be
/// in the operator's hands, [`LockRecord::with_key`] does both steps at once.
///
/// # Format
///
/// `format 1 (0x01) · version 8 · leaked 8 · current · pending · check 32`, numbers little-endian.
/// `current` and `pending` are `kind 1`, then for kind 1 `recipient 1216 · auth 32`, for kind 2 also
/// `unlock key 32`; kind 0 has no more. `check` is over all bytes before it:
/// `HKDF(auth, "nodeseal/v1/lock-record", bytes)` with the current card's auth, or their SHA-256 where
/// the cluster is not locked. It finds corruption.
///
/// # Security
///
/// `auth` is a secret of the cluster's managers: replicate the record only in sealed logs. An attacker
/// who has it can make key files that open with the unlock key, but can open none.
///
/// ```
/// use nodeseal::{LockRecord, UnlockKey};
///
/// let (key, next) = (UnlockKey::generate()?, UnlockKey::generate()?);
/// let record = LockRecord::locked(7, &key).with_pending(&next)?;
/// let again = LockRecord::decode(record.encode().expose())?;
/// assert_eq!(again.version(), 8);
/// assert!(again.is_for(&key) && again.is_pending_for(&next));
/// assert!(again.confirm()?.is_for(&next));
/// # Ok::<(), nodeseal::Error>(())
/// ```
pub struct LockRecord {
    version: u64,
    leaked: u64,
    lock: Lock,
}

pub(crate) enum Lock {
    Off,
    On { current: Holder, pending: Option<Holder> },
}

/// A card, and the key itself where the record is retrievable.
pub(crate) struct Holder {
    pub(crate) card: Card,
    pub(crate) key: Option<UnlockKey>,
}

impl Holder {
    fn of(key: &UnlockKey, retrievable: bool) -> Self {
        let card = Card::of_unlock_key(key.secret());
        let key = retrievable.then(|| UnlockKey::from_key(key.secret().duplicate()));
        Self { card, key }
    }

    fn duplicate(&self) -> Self {
        let key = self.key.as_ref().map(|key| UnlockKey::from_key(key.secret().duplicate()));
        Self { card: self.card.duplicate(), key }
    }

    fn is_for(&self, key: &UnlockKey) -> bool {
        verdict::public(self.card.same(&Card::of_unlock_key(key.secret())))
    }
}

impl LockRecord {
    /// Returns the record of a cluster that is locked with `key`.
    ///
    /// Made for a cluster that has no record yet, or that is not locked. A node refuses a version of
    /// `u64::MAX`.
    #[must_use]
    pub fn locked(version: u64, key: &UnlockKey) -> Self {
        Self { version, leaked: 0, lock: Lock::on(Holder::of(key, false)) }
    }

    /// Like [`LockRecord::locked`], with the unlock key itself in the record, so that an operator
    /// can be shown it again, as Docker Swarm does.
    ///
    /// # Security
    ///
    /// Every manager's memory, log and snapshot then hold the unlock key: an attacker who opens one of
    /// them can unlock every manager of the cluster.
    #[must_use]
    pub fn retrievable(version: u64, key: &UnlockKey) -> Self {
        Self { version, leaked: 0, lock: Lock::on(Holder::of(key, true)) }
    }

    /// Returns the record of a cluster that is not locked.
    #[must_use]
    pub const fn off(version: u64) -> Self {
        Self { version, leaked: 0, lock: Lock::Off }
    }

    /// Returns the next record, with `key` as the current key at once and no pending one.
    ///
    /// It is retrievable if this one is.
    ///
    /// # Errors
    ///
    /// [`Misuse::OutOfBounds`] if there is no next version; [`Misuse::State`] if the cluster is not
    /// locked, or `key` is the current one.
    pub fn with_key(&self, key: &UnlockKey) -> Result<Self> {
        let next = Holder::of(key, self.new_holder(key)?);
        self.next(Lock::on(next))
    }

    /// Returns the next record, with `key` as the pending key beside the current one. Another pending
    /// key is replaced.
    ///
    /// It is retrievable if this one is.
    ///
    /// # Errors
    ///
    /// Like [`LockRecord::with_key`].
    pub fn with_pending(&self, key: &UnlockKey) -> Result<Self> {
        let pending = Some(Holder::of(key, self.new_holder(key)?));
        let Lock::On { current, .. } = &self.lock else { return Err(NOT_LOCKED.into()) };
        self.next(Lock::On { current: current.duplicate(), pending })
    }

    /// Returns the next record, in which the pending key is the current and only one.
    ///
    /// # Errors
    ///
    /// [`Misuse::OutOfBounds`] if there is no next version; [`Misuse::State`] if no key is pending.
    pub fn confirm(&self) -> Result<Self> {
        match &self.lock {
            Lock::On { pending: Some(pending), .. } => self.next(Lock::on(pending.duplicate())),
            _ => Err(NONE_PENDING.into()),
        }
    }

    /// Returns the next record, without the pending key.
    ///
    /// # Errors
    ///
    /// Like [`LockRecord::confirm`].
    pub fn withdraw(&self) -> Result<Self> {
        match &self.lock {
            Lock::On { current, pending: Some(_) } => self.next(Lock::on(current.duplicate())),
            _ => Err(NONE_PENDING.into()),
        }
    }

    /// Returns the next record of a cluster that is not locked any more.
    ///
    /// # Errors
    ///
    /// [`Misuse::OutOfBounds`] if there is no next version.
    pub fn turned_off(&self) -> Result<Self> {
        self.next(Lock::Off)
    }

    /// Returns the same record with a leak declared at its version: every node that applies it, or a
    /// later one, rekeys once as with [`Rekey::Leaked`](super::Rekey::Leaked).
    ///
    /// Combine it with the record of a new key, current or pending. A leak does not wait for the
    /// pending key: the new DEK is made at once, and the node reports
    /// [`Protection::Locking`](super::Protection::Locking) until the leaked key's slot is gone.
    #[must_use]
    pub fn with_leak(mut self) -> Self {
        self.leaked = self.version;
        self
    }

    /// Returns the version. A node ignores a record that is older than the one it has applied.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Returns the version of the record that last declared a leak; 0 if none did.
    #[must_use]
    pub const fn leaked(&self) -> u64 {
        self.leaked
    }

    /// Reports whether the cluster is locked.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        matches!(self.lock, Lock::On { .. })
    }

    /// Reports whether a new unlock key waits to be confirmed.
    #[must_use]
    pub const fn has_pending(&self) -> bool {
        matches!(self.lock, Lock::On { pending: Some(_), .. })
    }

    /// Reports whether `key` is the cluster's current unlock key, so that operators can prove theirs
    /// before they need it.
    #[must_use]
    pub fn is_for(&self, key: &UnlockKey) -> bool {
        matches!(&self.lock, Lock::On { current, .. } if current.is_for(key))
    }

    /// Reports whether `key` is the unlock key that waits to be confirmed.
    #[must_use]
    pub fn is_pending_for(&self, key: &UnlockKey) -> bool {
        matches!(&self.lock, Lock::On { pending: Some(pending), .. } if pending.is_for(key))
    }

    /// Returns the current unlock key, if the record is retrievable.
    #[must_use]
    pub const fn unlock_key(&self) -> Option<&UnlockKey> {
        match &self.lock {
            Lock::On { current: Holder { key: Some(key), .. }, .. } => Some(key),
            _ => None,
        }
    }

    /// Returns the pending unlock key, if there is one and the record is retrievable.
    #[must_use]
    pub const fn pending_unlock_key(&self) -> Option<&UnlockKey> {
        match &self.lock {
            Lock::On { pending: Some(Holder { key: Some(key), .. }), .. } => Some(key),
            _ => None,
        }
    }

    pub(crate) const fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Reports whether both have the same current card.
    #[cfg(feature = "cluster")]
    pub(crate) fn same_current(&self, other: &Self) -> bool {
        match (&self.lock, &other.lock) {
            (Lock::On { current: one, .. }, Lock::On { current: other, .. }) => {
                one.card.same(&other.card)
            }
            (Lock::Off, Lock::Off) => true,
            _ => false,
        }
    }

    /// Reports whether the pending card of `self` is the current one of `next`.
    #[cfg(feature = "cluster")]
    pub(crate) fn promotes(&self, next: &Self) -> bool {
        match (self.pending(), &next.lock) {
            (Some(pending), Lock::On { current, .. }) => pending.card.same(&current.card),
            _ => false,
        }
    }

    /// Reports whether `self` holds a pending card that is not the one of `before`.
    #[cfg(feature = "cluster")]
    pub(crate) fn brings_pending(&self, before: &Self) -> bool {
        let same = |one: &Holder| before.pending().is_some_and(|other| one.card.same(&other.card));
        self.pending().is_some_and(|pending| !same(pending))
    }

    #[cfg(feature = "cluster")]
    const fn pending(&self) -> Option<&Holder> {
        match &self.lock {
            Lock::On { pending, .. } => pending.as_ref(),
            Lock::Off => None,
        }
    }

    /// Whether the new holder of `key` is retrievable; an error if it cannot be a new one.
    fn new_holder(&self, key: &UnlockKey) -> Result<bool> {
        match &self.lock {
            Lock::Off => Err(NOT_LOCKED.into()),
            Lock::On { current, .. } if current.is_for(key) => {
                Err(Misuse::State("the new unlock key is the current one").into())
            }
            Lock::On { current, .. } => Ok(current.key.is_some()),
        }
    }

    fn next(&self, lock: Lock) -> Result<Self> {
        let version = self.version.checked_add(1).filter(|version| *version <= MAX_VERSION);
        let version = version.ok_or(Misuse::OutOfBounds("version of a lock record"))?;
        Ok(Self { version, leaked: self.leaked, lock })
    }

    /// Returns the record's bytes.
    #[must_use]
    pub fn encode(&self) -> SecretBytes {
        let of = |holder: Option<&Holder>| match holder {
            None => 1,
            Some(holder) => 1 + PUBLIC_LEN + KEY_LEN + holder.key.as_ref().map_or(0, |_| KEY_LEN),
        };
        let (current, pending) = match &self.lock {
            Lock::Off => (None, None),
            Lock::On { current, pending } => (Some(current), pending.as_ref()),
        };
        let len = 17 + of(current) + of(pending) + CHECK_LEN;
        let mut bytes = SecretBytes::with_capacity(len);
        bytes.extend_from_slice(&[FORMAT]);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.leaked.to_le_bytes());
        put(&mut bytes, current);
        put(&mut bytes, pending);
        let check = check(current.map(|holder| &holder.card.auth), bytes.expose());
        bytes.extend_from_slice(&check);
        bytes
    }

    /// Reads what [`LockRecord::encode`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] for bytes of another form, for a check that does not hold, and for a version
    /// of `u64::MAX`; [`Error::Unsupported`] for a later format.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        match bytes.first() {
            Some(&FORMAT) => {}
            Some(later) => return Err(Error::unsupported("lock record format", later)),
            None => return Err(malformed()),
        }
        let (above, found) = bytes.split_last_chunk::<CHECK_LEN>().ok_or_else(malformed)?;
        let (head, mut rest) = above.split_first_chunk::<17>().ok_or_else(malformed)?;
        let current = get(&mut rest)?;
        let pending = get(&mut rest)?;
        let expected = check(current.as_ref().map(|holder| &holder.card.auth), above);
        if !rest.is_empty() || !verdict::public(expected.ct_eq(found).into()) {
            return Err(malformed());
        }
        let number = |at: usize| {
            let bytes = head.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map(|bytes| u64::from_le_bytes(*bytes)).ok_or_else(malformed)
        };
        let (version, leaked) = (number(1)?, number(9)?);
        let lock = match (current, pending) {
            (None, None) => Lock::Off,
            (Some(current), pending) => {
                let same = |one: &Holder| one.card.same(&current.card);
                if pending.as_ref().is_some_and(same) {
                    return Err(malformed());
                }
                Lock::On { current, pending }
            }
            (None, Some(_)) => return Err(malformed()),
        };
        if version > MAX_VERSION || leaked > version {
            return Err(Error::damaged("a lock record's version is out of bounds"));
        }
        Ok(Self { version, leaked, lock })
    }
}

impl Lock {
    const fn on(current: Holder) -> Self {
        Self::On { current, pending: None }
    }
}

const NOT_LOCKED: Misuse = Misuse::State("the cluster is not locked");
const NONE_PENDING: Misuse = Misuse::State("no unlock key is pending");

fn put(out: &mut SecretBytes, holder: Option<&Holder>) {
    let Some(Holder { card, key }) = holder else { return out.extend_from_slice(&[NONE]) };
    out.extend_from_slice(&[if key.is_some() { CARD_AND_KEY } else { CARD }]);
    out.extend_from_slice(&*card.recipient);
    out.extend_from_slice(card.auth.expose());
    if let Some(key) = key {
        out.extend_from_slice(key.secret().expose());
    }
}

fn get(rest: &mut &[u8]) -> Result<Option<Holder>> {
    let [kind] = *take(rest)?;
    if kind == NONE {
        return Ok(None);
    }
    let recipient = Box::new(*take::<PUBLIC_LEN>(rest)?);
    let auth = secret(take(rest)?);
    let card = Card { recipient, auth };
    match kind {
        CARD => {
            // A file that nothing can be wrapped for could not be written.
            xwing::check(&card.recipient)?;
            Ok(Some(Holder { card, key: None }))
        }
        CARD_AND_KEY => {
            let holder = Holder::of(&UnlockKey::from_key(secret(take(rest)?)), true);
            if holder.card.same(&card) {
                Ok(Some(holder))
            } else {
                Err(Error::damaged("a lock record's key is not its card's"))
            }
        }
        _ => Err(malformed()),
    }
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N]> {
    let (taken, after) = rest.split_first_chunk().ok_or_else(malformed)?;
    *rest = after;
    Ok(taken)
}

fn secret(bytes: &[u8; KEY_LEN]) -> SecretKey {
    SecretKey::init(|key| key.copy_from_slice(bytes))
}

fn check(auth: Option<&SecretKey>, above: &[u8]) -> [u8; CHECK_LEN] {
    const LABEL: &str = "nodeseal/v1/lock-record";
    match auth {
        Some(auth) => {
            let mut check = [0; CHECK_LEN];
            hkdf::expand(auth.expose(), LABEL, &[above], &mut check);
            check
        }
        None => Sha256::digest(above).into(),
    }
}

fn malformed() -> Error {
    Error::damaged("not a lock record")
}

impl fmt::Debug for LockRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockRecord")
            .field("version", &self.version)
            .field("leaked", &self.leaked)
            .field("locked", &self.is_locked())
            .field("pending", &self.has_pending())
            .finish_non_exhaustive()
    }
}
