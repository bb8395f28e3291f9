//! How far long work has come, seen where it reads and writes its files.

use core::fmt;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nodeseal::fs::{File, FileId, Fs, Lock, RealFs};

use crate::args::State;

/// How often a line is shown on a terminal, and elsewhere if asked to.
const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(1);

/// Work on a folder, and its file system.
pub(crate) struct Work {
    fs: Arc<dyn Fs>,
    meter: Option<Arc<Meter>>,
}

/// Shows progress at a bounded rate.
struct Meter {
    terminal: bool,
    shown: Mutex<Shown>,
}

struct Shown {
    out: Box<dyn Write + Send>,
    last: Instant,
    /// There is a line on the terminal that the next one replaces.
    open: bool,
}

impl Work {
    /// Shows its progress if standard error is a terminal, or if asked to.
    pub(crate) fn new(state: &State) -> Self {
        let terminal = io::stderr().is_terminal();
        if !terminal && !state.progress {
            return Self { fs: Arc::new(RealFs::default()), meter: None };
        }
        let meter = Arc::new(Meter::new(terminal, Box::new(io::stderr())));
        let fs = Watched { fs: RealFs::default(), meter: Arc::clone(&meter) };
        Self { fs: Arc::new(fs), meter: Some(meter) }
    }

    pub(crate) const fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// Says what begins.
    pub(crate) fn phase(&self, what: &str) {
        if let Some(meter) = &self.meter {
            meter.phase(what);
        }
    }

    /// Takes the last line away, before anything else is said.
    pub(crate) fn end(self) {
        drop(self);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.meter.iter().for_each(|meter| meter.clear());
    }
}

impl Meter {
    fn new(terminal: bool, out: Box<dyn Write + Send>) -> Self {
        // Work that is soon done shows nothing.
        let shown = Shown { out, last: Instant::now(), open: false };
        Self { terminal, shown: Mutex::new(shown) }
    }

    fn phase(&self, what: &str) {
        self.clear();
        let Ok(mut shown) = self.shown.lock() else { return };
        let _ = writeln!(shown.out, "nodeseal: {what} …");
    }

    /// Whoever comes while another shows something does not wait.
    fn moved(&self, verb: &str, path: &Path, done: u64, total: Option<u64>) {
        let Ok(mut shown) = self.shown.try_lock() else { return };
        let every = if self.terminal { ON_TERMINAL } else { ELSEWHERE };
        if shown.last.elapsed() < every {
            return;
        }
        let line = line(verb, path, done, total);
        // That it cannot be shown is no reason to stop.
        let _ = if self.terminal {
            write!(shown.out, "\r\x1b[K{line}").and_then(|()| shown.out.flush())
        } else {
            writeln!(shown.out, "{line}")
        };
        (shown.last, shown.open) = (Instant::now(), self.terminal);
    }

    fn clear(&self) {
        let Ok(mut shown) = self.shown.lock() else { return };
        if shown.open {
            let _ = write!(shown.out, "\r\x1b[K").and_then(|()| shown.out.flush());
        }
        shown.open = false;
    }
}

fn line(verb: &str, path: &Path, done: u64, total: Option<u64>) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mib = |bytes: u64| format!("{}.{}", bytes >> 20, ((bytes & ((1 << 20) - 1)) * 10) >> 20);
    match total {
        Some(total) => {
            format!("nodeseal: {verb} {name}: {} of {} MiB", mib(done), mib(total))
        }
        None => format!("nodeseal: {verb} {name}: {} MiB", mib(done)),
    }
}

/// The real file system, its reading and writing shown.
#[derive(Debug)]
struct Watched {
    fs: RealFs,
    meter: Arc<Meter>,
}

#[derive(Debug)]
struct WatchedFile {
    file: Box<dyn File>,
    name: PathBuf,
    meter: Arc<Meter>,
}

impl Watched {
    fn watch(&self, path: &Path, file: Box<dyn File>) -> Box<dyn File> {
        Box::new(WatchedFile { file, name: path.to_owned(), meter: Arc::clone(&self.meter) })
    }
}

impl Fs for Watched {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.fs.create_new(path).map(|file| self.watch(path, file))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.fs.open_read(path).map(|file| self.watch(path, file))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.fs.open_write(path).map(|file| self.watch(path, file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.fs.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.sync_dir(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.create_dir(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.remove_dir(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.fs.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.fs.list(dir)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.fs.try_lock(path)
    }

    fn try_lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.fs.try_lock_shared(path)
    }

    fn id_of(&self, path: &Path) -> io::Result<Option<FileId>> {
        self.fs.id_of(path)
    }

    fn try_lock_open(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.fs.try_lock_open(path)
    }
}

fn end(offset: u64, len: usize) -> u64 {
    offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX))
}

impl File for WatchedFile {
    fn id(&self) -> io::Result<Option<FileId>> {
        self.file.id()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(buf, offset)?;
        self.meter.moved("reading", &self.name, end(offset, read), self.file.len().ok());
        Ok(read)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)?;
        self.meter.moved("writing", &self.name, end(offset, buf.len()), None);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown, kept.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().map_err(|_| io::Error::other("poisoned"))?.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
        }
    }

    /// A file of 3 MiB read through the meter, a mebibyte at a time; `wait` says before which of
    /// these it is time for another line.
    fn shown(terminal: bool, wait: [bool; 3]) -> String {
        let kept = Kept::default();
        let meter = Arc::new(Meter::new(terminal, Box::new(kept.clone())));
        let fs = Watched { fs: RealFs::default(), meter: Arc::clone(&meter) };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.wal");
        fs.create_new(&path).unwrap().set_len(3 << 20).unwrap();
        let file = fs.open_read(&path).unwrap();
        let mut block = vec![0; 1 << 20];
        meter.phase("reading");
        for (n, wait) in (0_u64..).zip(wait) {
            if wait {
                meter.shown.lock().unwrap().last -= 2 * ELSEWHERE;
            }
            assert_eq!(file.read_at(&mut block, n << 20).unwrap(), 1 << 20);
        }
        meter.clear();
        kept.text()
    }

    #[test]
    fn lines_come_at_a_bounded_rate_and_go_from_a_terminal() {
        assert_eq!(shown(true, [false; 3]), "nodeseal: reading …\n");
        let line = |n: u8| format!("nodeseal: reading 0.wal: {n}.0 of 3.0 MiB");
        let (one, three) = (line(1), line(3));
        assert_eq!(
            shown(true, [true, false, true]),
            format!("nodeseal: reading …\n\r\x1b[K{one}\r\x1b[K{three}\r\x1b[K")
        );
        assert_eq!(
            shown(false, [true, false, true]),
            format!("nodeseal: reading …\n{one}\n{three}\n")
        );
    }

    #[test]
    fn a_line_names_the_file_and_how_far_it_is() {
        let path = Path::new("/some/where/0.wal");
        let part = line("reading", path, (3 << 20) + (1 << 19), Some(64 << 20));
        assert_eq!(part, "nodeseal: reading 0.wal: 3.5 of 64.0 MiB");
        assert_eq!(line("writing", path, 0, None), "nodeseal: writing 0.wal: 0.0 MiB");
    }
}
