use std::future::poll_fn;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nodeseal::secret::SecretBytes;
use nodeseal::store::SnapshotWriter;
use nodeseal::{Error, Store};
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

use super::incoming::Incoming;
use super::reader::{SnapshotReader, resolve};
use super::slot::Slot;
use crate::disk::{Disk, panicked};
use crate::writer::Coming;

/// How much of an installed snapshot is read at once, in bytes.
const BLOCK: usize = 256 << 10;

/// A snapshot on its way in, or one to be read. The plaintext is stored in no file.
///
/// One that is being received is written from its beginning to its end. The same bytes may be
/// written again, piece by piece; at offset 0 it may begin again with others. The call after a
/// failed write reports the error, until the snapshot begins again.
pub struct SnapshotData {
    disk: Arc<Disk>,
    at: u64,
    kind: Kind,
}

enum Kind {
    Receiving { incoming: Slot<Incoming>, coming: Option<Coming> },
    Reading { outgoing: Slot<Outgoing>, len: u64 },
}

/// An installed snapshot, and what was read of it last.
struct Outgoing {
    reader: SnapshotReader,
    start: u64,
    block: SecretBytes,
    failed: Option<io::Error>,
}

/// The source that a snapshot is installed from.
pub(super) enum Source {
    Received(Box<Incoming>),
    Installed(Box<SnapshotReader>),
}

impl SnapshotData {
    pub(super) fn receiving(incoming: Incoming, coming: Coming, disk: Arc<Disk>) -> Self {
        let incoming = Slot::Here(Box::new(incoming));
        Self { disk, at: 0, kind: Kind::Receiving { incoming, coming: Some(coming) } }
    }

    pub(super) fn reading(reader: SnapshotReader, disk: Arc<Disk>) -> Self {
        let len = reader.len();
        let outgoing = Outgoing { reader, start: 0, block: SecretBytes::new(), failed: None };
        Self { disk, at: 0, kind: Kind::Reading { outgoing: Slot::Here(Box::new(outgoing)), len } }
    }

    /// Reads an installed snapshot from its beginning, on a thread where `read` may block.
    ///
    /// # Errors
    ///
    /// That of `read`; `PermissionDenied` for a snapshot that is being received.
    pub async fn load<T: Send + 'static>(
        self,
        read: impl FnOnce(&mut SnapshotReader) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let disk = Arc::clone(&self.disk);
        let mut reader = match self.into_source().await? {
            Source::Installed(reader) => reader,
            received @ Source::Received(_) => {
                disk.dispose(received);
                return Err(io::ErrorKind::PermissionDenied.into());
            }
        };
        let loaded = disk.run(move |_| {
            reader.rewind()?;
            read(&mut reader)
        });
        loaded.await?
    }

    /// Returns the received snapshot, if it is whole, or the installed one.
    pub(super) async fn into_source(mut self) -> io::Result<Source> {
        poll_fn(|context| self.poll_whole(context)).await?;
        match &mut self.kind {
            Kind::Receiving { incoming, .. } => incoming.take().map(Source::Received),
            Kind::Reading { outgoing, .. } => {
                outgoing.take().map(|outgoing| Source::Installed(Box::new(outgoing.reader)))
            }
        }
        .ok_or_else(panicked)
    }

    /// Waits for the last piece, and looks whether it is the last.
    fn poll_whole(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match &mut self.kind {
            Kind::Receiving { incoming, .. } => match ready!(incoming.poll(context)) {
                Some(incoming) => incoming.check(self.at),
                None => Err(panicked()),
            },
            Kind::Reading { outgoing, .. } => {
                ready!(outgoing.poll(context)).map(drop).ok_or_else(panicked)
            }
        })
    }
}

impl Source {
    pub(super) fn into_writer(self, store: &Store) -> Result<(SnapshotWriter, u64), Error> {
        match self {
            Self::Received(incoming) => incoming.into_writer(store),
            Self::Installed(mut reader) => {
                let mut writer = store.write_snapshot()?;
                reader.rewind().map_err(Error::Stream)?;
                let len = io::copy(&mut reader, &mut writer).map_err(Error::Stream)?;
                Ok((writer, len))
            }
        }
    }
}

