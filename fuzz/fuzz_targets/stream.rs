//! A stream is read whole if, and only if, it was sealed so, and never gives a wrong byte.
//!
//! The first byte chooses: the input is the stream; a header that is authentic and then the input;
//! or a stream of the input, damaged in one place.
#![no_main]

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nodeseal::seal::Streams;
use nodeseal_fuzz::fixed::{ACTIVE, DEKS, keyspace};
use nodeseal_fuzz::reference::{HEADER, StreamFacts, open_stream_header, stream_header};
use nodeseal_fuzz::{split_mode, take, take_u64};

static STREAMS: LazyLock<Streams> = LazyLock::new(|| keyspace().streams());

fuzz_target!(|data: &[u8]| {
    let (mode, mut rest) = split_mode(data);
    let stream = match mode % 3 {
        0 => rest.to_vec(),
        1 => {
            let len = take_u64(&mut rest) % (1 << 17);
            let chunk = u16::from_le_bytes(take(&mut rest));
            let facts = facts(len, chunk);
            [header(&facts), rest.to_vec()].concat()
        }
        _ => damaged(&mut rest),
    };
    let expected = open_stream_header(&DEKS, "snapshot", &stream)
        .and_then(|plain| StreamFacts::parse(&plain))
        .and_then(|facts| facts.open(&stream[HEADER..]));
    check(&stream, expected.as_deref());
});

fn facts(len: u64, chunk: u16) -> StreamFacts {
    let chunk_size = 1024 + u32::from(chunk);
    StreamFacts { content: [8; 32], index: 1, era: 1, len, chunk_size, meta: b"meta".to_vec() }
}

fn header(facts: &StreamFacts) -> Vec<u8> {
    stream_header(&ACTIVE, "snapshot", &[5; 24], &facts.encode())
}

fn damaged(rest: &mut &[u8]) -> Vec<u8> {
    let [low, high, flip, chunk] = take(rest);
    let facts = facts(rest.len() as u64, chunk.into());
    let mut stream = [header(&facts), facts.seal(rest, &[6; 16])].concat();
    let len = stream.len();
    stream[usize::from(u16::from_le_bytes([low, high])) % len] ^= flip;
    stream
}

fn check(stream: &[u8], expected: Option<&[u8]>) {
    let Ok(mut reader) = STREAMS.open("snapshot", Cursor::new(stream)) else {
        assert_eq!(expected, None);
        return;
    };
    assert_eq!(reader.verify().is_ok(), expected.is_some());
    let mut plain = Vec::new();
    let read = reader.read_to_end(&mut plain);
    match expected {
        Some(expected) => {
            assert_eq!(read.expect("all chunks open"), expected.len());
            assert_eq!(plain, expected);
            for at in [0, expected.len() / 2, expected.len().saturating_sub(1), expected.len()] {
                let mut some = Vec::new();
                reader.seek(SeekFrom::Start(at as u64)).expect("inside");
                reader.by_ref().take(1500).read_to_end(&mut some).expect("all chunks open");
                assert_eq!(some, &expected[at..expected.len().min(at + 1500)]);
            }
            assert!(reader.seek(SeekFrom::Current(i64::MIN)).is_err());
            reader.seek(SeekFrom::Start(u64::MAX)).expect("any position");
            assert_eq!(reader.read(&mut [0]).expect("the end"), 0);
        }
        // Nothing is read of an empty one, so only `verify` looks at its one chunk.
        None => assert!(read.is_err() || reader.info().len == 0, "a damaged stream is read"),
    }
}
