//! The key file's text: one fact a line, in one canonical form.

use core::fmt::Write as _;
use core::str::{FromStr, Split};

use base64ct::{Base64Unpadded, Encoding};
use sha2::{Digest, Sha256};

use super::slot::{CONFIRM_LEN, Head, MAX_BLOB, WrappedSlot, commitment};
use crate::error::{Error, Result};
use crate::key::{Costs, Identity, Kind};
use crate::secret::{SecretBytes, SecretKey};

/// Largest key file, in bytes.
pub(crate) const MAX_FILE: usize = 4 << 20;
/// Largest part above the line `sealed`, in bytes.
const MAX_HEADER: usize = 256 << 10;
const MAX_SLOTS: usize = 16;
/// Most slots that are opened with an unlock key: the current one, and after it a pending one.
const MAX_UNLOCK: usize = 2;
/// Most slots that are opened with a passphrase.
pub(crate) const MAX_PASSPHRASES: usize = 4;
const MAGIC: &str = "nodeseal-keys";
const VERSION: u32 = 1;
/// Kinds of slots whose words are taken, and that this version neither makes nor opens.
const RESERVED: [&str; 3] = ["recovery", "provider", "peer"];
/// Where a line has no parameters or no blob.
const NOTHING: &str = "-";

/// A key file as it stands on disk.
pub(super) struct KeyFile {
    pub(super) header: Header,
    /// The sealed key set.
    pub(super) sealed: Vec<u8>,
}

/// The lines above `sealed`.
pub(super) struct Header {
    pub(super) identity: Identity,
    pub(super) epoch: u64,
    pub(super) kek_version: u64,
    pub(super) slots: Slots,
    /// Follows from the file key: the slots of one file all hold the same one.
    pub(super) commit: [u8; CONFIRM_LEN],
}

pub(super) enum Slots {
    /// The file key in the clear, alone.
    Clear(SecretKey),
    Wrapped(Vec<SlotLine>),
}

pub(super) enum SlotLine {
    Known(WrappedSlot),
    /// Of a kind that this version does not know: what follows the word `slot`.
    Unknown(String),
}

impl Header {
    /// Makes the lines that go with `file_key`, which is wrapped in `slots`.
    pub(super) fn new(
        identity: Identity,
        epoch: u64,
        kek_version: u64,
        slots: Slots,
        file_key: &SecretKey,
    ) -> Self {
        Self { identity, epoch, kek_version, slots, commit: commitment(file_key) }
    }

    /// The lines, with which the sealed key set authenticates.
    pub(super) fn encode(&self) -> SecretBytes {
        let mut text = Text::default();
        text.line(&format!("{MAGIC} {VERSION}"));
        text.line(&format!("cluster {}", self.identity.cluster()));
        text.line(&format!("node {}", self.identity.node()));
        text.line(&format!("epoch {}", self.epoch));
        text.line(&format!("kek-version {}", self.kek_version));
        match &self.slots {
            Slots::Clear(file_key) => {
                text.push("slot none ");
                text.base64(file_key.expose());
                text.push("\n");
            }
            Slots::Wrapped(slots) => slots.iter().for_each(|slot| text.slot(slot)),
        }
        text.push("commit ");
        text.base64(&self.commit);
        text.push("\n");
        text.0
    }

    fn parse<'a>(lines: &mut Lines<'a>) -> Result<(Self, &'a str)> {
        let cluster = lines.fact("cluster")?;
        let node = lines.fact("node")?;
        let identity = Identity::new(cluster, node).map_err(|_| malformed())?;
        let epoch = number(lines.fact("epoch")?)?;
        let kek_version = number(lines.fact("kek-version")?)?;
        let mut slots = Vec::new();
        let mut clear = None;
        loop {
            let line = lines.next()?;
            if let Some(commit) = line.strip_prefix("commit ") {
                let (commit, sealed) = (base64(commit)?, lines.fact("sealed")?);
                let slots = match clear {
                    None => Slots::Wrapped(slots),
                    Some(file_key) if slots.is_empty() => Slots::Clear(file_key),
                    Some(_) => return Err(malformed()),
                };
                return Ok((Self { identity, epoch, kek_version, slots, commit }, sealed));
            }
            let slot = line.strip_prefix("slot ").ok_or_else(malformed)?;
            if let Some(file_key) = slot.strip_prefix("none ") {
                let key = SecretKey::try_init(|bytes| base64_into(file_key, bytes))?;
                if clear.replace(key).is_some() {
                    return Err(malformed());
                }
            } else {
                slots.push(parse_slot(slot)?);
            }
            if slots.len() > MAX_SLOTS || too_many(&slots) {
                return Err(Error::damaged("the key file has too many slots"));
            }
        }
    }
}

impl KeyFile {
    /// The whole file.
    pub(super) fn encode(header: &SecretBytes, sealed: &[u8]) -> SecretBytes {
        let mut text = Text(SecretBytes::with_capacity(header.len() + sealed.len() * 2 + 128));
        text.0.extend_from_slice(header.expose());
        text.push("sealed ");
        text.base64(sealed);
        text.push("\n");
        let check = check(text.0.expose());
        text.line(&format!("check {check}"));
        text.0
    }

