//! The state cell's plaintext: accepted exactly if it is of its form, and written as it was read.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nodeseal::Error;
use nodeseal::seal::{Cells, State};
use nodeseal_fuzz::fixed::{ACTIVE, DEKS, keyspace};
use nodeseal_fuzz::reference::{cell, open_cell};

const TABLE: &str = "nodeseal/state";
const ROW: &[u8] = b"";
/// Where the key file's epoch stands.
const EPOCH: std::ops::Range<usize> = 57..65;
const MAX_VOTE: usize = 4096;

static CELLS: LazyLock<Cells> = LazyLock::new(|| keyspace().cells());

fuzz_target!(|plain: &[u8]| {
    let opened = CELLS.open_state(&cell(&ACTIVE, TABLE, ROW, &[4; 24], plain));
    let written = rewritten(opened.as_ref().unwrap_or(&State::default()));
    let epoch = |plain: &[u8]| u64::from_le_bytes(plain[EPOCH].try_into().expect("8 bytes"));
    match opened {
        Ok(_) => {
            assert!(well_formed(plain) && epoch(plain) <= epoch(&written));
            let mut expected = plain.to_vec();
            expected[EPOCH].copy_from_slice(&written[EPOCH]);
            assert_eq!(written, expected);
        }
        Err(Error::RolledBack { expected, .. }) => {
            assert!(well_formed(plain));
            assert_eq!(expected, epoch(plain));
            assert!(expected > epoch(&written));
        }
        Err(error) => {
            assert!(matches!(error, Error::Damaged { .. } | Error::Unsupported { .. }));
            assert!(!well_formed(plain));
        }
    }
});

fn rewritten(state: &State) -> Vec<u8> {
    let sealed = CELLS.seal_state(state).expect("what was read can be written");
    let plain = open_cell(&DEKS, TABLE, ROW, sealed.bytes()).expect("the library sealed it");
    sealed.durable();
    plain
}

fn well_formed(plain: &[u8]) -> bool {
    let vote = match plain.get(65) {
        Some(0) => plain.get(66..),
        Some(1) => plain.get(82..),
        _ => None,
    };
    plain.first() == Some(&1) && vote.is_some_and(|vote| vote.len() <= MAX_VOTE)
}
