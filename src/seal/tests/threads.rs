//! Several threads make and open the same as one.

use core::num::NonZeroUsize;
use std::io::{self, Cursor, Read, Write};

use super::*;
use crate::crypto::testing::pattern;

const CHUNK: usize = 64 << 10;

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// Gives its bytes in pieces, and fails after them if told so.
struct Pieces<'a> {
    rest: &'a [u8],
    piece: usize,
    fails: bool,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() && self.fails {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.piece = self.piece % 70_000 + 1;
        if self.piece.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = out.len().min(self.piece);
        self.rest.read(&mut out[..count])
    }
}

fn pieces(rest: &[u8]) -> Pieces<'_> {
    Pieces { rest, piece: 60_000, fails: false }
}

#[test]
fn a_stream_is_the_same_on_any_number_of_threads() {
    let keyring = keyring();
    let streams = raft(&keyring).streams();
    let plain = pattern(7 * CHUNK + 1000);
    for count in [1, 2, 3, 9] {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 7 * CHUNK, plain.len()] {
            // Some is written before, and some after.
            for (before, after) in
                [(0, 0), (0, len / 3), (len / 3, 0), (len / 3, len / 4), (len, 0)]
            {
                let plain = &plain[..len];
                let middle = &plain[before..len - after];
                let mut writer = streams.create("s", Cursor::new(Vec::new())).unwrap();
                writer.write_all(&plain[..before]).unwrap();
                let copied = writer.copy_from(&mut pieces(middle), threads(count)).unwrap();
                assert_eq!(copied, middle.len() as u64);
                writer.write_all(&plain[len - after..]).unwrap();
                let (file, sealed) = writer.finish(entry(4, 2), b"").unwrap();
                sealed.durable();
                let (_, by_hand) = node(&keyring).open_stream("s", file.get_ref()).unwrap();
                assert!(by_hand == plain, "{len} bytes on {count} threads");

                let mut reader = streams.open("s", Cursor::new(file.get_ref())).unwrap();
                reader.verify_on(threads(count)).unwrap();
                // A part is read alone.
                let mut read = vec![0; before];
                reader.read_exact(&mut read).unwrap();
                let rest = reader.copy_to(&mut read, threads(count)).unwrap();
                assert_eq!(rest, (len - before) as u64);
                assert!(read == plain, "{len} bytes on {count} threads");
                assert_eq!(reader.copy_to(&mut read, threads(count)).unwrap(), 0);
                assert_eq!(reader.read(&mut [0]).unwrap(), 0);
            }
        }
    }
}

#[test]
fn nothing_of_a_chunk_that_was_altered_is_written() {
    let streams = raft(&keyring()).streams();
    let plain = pattern(6 * CHUNK);
    let mut writer = streams.create("s", Cursor::new(Vec::new())).unwrap();
    writer.copy_from(&mut &plain[..], threads(2)).unwrap();
    let stream = writer.finish(LogId::START, b"").unwrap().0.into_inner();
    for chunk in 0..6 {
        let at = STREAM_HEADER_LEN + chunk * (CHUNK + 32) + 40;
        let altered = flipped(&stream, 8 * at);
        for count in [1, 2, 4] {
            let mut reader = streams.open("s", Cursor::new(&altered)).unwrap();
            assert!(matches!(reader.verify_on(threads(count)), Err(Error::Unauthentic)));
            let mut read = Vec::new();
            let copied = reader.copy_to(&mut read, threads(count));
            assert!(matches!(copied, Err(Error::Unauthentic)));
            assert!(read == plain[..chunk * CHUNK], "chunk {chunk} on {count} threads");
            assert_eq!(io::Seek::stream_position(&mut reader).unwrap(), read.len() as u64);
        }
    }
    // An empty stream is not read as empty.
    let writer = streams.create("s", Cursor::new(Vec::new())).unwrap();
    let mut empty = writer.finish(LogId::START, b"").unwrap().0.into_inner();
    *empty.last_mut().unwrap() ^= 1;
    let mut reader = streams.open("s", Cursor::new(empty)).unwrap();
    assert!(reader.copy_to(&mut io::sink(), threads(2)).is_err());
}

