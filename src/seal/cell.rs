use core::fmt;
use std::sync::Arc;

use super::{CELL, InFlight, MAX_PLAINTEXT, NAME_LEN, aad, key, named, put_name};
use crate::crypto::xchacha;
use crate::error::{Error, Misuse, Result};
use crate::key::DekId;
use crate::keyring::{Keyspace, Shared};
use crate::secret::SecretBytes;

/// Tables of the crate's own begin so.
const RESERVED: &str = "nodeseal/";

/// Seals and opens a keyspace's cells: small things that have a name, a table and a row of it.
///
/// # Format
///
/// `0x03 · DEK id 8 · nonce 24 · tag 16 · ciphertext`: XChaCha20-Poly1305 under
/// `HKDF(DEK, "cell", 0x03, cluster, node, keyspace id)`, the AAD being table and row, each after its
/// length (u64 little-endian). A cell opens only in its own table and row of its own keyspace.
///
/// An older value of the same cell opens too: what must not be put back belongs into [`State`], or
/// has to be named there.
///
/// [`State`]: super::State
///
/// ```
/// # use nodeseal::{Identity, Keyring, Protector, UnlockKey};
/// # let dir = tempfile::tempdir()?;
/// # let me = Identity::new("prod", "m1")?;
/// # let protector = Protector::unlock_key(&UnlockKey::generate()?);
/// # let keyring = Keyring::create(dir.path(), &me, protector, &[])?;
/// let cells = keyring.keyspace("raft")?.cells();
/// let sealed = cells.seal("membership", b"last", b"m1,m2,m3")?;
/// let stored = sealed.bytes().to_vec();
/// sealed.durable(); // once it is
/// assert_eq!(cells.open("membership", b"last", &stored)?.expose(), b"m1,m2,m3");
/// assert!(cells.open("membership", b"first", &stored).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Cells {
    keyspace: Keyspace,
}

/// A cell that was sealed.
#[derive(Debug)]
#[must_use = "write the cell, then say that it is durable"]
pub struct SealedCell {
    bytes: Vec<u8>,
    in_flight: InFlight,
}

impl SealedCell {
    /// What to store.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) const fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// What holds the DEK that it names.
    pub(crate) fn into_in_flight(self) -> InFlight {
        self.in_flight
    }

    /// It has reached the disk.
    pub fn durable(self) {
        self.in_flight.durable();
    }
}

impl Keyspace {
    /// Returns the sealer of its cells.
    #[must_use]
    pub fn cells(&self) -> Cells {
        Cells { keyspace: self.clone() }
    }
}

impl Cells {
    /// Seals `plaintext` as the cell `row` of `table`.
    ///
    /// # Errors
    ///
    /// [`Misuse::State`] for a table whose name begins with `nodeseal/`; [`Misuse::TooLarge`] for a
    /// plaintext over 1 GiB; or as [`Log::seal_batch`](super::Log::seal_batch).
    pub fn seal(&self, table: &str, row: &[u8], plaintext: &[u8]) -> Result<SealedCell> {
        not_reserved(table)?;
        self.seal_any(table, row, plaintext)
    }

    /// Opens the cell `row` of `table`.
    ///
    /// # Errors
    ///
    /// As [`Log::open_in_place`](super::Log::open_in_place).
    pub fn open(&self, table: &str, row: &[u8], sealed: &[u8]) -> Result<SecretBytes> {
        not_reserved(table)?;
        self.open_any(table, row, sealed)
    }

    /// Re-seals a cell under the active DEK; `None` if it is under it already.
    ///
    /// A log's state cell needs none of this: it is written anew with every append.
    ///
    /// # Errors
    ///
    /// As [`Cells::open`] and [`Cells::seal`].
    pub fn reseal(&self, table: &str, row: &[u8], sealed: &[u8]) -> Result<Option<SealedCell>> {
        not_reserved(table)?;
        if self.shared().is_active(named(CELL, sealed)?) {
            return Ok(None);
        }
        let plaintext = self.open_any(table, row, sealed)?;
        self.seal_any(table, row, plaintext.expose()).map(Some)
    }

    /// The DEK that a cell names.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], [`Error::Unsupported`].
    pub fn dek_of(sealed: &[u8]) -> Result<DekId> {
        named(CELL, sealed)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.keyspace.shared()
    }

    /// What holds the active DEK for one cell.
    pub(super) fn acquire(&self) -> Result<InFlight> {
        self.shared().acquire(1).map(InFlight)
    }

    pub(crate) fn seal_any(&self, table: &str, row: &[u8], plaintext: &[u8]) -> Result<SealedCell> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(Error::too_large("a cell", plaintext.len(), MAX_PLAINTEXT));
        }
        self.seal_under(self.acquire()?, table, row, plaintext)
    }

    pub(super) fn seal_under(
        &self,
        in_flight: InFlight,
        table: &str,
        row: &[u8],
        plaintext: &[u8],
    ) -> Result<SealedCell> {
        let dek = in_flight.0.dek();
        let key = key(&self.keyspace, dek, CELL);
        let mut sealed = SecretBytes::with_capacity(NAME_LEN + xchacha::OVERHEAD + plaintext.len());
        sealed.resize(NAME_LEN + xchacha::OVERHEAD);
        sealed.extend_from_slice(plaintext);
        let (name, message) = sealed.expose_mut().split_first_chunk_mut().ok_or(Misuse::Buffer)?;
        put_name(CELL, dek.id(), name);
        xchacha::seal(key.expose(), &aad(&[table.as_bytes(), row]), message)?;
        Ok(SealedCell { bytes: sealed.into_vec(), in_flight })
    }

    pub(crate) fn open_any(&self, table: &str, row: &[u8], sealed: &[u8]) -> Result<SecretBytes> {
        let dek = self.shared().find(named(CELL, sealed)?)?;
        let key = key(&self.keyspace, &dek, CELL);
        let mut message = SecretBytes::from(sealed.get(NAME_LEN..).unwrap_or_default());
        xchacha::open(key.expose(), &aad(&[table.as_bytes(), row]), message.expose_mut())?;
        message.remove_front(xchacha::OVERHEAD);
        Ok(message)
    }
}

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("keyspace", &self.keyspace.name()).finish_non_exhaustive()
    }
}

fn not_reserved(table: &str) -> Result<()> {
    if table.starts_with(RESERVED) {
        return Err(Misuse::State("tables that begin with nodeseal/ are the crate's own").into());
    }
    Ok(())
}
