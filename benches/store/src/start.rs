use std::num::NonZeroUsize;
use std::thread;
use std::time::Instant;

use crate::appends::batch;
use crate::engines::{Engine, Fjall, Redb, sealed, unsealed};
use crate::{Figures, Outcome, Plan};

/// Entries that are written at once to fill a log.
const FILL: u64 = 1000;

pub fn run(plan: &Plan) -> Outcome<Figures> {
    let dir = tempfile::tempdir_in(&plan.dir)?;
    let at = |name| -> Outcome<_> {
        let at = dir.path().join(name);
        std::fs::create_dir(&at)?;
        Ok(at)
    };
    let places = [at("sealed")?, at("unsealed")?, at("redb")?, at("fjall")?];
    let entries = batch(FILL as usize, 256);
    let mut sealed = sealed::Log::create(&places[0])?;
    let mut unsealed = unsealed::Log::create(&places[1])?;
    let mut redb = Redb::create(&places[2])?;
    let mut fjall = Fjall::create(&places[3])?;
    for _ in 0..plan.entries / FILL {
        sealed.fill(&entries)?;
        unsealed.fill(&entries)?;
        redb.append(&entries)?;
        fjall.append(&entries)?;
    }
    let mut times = [(); 6].map(|()| Vec::new());
    // One round more, so that all of it is in memory.
    for round in 0..=plan.rounds {
        let mut begun = Instant::now();
        let mut note = |which: usize| {
            if round > 0 {
                times[which].push(begun.elapsed().as_secs_f64());
            }
            begun = Instant::now();
        };
        let all = thread::available_parallelism()?;
        sealed = sealed.reopen(&places[0], NonZeroUsize::MIN)?;
        note(0);
        unsealed = unsealed.reopen(&places[1], NonZeroUsize::MIN)?;
        note(1);
        sealed = sealed.reopen(&places[0], all)?;
        note(4);
        unsealed = unsealed.reopen(&places[1], all)?;
        note(5);
        redb = redb.reopen(&places[2])?;
        note(2);
        fjall = fjall.reopen(&places[3])?;
        note(3);
    }
    let [sealed, unsealed, redb, fjall, sealed_all, unsealed_all] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!("Opening {} entries of 256 B and reading every one, seconds:\n", plan.entries);
    println!(
        "| threads | sealed | unsealed | redb | fjall | sealed / unsealed |\n|---|---|---|---|---|---|"
    );
    let times = sealed / unsealed;
    println!("| 1 | {sealed:.3} | {unsealed:.3} | {redb:.3} | {fjall:.3} | {times:.2} |");
    let (threads, times) = (thread::available_parallelism()?, sealed_all / unsealed_all);
    println!("| {threads} | {sealed_all:.3} | {unsealed_all:.3} | | | {times:.2} |\n");
    let figures = [
        ("one thread, sealed", sealed),
        ("one thread, unsealed", unsealed),
        ("one thread, redb", redb),
        ("one thread, fjall", fjall),
        ("all threads, sealed", sealed_all),
        ("all threads, unsealed", unsealed_all),
    ];
    Ok(figures.map(|(name, value)| (name.to_owned(), value)).into())
}
