//! Makes the vectors through the public API, and what must not open by hand from what does.

use base64ct::{Base64, Base64Unpadded, Encoding};
use nodeseal::key::LockRecord;
use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD};
use nodeseal::secret::SecretBytes;
use nodeseal::{Costs, Identity, Keyring, Passphrase, Protector, Reason, UnlockKey};
use sha2::{Digest, Sha256};

use super::{CellCase, KeyFileCase, RecordCase, StreamCase, UnlockKeyCase, Vectors, data, hex};

const ABOUT: &str = "nodeseal's native formats, version 1, as docs/design.md has them: what opens, \
    and what must be refused with which error. Bytes are hexadecimal, streams base64. Records, cells \
    and streams are under the DEK of the first key file, which is not locked, and in its keyspaces. Made by `cargo test \
    --test vectors -- --ignored`; tests/vectors/read.py reads it without this library.";
const PHRASE: &str = "correct horse battery staple";

pub(super) fn vectors() -> Vectors {
    let key = UnlockKey::generate().unwrap();
    let clear = std::fs::read_to_string(data().join("node.keys")).unwrap();
    let mut key_files = vec![clear_file("not locked: the DEK of all that follows", &clear)];
    let (_dir, keyring) = key_files[0].open(&me()).unwrap();
    key_files.extend(clear_files(&clear));
    key_files.extend(locked_files(&key));
    Vectors {
        about: ABOUT.to_owned(),
        cluster: "prod".to_owned(),
        node: "m1".to_owned(),
        unlock_keys: unlock_keys(&key),
        key_files,
        records: records(&keyring),
        cells: cells(&keyring),
        streams: streams(),
    }
}

fn me() -> Identity {
    Identity::new("prod", "m1").unwrap()
}

fn unlock_keys(key: &UnlockKey) -> Vec<UnlockKeyCase> {
    let text = key.to_text().to_string();
    let whole = UnlockKeyCase {
        what: "an unlock key".to_owned(),
        text: text.clone(),
        bytes: Some(hex(key.secret().expose())),
        error: None,
    };
    // The last of 43 digits has two unused bits.
    let last = text.chars().last().unwrap();
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let next = DIGITS.chars().nth(DIGITS.find(last).unwrap() + 1).unwrap();
    let refused = [
        ("without its prefix", text["SWMKEY-1-".len()..].to_owned()),
        ("another prefix", text.replacen("SWMKEY-1-", "SWMKEY-2-", 1)),
        ("cut by a character", text[..text.len() - 1].to_owned()),
        ("with padding", format!("{text}=")),
        ("with a line end", format!("{text}\n")),
        ("unused bits that are not zero", format!("{}{next}", &text[..text.len() - 1])),
        ("a character of the other base64", format!("SWMKEY-1-_{}", &text["SWMKEY-1-_".len()..])),
    ];
    let refused = refused.map(|(what, text)| UnlockKeyCase {
        what: what.to_owned(),
        text,
        bytes: None,
        error: Some("key-text".to_owned()),
    });
    [whole].into_iter().chain(refused).collect()
}

/// A file that is not locked, with what is in it.
fn clear_file(what: &str, file: &str) -> KeyFileCase {
    with_facts(KeyFileCase { what: what.to_owned(), file: file.to_owned(), ..nothing() })
}

fn nothing() -> KeyFileCase {
    KeyFileCase {
        what: String::new(),
        file: String::new(),
        needs_key: false,
        unlock_key: None,
        passphrase: None,
        epoch: None,
        dek_ids: None,
        attachments: None,
        keyspaces: None,
        error: None,
    }
}

fn with_facts(mut case: KeyFileCase) -> KeyFileCase {
    let (_dir, keyring) = case.open(&me()).unwrap();
    (case.epoch, case.dek_ids, case.attachments, case.keyspaces) = case.facts(&keyring);
    case
}

/// The lines above the check, edited, with the check that belongs to them: anybody can compute it.
fn edited(file: &str, from: &str, to: &str) -> String {
    let above = &file[..file.rfind("check ").unwrap()];
    assert!(above.contains(from), "{from:?}");
    checked(&above.replacen(from, to, 1))
}

