use std::time::{Duration, Instant};

use crate::engines::{Engine, Fjall, Plain, Redb, sealed, unsealed};
use crate::{Figures, Outcome, Plan, percentiles};

/// In the order of the table.
const ENGINES: [&str; 5] = ["sealed", "unsealed", "plain file", "redb", "fjall"];

/// Entries of one batch; they differ, and do not compress.
pub fn batch(count: usize, size: usize) -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| (0..size).map(|_| byte()).collect()).collect()
}

/// Another order each time, the same in each run.
struct Order(u64);

impl Order {
    fn next(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for n in (1..count).rev() {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            order.swap(n, (self.0 >> 33) as usize % (n + 1));
        }
        order
    }
}

pub fn run(plan: &Plan) -> Outcome<Figures> {
    let mut figures = Figures::new();
    println!("Appending a batch, durably, median / p99 in µs:\n");
    println!(
        "| batch | sealed | unsealed | plain file | redb | fjall | sealed's rate / unsealed's | unsealed / plain |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for size in [256, 4096] {
        for count in [1, 32, 256] {
            let appends = if count * size > 500_000 { plan.appends / 4 } else { plan.appends };
            let times = measure(plan, &batch(count, size), appends)?;
            for (engine, (median, high)) in ENGINES.iter().zip(&times) {
                figures.push((format!("{count} × {size} B, {engine}, median"), *median));
                figures.push((format!("{count} × {size} B, {engine}, p99"), *high));
            }
            let cells = times.iter().map(|(median, high)| format!("{median:.0} / {high:.0}"));
            let cells = cells.collect::<Vec<_>>().join(" | ");
            let [sealed, unsealed, plain] = [0, 1, 2].map(|n| times[n].0);
            println!(
                "| {count} × {size} B | {cells} | {:.2} | {:.2} |",
                unsealed / sealed,
                unsealed / plain
            );
        }
    }
    println!();
    Ok(figures)
}

/// The engines in turn, append by append.
fn measure(plan: &Plan, entries: &[Vec<u8>], appends: usize) -> Outcome<Vec<(f64, f64)>> {
    let dir = tempfile::tempdir_in(&plan.dir)?;
    let at = |name| -> Outcome<_> {
        let at = dir.path().join(name);
        std::fs::create_dir(&at)?;
        Ok(at)
    };
    let bytes: usize = entries.iter().map(|entry| entry.len() + 8).sum();
    let mut engines: Vec<Box<dyn Engine>> = vec![
        Box::new(sealed::Log::create(&at("sealed")?)?),
        Box::new(unsealed::Log::create(&at("unsealed")?)?),
        Box::new(Plain::create(&at("plain")?, bytes * (appends + 8))?),
        Box::new(Redb::create(&at("redb")?)?),
        Box::new(Fjall::create(&at("fjall")?)?),
    ];
    let mut times = vec![Vec::with_capacity(appends); engines.len()];
    let mut order = Order(1);
    for n in 0..appends + 8 {
        // What one leaves to the disk does not always meet the same.
        for which in order.next(engines.len()) {
            let begun = Instant::now();
            engines[which].append(entries)?;
            let taken: Duration = begun.elapsed();
            if n >= 8 {
                times[which].push(taken);
            }
        }
    }
    debug_assert!(engines.iter().map(|engine| engine.name()).eq(ENGINES));
    Ok(times.iter_mut().map(|times| percentiles(times)).collect())
}
