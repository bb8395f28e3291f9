//! The cluster's state at scale: what a command and the assignments that it changes cost at 1,000
//! and at 10,000 nodes, a view, and the whole state written and read, beside postcard on the same
//! objects.
//!
//! A state ten times as large does not fit into the processor's caches, whatever is done with it.
//! So commands are measured in three ways: on objects `anywhere` in the state, one after the other;
//! on the objects of the `same-1000` nodes and no others; and `cold`, with other memory in the
//! caches before each round, as when a manager does something else between two commands.
#![allow(clippy::expect_used, missing_docs, reason = "a bench that fails may panic")]
#![allow(unreachable_pub, reason = "a program of several files")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use nodeseal::cluster::Cluster;

mod mirror;
mod world;

use mirror::{Mirror, mirror};
use world::{ROUNDS, Round, TASK_CHANGES, World};

/// More than the caches hold.
const OTHER_MEMORY: usize = 96 << 20;

fn timed(world: &mut World, round: Round, rounds: u64, mut before: impl FnMut()) -> Duration {
    let mut taken = Duration::ZERO;
    for _ in 0..rounds {
        let commands = round.1(world);
        before();
        let begun = Instant::now();
        commands.iter().for_each(|bytes| world.run(bytes));
        taken += begun.elapsed();
    }
    taken
}

fn commands(c: &mut Criterion, worlds: &mut [World]) {
    let mut group = c.benchmark_group("cluster-command");
    for round in ROUNDS {
        for (way, only_first) in [("anywhere", false), ("same-1000", true)] {
            for world in worlds.iter_mut() {
                let parts = world.parts();
                world.draw_from(if only_first { 1 } else { parts });
                let id = BenchmarkId::new(format!("{}-{way}", round.0), parts * 1000);
                group.bench_function(id, |b| {
                    b.iter_custom(|rounds| timed(world, round, rounds, || ()));
                });
            }
        }
    }
    let mut other = vec![1_u8; OTHER_MEMORY];
    group.sampling_mode(SamplingMode::Flat).sample_size(20);
    for round in ROUNDS {
        for world in worlds.iter_mut() {
            let parts = world.parts();
            world.draw_from(parts);
            let id = BenchmarkId::new(format!("{}-cold", round.0), parts * 1000);
            group.bench_function(id, |b| {
                b.iter_custom(|rounds| {
                    timed(world, round, rounds, || {
                        other.iter_mut().step_by(64).for_each(|byte| *byte = byte.wrapping_add(1));
                    })
                });
            });
        }
    }
    group.finish();
}

/// A view, and the first command after it, which copies what the view shares.
fn views(c: &mut Criterion, worlds: &mut [World]) {
    let mut group = c.benchmark_group("cluster-view");
    for world in worlds {
        let size = world.parts() * 1000;
        group.bench_function(BenchmarkId::new("taken", size), |b| {
            b.iter_with_large_drop(|| world.cluster.clone());
        });
        group.bench_function(BenchmarkId::new("task-changes-state-after-it", size), |b| {
            b.iter_custom(|rounds| {
                let mut taken = Duration::ZERO;
                for _ in 0..rounds {
                    let view = world.cluster.clone();
                    taken += timed(world, TASK_CHANGES, 1, || ());
                    drop(view);
                }
                taken
            });
        });
    }
    group.finish();
}

/// Each side as its own restoring leaves it in memory. Ours checks the objects against each other,
/// and builds every index: it is ready for the next command. Postcard's are lists of objects.
fn states(c: &mut Criterion, world: &World) {
    let mut group = c.benchmark_group("cluster-state");
    let (ours, theirs) =
        (world.cluster.encode(), postcard::to_allocvec(&mirror(world)).expect("encoded"));
    let cluster = Cluster::decode(ours.expose()).expect("decoded");
    let mirror: Mirror = postcard::from_bytes(&theirs).expect("decoded");
    println!("state: {} bytes, postcard's {} bytes", ours.len(), theirs.len());
    group.throughput(Throughput::Bytes(ours.len() as u64)).sample_size(20);
    group.bench_function("encode", |b| b.iter_with_large_drop(|| cluster.encode()));
    group.bench_function("encode-postcard", |b| {
        b.iter_with_large_drop(|| postcard::to_allocvec(&mirror).expect("encoded"));
    });
    group.bench_function("restore", |b| {
        b.iter_with_large_drop(|| Cluster::decode(ours.expose()).expect("decoded"));
    });
    group.bench_function("restore-postcard", |b| {
        b.iter_with_large_drop(|| postcard::from_bytes::<Mirror>(&theirs).expect("decoded"));
    });
    group.bench_function("restore-postcard-and-index", |b| {
        b.iter_with_large_drop(|| {
            let mirror: Mirror = postcard::from_bytes(&theirs).expect("decoded");
            mirror.index().expect("whole")
        });
    });
    group.finish();
}

fn cluster(c: &mut Criterion) {
    let mut worlds = [1, 10].map(World::new);
    commands(c, &mut worlds);
    views(c, &mut worlds);
    states(c, black_box(&worlds[1]));
}

criterion_group!(benches, cluster);
criterion_main!(benches);
