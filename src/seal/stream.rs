//! Streams: snapshots and backups of any length, in constant memory, with random access.
//!
//! ```text
//! 0     1     0x02
//! 1     8     DEK id
//! 9     24    XChaCha20-Poly1305 nonce
//! 33    16    tag
//! 49    4047  sealed: content key 32 · index 8 · era 8 · length 8 · chunk size 4 ·
//!             meta length 2 · meta · zeros
//! 4096        chunk after chunk: prefix 16 · Poly1305 tag 16 · ciphertext
//! ```
//!
//! The header is sealed under `HKDF(DEK, "stream", 0x02, cluster, node, keyspace id)` with the
//! stream's name after its length as AAD. A chunk is a NaCl secretbox under the content key with the nonce
//! `prefix ‖ (i << 1 | last)`; there is at least one, and all but the last are full.

use core::fmt;
use std::io::{Read, Seek, Write};

use super::log_id::{Era, LogId};
use super::{InFlight, NAME_LEN, STREAM, aad, key, named, put_name};
use crate::crypto::{hkdf, random, secretbox, xchacha};
use crate::error::{Error, Misuse, Result};
use crate::key::{DekId, valid_name};
use crate::keyring::Keyspace;
use crate::secret::{KEY_LEN, SecretBytes, SecretKey};

mod reader;
mod writer;

pub use reader::StreamReader;
pub use writer::{SealedStream, StreamWriter};

/// Length of a stream's header, in bytes.
pub const STREAM_HEADER_LEN: usize = 4096;
/// Plaintext of a chunk that we write, in bytes.
const CHUNK: u32 = 64 << 10;
/// Bounds on the chunk size that a header may name, in bytes.
const CHUNKS: core::ops::RangeInclusive<u32> = 1 << 10..=16 << 20;
/// How much longer a chunk is than its plaintext, in bytes.
const CHUNK_OVERHEAD: usize = secretbox::PREFIX_LEN + crate::crypto::TAG_LEN;
const FIXED: usize = KEY_LEN + 8 + 8 + 8 + 4 + 2;
/// Largest meta, in bytes.
const MAX_META: usize = STREAM_HEADER_LEN - NAME_LEN - xchacha::OVERHEAD - FIXED;

/// Names a stream's content, whatever DEK its header is sealed under: 16 bytes derived from the
/// content key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId([u8; 16]);

impl StreamId {
    /// The id from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id's bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({self})")
    }
}

/// What a stream's header tells.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// Names the content.
    pub id: StreamId,
    /// The last entry that a snapshot covers; what the writer said.
    pub at: LogId,
    /// Length of the plaintext, in bytes.
    pub len: u64,
    /// Plaintext of a full chunk, in bytes.
    pub chunk_size: u32,
    /// What the writer added. Not wiped: no place for a secret.
    pub meta: Vec<u8>,
}

impl fmt::Debug for StreamInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamInfo")
            .field("id", &self.id)
            .field("at", &self.at)
            .field("len", &self.len)
            .field("chunk_size", &self.chunk_size)
            .field("meta", &format_args!("{} bytes", self.meta.len()))
            .finish()
    }
}

/// Seals and opens a keyspace's streams.
///
/// ```
/// # use nodeseal::{Identity, Keyring, Protector, UnlockKey};
/// # use std::io::{Cursor, Read, Seek, Write};
/// use nodeseal::seal::{Era, LogId};
///
/// # let dir = tempfile::tempdir()?;
/// # let me = Identity::new("prod", "m1")?;
/// # let protector = Protector::unlock_key(&UnlockKey::generate()?);
/// # let keyring = Keyring::create(dir.path(), &me, protector, &[])?;
/// let streams = keyring.keyspace("raft")?.streams();
/// let mut writer = streams.create("snapshot", Cursor::new(Vec::new()))?;
/// writer.write_all(b"the whole state")?;
/// let (mut file, sealed) = writer.finish(LogId::new(42, Era::term(3)), b"")?;
/// sealed.durable(); // once the file is
///
/// file.rewind()?;
/// let mut reader = streams.open("snapshot", file)?;
/// reader.verify()?; // before anything of it is installed
/// assert_eq!(reader.info().at.index, 42);
/// let mut state = String::new();
/// reader.read_to_string(&mut state)?;
/// assert_eq!(state, "the whole state");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Streams {
    keyspace: Keyspace,
}

impl Keyspace {
    /// Returns the sealer of its streams.
    #[must_use]
    pub fn streams(&self) -> Streams {
        Streams { keyspace: self.clone() }
    }
}

