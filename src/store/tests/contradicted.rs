//! Entries that were replaced by others which are lost without a trace, or by a frame that is read as
//! something else: what fuzzing found in a rescue.

use super::rescue::{accepting, frames, left, names, none_gone, overwrite};
use super::*;
use crate::fs::Fs;

/// Entries 1 to 6 of term 1 in the first segments, 4 to 9 of term 2 in place of the last ones behind
/// them, each change in a segment of its own; what was committed comes before the truncation.
fn one_change_each(committed: u64) -> (SimFs, Vec<PathBuf>) {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    // Every change but the first finds the segment full.
    let options = Options::new(NAME).segment_size(512).prepare_ahead(false);
    let store = Store::create(place(&disk), &keyring, options).unwrap();
    let mut first = entries(1..=3, 1);
    first.committed(id(committed, 1));
    store.apply(first).unwrap();
    store.apply(entries(4..=6, 1)).unwrap();
    for index in 4..=9 {
        let mut change = entries(index..=index, 2);
        if index == 4 {
            change.truncate(4);
        }
        change.vote(&[7; 400]);
        store.apply(change).unwrap();
    }
    drop((store, keyring));
    let disk = disk.after_kill();
    let segments = segments(&disk);
    (disk, segments)
}

/// The segments in which entries of `term` with these indices are stored.
fn holding(disk: &SimFs, segments: &[PathBuf], wanted: &[LogId]) -> Vec<PathBuf> {
    let holds = |path: &&PathBuf| {
        let file = disk.open_read(path).unwrap();
        let mut reader = crate::wal::SegmentReader::new(&*file, path, false, Some(0)).unwrap();
        let mut found = false;
        while let Some(step) = reader.next().unwrap() {
            if let crate::wal::Step::Record(record) = step
                && record.kind == format::RECORD
            {
                found |= wanted.contains(&format::parse_record(reader.data()).unwrap().0);
            }
        }
        found
    };
    segments.iter().filter(holds).cloned().collect()
}

/// What `accept` gives, twice the same.
fn rescued(disk: &SimFs) -> Vec<LogId> {
    assert!(reopen(disk).is_err(), "it is not whole");
    let before = names(disk);
    let opened = [(), ()].map(|()| {
        let (_keyring, store) = accepting(disk, &[Accept::Damage]).unwrap();
        assert_eq!(store.accepted(), [Accept::Damage]);
        assert_eq!(store.state().last, id(9, 2));
        assert!(!store.damages().is_empty());
        left(&store)
    });
    assert!(none_gone(&before, disk));
    assert_eq!(opened[0], opened[1]);
    opened[0].clone()
}

/// No frame tells that a segment is gone. What was stored before it was replaced, which the entry
/// behind it shows: it names the term of another one as that of the entry before it.
#[test]
fn a_segment_that_is_gone_may_have_replaced_what_comes_before_it() {
    for committed in [1, 2] {
        let (disk, segments) = one_change_each(committed);
        let gone = holding(&disk, &segments, &[id(4, 2), id(5, 2), id(6, 2)]);
        assert!(gone.iter().all(|path| path != segments.last().unwrap()));
        for path in gone {
            disk.remove(&path).unwrap();
        }
        let found = rescued(&disk);
        assert!(found.ends_with(&ids(7..=9, 2)), "{found:?}");
        assert!(found.starts_with(&ids(1..=committed, 1)), "{found:?}");
        assert!(
            !found.iter().any(|found| found.index > 3 && found.era == Era::term(1)),
            "{found:?}"
        );
    }
}

/// The same where something else is damaged, so that entries that are missing count as lost.
#[test]
fn an_entry_behind_a_gap_vouches_for_its_own_term_only() {
    let (disk, segments) = one_change_each(2);
    for path in holding(&disk, &segments, &ids(4..=7, 2)) {
        disk.remove(&path).unwrap();
    }
    // The state that the first segment begins with.
    overwrite(&disk, &segments[0], 120, 121);
    let found = rescued(&disk);
    assert!(found.ends_with(&ids(8..=9, 2)), "{found:?}");
    assert!(found.iter().all(|found| found.index <= 3 || found.era == Era::term(2)), "{found:?}");
}

/// Entries in one segment: 1 to 3 of term 1, then 3 to 6 of term 2.
fn in_one_segment() -> SimFs {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let store = Store::create(place(&disk), &keyring, Options::new(NAME)).unwrap();
    store.apply(entries(1..=3, 1)).unwrap();
    for index in 3..=6 {
        let mut change = entries(index..=index, 2);
        change.truncate(3);
        store.apply(if index == 3 { change } else { entries(index..=index, 2) }).unwrap();
    }
    drop((store, keyring));
    disk.after_kill()
}

/// No CRC covers a frame's kind: one that became another was never written by another version.
#[test]
fn a_frame_whose_kind_was_altered_is_lost_and_no_more() {
    for kind in [1, 2, 14, 17, 18, 19, 99] {
        let disk = in_one_segment();
        let (path, frames) = frames(&disk);
        let at = frames.iter().rfind(|(index, _)| *index == 4).unwrap().1 + 9;
        let mut bytes = disk.read_file(&path).unwrap();
        let at = usize::try_from(at).unwrap();
        assert_eq!(bytes[at], 16, "an entry");
        bytes[at] = kind;
        disk.write_file(&path, &bytes).unwrap();
        assert!(reopen(&disk).is_err(), "{kind}");
        for _ in 0..2 {
            let (_keyring, store) =
                accepting(&disk, &[Accept::Damage]).unwrap_or_else(|e| panic!("{kind}: {e}"));
            let found = left(&store);
            assert!(found.ends_with(&ids(5..=6, 2)), "{kind}: {found:?}");
            assert!(found.iter().all(|found| found.era == Era::term(2) || found.index < 3));
        }
    }
}

/// Behind a gap the CRC chain begins again with a frame that nothing has checked. This one says, by
/// one flipped bit, that what was replaced is the log's.
#[test]
fn an_entry_that_is_not_authentic_vouches_for_nothing() {
    let disk = in_one_segment();
    let (path, frames) = frames(&disk);
    let offset = |wanted: u64| frames.iter().rfind(|(index, _)| *index == wanted).unwrap().1;
    overwrite(&disk, &path, offset(3), offset(4));
    let mut bytes = disk.read_file(&path).unwrap();
    let head = format::record_head(id(4, 2), Era::term(2));
    let at = bytes.windows(head.len()).position(|window| window == head).unwrap();
    bytes[at + 16] = 1;
    disk.write_file(&path, &bytes).unwrap();
    let (_keyring, store) = accepting(&disk, &[Accept::Damage]).unwrap();
    assert_eq!(left(&store), ids(5..=6, 2));
}
