//! What the paths that matter allocate: counted, in a test binary of its own.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test says that it failed by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;

use nodeseal::fs::SimFs;
use nodeseal::keyring::Location;
use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD};
use nodeseal::secret::{SecretBytes, SecretKey};
use nodeseal::{
    Costs, Error, Identity, Keyring, LockPolicy, Opened, Passphrase, Protector, UnlockKey, hazmat,
};
use sha2::{Digest, Sha256};

/// What one thread allocated while it was counting.
#[derive(Clone, Copy, Default)]
struct Count {
    calls: usize,
    live: isize,
    peak: isize,
}

thread_local! {
    static COUNT: Cell<Option<Count>> = const { Cell::new(None) };
}

fn note(calls: usize, bytes: isize) {
    COUNT.with(|count| {
        if let Some(mut now) = count.get() {
            now.calls += calls;
            now.live += bytes;
            now.peak = now.peak.max(now.live);
            count.set(Some(now));
        }
    });
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it is; the counting neither allocates nor
// unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size().cast_signed());
        // SAFETY: the caller's promises are the ones that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(0, -layout.size().cast_signed());
        // SAFETY: as above; `block` came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted<T>(run: impl FnOnce() -> T) -> (Count, T) {
    COUNT.with(|count| count.set(Some(Count::default())));
    let result = run();
    (COUNT.with(Cell::take).unwrap_or_default(), result)
}

fn keyring() -> Keyring {
    let place = Location::on(Arc::new(SimFs::new()), "/keys");
    let protector = Protector::unlock_key(&UnlockKey::generate().unwrap());
    Keyring::create(place, &Identity::new("prod", "m1").unwrap(), protector, &[]).unwrap()
}

#[test]
fn the_counting_counts() {
    let (count, grown) = counted(|| {
        let mut bytes = vec![0_u8; 1000];
        bytes.reserve_exact(9000);
        bytes
    });
    assert!(count.calls >= 2 && count.peak >= 10_000, "{} {}", count.calls, count.peak);
    drop(grown);
}

/// A key file says what its slots cost, and anybody can write one.
#[test]
fn a_slot_beyond_the_ceiling_takes_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (me, path) = (Identity::new("prod", "m1").unwrap(), dir.path().join("node.keys"));
    let protector = Protector::unlock_key(&UnlockKey::generate().unwrap());
    let keyring = Keyring::create(dir.path(), &me, protector, &[]).unwrap();
    let passphrase = || Passphrase::new(SecretBytes::from(&b"correct horse"[..])).unwrap();
    keyring.add_passphrase(&passphrase(), Costs::FLOOR).unwrap();
    drop(keyring);
    let guess = |ceiling| {
        let opened = Keyring::open(dir.path(), &me, LockPolicy::Locked).unwrap();
        let Opened::Locked(locked) = opened else { panic!("not locked") };
        let passphrase = passphrase();
        counted(|| locked.ceiling(ceiling).unlock_with_passphrase(&passphrase).map(drop))
    };
    let (right, opened) = guess(Costs::FLOOR);
    opened.unwrap();
    assert!(right.peak >= 19 << 20, "{}", right.peak);

    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text[..text.find("check ").unwrap()].replace("19456,2,1", "1048576,16,16");
    let check: String = Sha256::digest(&lines).iter().map(|byte| format!("{byte:02x}")).collect();
    #[expect(clippy::disallowed_methods, reason = "an attacker's")]
    std::fs::write(&path, format!("{lines}check {check}\n")).unwrap();
    let (count, refused) = guess(Costs::CEILING);
    assert!(matches!(refused.unwrap_err().error, Error::TooCostly { .. }));
    assert!(count.peak < 64 << 10, "{}", count.peak);
}

#[test]
fn sealing_and_opening_records_in_place_allocates_nothing() {
    let keyring = keyring();
    let log = keyring.keyspace("raft").unwrap().log();
    let mut buffers = vec![vec![7; RECORD_OVERHEAD + 300]; 64];
    let id = |index: usize| LogId::new(index as u64 + 1, Era::term(1 + index as u64 / 20));
    let mut records: Vec<_> =
        buffers.iter_mut().enumerate().map(|(i, buffer)| (id(i), &mut buffer[..])).collect();
    // Derives the log's key.
    log.seal_batch(LogId::START, &mut records[..1]).unwrap().durable();
    let (count, sealed) = counted(|| log.seal_batch(LogId::START, &mut records));
    sealed.unwrap().durable();
    assert_eq!(count.calls, 0);

    let (count, ()) = counted(|| {
        let mut prev = Era::NONE;
        for (id, record) in &mut records {
            assert!(log.open_in_place(*id, prev, record).is_ok());
            prev = id.era;
        }
    });
    assert_eq!(count.calls, 0);

    log.seal_batch(LogId::START, &mut records).unwrap().durable();
    let (count, opened) = counted(|| log.open_batch(LogId::START, &mut records));
    opened.unwrap();
    assert_eq!(count.calls, 0);

    let mut one = vec![0; RECORD_OVERHEAD + 10];
    let (count, sealed) = counted(|| log.seal_in_place(id(0), Era::NONE, &mut one));
    sealed.unwrap().durable();
    assert_eq!(count.calls, 0);
}

