//! What a second thread gives: a stream of 64 MiB in memory, and 100,000 small records, on one thread
//! and on two, in turn.
//!
//! `cargo run --release --bin threads`

use std::error::Error;
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use nodeseal::fs::SimFs;
use nodeseal::keyring::Location;
use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD, STREAM_HEADER_LEN};
use nodeseal::{Identity, Keyring, Protector};

const STREAM: usize = 64 << 20;
const RECORDS: usize = 100_000;
const SIZE: usize = 64;
const TERM: Era = Era::term(1);
const ROUNDS: usize = 31;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Prints the medians of `run` on one thread and on two, in milliseconds.
fn compare(name: &str, mut run: impl FnMut(NonZeroUsize) -> Result<f64>) -> Result {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (count, times) in (1..).zip(&mut times) {
            times.push(run(NonZeroUsize::new(count).ok_or("no thread")?)?);
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    };
    let [one, two] = times.each_mut().map(median);
    println!("| {name} | {one:.1} | {two:.1} | {:.2} |", one / two);
    Ok(())
}

/// Milliseconds that `call` takes.
fn time<T, E: Error + 'static>(call: impl FnOnce() -> std::result::Result<T, E>) -> Result<f64> {
    let start = Instant::now();
    call()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// The records in `memory`, and their entries.
fn split(memory: &mut [u8]) -> Vec<(LogId, &mut [u8])> {
    let ids = (1..).map(|index| LogId::new(index, TERM));
    ids.zip(memory.chunks_mut(RECORD_OVERHEAD + SIZE)).collect()
}

fn main() -> Result {
    let place = Location::on(Arc::new(SimFs::new()), "/keys");
    let keyring = Keyring::create(place, &Identity::new("bench", "m1")?, Protector::none(), &[])?;
    let raft = keyring.keyspace("raft")?;
    let (streams, log) = (raft.streams(), raft.log());
    println!("| | one thread, ms | two, ms | times faster |\n|---|---|---|---|");

    let plain = vec![7; STREAM];
    let mut sealed = vec![7; STREAM_HEADER_LEN + STREAM + 32 * (STREAM >> 16)];
    compare("stream, written", |threads| {
        time(|| {
            let mut writer = streams.create("snapshot", Cursor::new(&mut sealed[..]))?;
            writer.copy_from(&mut &plain[..], threads)?;
            writer.finish(LogId::START, b"").map(|(_, stream)| stream.durable())
        })
    })?;
    compare("stream, verified", |threads| {
        time(|| streams.open("snapshot", Cursor::new(&sealed[..]))?.verify_on(threads))
    })?;
    let mut read = vec![7; STREAM];
    compare("stream, read", |threads| {
        time(|| {
            streams.open("snapshot", Cursor::new(&sealed[..]))?.copy_to(&mut &mut read[..], threads)
        })
    })?;

    let after = LogId::new(0, TERM);
    let mut sealed = vec![7; RECORDS * (RECORD_OVERHEAD + SIZE)];
    log.seal_batch(after, &mut split(&mut sealed))?.durable();
    compare("100,000 records of 64 B, opened", |threads| {
        let mut memory = sealed.clone();
        let mut records = split(&mut memory);
        time(|| log.open_bulk(after, &mut records, threads, |_| ()).map_err(|(_, error)| error))
    })
}
