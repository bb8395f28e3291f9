//! What is on its way to the disk holds its DEK, until it is said to be durable or dropped.

use std::io::{Cursor, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::{Misuse, Reason};

/// Rotates, and asserts that no sweep may begin before `release` was called on `held`.
fn holds<T>(what: &str, keyring: &Keyring, held: T, release: impl FnOnce(T)) {
    keyring.rotate_dek(Reason::Requested).unwrap();
    assert!(
        matches!(keyring.sweep().map(drop), Err(Error::Misuse(Misuse::InFlight))),
        "{what} does not hold its DEK"
    );
    release(held);
    let left = sweep(keyring).finish().unwrap();
    assert!(left.is_empty());
    assert_eq!(keyring.status().deks.len(), 1, "{what} holds its DEK for ever");
}

#[test]
fn what_is_in_flight_holds_its_dek() {
    let keyring = keyring();
    let raft = raft(&keyring);
    let (log, cells, streams) = (raft.log(), raft.cells(), raft.streams());
    let batch = || {
        let mut batch = log.batch(LogId::START);
        batch.push(entry(1, 1), |out| out.extend_from_slice(b"entry")).unwrap();
        batch.seal().unwrap()
    };
    holds("a batch", &keyring, batch(), |sealed| drop(sealed.durable()));
    holds("a batch that is dropped", &keyring, batch(), drop);
    let one = |bytes: &mut [u8]| log.seal_in_place(entry(1, 1), Era::NONE, bytes).unwrap();
    holds("a record", &keyring, one(&mut [0; 50]), InFlight::durable);
    let cell = || cells.seal("t", b"r", b"cell").unwrap();
    holds("a cell", &keyring, cell(), SealedCell::durable);
    holds("a cell that is dropped", &keyring, cell(), drop);
    let state = cells.seal_state(&State::default()).unwrap();
    holds("a state", &keyring, state, SealedCell::durable);
    let stream = || {
        let mut writer = streams.create("s", Cursor::new(Vec::new())).unwrap();
        writer.write_all(b"stream").unwrap();
        writer.finish(LogId::START, b"").unwrap()
    };
    holds("a stream", &keyring, stream().1, SealedStream::durable);

    let mut record = sealed(&log, entry(1, 1), 0, b"entry");
    let cell = cells.seal("t", b"r", b"cell").unwrap().bytes().to_vec();
    let file = stream().0.into_inner();
    let mut header: [u8; STREAM_HEADER_LEN] = file[..STREAM_HEADER_LEN].try_into().unwrap();
    keyring.rotate_dek(Reason::Requested).unwrap();
    let record = log.reseal(entry(1, 1), Era::NONE, &mut record).unwrap().unwrap();
    let cell = cells.reseal("t", b"r", &cell).unwrap().unwrap();
    let header = streams.reseal_header("s", &mut header).unwrap().unwrap();
    sweep(&keyring).finish().unwrap();
    holds("what was re-sealed", &keyring, (record, cell, header), |(record, cell, header)| {
        record.durable();
        assert!(matches!(keyring.sweep().map(drop), Err(Error::Misuse(Misuse::InFlight))));
        cell.durable();
        assert!(matches!(keyring.sweep().map(drop), Err(Error::Misuse(Misuse::InFlight))));
        drop(header);
    });
}

#[test]
fn a_stream_that_is_being_written_ends_under_the_dek_of_its_end() {
    let keyring = keyring();
    let streams = raft(&keyring).streams();
    let mut writer = streams.create("s", Cursor::new(Vec::new())).unwrap();
    writer.write_all(b"begun under the first").unwrap();
    keyring.rotate_dek(Reason::Requested).unwrap();
    sweep(&keyring).finish().unwrap();
    let (file, sealed) = writer.finish(LogId::START, b"").unwrap();
    assert_eq!(Streams::dek_of(file.get_ref()).unwrap(), keyring.status().deks[0].id);
    sealed.durable();
}

#[test]
fn what_is_opened_needs_no_pin_and_a_dropped_dek_opens_nothing() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let record = sealed(&log, entry(1, 1), 0, b"entry");
    keyring.rotate_dek(Reason::Requested).unwrap();
    assert!(log.open_in_place(entry(1, 1), Era::NONE, &mut record.clone()).is_ok());
    let mut seen = sweep(&keyring);
    seen.see(&record).unwrap();
    assert_eq!(seen.finish().unwrap().len(), 1);
    assert!(log.open_in_place(entry(1, 1), Era::NONE, &mut record.clone()).is_ok());
    sweep(&keyring).finish().unwrap();
    assert!(matches!(refused(&log, entry(1, 1), 0, &record), Error::UnknownDek(_)));
}

#[test]
fn nothing_that_was_stored_loses_its_dek_while_others_seal() {
    const RECORDS: u64 = 400;
    let keyring = keyring();
    let log = raft(&keyring).log();
    let stored = Mutex::new(Vec::new());
    let (done, rounds) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (log, stored, done) = (&log, &stored, &done);
            scope.spawn(move || {
                for index in 0..RECORDS {
                    let id = entry(index + 1, thread + 1);
                    let mut record = vec![0; RECORD_OVERHEAD + 3];
                    let in_flight = log.seal_in_place(id, Era::NONE, &mut record).unwrap();
                    std::thread::yield_now();
                    stored.lock().unwrap().push((id, record));
                    in_flight.durable();
                }
                done.fetch_add(1, Ordering::Release);
            });
        }
        while done.load(Ordering::Acquire) < 2 {
            keyring.rotate_dek(Reason::Requested).unwrap();
            let Ok(mut sweep) = keyring.sweep() else { continue };
            for (id, record) in &mut *stored.lock().unwrap() {
                if let Some(in_flight) = log.reseal(*id, Era::NONE, record).unwrap() {
                    in_flight.durable();
                }
                sweep.see(record).unwrap();
            }
            sweep.shown("raft");
            sweep.finish().unwrap();
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut stored = stored.into_inner().unwrap();
    assert_eq!(stored.len(), 800);
    for (id, record) in &mut stored {
        assert_eq!(log.open_in_place(*id, Era::NONE, record).unwrap(), [0; 3]);
    }
    assert!(rounds.into_inner() > 0, "no sweep ended while others sealed");
}
