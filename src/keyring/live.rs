//! The DEKs that a keyring's handles share while it is open.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::key::{Dek, DekId};
use crate::secret::SecretKey;

/// A DEK in use.
pub(crate) struct LiveDek {
    dek: Dek,
    /// How often it has sealed, or may have.
    used: AtomicU64,
    /// How often it may seal before the key file must be written.
    reserved: AtomicU64,
    /// Sealed data that names it and is not yet said to be durable.
    pins: AtomicU64,
    /// The keys that seal, derived once; they go when the DEK goes.
    derived: RwLock<Vec<Derived>>,
}

/// A key for one format in one keyspace.
struct Derived {
    format: u8,
    keyspace: [u8; 16],
    key: Arc<SecretKey>,
}

impl LiveDek {
    pub(super) fn new(dek: Dek, used: u64) -> Self {
        Self {
            dek,
            used: AtomicU64::new(used),
            reserved: AtomicU64::new(used),
            pins: AtomicU64::new(0),
            derived: RwLock::default(),
        }
    }

    pub(crate) const fn id(&self) -> DekId {
        self.dek.id()
    }

    pub(crate) const fn secret(&self) -> &SecretKey {
        self.dek.secret()
    }

    /// The key for `format` in `keyspace`; `derive` makes it of the DEK at the first call.
    pub(crate) fn derived(
        &self,
        format: u8,
        keyspace: &[u8; 16],
        derive: impl FnOnce(&SecretKey) -> SecretKey,
    ) -> Arc<SecretKey> {
        let find = |all: &[Derived]| {
            let found = all.iter().find(|one| one.format == format && one.keyspace == *keyspace);
            found.map(|one| Arc::clone(&one.key))
        };
        let known = find(&self.derived.read().unwrap_or_else(PoisonError::into_inner));
        known.unwrap_or_else(|| {
            let mut all = self.derived.write().unwrap_or_else(PoisonError::into_inner);
            find(&all).unwrap_or_else(|| {
                let key = Arc::new(derive(self.secret()));
                all.push(Derived { format, keyspace: *keyspace, key: Arc::clone(&key) });
                key
            })
        })
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts `uses` more; `false`: they are not reserved, and were not counted.
    pub(super) fn count(&self, uses: u64) -> bool {
        let reserved = self.reserved.load(Ordering::Acquire);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(uses).filter(|sum| *sum <= reserved)
            })
            .is_ok()
    }

    /// How often it may still seal before the key file must be written.
    pub(super) fn left(&self) -> u64 {
        self.reserved.load(Ordering::Acquire).saturating_sub(self.used())
    }

    pub(super) fn allow(&self, reserved: u64) {
        self.reserved.store(reserved, Ordering::Release);
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.pins.load(Ordering::Acquire) != 0
    }
}

/// Holds a DEK as one that sealed data on its way to the disk names.
pub(crate) struct Pin(Arc<LiveDek>);

impl Pin {
    pub(super) fn new(dek: Arc<LiveDek>) -> Self {
        dek.pins.fetch_add(1, Ordering::AcqRel);
        Self(dek)
    }

    pub(crate) fn dek(&self) -> &LiveDek {
        &self.0
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.pins.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The DEKs that seal and open at this moment.
pub(super) struct Live {
    pub(super) active: Arc<LiveDek>,
    pub(super) all: Vec<Arc<LiveDek>>,
    pub(super) exposed: Vec<DekId>,
    /// The epoch of the file that they stand in.
    pub(super) epoch: u64,
}

impl Live {
    pub(super) fn find(&self, id: DekId) -> Option<&Arc<LiveDek>> {
        self.all.iter().find(|dek| dek.id() == id)
    }
}

/// Set by the first write that fails; nothing is written or sealed after that.
#[derive(Default)]
pub(super) struct Poison(AtomicBool);

impl Poison {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
