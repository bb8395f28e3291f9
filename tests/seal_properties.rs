//! What holds for any plaintexts and any places.
#![allow(clippy::unwrap_used, reason = "a test says that it failed by panicking")]

use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, LazyLock};

use nodeseal::fs::SimFs;
use nodeseal::keyring::{Keyspace, Location};
use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD};
use nodeseal::{Error, Identity, Keyring, Protector, UnlockKey};
use proptest::collection::vec;
use proptest::prelude::*;

static RAFT: LazyLock<Keyspace> = LazyLock::new(|| {
    let place = Location::on(Arc::new(SimFs::new()), "/keys");
    let protector = Protector::unlock_key(&UnlockKey::generate().unwrap());
    let me = Identity::new("prod", "m1").unwrap();
    Keyring::create(place, &me, protector, &[]).unwrap().keyspace("raft").unwrap()
});

/// An entry: how far its index lies behind the one before, its era and its plaintext.
fn entries() -> impl Strategy<Value = Vec<(u64, u64, Vec<u8>)>> {
    let eras = prop_oneof![0..3_u64, any::<u64>()];
    vec((1..u64::MAX >> 5, eras, vec(any::<u8>(), 0..300)), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_batch_opens_record_by_record(start in 0..1000_u64, era in 0..3_u64, entries in entries()) {
        let log = RAFT.log();
        let after = LogId::new(start, Era::term(era));
        let mut batch = log.batch(after);
        let mut index = start;
        for (gap, era, plain) in &entries {
            index += gap;
            batch.push(LogId::new(index, Era::term(*era)), |out| out.extend_from_slice(plain))?;
        }
        let sealed = batch.seal()?;
        prop_assert_eq!(sealed.records().len(), entries.len());
        let mut prev = after.era;
        for (record, (_, _, plain)) in sealed.records().zip(&entries) {
            let mut bytes = record.bytes.to_vec();
            prop_assert_eq!(bytes.len(), plain.len() + RECORD_OVERHEAD);
            prop_assert_eq!(&*log.open_in_place(record.id, prev, &mut bytes)?, &plain[..]);
            prev = record.id.era;
        }
    }

    #[test]
    fn a_record_opens_nowhere_else(
        index in 1..u64::MAX, era: u64, prev: u64, plain in vec(any::<u8>(), 0..100),
        other in (1..u64::MAX, any::<u64>(), any::<u64>()),
    ) {
        let log = RAFT.log();
        let mut record = vec![0; RECORD_OVERHEAD];
        record.extend_from_slice(&plain);
        let (id, prev) = (LogId::new(index, Era::term(era)), Era::term(prev));
        log.seal_in_place(id, prev, &mut record)?.durable();
        // One coordinate at a time, and all three.
        let (other_index, other_era, other_prev) =
            (other.0, Era::term(other.1), Era::term(other.2));
        for (moved, before) in [
            (LogId::new(other_index, id.era), prev),
            (LogId::new(index, other_era), prev),
            (id, other_prev),
            (LogId::new(other_index, other_era), other_prev),
        ] {
            let opened = log.open_in_place(moved, before, &mut record.clone()).map(|plain| plain.to_vec());
            if (moved, before) == (id, prev) {
                prop_assert_eq!(opened.unwrap(), plain.clone());
            } else {
                prop_assert!(matches!(opened, Err(Error::Unauthentic)));
            }
        }
    }

    #[test]
    fn what_is_not_sealed_does_not_open(mut bytes in vec(any::<u8>(), 0..200), format in 0..9_u8) {
        if let Some(first) = bytes.first_mut() {
            *first = format;
        }
        let before = bytes.clone();
        let log = RAFT.log();
        prop_assert!(log.open_in_place(LogId::new(1, Era::NONE), Era::NONE, &mut bytes).is_err());
        prop_assert_eq!(&bytes, &before);
        prop_assert!(RAFT.cells().open("t", b"r", &bytes).is_err());
        prop_assert!(RAFT.cells().open_state(&bytes).is_err());
        prop_assert!(RAFT.streams().open("s", Cursor::new(&bytes)).is_err());
    }

    #[test]
    fn a_cell_opens_in_its_place(
        table in "[a-z]{0,9}", row in vec(any::<u8>(), 0..20), plain in vec(any::<u8>(), 0..500),
        other in ("[a-z]{0,9}", vec(any::<u8>(), 0..20)),
    ) {
        let cells = RAFT.cells();
        let sealed = cells.seal(&table, &row, &plain)?;
        let opened = cells.open(&table, &row, sealed.bytes())?;
        prop_assert_eq!(opened.expose(), plain);
        if (&table, &row) != (&other.0, &other.1) {
            prop_assert!(cells.open(&other.0, &other.1, sealed.bytes()).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_stream_reads_as_its_plaintext_would(
        plain in vec(any::<u8>(), 0..1000).prop_flat_map(|tile| {
            (Just(tile), 0..200_usize).prop_map(|(tile, times)| tile.repeat(times))
        }),
        pieces in vec(1..100_000_usize, 1..5),
        seeks in vec((any::<prop::sample::Index>(), 0..70_000_usize), 0..6),
    ) {
        let streams = RAFT.streams();
        let mut writer = streams.create("s", Cursor::new(Vec::new()))?;
        let mut rest = &plain[..];
        for piece in pieces.iter().cycle() {
            let (part, after) = rest.split_at(rest.len().min(*piece));
            writer.write_all(part)?;
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let (file, sealed) = writer.finish(LogId::START, b"")?;
        sealed.durable();
        let mut reader = streams.open("s", Cursor::new(file.into_inner()))?;
        reader.verify()?;
        for (at, len) in seeks {
            let at = at.index(plain.len() + 1);
            let len = len.min(plain.len() - at);
            reader.seek(SeekFrom::Start(u64::try_from(at)?))?;
            let mut read = vec![0; len];
            reader.read_exact(&mut read)?;
            prop_assert!(read == plain[at..at + len]);
        }
    }
}
