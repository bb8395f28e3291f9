use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nodeseal::Reason;

use crate::appends::batch;
use crate::engines::{Engine, sealed::Log};
use crate::{Outcome, Plan, percentiles};

/// Bytes a second; the last as fast as it goes.
const RATES: [(&str, u64); 3] =
    [("4 MiB/s", 4 << 20), ("16 MiB/s", 16 << 20), ("as fast as it goes", u64::MAX)];
const FILL: u64 = 1000;

pub fn run(plan: &Plan) -> Outcome {
    println!(
        "### Appends while a DEK is rotated\n\nMicroseconds of a single entry of 256 B, median / 99th percentile, before the rotation and"
    );
    println!("while it runs, in a store of {} entries.\n", plan.entries / 10);
    println!(
        "| rotation | before | while it runs | 99th percentile, times | the rotation took, s |\n|---|---|---|---|---|"
    );
    let dir = tempfile::tempdir_in(&plan.dir)?;
    let mut log = Log::create(dir.path())?;
    let entries = batch(FILL as usize, 256);
    for _ in 0..plan.entries / 10 / FILL {
        log.fill(&entries)?;
    }
    let one = batch(1, 256);
    for (name, rate) in RATES {
        let mut before = Vec::new();
        for _ in 0..plan.appends * 5 {
            before.push(timed(&mut log, &one)?);
        }
        log.keyring.rotate_dek(Reason::Requested)?;
        let (store, done) = (log.store.clone(), AtomicBool::new(false));
        let mut during = Vec::new();
        let took = thread::scope(|scope| -> Outcome<Duration> {
            let rotation = scope.spawn(|| {
                let begun = Instant::now();
                let rotated = store.rotation().run(rate, |_| ControlFlow::Continue(()));
                done.store(true, Ordering::Release);
                rotated.map(|_| begun.elapsed())
            });
            while !done.load(Ordering::Acquire) {
                during.push(timed(&mut log, &one)?);
            }
            Ok(rotation.join().map_err(|_| "the rotation panicked")??)
        })?;
        assert_eq!(log.keyring.status().deks.len(), 1);
        let (median, high) = percentiles(&mut before);
        let (median_during, high_during) = percentiles(&mut during);
        println!(
            "| {name} | {median:.0} / {high:.0} | {median_during:.0} / {high_during:.0} | {:.2} | {:.2} |",
            high_during / high,
            took.as_secs_f64()
        );
    }
    println!();
    Ok(())
}

fn timed(log: &mut Log, entries: &[Vec<u8>]) -> Outcome<Duration> {
    let begun = Instant::now();
    log.append(entries)?;
    Ok(begun.elapsed())
}