fn checked(above: &str) -> String {
    format!("{above}check {}\n", hex(&Sha256::digest(above)))
}

/// The value of a line.
fn fact<'a>(file: &'a str, name: &str) -> &'a str {
    let mut lines = file.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap()
}

/// The text with another digit for its first one.
fn other(text: &str) -> String {
    let digit = if text.starts_with('A') { "B" } else { "A" };
    format!("{digit}{}", &text[1..])
}

/// What is wrong with a file, whatever it is locked with.
fn spoilt(file: &str) -> Vec<(&'static str, String, &'static str)> {
    let sealed = fact(file, "sealed");
    let epoch = fact(file, "epoch");
    let line = |epoch: &str| format!("epoch {epoch}\n");
    vec![
        ("cut", file[..file.len() - 20].to_owned(), "damaged"),
        (
            "one bit of the check flipped",
            {
                let (above, check) = file.split_at(file.rfind("check ").unwrap() + 6);
                let digit = if check.starts_with('0') { "1" } else { "0" };
                format!("{above}{digit}{}", &check[1..])
            },
            "damaged",
        ),
        ("one bit flipped", file.replacen(sealed, &other(sealed), 1), "damaged"),
        (
            "one bit of the key set flipped, and the check made anew",
            edited(file, sealed, &other(sealed)),
            "unauthentic",
        ),
        (
            "another epoch, and the check made anew",
            edited(file, &line(epoch), &line("999")),
            "unauthentic",
        ),
        ("of another node", edited(file, "node m1\n", "node m2\n"), "other-identity"),
        ("of another cluster", edited(file, "cluster prod\n", "cluster test\n"), "other-identity"),
        (
            "a node whose name begins with a hyphen",
            edited(file, "node m1\n", "node -m1\n"),
            "damaged",
        ),
        (
            "not canonical: a leading zero",
            edited(file, &line(epoch), &line(&format!("0{epoch}"))),
            "damaged",
        ),
        (
            "not canonical: a plus",
            edited(file, &line(epoch), &line(&format!("+{epoch}"))),
            "damaged",
        ),
        (
            "not canonical: CRLF",
            checked(&file[..file.rfind("check ").unwrap()].replace('\n', "\r\n")),
            "damaged",
        ),
        (
            "not canonical: padding",
            edited(file, &format!("{sealed}\n"), &format!("{sealed}=\n")),
            "damaged",
        ),
        (
            "not canonical: a space at the end of a line",
            edited(file, &line(epoch), &format!("epoch {epoch} \n")),
            "damaged",
        ),
        ("a later version", edited(file, "nodeseal-keys 1\n", "nodeseal-keys 2\n"), "unsupported"),
    ]
}

fn clear_files(clear: &str) -> Vec<KeyFileCase> {
    let case = |(what, file, error): (&str, String, &str)| KeyFileCase {
        what: format!("not locked: {what}"),
        file,
        error: Some(error.to_owned()),
        ..nothing()
    };
    spoilt(clear).into_iter().map(case).collect()
}