impl Streams {
    /// Re-seals a stream's header under the active DEK, in place; `None` if it is under it
    /// already. The content stays as it is, and so does the key that it is sealed under.
    ///
    /// # Errors
    ///
    /// [`Misuse::ExposedStream`] if the header's DEK was exposed and the active one was not; and as
    /// [`Streams::open`] and [`Log::seal_batch`](super::Log::seal_batch). `header` is then as it was.
    ///
    /// # Security
    ///
    /// The content key in the header is all that authenticates the chunks. An attacker who had the
    /// DEK has it too, and could forge the stream however often its header is sealed again:
    /// [`Streams::rewrite`] copies it under another one.
    pub fn reseal_header(
        &self,
        name: &str,
        header: &mut [u8; STREAM_HEADER_LEN],
    ) -> Result<Option<InFlight>> {
        valid_stream(name)?;
        let old = named(STREAM, header)?;
        if self.keyspace.shared().is_active(old) {
            return Ok(None);
        }
        let opened = self.open_header(name, header)?;
        let pin = self.keyspace.shared().acquire(1)?;
        // Only now: what exposes the old DEK from here on exposes the pinned one with it, so that the
        // content key never comes under a DEK that is better kept than it was.
        if self.keyspace.shared().is_exposed(old)?
            && !self.keyspace.shared().is_exposed(pin.dek().id())?
        {
            return Err(Misuse::ExposedStream.into());
        }
        *header = self.seal_header(&pin, name, &opened)?;
        Ok(Some(InFlight(pin)))
    }

    /// Copies the stream that begins at the present position of `input` and ends where it ends to the
    /// present position of `out`, under a new content key and the active DEK. Each chunk is opened
    /// before it is copied; one chunk is in memory at a time. The copy has another id, and chunks of
    /// 64 KiB; the rest of its [`StreamInfo`] is that of the original. `out` must not be a file in
    /// append mode.
    ///
    /// Returns `out`. The copy is complete in it, but not durable; the old stream may go once it is.
    ///
    /// ```
    /// # use nodeseal::{Error, Identity, Keyring, Misuse, Protector, Reason, UnlockKey};
    /// # use std::io::{Cursor, Read, Write};
    /// use nodeseal::seal::{LogId, STREAM_HEADER_LEN};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let me = Identity::new("prod", "m1")?;
    /// # let protector = Protector::unlock_key(&UnlockKey::generate()?);
    /// # let keyring = Keyring::create(dir.path(), &me, protector, &[])?;
    /// let streams = keyring.keyspace("backups")?.streams();
    /// let mut writer = streams.create("backup", Cursor::new(Vec::new()))?;
    /// writer.write_all(b"the whole state")?;
    /// let (old, sealed) = writer.finish(LogId::START, b"")?;
    /// sealed.durable(); // once the file is
    /// let mut header: [u8; STREAM_HEADER_LEN] = *old.get_ref().first_chunk().unwrap();
    ///
    /// keyring.rotate_dek(Reason::Leaked)?;
    /// let resealed = streams.reseal_header("backup", &mut header);
    /// assert!(matches!(resealed, Err(Error::Misuse(Misuse::ExposedStream))));
    /// let old = Cursor::new(old.into_inner());
    /// let (new, sealed) = streams.rewrite("backup", old, Cursor::new(Vec::new()))?;
    /// sealed.durable(); // once the new file is, in the place of the old one
    /// # let mut state = String::new();
    /// # streams.open("backup", Cursor::new(new.into_inner()))?.read_to_string(&mut state)?;
    /// # assert_eq!(state, "the whole state");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Streams::open`], [`StreamReader::verify`], [`Streams::create`] and
    /// [`StreamWriter::finish`]. What `out` then has does not open.
    ///
    /// # Security
    ///
    /// An attacker who had the DEK and can write where the stream is stored may have forged it before
    /// it is copied: a copy is no better than what was there.
    pub fn rewrite<R: Read + Seek, W: Write + Seek>(
        &self,
        name: &str,
        input: R,
        out: W,
    ) -> Result<(W, SealedStream)> {
        let mut reader = self.open(name, input)?;
        let mut writer = self.create(name, out)?;
        loop {
            let chunk = reader.next_chunk()?;
            if chunk.is_empty() {
                break;
            }
            writer.put(chunk)?;
        }
        let info = reader.info();
        writer.finish(info.at, &info.meta)
    }

    /// Reports whether only [`Streams::rewrite`] brings the stream of this header under a DEK that was
    /// not exposed, and there is one.
    pub(crate) fn must_rewrite(&self, header: &[u8; STREAM_HEADER_LEN]) -> Result<bool> {
        Ok(self.keyspace.shared().is_exposed_unlike_active(named(STREAM, header)?))
    }

