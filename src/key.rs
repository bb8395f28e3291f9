//! Keys and their life cycle, without any I/O.

mod card;
mod dek;
mod id;
mod lifecycle;
mod lock;
mod passphrase;
mod unlock;

pub(crate) use card::{Card, Kind, SlotId, auth, seed};
pub(crate) use dek::Dek;
pub use dek::DekId;
pub use id::Identity;
pub(crate) use id::valid_name;
#[cfg(test)]
pub(crate) use lifecycle::RESERVED_DEKS;
pub(crate) use lifecycle::{
    DekFacts, Effect, Event, Lifecycle, MAX_DEKS, Mode, Offer, SlotChange, SlotIds, Wanted,
};
pub use lifecycle::{Protection, Reason, Reasons, Reconciled, Rekey, RotateDek};
pub use lock::LockRecord;
pub(crate) use lock::{Holder, Lock, MAX_VERSION};
pub use passphrase::Passphrase;
pub use unlock::UnlockKey;

pub use crate::crypto::argon2id::Costs;
