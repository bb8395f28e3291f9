//! An independent reader of the key file, written from `docs/design.md` and not from the code,
//! and key files that were written once and must open forever.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::unwrap_in_result, reason = "a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use base64ct::{Base64Unpadded, Encoding};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, XWing};
use hpke::{Deserializable, OpModeR, PskBundle, Serializable};
use nodeseal::key::{LockRecord, Protection, Rekey};
use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD};
use nodeseal::secret::SecretBytes;
use nodeseal::{
    Costs, Identity, Keyring, LockPolicy, Opened, Passphrase, Protector, Reason, UnlockKey,
};
use sha2::{Digest, Sha256};

/// What a reader unlocks with.
#[derive(Clone, Copy)]
enum With<'a> {
    Nothing,
    UnlockKey(&'a [u8]),
    Passphrase(&'a str),
}

/// What a key file says to one who can open it.
#[derive(Debug, PartialEq)]
struct KeySet {
    epoch: u64,
    kek_version: u64,
    /// Key, made-at, exposed, uses; the active one first.
    deks: Vec<(Vec<u8>, u64, u8, u64)>,
    /// Mode, target version, running, queued.
    rotation: (u8, u64, u8, u8),
    /// The leak that was acted on last.
    leak: u64,
    /// Exposed, recipient and auth of each slot.
    cards: Vec<Vec<u8>>,
    /// Exposed, bytes.
    attachments: BTreeMap<String, (u8, Vec<u8>)>,
    /// Name, id, made.
    keyspaces: Vec<(String, Vec<u8>, u8)>,
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// One block of HKDF-SHA256 without salt.
fn hkdf(ikm: &[u8], label: &str, context: &[&[u8]]) -> Vec<u8> {
    let label = format!("nodeseal/v1/{label}");
    let mut info = Vec::new();
    for part in [label.as_bytes()].iter().chain(context) {
        info.extend(u64::try_from(part.len()).unwrap().to_le_bytes());
        info.extend(*part);
    }
    hmac(&hmac(&[0; 32], &[ikm]), &[&info, &[1]])
}

/// `nonce 24 · tag 16 · ciphertext`; nothing if it does not authenticate.
fn open(key: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut plain = sealed[40..].to_vec();
    let nonce = XNonce::try_from(&sealed[..24]).unwrap();
    let tag = Tag::try_from(&sealed[24..40]).unwrap();
    XChaCha20Poly1305::new_from_slice(key)
        .unwrap()
        .decrypt_inout_detached(&nonce, aad, plain.as_mut_slice().into(), &tag)
        .ok()?;
    Some(plain)
}

fn base64(text: &str) -> Vec<u8> {
    Base64Unpadded::decode_vec(text).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|n| u8::from_str_radix(&text[n..n + 2], 16).unwrap()).collect()
}

/// `len64(x1) ‖ x1 ‖ …`.
fn parts(parts: &[&[u8]]) -> Vec<u8> {
    let len = |part: &[u8]| u64::try_from(part.len()).unwrap().to_le_bytes();
    parts.iter().flat_map(|part| [&len(part)[..], part].concat()).collect()
}

/// The file key, if the slot `fields` is for what the reader has.
fn unwrap(fields: &[&str], cluster: &str, node: &str, with: With<'_>) -> Option<Vec<u8>> {
    let kind = fields[0];
    if kind == "none" {
        return matches!(with, With::Nothing).then(|| base64(fields[1]));
    }
    let [id, confirm, share, wrapped] = [1, 4, 5, 6].map(|n| base64(fields[n]));
    assert_eq!((fields.len(), fields[3]), (7, "-"));
    let numbers: Vec<u32> = match fields[2] {
        "-" => Vec::new(),
        costs => costs.split(',').map(|n| n.parse().unwrap()).collect(),
    };
    let costs: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let secret = match (kind, with) {
        ("unlock", With::UnlockKey(key)) => key.to_vec(),
        ("passphrase", With::Passphrase(passphrase)) => {
            let params = Params::new(numbers[0], numbers[1], numbers[2], Some(32)).unwrap();
            let mut out = vec![0; 32];
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(passphrase.as_bytes(), &id, &mut out)
                .unwrap();
            out
        }
        _ => return None,
    };
    let context: &[&[u8]] =
        &[cluster.as_bytes(), node.as_bytes(), kind.as_bytes(), &id, &costs, b""];
    let of_card = if kind == "unlock" { &[kind.as_bytes()] } else { context };
    let auth = hkdf(&secret, "auth", of_card);
    if hkdf(&auth, "confirm", context) != confirm {
        return None;
    }
    let seed = hkdf(&secret, "seed", of_card);
    let key = <XWing as Kem>::PrivateKey::from_bytes(&seed).unwrap();
    let share = <XWing as Kem>::EncappedKey::from_bytes(&share).unwrap();
    let (psk, psk_id) = (hkdf(&auth, "psk", &[]), parts(&[kind.as_bytes(), &id]));
    let psk = OpModeR::Psk(PskBundle::new(&psk, &psk_id).unwrap());
    let suite: [&[u8]; 2] = [b"nodeseal/v1/slot", b"HPKE\x64\x7a\x00\x01\x00\x03"];
    let info = parts(&[&suite, context].concat());
    let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &psk, &key, &share, &info, &wrapped, b"",
    );
    Some(opened.expect("the confirmation fits"))
}

