//! What a writer on the disk can do to a store that is closed, CRCs included.

use super::super::format::{META, RECORD, RECORD_HEAD, SNAPSHOT, STATE};
use super::*;
use crate::fs::Fs;
use crate::wal::{Frames, Kind, SegmentReader, Step as Read};

pub(super) type Frame = (Kind, Vec<u8>);

pub(super) fn frames_of(disk: &SimFs, path: &Path) -> Vec<Frame> {
    let file = disk.open_read(path).unwrap();
    let mut reader = SegmentReader::new(&*file, path, true, Some(0)).unwrap();
    let mut frames = Vec::new();
    while let Read::Record(record) = reader.next().unwrap().unwrap() {
        frames.push((record.kind, reader.data().to_vec()));
    }
    frames
}

pub(super) fn forge(disk: &SimFs, path: &Path, frames: &[Frame]) {
    let mut out = Frames::new(0);
    for (kind, data) in frames {
        match kind {
            Kind::Crc => out.put_crc().unwrap(),
            kind => drop(out.put(*kind, &[data]).unwrap()),
        }
    }
    disk.write_file(path, out.bytes()).unwrap();
}

pub(super) fn last_segment(disk: &SimFs) -> PathBuf {
    segments(disk).pop().unwrap()
}

pub(super) fn of_kind(frames: &[Frame], kind: Kind) -> Vec<usize> {
    (0..frames.len()).filter(|n| frames[*n].0 == kind).collect()
}

/// A closed store: entries 1 to 6, of which 4 to 6 were replaced, all in one segment.
fn closed() -> SimFs {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let options = Options::new(NAME);
    let store = Store::create(place(&disk), &keyring, options).unwrap();
    let mut change = entries(1..=6, 1);
    change.vote(b"old").put_meta("members", b"old");
    store.apply(change).unwrap();
    let mut change = entries(4..=6, 2);
    change.truncate(4).vote(b"new").put_meta("members", b"new");
    store.apply(change).unwrap();
    disk
}

fn opened(disk: &SimFs) -> Result<Vec<LogId>> {
    let keyring = open_keyring(disk)?;
    let store = Store::open(place(disk), &keyring, options().verify(|_| {}))?;
    all(&store)
}

/// Opens what an attacker made of the last segment's frames.
fn attacked(attack: impl FnOnce(&mut Vec<Frame>)) -> Error {
    attacked_disk(attack).1
}

/// The chain is wrong after every attack on an entry; returns why the entry `index` is not served where
/// an operator accepts that.
fn attacked_entry(index: u64, attack: impl FnOnce(&mut Vec<Frame>)) -> Error {
    let (disk, error) = attacked_disk(attack);
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    let keyring = open_keyring(&disk).unwrap();
    let store = Store::open(place(&disk), &keyring, options().accept(Accept::Damage)).unwrap();
    assert_eq!(store.accepted(), [Accept::Damage]);
    store.entry(index).unwrap_err()
}

fn attacked_disk(attack: impl FnOnce(&mut Vec<Frame>)) -> (SimFs, Error) {
    let disk = closed();
    let path = last_segment(&disk);
    let mut frames = frames_of(&disk, &path);
    forge(&disk, &path, &frames);
    opened(&disk).expect("forged without a change");
    attack(&mut frames);
    forge(&disk, &path, &frames);
    let error = opened(&disk).unwrap_err();
    (disk, error)
}

#[test]
fn rows_that_were_swapped_do_not_open() {
    let error = attacked_entry(1, |frames| {
        let rows = of_kind(frames, RECORD);
        let (one, two) = (frames[rows[0]].1.clone(), frames[rows[1]].1.clone());
        frames[rows[0]].1.splice(RECORD_HEAD.., two[RECORD_HEAD..].iter().copied());
        frames[rows[1]].1.splice(RECORD_HEAD.., one[RECORD_HEAD..].iter().copied());
    });
    assert!(matches!(error, Error::Unauthentic), "{error}");
    let error = attacked(|frames| {
        let rows = of_kind(frames, RECORD);
        frames.swap(rows[0], rows[1]);
    });
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
}

#[test]
fn a_row_of_an_older_copy_is_refused() {
    // As it was, it is of another history; as if it were the newer one, it does not open.
    let error = attacked_entry(5, |frames| {
        let rows = of_kind(frames, RECORD);
        frames[rows[7]] = frames[rows[4]].clone();
    });
    let Error::Damaged { place, .. } = &error else { panic!("{error}") };
    assert!(place.index.is_some(), "{error}");
    let error = attacked_entry(5, |frames| {
        let rows = of_kind(frames, RECORD);
        let old = frames[rows[4]].1.clone();
        frames[rows[7]].1.splice(RECORD_HEAD.., old[RECORD_HEAD..].iter().copied());
    });
    assert!(matches!(error, Error::Unauthentic), "{error}");
}

