use std::time::Instant;

use crate::appends::batch;
use crate::engines::{Engine, Fjall, Redb, sealed, unsealed};
use crate::{Outcome, Plan};

/// Entries that are written at once to fill a log.
const FILL: u64 = 1000;

pub fn run(plan: &Plan) -> Outcome {
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
    let mut times = [(); 4].map(|()| Vec::new());
    // One round more, so that all of it is in memory.
    for round in 0..=plan.rounds {
        let mut begun = Instant::now();
        let mut note = |which: usize| {
            if round > 0 {
                times[which].push(begun.elapsed().as_secs_f64());
            }
            begun = Instant::now();
        };
        sealed = sealed.reopen(&places[0])?;
        note(0);
        unsealed = unsealed.reopen(&places[1])?;
        note(1);
        redb = redb.reopen(&places[2])?;
        note(2);
        fjall = fjall.reopen(&places[3])?;
        note(3);
    }
    let [sealed, unsealed, redb, fjall] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!(
        "### Start\n\nSeconds to open a log of {} entries of 256 B and to read every entry.\n",
        plan.entries
    );
    println!("| sealed | unsealed | redb | fjall | sealed of unsealed |\n|---|---|---|---|---|");
    println!(
        "| {sealed:.3} | {unsealed:.3} | {redb:.3} | {fjall:.3} | {:.2} |\n",
        sealed / unsealed
    );
    Ok(())
}
