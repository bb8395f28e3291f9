//! How much memory the commands on a manager's folder take: counted, in a test binary of its own.
//!
//! A log is read an entry at a time, however long it is. A snapshot is one sealed record, so that its
//! content is held whole, and once more as it is taken apart or put together.
//!
//! With `NODESEAL_LONG` in the environment, best in an optimized build, at Swarm's own sizes: a log of
//! over 64 MB in two segments, and a snapshot of over 60 MB. Then time is told beside that of copying
//! log and snapshots durably. On two cores, of a log of 66 MB: 3 MiB at once (`export` 13), and 0.4 to
//! 2.3 times the copying's time; of a snapshot of 66 MB: 125 MiB, and 0.4 to 2.7 times (a change is
//! planned and made).
#![cfg(all(feature = "swarm", target_os = "linux"))]
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "the helpers belong to the tests")]

#[path = "support/capture.rs"]
mod capture;
#[path = "support/segment.rs"]
mod segment;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use capture::Capture;
use nodeseal::swarm::{self, Attestation, Change, KeyFile, Manager, Salvage, State};
use nodeseal::{Rekey, UnlockKey, hazmat};
use segment::{CRC, ENTRY, Frame, STATE, only, put_varint, varint};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it is; the counting neither allocates nor
// unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promises are the ones that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above; `block` came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `run` holds at once, in bytes, and how long it takes.
fn measured(run: impl FnOnce()) -> (usize, Duration) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let begun = Instant::now();
    run();
    (PEAK.load(Ordering::Relaxed).saturating_sub(before), begun.elapsed())
}

struct Size {
    segment: usize,
    payload: usize,
    /// How many entries.
    count: u64,
    /// Over how many secrets.
    secrets: u64,
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    put_varint(&mut field, u64::try_from(bytes.len()).unwrap());
    field.extend_from_slice(bytes);
    field
}

fn uint(number: u8, value: u64) -> Vec<u8> {
    let mut field = vec![number << 3];
    put_varint(&mut field, value);
    field
}

/// The request that creates or updates a secret.
fn request(n: u64, size: &Size) -> Vec<u8> {
    let id = n % size.secrets;
    let payload = vec![u8::try_from(n % 251).unwrap(); size.payload];
    let spec = [field(1, &field(1, format!("large{id}").as_bytes())), field(2, &payload)].concat();
    let meta = field(2, &field(1, &uint(1, n)));
    let secret = [field(1, format!("id{id:023}").as_bytes()), meta, field(3, &spec)].concat();
    let action = if n < size.secrets { 1 } else { 2 };
    field(2, &[uint(1, action), field(7, &secret)].concat())
}

/// A manager of three with a long log: entries on top of those of a genuine one.
struct Made {
    capture: Capture,
    /// Length of the log, in bytes.
    log: u64,
}

impl Made {
    fn new(size: &Size) -> Self {
        let capture = Capture::unpack("three-managers-m1");
        let text = fs::read(capture.dir().join("certificates/swarm-node.key")).unwrap();
        let keys = KeyFile::parse(&text).unwrap().unlock(capture.key().as_ref()).unwrap();
        let dek = keys.current.unwrap();
        let path = only(&capture.dir());
        let mut frames = segment::frames(&path);
        let metadata = frames[1].clone();
        let last = frames.iter().rfind(|frame| frame.kind == ENTRY).unwrap();
        let (mut index, term) = (last.index(), varint(&last.data, 3).0);
        let state = frames.iter().rfind(|frame| frame.kind == STATE).unwrap().clone();
        let commit_at = varint(&state.data, varint(&state.data, 1).1 + 1).1;
        let frame = |kind, data| Frame { kind, range: 0..0, crc: 0, data };
        let state = |commit| {
            let data = [&state.data[..commit_at], &uint(3, commit)[..]].concat();
            frame(STATE, data)
        };
        let (mut log, mut chain, mut sequence, mut first) = (0, 0, 0, 0);
        let mut put = |frames: &[Frame], first: u64| {
            let (bytes, end) = segment::encode(frames, chain);
            let name = format!("{sequence:016x}-{first:016x}.wal");
            segment::replace(&path.with_file_name(name), &bytes);
            (chain, sequence) = (end, sequence + 1);
            log += u64::try_from(bytes.len()).unwrap();
        };
        let mut held = 0;
        for n in 0..size.count {
            let mut data = request(n, size);
            let nonce = core::array::from_fn(|at| u8::try_from(n >> (8 * (at % 8)) & 255).unwrap());
            let tag = hazmat::secretbox_seal(&dek, &nonce, &mut data);
            let sealed = [uint(1, 1), field(2, &[&tag[..], &data].concat()), field(3, &nonce)];
            index += 1;
            let head = [uint(1, 0), uint(2, term), uint(3, index)].concat();
            frames.push(frame(ENTRY, [head, field(4, &sealed.concat())].concat()));
            held += size.payload;
            if held >= size.segment {
                put(&frames, first);
                frames = vec![frame(CRC, Vec::new()), metadata.clone(), state(index)];
                (held, first) = (0, index + 1);
            }
        }
        frames.push(state(index));
        put(&frames, first);
        let made = Self { capture, log };
        let state = State::read(made.dir(), made.capture.key().as_ref()).unwrap();
        assert!(state.is_complete(), "{:?}", state.findings);
        made
    }

    fn dir(&self) -> PathBuf {
        self.capture.dir()
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.dir().parent().unwrap().join(name)
    }

