use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::sync::Arc;

use nodeseal::Store;
use nodeseal::seal::{Era, LogId as SealedId};
use nodeseal::store::Change;
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{
    AnyError, LogId, OptionalSend, RaftLogId, RaftLogReader, RaftTypeConfig, StorageError,
    StorageIOError, Vote,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::writer::{Make, Writer};
use crate::{encode, id};

/// What the store keeps as its vote: all that openraft wants to have back beside entries. The ids
/// are here whole; the store knows their eras alone.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Kept<C: RaftTypeConfig> {
    vote: Option<Vote<C::NodeId>>,
    committed: Option<LogId<C::NodeId>>,
    purged: Option<LogId<C::NodeId>>,
}

/// openraft's log and vote in a [`Store`]. Clones are handles on the same one.
pub struct LogStore<C> {
    reader: LogReader<C>,
    writer: Arc<Writer>,
}

/// Reads entries; any number of them, at the same time.
pub struct LogReader<C> {
    store: Store,
    config: PhantomData<C>,
}

impl<C: RaftTypeConfig> LogStore<C> {
    /// Takes a store that is openraft's alone.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub fn new(store: Store) -> io::Result<Self> {
        let writer = Arc::new(Writer::new(store.clone())?);
        Ok(Self { reader: LogReader { store, config: PhantomData }, writer })
    }

    /// A change of what is kept as the vote.
    fn keep(edit: impl FnOnce(&mut Kept<C>, &mut Change) + Send + 'static) -> Make {
        Box::new(|store| {
            let mut kept = Kept::<C>::of(store).map_err(stream)?;
            let mut change = Change::new();
            edit(&mut kept, &mut change);
            change.vote(&encode(&kept).map_err(stream)?);
            Ok(change)
        })
    }
}

impl<C: RaftTypeConfig> Kept<C> {
    fn of(store: &Store) -> Result<Self, AnyError> {
        let vote = store.state().vote;
        if vote.is_empty() {
            return Ok(Self { vote: None, committed: None, purged: None });
        }
        postcard::from_bytes(&vote).map_err(|e| AnyError::new(&e))
    }
}

