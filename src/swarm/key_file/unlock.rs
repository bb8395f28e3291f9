//! Opening a key file, and telling a wrong key from a damaged file.

use core::fmt;

use super::{DEK_INFO, DekHeader, DekSlot, DekValue, KeyFile, KeyForm};
use crate::error::{Error, Result};
use crate::key::UnlockKey;
use crate::secret::{KEY_LEN, SecretBytes, SecretKey};
use crate::swarm::record::{Algorithm, Record};
use crate::swarm::rfc1423::DekInfo;
use crate::swarm::{ec_key, pkcs8};

/// The keys of an unlocked file.
#[non_exhaustive]
pub struct NodeKeys {
    /// The DEK in use. A worker has none; for a manager see [`Finding::NoDek`].
    ///
    /// [`Finding::NoDek`]: super::Finding::NoDek
    pub current: Option<SecretKey>,
    /// The DEK that a rotation leads to. Records on disk may be sealed with either.
    pub pending: Option<SecretKey>,
    /// The TLS key in DER: PKCS#8, or SEC 1 where [`KeyFile::form`] says so.
    ///
    /// # Security
    ///
    /// Nothing authenticates it. It is well formed, but damage inside its numbers shows only when
    /// it is compared with the certificate.
    pub tls_key: SecretBytes,
}

/// What the key said to a part of the file.
enum Answer<T> {
    /// The part is not there.
    Absent,
    /// The key does not open it: the key is wrong, or the part damaged.
    Refused,
    Opened(T),
}

/// What no key can open in a DEK header.
#[derive(Clone, Copy)]
enum Fault {
    NotBase64,
    NotARecord,
    Clear,
    Malformed,
    Length,
    /// Another part proves the key, this one does not open.
    Refused,
}

impl KeyFile {
    /// Opens the keys. A file that is not locked needs no key, and opens with any.
    ///
    /// A file does not say which key fits it. The order of judgement is:
    ///
    /// 1. what no key could open is damaged;
    /// 2. a DEK that opens proves the key, for it is authenticated. So does a TLS key that decrypts
    ///    to one that is well formed to the last byte. If one part proves the key, another one
    ///    that does not open is damaged;
    /// 3. if nothing opens, the key is wrong.
    ///
    /// So damage looks like a wrong key in two cases: if it hit every sealed part, or if there is
    /// but one, as in a worker's file. And these changes pass without notice, as nothing in the
    /// format covers them: another `kek-version`, a mark of rotation added or taken away, a DEK
    /// header taken away (but see [`KeyFile::findings`]), other numbers inside the TLS key.
    ///
    /// # Errors
    ///
    /// [`Error::KeyRequired`] if the file is locked and there is no key; [`Error::WrongKey`];
    /// [`Error::Damaged`] with the part that is; [`Error::Unsupported`] for a record or an
    /// encryption that is not known.
    pub fn unlock(&self, key: Option<&UnlockKey>) -> Result<NodeKeys> {
        let key = match (self.locked(), key) {
            (true, None) => return Err(Error::KeyRequired),
            (true, Some(key)) => Some(key.secret()),
            (false, _) => None,
        };
        if self.dek(DekSlot::Current) == DekHeader::Absent
            && self.dek(DekSlot::Pending) != DekHeader::Absent
        {
            return Err(Error::damaged("a pending DEK without a current one"));
        }
        let current = self.open_dek(DekSlot::Current, key)?;
        let pending = self.open_dek(DekSlot::Pending, key)?;
        let dek_refused = current.is_refused() || pending.is_refused();
        let dek_opened = current.is_opened() || pending.is_opened();
        let tls_key = match self.open_body(key) {
            // That another key opens the DEK is likelier than two independent faults.
            Err(Error::Unsupported { .. }) if dek_refused && !dek_opened => Answer::Refused,
            answer => answer?,
        };

        let proven = dek_opened || self.form.is_encrypted() && tls_key.is_opened();
        if !proven && (dek_refused || tls_key.is_refused()) {
            return Err(Error::WrongKey);
        }
        let Answer::Opened(tls_key) = tls_key else {
            return Err(Error::damaged("the private key does not open, the DEK does"));
        };
        Ok(NodeKeys {
            current: current.dek(DekSlot::Current)?,
            pending: pending.dek(DekSlot::Pending)?,
            tls_key,
        })
    }

