use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::fs::SimFs;

fn me() -> Identity {
    Identity::new("prod", "m1").unwrap()
}

fn place(disk: &SimFs) -> Location {
    Location::on(Arc::new(disk.clone()), Path::new("/keys"))
}

#[test]
fn created_locked_opened() {
    let disk = SimFs::new();
    let key = UnlockKey::generate().unwrap();
    let keyring =
        Keyring::create(place(&disk), &me(), Protector::unlock_key(&key), &[("tls", b"pem")])
            .unwrap();
    assert!(matches!(Keyring::open(place(&disk), &me(), LockPolicy::Locked), Err(Error::Busy(_))));
    drop(keyring);
    let Opened::Locked(locked) = Keyring::open(place(&disk), &me(), LockPolicy::Locked).unwrap()
    else {
        panic!()
    };
    let failed = locked.unlock(&UnlockKey::generate().unwrap()).unwrap_err();
    assert!(matches!(failed.error, Error::WrongKey));
    let keyring = failed.locked.unlock(&key).unwrap();
    assert_eq!(keyring.attachment("tls").unwrap().expose(), b"pem");
}
