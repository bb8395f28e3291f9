//! The native key file, written a second time: writer and reader.

use std::fmt::Write as _;

use base64ct::{Base64Unpadded, Encoding};
use core::convert::Infallible;
use hpke::aead::ChaCha20Poly1305 as Aead;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, XWing};
use hpke::{Deserializable, OpModeR, OpModeS, PskBundle, Serializable};
use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};

use crate::fixed::{CLUSTER, FILE_KEY, NODE};
use crate::reference::{Key, derive, open_xchacha, prefixed, xchacha};

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
        let value = [&[mode], &target.to_le_bytes()[..], &[running, queued], &[0; 8]].concat();
        Self { tag: 3, value }
    }

    #[must_use]
    pub fn attachment(name: &str, exposed: bool, bytes: &[u8]) -> Self {
        let head = [u8::from(exposed), u8::try_from(name.len()).expect("a short name")];
        Self { tag: 5, value: [&head, name.as_bytes(), bytes].concat() }
    }

    #[must_use]
    pub fn keyspace(name: &str, id: &[u8; 16], made: bool) -> Self {
        let head = [u8::from(made), u8::try_from(name.len()).expect("a short name")];
        Self { tag: 6, value: [id, &head[..], name.as_bytes()].concat() }
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

/// A slot for an unlock key, its id and what it draws fixed.
pub struct Slot {
    seed: Key,
    auth: Key,
    /// Recipient and auth, as a key set holds them.
    pub card: Vec<u8>,
}

const ID: [u8; 16] = *b"an unlock slot!!";

impl Slot {
    /// # Panics
    ///
    /// Never: a seed is 32 bytes.
    #[must_use]
    pub fn unlock(kek: &Key) -> Self {
        let [seed, auth] = ["seed", "auth"].map(|label| derive(kek, label, &[b"unlock"]));
        let key = PrivateKey::from_bytes(&seed).expect("32 bytes");
        let card = [&XWing::sk_to_pk(&key).to_bytes()[..], &auth].concat();
        Self { seed, auth, card }
    }

    /// The field of a key set with the slot's card.
    #[must_use]
    pub fn field(&self, exposed: bool) -> Field {
        Field { tag: 4, value: [&[u8::from(exposed)], &self.card[..]].concat() }
    }

    fn context(id: &[u8]) -> [&[u8]; 6] {
        [CLUSTER.as_bytes(), NODE.as_bytes(), b"unlock", id, b"", b""]
    }

    fn info(id: &[u8]) -> Vec<u8> {
        let suite: [&[u8]; 2] = [b"nodeseal/v1/slot", b"HPKE\x64\x7a\x00\x01\x00\x03"];
        prefixed(&[&suite[..], &Self::context(id)].concat())
    }

    /// The PSK and its id.
    fn psk(&self, id: &[u8]) -> (Key, Vec<u8>) {
        (derive(&self.auth, "psk", &[]), prefixed(&[b"unlock", id]))
    }

    fn line(&self, file_key: &Key) -> String {
        let recipient = <XWing as Kem>::PublicKey::from_bytes(&self.card[..1216]).expect("a key");
        let (psk, psk_id) = self.psk(&ID);
        let psk = OpModeS::Psk(PskBundle::new(&psk, &psk_id).expect("a PSK"));
        let (share, wrapped) = hpke::single_shot_seal_with_rng::<Aead, HkdfSha256, XWing>(
            &psk,
            &recipient,
            &Self::info(&ID),
            file_key,
            b"",
            &mut Fixed,
        )
        .expect("sealed");
        format!(
            "slot unlock {} - - {} {} {}\n",
            base64(&ID),
            base64(&derive(&self.auth, "confirm", &Self::context(&ID))),
            base64(&share.to_bytes()),
            base64(&wrapped),
        )
    }

    /// The file key out of a slot's line.
    fn open(&self, line: &str) -> Option<Key> {
        let [id, _, _, _, share, wrapped] =
            line.strip_prefix("slot unlock ")?.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let (id, wrapped) = (unbase64(id)?, unbase64(wrapped)?);
        let share = <XWing as Kem>::EncappedKey::from_bytes(&unbase64(share)?).ok()?;
        let key = PrivateKey::from_bytes(&self.seed).ok()?;
        let (psk, psk_id) = self.psk(&id);
        let psk = OpModeR::Psk(PskBundle::new(&psk, &psk_id).ok()?);
        let opened = hpke::single_shot_open::<Aead, HkdfSha256, XWing>(
            &psk,
            &key,
            &share,
            &Self::info(&id),
            &wrapped,
            b"",
        );
        opened.ok()?.try_into().ok()
    }
}

type PrivateKey = <XWing as Kem>::PrivateKey;

/// A generator of one byte, so that a corpus stays what it is.
struct Fixed;

impl TryRng for Fixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(0x0707_0707)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(0x0707_0707_0707_0707)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(7);
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}

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
    let commit = derive(&FILE_KEY, "commit", &[]);
    writeln!(text, "commit {}", base64(&commit)).expect("a string");
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