    /// The DEK that a stream's header names.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if the stream is not complete, or is none.
    pub fn dek_of(header: &[u8]) -> Result<DekId> {
        named(STREAM, header)
    }

    /// The id of the stream that a header is of.
    pub(crate) fn id_of(&self, name: &str, header: &[u8; STREAM_HEADER_LEN]) -> Result<StreamId> {
        self.open_header(name, header).map(|header| header.info.id)
    }

    fn seal_header(
        &self,
        pin: &crate::keyring::Pin,
        name: &str,
        header: &Header,
    ) -> Result<[u8; STREAM_HEADER_LEN]> {
        let mut plain = SecretBytes::new();
        plain.resize(NAME_LEN + xchacha::OVERHEAD);
        header.encode(&mut plain)?;
        plain.resize(STREAM_HEADER_LEN);
        let (start, message) = plain.expose_mut().split_first_chunk_mut().ok_or(Misuse::Buffer)?;
        put_name(STREAM, pin.dek().id(), start);
        let key = key(&self.keyspace, pin.dek(), STREAM);
        xchacha::seal(key.expose(), &aad(&[name.as_bytes()]), message)?;
        plain.expose().first_chunk().copied().ok_or(Misuse::Buffer.into())
    }

    fn open_header(&self, name: &str, header: &[u8; STREAM_HEADER_LEN]) -> Result<Header> {
        if header.iter().all(|byte| *byte == 0) {
            return Err(Error::damaged("the stream was not finished"));
        }
        let dek = self.keyspace.shared().find(named(STREAM, header)?)?;
        let key = key(&self.keyspace, &dek, STREAM);
        let mut message = SecretBytes::from(&header[NAME_LEN..]);
        let plain = xchacha::open(key.expose(), &aad(&[name.as_bytes()]), message.expose_mut())?;
        Header::decode(plain)
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("keyspace", &self.keyspace.name()).finish_non_exhaustive()
    }
}

/// A stream's header, opened.
struct Header {
    content: SecretKey,
    info: StreamInfo,
}

impl Header {
    fn encode(&self, out: &mut SecretBytes) -> Result<()> {
        let info = &self.info;
        if info.meta.len() > MAX_META {
            return Err(Error::too_large("a stream's meta", info.meta.len(), MAX_META));
        }
        let meta_len = u16::try_from(info.meta.len()).map_err(|_| Misuse::Buffer)?;
        out.extend_from_slice(self.content.expose());
        out.extend_from_slice(&info.at.index.to_le_bytes());
        out.extend_from_slice(&info.at.era.get().to_le_bytes());
        out.extend_from_slice(&info.len.to_le_bytes());
        out.extend_from_slice(&info.chunk_size.to_le_bytes());
        out.extend_from_slice(&meta_len.to_le_bytes());
        out.extend_from_slice(&info.meta);
        Ok(())
    }

    fn decode(plain: &[u8]) -> Result<Self> {
        let damaged = || Error::damaged("a stream header of another form");
        let (key, rest) = plain.split_first_chunk::<KEY_LEN>().ok_or_else(damaged)?;
        let (numbers, rest) = rest.split_first_chunk::<24>().ok_or_else(damaged)?;
        let (chunk_size, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let (meta_len, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let content = SecretKey::init(|bytes| bytes.copy_from_slice(key));
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&numbers[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let info = StreamInfo {
            id: stream_id(&content),
            at: LogId::new(number(0), Era::term(number(8))),
            len: number(16),
            chunk_size: u32::from_le_bytes(*chunk_size),
            meta: rest
                .get(..usize::from(u16::from_le_bytes(*meta_len)))
                .ok_or_else(damaged)?
                .to_vec(),
        };
        if !CHUNKS.contains(&info.chunk_size) {
            return Err(Error::unsupported("chunk size", info.chunk_size));
        }
        Ok(Self { content, info })
    }
}

fn stream_id(content: &SecretKey) -> StreamId {
    const LABEL: &str = "nodeseal/v1/stream-id";
    let mut id = [0; 16];
    hkdf::expand(content.expose(), LABEL, &[], &mut id);
    StreamId(id)
}

/// The second part of the nonce of chunk `index`.
fn chunk_suffix(index: u64, last: bool) -> [u8; secretbox::SUFFIX_LEN] {
    (index << 1 | u64::from(last)).to_le_bytes()
}

/// How many chunks hold `len` bytes: at least one.
fn chunks(len: u64, chunk_size: u32) -> u64 {
    len.div_ceil(u64::from(chunk_size)).max(1)
}

fn new_content() -> Result<SecretKey> {
    random::key()
}

fn valid_stream(name: &str) -> Result<()> {
    valid_name("stream", name)
}
