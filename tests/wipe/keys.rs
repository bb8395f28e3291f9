//! Unlock keys, passphrases, attachments, DEKs and what is derived from them.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use base64ct::{Base64Unpadded, Encoding};
use nodeseal::key::{Costs, Passphrase, Rekey};
use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD, State};
use nodeseal::secret::{SecretBytes, SecretKey};
use nodeseal::{
    Error, Identity, Keyring, LockPolicy, LockRecord, Opened, Protector, Reason, UnlockKey,
};

use super::by_hand::{fact, forged, hkdf, keys_in_the_clear};
use super::watch::wiped;

const KEY: [u8; 32] = *b"unlock key: 32 bytes of it, yes.";
const OTHER_KEY: [u8; 32] = *b"another key, of 32 bytes as well";
const TLS: &[u8] = b"-- the node's TLS key, in PEM --";

fn me() -> Identity {
    Identity::new("prod", "m1").unwrap()
}

fn unlock_key(bytes: &[u8; 32]) -> UnlockKey {
    UnlockKey::from_key(SecretKey::init(|key| key.copy_from_slice(bytes)))
}

fn file(dir: &Path) -> PathBuf {
    dir.join("node.keys")
}

fn put(dir: &Path, text: &str) {
    use std::io::Write;
    std::fs::File::create(file(dir)).unwrap().write_all(text.as_bytes()).unwrap();
}

/// An unlock key with what follows from it.
struct Unlock {
    auth: [u8; 32],
    seed: [u8; 32],
    text: String,
}

fn unlock(key: &[u8; 32]) -> Unlock {
    Unlock {
        auth: hkdf(key, &["nodeseal/v1/auth", "unlock"]),
        seed: hkdf(key, &["nodeseal/v1/seed", "unlock"]),
        text: Base64Unpadded::encode_string(key),
    }
}

#[test]
fn keys_that_are_filled_half_way() {
    let secrets: [(&str, &[u8]); 1] = [("key", &KEY)];
    wiped("a key that is dropped", &secrets, || {
        drop(black_box(SecretKey::init(|bytes| bytes.copy_from_slice(&KEY))));
    });
    wiped("a key whose filling fails", &secrets, || {
        let failed = SecretKey::try_init(|bytes| {
            bytes.copy_from_slice(&KEY);
            Err("no")
        });
        assert!(failed.is_err());
    });
    wiped("a key whose filling panics", &secrets, || {
        let panicked = std::panic::catch_unwind(|| {
            SecretKey::init(|bytes| {
                bytes.copy_from_slice(&KEY);
                std::panic::resume_unwind(Box::new("no"));
            })
        });
        assert!(panicked.is_err());
    });
}

#[test]
fn an_unlock_key_its_text_and_its_lock_record() {
    let of = unlock(&KEY);
    let whole = format!("SWMKEY-1-{}", of.text);
    let secrets: [(&str, &[u8]); 4] =
        [("key", &KEY), ("text", of.text.as_bytes()), ("auth", &of.auth), ("seed", &of.seed)];
    wiped("text", &secrets, || {
        let key = unlock_key(&KEY);
        let text = key.to_text();
        assert_eq!(*text, whole);
        assert!(UnlockKey::from_text(&text).unwrap().ct_eq(&key));
    });
    wiped("text that is not whole", &secrets, || {
        for len in 0..whole.len() {
            assert!(UnlockKey::from_text(&whole[..len]).is_err());
        }
    });
    wiped("lock records", &secrets, || {
        let key = unlock_key(&KEY);
        for record in [LockRecord::locked(1, &key), LockRecord::retrievable(2, &key)] {
            let bytes = record.encode();
            assert!(LockRecord::decode(bytes.expose()).is_ok());
            assert!(LockRecord::decode(&bytes.expose()[..bytes.len() - 1]).is_err());
        }
    });
}

