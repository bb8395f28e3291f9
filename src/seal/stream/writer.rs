use core::fmt;
use core::num::NonZeroUsize;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{
    CHUNK, CHUNK_OVERHEAD, Header, MAX_META, STREAM_HEADER_LEN, StreamId, StreamInfo, Streams,
    chunk_suffix, new_content, stream_id, valid_stream,
};
use crate::crypto::random;
use crate::crypto::secretbox::{PREFIX_LEN, Subkey};
use crate::error::{Error, Misuse, Result};
use crate::seal::InFlight;
use crate::seal::log_id::LogId;
use crate::seal::ordered::ordered;
use crate::secret::{SecretBytes, SecretKey};

/// Writes a sealed stream. What is written is plaintext; [`StreamWriter::finish`] ends it.
///
/// One that is not finished leaves a stream without a header, which never opens.
pub struct StreamWriter<W> {
    streams: Streams,
    name: String,
    out: W,
    start: u64,
    content: SecretKey,
    /// Room for prefix and tag, then the plaintext of the chunk that is being filled.
    chunk: SecretBytes,
    index: u64,
    len: u64,
    failed: bool,
}

/// A chunk that one of several threads seals, and a byte of the one after it.
#[derive(Default)]
struct Chunk {
    bytes: SecretBytes,
    index: u64,
}

impl Chunk {
    fn chunk(&mut self) -> Result<&mut [u8]> {
        let chunk = self.bytes.expose_mut().get_mut(..CHUNK_OVERHEAD + chunk_len());
        chunk.ok_or(Misuse::Buffer.into())
    }
}

/// A stream whose header has been written.
#[derive(Debug)]
#[must_use = "make the file durable, then say so"]
pub struct SealedStream {
    id: StreamId,
    in_flight: InFlight,
}

impl SealedStream {
    /// Names the content.
    #[must_use]
    pub const fn id(&self) -> StreamId {
        self.id
    }

    /// The file has reached the disk.
    pub fn durable(self) {
        self.in_flight.durable();
    }
}

impl Streams {
    /// Begins a stream at the present position of `out`, which must not be a file in append mode:
    /// the header is written last, and at the front.
    ///
    /// # Errors
    ///
    /// [`Misuse::Name`] for a name that has not the form of those in [`Identity`](crate::Identity);
    /// [`Error::Random`]; [`Error::Stream`] if `out` fails.
    pub fn create<W: Write + Seek>(&self, name: &str, mut out: W) -> Result<StreamWriter<W>> {
        valid_stream(name)?;
        let start = out.stream_position().map_err(Error::Stream)?;
        out.write_all(&[0; STREAM_HEADER_LEN]).map_err(Error::Stream)?;
        let mut chunk = SecretBytes::with_capacity(CHUNK_OVERHEAD + chunk_len());
        chunk.resize(CHUNK_OVERHEAD);
        Ok(StreamWriter {
            streams: self.clone(),
            name: name.to_owned(),
            out,
            start,
            content: new_content()?,
            chunk,
            index: 0,
            len: 0,
            failed: false,
        })
    }
}

impl<W: Write + Seek> StreamWriter<W> {
    /// Ends the stream: seals its last chunk, then writes the header, with what only now is known.
    /// `at` is the last entry that a snapshot covers, `meta` up to 3985 bytes of the caller's.
    ///
    /// Gives `out` back. The stream is complete in it, but not durable.
    ///
    /// # Errors
    ///
    /// [`Error::Stream`] if `out` fails, [`Error::Poisoned`] if a write failed before;
    /// [`Misuse::TooLarge`] for the meta; or as
    /// [`Log::seal_batch`](crate::seal::Log::seal_batch).
    pub fn finish(mut self, at: LogId, meta: &[u8]) -> Result<(W, SealedStream)> {
        if self.failed {
            return Err(Error::Poisoned);
        }
        if meta.len() > MAX_META {
            return Err(Error::too_large("a stream's meta", meta.len(), MAX_META));
        }
        self.seal_chunk(true)?;
        let id = stream_id(&self.content);
        let info = StreamInfo { id, at, len: self.len, chunk_size: CHUNK, meta: meta.to_vec() };
        let pin = self.streams.keyspace.shared().acquire(1)?;
        let header = Header { content: self.content, info };
        let header = self.streams.seal_header(&pin, &self.name, &header)?;
        let mut out = self.out;
        let end = out.stream_position().map_err(Error::Stream)?;
        out.seek(SeekFrom::Start(self.start)).map_err(Error::Stream)?;
        out.write_all(&header).map_err(Error::Stream)?;
        out.seek(SeekFrom::Start(end)).map_err(Error::Stream)?;
        out.flush().map_err(Error::Stream)?;
        Ok((out, SealedStream { id, in_flight: InFlight(pin) }))
    }

