use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use super::independent::Plan;
use super::*;

const CHUNK: usize = 64 << 10;
const HEAD: usize = STREAM_HEADER_LEN;
/// A whole chunk with its prefix and tag, in bytes.
const WHOLE: usize = CHUNK + 32;

fn pattern(len: usize) -> Vec<u8> {
    (0..=255).chain(0..=250).cycle().take(len).collect()
}

fn write(streams: &Streams, name: &str, plain: &[u8]) -> Vec<u8> {
    let mut writer = streams.create(name, Cursor::new(Vec::new())).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish(entry(42, 3), b"meta").unwrap().0.into_inner()
}

/// What kind of failure it is to open and verify `stream`.
fn verdict(streams: &Streams, name: &str, stream: &[u8]) -> Result<()> {
    streams.open(name, Cursor::new(stream))?.verify()
}

#[test]
fn every_length_around_the_chunks_borders() {
    let keyring = keyring();
    let streams = raft(&keyring).streams();
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 3 * CHUNK] {
        let plain = pattern(len);
        let stream = write(&streams, "snap", &plain);
        assert_eq!(stream.len(), HEAD + len + 32 * len.div_ceil(CHUNK).max(1), "{len}");
        let mut reader = streams.open("snap", Cursor::new(&stream)).unwrap();
        reader.verify().unwrap();
        let info = reader.info().clone();
        assert_eq!((info.at, info.len, &*info.meta), (entry(42, 3), len as u64, &b"meta"[..]));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == plain, "{len}");
        let (_, by_hand) = node(&keyring).open_stream("snap", &stream).unwrap();
        assert!(by_hand == plain, "{len}");
    }
}

#[test]
fn how_it_was_written_does_not_matter() {
    let streams = raft(&keyring()).streams();
    let plain = pattern(2 * CHUNK + 100);
    for piece in [1, 17, CHUNK, CHUNK + 1, plain.len()] {
        let mut writer = streams.create("s", Cursor::new(Vec::new())).unwrap();
        plain.chunks(piece).for_each(|part| writer.write_all(part).unwrap());
        writer.flush().unwrap();
        assert_eq!(writer.write(&[]).unwrap(), 0);
        let stream = writer.finish(LogId::START, b"").unwrap().0.into_inner();
        let mut read = Vec::new();
        streams.open("s", Cursor::new(stream)).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == plain, "in pieces of {piece}");
    }
}

#[test]
fn a_stream_made_by_hand_opens_with_its_own_chunk_size() {
    let keyring = keyring();
    let plain = pattern(5000);
    let plan = |chunk_size| Plan {
        content: [9; 32],
        index: 1,
        era: 2,
        chunk_size,
        meta: b"meta",
        plain: &plain,
    };
    for size in [1 << 10, 2500, 5000, 16 << 20] {
        let stream = node(&keyring).stream("s", &plan(size));
        let mut reader = raft(&keyring).streams().open("s", Cursor::new(stream)).unwrap();
        assert_eq!((reader.info().chunk_size, reader.info().at), (size, entry(1, 2)));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == plain);
    }
    for size in [1, 1023, (16 << 20) + 1, u32::MAX] {
        let stream = node(&keyring).stream("s", &plan(size));
        let error = raft(&keyring).streams().open("s", Cursor::new(stream)).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{size}");
    }
}

#[test]
fn a_header_that_lies_is_damaged_before_anything_is_allocated_for_it() {
    let keyring = keyring();
    let by_hand = node(&keyring);
    let plan =
        Plan { content: [9; 32], index: 1, era: 1, chunk_size: 1024, meta: b"meta", plain: b"abc" };
    let chunk = by_hand.stream("s", &plan)[HEAD..].to_vec();
    let open = |head: Vec<u8>| {
        let stream = [by_hand.stream_header("s", head), chunk.clone()].concat();
        verdict(&raft(&keyring).streams(), "s", &stream)
    };
    let with = |at: usize, bytes: &[u8]| {
        let mut head = plan.head();
        head[at..at + bytes.len()].copy_from_slice(bytes);
        head
    };
    open(plan.head()).unwrap();
    for len in [0, 2, 4, 1024, 1 << 40, u64::MAX - 4096, u64::MAX] {
        for size in [1024_u32, 64 << 10, 16 << 20] {
            let head = with(48, &[&len.to_le_bytes()[..], &size.to_le_bytes()].concat());
            assert!(matches!(open(head), Err(Error::Damaged { .. })), "{len} of {size}");
        }
    }
    for len in [3982_u16, u16::MAX] {
        let opened = open(with(60, &len.to_le_bytes()));
        assert_eq!(opened.is_ok(), len <= 3985, "meta of {len}");
    }
}

