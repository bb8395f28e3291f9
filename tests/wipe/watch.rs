//! The allocator, and the scenarios that run under its eyes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A part of a secret this long is enough to find it, in bytes.
const WINDOW: usize = 8;
const MAX_WINDOWS: usize = 64;
/// From this size on a block, Argon2's memory, must be all zeros, in bytes.
const LARGE: usize = 4 << 20;

thread_local! {
    /// Only the thread of a scenario is watched: the library starts none.
    static WATCHING: Cell<bool> = const { Cell::new(false) };
}

static WINDOWS: [AtomicU64; MAX_WINDOWS] = [const { AtomicU64::new(0) }; MAX_WINDOWS];
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Which bytes a window begins with: most positions of a block are passed over at one look.
static BEGINS: [AtomicBool; 256] = [const { AtomicBool::new(false) }; 256];
/// Which windows were found in a block that was released.
static FOUND: AtomicU64 = AtomicU64::new(0);
static LARGE_DIRTY: AtomicUsize = AtomicUsize::new(0);
static LARGE_SEEN: AtomicUsize = AtomicUsize::new(0);

/// Blocks that were allocated while the watch was on, and not yet released: address and length.
#[cfg(feature = "cluster")]
static LIVE: [(AtomicUsize, AtomicUsize); 1 << 12] =
    [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; 1 << 12];

#[cfg(feature = "cluster")]
static REGISTERING: AtomicBool = AtomicBool::new(false);
/// There was no room for a block.
#[cfg(feature = "cluster")]
static LOST: AtomicBool = AtomicBool::new(false);

/// Puts `block` into the place of `old`; a block of no address is no block.
#[cfg(feature = "cluster")]
fn register(old: usize, block: usize, len: usize) {
    if !WATCHING.with(Cell::get) || !REGISTERING.load(Ordering::Relaxed) {
        return;
    }
    match LIVE.iter().find(|(at, _)| at.load(Ordering::Relaxed) == old) {
        Some((at, size)) => {
            at.store(block, Ordering::Relaxed);
            size.store(len, Ordering::Relaxed);
        }
        // A block from before the watch is none of ours.
        None => {
            LOST.fetch_or(old == 0, Ordering::Relaxed);
        }
    }
}

struct Watching;

// SAFETY: every block comes from and goes to the system's allocator with its own layout. The
// provided `realloc` moves through `alloc` and `dealloc`, so that an old block is looked at too.
// Looking neither allocates nor unwinds.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, so that every byte that is looked at was written.
        // SAFETY: the caller's promises are the ones that `System` asks for.
        let block = unsafe { System.alloc_zeroed(layout) };
        #[cfg(feature = "cluster")]
        register(0, block.expose_provenance(), layout.size());
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if WATCHING.with(Cell::get) {
            // SAFETY: the block has this size, is initialized and is no longer used by its owner.
            look(unsafe { core::slice::from_raw_parts(block, layout.size()) });
            #[cfg(feature = "cluster")]
            register(block.addr(), 0, 0);
        }
        // SAFETY: as above; `block` came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn look(block: &[u8]) {
    if block.len() >= LARGE {
        LARGE_SEEN.fetch_add(1, Ordering::Relaxed);
        let (words, rest) = block.as_chunks::<8>();
        if words.iter().any(|word| *word != [0; 8]) || rest.iter().any(|byte| *byte != 0) {
            LARGE_DIRTY.fetch_add(1, Ordering::Relaxed);
        }
        return;
    }
    let count = COUNT.load(Ordering::Relaxed);
    for at in 0..(block.len() + 1).saturating_sub(WINDOW) {
        if !BEGINS[usize::from(block[at])].load(Ordering::Relaxed) {
            continue;
        }
        if let Some(bytes) = block[at..].first_chunk::<WINDOW>() {
            let here = u64::from_le_bytes(*bytes);
            for (index, window) in WINDOWS[..count].iter().enumerate() {
                if window.load(Ordering::Relaxed) == here {
                    FOUND.fetch_or(1 << index, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Makes its scenarios wait for each other: there is one allocator.
static ONE: Mutex<()> = Mutex::new(());

/// What was released unwiped while `run` ran, by name. Each secret is at least 8 bytes long, and
/// two of its windows are looked for: where it begins and where it ends.
fn leaks<'a>(secrets: &[(&'a str, &[u8])], run: impl FnOnce()) -> Vec<&'a str> {
    watched(secrets, run).0
}

/// The same, and how many large blocks were released.
fn watched<'a>(secrets: &[(&'a str, &[u8])], run: impl FnOnce()) -> (Vec<&'a str>, usize) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut names = Vec::new();
    for (name, secret) in secrets {
        for window in [secret.first_chunk::<WINDOW>(), secret.last_chunk::<WINDOW>()] {
            let window = window.unwrap();
            assert!(*window != [0; WINDOW], "{name} cannot be told from wiped memory");
            WINDOWS[names.len()].store(u64::from_le_bytes(*window), Ordering::Relaxed);
            BEGINS[usize::from(window[0])].store(true, Ordering::Relaxed);
            names.push(*name);
        }
    }
    FOUND.store(0, Ordering::Relaxed);
    LARGE_DIRTY.store(0, Ordering::Relaxed);
    LARGE_SEEN.store(0, Ordering::Relaxed);
    COUNT.store(names.len(), Ordering::Relaxed);
    WATCHING.with(|watching| watching.set(true));
    run();
    WATCHING.with(|watching| watching.set(false));
    BEGINS.iter().for_each(|begins| begins.store(false, Ordering::Relaxed));
    let found = FOUND.load(Ordering::Relaxed);
    let mut found: Vec<&str> =
        names.iter().enumerate().filter(|(i, _)| found >> i & 1 == 1).map(|(_, n)| *n).collect();
    if LARGE_DIRTY.load(Ordering::Relaxed) != 0 {
        found.push("a large block");
    }
    found.dedup();
    (found, LARGE_SEEN.load(Ordering::Relaxed))
}