/// `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`
fn is_id(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && name.len() <= 64 && bytes.all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Reads a key file; nothing if the key is not one of its slots'.
fn read(text: &str, with: With<'_>) -> Option<KeySet> {
    let (above, check) = text.split_at(text.find("check ").unwrap());
    assert_eq!(check, format!("check {}\n", hex(&Sha256::digest(above))));
    let aad = &above[..above.find("sealed ").unwrap()];
    let facts: Vec<(&str, &str)> =
        above.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let fact = |at: usize, name: &str| {
        assert_eq!(facts[at].0, name);
        facts[at].1
    };
    assert_eq!(fact(0, "nodeseal-keys"), "1");
    let (cluster, node) = (fact(1, "cluster"), fact(2, "node"));
    assert!(is_id(cluster) && is_id(node), "{cluster} {node}");
    let (epoch, kek_version) = (fact(3, "epoch"), fact(4, "kek-version"));
    let slots = 5..facts.len() - 2;
    let file_key = slots.clone().find_map(|at| {
        let fields: Vec<&str> = fact(at, "slot").split(' ').collect();
        unwrap(&fields, cluster, node, with)
    })?;
    assert_eq!(base64(fact(slots.end, "commit")), hkdf(&file_key, "commit", &[]));
    let sealed = base64(fact(slots.end + 1, "sealed"));
    let set = open(&file_key, aad.as_bytes(), &sealed).expect("the file key fits");
    Some(decode(&set, epoch.parse().unwrap(), kek_version.parse().unwrap()))
}

fn decode(set: &[u8], epoch: u64, kek_version: u64) -> KeySet {
    let u64_at =
        |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(set[0], 1);
    let mut decoded = KeySet {
        epoch,
        kek_version,
        deks: Vec::new(),
        rotation: (9, 0, 0, 0),
        leak: 0,
        cards: Vec::new(),
        attachments: BTreeMap::new(),
        keyspaces: Vec::new(),
    };
    let mut rest = &set[1..];
    while let [tag, a, b, c, d, after @ ..] = rest {
        let len = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap();
        let (value, after) = after.split_at(len);
        match tag {
            1 | 2 => {
                assert_eq!(*tag == 1, decoded.deks.is_empty(), "the active one comes first");
                assert_eq!(value.len(), 49);
                let dek = (value[..32].to_vec(), u64_at(value, 32), value[40], u64_at(value, 41));
                decoded.deks.push(dek);
            }
            3 => {
                assert_eq!(value.len(), 19);
                decoded.rotation = (value[0], u64_at(value, 1), value[9], value[10]);
                decoded.leak = u64_at(value, 11);
            }
            4 => decoded.cards.push(value.to_vec()),
            5 => {
                let (name, bytes) = value[2..].split_at(usize::from(value[1]));
                let name = String::from_utf8(name.to_vec()).unwrap();
                assert!(decoded.attachments.insert(name, (value[0], bytes.to_vec())).is_none());
            }
            6 => {
                let name = String::from_utf8(value[18..].to_vec()).unwrap();
                assert_eq!(usize::from(value[17]), name.len());
                assert!(decoded.keyspaces.iter().all(|(before, ..)| *before < name));
                decoded.keyspaces.push((name, value[..16].to_vec(), value[16]));
            }
            _ => panic!("field {tag}"),
        }
        rest = after;
    }
    assert!(rest.is_empty());
    decoded
}

/// Recipient and auth of an unlock key.
fn card(key: &[u8]) -> Vec<u8> {
    let [seed, auth] = ["seed", "auth"].map(|label| hkdf(key, label, &[b"unlock"]));
    let key = <XWing as Kem>::PrivateKey::from_bytes(&seed).unwrap();
    [&[0], &XWing::sk_to_pk(&key).to_bytes()[..], &auth].concat()
}

fn me() -> Identity {
    Identity::new("prod", "m1").unwrap()
}

fn text(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("node.keys")).unwrap()
}

