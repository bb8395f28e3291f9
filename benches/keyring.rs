//! The key file, on a disk in memory, and the opening of a log as at start-up.
#![allow(clippy::expect_used, missing_docs, reason = "a bench that fails may panic")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use nodeseal::fs::SimFs;
use nodeseal::key::Rekey;
use nodeseal::keyring::Location;
use nodeseal::seal::{Era, LogId};
use nodeseal::{Identity, Keyring, LockPolicy, LockRecord, Opened, Protector, UnlockKey};

const RECORDS: usize = 10_000;
const SIZE: usize = 256;

fn place(disk: &SimFs) -> Location {
    Location::on(Arc::new(disk.clone()), "/keys")
}

fn create(disk: &SimFs, me: &Identity, key: &UnlockKey) -> Keyring {
    let attachments: &[(&str, &[u8])] = &[("tls-key", &[7; 1700])];
    Keyring::create(place(disk), me, Protector::unlock_key(key), attachments)
        .expect("a new keyring")
}

fn unlock(disk: &SimFs, me: &Identity, key: &UnlockKey) -> Keyring {
    match Keyring::open(place(disk), me, LockPolicy::Locked).expect("opened") {
        Opened::Locked(locked) => locked.unlock(key).expect("unlocked"),
        Opened::Unlocked(keyring) => keyring,
    }
}

fn key_file(c: &mut Criterion) {
    let me = Identity::new("prod", "m1").expect("valid names");
    let key = UnlockKey::generate().expect("a key");
    let disk = SimFs::new();
    drop(create(&disk, &me, &key));
    let mut group = c.benchmark_group("key-file");
    group.bench_function("create", |b| {
        b.iter_batched(SimFs::new, |disk| create(&disk, &me, &key), BatchSize::SmallInput);
    });
    group.bench_function("unlock", |b| b.iter(|| unlock(&disk, &me, &key)));
    group.bench_function("unlock-wrong-key", |b| {
        let wrong = UnlockKey::generate().expect("a key");
        b.iter(|| match Keyring::open(place(&disk), &me, LockPolicy::Locked).expect("opened") {
            Opened::Locked(locked) => locked.unlock(&wrong).expect_err("another key"),
            Opened::Unlocked(_) => unreachable!("it is locked"),
        });
    });
    let (one, other) = (&key, &UnlockKey::generate().expect("a key"));
    let keyring = unlock(&disk, &me, &key);
    let mut version = 0;
    group.bench_function("reconcile-same", |b| {
        let record = LockRecord::locked(0, &key);
        b.iter(|| keyring.reconcile(&record).expect("reconciled"));
    });
    group.bench_function("lock-record-decode", |b| {
        let record = LockRecord::locked(0, &key).with_pending(other).expect("a next version");
        let bytes = record.encode();
        b.iter(|| LockRecord::decode(bytes.expose()).expect("decoded"));
    });
    group.bench_function("lock-record-is-for", |b| {
        let record = LockRecord::locked(0, &key);
        b.iter(|| assert!(record.is_for(&key)));
    });
    group.bench_function("reconcile-changed", |b| {
        b.iter(|| {
            version += 1;
            let record = LockRecord::locked(version, if version % 2 == 0 { one } else { other });
            keyring.reconcile_with(&record, Rekey::KeepDek).expect("reconciled")
        });
    });
    // A write wraps for both keys.
    let pending = LockRecord::locked(version + 1, one).with_pending(other).expect("a next version");
    keyring.reconcile(&pending).expect("reconciled");
    group.bench_function("write-two-slots", |b| {
        let mut n = 0_u64;
        b.iter(|| {
            n += 1;
            keyring.attach("n", &n.to_le_bytes()).expect("attached");
        });
    });
    group.finish();
    let inspection = Keyring::inspect(place(&disk)).expect("inspected");
    println!(
        "key file with {} slots: {} bytes, of them the key set {}",
        inspection.slots.len(),
        inspection.file_bytes,
        inspection.sealed_bytes,
    );
}

/// Every record of a log, from buffers as they were read, in order.
fn log_opening(c: &mut Criterion) {
    let me = Identity::new("prod", "m1").expect("valid names");
    let disk = SimFs::new();
    let keyring = create(&disk, &me, &UnlockKey::generate().expect("a key"));
    let log = keyring.keyspace("raft").expect("a keyspace").log();
    let id = |index: usize| LogId::new(index as u64 + 1, Era::term(1 + index as u64 / 1000));
    let mut stored = Vec::new();
    let mut after = LogId::START;
    for first in (0..RECORDS).step_by(32) {
        let mut batch = log.batch(after);
        for index in first..RECORDS.min(first + 32) {
            batch.push(id(index), |out| out.extend_from_slice(&[7; SIZE])).expect("pushed");
            after = id(index);
        }
        let sealed = batch.seal().expect("sealed");
        stored.extend(sealed.records().map(|record| record.bytes.to_vec()));
        sealed.durable();
    }
    let mut group = c.benchmark_group("log-opening");
    group.throughput(Throughput::Elements(RECORDS as u64)).sample_size(20);
    group.bench_function("10000x256", |b| {
        b.iter_batched_ref(
            || stored.clone(),
            |stored| {
                let mut prev = Era::NONE;
                for (index, record) in stored.iter_mut().enumerate() {
                    black_box(log.open_in_place(id(index), prev, record).expect("opened"));
                    prev = id(index).era;
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, key_file, log_opening);
criterion_main!(benches);
