//! Threads for everything that waits for the disk, so that no worker of the async runtime does.
//!
//! They are the adapter's own: their number has a bound, they serve any async runtime, and a handle
//! can be dropped anywhere.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

use nodeseal::Store;
use tokio::sync::oneshot;

/// Enough for one snapshot that is built and one that is installed, which take long, and for reads
/// beside them.
const THREADS: usize = 4;

type Job = Box<dyn FnOnce(&Store) + Send>;

/// A store and the threads that use it. They end when this is dropped, after the jobs that were sent
/// to them; the last handle on the store, which closes its files, is theirs.
pub(crate) struct Disk {
    // Dropped before the sender, without which the threads end.
    store: Store,
    jobs: Sender<Job>,
}

impl Disk {
    pub(crate) fn new(store: Store) -> io::Result<Self> {
        let (jobs, received) = channel();
        let received = Arc::new(Mutex::new(received));
        for _ in 0..THREADS {
            let (received, store) = (Arc::clone(&received), store.clone());
            // Detached: whoever drops the last handle may be a worker of the runtime.
            Builder::new().name("raft-disk".to_owned()).spawn(move || work(&received, &store))?;
        }
        Ok(Self { store, jobs })
    }

    /// The store, for calls that do not wait for the disk.
    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// Starts a job. The sender of its result is dropped if the job panics.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        // A result that nobody waits for any more is dropped here, on the thread of the job.
        self.send(Box::new(move |store| drop(sender.send(job(store)))));
        receiver
    }

    /// Runs a job. A caller that gives up does not stop it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> io::Result<T> {
        self.start(job).await.map_err(|_| panicked())
    }

    /// Drops something whose files are closed or removed with it.
    pub(crate) fn dispose<T: Send + 'static>(&self, thing: T) {
        self.send(Box::new(move |_| drop(thing)));
    }

    fn send(&self, job: Job) {
        // The threads outlive the sender, since no job can end one.
        let _ = self.jobs.send(job);
    }
}

pub(crate) fn panicked() -> io::Error {
    io::Error::other("the thread that used the disk panicked")
}

fn work(received: &Mutex<Receiver<Job>>, store: &Store) {
    loop {
        let next = received.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // The caller finds its channel closed.
        let _ = catch_unwind(AssertUnwindSafe(|| job(store)));
    }
}
