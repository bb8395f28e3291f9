//! What was moved, replayed or passed for something else.

use super::independent::{Plan, Spot};
use super::*;

#[test]
fn a_record_opens_at_its_own_place_alone() {
    let keyring = keyring();
    let log = raft(&keyring).log();
    let mut record = sealed(&log, entry(7, 3), 2, b"plain");
    for (id, prev) in [
        (entry(6, 3), 2),
        (entry(8, 3), 2),
        (entry(7 | 1 << 63, 3), 2),
        (entry(7, 2), 2),
        (entry(7, 4), 2),
        (entry(7, 3), 1),
        (entry(7, 3), 3),
        (entry(7, 2), 3),
        (entry(3, 7), 2),
    ] {
        let error = refused(&log, id, prev, &record);
        assert!(matches!(error, Error::Unauthentic), "{id:?} after {prev}");
    }
    let other = keyring.keyspace("raft2").unwrap().log();
    assert!(matches!(refused(&other, entry(7, 3), 2, &record), Error::Unauthentic));
    assert_eq!(log.open_in_place(entry(7, 3), Era::term(2), &mut record).unwrap(), b"plain");
}

#[test]
fn an_entry_that_was_replaced_does_not_open_after_its_successor() {
    // Both leaders wrote an entry 2; the second one's successor names the second.
    let keyring = keyring();
    let log = raft(&keyring).log();
    let old = sealed(&log, entry(2, 1), 1, b"of the first leader");
    let new = sealed(&log, entry(2, 2), 1, b"of the second leader");
    let next = sealed(&log, entry(3, 2), 2, b"next");
    // A log that was put together of the old entry and the next: what the old one says of itself
    // is era 1, and the next opens only after an era 2.
    assert!(log.open_in_place(entry(2, 1), Era::term(1), &mut old.clone()).is_ok());
    assert!(matches!(refused(&log, entry(3, 2), 1, &next), Error::Unauthentic));
    assert!(matches!(refused(&log, entry(2, 2), 1, &old), Error::Unauthentic));
    assert!(log.open_in_place(entry(2, 2), Era::term(1), &mut new.clone()).is_ok());
    assert!(log.open_in_place(entry(3, 2), Era::term(2), &mut next.clone()).is_ok());
}

#[test]
fn with_one_dek_another_node_cluster_or_keyspace_is_another_key() {
    // The DEK of two nodes is never the same: only by hand can that be made.
    let keyring = keyring();
    let raft = raft(&keyring);
    let log = raft.log();
    let own = node(&keyring);
    let spot = Spot(7, 3, 2);
    let open = |from: &Node, spot| {
        let mut record = from.record(spot, &[1; 16], b"plain");
        log.open_in_place(entry(7, 3), Era::term(2), &mut record).map(|plain| plain.to_vec())
    };
    assert_eq!(open(&own, spot).unwrap(), b"plain");
    for (cluster, name) in [("prod", "m2"), ("test", "m1"), ("prodm", "1"), ("m1", "prod")] {
        let other = Node { cluster: cluster.to_owned(), node: name.to_owned(), ..own.clone() };
        assert!(matches!(open(&other, spot), Err(Error::Unauthentic)), "{cluster}/{name}");

        let cell = other.cell("t", b"r", [1; 24], b"plain");
        assert!(matches!(raft.cells().open("t", b"r", &cell), Err(Error::Unauthentic)));
    }
    let other = Node { keyspace: [0; 16], ..own.clone() };
    assert!(matches!(open(&other, spot), Err(Error::Unauthentic)));
    let cell = other.cell("t", b"r", [1; 24], b"plain");
    assert!(matches!(raft.cells().open("t", b"r", &cell), Err(Error::Unauthentic)));
    let plan =
        Plan { content: [9; 32], index: 1, era: 1, chunk_size: 1024, meta: b"", plain: b"plain" };
    let streams = raft.streams();
    let open = |from: &Node| streams.open("s", std::io::Cursor::new(from.stream("s", &plan)));
    assert!(open(&own).is_ok());
    assert!(matches!(open(&other), Err(Error::Unauthentic)));
    // Two nodes in fact: their DEKs differ.
    let foreign = keyring_of("prod", "m2").keyspace("raft").unwrap().log();
    let record = sealed(&foreign, entry(7, 3), 2, b"plain");
    assert!(matches!(refused(&log, entry(7, 3), 2, &record), Error::UnknownDek(_)));
}

#[test]
fn a_cell_opens_in_its_own_table_and_row_alone() {
    let cells = raft(&keyring()).cells();
    let sealed = cells.seal("table", b"row", b"plain").unwrap();
    for (table, row) in
        [("tabler", b"ow".as_slice()), ("tabl", b"erow"), ("table", b"ro"), ("row", b"table")]
    {
        assert!(matches!(cells.open(table, row, sealed.bytes()), Err(Error::Unauthentic)));
    }
    for call in [
        cells.seal("nodeseal/state", b"raft", b"x").map(drop),
        cells.open("nodeseal/state", b"raft", sealed.bytes()).map(drop),
        cells.reseal("nodeseal/state", b"raft", sealed.bytes()).map(drop),
    ] {
        assert!(matches!(call, Err(Error::Misuse(crate::Misuse::State(_)))));
    }
}

#[test]
fn one_format_does_not_open_as_another() {
    let keyring = keyring();
    let raft = raft(&keyring);
    let (log, cells, streams) = (raft.log(), raft.cells(), raft.streams());
    let record = sealed(&log, entry(1, 1), 0, &[0; 8192]);
    let cell = cells.seal("t", b"r", &[0; 8192]).unwrap().bytes().to_vec();
    let writer = streams.create("s", std::io::Cursor::new(Vec::new())).unwrap();
    let stream = writer.finish(LogId::START, b"").unwrap().0.into_inner();

    let unsupported = |error: Error| matches!(error, Error::Unsupported { .. });
    assert!(unsupported(refused(&log, entry(1, 1), 0, &cell)));
    assert!(unsupported(refused(&log, entry(1, 1), 0, &stream)));
    assert!(unsupported(cells.open("t", b"r", &record).unwrap_err()));
    assert!(unsupported(cells.open("t", b"r", &stream).unwrap_err()));
    for other in [&record, &cell] {
        assert!(unsupported(streams.open("s", std::io::Cursor::new(other)).unwrap_err()));
    }
    // And not either when the first byte is made to say it.
    for (bytes, format) in [(&cell, RECORD), (&stream, RECORD)] {
        let mut bytes = bytes.clone();
        bytes[0] = format;
        assert!(matches!(refused(&log, entry(1, 1), 0, &bytes), Error::Unauthentic));
    }
    for bytes in [&record, &stream] {
        let mut bytes = bytes.clone();
        bytes[0] = CELL;
        assert!(matches!(cells.open("t", b"r", &bytes), Err(Error::Unauthentic)));
    }
    // What Docker Swarm stores begins with a protobuf tag.
    assert!(matches!(refused(&log, entry(1, 1), 0, &[0x0a; 64]), Error::Damaged { .. }));
}