impl<C> LogReader<C>
where
    C: RaftTypeConfig,
    C::Entry: DeserializeOwned,
{
    fn read(&self, range: impl RangeBounds<u64>) -> Result<Vec<C::Entry>, AnyError> {
        let mut entries = Vec::new();
        let read = self.store.read(range, |_, plain| {
            let entry = postcard::from_bytes(plain);
            entries.push(entry.map_err(|e| nodeseal::Error::Stream(io::Error::other(e)))?);
            Ok::<(), nodeseal::Error>(())
        });
        read.map_err(|e| AnyError::new(&e))?;
        Ok(entries)
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
        Ok(self.read(range).map_err(StorageIOError::read_logs)?)
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
}

impl<C> RaftLogStorage<C> for LogStore<C>
where
    C: RaftTypeConfig,
    C::Entry: Serialize + DeserializeOwned,
{
    type LogReader = LogReader<C>;

    async fn get_log_state(&mut self) -> Result<LogState<C>, StorageError<C::NodeId>> {
        let store = &self.reader.store;
        let state = store.state();
        let last_purged_log_id = Kept::<C>::of(store).map_err(StorageIOError::read)?.purged;
        let last = state.last.index;
        let entry = if store.id_at(last).is_some() {
            self.reader.read(last..=last).map_err(StorageIOError::read_logs)?.pop()
        } else {
            None
        };
        let last_log_id = entry.map(|entry| entry.get_log_id().clone());
        let last_log_id = last_log_id.or_else(|| last_purged_log_id.clone());
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<C::NodeId>) -> Result<(), StorageError<C::NodeId>> {
        let vote = vote.clone();
        let kept = Self::keep(|kept, _| kept.vote = Some(vote));
        let saved = self.writer.write_durably(kept).await;
        Ok(saved.map_err(|e| StorageIOError::write_vote(&e))?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<C::NodeId>>, StorageError<C::NodeId>> {
        Ok(Kept::<C>::of(&self.reader.store).map_err(StorageIOError::read_vote)?.vote)
    }

    /// Written in its turn, and durable with the next fsync: openraft does without the last ones.
    async fn save_committed(
        &mut self,
        committed: Option<LogId<C::NodeId>>,
    ) -> Result<(), StorageError<C::NodeId>> {
        let sealed = committed.as_ref().map(id::<C>).transpose().map_err(StorageIOError::write)?;
        let kept = Self::keep(move |kept, change| {
            kept.committed = committed;
            sealed.map(|id| change.committed(id));
        });
        let written = self.writer.write(kept, Box::new(drop)).await;
        Ok(written.map_err(|e| StorageIOError::write(&e))?)
    }

    async fn read_committed(
        &mut self,
    ) -> Result<Option<LogId<C::NodeId>>, StorageError<C::NodeId>> {
        Ok(Kept::<C>::of(&self.reader.store).map_err(StorageIOError::read)?.committed)
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
        let mut first = None;
        let purged = self.reader.store.state().purged;
        for entry in entries {
            // Covered by a snapshot already; openraft's suite writes some of those again.
            if purged != SealedId::START && entry.get_log_id().index <= purged.index {
                continue;
            }
            first.get_or_insert(entry.get_log_id().index);
            let place = id::<C>(entry.get_log_id()).map_err(StorageIOError::write_logs)?;
            let pushed = change.try_push(place, |out| {
                let written = postcard::to_io(&entry, out);
                written.map(drop).map_err(|e| nodeseal::Error::Stream(io::Error::other(e)))
            });
            pushed.map_err(|e| StorageIOError::write_logs(&e))?;
        }
        let done = |durable: Result<(), nodeseal::Error>| {
            callback.log_io_completed(durable.map_err(io::Error::other));
        };
        let make: Make = Box::new(move |store| {
            first.map_or(Ok(()), |first| close_hole(store, first))?;
            Ok(change)
        });
        let written = self.writer.write(make, Box::new(done)).await;
        Ok(written.map_err(|e| StorageIOError::write_logs(&e))?)
    }

    async fn truncate(&mut self, log_id: LogId<C::NodeId>) -> Result<(), StorageError<C::NodeId>> {
        let mut change = Change::new();
        change.truncate(log_id.index);
        let written = self.writer.write_durably(Box::new(|_| Ok(change))).await;
        Ok(written.map_err(|e| StorageIOError::write_logs(&e))?)
    }

    async fn purge(&mut self, log_id: LogId<C::NodeId>) -> Result<(), StorageError<C::NodeId>> {
        let sealed = id::<C>(&log_id).map_err(StorageIOError::write_logs)?;
        let kept = Self::keep(move |kept, change| {
            kept.purged = Some(log_id);
            change.purge(sealed);
        });
        let written = self.writer.write_durably(kept).await;
        Ok(written.map_err(|e| StorageIOError::write_logs(&e))?)
    }
}

/// Lets entries begin at `first`. openraft leaves no hole in a running log, but its suite begins logs
/// anywhere: what stands before the hole goes, as if a snapshot covered it.
fn close_hole(store: &Store, first: u64) -> Result<(), nodeseal::Error> {
    let last = store.state().last;
    let follows = if last == SealedId::START { first <= 1 } else { first <= last.index + 1 };
    if !follows {
        let mut change = Change::new();
        change.purge(SealedId::new(first - 1, Era::NONE));
        // Durable with what follows.
        let _pending = store.write(change)?;
    }
    Ok(())
}

fn stream(error: AnyError) -> nodeseal::Error {
    nodeseal::Error::Stream(io::Error::other(error))
}

impl<C> Clone for LogReader<C> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), config: PhantomData }
    }
}

impl<C> Clone for LogStore<C> {
    fn clone(&self) -> Self {
        Self { reader: self.reader.clone(), writer: Arc::clone(&self.writer) }
    }
}
