//! The vectors of the native formats: `tests/data/seal/vectors.json`, for implementations in any language.
//!
//! Everything in it goes through the public API: what opens must give the same plaintext, and what must
//! not open gives the error that is named. `tests/vectors/read.py` is a reader that shares no code with
//! this crate.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    reason = "a test says that it failed by panicking, and what it writes need not be durable"
)]

#[path = "vectors/make.rs"]
mod make;

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use nodeseal::keyring::Inspection;
use nodeseal::seal::{Era, LogId};
use nodeseal::secret::SecretBytes;
use nodeseal::{Error, Identity, Keyring, LockPolicy, Opened, Passphrase, Result, UnlockKey};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// The whole file. Numbers that may not fit a double are texts.
#[derive(Serialize, Deserialize)]
struct Vectors {
    about: String,
    cluster: String,
    node: String,
    unlock_keys: Vec<UnlockKeyCase>,
    key_files: Vec<KeyFileCase>,
    records: Vec<RecordCase>,
    cells: Vec<CellCase>,
    streams: Vec<StreamCase>,
}

/// The text of an unlock key.
#[derive(Serialize, Deserialize)]
struct UnlockKeyCase {
    what: String,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A key file, and what it is opened with; nothing for one that is not locked.
#[derive(Clone, Serialize, Deserialize)]
struct KeyFileCase {
    what: String,
    file: String,
    /// The file is locked, or says so.
    needs_key: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    unlock_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    passphrase: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dek_ids: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attachments: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keyspaces: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A record of a keyspace's log, under a DEK of the first key file.
#[derive(Clone, Serialize, Deserialize)]
struct RecordCase {
    what: String,
    keyspace: String,
    index: String,
    era: String,
    prev: String,
    sealed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    plain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct CellCase {
    what: String,
    keyspace: String,
    table: String,
    row: String,
    sealed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    plain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A stream, its bytes in base64.
#[derive(Clone, Serialize, Deserialize)]
struct StreamCase {
    what: String,
    keyspace: String,
    stream: String,
    sealed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    era: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/seal")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The word for an error in the file.
fn word(error: &Error) -> &'static str {
    match error {
        Error::WrongKey => "wrong-key",
        Error::KeyText(_) => "key-text",
        Error::UnknownDek(_) => "unknown-dek",
        Error::Unauthentic => "unauthentic",
        Error::Damaged { .. } => "damaged",
        Error::Unsupported { .. } => "unsupported",
        Error::OtherIdentity { .. } => "other-identity",
        Error::TooCostly { .. } => "too-costly",
        other => panic!("no word for {other:?}"),
    }
}

impl Vectors {
    fn me(&self) -> Identity {
        Identity::new(&self.cluster, &self.node).unwrap()
    }

    /// Fails if anything opens otherwise than it is said.
    fn check(&self) {
        let me = self.me();
        for case in &self.unlock_keys {
            let parsed = UnlockKey::from_text(&case.text);
            let found = parsed.map(|key| hex(key.secret().expose()));
            same(&case.what, found, case.bytes.as_ref(), case.error.as_ref());
        }
        for case in &self.key_files {
            let found = case.open(&me).map(|(_dir, keyring)| case.facts(&keyring));
            let expected = (
                case.epoch.clone(),
                case.dek_ids.clone(),
                case.attachments.clone(),
                case.keyspaces.clone(),
            );
            let expected = case.epoch.is_some().then_some(expected);
            same(&case.what, found, expected.as_ref(), case.error.as_ref());
        }
        let (_dir, keyring) = self.key_files[0].open(&me).unwrap();
        for case in &self.records {
            same(&case.what, case.open(&keyring), case.plain.as_ref(), case.error.as_ref());
        }
        for case in &self.cells {
            same(&case.what, case.open(&keyring), case.plain.as_ref(), case.error.as_ref());
        }
        for case in &self.streams {
            let expected =
                (case.index.clone(), case.era.clone(), case.meta.clone(), case.plain.clone());
            let expected = case.plain.is_some().then_some(expected);
            same(&case.what, case.open(&keyring), expected.as_ref(), case.error.as_ref());
        }
    }
}

/// Fails unless there is either what is expected or the error of that name.
#[track_caller]
fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: Result<T>,
    expected: Option<&T>,
    error: Option<&String>,
) {
    assert!(expected.is_some() != error.is_some(), "{what}");
    match found {
        Ok(found) => assert_eq!(Some(&found), expected, "{what}"),
        Err(found) => assert_eq!(Some(word(&found)), error.map(String::as_str), "{what}: {found}"),
    }
}

type Names = Option<BTreeMap<String, String>>;
type Facts = (Option<String>, Option<Vec<String>>, Names, Names);

impl KeyFileCase {
    /// Opens it in a directory of its own, which must outlive what is sealed.
    fn open(&self, me: &Identity) -> Result<(TempDir, Keyring)> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("node.keys"), &self.file).unwrap();
        let opened = Keyring::open(dir.path(), me, LockPolicy::Any)?;
        let locked = match opened {
            Opened::Unlocked(keyring) => return Ok((dir, keyring)),
            Opened::Locked(locked) => locked,
        };
        let inspected = Inspection::read(dir.path().join("node.keys"))?;
        assert!(self.needs_key && inspected.is_locked(), "{}", self.what);
        if let Some(key) = &self.unlock_key {
            let keyring = locked.unlock(&UnlockKey::from_text(key)?)?;
            return Ok((dir, keyring));
        }
        let passphrase = self.passphrase.as_ref().unwrap().as_bytes();
        let passphrase = Passphrase::new(SecretBytes::from(passphrase))?;
        let keyring = locked.unlock_with_passphrase(&passphrase)?;
        Ok((dir, keyring))
    }

