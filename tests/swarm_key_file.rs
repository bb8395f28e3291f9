//! Docker's key files: genuine ones, old forms, and all of them damaged.

#![cfg(feature = "swarm")]
#![allow(clippy::unwrap_used, reason = "the helpers belong to the tests")]

#[path = "swarm_key_file/damage.rs"]
mod damage;
#[path = "swarm_key_file/support.rs"]
mod support;

use nodeseal::swarm::{Algorithm, DekHeader, DekSlot, KeyFile, KeyFileFinding as Finding, KeyForm};
use nodeseal::{Error, UnlockKey};
use support::{Case, sha256};

const SEALED: DekHeader = DekHeader::Record(Algorithm::SecretBox);
const LOCKED: [(&str, u64); 6] = [
    ("1-autolocked", 0),
    ("4-dek-rotated", 16),
    ("5-kek-rotated-killed", 21),
    ("docker-26", 16),
    ("three-managers-m1", 32),
    ("three-managers-m3", 10),
];

#[test]
fn what_docker_wrote_locked_opens() {
    for (name, version) in LOCKED {
        let case = Case::genuine(name);
        let file = KeyFile::parse(&case.text).unwrap();
        assert_eq!(file.form(), KeyForm::EncryptedPkcs8, "{name}");
        assert!(file.locked() && !file.needs_rotation());
        assert_eq!(file.kek_version(), Some(version), "{name}");
        assert_eq!(
            (file.dek(DekSlot::Current), file.dek(DekSlot::Pending)),
            (SEALED, DekHeader::Absent)
        );
        assert_eq!(file.findings(), [], "{name}");
        assert_eq!(file.unknown_headers().count(), 0);

        let keys = file.unlock(case.key.as_ref()).unwrap();
        assert_eq!(sha256(keys.current.unwrap().expose()), case.sha256("current"), "{name}");
        assert!(keys.pending.is_none());
        assert_eq!(sha256(keys.tls_key.expose()), case.sha256("tls"), "{name}");
    }
}

#[test]
fn a_locked_file_wants_its_own_key() {
    let keys: Vec<_> = LOCKED.iter().map(|(name, _)| Case::genuine(name).key.unwrap()).collect();
    for (n, (name, _)) in LOCKED.iter().enumerate() {
        let file = KeyFile::parse(&Case::genuine(name).text).unwrap();
        assert!(matches!(file.unlock(None), Err(Error::KeyRequired)), "{name}");
        for (m, key) in keys.iter().enumerate() {
            let opened = file.unlock(Some(key));
            assert_eq!(opened.is_ok(), n == m, "{name} {m}");
            assert!(n == m || matches!(opened, Err(Error::WrongKey)), "{name} {m}");
        }
    }
}

#[test]
fn what_docker_wrote_in_the_clear_opens_with_any_key_and_with_none() {
    let case = Case::genuine("3-unlocked");
    let file = KeyFile::parse(&case.text).unwrap();
    assert_eq!((file.form(), file.locked()), (KeyForm::Pkcs8, false));
    assert_eq!(file.dek(DekSlot::Current), DekHeader::Record(Algorithm::None));
    assert_eq!(file.findings(), []);
    for key in [None, Some(UnlockKey::generate().unwrap())] {
        let keys = file.unlock(key.as_ref()).unwrap();
        assert_eq!(sha256(keys.current.unwrap().expose()), case.sha256("current"));
        assert_eq!(sha256(keys.tls_key.expose()), case.sha256("tls"));
    }
}

#[test]
fn the_four_forms_are_told_by_their_content() {
    let form = |name| KeyFile::parse(&Case::made(name).text).unwrap().form();
    assert_eq!(form("worker"), KeyForm::Pkcs8);
    assert_eq!(form("worker-locked"), KeyForm::EncryptedPkcs8);
    assert_eq!(form("sec1"), KeyForm::Sec1);
    assert_eq!(form("rfc1423-aes-256-cbc"), KeyForm::EncryptedSec1);
    assert_eq!(form("label-encrypted-body-clear"), KeyForm::Pkcs8);
}

#[test]
fn old_encrypted_forms_open_with_the_right_key_alone() {
    for cipher in ["des-cbc", "des-ede3-cbc", "aes-128-cbc", "aes-192-cbc", "aes-256-cbc"] {
        let case = Case::made(&format!("rfc1423-{cipher}"));
        let file = KeyFile::parse(&case.text).unwrap();
        assert!(file.locked());
        assert_eq!(file.findings(), [], "{cipher}");
        assert_eq!(file.kek_version(), Some(7));
        let keys = file.unlock(case.key.as_ref()).unwrap();
        assert_eq!(sha256(keys.current.unwrap().expose()), case.sha256("current"), "{cipher}");
        assert_eq!(sha256(keys.tls_key.expose()), case.sha256("tls-sec1"), "{cipher}");
        let other = UnlockKey::generate().unwrap();
        assert!(matches!(file.unlock(Some(&other)), Err(Error::WrongKey)), "{cipher}");
        assert!(matches!(file.unlock(None), Err(Error::KeyRequired)));
    }
}

