//! A stream's header, authentic and with any content. The first byte chooses its DEK.
#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nodeseal::Error;
use nodeseal::seal::Streams;
use nodeseal_fuzz::fixed::{ACTIVE, DEKS, keyspace};
use nodeseal_fuzz::reference::{
    HEADER, HEADER_PLAIN, StreamFacts, open_stream_header, stream_header,
};
use nodeseal_fuzz::split_mode;

/// The longest stream that is filled up to the length that its header says, in bytes.
const LONGEST: u64 = 1 << 16;

static STREAMS: LazyLock<Streams> = LazyLock::new(|| keyspace().streams());

fuzz_target!(|data: &[u8]| {
    let (mode, plain) = split_mode(data);
    let mut plain = plain.to_vec();
    plain.resize(HEADER_PLAIN, 0);
    let sealed = stream_header(&DEKS[usize::from(mode % 2)], "snapshot", &[5; 24], &plain);
    let facts = StreamFacts::parse(&plain);
    let fits = facts.as_ref().filter(|facts| facts.len <= LONGEST);
    let body = fits
        .map_or(0, |facts| facts.len + facts.len.div_ceil(u64::from(facts.chunk_size)).max(1) * 32);
    let body = vec![0; usize::try_from(body).expect("64-bit")];
    let stream = [sealed.clone(), body].concat();

    match STREAMS.open("snapshot", Cursor::new(&stream)) {
        Ok(mut reader) => {
            let facts = fits.expect("well formed");
            let info = reader.info();
            assert_eq!(info.at.index, facts.index);
            assert_eq!(info.at.era.get(), facts.era);
            assert_eq!(info.len, facts.len);
            assert_eq!(info.chunk_size, facts.chunk_size);
            assert_eq!(info.meta, facts.meta);
            assert!(matches!(reader.verify(), Err(Error::Unauthentic)));
        }
        Err(error) => {
            assert!(matches!(error, Error::Damaged { .. } | Error::Unsupported { .. }));
            assert_eq!(fits, None);
        }
    }
    assert!(STREAMS.open("snapshots", Cursor::new(&stream)).is_err());

    let mut header: [u8; HEADER] = sealed.try_into().expect("its length");
    match STREAMS.reseal_header("snapshot", &mut header) {
        Ok(None) => assert_eq!(mode % 2, 0),
        Ok(Some(in_flight)) => {
            in_flight.durable();
            let again = open_stream_header(&[ACTIVE], "snapshot", &header).expect("resealed");
            assert_eq!(StreamFacts::parse(&again), facts);
        }
        Err(_) => assert_eq!(facts, None),
    }
});
