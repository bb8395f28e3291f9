//! Draft.
mod crypto;
mod error;
pub mod fs;
pub mod hazmat;
pub mod key;
pub mod keyring;
pub mod seal;
pub mod secret;
#[cfg(feature = "swarm")]
pub mod swarm;
#[cfg(feature = "swarm")]
mod wal;
pub use error::{Error, ErrorKind, KeyTextFault, Misuse, Place, Result};
pub use key::{Costs, DekId, Identity, LockRecord, Passphrase, Reason, UnlockKey};
pub use keyring::{Keyring, LockPolicy, LockedKeyring, Opened, Protector};
