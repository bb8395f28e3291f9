//! The store beside itself without sealing, a plain preallocated file, redb and fjall, in one process
//! and in turn: appends, starts, and appends while a DEK is rotated.
//!
//! `cargo run --release [-- --brief] [DIR]`: in DIR, or where temporary files are. Prints Markdown.

mod appends;
mod engines;
mod rotation;
mod start;

use std::path::PathBuf;
use std::time::Duration;

pub type Failure = Box<dyn std::error::Error>;
pub type Outcome<T = ()> = Result<T, Failure>;

/// What there is to measure, and how much of it.
pub struct Plan {
    /// Appends of each kind, and entries at a start.
    pub appends: usize,
    pub entries: u64,
    pub rounds: usize,
    pub dir: PathBuf,
}

fn main() -> Outcome {
    let (mut brief, mut dir) = (false, std::env::temp_dir());
    for argument in std::env::args().skip(1) {
        if argument == "--brief" { brief = true } else { dir = argument.into() }
    }
    let (appends, entries, rounds) = if brief { (8, 2000, 1) } else { (400, 1_000_000, 3) };
    let plan = Plan { appends, entries, rounds, dir };
    appends::run(&plan)?;
    rotation::run(&plan)?;
    start::run(&plan)
}

/// The median and the 99th percentile.
pub fn percentiles(times: &mut [Duration]) -> (f64, f64) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    (micros(at(50)), micros(at(99)))
}

pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
