//! Measuring: implementations in turn, medians.

use std::hint::black_box;
use std::time::{Duration, Instant};

use nodeseal::hazmat;
use nodeseal_peers::{KEY_LEN, NONCE_LEN, Peer, Records, TAG_LEN, batches, on, peers};

/// Lengths of the records, in bytes.
pub(crate) const SIZES: [usize; 7] = [64, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20, 16 << 20];
/// Lengths of the records in batches.
const BATCHED: &[usize] = &[64, 256, 1 << 10, 4 << 10];
/// Records in a batch.
const BATCH: usize = 32;
/// Samples of each figure.
const ROUNDS: usize = 9;
/// How long one sample takes at least, unless one call is longer.
const SAMPLE: Duration = Duration::from_millis(10);

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    Seal,
    Open,
    BatchSeal,
    BatchOpen,
}

/// One figure.
#[derive(Clone)]
pub(crate) struct Figure {
    pub(crate) path: Path,
    pub(crate) name: &'static str,
    pub(crate) kernel: Option<&'static str>,
    pub(crate) size: usize,
    /// Nanoseconds a record.
    pub(crate) ns: f64,
}

impl Path {
    pub(crate) const ALL: [Self; 4] = [Self::Seal, Self::Open, Self::BatchSeal, Self::BatchOpen];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Open => "open",
            Self::BatchSeal => "batch-seal",
            Self::BatchOpen => "batch-open",
        }
    }

    const fn opens(self) -> bool {
        matches!(self, Self::Open | Self::BatchOpen)
    }

    /// Where the nonce comes from, how many records a call takes, and of which lengths.
    pub(crate) const fn setting(self) -> (&'static str, usize, &'static [usize]) {
        match self {
            Self::Seal | Self::Open => ("given", 1, &SIZES),
            Self::BatchSeal | Self::BatchOpen => ("random", BATCH, BATCHED),
        }
    }

    /// The implementations, each with what it seals and opens.
    fn cases(self, size: usize) -> Vec<Box<dyn Case>> {
        let (_, count, _) = self.setting();
        if count == 1 {
            let bench = |peer| Box::new(Bench::new(peer, size)) as Box<dyn Case>;
            peers(&[1; KEY_LEN]).into_iter().map(bench).collect()
        } else {
            batches(count, size).into_iter().map(|batch| Box::new(batch) as Box<dyn Case>).collect()
        }
    }
}

/// What one implementation seals and opens again and again.
trait Case {
    fn name(&self) -> &'static str;
    fn kernel(&self) -> Option<&'static str>;
    fn in_place(&self) -> bool;
    fn copy(&mut self);
    fn seal(&mut self);
    fn open(&mut self) -> bool;
}

impl Case for Box<dyn Records> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn kernel(&self) -> Option<&'static str> {
        (**self).kernel()
    }

    fn in_place(&self) -> bool {
        (**self).in_place()
    }

    fn copy(&mut self) {
        black_box(&mut **self).restore();
    }

    fn seal(&mut self) {
        black_box(&mut **self).seal();
    }

    fn open(&mut self) -> bool {
        black_box(&mut **self).open()
    }
}

/// A record, with a nonce that is given.
struct Bench {
    peer: Box<dyn Peer>,
    nonce: [u8; NONCE_LEN],
    tag: [u8; TAG_LEN],
    plain: Vec<u8>,
    sealed: Vec<u8>,
    target: Vec<u8>,
}

impl Bench {
    fn new(peer: Box<dyn Peer>, size: usize) -> Self {
        let (nonce, plain) = ([9; NONCE_LEN], vec![7; size]);
        let mut sealed = plain.clone();
        let tag = peer.seal(&nonce, &plain, &mut sealed);
        Self { peer, nonce, tag, target: plain.clone(), plain, sealed }
    }
}

impl Case for Bench {
    fn name(&self) -> &'static str {
        self.peer.name()
    }

    fn kernel(&self) -> Option<&'static str> {
        self.peer.kernel()
    }

    fn in_place(&self) -> bool {
        self.peer.in_place()
    }

    fn copy(&mut self) {
        self.target.copy_from_slice(black_box(&self.sealed));
        black_box(&mut self.target);
    }

    fn seal(&mut self) {
        let nonce = black_box(&self.nonce);
        black_box(self.peer.seal(nonce, black_box(&self.plain), &mut self.target));
        black_box(&mut self.target);
    }

    fn open(&mut self) -> bool {
        let (nonce, sealed) = (black_box(&self.nonce), black_box(&self.sealed));
        let open = self.peer.open(nonce, black_box(&self.tag), sealed, &mut self.target);
        black_box(&mut self.target);
        open
    }
}

fn call(case: &mut dyn Case, path: Path) {
    if path.opens() {
        if case.in_place() {
            case.copy();
        }
        assert!(case.open(), "{} does not open its own record", case.name());
    } else {
        case.seal();
    }
}

/// How often a call must be repeated to fill a sample.
fn calibrate(case: &mut dyn Case, path: Path) -> u32 {
    let mut calls = 1;
    while calls < 1 << 24 && time(calls, || call(case, path)) < SAMPLE.as_secs_f64() * 1e9 {
        calls *= 2;
    }
    calls
}

/// One sample: nanoseconds a call.
fn sample(case: &mut dyn Case, path: Path, calls: u32) -> f64 {
    let kernel = case.kernel().unwrap_or(hazmat::kernel());
    // Chosen once for all calls: for each of them it would be part of what is measured.
    let all = on(kernel, || time(calls, || call(case, path)));
    let copied = path.opens() && case.in_place();
    let copies = if copied { time(calls, || case.copy()) } else { 0.0 };
    (all - copies) / f64::from(calls)
}

/// Nanoseconds that `calls` calls take.
fn time(calls: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        call();
    }
    start.elapsed().as_secs_f64() * 1e9
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The median of every implementation at one size, in their order.
pub(crate) fn measure(path: Path, size: usize) -> Vec<Figure> {
    let mut cases = path.cases(size);
    let calls: Vec<_> = cases.iter_mut().map(|case| calibrate(&mut **case, path)).collect();
    let mut samples = vec![Vec::new(); cases.len()];
    for round in 0..ROUNDS {
        for turn in 0..cases.len() {
            let who = (round + turn) % cases.len();
            samples[who].push(sample(&mut *cases[who], path, calls[who]));
        }
    }
    let (_, batch, _) = path.setting();
    let records = f64::from(u32::try_from(batch).expect("a batch is small"));
    let figure = |(case, samples): (&Box<dyn Case>, _)| Figure {
        path,
        name: case.name(),
        kernel: case.kernel(),
        size,
        ns: median(samples) / records,
    };
    cases.iter().zip(samples).map(figure).collect()
}
