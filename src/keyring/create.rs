use core::fmt;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::set::KeySet;
use super::shared::{Access, Shared, Writer, encode, first_reserve, live, now};
use super::slot::Slot;
use super::{Keyring, Location, check_attachment};
use crate::error::{Error, Misuse, Result};
use crate::fs;
use crate::key::{
    Card, Dek, Identity, Lifecycle, Lock, LockRecord, MAX_VERSION, Mode, Offer, UnlockKey,
};
use crate::secret::SecretBytes;

/// What a new key file is locked with.
pub struct Protector {
    kek_version: u64,
    /// Of the record whose leak need not be acted on: what is made now is newer.
    leak: u64,
    /// The current key's, and after it the pending one's.
    cards: Vec<Card>,
}

impl Protector {
    /// The unlock key, as version 0: for the first node of a cluster.
    #[must_use]
    pub fn unlock_key(key: &UnlockKey) -> Self {
        Self { kek_version: 0, leak: 0, cards: vec![Card::of_unlock_key(key.secret())] }
    }

    /// What the cluster's lock record says: for a node that joins. It need not have the key.
    #[must_use]
    pub fn lock_record(record: &LockRecord) -> Self {
        let cards = match record.lock() {
            Lock::Off => Vec::new(),
            Lock::On { current, pending } => {
                let holders = [current].into_iter().chain(pending);
                holders.map(|holder| holder.card.duplicate()).collect()
            }
        };
        Self { kek_version: record.version(), leak: record.leaked(), cards }
    }

    /// Nothing: the file key stands in the file in the clear.
    ///
    /// # Security
    ///
    /// Whoever reads the disk, or a backup of it, has everything that this node sealed.
    #[must_use]
    pub const fn none() -> Self {
        Self { kek_version: 0, leak: 0, cards: Vec::new() }
    }
}

impl fmt::Debug for Protector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protector")
            .field("kek_version", &self.kek_version)
            .field("locked", &!self.cards.is_empty())
            .finish()
    }
}

impl Keyring {
    /// Makes the keys of a new node and writes them, with `attachments`, in one write.
    ///
    /// The folder is created where it is missing.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if there is a key file already, [`Error::Busy`] if another is at it,
    /// [`Misuse::Name`] and [`Misuse::TooLarge`] for attachments as with [`Keyring::attach`],
    /// [`Misuse::State`] for two of one name, [`Error::Io`] and the like.
    pub fn create(
        at: impl Into<Location>,
        identity: &Identity,
        protector: Protector,
        attachments: &[(&str, &[u8])],
    ) -> Result<Self> {
        let location = at.into();
        let attachments = collect(attachments)?;
        if protector.kek_version > MAX_VERSION {
            return Err(Misuse::OutOfBounds("version of a lock record").into());
        }
        let slots = protector.cards.into_iter().map(|card| Slot::for_card(card).map(Arc::new));
        let slots = slots.collect::<Result<Vec<_>>>()?;
        let mode = if slots.is_empty() { Mode::Clear } else { Mode::Locked };
        let dek = Dek::generate(|_| false)?;
        let offer = Offer { id: dek.id(), now: now() };
        let mut lifecycle = Lifecycle::first(mode, protector.kek_version, offer);
        let exposed = mode == Mode::Clear;
        lifecycle.leak = protector.leak;
        lifecycle.slots = slots.iter().map(|slot| (slot.head.id, false)).collect();
        lifecycle.attachments = attachments.keys().map(|name| (name.clone(), exposed)).collect();
        let deks = vec![first_reserve(dek)];
        let keyspaces = BTreeMap::new();
        let set = KeySet { lifecycle, deks, slots, attachments, keyspaces, kept: Vec::new() };

        location
            .fs
            .create_dir_all(&location.dir)
            .map_err(|e| Error::io("create", &location.dir, e))?;
        let lock = location.lock()?;
        let path = location.file();
        match location.fs.open_read(&path) {
            Ok(_) => return Err(Error::Exists(path)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("open", &path, e)),
        }
        let epoch = 1;
        let file = encode(identity, epoch, &set)?;
        fs::replace(&*location.fs, &path, file.expose())?;
        for stored in &set.deks {
            stored.live.allow(stored.reserved);
        }
        let live = live(&set, epoch)?;
        let writer = Writer::new(set, false, Access::Write(lock));
        Ok(Self::new(Shared::new(identity.clone(), location, live, writer)))
    }
}

fn collect(attachments: &[(&str, &[u8])]) -> Result<BTreeMap<String, Arc<SecretBytes>>> {
    let mut collected = BTreeMap::new();
    let mut total = 0;
    for (name, bytes) in attachments {
        check_attachment(name, bytes, total)?;
        total += bytes.len();
        let value = Arc::new(SecretBytes::from(*bytes));
        if collected.insert((*name).to_owned(), value).is_some() {
            return Err(Misuse::State("two attachments of one name").into());
        }
    }
    Ok(collected)
}