fn phrase(text: &str) -> Passphrase {
    Passphrase::new(SecretBytes::from(text.as_bytes())).unwrap()
}

/// That the independent reader found what the keyring says.
fn agree(set: &KeySet, keyring: &Keyring) {
    let status = keyring.status();
    assert_eq!((set.epoch, set.kek_version), (status.epoch, status.kek_version));
    assert_eq!(set.leak, status.leak);
    let exposed: Vec<bool> = set.cards.iter().map(|card| card[0] == 1).collect();
    assert!(status.slots.iter().map(|slot| slot.exposed).eq(exposed));
    assert_eq!(set.deks.len(), status.deks.len());
    for ((dek, made_at, exposed, uses), said) in set.deks.iter().zip(&status.deks) {
        assert_eq!(hkdf(dek, "dek-id", &[])[..8], said.id.to_bytes());
        assert_eq!((*made_at, *exposed), (said.made_at, u8::from(said.exposed)));
        assert!(*uses >= said.uses);
    }
    let attached: Vec<_> = set.attachments.iter().map(|(n, (e, _))| (n.clone(), *e == 1)).collect();
    assert_eq!(attached, status.attachments);
    let keyspaces = status.keyspaces.iter();
    let keyspaces = keyspaces.map(|k| (k.name.clone(), k.id.to_bytes().to_vec(), u8::from(k.made)));
    assert!(keyspaces.eq(set.keyspaces.iter().cloned()));
    for (name, (_, bytes)) in &set.attachments {
        assert_eq!(keyring.attachment(name).unwrap().expose(), bytes);
    }
}

