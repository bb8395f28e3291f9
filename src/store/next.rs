//! The next segment's file: made, filled with zeros and synced before it is needed, so that the
//! append at a segment's end does not wait for the disk to find room.
//!
//! A thread of the store's own does so once the segment in use is half full. If it is late, the
//! append makes the file itself. On a disk that gets full the file goes: what is appended now needs
//! its room more.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::Inner;
use crate::error::{Error, Misuse, Result};
use crate::fs::{self, File, Fs};
use crate::process::Process;

/// How much is written between two looks at whether the store was closed, in bytes.
const PIECE: u64 = 1 << 20;
/// The file's temporary name.
const FILE: &str = "store.next.tmp";

/// A file of zeros, under a temporary name.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) file: Arc<dyn File>,
    pub(super) temp: PathBuf,
    pub(super) allocated: u64,
}

pub(super) struct Next {
    place: Arc<Place>,
    thread: Option<JoinHandle<()>>,
    /// The process that has the thread: a forked child does not.
    process: Process,
}

/// Where the thread and the writer meet.
struct Place {
    fs: Arc<dyn Fs>,
    temp: PathBuf,
    size: u64,
    shared: Mutex<Shared>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Shared {
    state: State,
    /// The thread is at the file.
    busy: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unwanted,
    Wanted,
    Ready(Prepared),
    /// There was no room: not tried again before the segment in use has ended.
    Refused,
    Closed,
}

impl Next {
    /// For segments of `size` bytes in `dir`, with a thread or without.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system gives no thread.
    pub(super) fn new(fs: Arc<dyn Fs>, dir: &Path, size: u64, thread: bool) -> Result<Self> {
        let temp = dir.join(FILE);
        let (shared, changed) = (Mutex::default(), Condvar::new());
        let place = Arc::new(Place { fs, temp, size, shared, changed });
        let run = || {
            let place = Arc::clone(&place);
            let named = thread::Builder::new().name("nodeseal-segment".to_owned());
            let spawned = named.spawn(move || place.serve());
            spawned.map_err(|e| Error::io("begin a thread for", dir, e))
        };
        let thread = thread.then(run).transpose()?;
        Ok(Self { place, thread, process: Process::current() })
    }

    /// Has a file made, if none is there and a thread can make it.
    pub(super) fn want(&self) {
        let mut shared = self.place.shared();
        if self.thread.is_some() && matches!(shared.state, State::Unwanted) {
            shared.state = State::Wanted;
            drop(shared);
            self.place.changed.notify_all();
        }
    }

    /// The file, if it is ready.
    pub(super) fn take(&self) -> Option<Prepared> {
        let mut shared = self.place.shared();
        match core::mem::take(&mut shared.state) {
            State::Ready(prepared) => Some(prepared),
            State::Refused => None,
            other => {
                shared.state = other;
                None
            }
        }
    }

    /// Gives the room of the file back, also of one that is being made; `false`: there was none.
    pub(super) fn give_back(&self) -> bool {
        let mut shared = self.place.shared();
        match core::mem::replace(&mut shared.state, State::Refused) {
            State::Ready(_) => {}
            State::Wanted => {
                while shared.busy {
                    let waited = self.place.changed.wait(shared);
                    shared = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
            other => {
                shared.state = other;
                return false;
            }
        }
        drop(shared);
        // If it fails, the append finds as little room as before.
        let _ = self.place.fs.remove(&self.place.temp);
        true
    }

    #[cfg(test)]
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.place.shared().state, State::Ready(_))
    }

    /// Makes the file now, as the thread would.
    #[cfg(test)]
    pub(super) fn prepare(&self) -> Result<()> {
        self.place.shared().state = State::Wanted;
        let made = self.place.make()?;
        self.place.shared().state = State::Ready(made);
        Ok(())
    }
}

impl Inner {
    pub(super) fn want_next(&self) {
        if let Some(next) = &self.next {
            next.want();
        }
    }

    pub(super) fn take_next(&self) -> Option<Prepared> {
        self.next.as_ref()?.take()
    }

    /// As [`Next::give_back`].
    pub(super) fn give_back(&self) -> bool {
        self.next.as_ref().is_some_and(Next::give_back)
    }
}

impl Place {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes files when they are wanted, until the store is closed.
    fn serve(&self) {
        let mut shared = self.shared();
        loop {
            match shared.state {
                State::Closed => return,
                State::Wanted => {}
                State::Unwanted | State::Ready(_) | State::Refused => {
                    shared = self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            }
            shared.busy = true;
            drop(shared);
            // What keeps it from being made, the append that needs the file will meet and report.
            let made = self.make();
            shared = self.shared();
            shared.busy = false;
            match (made, &shared.state) {
                (Ok(prepared), State::Wanted) => shared.state = State::Ready(prepared),
                (Err(_), State::Wanted) => shared.state = State::Refused,
                _ => {}
            }
            self.changed.notify_all();
        }
    }

    fn make(&self) -> Result<Prepared> {
        let filled = self.fill();
        if filled.is_err() {
            // Gives a full disk its room back.
            let _ = self.fs.remove(&self.temp);
        }
        filled
    }

    fn fill(&self) -> Result<Prepared> {
        let (fs, temp) = (&*self.fs, &self.temp);
        fs::remove_if_there(fs, temp)?;
        let file: Arc<dyn File> =
            fs.create_new(temp).map_err(|e| Error::io("create", temp, e))?.into();
        let mut allocated = 0;
        while allocated < self.size {
            if !matches!(self.shared().state, State::Wanted) {
                return Err(Misuse::State("a file that nobody wants any more").into());
            }
            allocated = self.size.min(allocated + PIECE);
            file.allocate(allocated).map_err(|e| Error::io("allocate", temp, e))?;
            file.sync().map_err(|e| Error::io("sync", temp, e))?;
        }
        Ok(Prepared { file, temp: temp.clone(), allocated })
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        // In a forked child the file is the parent's, and the state may be locked for good.
        if !self.process.is_current() {
            return;
        }
        let before = core::mem::replace(&mut self.place.shared().state, State::Closed);
        self.place.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // The directory's lock is released after this: nothing is written without it.
            let _ = thread.join();
            // If this fails, the next opening removes it.
            if !matches!(before, State::Unwanted | State::Refused) {
                let _ = self.place.fs.remove(&self.place.temp);
            }
        }
    }
}
