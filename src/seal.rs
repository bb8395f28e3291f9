//! Sealed records, cells and streams: bytes in, bytes out, no files.
//!
//! | format | first byte | what for | longer than its plaintext by |
//! |---|---|---|---|
//! | record | `0x01` | an entry of a replicated log | 41 bytes |
//! | stream | `0x02` | a snapshot, a backup | 4096 bytes, and 32 for each chunk |
//! | cell | `0x03` | a vote, metadata: anything small that has a name | 49 bytes |
//!
//! Every one begins with its format byte and the id of the DEK, 8 bytes, so no reader tries keys.
//! Which format is opened is the opener's choice; the first byte is checked, never dispatched on.
//! `docs/design.md` has the bytes of each.
//!
//! Every sealer belongs to a [`Keyspace`], in which alone opens what it seals.
//!
//! What is sealed belongs to one node and never leaves it: peers get the plaintext through the
//! transport's TLS and seal it for themselves.

use std::sync::Arc;

use crate::crypto::hkdf;
use crate::error::{Error, Result};
use crate::key::DekId;
use crate::keyring::{Keyspace, LiveDek, Pin};
use crate::secret::SecretKey;

mod batch;
mod bulk;
mod cell;
mod log;
mod log_id;
mod ordered;
mod record;
mod state;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use batch::Entry;
pub use batch::{Batch, Plaintext, SealedBatch, SealedRecord};
pub use cell::{Cells, SealedCell};
pub use log::Log;
pub use log_id::{Era, LogId};
pub(crate) use ordered::ordered;
pub use record::RECORD_OVERHEAD;
pub use state::State;
pub use stream::{
    STREAM_HEADER_LEN, SealedStream, StreamId, StreamInfo, StreamReader, StreamWriter, Streams,
};

const RECORD: u8 = 0x01;
const STREAM: u8 = 0x02;
const CELL: u8 = 0x03;

/// Length of format byte and DEK id, in bytes.
const NAME_LEN: usize = 9;
/// Largest plaintext of a record or a cell, in bytes.
const MAX_PLAINTEXT: usize = 1 << 30;

/// Something that was sealed and is not yet said to be durable.
///
/// As long as one is held, [`Keyring::sweep`](crate::Keyring::sweep) refuses to look for DEKs that
/// nothing names. One that is dropped unsaid counts as written.
#[must_use = "say that it is durable once it is"]
pub struct InFlight(Pin);

impl InFlight {
    /// It has reached the disk, with what else it needs to be found there.
    pub fn durable(self) {
        drop(self);
    }

    /// The DEK that it names.
    #[must_use]
    pub fn dek(&self) -> DekId {
        self.0.dek().id()
    }
}

impl core::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "InFlight({})", self.dek())
    }
}

/// Writes format byte and DEK id.
fn put_name(format: u8, dek: DekId, out: &mut [u8; NAME_LEN]) {
    out[0] = format;
    out[1..].copy_from_slice(&dek.to_bytes());
}

/// The DEK that `sealed` names, if it is of `format`.
fn named(format: u8, sealed: &[u8]) -> Result<DekId> {
    match sealed.first_chunk::<NAME_LEN>() {
        Some([found, id @ ..]) if *found == format => Ok(DekId::from_bytes(*id)),
        Some([found, ..]) if (0x01..=0x07).contains(found) => {
            Err(Error::unsupported("sealed format", format_args!("0x{found:02x}")))
        }
        Some(_) => Err(Error::damaged("not of the sealed format that is expected here")),
        None => Err(Error::damaged("too short for what it is to be")),
    }
}

/// The key of a DEK for one format in one keyspace.
fn key(keyspace: &Keyspace, dek: &LiveDek, format: u8) -> Arc<SecretKey> {
    let id = keyspace.id_bytes();
    dek.derived(format, id, |dek| {
        const RECORD_LABEL: &str = "nodeseal/v1/record";
        const STREAM_LABEL: &str = "nodeseal/v1/stream";
        const CELL_LABEL: &str = "nodeseal/v1/cell";
        let identity = keyspace.shared().identity();
        let (cluster, node) = (identity.cluster().as_bytes(), identity.node().as_bytes());
        match format {
            RECORD => hkdf::derive(dek.expose(), RECORD_LABEL, &[&[RECORD], cluster, node, id]),
            STREAM => hkdf::derive(dek.expose(), STREAM_LABEL, &[&[STREAM], cluster, node, id]),
            _ => hkdf::derive(dek.expose(), CELL_LABEL, &[&[CELL], cluster, node, id]),
        }
    })
}

/// An AAD of names, each after its length.
fn aad(names: &[&[u8]]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(names.iter().map(|name| 8 + name.len()).sum());
    for name in names {
        aad.extend_from_slice(&hkdf::len64(name));
        aad.extend_from_slice(name);
    }
    aad
}