#[test]
fn what_a_keyring_writes_is_what_the_design_says() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let keyring = Keyring::create(dir, &me(), Protector::none(), &[("tls", b"pem")]).unwrap();
    let set = read(&text(dir), With::Nothing).unwrap();
    agree(&set, &keyring);
    assert_eq!((set.rotation, &set.cards[..]), ((0, 0, 0, 0), &[][..]));

    let key = UnlockKey::generate().unwrap();
    keyring.reconcile(&LockRecord::locked(3, &key)).unwrap();
    keyring.add_passphrase(&phrase("open sesame"), Costs::new(19 << 10, 2, 2).unwrap()).unwrap();
    keyring.rotate_dek(Reason::Age).unwrap();
    // In the order of their names.
    let keyspaces = ["second", "first"].map(|name| keyring.keyspace(name).unwrap());
    let bytes = key.secret().expose();
    let set = read(&text(dir), With::UnlockKey(bytes)).unwrap();
    agree(&set, &keyring);
    // Locked; running because it was locked (bit 6), queued because of age (bit 1).
    assert_eq!((set.rotation, set.deks.len()), ((1, 0, 1 << 6, 1 << 1), 2));
    assert_eq!(set.cards[0], card(bytes));
    assert_eq!(set.cards.len(), 2);
    assert_eq!(set.keyspaces.len(), 2);
    let second = ("second".to_owned(), keyspaces[0].id().to_bytes().to_vec(), 1);
    assert_eq!(set.keyspaces[1], second);
    assert_eq!(read(&text(dir), With::Passphrase("open sesame")).unwrap(), set);
    for wrong in [With::Nothing, With::Passphrase("sesame"), With::UnlockKey(&[0; 32])] {
        assert_eq!(read(&text(dir), wrong), None);
    }

    keyring.reconcile(&LockRecord::locked(4, &key).with_leak()).unwrap();
    let set = read(&text(dir), With::UnlockKey(bytes)).unwrap();
    agree(&set, &keyring);
    assert_eq!((set.leak, set.cards[0][0], set.cards[1][0]), (4, 1, 1));

    keyring.reconcile(&LockRecord::off(5)).unwrap();
    let set = read(&text(dir), With::UnlockKey(bytes)).unwrap();
    agree(&set, &keyring);
    assert_eq!((set.rotation.0, set.rotation.1, set.kek_version), (2, 5, 4));
}

#[test]
fn every_write_is_fresh_but_for_the_slots_id() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let key = UnlockKey::generate().unwrap();
    let keyring = Keyring::create(dir, &me(), Protector::unlock_key(&key), &[]).unwrap();
    let slot = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("slot ")).unwrap().to_owned();
        line.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let sealed =
        |text: &str| text.lines().find(|line| line.starts_with("sealed ")).unwrap().to_owned();
    let before = text(dir);
    keyring.attach("a", b"").unwrap();
    keyring.detach("a").unwrap();
    let after = text(dir);
    let same: Vec<bool> = slot(&before).iter().zip(slot(&after)).map(|(a, b)| *a == b).collect();
    // slot, kind, id, parameters, blob, confirmation; share, wrapped.
    assert_eq!(same, [true, true, true, true, true, true, false, false]);
    assert_ne!(sealed(&before), sealed(&after));
}

/// The committed files and what is in them.
struct Fixture {
    dir: PathBuf,
    facts: BTreeMap<String, String>,
}

impl Fixture {
    fn load() -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/keyring");
        let facts = std::fs::read_to_string(dir.join("facts.txt")).unwrap();
        let facts = facts.lines().filter(|line| !line.starts_with('#'));
        let pair = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
        Self { dir, facts: facts.filter_map(pair).collect() }
    }

    fn fact(&self, name: &str) -> &str {
        &self.facts[name]
    }

    /// Opens a copy of the file `which`, which stays as it is.
    fn copy(&self, which: &str) -> (tempfile::TempDir, Opened) {
        let copy = tempfile::tempdir().unwrap();
        let file = self.dir.join(which).join("node.keys");
        std::fs::copy(file, copy.path().join("node.keys")).unwrap();
        let opened = Keyring::open(copy.path(), &me(), LockPolicy::Any).unwrap();
        (copy, opened)
    }

    fn check(&self, which: &str, keyring: &Keyring, set: &KeySet) {
        agree(set, keyring);
        assert_eq!(hex(&set.deks[0].0), self.fact(&format!("{which}-dek")));
        assert_eq!(keyring.attachment("tls-key").unwrap().expose(), b"not a real key");
        let mut record = unhex(self.fact(&format!("{which}-record")));
        let raft = keyring.keyspace("raft").unwrap();
        let log = raft.log();
        let (id, prev) = (LogId::new(7, Era::term(2)), Era::term(1));
        assert_eq!(log.open_in_place(id, prev, &mut record).unwrap(), b"an entry");
        let cell = unhex(self.fact(&format!("{which}-cell")));
        assert_eq!(raft.cells().open("votes", b"raft", &cell).unwrap().expose(), b"a vote");
    }
}