fn locked_files(key: &UnlockKey) -> Vec<KeyFileCase> {
    let dir = tempfile::tempdir().unwrap();
    let attached: &[(&str, &[u8])] = &[("tls-key", b"not a real key")];
    let keyring = Keyring::create(dir.path(), &me(), Protector::unlock_key(key), attached).unwrap();
    let text = || std::fs::read_to_string(dir.path().join("node.keys")).unwrap();
    let first = text();
    keyring.reconcile(&LockRecord::locked(5, key)).unwrap();
    let phrase = Passphrase::new(SecretBytes::from(PHRASE.as_bytes())).unwrap();
    keyring.add_passphrase(&phrase, Costs::FLOOR).unwrap();
    keyring.rotate_dek(Reason::Requested).unwrap();
    drop(keyring.keyspace("raft").unwrap());
    drop(keyring);
    let file = text();
    let other_key = UnlockKey::generate().unwrap();

    let with = |what: &str, file: &str, key: &UnlockKey| KeyFileCase {
        what: format!("locked: {what}"),
        file: file.to_owned(),
        needs_key: true,
        unlock_key: Some(key.to_text().to_string()),
        ..nothing()
    };
    let by_phrase = |what: &str, phrase: &str| KeyFileCase {
        unlock_key: None,
        passphrase: Some(phrase.to_owned()),
        ..with(what, &file, key)
    };
    let refused =
        |case: KeyFileCase, error: &str| KeyFileCase { error: Some(error.to_owned()), ..case };
    let mut cases = vec![
        with_facts(with("by the unlock key", &file, key)),
        with_facts(by_phrase("by the passphrase", PHRASE)),
        refused(with("another unlock key", &file, &other_key), "wrong-key"),
        refused(by_phrase("another passphrase", "correct horse battery stable"), "wrong-key"),
    ];
    let spoilt = spoilt(&file).into_iter();
    cases.extend(spoilt.map(|(what, file, error)| {
        // The names are part of what a slot is for.
        refused(with(what, &file, key), error)
    }));
    cases.extend(
        slots(&file, &first)
            .into_iter()
            .map(|(what, file, error)| refused(with(what, &file, key), error)),
    );
    cases
}

/// Slots that somebody without a key wrote. `before` is an older file for the same unlock key.
fn slots(file: &str, before: &str) -> Vec<(&'static str, String, &'static str)> {
    let (slot, old) = (fact(file, "slot unlock"), fact(before, "slot unlock"));
    let passphrase = fact(file, "slot passphrase");
    let commit = fact(file, "commit");
    let part = |at: usize, to: &str| {
        let mut fields: Vec<&str> = slot.split(' ').collect();
        fields[at] = to;
        edited(file, slot, &fields.join(" "))
    };
    let fields: Vec<&str> = slot.split(' ').collect();
    vec![
        (
            "a slot of an older file, which wraps another file key",
            edited(file, slot, old),
            "damaged",
        ),
        (
            "the file key of an older file",
            edited(before, fact(before, "sealed"), fact(file, "sealed")),
            "unauthentic",
        ),
        ("a slot with another id", part(0, &other(fields[0])), "wrong-key"),
        ("a slot with a blob", part(2, "AAAA"), "wrong-key"),
        ("a slot with another confirmation", part(3, &other(fields[3])), "wrong-key"),
        ("a slot with another encapsulated key", part(4, &other(fields[4])), "unauthentic"),
        ("a slot with an X25519 share of low order", part(4, &low_order(fields[4])), "damaged"),
        ("a slot whose wrapped key was altered", part(5, &other(fields[5])), "unauthentic"),
        ("another commitment", edited(file, commit, &other(commit)), "damaged"),
        (
            "without the passphrase's slot",
            edited(file, &format!("slot passphrase {passphrase}\n"), ""),
            "unauthentic",
        ),
        (
            "the slot twice",
            edited(file, slot, &format!("{slot}\nslot unlock {slot}")),
            "unauthentic",
        ),
        (
            "an unencrypted file key beside it",
            edited(file, "slot unlock", &format!("slot none {}\nslot unlock", "A".repeat(43))),
            "damaged",
        ),
    ]
}

/// An encapsulated key whose last 32 bytes, the X25519 share, are zero.
fn low_order(enc: &str) -> String {
    let mut bytes = Base64Unpadded::decode_vec(enc).unwrap();
    let share = bytes.len() - 32;
    bytes[share..].fill(0);
    Base64Unpadded::encode_string(&bytes)
}

fn flipped(sealed: &[u8], at: usize) -> String {
    let mut copy = sealed.to_vec();
    copy[at] ^= 1;
    hex(&copy)
}

