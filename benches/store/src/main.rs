//! The store beside itself without sealing, a plain preallocated file, redb and fjall, in one process
//! and in turn: appends, starts, and appends while a DEK is rotated.
//!
//! `cargo run --release [-- [--brief] [--only appends|rotation|start] [DIR]]`: in DIR, or where temporary
//! files are. Prints the tables of `BENCHMARKS.md`.

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
    let (mut brief, mut only, mut dir) = (false, None, std::env::temp_dir());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--brief" => brief = true,
            "--only" => only = arguments.next(),
            _ => dir = argument.into(),
        }
    }
    let (appends, entries, rounds) = if brief { (8, 2000, 1) } else { (1000, 1_000_000, 3) };
    let plan = Plan { appends, entries, rounds, dir };
    let parts: [(&str, fn(&Plan) -> Outcome); 3] =
        [("appends", appends::run), ("rotation", rotation::run), ("start", start::run)];
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    parts.iter().filter(|(name, _)| wanted(name)).try_for_each(|(_, run)| run(&plan))
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