#[test]
fn committed_files_open_today() {
    let fixture = Fixture::load();
    let key = UnlockKey::from_text(fixture.fact("unlock-key")).unwrap();
    let passphrase = fixture.fact("passphrase");

    let locked = text(&fixture.dir.join("locked"));
    let set = read(&locked, With::UnlockKey(key.secret().expose())).unwrap();
    assert_eq!(read(&locked, With::Passphrase(passphrase)).unwrap(), set);
    let (_dir, Opened::Locked(file)) = fixture.copy("locked") else { panic!("not locked") };
    let failed = file.unlock(&UnlockKey::generate().unwrap()).unwrap_err();
    fixture.check("locked", &failed.locked.unlock(&key).unwrap(), &set);
    let (_dir, Opened::Locked(file)) = fixture.copy("locked") else { panic!("not locked") };
    let keyring = file.unlock_with_passphrase(&phrase(passphrase)).unwrap();
    fixture.check("locked", &keyring, &set);
    let status = keyring.status();
    assert_eq!((status.protection, status.kek_version), (Protection::Locked, 5));
    assert_eq!((status.deks.len(), status.epoch, status.passphrases), (2, 5, 1));

    let set = read(&text(&fixture.dir.join("clear")), With::Nothing).unwrap();
    let (_dir, Opened::Unlocked(keyring)) = fixture.copy("clear") else { panic!("locked") };
    fixture.check("clear", &keyring, &set);
    assert_eq!(keyring.status().protection, Protection::Clear);
}

/// Makes the committed files. Run again, it makes others: only for another form of the bytes.
#[test]
#[ignore = "writes tests/data/keyring again"]
fn make_the_committed_files() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/keyring");
    let (key, passphrase) = (UnlockKey::generate().unwrap(), "correct horse battery staple");
    let pem: &[(&str, &[u8])] = &[("tls-key", b"not a real key")];
    let mut facts = format!("unlock-key {}\npassphrase {passphrase}\n", *key.to_text());
    for (which, protector) in
        [("locked", Protector::unlock_key(&key)), ("clear", Protector::none())]
    {
        let dir = dir.join(which);
        std::fs::remove_file(dir.join("node.keys")).ok();
        let keyring = Keyring::create(&dir, &me(), protector, pem).unwrap();
        if which == "locked" {
            let record = LockRecord::locked(5, &key);
            keyring.reconcile_with(&record, Rekey::KeepDek).unwrap();
            keyring
                .add_passphrase(&phrase(passphrase), Costs::new(19 << 10, 2, 2).unwrap())
                .unwrap();
            keyring.rotate_dek(Reason::Requested).unwrap();
        }
        let mut record = [vec![0; RECORD_OVERHEAD], b"an entry".to_vec()].concat();
        let (id, prev) = (LogId::new(7, Era::term(2)), Era::term(1));
        let raft = keyring.keyspace("raft").unwrap();
        raft.log().seal_in_place(id, prev, &mut record).unwrap().durable();
        let cell = raft.cells().seal("votes", b"raft", b"a vote").unwrap();
        let with =
            if which == "clear" { With::Nothing } else { With::UnlockKey(key.secret().expose()) };
        let set = read(&text(&dir), with).unwrap();
        facts += &format!("{which}-dek {}\n", hex(&set.deks[0].0));
        facts += &format!("{which}-record {}\n{which}-cell {}\n", hex(&record), hex(cell.bytes()));
        cell.durable();
        std::fs::remove_file(dir.join("node.keys.lock")).unwrap();
    }
    let mut file = std::fs::File::create(dir.join("facts.txt")).unwrap();
    std::io::Write::write_all(&mut file, [FACTS, &facts].concat().as_bytes()).unwrap();
}

const FACTS: &str = "\
# Two key files, and what is in them. Test keys: they protect nothing.
# Written, with the files, by: cargo test --test keyring_format -- --ignored
";
