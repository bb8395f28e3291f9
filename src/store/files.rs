//! Open segments, a few at a time: a log has any number of them, and a process few descriptors.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Inner;
use super::index::Place;
use crate::error::{Error, Result};
use crate::fs::File;

/// How many segments are held open to be read.
const HELD: usize = 16;

/// The segments that were read last, in that order.
#[derive(Debug, Default)]
pub(super) struct Files(Mutex<Vec<(Place, Arc<dyn File>)>>);

impl Files {
    fn held(&self) -> MutexGuard<'_, Vec<(Place, Arc<dyn File>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, place: Place) -> Option<Arc<dyn File>> {
        let mut held = self.held();
        let at = held.iter().rposition(|(other, _)| *other == place)?;
        let last = held.len() - 1;
        held.swap(at, last);
        held.last().map(|(_, file)| Arc::clone(file))
    }

    /// Holds a file that was opened elsewhere.
    pub(super) fn put(&self, place: Place, file: Arc<dyn File>) {
        let mut held = self.held();
        if held.len() == HELD {
            held.remove(0);
        }
        held.push((place, file));
    }

    /// Closes a segment that is gone or was replaced; readers may hold it a little longer.
    pub(super) fn forget(&self, segment: u32) {
        self.held().retain(|(place, _)| place.segment != segment);
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.held().len()
    }
}

impl Inner {
    /// Opens a segment; `None` if another file has its name by now, or it is gone.
    pub(super) fn open_segment(&self, place: Place, path: &Path) -> Result<Option<Arc<dyn File>>> {
        if let Some(file) = self.files.get(place) {
            return Ok(Some(file));
        }
        let opened = self.fs.open_read(path);
        // Looked at after the opening: the file that has the name then is the one that is named here.
        if self.index().place(place.segment) != Some(place) {
            return Ok(None);
        }
        let file: Arc<dyn File> = opened.map_err(|e| Error::io("open", path, e))?.into();
        self.files.put(place, Arc::clone(&file));
        Ok(Some(file))
    }
}
