//! Changes of a cluster object that keep everything else in it, known or not.

use std::time::{SystemTime, UNIX_EPOCH};

use super::cluster::MANAGER;
use super::last_bytes;
use crate::error::{Error, Result};
use crate::key::UnlockKey;
use crate::secret::SecretBytes;
use crate::wal::encode::Message;
use crate::wal::proto::Fields;

// Fields of a cluster object.
const META: u64 = 2;
const SPEC: u64 = 3;
const UNLOCK_KEYS: u64 = 9;
/// Field of the spec.
const ENCRYPTION: u64 = 8;

/// The cluster object with another unlock key for its managers, or none, as of `version`.
///
/// As dockerd changes it: keys of other subsystems stay, the spec says whether managers are locked,
/// and the object's version is the key's.
///
/// # Errors
///
/// [`Error::Damaged`] if it is no cluster object.
pub(crate) fn with_unlock_key(
    cluster: &[u8],
    version: u64,
    key: Option<&UnlockKey>,
) -> Result<SecretBytes> {
    let mut edited = Message::with_capacity(cluster.len() + 256);
    let (mut before, mut after) = (Message::new(), Message::new());
    let mut kept = Message::new();
    let (mut has_meta, mut has_spec) = (false, false);
    for field in Fields::of(cluster) {
        let (number, value) = field?;
        match number {
            META => {
                has_meta = true;
                before.bytes(2, meta(value.bytes()?, version)?.as_bytes());
            }
            SPEC => {
                has_spec = true;
                before.bytes(3, spec(value.bytes()?, key.is_some())?.as_bytes());
            }
            UNLOCK_KEYS if last_bytes(value.bytes()?, 1)? == MANAGER.as_bytes() => {}
            UNLOCK_KEYS => kept.value(number, value),
            _ if number < UNLOCK_KEYS => before.value(number, value),
            _ => after.value(number, value),
        }
    }
    if !has_meta || !has_spec {
        return Err(Error::damaged("a cluster object without version or settings"));
    }
    edited.raw(before.as_bytes());
    edited.raw(kept.as_bytes());
    if let Some(key) = key {
        let mut entry = Message::new();
        entry.bytes(1, MANAGER.as_bytes());
        entry.bytes(3, key.secret().expose());
        edited.bytes(9, entry.as_bytes());
    }
    edited.raw(after.as_bytes());
    Ok(edited.into_secret())
}

/// The request that updates the cluster object, as it stands in an entry of the log.
pub(crate) fn update_request(request_id: u64, cluster: &SecretBytes) -> SecretBytes {
    let mut action = Message::with_capacity(cluster.len() + 16);
    action.uint(1, 2);
    action.bytes(6, cluster.expose());
    let mut request = Message::with_capacity(action.len() + 24);
    request.uint(1, request_id);
    request.bytes(2, action.as_bytes());
    request.into_secret()
}

fn meta(message: &[u8], version: u64) -> Result<Message> {
    let mut edited = Message::new();
    let mut index = Message::new();
    index.uint(1, version);
    edited.bytes(1, index.as_bytes());
    for field in Fields::of(message) {
        match field? {
            (1 | 3, _) => {}
            (number, value) => edited.value(number, value),
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut updated = Message::new();
    updated.uint(1, now.as_secs());
    updated.uint(2, u64::from(now.subsec_nanos()));
    edited.bytes(3, updated.as_bytes());
    Ok(edited)
}

fn spec(message: &[u8], locked: bool) -> Result<Message> {
    let mut edited = Message::new();
    let mut encryption = Message::new();
    if locked {
        encryption.uint(1, 1);
    }
    for field in Fields::of(message) {
        let (number, value) = field?;
        if number == ENCRYPTION {
            for field in Fields::of(value.bytes()?) {
                match field? {
                    (1, _) => {}
                    (number, value) => encryption.value(number, value),
                }
            }
        } else {
            edited.value(number, value);
        }
    }
    edited.bytes(8, encryption.as_bytes());
    Ok(edited)
}

#[cfg(test)]
mod tests {
    use super::super::Cluster;
    use super::*;
    use crate::secret::SecretKey;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn key(byte: u8) -> UnlockKey {
        UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(byte)))
    }

    fn entry(subsystem: &str, byte: u8) -> Vec<u8> {
        field(9, &[field(1, subsystem.as_bytes()), field(3, &[byte; 32])].concat())
    }

    fn cluster() -> Vec<u8> {
        let meta = [field(1, &[8, 7]), field(2, &[8, 1]), field(3, &[8, 2])].concat();
        let spec = [field(1, &field(1, b"default")), field(4, &[8, 10]), field(8, b"")].concat();
        let parts = [
            field(1, b"id"),
            field(2, &meta),
            field(3, &spec),
            field(4, &field(1, b"ca")),
            vec![6 << 3, 42],
            entry("other", 5),
            vec![13 << 3, 9],
            // A field that is not known.
            field(15, b"kept"),
        ];
        parts.concat()
    }

    #[test]
    fn only_the_managers_key_its_switch_and_the_version_change() {
        let old = Cluster::parse(&cluster()).unwrap();
        let locked = with_unlock_key(&cluster(), 300, Some(&key(1))).unwrap();
        let new = Cluster::parse(locked.expose()).unwrap();
        assert!(new.unlock_key().unwrap().ct_eq(&key(1)) && new.facts.autolock);
        assert_eq!(new.facts.meta.version, 300);
        assert_eq!(new.facts.meta.created, old.facts.meta.created);
        assert!(new.facts.meta.updated > old.facts.meta.updated);
        assert_eq!(new.facts.snapshot_interval, 10);
        assert_eq!(new.unlock_keys[0].subsystem, "other");
        assert!(new.unlock_keys[0].key.ct_eq(&key(5)));

        let again = with_unlock_key(locked.expose(), 301, Some(&key(2))).unwrap();
        let new = Cluster::parse(again.expose()).unwrap();
        assert_eq!(new.unlock_keys.len(), 2);
        assert!(new.unlock_key().unwrap().ct_eq(&key(2)));

        // Off again, all is as at first, but for the version and when it was changed.
        let off = with_unlock_key(again.expose(), 7, None).unwrap();
        let strip = |bytes: &[u8]| -> Vec<(u64, Vec<u8>)> {
            let fields = Fields::of(bytes).map(Result::unwrap).filter(|(number, _)| *number != 2);
            fields.map(|(number, value)| (number, format!("{value:?}").into_bytes())).collect()
        };
        assert_eq!(strip(off.expose()), strip(&cluster()));
    }

    #[test]
    fn what_is_no_cluster_is_refused() {
        assert!(with_unlock_key(&field(1, b"id"), 1, None).is_err());
        assert!(with_unlock_key(b"\xff", 1, None).is_err());
    }
}