    /// Length of the largest file in a folder beside this one, or in it.
    fn largest(&self, name: &str) -> u64 {
        let found = fs::read_dir(self.beside(name)).unwrap();
        found.map(|one| one.unwrap().metadata().unwrap().len()).max().unwrap()
    }

    fn change(&self, change: Change<'_>) {
        let manager = Manager::open(self.dir(), self.capture.key().as_ref()).unwrap();
        manager.plan(change).unwrap();
        manager.apply(change, &mut |_| {}).unwrap();
    }

    /// Everything that is done with a folder; what changes it comes last.
    fn each(&self, mut measure: impl FnMut(&str, &mut dyn FnMut(&Path, Option<&UnlockKey>))) {
        let to = |name: &str| self.beside(name);
        let mut attestation = String::new();
        measure("doctor", &mut |dir, key| assert!(swarm::doctor(dir, key).unwrap().is_well()));
        measure("attest", &mut |dir, key| {
            attestation = swarm::attest(dir, key).unwrap().to_text();
        });
        measure("verify", &mut |dir, key| {
            let attestation = Attestation::parse(attestation.as_bytes()).unwrap();
            assert!(swarm::verify(dir, key, &attestation).unwrap().is_intact());
        });
        measure("salvage", &mut |dir, key| {
            Salvage::read(dir, key).unwrap().write(to("saved")).unwrap();
        });
        measure("redact, planned", &mut |dir, key| {
            swarm::plan_redact(dir, to("redacted"), key).unwrap();
        });
        measure("redact", &mut |dir, key| {
            swarm::redact(dir, to("redacted"), key).unwrap();
        });
        measure("export, planned", &mut |dir, key| {
            swarm::plan_export(dir, to("native"), key).unwrap();
        });
        measure("export", &mut |dir, key| {
            swarm::export(dir, to("native"), key).unwrap();
        });
        measure("import, planned", &mut |_, key| {
            swarm::plan_import(to("native"), to("back"), key).unwrap();
        });
        measure("import", &mut |_, key| {
            swarm::import(to("native"), to("back"), key).unwrap();
        });
        measure("rotate-dek", &mut |_, _| self.change(Change::RotateDek));
        measure("force-new-cluster", &mut |_, _| self.change(Change::ForceNewCluster));
        let new = UnlockKey::generate().unwrap();
        measure("rotate-unlock-key", &mut |_, _| {
            self.change(Change::RotateUnlockKey { new: &new, rekey: Rekey::NewDek });
        });
    }
}

/// How long it takes to copy log and snapshots, durably.
fn copying(dir: &Path) -> Duration {
    let to = tempfile::tempdir_in(dir.parent().unwrap()).unwrap();
    let begun = Instant::now();
    for part in ["raft/wal-v3-encrypted", "raft/snap-v3-encrypted"] {
        for entry in fs::read_dir(dir.join(part)).unwrap().map(Result::unwrap) {
            // Not `fs::copy`, which may share the blocks.
            let mut copy = fs::File::create(to.path().join(entry.file_name())).unwrap();
            copy.write_all(&fs::read(entry.path()).unwrap()).unwrap();
            copy.sync_all().unwrap();
        }
    }
    begun.elapsed()
}

fn long() -> bool {
    std::env::var_os("NODESEAL_LONG").is_some()
}

/// Measures everything, and holds it to `bound` bytes.
fn hold(made: &Made, what: &str, bytes: u64, bound: impl Fn(&str) -> u64) {
    let copied = long().then(|| copying(&made.dir()));
    made.each(|name, run| {
        let (peak, taken) = measured(|| run(&made.dir(), made.capture.key().as_ref()));
        if let Some(copied) = copied {
            let ratio = taken.as_secs_f64() / copied.as_secs_f64();
            let (mib, size) = (peak >> 20, bytes >> 20);
            println!(
                "{what} of {size} MiB, {name}: {taken:.2?}, {ratio:.1} of copying it; {mib} MiB"
            );
        }
        let (peak, bound) = (u64::try_from(peak).unwrap(), bound(name));
        assert!(peak < bound, "{what} of {bytes} bytes, {name}: {peak} at once, not {bound}");
    });
}

#[test]
fn memory_follows_the_state_and_not_the_log() {
    // Few secrets that change often: the log is long, the state small.
    let size = match long() {
        true => Size { segment: 64_000_000, payload: 500_000, count: 132, secrets: 4 },
        false => Size { segment: 3 << 20, payload: 100_000, count: 240, secrets: 4 },
    };
    let made = Made::new(&size);
    let segments = fs::read_dir(made.dir().join("raft/wal-v3-encrypted")).unwrap().count();
    assert!(segments >= 2);
    let some = 16 * u64::try_from(size.payload).unwrap();
    hold(&made, "a log", made.log, |name| match name {
        // The store writes a mebibyte of entries at once, and holds it in several forms.
        "export" => some + (12 << 20),
        // What it would write anew: a segment of the store.
        "import, planned" => some + made.largest("native/raft"),
        _ => some,
    });

    // Many: rotated, the folder has a snapshot with all of them.
    let count = size.count / if long() { 1 } else { 2 };
    let made = Made::new(&Size { secrets: count, count, ..size });
    made.change(Change::RotateDek);
    let snapshot = made.largest("swarm/raft/snap-v3-encrypted");
    hold(&made, "a snapshot", snapshot, |_| 2 * snapshot + (1 << 20));
}