fn records(keyring: &Keyring) -> Vec<RecordCase> {
    let log = keyring.keyspace("raft").unwrap().log();
    let sealed = |index, era, prev, plain: &[u8]| {
        let mut record = [&[0; RECORD_OVERHEAD], plain].concat();
        let id = LogId::new(index, Era::term(era));
        log.seal_in_place(id, Era::term(prev), &mut record).unwrap().durable();
        record
    };
    let case = |what: &str, index: u64, era: u64, prev: u64, plain: &[u8]| RecordCase {
        what: what.to_owned(),
        keyspace: "raft".to_owned(),
        index: index.to_string(),
        era: era.to_string(),
        prev: prev.to_string(),
        sealed: hex(&sealed(index, era, prev, plain)),
        plain: Some(hex(plain)),
        error: None,
    };
    let long: Vec<u8> = (0..=255).cycle().take(700).collect();
    let mut cases = vec![
        case("the first entry, empty", 1, 1, 0, b""),
        case("an entry", 2, 1, 1, b"a raft entry"),
        case("63 bytes", 3, 1, 1, &long[..63]),
        case("64 bytes", 4, 2, 1, &long[..64]),
        case("several blocks", 5, 2, 2, &long),
        case("the greatest numbers", u64::MAX, u64::MAX, u64::MAX, b"far"),
        case("without raft", 9, 0, 0, b"no eras"),
    ];
    let base = cases[1].clone();
    let bytes = super::bytes(&base.sealed);
    let longer = [&bytes[..], &[0]].concat();
    let refused = |what: &str, error: &str, change: &dyn Fn(&mut RecordCase)| {
        let mut case = RecordCase { what: what.to_owned(), plain: None, ..base.clone() };
        case.error = Some(error.to_owned());
        change(&mut case);
        case
    };
    let with = |sealed: String| move |case: &mut RecordCase| case.sealed.clone_from(&sealed);
    let mut other_format = bytes.clone();
    other_format[0] = 9;
    cases.extend([
        refused("at another index", "unauthentic", &|case| case.index = "3".to_owned()),
        refused("of another era", "unauthentic", &|case| case.era = "2".to_owned()),
        refused("after another era", "unauthentic", &|case| case.prev = "0".to_owned()),
        refused("in another keyspace", "unauthentic", &|case| case.keyspace = "second".to_owned()),
        refused("prefix flipped", "unauthentic", &with(flipped(&bytes, 9))),
        refused("tag flipped", "unauthentic", &with(flipped(&bytes, 25))),
        refused("tag flipped at its end", "unauthentic", &with(flipped(&bytes, 40))),
        refused("ciphertext flipped", "unauthentic", &with(flipped(&bytes, 41))),
        refused(
            "ciphertext flipped at its end",
            "unauthentic",
            &with(flipped(&bytes, bytes.len() - 1)),
        ),
        refused("cut by a byte", "unauthentic", &with(hex(&bytes[..bytes.len() - 1]))),
        refused("longer by a byte", "unauthentic", &with(hex(&longer))),
        refused("cut in its tag", "damaged", &with(hex(&bytes[..40]))),
        refused("nothing", "damaged", &with(String::new())),
        refused("under another DEK", "unknown-dek", &with(flipped(&bytes, 1))),
        refused("of a later format", "unsupported", &with(format!("04{}", hex(&bytes[1..])))),
        refused("of no format", "damaged", &with(hex(&other_format))),
    ]);
    cases
}

