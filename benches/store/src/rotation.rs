use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nodeseal::Reason;

use crate::appends::batch;
use crate::engines::{Engine, sealed::Log};
use crate::{Figures, Outcome, Plan, percentiles};

/// Bytes a second: the default, four times as many, and as fast as it goes.
const RATES: [(&str, u64); 3] =
    [("16 MiB/s (default)", 16 << 20), ("64 MiB/s", 64 << 20), ("as fast as it goes", u64::MAX)];
const FILL: u64 = 1000;
const WINDOW: Duration = Duration::from_millis(50);

pub fn run(plan: &Plan) -> Outcome<Figures> {
    let mut figures = Figures::new();
    println!(
        "A single entry of 256 B while a DEK is rotated, in a store of {} entries, median / p99 in µs:\n",
        plan.entries / 10
    );
    println!("| rotation | it pauses | it runs | p99, times |\n|---|---|---|---|");
    let dir = tempfile::tempdir_in(&plan.dir)?;
    let mut log = Log::create(dir.path())?;
    let entries = batch(FILL as usize, 256);
    for _ in 0..plan.entries / 10 / FILL {
        log.fill(&entries)?;
    }
    let one = batch(1, 256);
    for (name, rate) in RATES {
        log.keyring.rotate_dek(Reason::Requested)?;
        let store = log.store.clone();
        let (done, paused) = (AtomicBool::new(false), AtomicBool::new(true));
        let (mut without, mut with) = (Vec::new(), Vec::new());
        thread::scope(|scope| -> Outcome {
            let rotation = scope.spawn(|| {
                let rotated = store.rotation().rate(rate).run(|_| {
                    while paused.load(Ordering::Acquire) {
                        thread::sleep(Duration::from_micros(200));
                    }
                    ControlFlow::Continue(())
                });
                done.store(true, Ordering::Release);
                rotated
            });
            // In turn, so that both meet the same disk.
            while !done.load(Ordering::Acquire) {
                for (pause, times) in [(true, &mut without), (false, &mut with)] {
                    paused.store(pause, Ordering::Release);
                    let begun = Instant::now();
                    while begun.elapsed() < WINDOW {
                        times.push(timed(&mut log, &one)?);
                    }
                }
            }
            rotation.join().map_err(|_| "the rotation panicked")??;
            Ok(())
        })?;
        assert_eq!(log.keyring.status().deks.len(), 1);
        let (median, high) = percentiles(&mut without);
        let (median_during, high_during) = percentiles(&mut with);
        for (when, median, high) in
            [("it pauses", median, high), ("it runs", median_during, high_during)]
        {
            figures.push((format!("{name}, {when}, median"), median));
            figures.push((format!("{name}, {when}, p99"), high));
        }
        println!(
            "| {name} | {median:.0} / {high:.0} | {median_during:.0} / {high_during:.0} | {:.2} |",
            high_during / high
        );
    }
    println!();
    Ok(figures)
}

fn timed(log: &mut Log, entries: &[Vec<u8>]) -> Outcome<Duration> {
    let begun = Instant::now();
    log.append(entries)?;
    Ok(begun.elapsed())
}