    fn open_dek(&self, slot: DekSlot, key: Option<&SecretKey>) -> Result<Answer<SecretKey>> {
        let damaged = |fault| Error::damaged(fault_of(slot, fault));
        let record = match self.value(slot) {
            DekValue::Absent => return Ok(Answer::Absent),
            DekValue::NotBase64 => return Err(damaged(Fault::NotBase64)),
            DekValue::NotARecord => return Err(damaged(Fault::NotARecord)),
            DekValue::Record(_, Algorithm::None) if key.is_some() => {
                return Err(damaged(Fault::Clear));
            }
            DekValue::Record(record, _) => record.expose(),
        };
        match Record::parse(record).and_then(|record| record.open(key)) {
            Ok(plaintext) => {
                let bytes: &[u8; KEY_LEN] =
                    plaintext.expose().try_into().map_err(|_| damaged(Fault::Length))?;
                Ok(Answer::Opened(SecretKey::init(|dek| dek.copy_from_slice(bytes))))
            }
            Err(Error::Unauthentic) => Ok(Answer::Refused),
            Err(Error::Damaged { .. }) => Err(damaged(Fault::Malformed)),
            Err(error) => Err(error),
        }
    }

    /// The TLS key, if it is well formed.
    fn open_body(&self, key: Option<&SecretKey>) -> Result<Answer<SecretBytes>> {
        let body = self.block.body.expose();
        let password = || key.map(|key| &key.expose()[..]).ok_or(Error::KeyRequired);
        let no_form = || Error::damaged("the PEM block's body");
        let decrypted = match self.form {
            KeyForm::Pkcs8 | KeyForm::Sec1 => return Ok(Answer::Opened(SecretBytes::from(body))),
            KeyForm::EncryptedPkcs8 => {
                pkcs8::Encrypted::parse(body).ok_or_else(no_form)?.decrypt(password()?)
            }
            KeyForm::EncryptedSec1 => {
                let info = self.block.header(DEK_INFO).ok_or_else(no_form)?;
                DekInfo::parse(info)?.decrypt(body, password()?)
            }
        };
        let well_formed = match self.form {
            KeyForm::Pkcs8 | KeyForm::EncryptedPkcs8 => ec_key::is_pkcs8,
            KeyForm::Sec1 | KeyForm::EncryptedSec1 => ec_key::is_sec1,
        };
        match decrypted {
            Ok(der) if well_formed(der.expose()) => Ok(Answer::Opened(der)),
            Ok(_) | Err(Error::Unauthentic) => Ok(Answer::Refused),
            Err(error) => Err(error),
        }
    }
}

impl<T> Answer<T> {
    const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused)
    }

    const fn is_opened(&self) -> bool {
        matches!(self, Self::Opened(_))
    }
}

impl Answer<SecretKey> {
    /// The DEK, once the key is proven.
    fn dek(self, slot: DekSlot) -> Result<Option<SecretKey>> {
        match self {
            Self::Absent => Ok(None),
            Self::Refused => Err(Error::damaged(fault_of(slot, Fault::Refused))),
            Self::Opened(dek) => Ok(Some(dek)),
        }
    }
}

const fn fault_of(slot: DekSlot, fault: Fault) -> &'static str {
    match (slot, fault) {
        (DekSlot::Current, Fault::NotBase64) => "header raft-dek is not base64",
        (DekSlot::Pending, Fault::NotBase64) => "header raft-dek-pending is not base64",
        (DekSlot::Current, Fault::NotARecord) => "header raft-dek is not a record",
        (DekSlot::Pending, Fault::NotARecord) => "header raft-dek-pending is not a record",
        (DekSlot::Current, Fault::Clear) => "the current DEK is in the clear in a locked file",
        (DekSlot::Pending, Fault::Clear) => "the pending DEK is in the clear in a locked file",
        (DekSlot::Current, Fault::Malformed) => "header raft-dek is a malformed record",
        (DekSlot::Pending, Fault::Malformed) => "header raft-dek-pending is a malformed record",
        (DekSlot::Current, Fault::Length) => "the current DEK is not 32 bytes",
        (DekSlot::Pending, Fault::Length) => "the pending DEK is not 32 bytes",
        (DekSlot::Current, Fault::Refused) => "the current DEK does not open, another part does",
        (DekSlot::Pending, Fault::Refused) => "the pending DEK does not open, another part does",
    }
}

impl fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKeys(..)")
    }
}
