//! Looks for keys in the dead stack below the calls that seal and open.

use std::io::{Cursor, Read, Write};

use super::independent::Spot;
use super::*;
use crate::crypto::kernel::{Kernel, force};
use crate::crypto::stack::tests::{dead_stack, depths};
use crate::key::Reason;

/// The eras of the records, in runs of one, two and three.
const ERAS: [u64; 6] = [1, 2, 2, 3, 3, 3];

/// A log, its node with the DEK, and the kernel that it runs on.
struct Watched {
    keyring: Keyring,
    raft: Keyspace,
    log: Log,
    kernel: Kernel,
    len: usize,
}

/// Calls `check` on every kernel, with plaintexts of several lengths.
fn on_every_kernel(check: impl Fn(&Watched)) {
    for kernel in Kernel::available() {
        for len in [0, 64, 256, 1100, 5000] {
            let keyring = keyring();
            let raft = raft(&keyring);
            let log = raft.log();
            check(&Watched { keyring, raft, log, kernel, len });
        }
    }
}

impl Watched {
    fn stack(&self, call: impl FnOnce() + Send) -> Vec<u8> {
        // The forced kernel is the thread's.
        dead_stack(|| force::on(self.kernel, call))
    }

    /// Fails if `stack` holds a key of one of `records`.
    #[track_caller]
    fn assert_no_key(&self, what: &str, stack: &[u8], records: &[Vec<u8>]) {
        let node = node(&self.keyring);
        let mut keys = vec![node.dek, node.log_key()];
        for (at, record) in records.iter().enumerate() {
            keys.push(node.record_key(spot(at)));
            keys.push(node.subkey(spot(at), record));
        }
        self.assert_none_of(what, stack, &keys);
    }

    #[track_caller]
    fn assert_none_of(&self, what: &str, stack: &[u8], keys: &[[u8; 32]]) {
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let found = depths(stack, &keys);
        let (name, len, count) = (self.kernel.name(), self.len, found.len());
        assert!(count == 0, "{what}, {name}, {len} bytes: {count} places, {:?}", found.first());
    }

    /// As many records, to be sealed.
    fn plain(&self, count: usize) -> Vec<Vec<u8>> {
        vec![vec![7; RECORD_OVERHEAD + self.len]; count]
    }

    fn sealed(&self, count: usize) -> Vec<Vec<u8>> {
        let mut records = self.plain(count);
        self.log.seal_batch(LogId::START, &mut pairs(&mut records)).unwrap().durable();
        records
    }
}

/// The location of record number `at`.
fn spot(at: usize) -> Spot {
    let prev = at.checked_sub(1).map_or(0, |before| ERAS[before]);
    Spot(at as u64 + 1, ERAS[at], prev)
}

fn id(at: usize) -> LogId {
    entry(at as u64 + 1, ERAS[at])
}

fn prev(at: usize) -> Era {
    Era::term(spot(at).2)
}

fn pairs(records: &mut [Vec<u8>]) -> Vec<(LogId, &mut [u8])> {
    records.iter_mut().enumerate().map(|(at, record)| (id(at), &mut record[..])).collect()
}

#[test]
fn sealing_a_batch_leaves_no_key() {
    on_every_kernel(|watched| {
        for count in 1..=ERAS.len() {
            let mut records = watched.plain(count);
            let stack = watched.stack(|| {
                let mut pairs = pairs(&mut records);
                watched.log.seal_batch(LogId::START, &mut pairs).unwrap().durable();
            });
            watched.assert_no_key("seal_batch", &stack, &records);

            let mut batch = watched.log.batch(LogId::START);
            for at in 0..count {
                batch.push(id(at), |out| out.extend_from_slice(&vec![7; watched.len])).unwrap();
            }
            let mut sealed = None;
            let stack = watched.stack(|| sealed = Some(batch.seal().unwrap()));
            let sealed = sealed.unwrap();
            let records: Vec<Vec<u8>> = sealed.records().map(|one| one.bytes.to_vec()).collect();
            watched.assert_no_key("Batch::seal", &stack, &records);
        }
    });
}