    #[expect(clippy::unused_self, reason = "reads as its other half")]
    fn facts(&self, keyring: &Keyring) -> Facts {
        let status = keyring.status();
        let mut ids: Vec<String> = status.deks.iter().map(|dek| hex(&dek.id.to_bytes())).collect();
        ids.sort();
        let attached = status
            .attachments
            .iter()
            .map(|(name, _)| (name.clone(), hex(keyring.attachment(name).unwrap().expose())));
        let keyspaces = status.keyspaces.iter().map(|one| (one.name.clone(), one.id.to_string()));
        let epoch = Some(status.epoch.to_string());
        (epoch, Some(ids), Some(attached.collect()), Some(keyspaces.collect()))
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

impl RecordCase {
    fn open(&self, keyring: &Keyring) -> Result<String> {
        let id = LogId::new(number(&self.index), Era::term(number(&self.era)));
        let mut record = bytes(&self.sealed);
        let log = keyring.keyspace(&self.keyspace)?.log();
        let mut copy = record.clone();
        let plain = log.open_in_place(id, Era::term(number(&self.prev)), &mut record);
        let plain = plain.map(|plain| hex(plain));
        // A batch of one goes the same way.
        if plain.is_err() {
            let after = LogId::new(id.index.saturating_sub(1), Era::term(number(&self.prev)));
            assert!(log.open_batch(after, &mut [(id, &mut copy)]).is_err(), "{}", self.what);
        }
        plain
    }
}

impl CellCase {
    fn open(&self, keyring: &Keyring) -> Result<String> {
        let sealed = bytes(&self.sealed);
        let cells = keyring.keyspace(&self.keyspace)?.cells();
        let plain = cells.open(&self.table, &bytes(&self.row), &sealed)?;
        Ok(hex(plain.expose()))
    }
}

type Stream = (Option<String>, Option<String>, Option<String>, Option<String>);

impl StreamCase {
    fn open(&self, keyring: &Keyring) -> Result<Stream> {
        let sealed = Base64::decode_vec(&self.sealed).unwrap();
        let streams = keyring.keyspace(&self.keyspace)?.streams();
        let mut reader = streams.open(&self.stream, Cursor::new(sealed))?;
        reader.verify()?;
        let mut plain = Vec::new();
        reader.read_to_end(&mut plain).map_err(Error::Stream)?;
        let info = reader.info();
        let (index, era) = (info.at.index.to_string(), info.at.era.get().to_string());
        Ok((Some(index), Some(era), Some(hex(&info.meta)), Some(hex(&plain))))
    }
}

#[test]
fn everything_opens_or_is_refused_as_it_is_said() {
    let text = std::fs::read_to_string(data().join("vectors.json")).unwrap();
    let vectors: Vectors = serde_json::from_str(&text).unwrap();
    vectors.check();
    // What must be refused is there, and not only what opens.
    let refused = [
        vectors.unlock_keys.iter().filter(|case| case.error.is_some()).count(),
        vectors.key_files.iter().filter(|case| case.error.is_some()).count(),
        vectors.records.iter().filter(|case| case.error.is_some()).count(),
        vectors.cells.iter().filter(|case| case.error.is_some()).count(),
        vectors.streams.iter().filter(|case| case.error.is_some()).count(),
    ];
    assert_eq!(refused, [7, 42, 16, 12, 14]);
}

/// Made the committed file. Run again, it makes one of other keys: for a new form of what it holds.
#[test]
#[ignore = "writes tests/data/seal/vectors.json anew"]
fn make_the_vectors() {
    let vectors = make::vectors();
    vectors.check();
    let text = serde_json::to_string_pretty(&vectors).unwrap();
    std::fs::write(data().join("vectors.json"), text + "\n").unwrap();
}
