//! Two threads: one writes changes in the order in which they come, the other makes them durable and
//! reports it. While one fsync runs, what is written waits for the next, together.
//!
//! openraft purges the log up to a received snapshot before that snapshot is installed. Such a purge
//! waits here for the snapshot: a crash in between must not leave a log without its beginning.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;

use nodeseal::seal::LogId;
use nodeseal::store::{Change, Pending};
use nodeseal::{Error, Store};
use tokio::sync::oneshot;

/// Called once a change is durable, or was not written.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;
/// Makes a change out of what the store holds by then.
pub(crate) type Make = Box<dyn FnOnce(&Store) -> Result<Change, Error> + Send>;

/// A change to write.
pub(crate) struct Job {
    pub(crate) make: Make,
    /// It appends or truncates, and so comes after a purge that waits.
    pub(crate) extends: bool,
    /// Without it, the change is durable with the next one that has it.
    pub(crate) done: Option<Done>,
}

/// Reports when a change can be read.
type Written = oneshot::Sender<Result<(), String>>;

enum Message {
    Write(Job, Written),
    /// A purge up to an entry that a snapshot in this store must cover.
    Purge(LogId, Job, Written),
    /// A snapshot came, or will not; the error of the one that was to be installed.
    Snapshot(Result<(), String>),
}

/// The threads of a store. They end when it is dropped, after what was sent to them.
pub(crate) struct Writer {
    messages: Sender<Message>,
    coming: Arc<AtomicUsize>,
}

/// A snapshot on its way in: a purge that waits may still be covered by it.
pub(crate) struct Coming {
    messages: Sender<Message>,
    coming: Arc<AtomicUsize>,
}

impl Writer {
    pub(crate) fn new(store: Store) -> io::Result<Self> {
        let (messages, received) = channel();
        let (pending, written) = channel();
        let coming = Arc::new(AtomicUsize::new(0));
        let log = Log {
            store,
            pending,
            coming: Arc::clone(&coming),
            purge: None,
            lost: None,
            held: VecDeque::new(),
        };
        Builder::new().name("raft-write".to_owned()).spawn(|| log.run(received))?;
        Builder::new().name("raft-sync".to_owned()).spawn(|| sync(written))?;
        Ok(Self { messages, coming })
    }

    /// Writes a change; it can be read when this returns.
    pub(crate) async fn write(&self, job: Job) -> io::Result<()> {
        let (written, told) = oneshot::channel();
        self.messages.send(Message::Write(job, written)).map_err(|_| ended())?;
        told.await.map_err(|_| ended())?.map_err(io::Error::other)
    }

    /// Writes a change and waits until it is durable.
    pub(crate) async fn write_durably(&self, make: Make, extends: bool) -> io::Result<()> {
        let (durable, told) = oneshot::channel();
        let done: Done = Box::new(|result| drop(durable.send(result)));
        self.write(Job { make, extends, done: Some(done) }).await?;
        told.await.map_err(|_| ended())?.map_err(io::Error::other)
    }

    /// Purges up to `to` once a snapshot covers it. Returns when that is durable, or at once if the
    /// snapshot is still to come.
    pub(crate) async fn purge(&self, to: LogId, make: Make) -> io::Result<()> {
        let (durable, purged) = oneshot::channel();
        let done: Done = Box::new(|result| drop(durable.send(result)));
        let (written, told) = oneshot::channel();
        let job = Job { make, extends: false, done: Some(done) };
        self.messages.send(Message::Purge(to, job, written)).map_err(|_| ended())?;
        told.await.map_err(|_| ended())?.map_err(io::Error::other)?;
        purged.await.map_err(|_| ended())?.map_err(io::Error::other)
    }

    pub(crate) fn coming(&self) -> Coming {
        self.coming.fetch_add(1, Ordering::AcqRel);
        Coming { messages: self.messages.clone(), coming: Arc::clone(&self.coming) }
    }
}

