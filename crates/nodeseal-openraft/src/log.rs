use std::fmt::Debug;
use std::io;
use std::num::NonZeroUsize;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nodeseal::Store;
use nodeseal::seal::LogId as SealedId;
use nodeseal::store::Change;
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{
    AnyError, LogId, OptionalSend, RaftLogId, RaftLogReader, RaftTypeConfig, StorageError,
    StorageIOError, Vote,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::disk::Disk;
use crate::kept::Kept;
use crate::settings::Settings;
use crate::snapshot::Snapshots;
use crate::writer::{Done, Job, Make, Writer};
use crate::{id, read, stream};

/// openraft's log and vote in a [`Store`]. Clones are handles on the same one.
///
/// The threads that use the disk end when the last handle is dropped, after what was sent to them;
/// the store's lock is free after that.
pub struct LogStore<C: RaftTypeConfig> {
    reader: LogReader<C>,
    writer: Arc<Writer>,
    settings: Settings,
    /// A vote was saved since the store was opened.
    voted: Arc<AtomicBool>,
}

/// Reads entries; any number of them, at the same time.
pub struct LogReader<C: RaftTypeConfig> {
    disk: Arc<Disk>,
    limit: NonZeroUsize,
    /// Up to where openraft purged the log, also what still waits for a snapshot.
    purged: Arc<Mutex<Option<LogId<C::NodeId>>>>,
}

impl<C: RaftTypeConfig> LogStore<C> {
    /// Takes a store that only openraft uses, and whose snapshots are [`LogStore::snapshots`]: without
    /// them nothing is ever purged.
    ///
    /// # Errors
    ///
    /// Returns an error if the system starts no thread, or if the store holds another engine's vote.
    pub fn new(store: Store) -> io::Result<Self> {
        Self::with(store, Settings::new())
    }

    /// Like [`LogStore::new`], with other settings.
    ///
    /// # Errors
    ///
    /// As [`LogStore::new`].
    pub fn with(store: Store, settings: Settings) -> io::Result<Self> {
        let purged = Kept::<C>::of(&store).map_err(io::Error::other)?.purged;
        let writer = Arc::new(Writer::new(store.clone())?);
        let reader = LogReader {
            disk: Arc::new(Disk::new(store)?),
            limit: settings.read_limit,
            purged: Arc::new(Mutex::new(purged)),
        };
        Ok(Self { reader, writer, settings, voted: Arc::default() })
    }

    /// Returns the state machine's snapshots, in the store of this log.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(Arc::clone(&self.reader.disk), Arc::clone(&self.writer))
    }
}

impl<C> LogReader<C>
where
    C: RaftTypeConfig,
    C::Entry: DeserializeOwned,
{
    /// Returns the entries of `from..end` that the log holds, up to `limit` bytes of them, but at
    /// least one.
    async fn read(
        &self,
        from: u64,
        end: u64,
        limit: Option<NonZeroUsize>,
    ) -> Result<Vec<C::Entry>, AnyError> {
        let from = from.max(self.purged().map_or(0, |id| id.index.saturating_add(1)));
        let read = self.disk.run(move |store| read::entries(store, from, end, limit));
        read.await.map_err(|e| AnyError::new(&e))?.map_err(|e| AnyError::new(&e))
    }
}

impl<C: RaftTypeConfig> LogReader<C> {
    fn purged(&self) -> Option<LogId<C::NodeId>> {
        self.purged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn purge(&self, to: &LogId<C::NodeId>) {
        let mut purged = self.purged.lock().unwrap_or_else(PoisonError::into_inner);
        if purged.as_ref().is_none_or(|before| before.index < to.index) {
            *purged = Some(to.clone());
        }
    }
}

impl<C> RaftLogReader<C> for LogReader<C>
where
    C: RaftTypeConfig,
    C::Entry: DeserializeOwned,
{
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<C::Entry>, StorageError<C::NodeId>> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        Ok(self.read(from, end, None).await.map_err(StorageIOError::read_logs)?)
    }

    /// Returns nothing if the log no longer holds `start`: the node led once, and its log was replaced
    /// or purged since. openraft then sends a heartbeat and learns that the node no longer leads. An
    /// error would stop the node, and entries from another index would leave a hole in a follower.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<C::Entry>, StorageError<C::NodeId>> {
        let entries = self.read(start, end, Some(self.limit)).await;
        let mut entries = entries.map_err(StorageIOError::read_logs)?;
        if entries.first().is_some_and(|first| first.get_log_id().index != start) {
            entries.clear();
        }
        Ok(entries)
    }
}

