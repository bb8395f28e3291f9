use core::fmt;
use core::num::NonZeroUsize;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{
    CHUNK_OVERHEAD, Header, STREAM_HEADER_LEN, StreamInfo, Streams, chunk_suffix, chunks,
    valid_stream,
};
use crate::crypto::secretbox::{PREFIX_LEN, Subkey};
use crate::error::{Error, Result};
use crate::seal::ordered::ordered;
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

    /// As [`StreamReader::verify`], on `threads` threads, the caller's among them. A thread holds one
    /// chunk in memory.
    ///
    /// # Errors
    ///
    /// As [`StreamReader::verify`].
    pub fn verify_on(&mut self, threads: NonZeroUsize) -> Result<()>
    where
        R: Send,
    {
        self.open_chunks(threads, 0, |_, _| Ok(()))
    }

    /// Writes everything from the present position on to `out`, opened on `threads` threads, the
    /// caller's among them, and tells how many bytes that was. A thread holds one chunk in memory.
    ///
    /// What was altered is not written, nor is what stands behind it.
    ///
    /// # Errors
    ///
    /// As [`StreamReader::verify`]; [`Error::Stream`] also if `out` fails. The position is then after
    /// the last chunk that was written.
    pub fn copy_to(&mut self, out: &mut (impl Write + Send), threads: NonZeroUsize) -> Result<u64>
    where
        R: Send,
    {
        let info = &self.header.info;
        // An empty stream has a chunk too, without which it is not authentic.
        if self.position >= info.len.max(1) {
            return Ok(0);
        }
        let (from, size) = (self.position, u64::from(info.chunk_size));
        let mut position = from;
        let result = self.open_chunks(threads, from / size, |index, plain| {
            let within = usize::try_from(position - index * size).unwrap_or(usize::MAX);
            let rest = plain.get(within..).unwrap_or_default();
            out.write_all(rest).map_err(Error::Stream)?;
            position += u64::try_from(rest.len()).unwrap_or(u64::MAX);
            Ok(())
        });
        self.position = position;
        result.map(|()| position - from)
    }

    /// Opens the chunks from `first` on, and gives each with its index to `each`, in order.
    fn open_chunks(
        &mut self,
        threads: NonZeroUsize,
        first: u64,
        mut each: impl FnMut(u64, &[u8]) -> Result<()> + Send,
    ) -> Result<()>
    where
        R: Send,
    {
        let Self { input, start, header, .. } = self;
        let mut indices = first..chunks(header.info.len, header.info.chunk_size);
        ordered(
            threads,
            |job: &mut Chunk| match indices.next() {
                Some(index) => {
                    job.index = index;
                    read_chunk(input, *start, header, index, &mut job.bytes).map(|()| true)
                }
                None => Ok(false),
            },
            |job| open_chunk(header, job.index, job.bytes.expose_mut()),
            |job| each(job.index, job.bytes.expose().get(CHUNK_OVERHEAD..).unwrap_or_default()),
        )
    }

    /// Returns what is left of the chunk at the present position, which is behind it then; nothing at
    /// the end. All chunks were opened once it has returned nothing.
    pub(crate) fn next_chunk(&mut self) -> Result<&[u8]> {
        let info = &self.header.info;
        // An empty stream has a chunk too, without which it is not authentic.
        if self.position >= info.len.max(1) {
            return Ok(&[]);
        }
        let size = u64::from(info.chunk_size);
        let (index, within) = (self.position / size, self.position % size);
        self.load(index)?;
        let within = usize::try_from(within).unwrap_or(usize::MAX);
        let rest = self.chunk.expose().get(CHUNK_OVERHEAD.saturating_add(within)..);
        let rest = rest.unwrap_or_default();
        self.position += u64::try_from(rest.len()).unwrap_or(u64::MAX);
        Ok(rest)
    }

    fn load(&mut self, index: u64) -> Result<()> {
        if self.loaded != Some(index) {
            self.loaded = None;
            read_chunk(&mut self.input, self.start, &self.header, index, &mut self.chunk)?;
            open_chunk(&self.header, index, self.chunk.expose_mut())?;
            self.loaded = Some(index);
        }
        Ok(())
    }
}

/// A chunk that one of several threads opens.
#[derive(Default)]
struct Chunk {
    bytes: SecretBytes,
    index: u64,
}

/// Reads a sealed chunk of the stream that begins at `start`.
fn read_chunk(
    input: &mut (impl Read + Seek),
    start: u64,
    header: &Header,
    index: u64,
    chunk: &mut SecretBytes,
) -> Result<()> {
    let damaged = || Error::damaged("a stream's length is out of range");
    let info = &header.info;
    let size = u64::from(info.chunk_size);
    let before = index.checked_mul(size).ok_or_else(damaged)?;
    let plain = if is_last(info, index) { info.len - before } else { size };
    let overhead = u64::try_from(CHUNK_OVERHEAD).map_err(|_| damaged())?;
    let header = u64::try_from(STREAM_HEADER_LEN).map_err(|_| damaged())?;
    let offset = start + header + before + index * overhead;
    chunk.resize(usize::try_from(plain + overhead).map_err(|_| damaged())?);
    input.seek(SeekFrom::Start(offset)).map_err(Error::Stream)?;
    input.read_exact(chunk.expose_mut()).map_err(Error::Stream)
}

/// Opens a chunk in place; its plaintext then stands after [`CHUNK_OVERHEAD`] bytes.
fn open_chunk(header: &Header, index: u64, chunk: &mut [u8]) -> Result<()> {
    let short = || Error::damaged("a chunk of a stream is too short");
    let (head, body) = chunk.split_first_chunk_mut::<CHUNK_OVERHEAD>().ok_or_else(short)?;
    let (prefix, tag) = head.split_first_chunk::<PREFIX_LEN>().ok_or_else(short)?;
    let tag = tag.first_chunk().ok_or_else(short)?;
    let suffix = chunk_suffix(index, is_last(&header.info, index));
    Subkey::with(header.content.expose(), prefix, |subkey| subkey.open(&suffix, tag, body))
}

fn is_last(info: &StreamInfo, index: u64) -> bool {
    index + 1 == chunks(info.len, info.chunk_size)
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