/// Takes some bytes and then no more.
struct Full(Cursor<Vec<u8>>, usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1 = self.1.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Seek for Full {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn a_copy_that_failed_leaves_nothing_that_can_be_finished() {
    let streams = raft(&keyring()).streams();
    let plain = pattern(5 * CHUNK);
    for count in [1, 3] {
        let full = Full(Cursor::new(Vec::new()), STREAM_HEADER_LEN + 2 * CHUNK);
        let mut writer = streams.create("s", full).unwrap();
        let copied = writer.copy_from(&mut &plain[..], threads(count));
        assert!(matches!(copied, Err(Error::Stream(e)) if e.kind() == io::ErrorKind::StorageFull));
        assert!(writer.write(b"more").is_err());
        assert!(matches!(writer.copy_from(&mut &plain[..], threads(1)), Err(Error::Poisoned)));
        assert!(matches!(writer.finish(LogId::START, b""), Err(Error::Poisoned)));

        let mut writer = streams.create("s", Cursor::new(Vec::new())).unwrap();
        let mut input = Pieces { fails: true, ..pieces(&plain) };
        let copied = writer.copy_from(&mut input, threads(count));
        assert!(
            matches!(copied, Err(Error::Stream(e)) if e.kind() == io::ErrorKind::ConnectionReset)
        );
        assert!(matches!(writer.finish(LogId::START, b""), Err(Error::Poisoned)));
    }
}

/// Records of many lengths, their entries, and the plaintexts.
fn many(log: &Log, count: usize) -> (Vec<LogId>, Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let noise = pattern(count);
    let len = |i: usize| usize::from(noise[i]) * if i.is_multiple_of(97) { 300 } else { 1 };
    let plain: Vec<_> = (0..count).map(|i| pattern(len(i))).collect();
    let ids: Vec<_> = (0..count).map(|i| entry(1 + i as u64, 1 + i as u64 / 700)).collect();
    let mut sealed: Vec<_> =
        plain.iter().map(|p| [&[0; RECORD_OVERHEAD], &p[..]].concat()).collect();
    // Sealed in batches of other lengths than they are opened in.
    let mut after = LogId::START;
    for (ids, sealed) in ids.chunks(450).zip(sealed.chunks_mut(450)) {
        log.seal_batch(after, &mut named(ids, sealed)).unwrap().durable();
        after = *ids.last().unwrap();
    }
    (ids, plain, sealed)
}

fn named<'a>(ids: &[LogId], records: &'a mut [Vec<u8>]) -> Vec<(LogId, &'a mut [u8])> {
    ids.iter().copied().zip(records.iter_mut().map(|record| &mut record[..])).collect()
}

#[test]
fn many_records_open_on_any_number_of_threads() {
    let log = raft(&keyring()).log();
    for count in [0, 1, 4095, 4096, 4097, 20_000] {
        let (ids, plain, sealed) = many(&log, count);
        for workers in [1, 2, 7] {
            let mut records = sealed.clone();
            let mut told = vec![0];
            log.open_bulk(LogId::START, &mut named(&ids, &mut records), threads(workers), |open| {
                told.push(open);
            })
            .unwrap();
            assert!(records.iter().zip(&plain).all(|(record, plain)| record[41..] == plain[..]));
            assert_eq!(told.last(), Some(&count));
            assert!(told[1..].is_empty() == (count == 0) && told.is_sorted_by(|a, b| a < b));
            assert!(count < 20_000 || told.len() > 10, "{} calls", told.len());
        }
    }
}

#[test]
fn the_first_record_that_does_not_open_is_named() {
    let log = raft(&keyring()).log();
    let (ids, plain, sealed) = many(&log, 9000);
    for workers in [1, 2, 4] {
        for (wrong, later) in [(0, 8999), (4999, 5000), (8500, 8999), (8999, 8999)] {
            let mut records = sealed.clone();
            records[later][5] ^= 1;
            records[wrong][30] ^= 1;
            let before = records.clone();
            let mut open = 0;
            let records_of = &mut named(&ids, &mut records);
            let (number, error) = log
                .open_bulk(LogId::START, records_of, threads(workers), |now| open = now)
                .unwrap_err();
            assert_eq!(number, wrong);
            let unknown = wrong == later;
            assert!(matches!(error, Error::Unauthentic) != unknown, "{error}");
            assert!(matches!(error, Error::UnknownDek(_)) == unknown, "{error}");
            assert!(open <= wrong);
            for (i, record) in records.iter().enumerate() {
                let opened = record[41..] == plain[i];
                assert!(opened || *record == before[i], "{i}");
                assert!(i >= wrong || opened, "{i}");
            }
            assert_eq!(records[wrong], before[wrong]);
            assert_eq!(records[later], before[later]);
        }
    }
}
