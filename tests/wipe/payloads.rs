//! Plaintexts of records, cells and streams, and the content keys of streams.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use nodeseal::seal::{Era, LogId, STREAM_HEADER_LEN, State};
use nodeseal::secret::SecretBytes;
use nodeseal::{Error, Identity, Keyring, Protector, Reason};

use super::by_hand::{hkdf, keys_in_the_clear, open};
use super::watch::wiped;

const PLAIN: [u8; 40] = *b"plaintext that must not be left anywhere";
const SECRETS: [(&str, &[u8]); 1] = [("plaintext", &PLAIN)];
const TERM: Era = Era::term(1);

fn keyring(dir: &tempfile::TempDir) -> Keyring {
    let me = Identity::new("prod", "m1").unwrap();
    Keyring::create(dir.path(), &me, Protector::none(), &[]).unwrap()
}

#[test]
fn secret_bytes_that_grow_shrink_and_move() {
    wiped("growing", &SECRETS, || {
        let mut bytes = SecretBytes::new();
        (0..100).for_each(|_| bytes.extend_from_slice(&PLAIN));
        bytes.resize(60);
        bytes.resize(9000);
        bytes.write_all(&PLAIN).unwrap();
    });
    wiped("cutting and clearing", &SECRETS, || {
        let mut bytes = SecretBytes::with_capacity(64);
        bytes.extend_from_slice(&PLAIN);
        bytes.clear();
        assert!(bytes.is_empty());
        // What lies behind the end was wiped, and this does not bring it back.
        bytes.resize(40);
        assert_eq!(bytes.expose(), [0; 40]);
    });
    wiped("taking a vector over", &SECRETS, || {
        let mut vector = Vec::with_capacity(400);
        vector.extend_from_slice(&PLAIN);
        let cut = vector.len() - 1;
        vector.truncate(cut);
        drop(SecretBytes::from_vec(vector));
    });
}

#[test]
fn batches_that_are_sealed_dropped_or_fail() {
    let dir = tempfile::tempdir().unwrap();
    let keyring = keyring(&dir);
    let log = keyring.keyspace("raft").unwrap().log();
    let batch = |count| {
        let mut batch = log.batch(LogId::START);
        for index in 1..=count {
            batch.push(LogId::new(index, TERM), |out| out.extend_from_slice(&PLAIN)).unwrap();
        }
        batch
    };
    wiped("sealed", &SECRETS, || drop(batch(50).seal().unwrap().durable()));
    wiped("dropped unsealed", &SECRETS, || drop(batch(50)));
    wiped("dropped unsealed, in the memory of another", &SECRETS, || {
        let memory = batch(3).seal().unwrap().durable();
        let mut batch = batch(2).with_buffer(memory);
        let pushed = batch.push(LogId::new(1, TERM), |out| out.extend_from_slice(&PLAIN));
        assert!(pushed.is_err());
    });
    wiped("an entry that fails", &SECRETS, || {
        let mut batch = log.batch(LogId::START);
        for _ in 0..3 {
            let failed = batch.try_push(LogId::new(1, TERM), |out| {
                (0..9).for_each(|_| out.extend_from_slice(&PLAIN));
                Err(Error::Poisoned)
            });
            assert!(failed.is_err());
        }
        // Its memory holds nothing of it either, so that an empty batch can be given away.
        drop(batch.seal().unwrap());
    });
    wiped("an entry that panics", &SECRETS, || {
        let mut batch = log.batch(LogId::START);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            batch.push(LogId::new(1, TERM), |out| {
                out.extend_from_slice(&PLAIN);
                std::panic::resume_unwind(Box::new("no"));
            })
        }));
        assert!(panicked.is_err());
    });
    wiped("a keyring that was destroyed", &SECRETS, || {
        let batch = batch(5);
        keyring.clone().destroy().unwrap();
        assert!(matches!(batch.seal().map(drop), Err(Error::Poisoned)));
    });
}

#[test]
fn cells_that_are_sealed_opened_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let keyring = keyring(&dir);
    let cells = keyring.keyspace("raft").unwrap().cells();
    wiped("sealed and opened", &SECRETS, || {
        let sealed = cells.seal("t", b"r", &PLAIN).unwrap();
        assert_eq!(cells.open("t", b"r", sealed.bytes()).unwrap().expose(), PLAIN);
        assert!(cells.open("t", b"other", sealed.bytes()).is_err());
        let state = State { vote: b"v".to_vec(), ..State::default() };
        cells.seal_state(&state).unwrap().durable();
    });
    wiped("re-sealed, or not", &SECRETS, || {
        let sealed = cells.seal("t", b"r", &PLAIN).unwrap().bytes().to_vec();
        keyring.rotate_dek(Reason::Requested).unwrap();
        assert!(cells.reseal("t", b"other", &sealed).is_err());
        cells.reseal("t", b"r", &sealed).unwrap().unwrap().durable();
        keyring.clone().destroy().unwrap();
        assert!(cells.seal("t", b"r", &PLAIN).is_err());
        assert!(cells.reseal("t", b"r", &sealed).is_err());
    });
}

