//! Two threads: one writes changes in the order in which they come, the other makes them durable and
//! says so. While one fsync runs, what is written waits for the next, together.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use nodeseal::store::{Change, Pending};
use nodeseal::{Error, Store};
use tokio::sync::oneshot;

/// What is called once a change is durable, or was not written.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;
/// Makes a change of what the store holds by then.
pub(crate) type Make = Box<dyn FnOnce(&Store) -> Result<Change, Error> + Send>;

struct Job {
    make: Make,
    /// Told when the change can be read.
    written: oneshot::Sender<Result<(), String>>,
    done: Done,
}

/// The threads of a store. They end when it is dropped, after what was sent to them.
pub(crate) struct Writer {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn new(store: Store) -> io::Result<Self> {
        let (jobs, received) = channel();
        let (pending, written) = channel();
        let threads = [
            Builder::new().name("raft-write".to_owned()).spawn(|| write(store, received, pending)),
            Builder::new().name("raft-sync".to_owned()).spawn(|| sync(written)),
        ];
        let threads = threads.into_iter().collect::<io::Result<_>>()?;
        Ok(Self { jobs: Some(jobs), threads })
    }

    /// Writes a change; it can be read when this returns, and `done` is called once it is durable.
    pub(crate) async fn write(&self, make: Make, done: Done) -> io::Result<()> {
        let (written, told) = oneshot::channel();
        let gone = || io::Error::other("the writer has ended");
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(Job { make, written, done }).map_err(|_| gone())?;
        told.await.map_err(|_| gone())?.map_err(io::Error::other)
    }

    /// Writes a change and waits until it is durable.
    pub(crate) async fn write_durably(&self, make: Make) -> io::Result<()> {
        let (durable, told) = oneshot::channel();
        let done = Box::new(|result| drop(durable.send(result)));
        self.write(make, done).await?;
        let told = told.await.map_err(|_| io::Error::other("the writer has ended"))?;
        told.map_err(io::Error::other)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        for thread in self.threads.drain(..) {
            // One that panicked has told its callers: they lost their channel.
            let _ = thread.join();
        }
    }
}

fn write(store: Store, jobs: Receiver<Job>, pending: Sender<(Pending, Done)>) {
    for Job { make, written, done } in jobs {
        match make(&store).and_then(|change| store.write(change)) {
            Ok(written_now) => {
                let _ = written.send(Ok(()));
                if let Err(unsent) = pending.send((written_now, done)) {
                    (unsent.0.1)(Err(Error::Poisoned));
                }
            }
            Err(error) => {
                let _ = written.send(Err(error.to_string()));
                done(Err(error));
            }
        }
    }
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