#[test]
fn seeking_reads_what_a_slice_would() {
    let streams = raft(&keyring()).streams();
    let plain = pattern(3 * CHUNK + 1234);
    let stream = write(&streams, "s", &plain);
    let mut reader = streams.open("s", Cursor::new(stream)).unwrap();
    let mut slice = Cursor::new(&plain);
    let len = i64::try_from(plain.len()).unwrap();
    let chunk = i64::try_from(CHUNK).unwrap();
    for to in [
        SeekFrom::Start(2 * CHUNK as u64),
        SeekFrom::Current(-1),
        SeekFrom::Current(chunk),
        SeekFrom::End(-1),
        SeekFrom::End(0),
        SeekFrom::End(7),
        SeekFrom::Start(u64::MAX),
        SeekFrom::Current(i64::MIN),
        SeekFrom::Start(0),
        SeekFrom::End(-len),
        SeekFrom::Current(chunk - 5),
    ] {
        assert_eq!(reader.seek(to).unwrap(), slice.seek(to).unwrap(), "{to:?}");
        let (mut one, mut other) = ([0; 100], [0; 100]);
        let count = reader.by_ref().take(100).read(&mut one).unwrap();
        // A reader may stop at a chunk's border, and goes on after it.
        slice.read_exact(&mut other[..count]).unwrap();
        assert_eq!(one, other, "{to:?}");
        assert!(count > 0 || slice.position() >= plain.len() as u64);
    }
    for to in [SeekFrom::End(-len - 1), SeekFrom::Current(i64::MIN)] {
        let at = reader.stream_position().unwrap();
        assert_eq!(reader.seek(to).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(reader.stream_position().unwrap(), at);
    }
    reader.seek(SeekFrom::Start(u64::MAX)).unwrap();
    assert!(reader.seek(SeekFrom::Current(1)).is_err());
}

#[test]
fn chunks_that_were_moved_dropped_or_repeated_do_not_open() {
    let streams = raft(&keyring()).streams();
    let stream = write(&streams, "s", &pattern(3 * CHUNK));
    let other = write(&streams, "s", &pattern(3 * CHUNK));
    verdict(&streams, "s", &stream).unwrap();
    let chunk = |of: &[u8], i: usize| of[HEAD + i * WHOLE..HEAD + (i + 1) * WHOLE].to_vec();
    let header = &stream[..HEAD];
    let built = |chunks: &[Vec<u8>]| [header.to_vec(), chunks.concat()].concat();
    let (a, b, c) = (chunk(&stream, 0), chunk(&stream, 1), chunk(&stream, 2));
    verdict(&streams, "s", &built(&[a.clone(), b.clone(), c.clone()])).unwrap();
    for (what, chunks) in [
        ("swapped", [b.clone(), a.clone(), c.clone()]),
        ("last first", [c.clone(), b.clone(), a.clone()]),
        ("repeated", [a.clone(), a.clone(), c.clone()]),
        ("last repeated", [a.clone(), c.clone(), c.clone()]),
        ("one from another stream", [a.clone(), chunk(&other, 1), c.clone()]),
    ] {
        let verdict = verdict(&streams, "s", &built(&chunks));
        assert!(matches!(verdict, Err(Error::Unauthentic)), "{what}: {verdict:?}");
    }
    for (what, chunks) in [
        ("one dropped", vec![a.clone(), c.clone()]),
        ("last dropped", vec![a.clone(), b.clone()]),
        ("one too many", vec![a.clone(), b.clone(), c.clone(), c.clone()]),
        ("none", vec![]),
    ] {
        let verdict = verdict(&streams, "s", &built(&chunks));
        assert!(matches!(verdict, Err(Error::Damaged { .. })), "{what}: {verdict:?}");
    }
    let foreign = [other[..HEAD].to_vec(), stream[HEAD..].to_vec()].concat();
    assert!(matches!(verdict(&streams, "s", &foreign), Err(Error::Unauthentic)));
    assert!(matches!(verdict(&streams, "t", &stream), Err(Error::Unauthentic)));
    assert!(matches!(verdict(&streams, "", &stream), Err(Error::Misuse(_))));
}

#[test]
fn an_empty_stream_that_was_altered_is_not_read_as_empty() {
    let streams = raft(&keyring()).streams();
    let mut stream = write(&streams, "s", b"");
    let read = |stream: &[u8]| {
        let mut reader = streams.open("s", Cursor::new(stream.to_vec())).unwrap();
        reader.read_to_end(&mut Vec::new())
    };
    assert_eq!(read(&stream).unwrap(), 0);
    *stream.last_mut().unwrap() ^= 1;
    assert!(read(&stream).is_err());
}

#[test]
fn an_unfinished_stream_does_not_open() {
    let streams = raft(&keyring()).streams();
    let mut file = Cursor::new(Vec::new());
    let mut writer = streams.create("s", &mut file).unwrap();
    writer.write_all(&pattern(CHUNK + 1)).unwrap();
    drop(writer);
    let Err(Error::Damaged { what, .. }) = verdict(&streams, "s", file.get_ref()) else {
        panic!("an unfinished stream opened")
    };
    assert_eq!(what, "the stream was not finished");
    assert!(Streams::dek_of(file.get_ref()).is_err());
}

/// Fails at the `left`-th call.
struct Failing<'a> {
    file: &'a mut Cursor<Vec<u8>>,
    left: usize,
}

