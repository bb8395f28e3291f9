//! Records through `Log`, in batches and one by one, and streams.
#![allow(clippy::expect_used, missing_docs, reason = "a bench that fails may panic")]

use std::hint::black_box;
use std::io::{Cursor, Read, Seek, Write};
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nodeseal::fs::SimFs;
use nodeseal::keyring::Location;
use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD};
use nodeseal::secret::SecretBytes;
use nodeseal::{Identity, Keyring, Protector};

const BATCHES: [usize; 3] = [1, 32, 256];
const SIZES: [usize; 6] = [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10];
const STREAM: usize = 16 << 20;
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
    let log = keyring.log("raft").expect("a valid name");
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

fn streams(c: &mut Criterion) {
    let streams = keyring().streams();
    let plain = vec![7; STREAM];
    let seal = |file| {
        let mut writer = streams.create("snapshot", file).expect("begun");
        writer.write_all(&plain).expect("written");
        let (file, sealed) = writer.finish(LogId::START, b"").expect("finished");
        sealed.durable();
        file
    };
    let mut file = seal(Cursor::new(Vec::new()));
    let mut group = c.benchmark_group("stream-16MiB");
    group.throughput(Throughput::Bytes(STREAM as u64)).sample_size(20);
    group.bench_function("write", |b| {
        let mut memory = Some(Cursor::new(Vec::with_capacity(file.get_ref().len())));
        b.iter(|| {
            let mut file = memory.take().unwrap_or_default();
            file.get_mut().clear();
            file.set_position(0);
            memory = Some(seal(file));
        });
    });
    group.bench_function("verify", |b| {
        b.iter(|| {
            file.rewind().expect("rewound");
            let mut reader = streams.open("snapshot", &mut file).expect("opened");
            reader.verify().expect("verified");
        });
    });
    group.bench_function("read", |b| {
        let mut read = vec![0; STREAM];
        b.iter(|| {
            file.rewind().expect("rewound");
            let mut reader = streams.open("snapshot", &mut file).expect("opened");
            reader.read_exact(&mut read).expect("read");
        });
    });
    group.finish();
}

criterion_group!(benches, records, streams);
criterion_main!(benches);