#[test]
fn a_locked_key_file_through_its_life() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (one, other) = (unlock(&KEY), unlock(&OTHER_KEY));
    let secrets: [(&str, &[u8]); 7] = [
        ("key", &KEY),
        ("auth", &one.auth),
        ("seed", &one.seed),
        ("other key", &OTHER_KEY),
        ("other auth", &other.auth),
        ("other seed", &other.seed),
        ("attachment", TLS),
    ];
    let locked = || match Keyring::open(dir, &me(), LockPolicy::Locked).unwrap() {
        Opened::Locked(locked) => locked,
        Opened::Unlocked(_) => panic!("not locked"),
    };
    wiped("create", &secrets, || {
        let protector = Protector::unlock_key(&unlock_key(&KEY));
        drop(Keyring::create(dir, &me(), protector, &[("tls", TLS)]).unwrap());
        let protector = Protector::unlock_key(&unlock_key(&KEY));
        let again = Keyring::create(dir, &me(), protector, &[("tls", TLS)]);
        assert!(matches!(again, Err(Error::Exists(_))));
    });
    wiped("unlock, with the wrong key first", &secrets, || {
        let failed = locked().unlock(&unlock_key(&OTHER_KEY)).unwrap_err();
        assert!(matches!(failed.error, Error::WrongKey));
        let keyring = failed.locked.unlock(&unlock_key(&KEY)).unwrap();
        assert_eq!(keyring.attachment("tls").unwrap().expose(), TLS);
    });
    wiped("use", &secrets, || {
        let keyring = locked().unlock(&unlock_key(&KEY)).unwrap();
        keyring.attach("tls-2", TLS).unwrap();
        keyring.detach("tls").unwrap();
        assert!(keyring.attach("no name", TLS).is_err());
        keyring.rotate_dek(Reason::Requested).unwrap();
        keyring.sweep().unwrap().finish().unwrap();
        let record = LockRecord::locked(1, &unlock_key(&OTHER_KEY));
        keyring.reconcile_with(&record, Rekey::NewDek).unwrap();
        assert!(keyring.reconcile(&LockRecord::locked(1, &unlock_key(&KEY))).is_err());
    });
    let text = std::fs::read_to_string(file(dir)).unwrap();
    wiped("a file that was altered", &secrets, || {
        put(dir, &forged(&text));
        let failed = locked().unlock(&unlock_key(&OTHER_KEY)).unwrap_err();
        assert!(matches!(failed.error, Error::Unauthentic));
        drop(failed);
        put(dir, &text[..text.len() - 9]);
        let opened = Keyring::open(dir, &me(), LockPolicy::Locked);
        assert!(matches!(opened, Err(Error::Damaged { .. })));
    });
    put(dir, &text);
    wiped("destroy", &secrets, || {
        locked().unlock(&unlock_key(&OTHER_KEY)).unwrap().destroy().unwrap();
    });
}

#[test]
fn a_passphrase_and_what_argon2_makes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let words = b"correct horse battery staple";
    let passphrase = |words: &[u8]| Passphrase::new(SecretBytes::from(words)).unwrap();
    let costs = Costs::FLOOR;
    let protector = Protector::unlock_key(&unlock_key(&KEY));
    let keyring = Keyring::create(dir, &me(), protector, &[]).unwrap();
    let large = wiped("adding one", &[("passphrase", words)], || {
        keyring.add_passphrase(&passphrase(words), costs).unwrap();
    });
    assert_eq!(large, 1, "Argon2's memory");
    drop(keyring);

    let text = std::fs::read_to_string(file(dir)).unwrap();
    let id = fact(&text, "slot passphrase").split(' ').next().unwrap();
    let id = Base64Unpadded::decode_vec(id).unwrap();
    let params = argon2::Params::new(19 << 10, 2, 1, Some(32)).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut stretched = [0; 32];
    argon2.hash_password_into(words, &id, &mut stretched).unwrap();
    let parameters: Vec<u8> = [19_u32 << 10, 2, 1].iter().flat_map(|n| n.to_le_bytes()).collect();
    let of_card = |label: &'static [u8]| {
        hkdf(&stretched, &[label, b"prod", b"m1", b"passphrase", &id, &parameters, b""])
    };
    let (auth, seed) = (of_card(b"nodeseal/v1/auth"), of_card(b"nodeseal/v1/seed"));
    let secrets: [(&str, &[u8]); 4] =
        [("passphrase", words), ("stretched", &stretched), ("auth", &auth), ("seed", &seed)];
    let large = wiped("unlocking, with a wrong one first", &secrets, || {
        let Opened::Locked(locked) = Keyring::open(dir, &me(), LockPolicy::Locked).unwrap() else {
            panic!("not locked")
        };
        let failed = locked.unlock_with_passphrase(&passphrase(b"incorrect")).unwrap_err();
        assert!(matches!(failed.error, Error::WrongKey));
        let keyring = failed.locked.unlock_with_passphrase(&passphrase(words)).unwrap();
        // Kept over a write, then gone.
        keyring.attach("tls", TLS).unwrap();
        keyring.remove_passphrases().unwrap();
    });
    assert_eq!(large, 2, "Argon2's memory, twice");
    let long = words.repeat(40);
    wiped("one that is too long", &secrets, || {
        assert!(Passphrase::new(SecretBytes::from(&long[..])).is_err());
    });
}

