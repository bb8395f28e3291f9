//! The store beside itself without sealing, a plain preallocated file, redb and fjall, in one process
//! and in turn: appends, starts, and appends while a DEK is rotated.
//!
//! `cargo run --release [-- [--brief] [--only appends|rotation|start] [--json FILE] [DIR]]`: in DIR, or
//! where temporary files are. Prints the tables of `BENCHMARKS.md`; FILE gets every figure in full,
//! as a JSON object of names and numbers (`benches/compare` reads it).

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

/// Named figures: microseconds, but for the part `start`, whose are seconds.
pub type Figures = Vec<(String, f64)>;

type Part = (&'static str, fn(&Plan) -> Outcome<Figures>);
const PARTS: [Part; 3] =
    [("appends", appends::run), ("rotation", rotation::run), ("start", start::run)];

fn main() -> Outcome {
    let (mut brief, mut only, mut json) = (false, None, None);
    let mut dir = std::env::temp_dir();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--brief" => brief = true,
            "--only" => only = arguments.next(),
            "--json" => json = Some(arguments.next().ok_or("--json needs a file")?),
            _ => dir = argument.into(),
        }
    }
    let (appends, entries, rounds) = if brief { (8, 2000, 1) } else { (1000, 1_000_000, 3) };
    let plan = Plan { appends, entries, rounds, dir };
    let wanted = |part: &&Part| only.as_deref().is_none_or(|only| only == part.0);
    if !PARTS.iter().any(|part| wanted(&part)) {
        return Err("there are the parts appends, rotation and start".into());
    }
    let mut figures = Vec::new();
    for (part, run) in PARTS.iter().filter(wanted) {
        let named = run(&plan)?.into_iter();
        figures.extend(named.map(|(name, value)| format!("  \"{part}, {name}\": {value}")));
    }
    if let Some(json) = json {
        std::fs::write(json, format!("{{\n{}\n}}\n", figures.join(",\n")))?;
    }
    Ok(())
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
