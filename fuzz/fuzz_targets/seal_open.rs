//! What is sealed opens, here and with another implementation, at its place and unaltered only.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nodeseal::seal::{Era, Log, LogId, RECORD_OVERHEAD};
use nodeseal::{Error, hazmat};
use nodeseal_fuzz::fixed::{ACTIVE, keyspace};
use nodeseal_fuzz::reference::{Place, open_record, record};

static LOG: LazyLock<Log> = LazyLock::new(|| keyspace().log());

#[derive(Arbitrary, Debug)]
struct Input {
    after: (u64, u8),
    entries: Vec<Entry>,
    in_place: bool,
    /// Byte of a record, and what is changed in it.
    damage: (u16, u8),
    cut: u16,
    /// Where a record is tried that does not belong there.
    elsewhere: Place,
}

#[derive(Arbitrary, Debug)]
struct Entry {
    step: u8,
    era: u8,
    plain: Vec<u8>,
}

fuzz_target!(|input: Input| {
    for kernel in hazmat::kernels() {
        hazmat::on_kernel(kernel, || seal_and_open(&input)).expect("it is one of them");
    }
});

fn seal_and_open(input: &Input) {
    let after = LogId::new(input.after.0, Era::term(input.after.1.into()));
    let mut prev = after;
    let mut places = Vec::new();
    let mut rising = true;
    for entry in &input.entries {
        let index = prev.index.wrapping_add(entry.step.into());
        // The first entry of all may have the index 0.
        rising &= index > prev.index || (places.is_empty() && after == LogId::START);
        let id = LogId::new(index, Era::term(entry.era.into()));
        places.push((id, prev.era));
        prev = id;
    }
    let sealed = if input.in_place {
        seal_in_place(after, &places, &input.entries)
    } else {
        seal_batch(after, &places, &input.entries)
    };
    let Some(sealed) = sealed else {
        assert!(!rising);
        return;
    };
    assert!(rising);
    for (number, (((id, prev), entry), sealed)) in
        places.iter().zip(&input.entries).zip(&sealed).enumerate()
    {
        let place = Place { index: id.index, era: id.era.get(), prev: prev.get() };
        assert_eq!(sealed.len(), entry.plain.len() + RECORD_OVERHEAD);
        let prefix = sealed[9..25].try_into().expect("16 bytes");
        assert_eq!(record(&ACTIVE, place, &prefix, &entry.plain), *sealed);
        let opened = open_record(&[ACTIVE], place, sealed);
        assert_eq!(opened.as_ref(), Some(&entry.plain));
        let opened = LOG.open_in_place(*id, *prev, &mut sealed.clone()).map(|plain| plain.to_vec());
        assert_eq!(opened.ok().as_ref(), Some(&entry.plain));
        // A few suffice; the reference is slow.
        if number < 4 {
            spoilt(input, (*id, *prev), place, sealed);
        }
    }
}

fn spoilt(input: &Input, (id, prev): (LogId, Era), place: Place, sealed: &[u8]) {
    let at = usize::from(input.damage.0) % sealed.len();
    let mut record = sealed.to_vec();
    record[at] ^= input.damage.1.max(1);
    let altered = record.clone();
    assert!(LOG.open_in_place(id, prev, &mut record).is_err());
    assert_eq!(record, altered);

    let mut record = sealed[..usize::from(input.cut) % sealed.len()].to_vec();
    assert!(LOG.open_in_place(id, prev, &mut record).is_err());
    let mut record = [sealed, &[0]].concat();
    assert!(LOG.open_in_place(id, prev, &mut record).is_err());

    let Place { index, era, prev } = input.elsewhere;
    if input.elsewhere != place {
        let (id, prev) = (LogId::new(index, Era::term(era)), Era::term(prev));
        let opened = LOG.open_in_place(id, prev, &mut sealed.to_vec()).map(drop);
        assert!(matches!(opened, Err(Error::Unauthentic)));
    }
}

fn seal_in_place(after: LogId, places: &[(LogId, Era)], entries: &[Entry]) -> Option<Vec<Vec<u8>>> {
    let room = |entry: &Entry| [&[0; RECORD_OVERHEAD], &entry.plain[..]].concat();
    let mut buffers: Vec<Vec<u8>> = entries.iter().map(room).collect();
    let mut records: Vec<(LogId, &mut [u8])> =
        places.iter().zip(&mut buffers).map(|((id, _), buffer)| (*id, &mut buffer[..])).collect();
    match LOG.seal_batch(after, &mut records) {
        Ok(in_flight) => in_flight.durable(),
        Err(error) => {
            assert!(matches!(error, Error::Misuse(_)));
            assert!(buffers.iter().zip(entries).all(|(buffer, entry)| *buffer == room(entry)));
            return None;
        }
    }
    Some(buffers)
}

fn seal_batch(after: LogId, places: &[(LogId, Era)], entries: &[Entry]) -> Option<Vec<Vec<u8>>> {
    let mut batch = LOG.batch(after);
    for ((id, _), entry) in places.iter().zip(entries) {
        let len = batch.len();
        let pushed = batch.push(*id, |out| out.extend_from_slice(&entry.plain));
        if let Err(error) = pushed {
            assert!(matches!(error, Error::Misuse(_)));
            assert_eq!(batch.len(), len);
            return None;
        }
    }
    let sealed = batch.seal().expect("nothing can fail");
    let records = sealed.records().map(|record| record.bytes.to_vec()).collect();
    sealed.durable();
    Some(records)
}
