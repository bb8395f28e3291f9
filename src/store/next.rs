//! The next segment's file: made, filled with zeros and synced before it is needed, so that the
//! append at a segment's end does not wait for the disk to find room.
//!
//! A thread of the store's own does so once the segment in use is half full. If it is late, the
//! append makes the file itself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::error::{Error, Result};
use crate::fs::{self, File, Fs};

/// How much is written between two looks at whether the store was closed, in bytes.
const PIECE: u64 = 1 << 20;

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
    process: u32,
}

/// Where the thread and the writer meet.
struct Place {
    fs: Arc<dyn Fs>,
    temp: PathBuf,
    size: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unwanted,
    Wanted,
    Ready(Prepared),
    Closed,
}

impl Next {
    /// For segments of `size` bytes in `dir`, with a thread or without.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system gives no thread.
    pub(super) fn new(fs: Arc<dyn Fs>, dir: &Path, size: u64, thread: bool) -> Result<Self> {
        let temp = dir.join("next.tmp");
        let (state, changed) = (Mutex::default(), Condvar::new());
        let place = Arc::new(Place { fs, temp, size, state, changed });
        let run = || {
            let place = Arc::clone(&place);
            let named = thread::Builder::new().name("nodeseal-segment".to_owned());
            let spawned = named.spawn(move || place.serve());
            spawned.map_err(|e| Error::io("begin a thread for", dir, e))
        };
        let thread = thread.then(run).transpose()?;
        Ok(Self { place, thread, process: std::process::id() })
    }

    /// Has a file made, if none is there and a thread can make it.
    pub(super) fn want(&self) {
        let mut state = self.place.state();
        if self.thread.is_some() && matches!(*state, State::Unwanted) {
            *state = State::Wanted;
            drop(state);
            self.place.changed.notify_one();
        }
    }

    /// The file, if it is ready.
    pub(super) fn take(&self) -> Option<Prepared> {
        let mut state = self.place.state();
        match core::mem::take(&mut *state) {
            State::Ready(prepared) => Some(prepared),
            other => {
                *state = other;
                None
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_ready(&self) -> bool {
        matches!(*self.place.state(), State::Ready(_))
    }

    /// Makes the file now, as the thread would.
    #[cfg(test)]
    pub(super) fn prepare(&self) -> Result<()> {
        *self.place.state() = State::Ready(self.place.make()?);
        Ok(())
    }
}

impl Place {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes files when they are wanted, until the store is closed.
    fn serve(&self) {
        let mut state = self.state();
        loop {
            match *state {
                State::Closed => return,
                State::Wanted => {}
                State::Unwanted | State::Ready(_) => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            }
            drop(state);
            // What keeps it from being made, the append that needs the file will meet and tell.
            let made = self.make();
            state = self.state();
            match (made, &*state) {
                (Ok(prepared), State::Wanted) => *state = State::Ready(prepared),
                (Err(_), State::Wanted) => *state = State::Unwanted,
                _ => {}
            }
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
        while allocated < self.size && !matches!(*self.state(), State::Closed) {
            allocated = self.size.min(allocated + PIECE);
            file.allocate(allocated).map_err(|e| Error::io("allocate", temp, e))?;
            file.sync().map_err(|e| Error::io("sync", temp, e))?;
        }
        Ok(Prepared { file, temp: temp.clone(), allocated })
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        let before = core::mem::replace(&mut *self.place.state(), State::Closed);
        self.place.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && self.process == std::process::id()
        {
            // The folder's lock is released after this: nothing is written without it.
            let _ = thread.join();
            // If this fails, the next opening removes it.
            if !matches!(before, State::Unwanted) {
                let _ = self.place.fs.remove(&self.place.temp);
            }
        }
    }
}