impl Failing<'_> {
    fn call(&mut self) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        Ok(())
    }
}

impl Write for Failing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(e) = self.call() {
            // As much as half of it may be there.
            self.file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(e);
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call()
    }
}

impl Seek for Failing<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.call()?;
        self.file.seek(to)
    }
}

#[test]
fn a_writer_that_fails_anywhere_leaves_nothing_that_opens() {
    let streams = raft(&keyring()).streams();
    let plain = pattern(2 * CHUNK + 1);
    let mut finished = false;
    for left in 0..50 {
        let mut file = Cursor::new(Vec::new());
        let written = (|| {
            let mut writer = streams.create("s", Failing { file: &mut file, left })?;
            if let Err(error) = writer.write_all(&plain) {
                // It stays failed, and takes nothing more.
                assert!(writer.write(b"more").is_err());
                let Err(Error::Poisoned) = writer.finish(LogId::START, b"").map(drop) else {
                    panic!("finished after a failed write")
                };
                return Err(Error::Stream(error));
            }
            writer.finish(LogId::START, b"").map(drop)
        })();
        match written {
            Ok(()) => {
                verdict(&streams, "s", file.get_ref()).unwrap();
                finished = true;
                break;
            }
            Err(Error::Stream(e)) => assert_eq!(e.kind(), io::ErrorKind::StorageFull),
            Err(other) => panic!("{other}"),
        }
        // The header is what the eighth call writes; after it come only a seek and a flush.
        let opened = verdict(&streams, "s", file.get_ref());
        assert_eq!(opened.is_ok(), left >= 8, "after {left} calls: {opened:?}");
    }
    assert!(finished);
}

/// Panics at its first chunk, and takes everything after that.
struct Panicking(Cursor<Vec<u8>>, bool);

impl Write for Panicking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.position() != 0 && !core::mem::replace(&mut self.1, true) {
            std::panic::resume_unwind(Box::new("the writer panicked"));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Panicking {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn a_chunk_that_is_sealed_is_not_sealed_again_as_plaintext() {
    let streams = raft(&keyring()).streams();
    let file = Panicking(Cursor::new(Vec::new()), false);
    let mut writer = streams.create("s", file).unwrap();
    writer.write_all(&pattern(CHUNK)).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.write(b"more")));
    assert!(panicked.is_err());
    assert!(writer.write(b"more").is_err());
    assert!(writer.finish(LogId::START, b"").is_err());
}

