//! Keys that never change, so that what is sealed in a corpus opens. They protect nothing.

use std::path::Path;
use std::sync::Arc;

use nodeseal::fs::SimFs;
use nodeseal::keyring::{Keyspace, Location};
use nodeseal::secret::SecretKey;
use nodeseal::{Identity, Keyring, LockPolicy, Opened, UnlockKey};

use crate::key_file::{Field, Slot, key_file};
use crate::reference::Key;

pub const CLUSTER: &str = "prod";
pub const NODE: &str = "m1";
/// The unlock key.
pub const KEK: Key = *b"the unlock key of all fuzz tests";
/// The DEK that seals.
pub const ACTIVE: Key = *b"the active DEK of all fuzz tests";
/// A DEK that only opens.
pub const RETIRING: Key = *b"a retiring DEK of all fuzz tests";
/// Both, in the order of the key file.
pub const DEKS: [Key; 2] = [ACTIVE, RETIRING];
/// The key that stands in a key file in the clear.
pub const FILE_KEY: Key = *b"the file key of all fuzz tests!!";
/// The keyspace of everything that is sealed in a corpus, and its id.
pub const KEYSPACE: &str = "mine";
pub const KEYSPACE_ID: [u8; 16] = *b"a keyspace's id.";
/// The folder of the key file.
pub const DIR: &str = "/keys";

#[must_use]
pub fn identity() -> Identity {
    Identity::new(CLUSTER, NODE).expect("valid names")
}

#[must_use]
pub fn unlock_key() -> UnlockKey {
    UnlockKey::from_key(SecretKey::init(|bytes| *bytes = KEK))
}

/// A key set with both DEKs; `mode` is 0 for a file in the clear, 1 for a locked one.
#[must_use]
pub fn key_set(mode: u8) -> Vec<Field> {
    let mut fields = vec![
        Field::dek(1, &ACTIVE, 1_700_000_000, mode == 0, 0),
        Field::dek(2, &RETIRING, 1_600_000_000, mode == 0, 7),
        Field::rotation(mode, 0, 1, 0),
    ];
    if mode != 0 {
        fields.push(Slot::unlock(&KEK).field(false));
    }
    fields.push(Field::attachment("tls", false, b"pem"));
    fields.push(Field::keyspace(KEYSPACE, &KEYSPACE_ID, true));
    fields
}

/// The key file with them: in the clear or locked.
#[must_use]
pub fn node_keys(mode: u8) -> Vec<u8> {
    let slot = (mode != 0).then(|| Slot::unlock(&KEK));
    key_file(5, 3, slot.as_ref(), &Field::encode(&key_set(mode)))
}

/// A disk with this key file.
#[must_use]
pub fn disk(key_file: &[u8]) -> (SimFs, Location) {
    let disk = SimFs::new();
    disk.write_file(&Path::new(DIR).join("node.keys"), key_file).expect("a new disk");
    let location = Location::on(Arc::new(disk.clone()), DIR);
    (disk, location)
}

/// Opens the key file at `location` as far as the fixed keys do.
///
/// # Errors
///
/// Those of the library.
pub fn open(location: Location) -> nodeseal::Result<Keyring> {
    match Keyring::open(location, &identity(), LockPolicy::Any)? {
        Opened::Unlocked(keyring) => Ok(keyring),
        Opened::Locked(locked) => Ok(locked.unlock(&unlock_key())?),
    }
}

/// The keyring with both DEKs.
#[must_use]
pub fn keyring() -> Keyring {
    open(disk(&node_keys(1)).1).expect("the fixed key file opens")
}

/// The keyspace of it.
#[must_use]
pub fn keyspace() -> Keyspace {
    keyring().keyspace(KEYSPACE).expect("it is registered")
}
