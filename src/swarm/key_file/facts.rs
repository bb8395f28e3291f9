//! What a key file tells without a key.

use core::fmt;

use crate::swarm::record::Algorithm;

/// The form of the TLS key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyForm {
    /// PKCS#8 in the clear: what Docker writes into a file that is not locked.
    Pkcs8,
    /// PKCS#8 encrypted with PBES2: what Docker writes into a locked file.
    EncryptedPkcs8,
    /// SEC 1 in the clear, from an old Docker.
    Sec1,
    /// SEC 1 encrypted as in RFC 1423, from an old Docker.
    EncryptedSec1,
}

impl KeyForm {
    /// Whether the TLS key is encrypted.
    #[must_use]
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::EncryptedPkcs8 | Self::EncryptedSec1)
    }

    /// The PEM label that Docker writes for it.
    pub(super) const fn label(self) -> &'static [u8] {
        match self {
            Self::Pkcs8 => b"PRIVATE KEY",
            Self::EncryptedPkcs8 => b"ENCRYPTED PRIVATE KEY",
            Self::Sec1 | Self::EncryptedSec1 => b"EC PRIVATE KEY",
        }
    }
}

/// Which of the two DEKs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DekSlot {
    /// The DEK in use, header `raft-dek`.
    Current,
    /// The DEK that a rotation leads to, header `raft-dek-pending`.
    Pending,
}

/// What a DEK header holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DekHeader {
    /// The header is not there.
    Absent,
    /// Its value is not base64.
    NotBase64,
    /// Its value is base64 of something else than a record.
    NotARecord,
    /// A record, sealed in this way.
    Record(Algorithm),
}

impl DekHeader {
    /// Whether it is a sealed record; of an unknown algorithm, too.
    #[must_use]
    pub const fn is_sealed(self) -> bool {
        matches!(self, Self::Record(_)) && !self.is_clear()
    }

    /// Whether it is a record in the clear.
    #[must_use]
    pub const fn is_clear(self) -> bool {
        matches!(self, Self::Record(Algorithm::None))
    }
}

/// Something in a key file that Docker would not have written there, or that means trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Finding {
    /// No `kek-version`. Docker goes on with the version it has in memory.
    NoKekVersion,
    /// `kek-version` is not a decimal number below 2^64. Docker ignores it.
    KekVersionUnreadable,
    /// No DEK. So is a worker's file; started on a manager's, Docker makes a new DEK, overwrites
    /// the file and can no longer read its log.
    NoDek,
    /// A pending DEK without a current one.
    PendingWithoutCurrent,
    /// The DEK header's value is not base64.
    NotBase64(DekSlot),
    /// The DEK header's value is not a record.
    NotARecord(DekSlot),
    /// A DEK in the clear although the file is locked.
    ClearDekInLockedFile(DekSlot),
    /// A sealed DEK although the TLS key is in the clear.
    SealedDekBesideClearKey(DekSlot),
    /// The PEM label is that of another form; Docker goes by the content, too.
    OtherLabel,
    /// A header stands there more than once. The last one counts.
    RepeatedHeader,
    /// A header that means nothing.
    UnknownHeader,
    /// The file holds more than the one PEM block.
    TextAroundBlock,
}

impl fmt::Display for DekSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "current",
            Self::Pending => "pending",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoKekVersion => "no kek-version",
            Self::KekVersionUnreadable => "kek-version is not a number",
            Self::NoDek => "no DEK: a worker's file, or a manager's that lost it",
            Self::PendingWithoutCurrent => "a pending DEK without a current one",
            Self::NotBase64(slot) => return write!(f, "the {slot} DEK is not base64"),
            Self::NotARecord(slot) => return write!(f, "the {slot} DEK is not a record"),
            Self::ClearDekInLockedFile(slot) => {
                return write!(f, "the {slot} DEK is in the clear in a locked file");
            }
            Self::SealedDekBesideClearKey(slot) => {
                return write!(f, "the {slot} DEK is sealed, the TLS key is in the clear");
            }
            Self::OtherLabel => "the PEM label is that of another form",
            Self::RepeatedHeader => "a header stands there more than once",
            Self::UnknownHeader => "a header that means nothing",
            Self::TextAroundBlock => "more than one PEM block",
        })
    }
}
