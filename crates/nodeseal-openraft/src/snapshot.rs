use std::io::{self, Read, Seek, SeekFrom, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use nodeseal::Store;
use nodeseal::seal::LogId;
use nodeseal::store::{Change, SnapshotReader, SnapshotWriter};
use openraft::{AnyError, RaftTypeConfig, SnapshotMeta};
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

use crate::{encode, id};

/// Keeps a state machine's snapshot in a [`Store`].
#[derive(Clone)]
pub struct Snapshots {
    store: Store,
}

/// A snapshot on its way in, or one to be read. The plaintext stands in no file.
pub enum SnapshotData {
    /// Being received, or built: what is written is sealed at once.
    Writing {
        /// Where it goes.
        writer: Box<SnapshotWriter>,
        /// How much came so far.
        position: u64,
    },
    /// Installed.
    Reading(Box<SnapshotReader>),
}

impl Snapshots {
    /// Those of `store`.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    /// Begins a snapshot; what it covers is said at its end.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn begin(&self) -> Result<SnapshotData, AnyError> {
        let writer = self.store.write_snapshot().map_err(|e| AnyError::new(&e))?;
        Ok(SnapshotData::Writing { writer: Box::new(writer), position: 0 })
    }

    /// Makes what was written, or is read elsewhere, the snapshot: durable when it returns. Gives a
    /// reader of it.
    ///
    /// # Errors
    ///
    /// Those of the store, and of what is read.
    pub fn install<C: RaftTypeConfig>(
        &self,
        meta: &SnapshotMeta<C::NodeId, C::Node>,
        data: SnapshotData,
    ) -> Result<SnapshotReader, AnyError> {
        let at = meta.last_log_id.as_ref().map_or(Ok(LogId::START), id::<C>)?;
        let writer = match data {
            SnapshotData::Writing { writer, .. } => writer,
            SnapshotData::Reading(mut reader) => {
                let mut writer = self.store.write_snapshot().map_err(|e| AnyError::new(&e))?;
                io::copy(&mut reader, &mut writer).map_err(|e| AnyError::new(&e))?;
                Box::new(writer)
            }
        };
        let snapshot = writer.finish(at, &encode(meta)?).map_err(|e| AnyError::new(&e))?;
        self.store.install(snapshot, Change::new()).map_err(|e| AnyError::new(&e))?;
        let reader = self.store.snapshot().map_err(|e| AnyError::new(&e))?;
        reader.ok_or_else(|| AnyError::error("a snapshot that is gone"))
    }

    /// The snapshot, and what it covers.
    ///
    /// # Errors
    ///
    /// Those of the store.
    #[expect(clippy::type_complexity, reason = "openraft's types have long names")]
    pub fn current<C: RaftTypeConfig>(
        &self,
    ) -> Result<Option<(SnapshotMeta<C::NodeId, C::Node>, SnapshotReader)>, AnyError> {
        let reader = self.store.snapshot().map_err(|e| AnyError::new(&e))?;
        let Some(reader) = reader else { return Ok(None) };
        let meta = postcard::from_bytes(&reader.info().meta).map_err(|e| AnyError::new(&e))?;
        Ok(Some((meta, reader)))
    }
}

impl Write for SnapshotData {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Writing { writer, position } => {
                let count = writer.write(bytes)?;
                *position += count as u64;
                Ok(count)
            }
            Self::Reading(_) => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for SnapshotData {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Writing { .. } => Err(io::ErrorKind::PermissionDenied.into()),
            Self::Reading(reader) => reader.read(out),
        }
    }
}

impl Seek for SnapshotData {
    /// One that is written goes on where it stands, and nowhere else.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Writing { position, .. } => match to {
                SeekFrom::Start(at) if at == *position => Ok(*position),
                SeekFrom::Current(0) | SeekFrom::End(0) => Ok(*position),
                _ => Err(io::ErrorKind::InvalidInput.into()),
            },
            Self::Reading(reader) => reader.seek(to),
        }
    }
}

// Files block; openraft reads and writes them in tasks of their own.

impl AsyncRead for SnapshotData {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.read(out.initialize_unfilled());
        Poll::Ready(read.map(|count| out.advance(count)))
    }
}

impl AsyncWrite for SnapshotData {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for SnapshotData {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        self.seek(to).map(drop)
    }

    fn poll_complete(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(self.stream_position())
    }
}