#[test]
fn deks_and_what_is_derived_from_them() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let keyring = Keyring::create(dir, &me(), Protector::none(), &[("tls", TLS)]).unwrap();
    let id = keyring.keyspace("raft").unwrap().id().to_bytes();
    drop(keyring);
    let text = std::fs::read_to_string(file(dir)).unwrap();
    let (file_key, dek) = keys_in_the_clear(&text);
    let file_key_text = Base64Unpadded::encode_string(&file_key);
    let derived = |label: &[u8], format: &[u8]| hkdf(&dek, &[label, format, b"prod", b"m1", &id]);
    let record = derived(b"nodeseal/v1/record", &[1]);
    let stream = derived(b"nodeseal/v1/stream", &[2]);
    let cell = derived(b"nodeseal/v1/cell", &[3]);
    let secrets: [(&str, &[u8]); 7] = [
        ("DEK", &dek),
        ("file key", &file_key),
        ("file key's text", file_key_text.as_bytes()),
        ("record key", &record),
        ("stream key", &stream),
        ("cell key", &cell),
        ("attachment", TLS),
    ];
    let open = || match Keyring::open(dir, &me(), LockPolicy::Any).unwrap() {
        Opened::Unlocked(keyring) => keyring,
        Opened::Locked(_) => panic!("locked"),
    };
    // That these are the keys is shown by what they open.
    let keyring = open();
    let sealed = keyring.keyspace("raft").unwrap().cells().seal("t", b"r", b"plain").unwrap();
    let aad = [&1_u64.to_le_bytes()[..], b"t", &1_u64.to_le_bytes(), b"r"].concat();
    assert_eq!(super::by_hand::open(&cell, &aad, &sealed.bytes()[9..]), b"plain");
    sealed.durable();
    drop(keyring);

    wiped("open and close", &secrets, || drop(open()));
    wiped("sealing and opening", &secrets, || {
        let keyring = open();
        let raft = keyring.keyspace("raft").unwrap();
        let log = raft.log();
        let mut sealed = [0; RECORD_OVERHEAD + 5];
        log.seal_in_place(LogId::new(1, Era::NONE), Era::NONE, &mut sealed).unwrap().durable();
        log.open_in_place(LogId::new(1, Era::NONE), Era::NONE, &mut sealed).unwrap();
        let state = raft.cells().seal_state(&State::default()).unwrap();
        raft.cells().open_state(state.bytes()).unwrap();
        let streams = raft.streams();
        let writer = streams.create("s", std::io::Cursor::new(Vec::new())).unwrap();
        let (mut file, sealed) = writer.finish(LogId::START, b"").unwrap();
        sealed.durable();
        state.durable();
        file.set_position(0);
        assert!(streams.open("s", file).unwrap().verify().is_ok());
    });
    let altered = forged(&text);
    wiped("files that do not open", &secrets, || {
        let failed = Keyring::open(dir, &me(), LockPolicy::Locked);
        assert!(matches!(failed, Err(Error::ExpectedLocked)));
        let failed = Keyring::open(dir, &Identity::new("prod", "m2").unwrap(), LockPolicy::Any);
        assert!(matches!(failed, Err(Error::OtherIdentity { .. })));
        put(dir, &altered);
        let failed = Keyring::open(dir, &me(), LockPolicy::Any);
        assert!(matches!(failed, Err(Error::Unauthentic)));
    });
    put(dir, &text);
    wiped("a DEK that is dropped, in a file that becomes locked", &secrets, || {
        let keyring = open();
        let log = keyring.keyspace("raft").unwrap().log();
        let mut sealed = [0; RECORD_OVERHEAD + 5];
        let id = LogId::new(1, Era::NONE);
        log.seal_in_place(id, Era::NONE, &mut sealed).unwrap().durable();
        keyring.reconcile(&LockRecord::locked(1, &unlock_key(&KEY))).unwrap();
        log.reseal(id, Era::NONE, &mut sealed).unwrap().unwrap().durable();
        let mut sweep = keyring.sweep().unwrap();
        sweep.shown("raft");
        sweep.finish().unwrap();
        assert_eq!(keyring.status().deks.len(), 1);
    });
}