#[test]
fn a_stream_is_rewritten_under_another_content_key() {
    let keyring = keyring();
    let streams = raft(&keyring).streams();
    let content = |stream: &[u8]| node(&keyring).open_stream("s", stream).unwrap().0[..32].to_vec();
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let plain = pattern(len);
        let old = write(&streams, "s", &plain);
        let old_content = content(&old);
        keyring.rotate_dek(crate::Reason::Leaked).unwrap();
        // Both begin behind something else.
        let behind = |mut bytes: Vec<u8>| {
            bytes.splice(..0, *b"before");
            let mut file = Cursor::new(bytes);
            file.set_position(6);
            file
        };
        let (new, sealed) = streams.rewrite("s", behind(old.clone()), behind(Vec::new())).unwrap();
        let new = new.into_inner().split_off(6);
        assert_eq!(Streams::dek_of(&new).unwrap(), keyring.status().deks[0].id);
        assert_ne!(content(&new), old_content);
        let (old, new) = (Cursor::new(old), Cursor::new(new));
        let old = streams.open("s", old).unwrap();
        let mut new = streams.open("s", new).unwrap();
        assert_eq!(new.info().id, sealed.id());
        sealed.durable();
        assert_eq!(new.info(), &StreamInfo { id: new.info().id, ..old.info().clone() });
        assert_ne!(new.info().id, old.info().id);
        let mut read = Vec::new();
        new.read_to_end(&mut read).unwrap();
        assert!(read == plain, "{len}");
        sweep(&keyring).finish().unwrap();
    }
    // Chunks of another size; and what does not open is not copied.
    let plan = Plan {
        content: [9; 32],
        index: 1,
        era: 1,
        chunk_size: 1024,
        meta: b"m",
        plain: &pattern(5000),
    };
    let mut old = node(&keyring).stream("s", &plan);
    let new = streams.rewrite("s", Cursor::new(&old), Cursor::new(Vec::new())).unwrap().0;
    assert!(node(&keyring).open_stream("s", new.get_ref()).unwrap().1 == pattern(5000));
    *old.last_mut().unwrap() ^= 1;
    let refused = streams.rewrite("s", Cursor::new(&old), Cursor::new(Vec::new()));
    assert!(matches!(refused.map(drop), Err(Error::Unauthentic)));
}

#[test]
fn a_header_is_not_resealed_if_its_content_key_was_exposed() {
    use crate::key::{LockRecord, Reason};
    let place = Location::on(Arc::new(SimFs::new()), "/keys");
    let me = Identity::new("prod", "m1").unwrap();
    let keyring = Keyring::create(place, &me, Protector::none(), &[]).unwrap();
    let streams = raft(&keyring).streams();
    let mut header: [u8; HEAD] = write(&streams, "s", b"state")[..HEAD].try_into().unwrap();
    // In the clear one DEK is as good as another.
    keyring.rotate_dek(Reason::Age).unwrap();
    streams.reseal_header("s", &mut header).unwrap().unwrap().durable();
    sweep(&keyring).finish().unwrap();
    assert_eq!(keyring.status().deks.len(), 1);

    keyring.reconcile(&LockRecord::locked(1, &UnlockKey::generate().unwrap())).unwrap();
    let before = header;
    let refused = streams.reseal_header("s", &mut header);
    assert!(matches!(&refused, Err(Error::Misuse(crate::Misuse::ExposedStream))));
    assert!(refused.unwrap_err().to_string().contains("Streams::rewrite"));
    assert_eq!(header, before);
    assert!(matches!(streams.reseal_header("t", &mut header), Err(Error::Unauthentic)));

    // One of the locked time, and then a leak: of the DEK before, and so of this one, too.
    let mut header: [u8; HEAD] = write(&streams, "s", b"state")[..HEAD].try_into().unwrap();
    keyring.rotate_dek(Reason::Requested).unwrap();
    keyring.rotate_dek(Reason::Leaked).unwrap();
    assert!(streams.reseal_header("s", &mut header).is_err());
}