impl<C> RaftLogReader<C> for LogStore<C>
where
    C: RaftTypeConfig,
    C::Entry: DeserializeOwned,
{
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<C::Entry>, StorageError<C::NodeId>> {
        self.reader.try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<C::Entry>, StorageError<C::NodeId>> {
        self.reader.limited_get_log_entries(start, end).await
    }
}

impl<C> RaftLogStorage<C> for LogStore<C>
where
    C: RaftTypeConfig,
    C::Entry: Serialize + DeserializeOwned,
{
    type LogReader = LogReader<C>;

    async fn get_log_state(&mut self) -> Result<LogState<C>, StorageError<C::NodeId>> {
        let last_purged_log_id = self.reader.purged();
        let next = last_purged_log_id.as_ref().map_or(0, |id| id.index.saturating_add(1));
        let last = self.reader.disk.store().state().last.index.max(next);
        let entry = self.reader.read(last, last.saturating_add(1), None).await;
        let entry = entry.map_err(StorageIOError::read_logs)?.pop();
        let last_log_id = entry.map(|entry| entry.get_log_id().clone());
        let last_log_id = last_log_id.or_else(|| last_purged_log_id.clone());
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<C::NodeId>) -> Result<(), StorageError<C::NodeId>> {
        let vote = vote.clone();
        let kept = Kept::<C>::edit(|kept, _, _| kept.vote = Some(vote));
        self.voted.store(true, Ordering::Release);
        let saved = self.writer.write_durably(kept, false).await;
        Ok(saved.map_err(|e| StorageIOError::write_vote(&e))?)
    }

    /// Returns a vote from before a restart as one that no quorum has granted yet. With the vote of a
    /// leader, openraft would let the node lead on in its term without an election, and answer reads
    /// as of the last entry that it remembers to be committed: others may have been acknowledged.
    async fn read_vote(&mut self) -> Result<Option<Vote<C::NodeId>>, StorageError<C::NodeId>> {
        let kept = Kept::<C>::of(self.reader.disk.store()).map_err(StorageIOError::read_vote)?;
        let voted = self.voted.load(Ordering::Acquire);
        Ok(kept.vote.map(|vote| Vote { committed: vote.committed && voted, ..vote }))
    }

    /// Written in its order, and durable with the next fsync that something else needs: openraft can
    /// do without the last ones.
    async fn save_committed(
        &mut self,
        committed: Option<LogId<C::NodeId>>,
    ) -> Result<(), StorageError<C::NodeId>> {
        let sealed = committed.as_ref().map(id::<C>).transpose().map_err(StorageIOError::write)?;
        let make = Kept::<C>::edit(move |kept, change, store| {
            kept.committed = committed;
            // openraft may save it again after it was purged, when the store knows already.
            if let Some(id) = sealed.filter(|id| store.id_at(id.index) == Some(*id)) {
                change.committed(id);
            }
        });
        let job = Job { make, extends: false, done: None };
        Ok(self.writer.write(job).await.map_err(|e| StorageIOError::write(&e))?)
    }

    async fn read_committed(
        &mut self,
    ) -> Result<Option<LogId<C::NodeId>>, StorageError<C::NodeId>> {
        Ok(Kept::<C>::of(self.reader.disk.store()).map_err(StorageIOError::read)?.committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<C>,
    ) -> Result<(), StorageError<C::NodeId>>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut change = Change::new();
        for entry in entries {
            let place = id::<C>(entry.get_log_id()).map_err(StorageIOError::write_logs)?;
            let pushed = change
                .try_push(place, |out| postcard::to_io(&entry, out).map(drop).map_err(stream));
            pushed.map_err(|e| StorageIOError::write_logs(&e))?;
        }
        let done: Done = Box::new(|durable: Result<(), nodeseal::Error>| {
            callback.log_io_completed(durable.map_err(io::Error::other));
        });
        let job = Job { make: Box::new(|_| Ok(change)), extends: true, done: Some(done) };
        Ok(self.writer.write(job).await.map_err(|e| StorageIOError::write_logs(&e))?)
    }

    async fn truncate(&mut self, log_id: LogId<C::NodeId>) -> Result<(), StorageError<C::NodeId>> {
        let mut change = Change::new();
        change.truncate(log_id.index);
        let written = self.writer.write_durably(Box::new(|_| Ok(change)), true).await;
        Ok(written.map_err(|e| StorageIOError::write_logs(&e))?)
    }

    /// Does not wait for a snapshot: a purge that comes before the snapshot that covers it is noted, and
    /// done once that is installed. Until then the entries are hidden; after a crash they are there.
    async fn purge(&mut self, log_id: LogId<C::NodeId>) -> Result<(), StorageError<C::NodeId>> {
        let to = id::<C>(&log_id).map_err(StorageIOError::write_logs)?;
        self.reader.purge(&log_id);
        let here = self.settings.snapshots_here;
        let make: Make = Kept::<C>::edit(move |kept, change, store| {
            if kept.purged.as_ref().is_none_or(|before| before.index < log_id.index) {
                kept.purged = Some(log_id);
            }
            if here {
                change.purge(to);
            } else {
                purge_elsewhere(change, store, to);
            }
        });
        let purged = if here {
            self.writer.purge(to, make).await
        } else {
            self.writer.write_durably(make, false).await
        };
        Ok(purged.map_err(|e| StorageIOError::write_logs(&e))?)
    }
}

impl<C: RaftTypeConfig> Clone for LogReader<C> {
    fn clone(&self) -> Self {
        Self { disk: Arc::clone(&self.disk), limit: self.limit, purged: Arc::clone(&self.purged) }
    }
}

impl<C: RaftTypeConfig> Clone for LogStore<C> {
    fn clone(&self) -> Self {
        let settings = self.settings.clone();
        let (writer, voted) = (Arc::clone(&self.writer), Arc::clone(&self.voted));
        Self { reader: self.reader.clone(), writer, settings, voted }
    }
}

/// Purges a log whose snapshots are kept elsewhere. openraft purges what a snapshot covers, which is
/// committed.
fn purge_elsewhere(change: &mut Change, store: &Store, to: SealedId) {
    let state = store.state();
    match store.id_at(to.index) {
        Some(held) if held == to => change.committed(to).purge(to),
        // What follows another leader's entry is not in the snapshot's log.
        Some(_) => change.truncate(to.index).restart_after(to),
        None if to.index > state.last.index || state.last == SealedId::START => {
            change.restart_after(to)
        }
        // It was purged already, or comes before the first entry that there ever was.
        None => change,
    };
}
