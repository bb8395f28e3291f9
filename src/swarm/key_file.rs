//! `swarm-node.key`: a node's TLS key, and in the headers of a manager's file its DEKs.

mod facts;
mod unlock;
mod write;

use core::fmt;

use super::ec_key;
use super::pem::{self, Block};
use super::pkcs8;
use super::record::{Algorithm, Cipher, Record};
use crate::error::{Error, Result};
use crate::secret::SecretBytes;

pub use facts::{DekHeader, DekSlot, Finding, KeyForm};
pub use unlock::NodeKeys;
pub(crate) use write::Contents;

const KEK_VERSION: &str = "kek-version";
const RAFT_DEK: &str = "raft-dek";
const RAFT_DEK_PENDING: &str = "raft-dek-pending";
const NEEDS_ROTATION: &str = "raft-dek-needs-rotation";
const PROC_TYPE: &str = "Proc-Type";
const DEK_INFO: &str = "DEK-Info";

/// A node's key file, `certificates/swarm-node.key`, parsed and not yet unlocked.
///
/// What it tells without a key is public, and not protected by anything: whoever can write the
/// file can change `kek-version` or the mark that a rotation is due, or drop a DEK.
///
/// # Format
///
/// One PEM block. The body is the TLS key in one of four forms, [`KeyForm`]; the unlock key's 32
/// bytes are its password. The headers are
///
/// | header | value |
/// |---|---|
/// | `kek-version` | decimal, the version of the unlock key |
/// | `raft-dek` | base64 of a record that holds the current DEK |
/// | `raft-dek-pending` | the same of the next DEK, during a rotation |
/// | `raft-dek-needs-rotation` | present if a rotation is due |
///
/// A record is sealed with the unlock key, or plain in a file that is not locked.
///
/// ```
/// use nodeseal::swarm::{KeyFile, NodeKeys};
/// use nodeseal::{Error, UnlockKey};
///
/// /// The keys of a manager that is known to be autolocked.
/// fn keys(text: &[u8], key: &UnlockKey) -> Result<NodeKeys, Error> {
///     let file = KeyFile::parse(text)?;
///     for finding in file.findings() {
///         eprintln!("swarm-node.key: {finding}");
///     }
///     if file.locked() { file.unlock(Some(key)) } else { Err(Error::ExpectedLocked) }
/// }
///
/// let damaged = keys(b"", &UnlockKey::generate()?);
/// assert!(matches!(damaged, Err(Error::Damaged { .. })));
/// # Ok::<(), Error>(())
/// ```
pub struct KeyFile {
    form: KeyForm,
    block: Block,
    current: DekValue,
    pending: DekValue,
    kek_version: Option<u64>,
    needs_rotation: bool,
    findings: Vec<Finding>,
}

/// A DEK header's value.
enum DekValue {
    Absent,
    NotBase64,
    NotARecord,
    Record(SecretBytes, Algorithm),
}

