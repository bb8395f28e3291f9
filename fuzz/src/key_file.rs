//! The native key file, written a second time: writer and reader.

use std::fmt::Write as _;

use base64ct::{Base64Unpadded, Encoding};
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::fixed::{CLUSTER, FILE_KEY, NODE};
use crate::reference::{Key, derive, open_xchacha, xchacha};

/// A field of a key set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field {
    pub tag: u8,
    pub value: Vec<u8>,
}

impl Field {
    #[must_use]
    pub fn dek(tag: u8, key: &Key, made_at: u64, exposed: bool, reserved: u64) -> Self {
        let numbers = (made_at.to_le_bytes(), reserved.to_le_bytes());
        let value = [&key[..], &numbers.0, &[u8::from(exposed)], &numbers.1].concat();
        Self { tag, value }
    }

    #[must_use]
    pub fn rotation(mode: u8, target: u64, running: u8, queued: u8) -> Self {
        let value = [&[mode], &target.to_le_bytes()[..], &[running, queued]].concat();
        Self { tag: 3, value }
    }

    #[must_use]
    pub fn attachment(name: &str, exposed: bool, bytes: &[u8]) -> Self {
        let head = [u8::from(exposed), u8::try_from(name.len()).expect("a short name")];
        Self { tag: 5, value: [&head, name.as_bytes(), bytes].concat() }
    }

    /// A key set.
    #[must_use]
    pub fn encode(fields: &[Self]) -> Vec<u8> {
        let mut bytes = vec![1];
        for field in fields {
            bytes.push(field.tag);
            let len = u32::try_from(field.value.len()).expect("a short field");
            bytes.extend(len.to_le_bytes());
            bytes.extend(&field.value);
        }
        bytes
    }

    /// The fields of a key set; `None` if they do not fill it.
    #[must_use]
    pub fn decode(set: &[u8]) -> Option<Vec<Self>> {
        let mut rest = set.strip_prefix(&[1])?;
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let (head, after) = rest.split_first_chunk::<5>()?;
            let len = usize::try_from(u32::from_le_bytes(*head.last_chunk()?)).ok()?;
            let (value, after) = after.split_at_checked(len)?;
            fields.push(Self { tag: head[0], value: value.to_vec() });
            rest = after;
        }
        Some(fields)
    }
}

/// A slot for an unlock key, its salt and ephemeral key fixed.
pub struct Slot {
    scalar: Key,
    pub auth: Key,
}

const SALT: [u8; 16] = *b"an unlock salt!!";
const EPHEMERAL: Key = *b"an ephemeral key of a fuzz test!";

impl Slot {
    #[must_use]
    pub fn unlock(kek: &Key) -> Self {
        Self { scalar: derive(kek, "unlock-x25519", &[]), auth: derive(kek, "unlock-auth", &[]) }
    }

    fn line(&self, file_key: &Key) -> String {
        let recipient = PublicKey::from(&StaticSecret::from(self.scalar));
        let ephemeral = StaticSecret::from(EPHEMERAL);
        let shared = ephemeral.diffie_hellman(&recipient);
        let ephemeral = PublicKey::from(&ephemeral);
        let commitment = derive(
            &self.auth,
            "commit",
            &[b"unlock", CLUSTER.as_bytes(), NODE.as_bytes(), &SALT, b""],
        );
        let key = self.key(shared.as_bytes(), &SALT, ephemeral.as_bytes(), recipient.as_bytes());
        let wrapped = xchacha(&key, &[1; 24], b"", file_key);
        format!(
            "slot unlock {} - {} {} {} {}\n",
            base64(&SALT),
            base64(recipient.as_bytes()),
            base64(ephemeral.as_bytes()),
            base64(&commitment),
            base64(&wrapped),
        )
    }

    fn key(&self, shared: &Key, salt: &[u8], ephemeral: &[u8], recipient: &[u8]) -> Key {
        let context: &[&[u8]] =
            &[b"unlock", CLUSTER.as_bytes(), NODE.as_bytes(), salt, ephemeral, recipient, b""];
        derive(&[&shared[..], &self.auth].concat(), "slot", context)
    }

    /// The file key out of a slot's line.
    fn open(&self, line: &str) -> Option<Key> {
        let [salt, _, recipient, ephemeral, _, wrapped] =
            line.strip_prefix("slot unlock ")?.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let [salt, recipient, ephemeral, wrapped] =
            [salt, recipient, ephemeral, wrapped].map(unbase64);
        let (ephemeral, recipient) = (ephemeral?, recipient?);
        let point: Key = ephemeral.as_slice().try_into().ok()?;
        let shared = StaticSecret::from(self.scalar).diffie_hellman(&PublicKey::from(point));
        let key = self.key(shared.as_bytes(), &salt?, &ephemeral, &recipient);
        open_xchacha(&key, b"", &wrapped?)?.try_into().ok()
    }
}

/// A key file whose file key is the fixed one; in the clear without a slot.
#[must_use]
pub fn key_file(epoch: u64, kek_version: u64, slot: Option<&Slot>, set: &[u8]) -> Vec<u8> {
    let mut text = format!(
        "nodeseal-keys 1\ncluster {CLUSTER}\nnode {NODE}\nepoch {epoch}\n\
         kek-version {kek_version}\n"
    );
    match slot {
        None => writeln!(text, "slot none {}", base64(&FILE_KEY)).expect("a string"),
        Some(slot) => text += &slot.line(&FILE_KEY),
    }
    let sealed = xchacha(&FILE_KEY, &[2; 24], text.as_bytes(), set);
    writeln!(text, "sealed {}", base64(&sealed)).expect("a string");
    checked(text.as_bytes())
}

/// These lines with the check line that belongs behind them.
#[must_use]
pub fn checked(lines: &[u8]) -> Vec<u8> {
    let check = Sha256::digest(lines);
    let mut line = "check ".to_owned();
    check.iter().for_each(|byte| write!(line, "{byte:02x}").expect("a string"));
    [lines, line.as_bytes(), b"\n"].concat()
}

/// The key set of a file that is in the clear or locked for `slot`.
#[must_use]
pub fn key_set_of(file: &[u8], slot: &Slot) -> Option<Vec<u8>> {
    let text = str::from_utf8(file).ok()?;
    let (header, rest) = text.split_once("sealed ")?;
    let sealed = unbase64(rest.split_once('\n')?.0)?;
    let file_key = header.lines().find_map(|line| match line.strip_prefix("slot none ") {
        Some(clear) => unbase64(clear)?.try_into().ok(),
        None => slot.open(line),
    })?;
    open_xchacha(&file_key, header.as_bytes(), &sealed)
}

fn base64(bytes: &[u8]) -> String {
    Base64Unpadded::encode_string(bytes)
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    Base64Unpadded::decode_vec(text).ok()
}
