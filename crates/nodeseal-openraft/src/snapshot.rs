use std::io::{self, Write};
use std::sync::Arc;

use nodeseal::seal::LogId;
use nodeseal::store::{Change, SnapshotWriter};
use nodeseal::{Error, Store};
use openraft::storage::Snapshot;
use openraft::{AnyError, RaftTypeConfig, SnapshotMeta, StorageError, StorageIOError};

mod data;
mod incoming;
mod reader;
mod slot;

pub use data::SnapshotData;
pub use reader::SnapshotReader;

use crate::disk::Disk;
use crate::writer::Writer;
use crate::{encode, id, stream};
use incoming::Incoming;
use reader::Found;

/// Largest metadata of a snapshot, in bytes: a membership of 200 nodes may take 80 KiB for each.
pub const MAX_SNAPSHOT_META: usize = 16 << 20;

/// Keeps a state machine's snapshot in the store of its log; from
/// [`LogStore::snapshots`](crate::LogStore::snapshots).
///
/// A snapshot is replaced only by one that covers as much or more, whichever is done first: openraft
/// builds one beside the installation of another.
#[derive(Clone)]
pub struct Snapshots {
    disk: Arc<Disk>,
    writer: Arc<Writer>,
}

impl Snapshots {
    pub(crate) const fn new(disk: Arc<Disk>, writer: Arc<Writer>) -> Self {
        Self { disk, writer }
    }

    /// Begins to receive a snapshot, for `begin_receiving_snapshot`.
    ///
    /// # Errors
    ///
    /// The errors of the store.
    pub async fn begin<C: RaftTypeConfig>(&self) -> Result<SnapshotData, StorageError<C::NodeId>> {
        let coming = self.writer.coming();
        let begun = self.disk.run(Incoming::new).await;
        let incoming = flat(begun).map_err(write_failed::<C>)?;
        Ok(SnapshotData::receiving(incoming, coming, Arc::clone(&self.disk)))
    }

    /// Builds a snapshot from what `write` writes and installs it; `write` runs on a thread where it
    /// may block. Returns the snapshot that the store then holds, for `build_snapshot`: a newer one if
    /// one was installed meanwhile.
    ///
    /// # Errors
    ///
    /// The errors of the store and of `write`.
    pub async fn build<C: RaftTypeConfig<SnapshotData = SnapshotData>>(
        &self,
        meta: SnapshotMeta<C::NodeId, C::Node>,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Result<Snapshot<C>, StorageError<C::NodeId>> {
        let (at, meta) = place::<C>(&meta).map_err(write_failed::<C>)?;
        let coming = self.writer.coming();
        let built = self.disk.run(move |store| {
            let _coming = coming;
            let mut out = Counted { to: store.write_snapshot()?, len: 0 };
            write(&mut out).map_err(Error::Stream)?;
            install(store, at, &meta, (out.to, out.len))
        });
        let found = flat(built.await).map_err(write_failed::<C>)?;
        self.snapshot(found).map_err(read_failed::<C>)
    }

    /// Installs a received snapshot, durable when it returns. Returns the snapshot that the store then
    /// holds, for `install_snapshot` to load: a newer one if there was one already.
    ///
    /// # Errors
    ///
    /// The errors of the store, and those of receiving.
    pub async fn install<C: RaftTypeConfig<SnapshotData = SnapshotData>>(
        &self,
        meta: &SnapshotMeta<C::NodeId, C::Node>,
        data: SnapshotData,
    ) -> Result<Snapshot<C>, StorageError<C::NodeId>> {
        let coming = self.writer.coming();
        let (at, meta) = place::<C>(meta).map_err(write_failed::<C>)?;
        let source = data.into_source().await.map_err(|e| write_failed::<C>(AnyError::new(&e)))?;
        let installed = self.disk.run(move |store| {
            let written = source.into_writer(store);
            let installed = written.and_then(|written| install(store, at, &meta, written));
            coming.installed(&installed);
            installed
        });
        let found = flat(installed.await).map_err(write_failed::<C>)?;
        self.snapshot(found).map_err(read_failed::<C>)
    }

    /// Returns the installed snapshot, for `get_current_snapshot`.
    ///
    /// # Errors
    ///
    /// The errors of the store.
    pub async fn current<C: RaftTypeConfig<SnapshotData = SnapshotData>>(
        &self,
    ) -> Result<Option<Snapshot<C>>, StorageError<C::NodeId>> {
        let current = self.disk.run(reader::current).await;
        let found = flat(current).map_err(read_failed::<C>)?;
        let current = found.map(|found| self.snapshot(found)).transpose();
        current.map_err(read_failed::<C>)
    }

    fn snapshot<C: RaftTypeConfig<SnapshotData = SnapshotData>>(
        &self,
        (meta, reader): Found,
    ) -> Result<Snapshot<C>, AnyError> {
        let meta = postcard::from_bytes(&meta).map_err(|e| AnyError::new(&e))?;
        let data = SnapshotData::reading(reader, Arc::clone(&self.disk));
        Ok(Snapshot { meta, snapshot: Box::new(data) })
    }
}

/// Where a snapshot's log ends, and its metadata, encoded.
fn place<C: RaftTypeConfig>(
    meta: &SnapshotMeta<C::NodeId, C::Node>,
) -> Result<(LogId, Vec<u8>), AnyError> {
    let at = meta.last_log_id.as_ref().map_or(Ok(LogId::START), id::<C>)?;
    let encoded = encode(meta)?;
    if encoded.len() > MAX_SNAPSHOT_META {
        let len = encoded.len();
        let text = format!("a snapshot's metadata of {len} bytes, at most {MAX_SNAPSHOT_META}");
        return Err(AnyError::error(text));
    }
    Ok((at, encoded))
}

/// Ends a snapshot of `len` bytes and installs it, unless the store has one that covers more.
fn install(
    store: &Store,
    at: LogId,
    meta: &[u8],
    (mut writer, len): (SnapshotWriter, u64),
) -> Result<Found, Error> {
    let newer = || store.snapshot_at().is_some_and(|current| current.index > at.index);
    if !newer() {
        writer.write_all(meta).map_err(Error::Stream)?;
        let snapshot = writer.finish(at, &reader::header(len))?;
        if at == LogId::START {
            // It covers nothing, not even entry 0: it can be read, and is not kept.
            return reader::open(snapshot.reader()?);
        }
        match store.install(snapshot, Change::new()) {
            // The other came meanwhile.
            Err(Error::Misuse(_)) if newer() => {}
            installed => installed?,
        }
    }
    reader::current(store)?.ok_or_else(|| stream("the snapshot that was installed is gone"))
}

struct Counted {
    to: SnapshotWriter,
    len: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.len += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn flat<T>(done: io::Result<Result<T, Error>>) -> Result<T, AnyError> {
    done.map_err(|e| AnyError::new(&e))?.map_err(|e| AnyError::new(&e))
}

fn read_failed<C: RaftTypeConfig>(error: AnyError) -> StorageError<C::NodeId> {
    StorageIOError::read_snapshot(None, error).into()
}

fn write_failed<C: RaftTypeConfig>(error: AnyError) -> StorageError<C::NodeId> {
    StorageIOError::write_snapshot(None, error).into()
}
