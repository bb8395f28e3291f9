//! Records through `Log`, in batches and one by one, and streams.
#![allow(clippy::expect_used, missing_docs, reason = "a bench that fails may panic")]

use std::hint::black_box;
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nodeseal::fs::SimFs;
use nodeseal::keyring::Location;
use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD, STREAM_HEADER_LEN};
use nodeseal::secret::SecretBytes;
use nodeseal::{Identity, Keyring, Protector};

const BATCHES: [usize; 3] = [1, 32, 256];
const SIZES: [usize; 6] = [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10];
const STREAM: usize = 64 << 20;
const THREADS: [NonZeroUsize; 2] = [NonZeroUsize::MIN, NonZeroUsize::MIN.saturating_add(1)];
const TERM: Era = Era::term(1);

fn keyring() -> Keyring {
    let place = Location::on(Arc::new(SimFs::new()), "/keys");
    let me = Identity::new("prod", "m1").expect("valid names");
    Keyring::create(place, &me, Protector::none(), &[]).expect("a new keyring")
}

fn id(index: usize) -> LogId {
    LogId::new(index as u64 + 1, TERM)
}

fn records(c: &mut Criterion) {
    let keyring = keyring();
    let log = keyring.keyspace("raft").expect("a keyspace").log();
    let after = LogId::new(0, TERM);
    for batch in BATCHES {
        let mut group = c.benchmark_group(format!("batch-{batch}"));
        for size in SIZES {
            let (elements, bytes) = (batch as u64, (size * batch) as u64);
            group.throughput(Throughput::ElementsAndBytes { elements, bytes });
            let mut buffers = vec![vec![7; RECORD_OVERHEAD + size]; batch];
            group.bench_function(BenchmarkId::new("seal-in-place", size), |b| {
                let mut records: Vec<_> = buffers
                    .iter_mut()
                    .enumerate()
                    .map(|(i, buffer)| (id(i), &mut buffer[..]))
                    .collect();
                b.iter(|| log.seal_batch(after, &mut records).expect("sealed").durable());
            });
            let plain = vec![7; size];
            group.bench_function(BenchmarkId::new("push-and-seal", size), |b| {
                let mut memory = SecretBytes::new();
                b.iter(|| {
                    let taken = core::mem::take(&mut memory);
                    let mut batched = log.batch(after).with_buffer(taken);
                    for i in 0..batch {
                        batched.push(id(i), |out| out.extend_from_slice(&plain)).expect("pushed");
                    }
                    let sealed = batched.seal().expect("sealed");
                    black_box(sealed.bytes());
                    memory = sealed.durable();
                });
            });
            // What the first function left may not have been sealed, if it was filtered out.
            let mut records: Vec<_> = buffers
                .iter_mut()
                .enumerate()
                .map(|(i, buffer)| (id(i), &mut buffer[..]))
                .collect();
            log.seal_batch(after, &mut records).expect("sealed").durable();
            group.bench_function(BenchmarkId::new("open-in-place", size), |b| {
                b.iter_batched_ref(
                    || buffers.clone(),
                    |buffers| {
                        for (i, record) in buffers.iter_mut().enumerate() {
                            black_box(log.open_in_place(id(i), TERM, record).expect("opened"));
                        }
                    },
                    BatchSize::LargeInput,
                );
            });
        }
        group.finish();
    }
}

/// As a store does when it starts: many records that stand one after the other in memory.
fn bulk(c: &mut Criterion) {
    const COUNT: usize = 100_000;
    let log = keyring().keyspace("raft").expect("a keyspace").log();
    let after = LogId::new(0, TERM);
    let mut group = c.benchmark_group("open-100000");
    for size in [64, 256] {
        let mut sealed = vec![7; COUNT * (RECORD_OVERHEAD + size)];
        for part in split(&mut sealed, size).chunks_mut(32) {
            let after = part.first().map_or(after, |(id, _)| LogId::new(id.index - 1, TERM));
            log.seal_batch(after, part).expect("sealed").durable();
        }
        let (elements, bytes) = (COUNT as u64, (COUNT * size) as u64);
        group.throughput(Throughput::ElementsAndBytes { elements, bytes }).sample_size(20);
        for threads in THREADS {
            group.bench_function(format!("{size}/{threads}-threads"), |b| {
                b.iter_batched_ref(
                    || sealed.clone(),
                    |memory| {
                        let mut records = split(memory, size);
                        log.open_bulk(after, &mut records, threads, |_| ()).expect("opened");
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

/// The records in `memory`, with their entries.
fn split(memory: &mut [u8], size: usize) -> Vec<(LogId, &mut [u8])> {
    memory.chunks_mut(RECORD_OVERHEAD + size).enumerate().map(|(i, r)| (id(i), r)).collect()
}

/// From memory to memory, which has all been used before.
fn streams(c: &mut Criterion) {
    let streams = keyring().keyspace("raft").expect("a keyspace").streams();
    let plain = vec![7; STREAM];
    let mut memory = vec![7; STREAM + STREAM / 1024];
    let mut read = vec![7; STREAM];
    let seal = |memory: &mut [u8], threads| {
        let mut writer = streams.create("snapshot", Cursor::new(memory)).expect("begun");
        writer.copy_from(&mut &plain[..], threads).expect("written");
        writer.finish(LogId::START, b"").expect("finished").1.durable();
    };
    seal(&mut memory, NonZeroUsize::MIN);
    let mut group = c.benchmark_group("stream-64MiB");
    group.throughput(Throughput::Bytes(STREAM as u64)).sample_size(20);
    for threads in THREADS {
        group.bench_function(format!("write/{threads}-threads"), |b| {
            b.iter(|| seal(&mut memory, threads));
        });
        let len = STREAM_HEADER_LEN + STREAM + 32 * (STREAM >> 16);
        group.bench_function(format!("verify/{threads}-threads"), |b| {
            b.iter(|| {
                let mut reader =
                    streams.open("snapshot", Cursor::new(&memory[..len])).expect("opened");
                reader.verify_on(threads).expect("verified");
            });
        });
        group.bench_function(format!("read/{threads}-threads"), |b| {
            b.iter(|| {
                let mut reader =
                    streams.open("snapshot", Cursor::new(&memory[..len])).expect("opened");
                reader.copy_to(&mut &mut read[..], threads).expect("read");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, records, bulk, streams);
criterion_main!(benches);