    /// Writes all that `input` gives, sealed on `threads` threads, the caller's among them; tells how
    /// many bytes that was. What is made is the same as by [`Write`]. A thread holds one chunk of
    /// 64 KiB in memory.
    ///
    /// # Errors
    ///
    /// [`Error::Stream`] if `input` or the writer's own output fails, [`Error::Random`],
    /// [`Error::Poisoned`]. The stream cannot be finished then.
    pub fn copy_from(
        &mut self,
        input: &mut (impl Read + Send),
        threads: NonZeroUsize,
    ) -> Result<u64>
    where
        W: Send,
    {
        if core::mem::replace(&mut self.failed, true) {
            return Err(Error::Poisoned);
        }
        let Self { out, content, chunk: held, index, len, .. } = self;
        let (before, whole) = (*len, CHUNK_OVERHEAD + chunk_len());
        ordered(
            threads,
            // One byte more than a chunk is read: only a chunk that more comes after is sealed here,
            // the last one is sealed as the last.
            |job: &mut Chunk| {
                job.bytes.resize(whole + 1);
                let had = held.len();
                let (start, room) = job.bytes.expose_mut().split_at_mut(had);
                start.copy_from_slice(held.expose());
                held.resize(CHUNK_OVERHEAD);
                let end = had + fill(room, input).map_err(Error::Stream)?;
                *len += wide(end - had);
                let bytes = job.bytes.expose();
                let (rest, more) =
                    if end > whole { (whole, true) } else { (CHUNK_OVERHEAD, false) };
                held.extend_from_slice(bytes.get(rest..end).unwrap_or_default());
                job.index = *index;
                *index += u64::from(more);
                Ok(more)
            },
            |job| {
                let index = job.index;
                seal(content, job.chunk()?, index, false)
            },
            |job| out.write_all(job.chunk()?).map_err(Error::Stream),
        )?;
        self.failed = false;
        Ok(self.len - before)
    }

    /// Adds plaintext; as [`Write::write_all`], with this crate's errors.
    pub(crate) fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let taken = self.take(bytes)?;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.failed {
            return Err(Error::Poisoned);
        }
        // A full chunk is sealed only when more comes: the last one is sealed as the last.
        if self.chunk.len() == CHUNK_OVERHEAD + chunk_len() && !bytes.is_empty() {
            self.seal_chunk(false)?;
        }
        let room = CHUNK_OVERHEAD + chunk_len() - self.chunk.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.chunk.extend_from_slice(taken);
        self.len += wide(taken.len());
        Ok(taken.len())
    }

    fn seal_chunk(&mut self, last: bool) -> Result<()> {
        // Until it is written whole, also if `out` panics: a chunk that is sealed already must not
        // be taken for plaintext and sealed again.
        self.failed = true;
        seal(&self.content, self.chunk.expose_mut(), self.index, last)?;
        self.out.write_all(self.chunk.expose()).map_err(Error::Stream)?;
        self.chunk.cut_sealed(CHUNK_OVERHEAD);
        self.index += 1;
        self.failed = false;
        Ok(())
    }
}

/// Seals a chunk, whose plaintext stands after [`CHUNK_OVERHEAD`] bytes of room.
fn seal(content: &SecretKey, chunk: &mut [u8], index: u64, last: bool) -> Result<()> {
    // Drawn here, where the plaintext is at hand.
    let prefix: [u8; PREFIX_LEN] = random::array()?;
    let (head, body) = chunk.split_first_chunk_mut::<CHUNK_OVERHEAD>().ok_or(Misuse::Buffer)?;
    let suffix = chunk_suffix(index, last);
    let tag = Subkey::with(content.expose(), &prefix, |subkey| subkey.seal(&suffix, body));
    head[..PREFIX_LEN].copy_from_slice(&prefix);
    head[PREFIX_LEN..].copy_from_slice(&tag);
    Ok(())
}

/// Fills `room` with what `input` has, and tells how much that is.
fn fill(mut room: &mut [u8], input: &mut impl Read) -> io::Result<usize> {
    let len = room.len();
    while !room.is_empty() {
        match input.read(room) {
            Ok(0) => break,
            Ok(count) => room = room.get_mut(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len - room.len())
}

impl<W: Write + Seek> Write for StreamWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes).map_err(|error| match error {
            Error::Stream(source) => source,
            other => io::Error::other(other),
        })
    }

    /// Does nothing: a chunk is written when it is full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W> fmt::Debug for StreamWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWriter").field("len", &self.len).finish_non_exhaustive()
    }
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn chunk_len() -> usize {
    usize::try_from(CHUNK).unwrap_or(usize::MAX)
}