fn cells(keyring: &Keyring) -> Vec<CellCase> {
    let case = |what: &str, table: &str, row: &[u8], plain: &[u8]| {
        let cell = keyring.keyspace("raft").unwrap().cells().seal(table, row, plain).unwrap();
        let sealed = hex(cell.bytes());
        cell.durable();
        CellCase {
            what: what.to_owned(),
            keyspace: "raft".to_owned(),
            table: table.to_owned(),
            row: hex(row),
            sealed,
            plain: Some(hex(plain)),
            error: None,
        }
    };
    let mut cases = vec![
        case("a cell", "membership", b"last", b"m1,m2,m3"),
        case("an empty one of an empty row", "membership", b"", b""),
        case("several blocks", "blobs", &[0, 255], &[7; 300]),
    ];
    let base = cases[0].clone();
    let bytes = super::bytes(&base.sealed);
    let refused = |what: &str, error: &str, change: &dyn Fn(&mut CellCase)| {
        let mut case = CellCase { what: what.to_owned(), plain: None, ..base.clone() };
        case.error = Some(error.to_owned());
        change(&mut case);
        case
    };
    let with = |sealed: String| move |case: &mut CellCase| case.sealed.clone_from(&sealed);
    cases.extend([
        refused("in another row", "unauthentic", &|case| case.row = hex(b"first")),
        refused("in another keyspace", "unauthentic", &|case| case.keyspace = "second".to_owned()),
        refused("in another table", "unauthentic", &|case| case.table = "members".to_owned()),
        refused("table and row divided elsewhere", "unauthentic", &|case| {
            (case.table, case.row) = ("members".to_owned(), hex(b"hiplast"));
        }),
        refused("nonce flipped", "unauthentic", &with(flipped(&bytes, 9))),
        refused("tag flipped", "unauthentic", &with(flipped(&bytes, 33))),
        refused("ciphertext flipped", "unauthentic", &with(flipped(&bytes, 49))),
        refused("cut by a byte", "unauthentic", &with(hex(&bytes[..bytes.len() - 1]))),
        refused("longer by a byte", "unauthentic", &with(format!("{}00", hex(&bytes)))),
        refused("cut in its tag", "damaged", &with(hex(&bytes[..40]))),
        refused("under another DEK", "unknown-dek", &with(flipped(&bytes, 8))),
        refused("a record's format", "unsupported", &with(format!("01{}", hex(&bytes[1..])))),
    ]);
    cases
}

/// The committed stream of three chunks, and one that the API writes.
fn streams() -> Vec<StreamCase> {
    const HEADER: usize = 4096;
    const CHUNK: usize = 1024 + 32;
    let whole = std::fs::read(data().join("stream.bin")).unwrap();
    let plain: Vec<u8> = (0..=250).cycle().take(2500).collect();
    let base = StreamCase {
        what: "three chunks of 1 KiB".to_owned(),
        keyspace: "raft".to_owned(),
        stream: "snapshot".to_owned(),
        sealed: Base64::encode_string(&whole),
        index: Some((1_u64 << 40).to_string()),
        era: Some("3".to_owned()),
        meta: Some(hex(b"members")),
        plain: Some(hex(&plain)),
        error: None,
    };
    let refused = |what: &str, error: &str, sealed: &[u8]| StreamCase {
        what: what.to_owned(),
        sealed: Base64::encode_string(sealed),
        error: Some(error.to_owned()),
        index: None,
        era: None,
        meta: None,
        plain: None,
        ..base.clone()
    };
    let flip = |at: usize| {
        let mut copy = whole.clone();
        copy[at] ^= 1;
        copy
    };
    let (header, chunks) = whole.split_at(HEADER);
    let (first, rest) = chunks.split_at(CHUNK);
    let (second, third) = rest.split_at(CHUNK);
    let other_name = StreamCase {
        stream: "backup".to_owned(),
        ..refused("of another name", "unauthentic", &whole)
    };
    let other_keyspace = StreamCase {
        keyspace: "second".to_owned(),
        ..refused("in another keyspace", "unauthentic", &whole)
    };
    vec![
        base.clone(),
        other_name,
        other_keyspace,
        refused("header flipped", "unauthentic", &flip(60)),
        refused("header flipped at its end", "unauthentic", &flip(HEADER - 1)),
        refused("first chunk flipped", "unauthentic", &flip(HEADER + 40)),
        refused("last chunk's prefix flipped", "unauthentic", &flip(HEADER + 2 * CHUNK)),
        refused("two chunks exchanged", "unauthentic", &[header, second, first, third].concat()),
        refused(
            "a chunk in place of another",
            "unauthentic",
            &[header, first, first, third].concat(),
        ),
        refused("without its last chunk", "damaged", &[header, first, second].concat()),
        refused("cut by a byte", "damaged", &whole[..whole.len() - 1]),
        refused("longer by a byte", "damaged", &[&whole[..], &[0]].concat()),
        refused("not finished", "damaged", &[&[0; HEADER], chunks].concat()),
        refused("cut in its header", "damaged", &whole[..100]),
        refused("under another DEK", "unknown-dek", &flip(1)),
    ]
}
