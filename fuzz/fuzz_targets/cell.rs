//! A cell opens if, and only if, it was sealed for its row. The first byte is the row's length.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nodeseal::seal::Cells;
use nodeseal_fuzz::fixed::{ACTIVE, DEKS, keyspace};
use nodeseal_fuzz::reference::{dek_id, open_cell};
use nodeseal_fuzz::split_mode;

static CELLS: LazyLock<Cells> = LazyLock::new(|| keyspace().cells());

fuzz_target!(|data: &[u8]| {
    let (len, rest) = split_mode(data);
    let (row, cell) = rest.split_at(usize::from(len).min(rest.len()));
    let expected = open_cell(&DEKS, "table", row, cell);
    let opened = CELLS.open("table", row, cell);
    assert_eq!(opened.as_ref().ok().map(|plain| plain.expose()), expected.as_deref());
    assert!(CELLS.open("tabl", &[b"e", row].concat(), cell).is_err());
    match CELLS.reseal("table", row, cell) {
        Ok(None) => assert_eq!(cell[1..9], dek_id(&ACTIVE)),
        Ok(Some(resealed)) => {
            assert_eq!(open_cell(&[ACTIVE], "table", row, resealed.bytes()), expected);
            assert!(expected.is_some());
            resealed.durable();
        }
        Err(_) => assert_eq!(expected, None),
    }
});
