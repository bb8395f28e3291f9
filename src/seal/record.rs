//! The record, in place.
//!
//! ```text
//! 0    1   0x01
//! 1    8   DEK id
//! 9   16   prefix: random, one draw per call
//! 25  16   Poly1305 tag
//! 41   n   ciphertext
//! ```
//!
//! `K = HKDF(DEK, "record", 0x01, cluster, node, log)`, `K' = HSalsa20(K, era ‖ prev)`, both u64
//! little-endian; the record is a NaCl secretbox under `K'` with the nonce `prefix ‖ index`.

use super::log_id::{Era, LogId};
use super::{MAX_PLAINTEXT, NAME_LEN, RECORD, put_name};
use crate::crypto::TAG_LEN;
use crate::crypto::secretbox::{PREFIX_LEN, Subkey};
use crate::error::{Error, Misuse, Result};
use crate::key::DekId;
use crate::secret::SecretKey;

/// How much longer a record is than its plaintext, in bytes.
pub const RECORD_OVERHEAD: usize = NAME_LEN + PREFIX_LEN + TAG_LEN;

/// Seals record after record of one call, which all have one prefix.
pub(super) struct Sealer<'a> {
    key: &'a SecretKey,
    dek: DekId,
    prefix: [u8; PREFIX_LEN],
    /// The subkey of the run of records that have these eras.
    run: Option<(Era, Era, Subkey)>,
}

impl<'a> Sealer<'a> {
    pub(super) const fn new(key: &'a SecretKey, dek: DekId, prefix: [u8; PREFIX_LEN]) -> Self {
        Self { key, dek, prefix, run: None }
    }

    /// Seals `record`, whose plaintext stands after [`RECORD_OVERHEAD`] bytes of room.
    pub(super) fn seal(&mut self, id: LogId, prev: Era, record: &mut [u8]) -> Result<()> {
        let (head, body) = check(record)?;
        let key = self.key;
        let run = self.run.take_if(|(era, before, _)| *era == id.era && *before == prev);
        let (.., subkey) = self
            .run
            .insert(run.unwrap_or_else(|| (id.era, prev, subkey(key, id.era, prev, &self.prefix))));
        let tag = subkey.seal(&id.index.to_le_bytes(), body);
        let (name, head) = head.split_first_chunk_mut().ok_or(Misuse::Buffer)?;
        put_name(RECORD, self.dek, name);
        head[..PREFIX_LEN].copy_from_slice(&self.prefix);
        head[PREFIX_LEN..].copy_from_slice(&tag);
        Ok(())
    }
}

/// Whether `record` can be sealed: has room for its header, and a plaintext that is not too large.
pub(super) fn check(record: &mut [u8]) -> Result<(&mut [u8; RECORD_OVERHEAD], &mut [u8])> {
    let (head, body) = record.split_first_chunk_mut().ok_or(Misuse::Buffer)?;
    if body.len() > MAX_PLAINTEXT {
        return Err(Error::too_large("a record", body.len(), MAX_PLAINTEXT));
    }
    Ok((head, body))
}

/// Opens `record` in place and gives its plaintext; one that does not authenticate stays as it is.
pub(super) fn open<'a>(
    key: &SecretKey,
    id: LogId,
    prev: Era,
    record: &'a mut [u8],
) -> Result<&'a mut [u8]> {
    let short = || Error::damaged("too short for a record");
    let (head, body) = record.split_first_chunk_mut::<RECORD_OVERHEAD>().ok_or_else(short)?;
    if body.len() > MAX_PLAINTEXT {
        return Err(Error::damaged("longer than a record can be"));
    }
    let (prefix, rest) = head[NAME_LEN..].split_first_chunk().ok_or_else(short)?;
    let tag = rest.first_chunk().ok_or_else(short)?;
    subkey(key, id.era, prev, prefix).open(&id.index.to_le_bytes(), tag, body)?;
    Ok(body)
}

fn subkey(key: &SecretKey, era: Era, prev: Era, prefix: &[u8; PREFIX_LEN]) -> Subkey {
    let mut eras = [0; PREFIX_LEN];
    eras[..8].copy_from_slice(&era.get().to_le_bytes());
    eras[8..].copy_from_slice(&prev.get().to_le_bytes());
    Subkey::new(Subkey::new(key.expose(), &eras).as_key(), prefix)
}