/// Takes `left` bytes and then fails.
struct Full {
    left: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Full {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Ok(0)
    }
}

#[test]
fn streams_that_are_finished_dropped_or_fail() {
    let dir = tempfile::tempdir().unwrap();
    let keyring = keyring(&dir);
    let streams = keyring.keyspace("raft").unwrap().streams();
    wiped("written and read", &SECRETS, || {
        let mut writer = streams.create("s", Cursor::new(Vec::new())).unwrap();
        (0..4000).for_each(|_| writer.write_all(&PLAIN).unwrap());
        let (mut file, sealed) = writer.finish(LogId::START, b"").unwrap();
        sealed.durable();
        file.rewind().unwrap();
        let mut reader = streams.open("s", file).unwrap();
        reader.verify().unwrap();
        let mut read = [0; 40];
        reader.seek(SeekFrom::Start(40 * 3000)).unwrap();
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, PLAIN);
    });
    wiped("rewritten, whole or not", &SECRETS, || {
        let mut writer = streams.create("s", Cursor::new(Vec::new())).unwrap();
        (0..4000).for_each(|_| writer.write_all(&PLAIN).unwrap());
        let old = writer.finish(LogId::START, b"").unwrap().0.into_inner();
        streams.rewrite("s", Cursor::new(&old), Cursor::new(Vec::new())).unwrap().1.durable();
        let full = Full { left: STREAM_HEADER_LEN + 100_000 };
        assert!(streams.rewrite("s", Cursor::new(&old), full).is_err());
        let mut altered = old;
        *altered.last_mut().unwrap() ^= 1;
        assert!(streams.rewrite("s", Cursor::new(&altered), Cursor::new(Vec::new())).is_err());
    });
    wiped("dropped unfinished", &SECRETS, || {
        let mut writer = streams.create("s", Cursor::new(Vec::new())).unwrap();
        (0..2000).for_each(|_| writer.write_all(&PLAIN).unwrap());
    });
    for left in [STREAM_HEADER_LEN, STREAM_HEADER_LEN + 100_000] {
        wiped("into a file that is full", &SECRETS, || {
            let mut writer = streams.create("s", Full { left }).unwrap();
            let written = (0..4000).try_for_each(|_| writer.write_all(&PLAIN));
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
            assert!(writer.finish(LogId::START, b"").is_err());
        });
    }
    wiped("finished into a file that is full", &SECRETS, || {
        let mut writer = streams.create("s", Full { left: STREAM_HEADER_LEN }).unwrap();
        writer.write_all(&PLAIN).unwrap();
        assert!(writer.finish(LogId::START, b"").is_err());
    });
}

#[test]
fn the_content_key_of_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    let keyring = keyring(&dir);
    let raft = keyring.keyspace("raft").unwrap();
    let (streams, id) = (raft.streams(), raft.id().to_bytes());
    let (_, dek) =
        keys_in_the_clear(&std::fs::read_to_string(dir.path().join("node.keys")).unwrap());
    let writer = streams.create("s", Cursor::new(Vec::new())).unwrap();
    let file = writer.finish(LogId::START, b"").unwrap().0.into_inner();
    let key = hkdf(&dek, &[&b"nodeseal/v1/stream"[..], &[2], b"prod", b"m1", &id]);
    let aad = [&1_u64.to_le_bytes()[..], b"s"].concat();
    let content = open(&key, &aad, &file[9..STREAM_HEADER_LEN])[..32].to_vec();
    wiped("opened and re-sealed", &[("content key", &content)], || {
        assert!(streams.open("s", Cursor::new(&file)).unwrap().verify().is_ok());
        assert!(streams.open("t", Cursor::new(&file)).is_err());
        keyring.rotate_dek(Reason::Requested).unwrap();
        let mut header: [u8; STREAM_HEADER_LEN] = file[..STREAM_HEADER_LEN].try_into().unwrap();
        assert!(streams.reseal_header("t", &mut header).is_err());
        streams.reseal_header("s", &mut header).unwrap().unwrap().durable();
        keyring.clone().destroy().unwrap();
        let mut header: [u8; STREAM_HEADER_LEN] = file[..STREAM_HEADER_LEN].try_into().unwrap();
        assert!(streams.reseal_header("s", &mut header).is_err());
    });
}