#[test]
fn old_clear_forms_open() {
    for (name, has_dek) in [("sec1", true), ("sec1-openssl", false)] {
        let case = Case::made(name);
        let file = KeyFile::parse(&case.text).unwrap();
        assert!(!file.locked());
        let keys = file.unlock(None).unwrap();
        assert_eq!(keys.current.is_some(), has_dek);
        assert_eq!(sha256(keys.tls_key.expose()), case.sha256("tls-sec1"));
    }
}

#[test]
fn a_rotation_under_way_gives_both_deks() {
    let case = Case::made("rotating");
    let file = KeyFile::parse(&case.text).unwrap();
    assert!(file.needs_rotation());
    assert_eq!((file.dek(DekSlot::Current), file.dek(DekSlot::Pending)), (SEALED, SEALED));
    assert_eq!(file.findings(), []);
    let keys = file.unlock(case.key.as_ref()).unwrap();
    assert_eq!(sha256(keys.current.unwrap().expose()), case.sha256("current"));
    assert_eq!(sha256(keys.pending.unwrap().expose()), case.sha256("pending"));
}

#[test]
fn fips_headers_are_fernet() {
    let case = Case::made("fips");
    let file = KeyFile::parse(&case.text).unwrap();
    let fernet = DekHeader::Record(Algorithm::Fernet);
    assert_eq!((file.dek(DekSlot::Current), file.dek(DekSlot::Pending)), (fernet, fernet));
    let keys = file.unlock(case.key.as_ref()).unwrap();
    assert_eq!(sha256(keys.current.unwrap().expose()), case.sha256("current"));
    assert_eq!(sha256(keys.pending.unwrap().expose()), case.sha256("pending"));
    let other = UnlockKey::generate().unwrap();
    assert!(matches!(file.unlock(Some(&other)), Err(Error::WrongKey)));
}

#[test]
fn a_workers_file_has_no_dek() {
    for name in ["worker", "worker-locked"] {
        let case = Case::made(name);
        let file = KeyFile::parse(&case.text).unwrap();
        assert_eq!(file.findings(), [Finding::NoDek]);
        let keys = file.unlock(case.key.as_ref()).unwrap();
        assert!(keys.current.is_none() && keys.pending.is_none());
        assert_eq!(sha256(keys.tls_key.expose()), case.sha256("tls"));
    }
    let file = KeyFile::parse(&Case::made("worker-locked").text).unwrap();
    let other = UnlockKey::generate().unwrap();
    assert!(matches!(file.unlock(Some(&other)), Err(Error::WrongKey)));
}

#[test]
fn a_sealed_dek_beside_a_clear_key_opens_with_the_right_key_alone() {
    let case = Case::made("label-encrypted-body-clear");
    let file = KeyFile::parse(&case.text).unwrap();
    assert!(file.locked());
    let findings = [Finding::SealedDekBesideClearKey(DekSlot::Current), Finding::OtherLabel];
    assert_eq!(file.findings(), findings);
    let keys = file.unlock(case.key.as_ref()).unwrap();
    assert_eq!(sha256(keys.current.unwrap().expose()), case.sha256("current"));
    // The body is no witness for a key that it does not need.
    let other = UnlockKey::generate().unwrap();
    assert!(matches!(file.unlock(Some(&other)), Err(Error::WrongKey)));
    assert!(matches!(file.unlock(None), Err(Error::KeyRequired)));
}

#[test]
fn a_key_that_docker_cannot_read_is_read() {
    let case = Case::made("pkcs8-prf-sha256");
    let keys = KeyFile::parse(&case.text).unwrap().unlock(case.key.as_ref()).unwrap();
    assert_eq!(sha256(keys.tls_key.expose()), case.sha256("tls"));
}

#[test]
fn another_encryption_is_unsupported_and_a_wrong_key_still_wrong() {
    for name in ["pkcs8-scrypt", "pkcs8-pbes1"] {
        let case = Case::made(name);
        let file = KeyFile::parse(&case.text).unwrap();
        assert_eq!(file.form(), KeyForm::EncryptedPkcs8);
        let opened = file.unlock(case.key.as_ref());
        assert!(matches!(opened, Err(Error::Unsupported { .. })), "{name}");
        let other = UnlockKey::generate().unwrap();
        assert!(matches!(file.unlock(Some(&other)), Err(Error::WrongKey)), "{name}");
    }
}

#[test]
fn debug_tells_no_secret() {
    for case in [Case::genuine("3-unlocked"), Case::made("rotating")] {
        let file = KeyFile::parse(&case.text).unwrap();
        let keys = file.unlock(case.key.as_ref()).unwrap();
        assert_eq!(format!("{keys:?}"), "NodeKeys(..)");
        let text = format!("{file:?}");
        for line in String::from_utf8(case.text).unwrap().lines() {
            let value = line.split_once(": ").map_or(line, |(_, value)| value);
            assert!(value.len() < 9 || !text.contains(value), "{text}");
        }
    }
}