#[test]
fn a_row_that_is_gone_is_missed() {
    for row in 0..9 {
        let disk = closed();
        let path = last_segment(&disk);
        let mut frames = frames_of(&disk, &path);
        let rows = of_kind(&frames, RECORD);
        frames.remove(rows[row]);
        forge(&disk, &path, &frames);
        // Also of entries 4 to 6 as they were first, which were replaced.
        let error = opened(&disk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{row}: {error}");
    }
}

#[test]
fn a_tail_that_was_cut_off_is_missed() {
    let error = attacked(|frames| {
        let states = of_kind(frames, STATE);
        frames.truncate(states[states.len() - 2] + 1);
    });
    assert!(matches!(error, Error::RolledBack { what: "log", .. }), "{error}");
    let error = attacked(|frames| {
        let states = of_kind(frames, STATE);
        frames.truncate(states[states.len() - 2] + 3);
    });
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
}

#[test]
fn a_vote_that_was_put_back_is_found_out() {
    let error = attacked(|frames| {
        let states = of_kind(frames, STATE);
        let old = frames[states[states.len() - 2]].clone();
        *frames.last_mut().unwrap() = old;
    });
    assert!(matches!(error, Error::RolledBack { what: "log", .. }), "{error}");
    let error = attacked(|frames| {
        let states = of_kind(frames, STATE);
        let old = frames[states[states.len() - 2]].1.clone();
        frames.last_mut().unwrap().1.splice(16.., old[16..].iter().copied());
    });
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn metadata_that_was_put_back_is_found_out() {
    let error = attacked(|frames| {
        let metas = of_kind(frames, META);
        frames[metas[1]] = frames[metas[0]].clone();
    });
    assert!(matches!(error, Error::RolledBack { what: "metadata", .. }), "{error}");
    let error = attacked(|frames| {
        let metas = of_kind(frames, META);
        let old = frames[metas[0]].1.clone();
        frames[metas[1]].1.splice(8.., old[8..].iter().copied());
    });
    assert!(matches!(error, Error::Unauthentic), "{error}");
}

#[test]
fn an_older_log_alone_is_found_out_and_all_of_it_with_an_anchor() {
    let (disk, keyring, store) = fresh();
    store.apply(entries(1..=3, 1)).unwrap();
    drop((store, keyring));
    let old = disk.after_power_cut(crate::fs::Loss::Kept, 0);
    let (keyring, store) = reopen(&disk).unwrap();
    store.apply(entries(4..=4, 1)).unwrap();
    let anchor = store.anchor();
    drop((store, keyring));
    let path = last_segment(&disk);
    let current = disk.read_file(&path).unwrap();
    disk.write_file(&path, &old.read_file(&path).unwrap()).unwrap();
    let error = opened(&disk).unwrap_err();
    assert!(matches!(error, Error::RolledBack { what: "log", .. }), "{error}");
    disk.write_file(&path, &current).unwrap();
    assert_eq!(opened(&disk).unwrap().len(), 4);

    let witness = Path::new("/raft/store.witness");
    assert_eq!(opened(&old).unwrap().len(), 3, "all of it together");
    let keyring = open_keyring(&old).unwrap();
    let error = Store::open(place(&old), &keyring, options().not_before(anchor)).unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }), "{error}");

    disk.remove(witness).unwrap();
    assert!(matches!(opened(&disk), Err(Error::Missing(path)) if path == witness));
}

#[test]
fn an_anchor_is_not_ahead_of_what_is_durable() {
    let (disk, keyring, store) = fresh();
    store.apply(entries(1..=3, 1)).unwrap();
    let before = store.anchor();
    let pending = store.write(entries(4..=4, 1)).unwrap();
    let anchor = store.anchor();
    assert_eq!(anchor, before);
    let cut = disk.after_power_cut(crate::fs::Loss::Dropped, 0);
    let opened =
        Store::open(place(&cut), &open_keyring(&cut).unwrap(), options().not_before(anchor));
    assert_eq!(opened.unwrap().state().last.index, 3);
    pending.wait().unwrap();
    assert!(store.anchor() > before);
    drop(keyring);
}

#[test]
fn an_older_key_file_is_found_out() {
    let (disk, keyring, store) = fresh();
    let path = Path::new("/keys/node.keys");
    let first = disk.read_file(path).unwrap();
    keyring.attach("tls", b"pem").unwrap();
    store.apply(entries(1..=1, 1)).unwrap();
    drop((store, keyring));
    let second = disk.read_file(path).unwrap();
    disk.write_file(path, &first).unwrap();
    let error = opened(&disk).unwrap_err();
    assert!(matches!(error, Error::RolledBack { what: "key file", .. }), "{error}");
    disk.write_file(path, &second).unwrap();
    let (keyring, store) = reopen(&disk).unwrap();
    keyring.rotate_dek(Reason::Requested).unwrap();
    store.apply(entries(2..=2, 1)).unwrap();
    drop((store, keyring));
    disk.write_file(path, &second).unwrap();
    assert!(matches!(opened(&disk), Err(Error::UnknownDek(_))));
}

