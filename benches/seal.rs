//! Sealing and opening one record with the nonce given: what the primitive alone costs.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nodeseal::hazmat::{secretbox_open, secretbox_seal};
use nodeseal::secret::SecretKey;

/// Lengths of the records, in bytes.
const SIZES: [u32; 7] = [64, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20, 16 << 20];
const NONCE: [u8; 24] = [9; 24];

fn record(size: u32) -> Vec<u8> {
    (0..size).map(|n| n.to_le_bytes()[0]).collect()
}

fn seal(c: &mut Criterion) {
    let key = SecretKey::init(|bytes| bytes.fill(1));
    let mut group = c.benchmark_group("seal");
    for size in SIZES {
        let mut data = record(size);
        group.throughput(Throughput::Bytes(size.into()));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| secretbox_seal(&key, black_box(&NONCE), black_box(&mut data)));
        });
    }
}

/// A record that was opened is no longer sealed, so each call gets a fresh copy, made outside the
/// time that counts.
fn open(c: &mut Criterion) {
    let key = SecretKey::init(|bytes| bytes.fill(1));
    let mut group = c.benchmark_group("open");
    for size in SIZES {
        let mut sealed = record(size);
        let tag = secretbox_seal(&key, &NONCE, &mut sealed);
        let batch = if size > 4 << 10 { BatchSize::PerIteration } else { BatchSize::SmallInput };
        group.throughput(Throughput::Bytes(size.into()));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_batched_ref(
                || sealed.clone(),
                |data| secretbox_open(&key, black_box(&NONCE), &tag, data).is_ok(),
                batch,
            );
        });
    }
}

criterion_group!(benches, seal, open);
criterion_main!(benches);
