//! What sealing adds to a durable append: groups of 32 records of 4 KiB, each written at once and synced.
//!
//! Four ways take turns on one preallocated file each: without sealing, with a batch of nodeseal's, and
//! with dryoc and RustCrypto's parts one record after the other, each with a random nonce. Records
//! have the same length in the file whoever sealed them.
//!
//! `cargo run --release --bin durable [FOLDER]`: the folder must be on the disk that counts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Instant;

use nodeseal_peers::{Records, batches};

const RECORDS: usize = 32;
const SIZE: usize = 4096;
/// Longest record of all, so that each group is as long as every other.
const STORED: usize = SIZE + 41;
const ROUNDS: usize = 400;
/// Groups that fit into a file before it is used again from its beginning.
const GROUPS: usize = 64;

/// One way to append.
struct Way {
    name: String,
    sealer: Option<Box<dyn Records>>,
    file: File,
    group: Vec<u8>,
    whole: Vec<f64>,
    sealing: Vec<f64>,
}

impl Way {
    fn new(folder: &std::path::Path, sealer: Option<Box<dyn Records>>) -> io::Result<Self> {
        let name = match &sealer {
            None => "not sealed".into(),
            Some(sealer) => format!("{} {}", sealer.name(), sealer.kernel().unwrap_or_default()),
        };
        let path = folder.join(format!("nodeseal-durable-{}", name.replace([' ', '+'], "-")));
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        // Gone with the program.
        std::fs::remove_file(&path)?;
        let group = vec![7; RECORDS * STORED];
        (0..GROUPS).try_for_each(|n| file.write_all_at(&group, place(n)))?;
        file.sync_all()?;
        Ok(Self { name, sealer, file, group, whole: Vec::new(), sealing: Vec::new() })
    }

    fn append(&mut self, round: usize) -> io::Result<()> {
        let start = Instant::now();
        if let Some(sealer) = &mut self.sealer {
            sealer.seal();
            self.group.clear();
            sealer.write(&mut self.group);
            self.group.resize(RECORDS * STORED, 0);
        }
        self.sealing.push(micros(start));
        self.file.write_all_at(&self.group, place(round % GROUPS))?;
        self.file.sync_data()?;
        self.whole.push(micros(start));
        Ok(())
    }
}

fn place(group: usize) -> u64 {
    u64::try_from(group * RECORDS * STORED).unwrap_or_default()
}

fn micros(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let mut ways = vec![Way::new(&folder, None)?];
    for sealer in batches(RECORDS, SIZE) {
        let kernel = sealer.kernel();
        let fastest = sealer.name() == "nodeseal" && ways.len() == 1;
        if fastest
            || (sealer.name() == "dryoc" && kernel.is_none())
            || sealer.name() == "salsa20+poly1305"
        {
            ways.push(Way::new(&folder, Some(sealer))?);
        }
    }
    for round in 0..ROUNDS {
        for turn in 0..ways.len() {
            let who = (round + turn) % ways.len();
            ways[who].append(round)?;
        }
    }
    println!("| | a group, us | sealing and copying it, us | share |\n|---|---|---|---|");
    for way in &mut ways {
        let (whole, sealing) = (median(&mut way.whole), median(&mut way.sealing));
        println!("| {} | {whole:.0} | {sealing:.1} | {:.1} % |", way.name, 100.0 * sealing / whole);
    }
    Ok(())
}