impl Coming {
    /// Reports a failure to a purge that waits. It sees a success itself.
    pub(crate) fn installed<T>(&self, outcome: &Result<T, Error>) {
        if let Err(error) = outcome {
            // The threads may have ended.
            let _ = self.messages.send(Message::Snapshot(Err(error.to_string())));
        }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.coming.fetch_sub(1, Ordering::AcqRel);
        let _ = self.messages.send(Message::Snapshot(Ok(())));
    }
}

/// The state of the writing thread.
struct Log {
    store: Store,
    pending: Sender<(Pending, Done)>,
    coming: Arc<AtomicUsize>,
    /// The purge that waits for its snapshot.
    purge: Option<(LogId, Make)>,
    /// Why the snapshot that it waits for does not come.
    lost: Option<String>,
    /// Changes that wait for that purge.
    held: VecDeque<(Job, Written)>,
}

impl Log {
    fn run(mut self, messages: Receiver<Message>) {
        for message in messages {
            match message {
                Message::Write(job, written) if self.must_wait(&job) => {
                    self.held.push_back((job, written));
                    self.settle();
                }
                Message::Write(job, written) => self.write(job, written),
                Message::Purge(to, job, written) if !covered(&self.store, to) => {
                    (self.purge, self.lost) = (Some((to, job.make)), None);
                    let _ = written.send(Ok(()));
                    if let Some(done) = job.done {
                        done(Ok(()));
                    }
                }
                Message::Purge(_, job, written) => {
                    self.purge = None;
                    self.write(job, written);
                }
                Message::Snapshot(outcome) => {
                    self.lost = outcome.err().or(self.lost.take());
                    self.settle();
                }
            }
        }
    }

    /// The log ends before the purge that waits, so that nothing can be appended yet.
    fn must_wait(&self, job: &Job) -> bool {
        let apart = |(to, _): &(LogId, Make)| self.store.id_at(to.index) != Some(*to);
        !self.held.is_empty() || (job.extends && self.purge.as_ref().is_some_and(apart))
    }

    /// Does the purge that waits, if a snapshot covers it now. The changes that wait for it continue, or
    /// fail if no snapshot can come any more.
    fn settle(&mut self) {
        let ready = |(to, _): &mut (LogId, Make)| covered(&self.store, *to);
        if let Some((_, make)) = self.purge.take_if(ready) {
            let (written, _) = oneshot::channel();
            // Nobody waits for it. If it fails, what it was to make room for fails too.
            self.write(Job { make, extends: false, done: Some(Box::new(drop)) }, written);
        }
        let Some((to, _)) = &self.purge else {
            for (job, written) in core::mem::take(&mut self.held) {
                self.write(job, written);
            }
            return;
        };
        let lost = match &self.lost {
            Some(error) => error.clone(),
            None if self.coming.load(Ordering::Acquire) > 0 => return,
            None => format!("the log was purged up to {}, and no snapshot covers that", to.index),
        };
        for (job, written) in self.held.drain(..) {
            let _ = written.send(Err(lost.clone()));
            if let Some(done) = job.done {
                done(Err(Error::Stream(io::Error::other(lost.clone()))));
            }
        }
    }

    fn write(&self, Job { make, done, .. }: Job, written: Written) {
        match make(&self.store).and_then(|change| self.store.write(change)) {
            Ok(now) => {
                let _ = written.send(Ok(()));
                if let Some(Err(unsent)) = done.map(|done| self.pending.send((now, done))) {
                    (unsent.0.1)(Err(Error::Poisoned));
                }
            }
            Err(error) => {
                let _ = written.send(Err(error.to_string()));
                if let Some(done) = done {
                    done(Err(error));
                }
            }
        }
    }
}

/// Reports whether the store's snapshot covers the entry.
fn covered(store: &Store, to: LogId) -> bool {
    store.snapshot_at().is_some_and(|at| at.index >= to.index)
}

fn sync(pending: Receiver<(Pending, Done)>) {
    while let Ok(first) = pending.recv() {
        let mut group = vec![first];
        group.extend(pending.try_iter());
        // The first wait makes all of them durable that are written; the others find it done.
        for (pending, done) in group {
            done(pending.wait());
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread that writes the log has ended")
}