impl Outgoing {
    fn fill(&mut self, at: u64, count: usize) {
        let mut read = || {
            self.block.resize(count);
            self.reader.seek(SeekFrom::Start(at))?;
            self.reader.read_exact(self.block.expose_mut())
        };
        self.failed = read().err();
        self.start = at;
    }

    /// Returns the bytes in memory from `at` on.
    fn read(&self, at: u64) -> &[u8] {
        let skip = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.block.expose().get(skip..)).unwrap_or_default()
    }
}

impl AsyncRead for SnapshotData {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { disk, at, kind } = &mut *self;
        let Kind::Reading { outgoing: slot, len } = kind else {
            return Poll::Ready(Err(io::ErrorKind::PermissionDenied.into()));
        };
        if *at >= *len || out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let Some(outgoing) = ready!(slot.poll(context)) else {
                return Poll::Ready(Err(panicked()));
            };
            if let Some(failed) = outgoing.failed.take() {
                outgoing.block.resize(0);
                return Poll::Ready(Err(failed));
            }
            let read = outgoing.read(*at);
            if let Some(count) = Some(read.len().min(out.remaining())).filter(|count| *count > 0) {
                out.put_slice(read.get(..count).unwrap_or_default());
                *at += count as u64;
                return Poll::Ready(Ok(()));
            }
            let from = *at;
            let left = usize::try_from(*len - from).unwrap_or(usize::MAX);
            slot.send(disk, move |outgoing, _| outgoing.fill(from, left.min(BLOCK)));
        }
    }
}

impl AsyncWrite for SnapshotData {
    /// Takes all of `bytes`, or waits and takes nothing: a caller that gives up in between, as a
    /// server whose client has hung up, leaves no half piece behind.
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { disk, at, kind } = &mut *self;
        let Kind::Receiving { incoming: slot, .. } = kind else {
            return Poll::Ready(Err(io::ErrorKind::PermissionDenied.into()));
        };
        match ready!(slot.poll(context)) {
            Some(incoming) => incoming.admit(*at)?,
            None if *at == 0 => *slot = Slot::Here(Box::default()),
            None => return Poll::Ready(Err(panicked())),
        }
        if !bytes.is_empty() {
            let (from, piece) = (*at, SecretBytes::from(bytes));
            slot.send(disk, move |incoming, store| incoming.take(store, from, piece.expose()));
            *at += bytes.len() as u64;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let at = self.at;
        match &mut self.kind {
            Kind::Receiving { incoming, .. } => match ready!(incoming.poll(context)) {
                Some(incoming) => Poll::Ready(incoming.admit(at)),
                None => Poll::Ready(Err(panicked())),
            },
            Kind::Reading { .. } => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_whole(context)
    }
}

impl AsyncSeek for SnapshotData {
    /// A position that no piece may have is refused when the piece comes.
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let len = match &mut self.kind {
            Kind::Receiving { incoming, .. } => {
                incoming.here().map_or(0, |incoming| incoming.len())
            }
            Kind::Reading { len, .. } => *len,
        };
        self.at = resolve(to, self.at, len)?;
        Ok(())
    }

    fn poll_complete(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        if let Kind::Receiving { incoming, .. } = &mut self.kind {
            // The next write reports a failure, unless it is a new beginning.
            let _ = ready!(incoming.poll(context));
        }
        Poll::Ready(Ok(self.at))
    }
}

impl Drop for SnapshotData {
    fn drop(&mut self) {
        match &mut self.kind {
            Kind::Receiving { incoming, coming, .. } => {
                incoming.dispose(&self.disk);
                drop(coming.take());
            }
            Kind::Reading { outgoing, .. } => outgoing.dispose(&self.disk),
        }
    }
}
