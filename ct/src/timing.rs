//! Whether a fixed key and text take as long as random ones (Reparaz, Balasch, Verbauwhede, "Dude, is
//! my code constant time?", 2017).
//!
//! Samples of both classes are mixed at random; Welch's t says how far apart their means are. The
//! longest samples, which are interrupts, are cut off. Above 10 something leaks; a value that stays
//! below 4.5 with more and more samples shows nothing.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use nodeseal::hazmat;
use nodeseal::secret::SecretKey;

use crate::work::{BOXES, CURVES, OTHERS, Work};

/// Length of a text, in bytes.
const LEN: usize = 1024;
/// Inputs that are prepared before they are timed.
const POOL: usize = 512;
/// A leak, beyond doubt.
const LEAK: f64 = 10.0;

/// Mean and variance as samples come (Welford).
#[derive(Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn push(&mut self, sample: f64) {
        self.count += 1.0;
        let delta = sample - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (sample - self.mean);
    }

    fn error(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

fn welch(one: &Moments, other: &Moments) -> f64 {
    (one.mean - other.mean) / (one.error() + other.error()).sqrt()
}

/// splitmix64.
struct Noise(u64);

impl Noise {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Random bytes of which only the bits in `mask` stay.
    fn fill(&mut self, bytes: &mut [u8], mask: u8) {
        bytes.iter_mut().for_each(|byte| *byte = self.word().to_le_bytes()[0] & mask);
    }
}

/// One input: whether it is a random one, its key and its text.
struct Input {
    random: bool,
    key: SecretKey,
    text: Vec<u8>,
}

/// Both classes' inputs are drawn, masked and stored by the same instructions.
fn inputs(noise: &mut Noise) -> Vec<Input> {
    let input = |_| {
        let random = noise.word() & 1 == 1;
        let mask = black_box(u8::from(random).wrapping_neg());
        let mut text = vec![0; LEN];
        noise.fill(&mut text, mask);
        Input { random, key: SecretKey::init(|bytes| noise.fill(bytes, mask)), text }
    };
    (0..POOL).map(input).collect()
}

/// How far the classes are apart, by Welch's t and in nanoseconds.
struct Verdict {
    t: f64,
    mean: f64,
    apart: f64,
}

impl Verdict {
    fn print(&self, kernel: &str, name: &str) {
        let Self { t, mean, apart } = self;
        println!("{kernel:9} {name:38} t = {t:7.2}   {apart:8.3} of {mean:8.1} ns");
    }
}

fn compare(run: fn(&SecretKey, &mut [u8]), samples: usize, noise: &mut Noise) -> Verdict {
    let mut taken = Vec::with_capacity(samples + POOL);
    while taken.len() < samples {
        for mut input in inputs(noise) {
            let start = Instant::now();
            run(black_box(&input.key), black_box(&mut input.text));
            taken.push((start.elapsed().as_secs_f64() * 1e9, input.random));
        }
    }
    let mut sorted: Vec<_> = taken.iter().map(|(ns, _)| *ns).collect();
    sorted.sort_by(f64::total_cmp);
    let longest = sorted.get(sorted.len() * 9 / 10).copied().unwrap_or(f64::MAX);
    let (mut fixed, mut random) = (Moments::default(), Moments::default());
    for (ns, is_random) in taken.into_iter().filter(|(ns, _)| *ns <= longest) {
        if is_random { random.push(ns) } else { fixed.push(ns) }
    }
    Verdict { t: welch(&fixed, &random), mean: fixed.mean, apart: fixed.mean - random.mean }
}

/// A comparison that stops at the first difference, which the test must find.
fn leaks(key: &SecretKey, text: &mut [u8]) {
    let zeros = key.expose().iter().chain(&*text).take_while(|byte| **black_box(byte) == 0).count();
    black_box(zeros);
}

/// Tests every box on every kernel, the other works, those with a curve with a tenth of the samples, and a
/// planted leak.
pub(crate) fn run(samples: usize) -> ExitCode {
    let mut noise = Noise(u64::from(std::process::id()));
    let mut worst: f64 = 0.0;
    let mut test = |kernel: &str, work: &Work, samples: usize| {
        let found = hazmat::on_kernel(kernel, || compare(work.run, samples, &mut noise));
        if let Some(found) = found {
            worst = worst.max(found.t.abs());
            found.print(kernel, work.name);
        }
    };
    for kernel in hazmat::kernels() {
        BOXES.iter().for_each(|work| test(kernel, work, samples));
    }
    OTHERS.iter().for_each(|work| test(hazmat::kernel(), work, samples));
    CURVES.iter().for_each(|work| test(hazmat::kernel(), work, samples / 10));
    let planted = compare(leaks, samples, &mut noise);
    planted.print("", "a planted leak");
    if planted.t.abs() < LEAK {
        println!("too few samples, or too much noise: the planted leak was not found");
        return ExitCode::FAILURE;
    }
    if worst > LEAK {
        println!("something leaks");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
