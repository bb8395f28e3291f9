//! The text of an attestation: what parses prints to the same bytes, in bounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nodeseal::Error;
use nodeseal::swarm::Attestation;

fuzz_target!(|data: &[u8]| match Attestation::parse(data) {
    Ok(attestation) => {
        assert_eq!(attestation.to_text().as_bytes(), data);
        let lines = data.iter().filter(|byte| **byte == b'\n').count();
        assert!(attestation.records() <= lines as u64);
    }
    Err(error) => {
        assert!(matches!(error, Error::Damaged { .. } | Error::Unsupported { .. }));
    }
});