#[test]
fn an_older_snapshot_is_refused() {
    for content in [&b"new state"[..], b"another length"] {
        let (disk, keyring, store) = fresh();
        store.install(take_snapshot(&store, id(3, 1), b"old state"), Change::new()).unwrap();
        let old = store.inner.snapshot_path(store.state().snapshot.unwrap());
        let old = disk.read_file(&old).unwrap();
        store.install(take_snapshot(&store, id(5, 1), content), Change::new()).unwrap();
        let new = store.inner.snapshot_path(store.state().snapshot.unwrap());
        drop((store, keyring));
        disk.write_file(&new, &old).unwrap();
        let error = opened(&disk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        disk.remove(&new).unwrap();
        assert!(matches!(opened(&disk), Err(Error::Missing(path)) if path == new));
    }
}

#[test]
fn an_older_snapshot_with_its_own_header_is_known_to_be_older() {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let store = Store::create(place(&disk), &keyring, Options::new(NAME)).unwrap();
    let installed = |at: u64, content: &[u8]| {
        store.install(take_snapshot(&store, id(at, 1), content), Change::new()).unwrap();
        store.inner.snapshot_path(store.state().snapshot.unwrap())
    };
    let old = installed(3, b"old state");
    let old = disk.read_file(&old).unwrap();
    let new = installed(5, b"new state");
    drop((store, keyring));
    disk.write_file(&new, &old).unwrap();
    let path = last_segment(&disk);
    let mut frames = frames_of(&disk, &path);
    let headers = of_kind(&frames, SNAPSHOT);
    frames[headers[1]] = frames[headers[0]].clone();
    forge(&disk, &path, &frames);
    let error = opened(&disk).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    // Also where an operator accepts the wrong chain.
    let keyring = open_keyring(&disk).unwrap();
    let error = Store::open(place(&disk), &keyring, options().accept(Accept::Damage)).unwrap_err();
    let older = Error::RolledBack { what: "snapshot", found: 3, expected: 5 };
    assert_eq!(error.to_string(), older.to_string());
}

#[test]
fn rows_of_another_node_are_refused() {
    let (disk, keyring, store) = fresh();
    drop((store, keyring));
    let foreign = {
        let other = SimFs::new();
        let protector = Protector::unlock_key(&unlock_key());
        let keyring = Keyring::create(keys(&other), &me("m2"), protector, &[]).unwrap();
        let store = Store::create(place(&other), &keyring, options()).unwrap();
        store.apply(entries(1..=1, 1)).unwrap();
        let frames = frames_of(&other, &last_segment(&other));
        frames.into_iter().find(|(kind, _)| *kind == RECORD).unwrap()
    };
    let (keyring, store) = reopen(&disk).unwrap();
    store.apply(entries(1..=1, 1)).unwrap();
    drop((store, keyring));
    let path = last_segment(&disk);
    let mut frames = frames_of(&disk, &path);
    let row = of_kind(&frames, RECORD)[0];
    frames[row] = foreign;
    forge(&disk, &path, &frames);
    assert_eq!(opened(&disk).unwrap_err().kind(), ErrorKind::Damaged);
    // Also where an operator accepts the wrong chain.
    let keyring = open_keyring(&disk).unwrap();
    let store = Store::open(place(&disk), &keyring, options().accept(Accept::Damage)).unwrap();
    assert!(matches!(store.entry(1), Err(Error::UnknownDek(_))));
}

#[test]
fn damage_is_told_with_its_place_and_can_be_left_out() {
    let (disk, keyring, store) = fresh();
    for n in 1..=40 {
        store.apply(entries(n..=n, 1)).unwrap();
    }
    let slot = store.inner.index().get(17).unwrap();
    let path = store.inner.index().segments[&slot.segment].path.clone();
    drop((store, keyring));
    let mut bytes = disk.read_file(&path).unwrap();
    let at = usize::try_from(slot.offset()).unwrap() + 60;
    bytes[at] ^= 1;
    disk.write_file(&path, &bytes).unwrap();
    let keyring = open_keyring(&disk).unwrap();
    let error = Store::open(place(&disk), &keyring, options()).unwrap_err();
    let Error::Damaged { place: found, .. } = &error else { panic!("{error}") };
    assert_eq!((found.file.as_ref(), found.offset), (Some(&path), Some(slot.offset())));

    let store = Store::open(place(&disk), &keyring, options().accept(Accept::Damage)).unwrap();
    assert_eq!(store.damages().len(), 1);
    let error = all(&store).unwrap_err();
    assert!(matches!(&error, Error::Damaged { place, .. } if place.index == Some(17)), "{error}");
    drop(store);
    for threads in [1, 3] {
        let threads = core::num::NonZeroUsize::new(threads).unwrap();
        let options = options().accept(Accept::Damage).verify(|_| {}).threads(threads);
        let store = Store::open(place(&disk), &keyring, options).unwrap();
        let lost: Vec<_> = store.damages().iter().map(|damage| damage.place.index).collect();
        assert_eq!(lost, [None, Some(17)]);
    }
    let store = Store::open(place(&disk), &keyring, options().accept(Accept::Damage)).unwrap();
    for n in (1..=40).filter(|n| *n != 17) {
        assert_eq!(store.entry(n).unwrap().unwrap().1.expose(), payload(n, 1));
    }
}
