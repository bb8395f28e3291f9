//! A log of several segments, and then a snapshot of all that was in them.
//!
//! With `NODESEAL_LONG` in the environment, best in an optimized build, at Swarm's own sizes: a log of
//! over 64 MB in two segments and a snapshot of over 60 MB, on the real file system; then time and
//! memory are told beside those of copying the files. On two cores that others used too, a log of
//! 66 MB took as long as copying it durably, a snapshot of 66 MB 1.9 times as long; the memory grew by
//! once the state over what reading one file whole had taken.

use std::time::{Duration, Instant};

use super::*;
use crate::crypto::random;
use crate::swarm::log::{Entry, EntryKind, HardState, RaftMember};
use crate::swarm::objects::update_request;
use crate::swarm::record;
use crate::wal::encode::Message;
use crate::wal::etcd::Writer;

/// How large segments and payloads are, and how many payloads.
struct Size {
    segment: u64,
    payload: usize,
    count: u64,
}

fn message(parts: &[(u32, &[u8])]) -> Message {
    let mut message = Message::new();
    parts.iter().for_each(|(field, value)| message.bytes(*field, value));
    message
}

fn secret(n: u64, payload: &[u8]) -> Message {
    let name = message(&[(1, format!("secret{n}").as_bytes())]);
    let spec = message(&[(1, name.as_bytes()), (2, payload)]);
    message(&[(1, format!("id{n:023}").as_bytes()), (3, spec.as_bytes())])
}

fn payload(n: u64, len: usize) -> Vec<u8> {
    let mut payload = vec![u8::try_from(n % 251).unwrap(); len];
    payload[..8].copy_from_slice(&n.to_le_bytes());
    payload
}

/// Makes a manager's folder with `size.count` secrets in its log, and no snapshot.
fn make(fs: &dyn Fs, dir: &Path, size: &Size, kek: &UnlockKey) {
    let capture = Capture::unpack("1-autolocked");
    let text = std::fs::read(capture.dir().join("certificates/swarm-node.key")).unwrap();
    let keys = KeyFile::parse(&text).unwrap().unlock(capture.key().as_ref()).unwrap();
    let dek = random::key().unwrap();
    let contents = crate::swarm::key_file::Contents {
        tls_key: &keys.tls_key,
        kek_version: 1,
        current: Some(&dek),
        pending: None,
        needs_rotation: false,
    };
    fs.create_dir_all(&dir.join("certificates")).unwrap();
    fs.create_dir_all(&dir.join("raft")).unwrap();
    contents.replace(fs, &dir.join("certificates/swarm-node.key"), Some(kek)).unwrap();

    let member = RaftMember { raft_id: 7, node_id: "node".into(), address: "127.0.0.1:2".into() };
    let log = dir.join("raft/wal-v3-encrypted");
    let mut writer = Writer::create(fs, &log, &member.encode(), size.segment).unwrap();
    let mut index = 0;
    let mut put = |kind, content: &[u8]| {
        index += 1;
        let sealed = record::seal(Some(&dek), content.into()).unwrap();
        let head = Entry { kind, term: 1, index, data: &[] }.head(sealed.len());
        writer.entry(index, &[&head, sealed.expose()].concat()).unwrap();
        let state = HardState { term: 1, vote: 7, commit: index };
        writer.state(&state.encode()).unwrap();
    };
    let mut join = Message::new();
    join.uint(3, 7);
    join.bytes(4, &member.encode());
    put(EntryKind::Membership, join.as_bytes());
    let create = |field, object: &Message| {
        let mut action = Message::new();
        action.uint(1, 1);
        action.bytes(field, object.as_bytes());
        message(&[(2, action.as_bytes())])
    };
    let cluster = message(&[(1, b"cluster"), (2, b""), (3, b"")]);
    put(EntryKind::Normal, create(6, &cluster).as_bytes());
    let locked = with_key(cluster.as_bytes(), kek);
    put(EntryKind::Normal, update_request(5, &locked).expose());
    for n in 0..size.count {
        put(EntryKind::Normal, create(7, &secret(n, &payload(n, size.payload))).as_bytes());
    }
    writer.finish().unwrap();
}