impl KeyFile {
    /// Reads the file as far as that needs no key.
    ///
    /// Headers that are wrong are no error here: [`KeyFile::findings`] names them, and
    /// [`KeyFile::unlock`] refuses them.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if there is no PEM block, as in an empty file, or its body is no private
    /// key of a known form.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let block = Block::parse(text)?;
        let form = form(&block)?;
        let kek_version = block.header(KEK_VERSION).and_then(decimal);
        let mut file = Self {
            form,
            current: DekValue::parse(block.header(RAFT_DEK)),
            pending: DekValue::parse(block.header(RAFT_DEK_PENDING)),
            kek_version,
            needs_rotation: block.header(NEEDS_ROTATION).is_some(),
            findings: Vec::new(),
            block,
        };
        file.findings = file.judge();
        Ok(file)
    }

    /// The form of the TLS key, told by its content; the PEM label is not trusted.
    #[must_use]
    pub fn form(&self) -> KeyForm {
        self.form
    }

    /// Whether the unlock key is needed: the TLS key is encrypted or a DEK is sealed.
    ///
    /// # Security
    ///
    /// A file that is not locked opens with any key and with none. Who expects a locked one must
    /// ask here first, else a file put in its place passes, and with it a stranger's DEK.
    #[must_use]
    pub fn locked(&self) -> bool {
        self.form.is_encrypted()
            || self.current.header().is_sealed()
            || self.pending.header().is_sealed()
    }

    /// The unlock key's version as the file has it; nothing if it is missing or no number, which
    /// Docker ignores.
    #[must_use]
    pub fn kek_version(&self) -> Option<u64> {
        self.kek_version
    }

    /// What a DEK header holds.
    #[must_use]
    pub fn dek(&self, slot: DekSlot) -> DekHeader {
        self.value(slot).header()
    }

    /// Whether the file says that the DEK must be rotated. Docker also ends a rotation that a
    /// pending DEK shows to be under way.
    #[must_use]
    pub fn needs_rotation(&self) -> bool {
        self.needs_rotation
    }

    /// What its DEKs are wrapped with; a file in the clear does not tell.
    pub(crate) fn cipher(&self) -> Cipher {
        let fernet = DekHeader::Record(Algorithm::Fernet);
        match [DekSlot::Current, DekSlot::Pending].iter().any(|slot| self.dek(*slot) == fernet) {
            true => Cipher::Fernet,
            false => Cipher::SecretBox,
        }
    }

    /// What is strange in the file, in a fixed order; a file that Docker wrote for a manager has
    /// nothing of it, a worker's only [`Finding::NoDek`].
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The names of headers that mean nothing here; Docker drops them when it next locks the file.
    ///
    /// # Security
    ///
    /// In a damaged file a part of the key may stand here: not for a log.
    pub fn unknown_headers(&self) -> impl Iterator<Item = &[u8]> {
        let rfc1423 = self.form == KeyForm::EncryptedSec1;
        let known = move |name: &[u8]| {
            let always = [KEK_VERSION, RAFT_DEK, RAFT_DEK_PENDING, NEEDS_ROTATION];
            let encrypted = [PROC_TYPE, DEK_INFO];
            always.iter().any(|known| known.as_bytes() == name)
                || rfc1423 && encrypted.iter().any(|known| known.as_bytes() == name)
        };
        self.block.headers.iter().map(|(name, _)| name.expose()).filter(move |name| !known(name))
    }

    fn value(&self, slot: DekSlot) -> &DekValue {
        match slot {
            DekSlot::Current => &self.current,
            DekSlot::Pending => &self.pending,
        }
    }

    fn judge(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut note = |holds: bool, finding| {
            if holds {
                findings.push(finding);
            }
        };
        let version = self.block.header(KEK_VERSION);
        note(version.is_none(), Finding::NoKekVersion);
        note(version.is_some() && self.kek_version.is_none(), Finding::KekVersionUnreadable);
        let absent = |slot| self.dek(slot) == DekHeader::Absent;
        note(absent(DekSlot::Current) && absent(DekSlot::Pending), Finding::NoDek);
        note(absent(DekSlot::Current) && !absent(DekSlot::Pending), Finding::PendingWithoutCurrent);
        for slot in [DekSlot::Current, DekSlot::Pending] {
            let header = self.dek(slot);
            note(header == DekHeader::NotBase64, Finding::NotBase64(slot));
            note(header == DekHeader::NotARecord, Finding::NotARecord(slot));
            note(self.locked() && header.is_clear(), Finding::ClearDekInLockedFile(slot));
            note(
                !self.form.is_encrypted() && header.is_sealed(),
                Finding::SealedDekBesideClearKey(slot),
            );
        }
        note(self.block.label != self.form.label(), Finding::OtherLabel);
        note(self.block.repeated, Finding::RepeatedHeader);
        note(self.unknown_headers().next().is_some(), Finding::UnknownHeader);
        note(self.block.surrounded, Finding::TextAroundBlock);
        findings
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile")
            .field("form", &self.form)
            .field("locked", &self.locked())
            .field("kek_version", &self.kek_version)
            .field("current", &self.dek(DekSlot::Current))
            .field("pending", &self.dek(DekSlot::Pending))
            .field("needs_rotation", &self.needs_rotation)
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}

impl DekValue {
    fn parse(value: Option<&[u8]>) -> Self {
        let Some(value) = value else { return Self::Absent };
        let Some(record) = pem::base64(value) else { return Self::NotBase64 };
        let algorithm = Record::parse(record.expose()).map(|parsed| parsed.algorithm);
        algorithm.map_or(Self::NotARecord, |algorithm| Self::Record(record, algorithm))
    }

    fn header(&self) -> DekHeader {
        match self {
            Self::Absent => DekHeader::Absent,
            Self::NotBase64 => DekHeader::NotBase64,
            Self::NotARecord => DekHeader::NotARecord,
            Self::Record(_, algorithm) => DekHeader::Record(*algorithm),
        }
    }
}

/// What the body is. A header `DEK-Info` says that it is encrypted as in RFC 1423, except where the
/// body itself tells another form.
fn form(block: &Block) -> Result<KeyForm> {
    let body = block.body.expose();
    let dek_info = block.header(DEK_INFO).is_some();
    let clear = match body {
        body if ec_key::is_pkcs8(body) => Some(KeyForm::Pkcs8),
        body if ec_key::is_sec1(body) => Some(KeyForm::Sec1),
        _ => None,
    };
    match clear {
        Some(_) if dek_info => {
            Err(Error::damaged("a private key in the clear that is said to be encrypted"))
        }
        Some(form) => Ok(form),
        None if pkcs8::Encrypted::parse(body).is_some() => Ok(KeyForm::EncryptedPkcs8),
        None if dek_info => Ok(KeyForm::EncryptedSec1),
        None => Err(Error::damaged("the PEM block's body is no private key of a known form")),
    }
}

/// A number as Go's `ParseUint` takes it: digits only.
fn decimal(text: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