/// What is in memory that `make` allocated and that is alive when it is done, by name; and what it
/// made.
#[cfg(feature = "cluster")]
pub(crate) fn live<'a, T>(
    secrets: &[(&'a str, &[u8])],
    make: impl FnOnce() -> T,
) -> (Vec<&'a str>, T) {
    LIVE.iter().for_each(|(at, _)| at.store(0, Ordering::Relaxed));
    LOST.store(false, Ordering::Relaxed);
    let mut found = Vec::new();
    let mut made = None;
    leaks(&[], || {
        REGISTERING.store(true, Ordering::Relaxed);
        made = Some(make());
        REGISTERING.store(false, Ordering::Relaxed);
    });
    assert!(!LOST.load(Ordering::Relaxed), "more blocks than can be watched");
    for (at, size) in &LIVE {
        let (at, size) = (at.load(Ordering::Relaxed), size.load(Ordering::Relaxed));
        if at != 0 {
            let block = core::ptr::with_exposed_provenance::<u8>(at);
            // SAFETY: the block was allocated with this size, zeroed, and was not released.
            let block = unsafe { core::slice::from_raw_parts(block, size) };
            let has = |part: &[u8]| block.windows(part.len()).any(|window| window == part);
            for (name, secret) in secrets {
                let ends = [secret.first_chunk::<WINDOW>(), secret.last_chunk::<WINDOW>()];
                if ends.into_iter().flatten().any(|part| has(part)) && !found.contains(name) {
                    found.push(*name);
                }
            }
        }
    }
    (found, made.unwrap())
}

/// Asserts that nothing of `secrets` is released unwiped by `run`, and gives how many large blocks
/// it released.
pub(crate) fn wiped(scenario: &str, secrets: &[(&str, &[u8])], run: impl FnOnce()) -> usize {
    let (found, large) = watched(secrets, run);
    assert!(found.is_empty(), "{scenario}: released unwiped: {found:?}");
    large
}

#[test]
fn it_bites() {
    let secret = *b"a secret of the watch's own test";
    let named: [(&str, &[u8]); 1] = [("it", &secret)];
    assert_eq!(leaks(&named, || drop(black_box(secret.to_vec()))), ["it"], "a vector");
    assert_eq!(leaks(&named, || drop(black_box(Box::new(secret)))), ["it"], "a box");
    let grown = leaks(&named, || {
        let mut bytes = secret[..16].to_vec();
        bytes.shrink_to_fit();
        // The block that becomes too small is released as it is.
        bytes.reserve_exact(100);
        black_box(&mut bytes).fill(0);
    });
    assert_eq!(grown, ["it"], "a vector that grew");
    let part = leaks(&named, || {
        let mut bytes = black_box(secret.to_vec());
        bytes[..24].fill(0);
    });
    assert_eq!(part, ["it"], "a part of it");
    let other = leaks(&named, || {
        let mut bytes = black_box(secret.to_vec());
        black_box(&mut bytes).fill(0);
        drop(black_box(vec![7; 1000]));
    });
    assert!(other.is_empty(), "{other:?}");
    assert_eq!(leaks(&named, || drop(black_box(vec![1_u8; LARGE]))), ["a large block"]);
    assert!(leaks(&named, || drop(black_box(vec![0_u8; LARGE]))).is_empty());
}
