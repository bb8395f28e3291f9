//! A file system on which a test decides what becomes of a sync, and sees what runs at once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Condvar;
use std::time::Duration;

use super::*;
use crate::fs::{File, FileId, Fs, Lock};

/// What a test does when a file or directory is about to be synced.
type Hook = Box<dyn Fn(&Path) -> io::Result<()> + Send + Sync>;

/// Passes everything on to a [`SimFs`].
#[derive(Clone)]
pub(super) struct Gate {
    disk: SimFs,
    shared: Arc<Shared>,
}

struct Shared {
    hook: Hook,
    /// How many syncs of each file run now, and the most that ever did.
    running: Mutex<BTreeMap<FileId, (usize, usize)>>,
}

impl Gate {
    pub(super) fn new(
        disk: &SimFs,
        hook: impl Fn(&Path) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared { hook: Box::new(hook), running: Mutex::default() };
        Self { disk: disk.clone(), shared: Arc::new(shared) }
    }

    pub(super) fn place(&self) -> Location {
        Location::on(Arc::new(self.clone()), "/raft")
    }

    /// The most syncs of one file that ever ran at once.
    pub(super) fn most_at_once(&self) -> usize {
        let running = self.shared.running.lock().unwrap();
        running.values().map(|(_, most)| *most).max().unwrap_or(0)
    }

    fn file(&self, path: &Path, file: Box<dyn File>) -> Box<dyn File> {
        Box::new(GatedFile { file, path: path.to_owned(), gate: self.clone() })
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Fs for Gate {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.disk.create_new(path).map(|file| self.file(path, file))
    }
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.disk.open_read(path).map(|file| self.file(path, file))
    }
    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.disk.open_write(path).map(|file| self.file(path, file))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        (self.shared.hook)(dir)?;
        self.disk.sync_dir(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.disk.list(dir)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.try_lock(path)
    }
    fn id_of(&self, path: &Path) -> io::Result<Option<FileId>> {
        self.disk.id_of(path)
    }
}

#[derive(Debug)]
struct GatedFile {
    file: Box<dyn File>,
    path: PathBuf,
    gate: Gate,
}

impl File for GatedFile {
    fn id(&self) -> io::Result<Option<FileId>> {
        self.file.id()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        let id = self.file.id()?.unwrap();
        let shared = &self.gate.shared;
        let count =
            |by: fn(&mut (usize, usize))| by(shared.running.lock().unwrap().entry(id).or_default());
        count(|(now, most)| {
            *now += 1;
            *most = (*most).max(*now);
        });
        let hooked = (shared.hook)(&self.path);
        let synced = hooked.and_then(|()| self.file.sync());
        count(|(now, _)| *now -= 1);
        synced
    }
}

/// A door that is shut until somebody opens it, and tells when one stands before it.
#[derive(Default)]
pub(super) struct Door {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Door {
    /// Waits until the door is open.
    pub(super) fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 = true;
        self.changed.notify_all();
        while !state.0 {
            state = self.changed.wait(state).unwrap();
        }
    }

    /// Waits until somebody waits at the door.
    pub(super) fn knocked(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.1 {
            let (next, waited) = self.changed.wait_timeout(state, Duration::from_secs(60)).unwrap();
            assert!(!waited.timed_out(), "nobody came");
            state = next;
        }
    }

    pub(super) fn open(&self) {
        self.state.lock().unwrap().0 = true;
        self.changed.notify_all();
    }
}

/// Runs `call` on a thread of its own, and fails if it does not return.
pub(super) fn returns<T: Send + 'static>(
    what: &str,
    call: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(call()));
    told.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{what} does not return"))
}