#[test]
fn opening_a_batch_leaves_no_key() {
    on_every_kernel(|watched| {
        for count in 1..=ERAS.len() {
            let sealed = watched.sealed(count);
            let mut records = sealed.clone();
            let stack = watched.stack(|| {
                watched.log.open_batch(LogId::START, &mut pairs(&mut records)).unwrap();
            });
            watched.assert_no_key("open_batch", &stack, &sealed);

            let mut altered = sealed.clone();
            altered[count - 1][30] ^= 1;
            let stack = watched.stack(|| {
                watched.log.open_batch(LogId::START, &mut pairs(&mut altered)).unwrap_err();
            });
            watched.assert_no_key("open_batch of an altered record", &stack, &sealed);

            let mut cut = sealed.clone();
            cut[count - 1].truncate(20);
            let stack = watched.stack(|| {
                watched.log.open_batch(LogId::START, &mut pairs(&mut cut)).unwrap_err();
            });
            watched.assert_no_key("open_batch of a short record", &stack, &sealed);
        }
    });
}

#[test]
fn single_records_leave_no_key() {
    on_every_kernel(|watched| {
        for at in 0..2 {
            let mut records = watched.plain(at + 1);
            let stack = watched.stack(|| {
                let record = &mut records[at];
                watched.log.seal_in_place(id(at), prev(at), record).unwrap().durable();
            });
            watched.assert_no_key("seal_in_place", &stack, &records);

            let sealed = records.clone();
            let stack = watched.stack(|| {
                watched.log.open_in_place(id(at), prev(at), &mut records[at]).unwrap();
            });
            watched.assert_no_key("open_in_place", &stack, &sealed);

            let mut altered = sealed.clone();
            altered[at][30] ^= 1;
            let stack = watched.stack(|| {
                watched.log.open_in_place(id(at), prev(at), &mut altered[at]).unwrap_err();
            });
            watched.assert_no_key("open_in_place of an altered record", &stack, &sealed);
        }

        let sealed = watched.sealed(1);
        let before = node(&watched.keyring);
        watched.keyring.rotate_dek(Reason::Requested).unwrap();
        let mut records = sealed.clone();
        let stack = watched.stack(|| {
            let again = watched.log.reseal(id(0), prev(0), &mut records[0]).unwrap();
            again.unwrap().durable();
        });
        watched.assert_no_key("reseal", &stack, &records);
        let keys = [before.dek, before.record_key(spot(0)), before.subkey(spot(0), &sealed[0])];
        watched.assert_none_of("reseal, of the DEK before", &stack, &keys);
    });
}

#[test]
fn cells_and_streams_leave_no_key() {
    on_every_kernel(|watched| {
        let node = node(&watched.keyring);
        let cells = watched.raft.cells();
        let plain = vec![7; watched.len];
        let mut sealed = None;
        let stack = watched.stack(|| sealed = Some(cells.seal("t", b"r", &plain).unwrap()));
        let keys = [node.dek, node.cell_key()];
        watched.assert_none_of("Cells::seal", &stack, &keys);
        let sealed = sealed.unwrap();
        let stack = watched.stack(|| drop(cells.open("t", b"r", sealed.bytes()).unwrap()));
        watched.assert_none_of("Cells::open", &stack, &keys);

        let streams = watched.raft.streams();
        let mut out = Vec::new();
        let stack = watched.stack(|| {
            let mut writer = streams.create("s", Cursor::new(&mut out)).unwrap();
            writer.write_all(&plain).unwrap();
            writer.finish(LogId::START, b"").unwrap().1.durable();
        });
        let content = *node.open_stream("s", &out).unwrap().0.first_chunk().unwrap();
        let prefix = out[STREAM_HEADER_LEN..].first_chunk().unwrap();
        let chunk = independent::chunk_key(&content, prefix);
        let keys = [node.dek, node.stream_key(), content, chunk];
        watched.assert_none_of("a stream written", &stack, &keys);
        let stack = watched.stack(|| {
            let mut reader = streams.open("s", Cursor::new(&out)).unwrap();
            reader.verify().unwrap();
            reader.read_to_end(&mut Vec::new()).unwrap();
        });
        watched.assert_none_of("a stream read", &stack, &keys);
    });
}
