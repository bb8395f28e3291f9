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

use crate::work::WORKS;

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

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|byte| *byte = self.word().to_le_bytes()[0]);
    }
}

/// One input: whether it is a random one, its key and its text.
struct Input {
    random: bool,
    key: SecretKey,
    text: Vec<u8>,
}

fn inputs(noise: &mut Noise) -> Vec<Input> {
    let input = |_| {
        let random = noise.word() & 1 == 1;
        // The random ones are drawn for both, so that both are prepared alike.
        let (mut key, mut text) = ([0; 32], vec![0; LEN]);
        noise.fill(&mut key);
        noise.fill(&mut text);
        if !random {
            key = [0; 32];
            text.fill(0);
        }
        Input { random, key: SecretKey::init(|bytes| bytes.copy_from_slice(&key)), text }
    };
    (0..POOL).map(input).collect()
}

fn t(run: fn(&SecretKey, &mut [u8]), samples: usize, noise: &mut Noise) -> f64 {
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
    welch(&fixed, &random)
}

/// A comparison that stops at the first difference, which the test must find.
fn leaks(key: &SecretKey, text: &mut [u8]) {
    let zeros = key.expose().iter().chain(&*text).take_while(|byte| **black_box(byte) == 0).count();
    black_box(zeros);
}

/// Tests every work on every kernel, and a planted leak.
pub(crate) fn run(samples: usize) -> ExitCode {
    let mut noise = Noise(u64::from(std::process::id()));
    let mut worst: f64 = 0.0;
    for kernel in hazmat::kernels() {
        for work in &WORKS {
            let found = hazmat::on_kernel(kernel, || t(work.run, samples, &mut noise));
            let found = found.map_or(0.0, f64::abs);
            worst = worst.max(found);
            println!("{kernel:9} {:36} |t| = {found:.2}", work.name);
        }
    }
    let planted = t(leaks, samples, &mut noise).abs();
    println!("{:9} {:36} |t| = {planted:.2}", "", "a planted leak");
    if planted < LEAK {
        println!("too few samples, or too much noise: the planted leak was not found");
        return ExitCode::FAILURE;
    }
    if worst > LEAK {
        println!("something leaks");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
