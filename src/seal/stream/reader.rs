use core::fmt;
use std::io::{self, Read, Seek, SeekFrom};

use super::{
    CHUNK_OVERHEAD, Header, STREAM_HEADER_LEN, StreamInfo, Streams, chunk_suffix, chunks,
    valid_stream,
};
use crate::crypto::secretbox::{PREFIX_LEN, Subkey};
use crate::error::{Error, Result};
use crate::secret::SecretBytes;

/// Reads a sealed stream: the plaintext, from any position of it.
///
/// Every chunk is authenticated before a byte of it is given. Errors that are not `R`'s own come
/// as [`io::Error`]s that hold an [`Error`].
pub struct StreamReader<R> {
    input: R,
    start: u64,
    header: Header,
    position: u64,
    /// The opened chunk, and its index.
    chunk: SecretBytes,
    loaded: Option<u64>,
}

impl Streams {
    /// Opens the stream that begins at the present position of `input` and ends where it ends.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if it was not finished, is cut short or goes on after its end;
    /// [`Error::UnknownDek`]; [`Error::Unauthentic`] if its header was altered or is of another
    /// stream, node or cluster; [`Error::Unsupported`]; [`Error::Stream`] if `input` fails.
    pub fn open<R: Read + Seek>(&self, name: &str, mut input: R) -> Result<StreamReader<R>> {
        valid_stream(name)?;
        let start = input.stream_position().map_err(Error::Stream)?;
        let end = input.seek(SeekFrom::End(0)).map_err(Error::Stream)?;
        input.seek(SeekFrom::Start(start)).map_err(Error::Stream)?;
        let mut header = [0; STREAM_HEADER_LEN];
        input.read_exact(&mut header).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::damaged("a stream is too short for its header"),
            _ => Error::Stream(e),
        })?;
        let header = self.open_header(name, &header)?;
        match (sealed_len(&header.info), end.checked_sub(start)) {
            (Some(told), Some(found)) if told == found => {}
            _ => return Err(Error::damaged("a stream has not the length that its header tells")),
        }
        let chunk = SecretBytes::new();
        Ok(StreamReader { input, start, header, position: 0, chunk, loaded: None })
    }
}

/// Length of a whole stream, if it can be told.
fn sealed_len(info: &StreamInfo) -> Option<u64> {
    chunks(info.len, info.chunk_size)
        .checked_mul(u64::try_from(CHUNK_OVERHEAD).ok()?)?
        .checked_add(info.len)?
        .checked_add(u64::try_from(STREAM_HEADER_LEN).ok()?)
}

impl<R: Read + Seek> StreamReader<R> {
    /// What the header tells.
    #[must_use]
    pub const fn info(&self) -> &StreamInfo {
        &self.header.info
    }

    /// Opens every chunk. Install nothing of a snapshot before this has succeeded.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthentic`] if a chunk was altered or moved; [`Error::Stream`] if the input
    /// fails.
    pub fn verify(&mut self) -> Result<()> {
        let info = &self.header.info;
        (0..chunks(info.len, info.chunk_size)).try_for_each(|index| self.load(index))
    }

    /// The input.
    #[must_use]
    pub fn into_inner(self) -> R {
        self.input
    }

    fn load(&mut self, index: u64) -> Result<()> {
        if self.loaded == Some(index) {
            return Ok(());
        }
        self.loaded = None;
        let damaged = || Error::damaged("a stream's length is out of range");
        let info = &self.header.info;
        let size = u64::from(info.chunk_size);
        let last = index + 1 == chunks(info.len, info.chunk_size);
        let before = index.checked_mul(size).ok_or_else(damaged)?;
        let plain = if last { info.len - before } else { size };
        let overhead = u64::try_from(CHUNK_OVERHEAD).map_err(|_| damaged())?;
        let header = u64::try_from(STREAM_HEADER_LEN).map_err(|_| damaged())?;
        let offset = self.start + header + before + index * overhead;
        self.chunk.resize(usize::try_from(plain + overhead).map_err(|_| damaged())?);
        self.input.seek(SeekFrom::Start(offset)).map_err(Error::Stream)?;
        self.input.read_exact(self.chunk.expose_mut()).map_err(Error::Stream)?;
        let chunk = self.chunk.expose_mut();
        let (head, body) = chunk.split_first_chunk_mut::<CHUNK_OVERHEAD>().ok_or_else(damaged)?;
        let (prefix, tag) = head.split_first_chunk::<PREFIX_LEN>().ok_or_else(damaged)?;
        let tag = tag.first_chunk().ok_or_else(damaged)?;
        let subkey = Subkey::new(self.header.content.expose(), prefix);
        subkey.open(&chunk_suffix(index, last), tag, body)?;
        self.loaded = Some(index);
        Ok(())
    }
}

impl<R: Read + Seek> Read for StreamReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.header.info.len;
        // An empty stream has a chunk too, without which it is not authentic.
        if out.is_empty() || self.position >= len.max(1) {
            return Ok(0);
        }
        let size = u64::from(self.header.info.chunk_size);
        self.load(self.position / size).map_err(|error| match error {
            Error::Stream(source) => source,
            other => io::Error::other(other),
        })?;
        let within = usize::try_from(self.position % size).map_err(io::Error::other)?;
        let rest = self.chunk.expose().get(CHUNK_OVERHEAD + within..).unwrap_or_default();
        let taken = rest.len().min(out.len());
        out[..taken].copy_from_slice(&rest[..taken]);
        self.position += u64::try_from(taken).map_err(io::Error::other)?;
        Ok(taken)
    }
}

impl<R: Read + Seek> Seek for StreamReader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.header.info.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "seek outside the stream");
        self.position = position.ok_or_else(outside)?;
        Ok(self.position)
    }
}

impl<R> fmt::Debug for StreamReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader").field("info", &self.header.info).finish_non_exhaustive()
    }
}
