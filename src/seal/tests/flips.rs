//! Every bit that means something, flipped: the right kind of error, and nothing else.

use std::io::{Cursor, Read};

use super::independent::Plan;
use super::*;

/// What an opener of `format` must say to bit `bit` of what it opens, of whose header the first
/// nine bytes are the format byte and the DEK id.
fn right(format: u8, bit: usize, error: &Error) -> bool {
    match bit {
        0..8 if (1..=7).contains(&(format ^ 1 << bit)) => {
            matches!(error, Error::Unsupported { .. })
        }
        0..8 => matches!(error, Error::Damaged { .. }),
        8..72 => matches!(error, Error::UnknownDek(_)),
        _ => matches!(error, Error::Unauthentic),
    }
}

#[test]
fn every_bit_of_a_record_counts() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let record = sealed(&log, entry(3, 2), 1, b"plain");
    for bit in 0..record.len() * 8 {
        let error = refused(&log, entry(3, 2), 1, &flipped(&record, bit));
        assert!(right(RECORD, bit, &error), "bit {bit}: {error}");
    }
}

#[test]
fn every_bit_of_a_cell_counts() {
    let cells = raft(&keyring()).cells();
    let sealed = cells.seal("table", b"row", b"plain").unwrap();
    for bit in 0..sealed.bytes().len() * 8 {
        let error = cells.open("table", b"row", &flipped(sealed.bytes(), bit)).unwrap_err();
        assert!(right(CELL, bit, &error), "bit {bit}: {error}");
    }
}

#[test]
fn every_bit_of_a_stream_counts() {
    let keyring = keyring();
    let streams = raft(&keyring).streams();
    let plain: Vec<u8> = (0..=255).cycle().take(2060).collect();
    let (content, meta) = ([9; 32], b"meta".as_slice());
    let plan = Plan { content, index: 1, era: 1, chunk_size: 1024, meta, plain: &plain };
    let stream = node(&keyring).stream("s", &plan);
    assert!(streams.open("s", Cursor::new(&stream)).unwrap().verify().is_ok());

    // Format, DEK id, nonce, tag and all facts; of the zeros behind them, some.
    let header = (0..(49 + 66 + 4) * 8).chain((119 * 8..4096 * 8).step_by(251));
    for bit in header {
        let error = streams.open("s", Cursor::new(flipped(&stream, bit))).unwrap_err();
        assert!(right(STREAM, bit, &error), "bit {bit}: {error}");
    }
    // Prefix and tag of each chunk; of what they hold, some.
    let heads = (0..3usize).flat_map(|i| (0..32 * 8).map(move |bit| i * 1056 * 8 + bit));
    let bodies = (0..stream.len() - 4096).step_by(13).map(|byte| byte * 8 + byte % 8);
    for at in heads.chain(bodies) {
        let bytes = flipped(&stream, 4096 * 8 + at);
        let mut reader = streams.open("s", Cursor::new(bytes)).unwrap();
        assert!(matches!(reader.verify(), Err(Error::Unauthentic)), "bit {at}");
        // What is read nevertheless is the chunks before, and then the same error.
        let mut read = Vec::new();
        let error = reader.read_to_end(&mut read).unwrap_err();
        assert_eq!(read, plain[..at / 8 / 1056 * 1024], "bit {at}");
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        assert!(matches!(inner, Some(Error::Unauthentic)), "bit {at}");
    }
}

#[test]
fn cut_at_every_length_or_made_longer() {
    let keyring = keyring();
    let raft = raft(&keyring);
    let (log, cells, streams) = (raft.log(), raft.cells(), raft.streams());
    let record = sealed(&log, entry(3, 2), 1, b"plain");
    for len in 0..record.len() {
        let error = refused(&log, entry(3, 2), 1, &record[..len]);
        assert_eq!(matches!(error, Error::Damaged { .. }), len < 41, "{len}: {error}");
        assert!(matches!(error, Error::Damaged { .. } | Error::Unauthentic), "{len}: {error}");
    }
    let error = refused(&log, entry(3, 2), 1, &[&record[..], &[0]].concat());
    assert!(matches!(error, Error::Unauthentic));

    let cell = cells.seal("t", b"r", b"plain").unwrap();
    for len in 0..cell.bytes().len() {
        let error = cells.open("t", b"r", &cell.bytes()[..len]).unwrap_err();
        assert_eq!(matches!(error, Error::Damaged { .. }), len < 49, "{len}: {error}");
        assert!(matches!(error, Error::Damaged { .. } | Error::Unauthentic), "{len}: {error}");
    }
    assert!(cells.open("t", b"r", &[cell.bytes(), &[0]].concat()).is_err());

    let plain = [5; 1030];
    let (content, meta) = ([9; 32], b"".as_slice());
    let plan = Plan { content, index: 1, era: 1, chunk_size: 1024, meta, plain: &plain };
    let stream = node(&keyring).stream("s", &plan);
    for len in (0..4096).step_by(31).chain(4096..stream.len()) {
        let error = streams.open("s", Cursor::new(&stream[..len])).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{len}: {error}");
    }
    for more in [1, 32, 1056] {
        let longer = [&stream[..], &vec![0; more]].concat();
        assert!(matches!(streams.open("s", Cursor::new(longer)), Err(Error::Damaged { .. })));
    }
}