/// A leak is declared while the header is sealed again: its content key, which is then exposed, must
/// not come under the DEK that is made for the time after.
#[test]
fn a_leak_beside_a_resealing_is_not_missed() {
    let disk = SimFs::new();
    let place = Location::on(Arc::new(disk.clone()), "/keys");
    let protector = Protector::unlock_key(&UnlockKey::generate().unwrap());
    let me = Identity::new("prod", "m1").unwrap();
    let keyring = Keyring::create(place, &me, protector, &[]).unwrap();
    let streams = raft(&keyring).streams();
    let mut header: [u8; HEAD] = write(&streams, "s", b"state")[..HEAD].try_into().unwrap();
    keyring.rotate_dek(crate::Reason::Requested).unwrap();
    // All that is reserved: the next use waits for the key file, which is being written.
    drop(keyring.shared().acquire(1 << 20).unwrap());
    let (go, begun) = std::sync::mpsc::channel();
    disk.after_sync(move || {
        go.send(()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
    });
    let resealed = std::thread::scope(|scope| {
        scope.spawn(|| keyring.rotate_dek(crate::Reason::Leaked).unwrap());
        begun.recv().unwrap();
        streams.reseal_header("s", &mut header).map(drop)
    });
    assert!(matches!(resealed, Err(Error::Misuse(crate::Misuse::ExposedStream))), "{resealed:?}");
}

#[test]
fn a_header_is_resealed_alone() {
    let keyring = keyring();
    let streams = raft(&keyring).streams();
    let plain = pattern(CHUNK + 5);
    let mut stream = write(&streams, "s", &plain);
    let info = streams.open("s", Cursor::new(&stream)).unwrap().info().clone();
    let mut header: [u8; HEAD] = stream[..HEAD].try_into().unwrap();
    let uses = keyring.status().deks[0].uses;
    assert!(streams.reseal_header("s", &mut header).unwrap().is_none());
    assert_eq!(keyring.status().deks[0].uses, uses);
    keyring.rotate_dek(crate::Reason::Requested).unwrap();
    let before = header;
    assert!(matches!(streams.reseal_header("t", &mut header), Err(Error::Unauthentic)));
    assert_eq!(header, before);
    streams.reseal_header("s", &mut header).unwrap().unwrap().durable();
    assert_eq!(Streams::dek_of(&header).unwrap(), keyring.status().deks[0].id);
    stream[..HEAD].copy_from_slice(&header);
    sweep(&keyring).finish().unwrap();
    let mut reader = streams.open("s", Cursor::new(&stream)).unwrap();
    assert_eq!(reader.info(), &info);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == plain);
}

#[test]
fn a_stream_may_stand_behind_something_else() {
    let streams = raft(&keyring()).streams();
    let mut file = Cursor::new(b"a header of the caller's".to_vec());
    file.seek(SeekFrom::End(0)).unwrap();
    let at = file.position();
    let mut writer = streams.create("s", file).unwrap();
    writer.write_all(&pattern(CHUNK + 9)).unwrap();
    let mut file = writer.finish(LogId::START, b"").unwrap().0;
    assert_eq!(file.position(), file.get_ref().len() as u64);
    assert!(file.get_ref().starts_with(b"a header of the caller's"));
    file.set_position(at);
    let mut reader = streams.open("s", file).unwrap();
    let mut read = Vec::new();
    reader.seek(SeekFrom::Start(CHUNK as u64 - 1)).unwrap();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, pattern(CHUNK + 9)[CHUNK - 1..]);
}

#[test]
fn the_meta_has_a_limit_and_is_not_in_debug() {
    let streams = raft(&keyring()).streams();
    let longest = [b'#'; 3985];
    let writer = streams.create("s", Cursor::new(Vec::new())).unwrap();
    let stream = writer.finish(LogId::START, &longest).unwrap().0;
    let reader = streams.open("s", Cursor::new(stream.into_inner())).unwrap();
    assert_eq!(reader.info().meta, longest);
    let info_id = format!("StreamId({})", reader.info().id);
    assert_eq!(info_id.len(), 10 + 32);
    let shown = format!("{reader:?}");
    assert!(shown.contains("meta: 3985 bytes") && shown.contains(&info_id), "{shown}");
    let writer = streams.create("s", Cursor::new(Vec::new())).unwrap();
    let refused = writer.finish(LogId::START, &[0; 3986]).map(drop);
    assert!(matches!(refused, Err(Error::Misuse(crate::Misuse::TooLarge { .. }))));
}
