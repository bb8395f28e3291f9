use std::sync::Arc;

use nodeseal::fs::SimFs;
use nodeseal::keyring::Location;
use nodeseal::seal::{Era, Log, LogId, RECORD_OVERHEAD};
use nodeseal::{Identity, Keyring, Protector};

use crate::{NONCE_LEN, Peer, Records, TAG_LEN, on};

/// Whole records of nodeseal's own, through its log.
pub(crate) struct Batch {
    kernel: &'static str,
    log: Log,
    sealed: Vec<Vec<u8>>,
    records: Vec<Vec<u8>>,
}

impl Batch {
    pub(crate) fn new(kernel: &'static str, count: usize, size: usize) -> Self {
        let place = Location::on(Arc::new(SimFs::new()), "/keys");
        let me = Identity::new("bench", "m1").expect("valid names");
        let keyring = Keyring::create(place, &me, Protector::none(), &[]).expect("a new keyring");
        let log = keyring.keyspace("raft").expect("a keyspace").log();
        let records = vec![vec![7; RECORD_OVERHEAD + size]; count];
        let mut batch = Self { kernel, log, sealed: Vec::new(), records };
        batch.seal();
        batch.sealed.clone_from(&batch.records);
        batch
    }

    fn with(&mut self, call: impl FnOnce(&Log, LogId, &mut [(LogId, &mut [u8])])) {
        let era = Era::term(1);
        let ids = (1..).map(|index| LogId::new(index, era));
        let mut records: Vec<_> =
            ids.zip(self.records.iter_mut().map(|record| &mut record[..])).collect();
        on(self.kernel, || call(&self.log, LogId::new(0, era), &mut records));
    }
}

impl Records for Batch {
    fn name(&self) -> &'static str {
        "nodeseal"
    }

    fn kernel(&self) -> Option<&'static str> {
        Some(self.kernel)
    }

    fn seal(&mut self) {
        self.with(|log, after, records| {
            log.seal_batch(after, records).expect("sealed").durable();
        });
    }

    fn restore(&mut self) {
        copy(&self.sealed, &mut self.records);
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.records.iter().for_each(|record| out.extend_from_slice(record));
    }

    fn open(&mut self) -> bool {
        let mut right = false;
        self.with(|log, after, records| right = log.open_batch(after, records).is_ok());
        right
    }
}

/// Another implementation, one record after the other: nonce, tag, text.
pub(crate) struct OneByOne {
    peer: Box<dyn Peer>,
    plain: Vec<u8>,
    sealed: Vec<Vec<u8>>,
    records: Vec<Vec<u8>>,
}

impl OneByOne {
    pub(crate) fn new(peer: Box<dyn Peer>, count: usize, size: usize) -> Self {
        let records = vec![vec![0; NONCE_LEN + TAG_LEN + size]; count];
        let mut batch = Self { peer, plain: vec![7; size], sealed: Vec::new(), records };
        batch.seal();
        batch.sealed.clone_from(&batch.records);
        batch
    }
}

impl Records for OneByOne {
    fn name(&self) -> &'static str {
        self.peer.name()
    }

    fn kernel(&self) -> Option<&'static str> {
        self.peer.kernel()
    }

    fn in_place(&self) -> bool {
        self.peer.in_place()
    }

    fn seal(&mut self) {
        for record in &mut self.records {
            let (nonce, rest) = record.split_first_chunk_mut().expect("a nonce");
            let (tag, text) = rest.split_first_chunk_mut().expect("a tag");
            ::dryoc::rng::copy_randombytes(nonce);
            *tag = self.peer.seal(nonce, &self.plain, text);
        }
    }

    fn restore(&mut self) {
        copy(&self.sealed, &mut self.records);
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.records.iter().for_each(|record| out.extend_from_slice(record));
    }

    fn open(&mut self) -> bool {
        self.records.iter_mut().zip(&self.sealed).all(|(record, sealed)| {
            let (nonce, rest) = record.split_first_chunk_mut::<NONCE_LEN>().expect("a nonce");
            let (tag, text) = rest.split_first_chunk_mut::<TAG_LEN>().expect("a tag");
            self.peer.open(nonce, tag, &sealed[NONCE_LEN + TAG_LEN..], text)
        })
    }
}

fn copy(from: &[Vec<u8>], to: &mut [Vec<u8>]) {
    for (to, from) in to.iter_mut().zip(from) {
        to.copy_from_slice(from);
    }
}
