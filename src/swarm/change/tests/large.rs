//! A log of several segments, and then a snapshot of all that was in them. `tests/swarm_memory.rs` does
//! it at Swarm's own sizes.

use super::*;
use crate::crypto::random;
use crate::swarm::log::{Entry, EntryKind, HardState, RaftMember};
use crate::swarm::objects::update_request;
use crate::swarm::record::{self, Cipher, Sealer};
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
        cipher: Cipher::SecretBox,
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
        let sealed =
            record::seal(Some(Sealer { cipher: Cipher::SecretBox, key: &dek }), content.into())
                .unwrap();
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