    pub(super) fn parse(bytes: &SecretBytes) -> Result<Self> {
        if bytes.len() > MAX_FILE {
            return Err(Error::damaged("the key file is larger than its format allows"));
        }
        let text = core::str::from_utf8(bytes.expose()).map_err(|_| malformed())?;
        // The check comes first: it tells an accident from everything else.
        let above = text.trim_end_matches(|c| c != '\n').trim_end_matches('\n');
        let above = above.rfind('\n').map_or("", |end| &text[..=end]);
        if text[above.len()..] != format!("check {}\n", check(above.as_bytes())) {
            return Err(Error::damaged("the key file's check is wrong"));
        }
        let mut lines = Lines(above.split('\n'));
        let version: u32 = number(lines.fact(MAGIC)?)?;
        if version != VERSION {
            return Err(Error::unsupported("key file version", version));
        }
        let (header, sealed) = Header::parse(&mut lines)?;
        let sealed = Base64Unpadded::decode_vec(sealed).map_err(|_| malformed())?;
        let encoded = header.encode();
        if encoded.len() > MAX_HEADER {
            return Err(Error::damaged("the key file's header is larger than its format allows"));
        }
        if Self::encode(&encoded, &sealed).expose() != bytes.expose() {
            return Err(Error::damaged("the key file is not in its canonical form"));
        }
        Ok(Self { header, sealed })
    }
}

fn too_many(slots: &[SlotLine]) -> bool {
    let count = |kind| {
        slots.iter().filter(|s| matches!(s, SlotLine::Known(s) if s.head.kind == kind)).count()
    };
    count(Kind::Unlock) > MAX_UNLOCK || count(Kind::Passphrase) > MAX_PASSPHRASES
}

fn parse_slot(line: &str) -> Result<SlotLine> {
    let mut fields = line.split(' ');
    let mut field = || fields.next().ok_or_else(malformed);
    let kind = match field()? {
        "unlock" => Kind::Unlock,
        "passphrase" => Kind::Passphrase,
        "none" => return Err(malformed()),
        word if RESERVED.contains(&word) => return Err(Error::unsupported("slot of kind", word)),
        word if !word.is_empty() && line.bytes().all(|b| b.is_ascii_graphic() || b == b' ') => {
            return Ok(SlotLine::Unknown(line.to_owned()));
        }
        _ => return Err(malformed()),
    };
    let id = base64(field()?)?;
    let costs = match (kind, field()?) {
        (Kind::Unlock, NOTHING) => None,
        (Kind::Passphrase, costs) => Some(parse_costs(costs)?),
        (Kind::Unlock, _) => return Err(malformed()),
    };
    let head = Head { kind, id, costs, blob: parse_blob(field()?)? };
    let slot = WrappedSlot {
        head,
        confirm: base64(field()?)?,
        share: boxed(field()?)?,
        wrapped: base64(field()?)?,
    };
    if fields.next().is_some() { Err(malformed()) } else { Ok(SlotLine::Known(slot)) }
}

fn parse_blob(text: &str) -> Result<Vec<u8>> {
    if text == NOTHING {
        return Ok(Vec::new());
    }
    if text.is_empty() || text.len() > MAX_BLOB.div_ceil(3) * 4 {
        return Err(malformed());
    }
    match Base64Unpadded::decode_vec(text) {
        Ok(blob) if blob.len() <= MAX_BLOB => Ok(blob),
        _ => Err(malformed()),
    }
}

fn parse_costs(text: &str) -> Result<Costs> {
    let mut parts = text.split(',').map(number::<u32>);
    let mut part = || parts.next().unwrap_or_else(|| Err(malformed()));
    let costs = Costs::new(part()?, part()?, part()?)
        .map_err(|_| Error::damaged("a passphrase slot's costs are out of bounds"))?;
    if parts.next().is_some() { Err(malformed()) } else { Ok(costs) }
}

fn check(above: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(above) {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn malformed() -> Error {
    Error::damaged("not a key file of this form")
}

fn number<T: FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| malformed())
}

fn base64<const N: usize>(text: &str) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    base64_into(text, &mut bytes)?;
    Ok(bytes)
}

/// As [`base64`], in memory of its own.
fn boxed<const N: usize>(text: &str) -> Result<Box<[u8; N]>> {
    let mut bytes = Box::new([0; N]);
    base64_into(text, &mut *bytes)?;
    Ok(bytes)
}

fn base64_into(text: &str, bytes: &mut [u8]) -> Result<()> {
    let wanted = bytes.len();
    match Base64Unpadded::decode(text, bytes) {
        Ok(decoded) if decoded.len() == wanted => Ok(()),
        _ => Err(malformed()),
    }
}

struct Lines<'a>(Split<'a, char>);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str> {
        self.0.next().ok_or_else(malformed)
    }

    fn fact(&mut self, name: &str) -> Result<&'a str> {
        self.next()?
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(malformed)
    }
}

#[derive(Default)]
struct Text(SecretBytes);

impl Text {
    fn push(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn line(&mut self, text: &str) {
        self.push(text);
        self.push("\n");
    }

    fn base64(&mut self, bytes: &[u8]) {
        let start = self.0.len();
        self.0.resize(start + Base64Unpadded::encoded_len(bytes));
        let encoded = Base64Unpadded::encode(bytes, &mut self.0.expose_mut()[start..]);
        debug_assert!(encoded.is_ok());
    }

    fn slot(&mut self, slot: &SlotLine) {
        match slot {
            SlotLine::Unknown(line) => self.line(&format!("slot {line}")),
            SlotLine::Known(slot) => {
                let head = &slot.head;
                self.push(&format!("slot {} ", head.kind.word()));
                self.base64(&head.id);
                self.push(&head.costs.map_or(format!(" {NOTHING} "), |c| {
                    format!(" {},{},{} ", c.memory_kib(), c.passes(), c.lanes())
                }));
                if head.blob.is_empty() {
                    self.push(NOTHING);
                } else {
                    self.base64(&head.blob);
                }
                for bytes in [&slot.confirm[..], &*slot.share, &slot.wrapped] {
                    self.push(" ");
                    self.base64(bytes);
                }
                self.push("\n");
            }
        }
    }
}
