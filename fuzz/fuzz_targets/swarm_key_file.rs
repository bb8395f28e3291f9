//! `swarm-node.key`, parsed and unlocked.
//!
//! The first byte chooses: the input is the file; or it says what stands in a file that is put
//! together, so that DEKs open. A fuzzing build takes at most 10,000 PBKDF2 iterations.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use base64ct::{Base64, Encoding};
use libfuzzer_sys::fuzz_target;
use nodeseal::swarm::{DekHeader, DekSlot, KeyFile, NodeKeys};
use nodeseal::{Error, UnlockKey};
use nodeseal_fuzz::split_mode;
use nodeseal_fuzz::swarm::{boxed_record, clear_record, fernet_record, open_record};

/// Opens the files of `tests/data/swarm-keys/made`.
const UNLOCK_KEY: &str = include_str!("../../tests/data/swarm-keys/made/unlock-key");
/// Bodies in all forms, and the header that belongs to the last.
const BODIES: [&str; 4] = [
    include_str!("../../tests/data/swarm-keys/made/worker.key"),
    include_str!("../../tests/data/swarm-keys/made/sec1.key"),
    include_str!("../../tests/data/swarm-keys/made/pkcs8-one-iteration.key"),
    include_str!("../../tests/data/swarm-keys/made/rfc1423-aes-256-cbc.key"),
];

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    label: u8,
    current: Option<Value<'a>>,
    pending: Option<Value<'a>>,
    other: Option<(&'a str, &'a str)>,
    dek_info: bool,
    body: u8,
    /// A byte of the body, and what is changed in it.
    damage: (u8, u8),
}

#[derive(Arbitrary, Debug)]
enum Value<'a> {
    Text(&'a str),
    Record(&'a [u8]),
    Clear([u8; 32]),
    Boxed([u8; 32]),
    Fernet([u8; 32]),
    OtherLength(&'a [u8]),
}

fuzz_target!(|data: &[u8]| {
    let (mode, rest) = split_mode(data);
    if mode % 2 == 0 {
        check(rest);
        return;
    }
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(rest)) else { return };
    let kek = *unlock_key().secret().expose();
    let text = input.text(&kek);
    let Some(keys) = check(text.as_bytes()) else { return };
    // What opened is what was sealed.
    let locked = KeyFile::parse(text.as_bytes()).expect("it was parsed").locked();
    for (value, dek) in [(&input.current, &keys.current), (&input.pending, &keys.pending)] {
        let record = value.as_ref().and_then(|value| value.record(&kek));
        let expected = record.and_then(|record| match locked {
            true => open_record(&kek, &record),
            false => Some(record),
        });
        if let Some(dek) = dek {
            assert!(expected.expect("a record").ends_with(dek.expose()));
        }
    }
});

fn unlock_key() -> UnlockKey {
    UnlockKey::from_text(UNLOCK_KEY.trim_end()).expect("an unlock key")
}

/// The keys, if it opens.
fn check(text: &[u8]) -> Option<NodeKeys> {
    let file = match KeyFile::parse(text) {
        Ok(file) => file,
        Err(error) => {
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
            return None;
        }
    };
    assert!(file.locked() || !file.form().is_encrypted());
    let mut findings = file.findings().to_vec();
    findings.dedup();
    assert_eq!(findings, file.findings());
    let with_key = file.unlock(Some(&unlock_key()));
    let without = file.unlock(None);
    if file.locked() {
        assert!(matches!(without, Err(Error::KeyRequired)));
    } else {
        // The key plays no part, so it cannot be wrong.
        assert_eq!(with_key.is_ok(), without.is_ok());
        assert!(!matches!(with_key, Err(Error::WrongKey | Error::KeyRequired)));
    }
    match with_key {
        Ok(keys) => {
            let has = |slot| file.dek(slot) != DekHeader::Absent;
            assert_eq!(keys.current.is_some(), has(DekSlot::Current));
            assert_eq!(keys.pending.is_some(), has(DekSlot::Pending));
            let clear = |slot| file.dek(slot).is_clear();
            assert!(!file.locked() || !clear(DekSlot::Current) && !clear(DekSlot::Pending));
            Some(keys)
        }
        Err(Error::WrongKey | Error::Damaged { .. } | Error::Unsupported { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

impl Input<'_> {
    fn text(&self, kek: &[u8; 32]) -> String {
        let source = BODIES[usize::from(self.body) % BODIES.len()];
        let body: String = source.lines().filter(|line| !line.contains([':', '-'])).collect();
        let mut body = Base64::decode_vec(&body).expect("base64");
        let at = usize::from(self.damage.0) % body.len();
        body[at] ^= self.damage.1;
        let label = ["PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "EC PRIVATE KEY", "X"];
        let label = label[usize::from(self.label) % label.len()];
        let mut text = format!("-----BEGIN {label}-----\n");
        let mut header = |name: &str, value: &str| text += &format!("{name}: {value}\n");
        if let Some(line) = BODIES[3].lines().find_map(|line| line.strip_prefix("DEK-Info: "))
            && self.dek_info
        {
            header("Proc-Type", "4,ENCRYPTED");
            header("DEK-Info", line);
        }
        for (name, value) in [("raft-dek", &self.current), ("raft-dek-pending", &self.pending)] {
            match value {
                Some(Value::Text(value)) => header(name, value),
                Some(value) => {
                    let record = value.record(kek).expect("a record");
                    header(name, &Base64::encode_string(&record));
                }
                None => {}
            }
        }
        if let Some((name, value)) = self.other {
            header(name, value);
        }
        text + &format!("\n{}\n-----END {label}-----\n", Base64::encode_string(&body))
    }
}

impl Value<'_> {
    fn record(&self, kek: &[u8; 32]) -> Option<Vec<u8>> {
        Some(match self {
            Self::Text(_) => return None,
            Self::Record(record) => record.to_vec(),
            Self::Clear(dek) => clear_record(dek),
            Self::Boxed(dek) => boxed_record(kek, &[1; 24], dek),
            Self::Fernet(dek) => fernet_record(kek, &[1; 16], dek),
            Self::OtherLength(plain) => boxed_record(kek, &[2; 24], plain),
        })
    }
}
