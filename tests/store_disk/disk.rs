//! A disk with a volatile cache: what is on it, and everything that was written and flushed since
//! recording began.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::model::ERA_BYTES;

const BLOCK: u64 = 4096;
const BYTES: usize = 4096;
const ZEROS: [u8; BYTES] = [0; BYTES];

/// The blocks that are not all zeros.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blocks(BTreeMap<u64, Arc<[u8; BYTES]>>);

#[derive(Debug, Clone)]
pub(crate) enum Event {
    Write(u64, Vec<u8>),
    Zeros(u64, u64),
    Flush,
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) size: u64,
    now: Blocks,
    pub(crate) base: Blocks,
    pub(crate) events: Vec<Event>,
    /// How many more writes of a log's entries succeed before one fails.
    pub(crate) fail_after: Option<u64>,
    pub(crate) failed: bool,
}

impl Disk {
    pub(crate) fn of(size: u64) -> Self {
        Self { size, ..Self::default() }
    }

    /// What is there now counts as durable; what comes is recorded.
    pub(crate) fn record(&mut self) {
        self.base = self.now.clone();
        self.events.clear();
    }

    pub(crate) fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.now.read(at, &mut bytes);
        bytes
    }

    /// `false` if the write fails.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) -> bool {
        let entries = || bytes.windows(ERA_BYTES.len()).any(|window| window == ERA_BYTES);
        // The loop device takes a request for done whose beginning was written: one that begins
        // where another ended may be its rest.
        let rest = match self.events.last() {
            Some(Event::Write(before, bytes)) => before + u64::try_from(bytes.len()).unwrap() == at,
            _ => false,
        };
        if let Some(left) = self.fail_after
            && !rest
            && entries()
        {
            self.fail_after = left.checked_sub(1);
            if self.fail_after.is_none() {
                self.failed = true;
                return false;
            }
        }
        self.take(Event::Write(at, bytes.to_vec()));
        true
    }

    pub(crate) fn take(&mut self, event: Event) {
        self.now.apply(&event);
        self.events.push(event);
    }
}

impl Blocks {
    /// The pieces of a range: which block, where in it, and how long.
    fn pieces(at: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
        let end = at + u64::try_from(len).unwrap();
        let blocks = at / BLOCK..end.div_ceil(BLOCK);
        blocks.map(move |block| {
            let (from, to) = (at.max(block * BLOCK), end.min((block + 1) * BLOCK));
            let start = usize::try_from(from - block * BLOCK).unwrap();
            (block, start, usize::try_from(to - from).unwrap())
        })
    }

    fn read(&self, at: u64, mut out: &mut [u8]) {
        for (block, start, len) in Self::pieces(at, out.len()) {
            let (piece, rest) = out.split_at_mut(len);
            if let Some(block) = self.0.get(&block) {
                piece.copy_from_slice(&block[start..start + len]);
            }
            out = rest;
        }
    }

    pub(crate) fn write(&mut self, at: u64, mut bytes: &[u8]) {
        for (number, start, len) in Self::pieces(at, bytes.len()) {
            let (piece, rest) = bytes.split_at(len);
            let block = self.0.entry(number).or_insert_with(|| Arc::new(ZEROS));
            Arc::make_mut(block)[start..start + len].copy_from_slice(piece);
            if **block == ZEROS {
                self.0.remove(&number);
            }
            bytes = rest;
        }
    }

    fn zero(&mut self, at: u64, len: u64) {
        let touched = at / BLOCK..(at + len).div_ceil(BLOCK);
        let held: Vec<u64> = self.0.range(touched).map(|(number, _)| *number).collect();
        for number in held {
            let (from, to) = (at.max(number * BLOCK), (at + len).min((number + 1) * BLOCK));
            self.write(from, &ZEROS[..usize::try_from(to - from).unwrap()]);
        }
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Write(at, bytes) => self.write(*at, bytes),
            Event::Zeros(at, len) => self.zero(*at, *len),
            Event::Flush => {}
        }
    }

    /// Makes a file of it, sparse.
    pub(crate) fn save(&self, path: &Path, size: u64) {
        let file = File::create(path).unwrap();
        file.set_len(size).unwrap();
        for (number, block) in &self.0 {
            file.write_all_at(&block[..], number * BLOCK).unwrap();
        }
    }
}
