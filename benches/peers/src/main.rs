//! Times sealing and opening one record, nonce given, against the peers.
//!
//! One process, one thread; at each size the implementations take turns, so that whatever else the
//! machine does hits all of them. A figure is the median over the rounds. Where an implementation
//! opens in place it is given a fresh copy of the record each time, and the time of the copy,
//! measured in the same round, is taken off.
//!
//! `cargo run --release [--features libsodium] -- [--json FILE]`

use std::fs::File;
use std::hint::black_box;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use nodeseal_peers::{KEY_LEN, NONCE_LEN, Peer, TAG_LEN, peers};

/// Lengths of the records, in bytes.
const SIZES: [usize; 7] = [64, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20, 16 << 20];
/// Samples of each figure.
const ROUNDS: usize = 9;
/// How long one sample takes at least, unless one call is longer.
const SAMPLE: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq)]
enum Path {
    Seal,
    Open,
}

impl Path {
    const ALL: [Self; 2] = [Self::Seal, Self::Open];

    const fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Open => "open",
        }
    }
}

/// A record that one implementation seals and opens again and again.
struct Bench<'a> {
    peer: &'a dyn Peer,
    nonce: [u8; NONCE_LEN],
    tag: [u8; TAG_LEN],
    plain: Vec<u8>,
    sealed: Vec<u8>,
    target: Vec<u8>,
}

impl<'a> Bench<'a> {
    fn new(peer: &'a dyn Peer, size: usize) -> Self {
        let (nonce, plain) = ([9; NONCE_LEN], vec![7; size]);
        let mut sealed = plain.clone();
        let tag = peer.seal(&nonce, &plain, &mut sealed);
        Self { peer, nonce, tag, target: plain.clone(), plain, sealed }
    }

    fn call(&mut self, path: Path) {
        let nonce = black_box(&self.nonce);
        match path {
            Path::Seal => {
                black_box(self.peer.seal(nonce, black_box(&self.plain), &mut self.target));
            }
            Path::Open => {
                if self.peer.in_place() {
                    self.target.copy_from_slice(black_box(&self.sealed));
                }
                let sealed = black_box(&self.sealed);
                let open = self.peer.open(nonce, black_box(&self.tag), sealed, &mut self.target);
                assert!(open, "{} does not open its own record", self.peer.name());
            }
        }
        black_box(&mut self.target);
    }

    fn copy(&mut self) {
        self.target.copy_from_slice(black_box(&self.sealed));
        black_box(&mut self.target);
    }

    /// How often a call must be repeated to fill a sample.
    fn calibrate(&mut self, path: Path) -> u32 {
        let mut calls = 1;
        loop {
            let taken = time(calls, || self.call(path));
            if taken >= SAMPLE.as_secs_f64() * 1e9 || calls >= 1 << 24 {
                return calls;
            }
            calls *= 2;
        }
    }

    /// One sample: nanoseconds a call.
    fn sample(&mut self, path: Path, calls: u32) -> f64 {
        let all = time(calls, || self.call(path));
        let copies = match path {
            Path::Open if self.peer.in_place() => time(calls, || self.copy()),
            _ => 0.0,
        };
        (all - copies) / f64::from(calls)
    }
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

/// The median of every peer, in their order.
fn measure(peers: &[Box<dyn Peer>], path: Path, size: usize) -> Vec<f64> {
    let mut benches: Vec<_> = peers.iter().map(|peer| Bench::new(&**peer, size)).collect();
    let calls: Vec<_> = benches.iter_mut().map(|bench| bench.calibrate(path)).collect();
    let mut samples = vec![Vec::new(); peers.len()];
    for round in 0..ROUNDS {
        for turn in 0..peers.len() {
            let who = (round + turn) % peers.len();
            samples[who].push(benches[who].sample(path, calls[who]));
        }
    }
    samples.into_iter().map(median).collect()
}

/// Where `--json` says, if it does.
fn json_file() -> io::Result<Option<BufWriter<File>>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match &*arguments {
        [] => Ok(None),
        [option, file] if option == "--json" => File::create(file).map(BufWriter::new).map(Some),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "usage: [--json FILE]")),
    }
}

fn main() -> io::Result<()> {
    let mut json = json_file()?;
    let peers = peers(&[1; KEY_LEN]);
    println!("ns a record, nonce given; in brackets, how many times nodeseal's time");
    print!("{:4} {:>9}", "", "bytes");
    peers.iter().for_each(|peer| print!(" {:>22}", peer.name()));
    println!();
    for path in Path::ALL {
        for size in SIZES {
            let medians = measure(&peers, path, size);
            print!("{:4} {size:>9}", path.name());
            for (peer, ns) in peers.iter().zip(&medians) {
                print!(" {ns:>13.0} [{:>6.2}]", ns / medians[0]);
                if let Some(json) = &mut json {
                    let kernel = peer.kernel().map_or("null".into(), |name| format!("{name:?}"));
                    writeln!(
                        json,
                        r#"{{"path":"{}","impl":"{}","kernel":{kernel},"nonce":"given","batch":1,"size":{size},"ns":{ns:.1}}}"#,
                        path.name(),
                        peer.name(),
                    )?;
                }
            }
            println!();
        }
    }
    json.as_mut().map_or(Ok(()), Write::flush)
}