/// Whatever runs: each kernel that the machine has.
#[test]
fn no_kernel_allocates() {
    let key = SecretKey::init(|bytes| bytes.fill(1));
    for kernel in hazmat::kernels() {
        for len in [0, 64, 256, 1024, 1500, 4096, 65_536] {
            let mut data = vec![7; len];
            let (count, opened) = counted(|| {
                hazmat::on_kernel(kernel, || {
                    let tag = hazmat::secretbox_seal(&key, &[2; 24], &mut data);
                    hazmat::secretbox_open(&key, &[2; 24], &tag, &mut data).is_ok()
                })
            });
            assert_eq!((count.calls, opened), (0, Some(true)), "{kernel} {len}");
        }
    }
}

/// On several threads each holds one chunk; what the caller's own thread allocates is counted.
#[test]
fn threads_hold_a_chunk_each() {
    const PEAK: isize = 300 << 10;
    let streams = keyring().keyspace("raft").unwrap().streams();
    let threads = NonZeroUsize::new(3).unwrap();
    let plain = vec![7; 8 << 20];
    let file = tempfile::tempfile().unwrap();
    let (count, file) = counted(|| {
        let mut writer = streams.create("snapshot", file).unwrap();
        writer.copy_from(&mut &plain[..], threads).unwrap();
        let (file, sealed) = writer.finish(LogId::START, b"").unwrap();
        sealed.durable();
        file
    });
    assert!(count.peak < PEAK, "writing took {}", count.peak);
    let (count, ()) = counted(|| {
        let mut file = &file;
        file.rewind().unwrap();
        let mut reader = streams.open("snapshot", file).unwrap();
        reader.verify_on(threads).unwrap();
        assert_eq!(reader.copy_to(&mut std::io::sink(), threads).unwrap(), 8 << 20);
    });
    assert!(count.peak < PEAK, "reading took {}", count.peak);
}

#[test]
fn a_stream_of_64_mib_is_written_and_read_in_constant_memory() {
    const PEAK: isize = 300 << 10;
    let streams = keyring().keyspace("raft").unwrap().streams();
    let block = [0x6b; 1 << 16];
    let file = tempfile::tempfile().unwrap();
    let (count, (mut file, sealed)) = counted(|| {
        let mut writer = streams.create("snapshot", file).unwrap();
        (0..1024).for_each(|_| writer.write_all(&block).unwrap());
        writer.finish(LogId::START, b"").unwrap()
    });
    sealed.durable();
    assert!(count.peak < PEAK, "writing took {}", count.peak);

    file.rewind().unwrap();
    let mut read = [0; 1 << 16];
    let (count, ()) = counted(|| {
        let mut reader = streams.open("snapshot", file).unwrap();
        assert_eq!(reader.info().len, 64 << 20);
        reader.verify().unwrap();
        reader.seek(SeekFrom::End(-(1 << 20))).unwrap();
        (0..16).for_each(|_| reader.read_exact(&mut read).unwrap());
    });
    assert_eq!(read, block);
    assert!(count.peak < PEAK, "reading took {}", count.peak);
}

/// What an object of the cluster's state takes, beside a payload's own bytes, in bytes.
#[cfg(feature = "cluster")]
#[test]
fn the_clusters_objects_are_small() {
    use nodeseal::cluster::{Cluster, Command, Dates, Labels, Request, Selector, TaskState};
    use nodeseal::grant::{NodeId, Reference, SecretId, ServiceId, TaskId, Time};

    const COUNT: u64 = 2000;
    const PAYLOAD: [u8; 1024] = [7; 1024];
    let mut cluster = Cluster::new();
    let mut apply = |request| {
        let command = Command { at: Time::default(), by: String::new(), request };
        let index = cluster.applied() + 1;
        let bytes = command.encode();
        drop(command);
        let (count, result) =
            counted(|| cluster.apply(index, Command::decode(bytes.expose()).unwrap()).result);
        result.unwrap();
        (count.live, cluster.payload_key())
    };
    // Ids as long as Swarm's, in an order of their own.
    let id = |number: u64| format!("{:025}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let first = Cluster::new().new_payload_key(false).unwrap();
    let key = apply(first).1.unwrap();
    let mut each = |make: &dyn Fn(u64) -> Request| {
        let live: isize = (0..COUNT).map(|number| apply(make(number)).0).sum();
        live / isize::try_from(COUNT).unwrap()
    };
    let secret = |number| SecretId::new(&id(number)).unwrap();
    let secrets = each(&|number| Request::CreateSecret {
        secret: secret(number),
        name: id(number),
        labels: Labels::new(),
        internal: false,
        dates: Dates::default(),
        selector: Selector::default(),
        payload: key.seal(&secret(number), 1, &PAYLOAD).unwrap(),
    });
    let nodes = each(&|number| Request::PutNode {
        node: NodeId::new(&id(number)).unwrap(),
        labels: Labels::new(),
        public_key: None,
    });
    let services = each(&|number| Request::CreateService {
        service: ServiceId::new(&id(number)).unwrap(),
        name: id(number),
        labels: Labels::new(),
        references: vec![Reference::new(secret(number), &id(number)).unwrap()],
    });
    let tasks = each(&|number| Request::CreateTask {
        task: TaskId::new(&id(number)).unwrap(),
        service: ServiceId::new(&id(number % 20)).unwrap(),
        node: Some(NodeId::new(&id(number % 200)).unwrap()),
        state: TaskState::Pending,
    });
    let secrets = secrets - 1024;
    println!("secret {secrets}, node {nodes}, service {services}, task {tasks}");
    assert!(secrets < 700 && nodes < 370 && services < 1040 && tasks < 300);
}