fn with_key(cluster: &[u8], kek: &UnlockKey) -> crate::secret::SecretBytes {
    crate::swarm::objects::with_unlock_key(cluster, 1, Some(kek)).unwrap()
}

fn check(fs: &dyn Fs, dir: &Path, size: &Size, kek: &UnlockKey) -> State {
    let state = State::read_in(fs, dir, Some(kek)).unwrap();
    assert!(state.is_complete(), "{:?}", state.findings);
    assert_eq!(state.objects.secrets.len(), usize::try_from(size.count).unwrap());
    for n in 0..size.count {
        let secret = &state.objects.secrets[&format!("id{n:023}")];
        assert!(secret.payload.expose() == payload(n, size.payload));
    }
    state
}

fn rotate(fs: Arc<dyn Fs>, dir: &Path, size: &Size, kek: &UnlockKey) -> Report {
    let mut manager = Manager::open_in(fs, dir, Some(kek)).unwrap();
    manager.segment_size = size.segment;
    manager.apply(Change::RotateDek, &mut |_| {}).unwrap()
}

#[test]
fn a_log_of_several_segments_is_rotated() {
    let size = Size { segment: 1 << 16, payload: 9000, count: 20 };
    let disk = SimFs::new();
    let kek = key(1);
    make(&disk, Path::new(DIR), &size, &kek);
    let state = check(&disk, Path::new(DIR), &size, &kek);
    assert!(state.raft.segments.len() >= 3 && state.raft.snapshots.is_empty());
    let report = rotate(Arc::new(disk.clone()), Path::new(DIR), &size, &kek);
    assert_eq!(report.replaced.len(), state.raft.segments.len());
    let state = check(&disk, Path::new(DIR), &size, &kek);
    assert_eq!((state.raft.segments.len(), state.raft.snapshots.len()), (1, 1));
    rotate(Arc::new(disk.clone()), Path::new(DIR), &size, &kek);
    check(&disk, Path::new(DIR), &size, &kek);
}

#[test]
fn it_is_done_at_swarms_own_sizes() {
    if std::env::var_os("NODESEAL_LONG").is_none() {
        return;
    }
    let size = Size { segment: SEGMENT_SIZE, payload: 500_000, count: 132 };
    let dir = tempfile::tempdir().unwrap();
    let (fs, kek) = (RealFs::default(), key(1));
    make(&fs, dir.path(), &size, &kek);
    for what in ["log of two segments", "snapshot"] {
        let copy = copying(dir.path());
        let before = peak();
        let begun = Instant::now();
        let report = rotate(Arc::new(fs), dir.path(), &size, &kek);
        let taken = begun.elapsed();
        println!(
            "{what}: {} bytes in {taken:?}, copying them {copy:?}, ratio {:.1}; memory {} MiB more",
            report.bytes_read,
            taken.as_secs_f64() / copy.as_secs_f64(),
            (peak() - before) >> 10,
        );
        assert!(report.bytes_read > 60_000_000);
    }
    let state = check(&fs, dir.path(), &size, &kek);
    assert!(state.raft.snapshots[0].size > 60_000_000);
}

/// How long it takes to copy log and snapshots, durably.
fn copying(dir: &Path) -> Duration {
    let to = tempfile::tempdir_in(dir).unwrap();
    let begun = Instant::now();
    for part in ["raft/wal-v3-encrypted", "raft/snap-v3-encrypted"] {
        for entry in std::fs::read_dir(dir.join(part)).into_iter().flatten().map(Result::unwrap) {
            let mut bytes = std::fs::read(entry.path()).unwrap();
            while bytes.ends_with(&[0; 4096]) {
                bytes.truncate(bytes.len() - 4096);
            }
            let file = RealFs::default().create_new(&to.path().join(entry.file_name())).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            file.sync().unwrap();
        }
    }
    begun.elapsed()
}

/// The most memory that the process has taken so far, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
