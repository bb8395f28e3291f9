//! What an operator accepts, and what is then believed; looking without touching.

use super::*;
use crate::fs::Fs;

/// All files of the store, to see that nothing was changed.
fn files(disk: &SimFs) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = disk.paths().into_iter().filter(|path| path.starts_with("/raft"));
    paths.map(|path| (path.clone(), disk.read_file(&path).unwrap())).collect()
}

pub(super) fn names(disk: &SimFs) -> Vec<PathBuf> {
    files(disk).into_iter().map(|(path, _)| path).collect()
}

/// Every file is there that was there before.
pub(super) fn none_gone(before: &[PathBuf], disk: &SimFs) -> bool {
    let now = names(disk);
    before.iter().all(|path| now.contains(path))
}

fn open_with(disk: &SimFs, options: Options<'_>) -> Result<(Keyring, Store)> {
    let keyring = open_keyring(disk)?;
    let store = Store::open(place(disk), &keyring, options)?;
    Ok((keyring, store))
}

pub(super) fn accepting(disk: &SimFs, what: &[Accept]) -> Result<(Keyring, Store)> {
    open_with(disk, what.iter().fold(options(), |options, one| options.accept(*one)))
}

/// What is left of each entry, by asking for one after the other.
pub(super) fn left(store: &Store) -> Vec<LogId> {
    let state = store.state();
    let of = |index| match store.entry(index) {
        Ok(Some((id, plain))) => {
            assert_eq!(plain.expose(), payload(id.index, id.era.get()));
            Some(id)
        }
        Ok(None) => panic!("entry {index} is not even lost"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
            None
        }
    };
    (state.purged.index + 1..=state.last.index).filter_map(of).collect()
}

/// Entries 1 to 16 of term 1, then 14 to 17 of term 2 in place of the last ones, all in one segment;
/// what is committed along the way is told.
fn replaced(committed: &[(u64, u64)]) -> SimFs {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let store = Store::create(place(&disk), &keyring, Options::new(NAME)).unwrap();
    for n in 0..4 {
        store.apply(entries(n * 4 + 1..=n * 4 + 4, 1)).unwrap();
        let mut change = Change::new();
        for (index, term) in committed.iter().filter(|(index, _)| *index <= n * 4 + 4) {
            change.committed(id(*index, *term));
        }
        store.apply(change).unwrap();
    }
    let mut change = Change::new();
    change.truncate(14);
    store.apply(change).unwrap();
    for index in 14..=17 {
        store.apply(entries(index..=index, 2)).unwrap();
    }
    let mut change = Change::new();
    change.committed(id(17, 2));
    store.apply(change).unwrap();
    drop((store, keyring));
    disk.after_kill()
}

/// Where each frame of an entry begins in the only segment, in the order of the file.
pub(super) fn frames(disk: &SimFs) -> (PathBuf, Vec<(u64, u64)>) {
    let path = segments(disk).pop().unwrap();
    let file = disk.open_read(&path).unwrap();
    let mut reader = crate::wal::SegmentReader::new(&*file, &path, true, Some(0)).unwrap();
    let mut found = Vec::new();
    while let Some(crate::wal::Step::Record(record)) = reader.next().unwrap() {
        if record.kind == format::RECORD {
            let (id, _, _) = format::parse_record(reader.data()).unwrap();
            found.push((id.index, record.offset));
        }
    }
    (path, found)
}

pub(super) fn overwrite(disk: &SimFs, path: &Path, from: u64, to: u64) {
    let mut bytes = disk.read_file(path).unwrap();
    let [from, to] = [from, to].map(|at| usize::try_from(at).unwrap());
    bytes[from..to].iter_mut().for_each(|byte| *byte ^= 0x5a);
    disk.write_file(path, &bytes).unwrap();
}

#[test]
fn an_entry_that_may_have_been_replaced_is_not_given() {
    for (committed, expected) in [
        // Nothing says that what is before the gap is the log's.
        (&[][..], vec![id(17, 2)]),
        // A state before the gap does, up to here.
        (&[(10, 1)][..], [ids(1..=10, 1), ids(17..=17, 2)].concat()),
        (&[(12, 1)][..], [ids(1..=12, 1), ids(17..=17, 2)].concat()),
        // This one is in the gap.
        (&[(13, 1)][..], vec![id(17, 2)]),
    ] {
        let disk = replaced(committed);
        let (path, frames) = frames(&disk);
        // From the first 15 up to the last 17.
        let from = frames.iter().find(|(index, _)| *index == 15).unwrap().1;
        let to = frames.iter().rfind(|(index, _)| *index == 17).unwrap().1;
        overwrite(&disk, &path, from, to);
        assert_eq!(reopen(&disk).map(drop).unwrap_err().kind(), ErrorKind::Damaged);
        let before = names(&disk);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let (_keyring, store) = accepting(&disk, &[Accept::Damage]).unwrap();
            assert_eq!(left(&store), expected, "{committed:?}");
            assert_eq!(store.state().last, id(17, 2));
            assert_eq!(store.accepted(), [Accept::Damage]);
            seen.push(store.damages().to_vec());
        }
        assert!(seen.iter().all(|damages| *damages == seen[0] && damages.len() >= 2));
        assert!(none_gone(&before, &disk));
    }
}

/// Any one contiguous range: what is given is the log's, and a second opening gives the same.
#[test]
fn whatever_is_lost_nothing_is_given_that_is_not_the_logs() {
    let disk = replaced(&[(3, 1), (10, 1)]);
    let (path, _) = frames(&disk);
    let len = u64::try_from(disk.read_file(&path).unwrap().len()).unwrap();
    let end = {
        let bytes = disk.read_file(&path).unwrap();
        u64::try_from(bytes.iter().rposition(|byte| *byte != 0).unwrap()).unwrap().min(len) + 1
    };
    let log = [ids(1..=13, 1), ids(14..=17, 2)].concat();
    let (mut opened, mut all_of_it) = (0, 0);
    for from in (0..end).step_by(83) {
        for length in [1, 40, 700, 2500, 6000] {
            let disk = disk.after_kill();
            overwrite(&disk, &path, from, (from + length).min(end));
            let accepted = accepting(&disk, &[Accept::Damage]);
            let Ok((keyring, store)) = accepted else { continue };
            let found = left(&store);
            assert!(found.iter().all(|id| log.contains(id)), "{from} {length}: {found:?}");
            assert_eq!(store.state().last, id(17, 2));
            drop((keyring, store));
            let (_keyring, store) = accepting(&disk, &[Accept::Damage]).unwrap();
            assert_eq!(left(&store), found, "{from} {length}");
            opened += 1;
            all_of_it += usize::from(found.len() == log.len());
        }
    }
    assert!(opened > 100, "{opened} of them opened, {all_of_it} with all entries");
}

/// A log of several segments, two of them lost: the head, one amid, each with everything in it.
#[test]
fn segments_that_are_lost_whole_stay_where_they_are() {
    for lost in [0, 1, 2] {
        for gone in [false, true] {
            let (disk, keyring, store) = fresh();
            for n in 1..=60 {
                store.apply(entries(n..=n, 1)).unwrap();
            }
            let slots = |segment| {
                let index = store.inner.index();
                (1..=60).filter(|n| index.get(*n).unwrap().segment == segment).collect::<Vec<_>>()
            };
            let lost_entries = slots(lost);
            drop((store, keyring));
            let disk = disk.after_kill();
            let path = segments(&disk)[usize::try_from(lost).unwrap()].clone();
            if gone {
                disk.remove(&path).unwrap();
            } else {
                let len = u64::try_from(disk.read_file(&path).unwrap().len()).unwrap();
                overwrite(&disk, &path, 0, len);
            }
            assert!(reopen(&disk).is_err());
            let expected: Vec<LogId> = ids((1..=60).filter(|n| !lost_entries.contains(n)), 1);
            let before = names(&disk);
            for n in 0..3 {
                let (_keyring, store) = accepting(&disk, &[Accept::Damage])
                    .unwrap_or_else(|e| panic!("{lost} {gone} {n}: {e}"));
                assert_eq!(left(&store), expected, "{lost} {gone} {n}");
                assert!(none_gone(&before, &disk));
                // In use, too, nothing goes that holds a part of the log.
                let next = store.state().last.index + 1;
                if n == 1 {
                    store.apply(entries(next..=next, 2)).unwrap();
                    let mut change = Change::new();
                    change.truncate(next);
                    store.apply(change).unwrap();
                    assert!(
                        none_gone(&before, &disk),
                        "{lost} {gone} {before:?} {:?}",
                        names(&disk)
                    );
                }
            }
        }
    }
}

/// What a crash left stays as well, and is in nobody's way.
#[test]
fn a_rescue_leaves_temporary_files_and_makes_its_own() {
    let (disk, keyring, store) = fresh();
    store.apply(entries(1..=5, 1)).unwrap();
    drop((store, keyring));
    for n in [0, 1, 7] {
        disk.write_file(Path::new(&format!("/raft/store.{n}.tmp")), b"left over").unwrap();
    }
    let before = names(&disk);
    let (_keyring, store) = accepting(&disk, &[Accept::Witness]).unwrap();
    for n in 0..3 {
        store.apply(entries(n * 9 + 6..=n * 9 + 14, 1)).unwrap();
        store.install(take_snapshot(&store, id(n + 1, 1), b"state"), Change::new()).unwrap();
    }
    assert!(none_gone(&before, &disk));
    assert_eq!(store.accepted(), [], "nothing had to be accepted");
}

/// A damaged log can be left behind: by a snapshot that covers what is lost.
#[test]
fn a_peers_snapshot_ends_a_rescue() {
    let (disk, keyring, store) = fresh();
    for n in 1..=40 {
        store.apply(entries(n..=n, 1)).unwrap();
    }
    drop((store, keyring));
    let path = segments(&disk)[1].clone();
    let len = u64::try_from(disk.read_file(&path).unwrap().len()).unwrap();
    overwrite(&disk, &path, 0, len);
    let (keyring, store) = accepting(&disk, &[Accept::Damage]).unwrap();
    keyring.rotate_dek(Reason::Requested).unwrap();
    let mut rotation = store.rotation();
    let refused = (0..100).find_map(|_| rotation.step().err()).unwrap();
    assert_eq!(refused.kind(), ErrorKind::Damaged, "{refused}");
    let mut change = Change::new();
    change.purge(id(50, 3)).clear_accepted();
    store.install(take_snapshot(&store, id(50, 3), b"a peer's"), change).unwrap();
    assert_eq!(store.accepted(), []);
    rotate(&store);
    drop((keyring, store, rotation));
    let (_keyring, store) = reopen(&disk).unwrap();
    assert_eq!(store.accepted(), []);
    assert_eq!(store.state().last, id(50, 3));
}

#[test]
fn a_witness_that_is_lost_can_be_accepted() {
    let witness = Path::new("/raft/store.witness");
    let lose: [fn(&SimFs, &Path); 4] = [
        |disk, path| disk.remove(path).unwrap(),
        |disk, path| disk.write_file(path, b"").unwrap(),
        |disk, path| disk.write_file(path, &[0; 1024]).unwrap(),
        |disk, path| disk.write_file(path, &[0xaa; 700]).unwrap(),
    ];
    for lose in lose {
        let (disk, keyring, store) = fresh();
        store.apply(entries(1..=5, 1)).unwrap();
        drop((store, keyring));
        lose(&disk, witness);
        for what in [&[][..], &[Accept::Damage, Accept::Snapshot]] {
            assert!(accepting(&disk, what).is_err());
        }
        let (keyring, store) = accepting(&disk, &[Accept::Witness]).unwrap();
        assert_eq!(store.accepted(), [Accept::Witness]);
        assert_eq!(all(&store).unwrap(), ids(1..=5, 1));
        drop((keyring, store));
        let (_keyring, store) = reopen(&disk).unwrap();
        assert_eq!(store.accepted(), [Accept::Witness], "it is not forgotten");
    }
}

/// The last change is corrupted although it was durable: what is behind the end is kept aside.
#[test]
fn a_log_that_ends_too_early_can_be_accepted_and_nothing_is_thrown_away() {
    let (disk, keyring, store) = fresh();
    for n in 1..=4 {
        store.apply(entries(n..=n, 1)).unwrap();
    }
    let (path, end) = (segments(&disk).pop().unwrap(), store.inner.writer().out.end());
    drop((store, keyring));
    overwrite(&disk, &path, end - 60, end - 59);
    let before = disk.read_file(&path).unwrap();
    assert!(accepting(&disk, &[Accept::Damage]).is_err());
    let (keyring, store) = accepting(&disk, &[Accept::Witness]).unwrap();
    assert_eq!(all(&store).unwrap(), ids(1..=3, 1));
    assert_eq!(store.damages().len(), 1);
    drop((store, keyring));
    let mut kept = path.into_os_string();
    kept.push(".broken");
    assert_eq!(disk.read_file(Path::new(&kept)).unwrap(), before);
    let (_keyring, store) = reopen(&disk).unwrap();
    assert_eq!(all(&store).unwrap(), ids(1..=3, 1));
    assert_eq!(store.accepted(), [Accept::Witness]);
}

/// Each time something else is behind the end; and whatever is cut short, it is in some file.
#[test]
fn what_is_kept_aside_takes_the_place_of_nothing() {
    let (disk, mut keyring, mut store) = fresh();
    let mut lost = Vec::new();
    for round in 0..3 {
        let next = store.state().last.index + 1;
        store.apply(entries(next..=next, round + 1)).unwrap();
        let (path, end) = (segments(&disk).pop().unwrap(), store.inner.writer().out.end());
        drop((store, keyring));
        overwrite(&disk, &path, end - 60, end - 59);
        lost.push(disk.read_file(&path).unwrap());
        // Cut short at any operation.
        for cut in 0..60 {
            let disk = disk.after_kill();
            disk.cut_at(cut);
            let opened = accepting(&disk, &[Accept::Witness]).is_ok();
            // The witness is not synced: a power cut may leave one that knows of less.
            for up in [disk.after_kill(), disk.after_power_cut(crate::fs::Loss::Kept, 0)] {
                accepting(&up, &[Accept::Witness]).unwrap();
                let kept: Vec<_> = files(&up).into_iter().map(|(_, bytes)| bytes).collect();
                assert!(lost.iter().all(|lost| kept.contains(lost)), "{round} {cut} {opened}");
            }
        }
        (keyring, store) = accepting(&disk, &[Accept::Witness]).unwrap();
        store
            .apply(entries(store.state().last.index + 1..=store.state().last.index + 2, 9))
            .unwrap();
    }
    drop((store, keyring));
}

#[test]
fn a_snapshot_that_is_lost_can_be_accepted() {
    for gone in [true, false] {
        let (disk, keyring, store) = fresh();
        store.apply(entries(1..=9, 1)).unwrap();
        let mut change = Change::new();
        change.purge(id(5, 1));
        store.install(take_snapshot(&store, id(5, 1), b"state"), change).unwrap();
        let path = store.inner.snapshot_path(store.state().snapshot.unwrap());
        drop((store, keyring));
        let bytes = disk.read_file(&path).unwrap();
        if gone {
            disk.remove(&path).unwrap();
        } else {
            let mut bytes = bytes.clone();
            let at = bytes.len() - 1;
            bytes[at] ^= 1;
            disk.write_file(&path, &bytes).unwrap();
        }
        let with = |accept: bool| {
            let options = options().verify(|_| {});
            open_with(&disk, if accept { options.accept(Accept::Snapshot) } else { options })
        };
        assert!(with(false).is_err());
        for _ in 0..2 {
            let (_keyring, store) = with(true).unwrap();
            assert_eq!(store.accepted(), [Accept::Snapshot]);
            assert_eq!(all(&store).unwrap(), ids(6..=9, 1));
            assert!(read_snapshot(&store).is_err());
            assert_eq!(disk.read_file(&path).is_none(), gone, "it is not removed");
        }
        // Put back, it is there again.
        disk.write_file(&path, &bytes).unwrap();
        let (_keyring, store) = with(false).unwrap();
        assert_eq!(read_snapshot(&store).unwrap().unwrap().1, b"state");
    }
}

#[test]
fn read_only_changes_nothing_and_refuses_what_would() {
    let (disk, keyring, store) = fresh();
    for n in 1..=20 {
        store.apply(entries(n..=n, 1)).unwrap();
    }
    store.install(take_snapshot(&store, id(9, 1), b"state"), Change::new()).unwrap();
    // Never durable, and torn.
    drop(store.write(entries(21..=21, 1)).unwrap());
    let path = segments(&disk).pop().unwrap();
    let end = store.inner.writer().out.end();
    drop((store, keyring));
    overwrite(&disk, &path, end - 8, end);
    let disk = disk.after_kill();
    let before = files(&disk);
    let keyring = match Keyring::open_read_only(keys(&disk), &me("m1"), LockPolicy::Locked).unwrap()
    {
        Opened::Locked(locked) => locked.unlock(&unlock_key()).unwrap(),
        Opened::Unlocked(_) => panic!("not locked"),
    };
    let store = Store::open(place(&disk), &keyring, options().read_only().verify(|_| {})).unwrap();
    assert_eq!(all(&store).unwrap(), ids(1..=20, 1));
    assert_eq!(read_snapshot(&store).unwrap().unwrap().1, b"state");
    let refused = |result: Result<()>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Misuse(Misuse::State(_))), "{error}");
    };
    refused(store.apply(entries(21..=21, 1)));
    refused(store.apply(Change::new()));
    refused(store.write_snapshot().map(drop));
    refused(store.rotation().step().map(drop));
    refused(keyring.rotate_dek(Reason::Requested).map(drop));
    refused(keyring.attach("tls", b"pem"));
    refused(keyring.keyspace("raft").unwrap().cells().seal("mine", b"row", b"x").map(drop));
    // A writer waits for readers to end; readers share.
    let other = Store::open(place(&disk), &keyring, options().read_only()).unwrap();
    drop(store);
    let writing = open_keyring(&disk);
    assert!(matches!(writing, Err(Error::Busy(_))), "the keyring is shared by readers");
    drop((other, keyring));
    assert_eq!(files(&disk), before, "nothing was written");
    let (_keyring, store) = reopen(&disk).unwrap();
    assert_eq!(all(&store).unwrap(), ids(1..=20, 1));
}

/// Beside a writer: what is read was durable at one moment.
#[test]
fn beside_a_writer_only_what_is_durable_is_read() {
    let (disk, keyring, store) = fresh();
    store.apply(entries(1..=4, 1)).unwrap();
    let pending = store.write(entries(5..=5, 1)).unwrap();
    let look = || Store::open(place(&disk), &keyring, options().read_only());
    assert_eq!(all(&look().unwrap()).unwrap(), ids(1..=4, 1));
    pending.wait().unwrap();
    assert_eq!(all(&look().unwrap()).unwrap(), ids(1..=5, 1));

    // Also one who sees no lock.
    let pending = store.write(entries(6..=6, 1)).unwrap();
    disk.remove(Path::new("/raft/store.lock")).unwrap();
    assert_eq!(all(&look().unwrap()).unwrap(), ids(1..=5, 1));
    pending.wait().unwrap();
    drop((store, keyring));
    let (keyring, store) = reopen(&disk.after_kill()).unwrap();
    drop((store, keyring));
    let disk = disk.after_kill();
    let (keyring, store) = reopen(&disk).unwrap();
    let look = || Store::open(place(&disk), &keyring, options().read_only());

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 7..=300 {
                let mut change = entries(n..=n, 1);
                change.committed(id(n, 1));
                store.apply(change).unwrap();
                if n % 40 == 0 {
                    let mut change = Change::new();
                    change.purge(id(n - 10, 1));
                    let snapshot = take_snapshot(&store, id(n - 10, 1), b"state");
                    store.install(snapshot, change).unwrap();
                }
            }
            done.store(true, Ordering::Release);
        });
        let mut last = 0;
        while !done.load(Ordering::Acquire) {
            let seen = match look() {
                Ok(store) => store,
                Err(Error::Busy(_)) => continue,
                Err(error) => panic!("{error}"),
            };
            let state = seen.state();
            assert!(state.last.index >= last, "it goes back");
            last = state.last.index;
            match all(&seen) {
                Ok(found) => assert_eq!(found, ids(state.purged.index + 1..=last, 1)),
                Err(Error::Busy(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
}

/// A keyring of before a rotation does not hold the DEK of what was written since: that is no wrong key.
#[test]
fn beside_a_writer_a_newer_dek_is_busy() {
    let (disk, keyring, store) = fresh();
    store.apply(entries(1..=4, 1)).unwrap();
    let before = match Keyring::open_read_only(keys(&disk), &me("m1"), LockPolicy::Locked).unwrap()
    {
        Opened::Locked(locked) => locked.unlock(&unlock_key()).unwrap(),
        Opened::Unlocked(_) => panic!("not locked"),
    };
    let look = || Store::open(place(&disk), &before, options().read_only());
    assert_eq!(all(&look().unwrap()).unwrap(), ids(1..=4, 1));
    keyring.rotate_dek(Reason::Requested).unwrap();
    // What it can tell is that what it can open was durable.
    store.apply(entries(5..=5, 1)).unwrap();
    assert!(matches!(look(), Ok(_) | Err(Error::Busy(_))));
    store.apply(entries(6..=6, 1)).unwrap();
    assert!(matches!(look(), Err(Error::Busy(_))));
}

#[test]
fn an_inspection_names_what_is_wrong_and_writes_nothing() {
    let (disk, keyring, store) = fresh();
    for n in 1..=30 {
        store.apply(entries(n..=n, 1)).unwrap();
    }
    store.install(take_snapshot(&store, id(9, 1), b"state"), Change::new()).unwrap();
    let snapshot = store.inner.snapshot_path(store.state().snapshot.unwrap());
    let slot = store.inner.index().get(12).unwrap();
    let segment = store.inner.index().segments[&slot.segment].path.clone();
    disk.write_file(Path::new("/raft/mine.tmp"), b"x").unwrap();
    disk.write_file(Path::new("/raft/store.4.tmp"), b"x").unwrap();
    let inspect = |keys: Option<&Keyring>| {
        let mut frames = Vec::new();
        let found = Store::inspect(place(&disk), keys, &options(), |frame| {
            frames.push((frame.path.to_owned(), frame.offset, frame.entry, frame.verdict.clone()));
        });
        (found.unwrap(), frames)
    };
    // Also while it is open.
    let before = files(&disk);
    let (found, frames) = inspect(Some(&keyring));
    assert!(found.refusal.is_none(), "{:?}", found.refusal);
    let entries: Vec<LogId> = frames.iter().filter_map(|(_, _, id, _)| *id).collect();
    assert_eq!(entries, ids(1..=30, 1));
    assert!(frames.iter().all(|(.., verdict)| *verdict == Verdict::Good));
    for file in &found.files {
        let expected = match file.kind {
            Kind::Segment | Kind::Snapshot | Kind::Witness => Verdict::Good,
            _ => Verdict::Unused,
        };
        assert_eq!(file.verdict, expected, "{file:?}");
    }
    let foreign: Vec<_> = found.files.iter().filter(|file| file.kind == Kind::Foreign).collect();
    assert_eq!(foreign.len(), 1, "mine.tmp");
    let (found, frames) = inspect(None);
    assert!(found.refusal.is_none());
    let judged = frames.iter().filter(|(.., verdict)| *verdict == Verdict::Unopened).count();
    assert!(judged >= 60, "{judged} entries and states");
    drop((store, keyring));
    assert_eq!(files(&disk), before);

    overwrite(&disk, &segment, slot.offset() + 60, slot.offset() + 61);
    disk.remove(&snapshot).unwrap();
    disk.remove(Path::new("/raft/store.witness")).unwrap();
    let keyring = open_keyring(&disk).unwrap();
    for keys in [None, Some(&keyring)] {
        let mut wrong = Vec::new();
        let found = Store::inspect(place(&disk), keys, &options(), |frame| {
            if matches!(frame.verdict, Verdict::Corrupted(_)) {
                wrong.push((frame.path.to_owned(), frame.offset));
            }
        });
        let found = found.unwrap();
        assert_eq!(wrong, [(segment.clone(), slot.offset())]);
        let of = |path: &Path| found.files.iter().find(|file| file.path == path).unwrap();
        assert!(matches!(of(&segment).verdict, Verdict::Corrupted(_)));
        assert_eq!(of(Path::new("/raft/store.witness")).verdict, Verdict::Missing);
        assert_eq!(found.refusal.is_some(), keys.is_some());
    }
    let found = Store::inspect(
        place(&disk),
        Some(&keyring),
        &options().accept(Accept::Witness).accept(Accept::Damage),
        |_| {},
    );
    let found = found.unwrap();
    assert!(matches!(&found.refusal, Some(Error::Missing(path)) if *path == snapshot));
    let missing = found.files.iter().filter(|file| file.verdict == Verdict::Missing).count();
    assert_eq!(missing, 2);
    let all = options().accept(Accept::Witness).accept(Accept::Damage).accept(Accept::Snapshot);
    let found = Store::inspect(place(&disk), Some(&keyring), &all, |_| {}).unwrap();
    assert!(found.refusal.is_none(), "as opening says: {:?}", found.refusal);
    Store::open(place(&disk), &keyring, all).unwrap();
}

/// On a disk that is full from some operation on: what fits not is an error, and no more than that.
#[test]
fn a_change_that_does_not_fit_leaves_the_store_as_it_was() {
    let full = io::ErrorKind::StorageFull;
    for at in 0..12 {
        for count in [1, 2, 3, 40] {
            let (disk, keyring, store) = fresh();
            store.apply(entries(1..=6, 1)).unwrap();
            for n in 0..count {
                disk.fail_at(at + n, full);
            }
            let result = store.apply(entries(7..=9, 1));
            while disk.operations() < 500 {
                // Past what fails.
                let _ = disk.list(Path::new("/raft"));
            }
            let last = match &result {
                Ok(()) => 9,
                Err(Error::Io { .. }) => 6,
                Err(error) => panic!("{at} {count}: {error}"),
            };
            let what = format!("{at} {count}: {result:?}");
            match store.apply(entries(last + 1..=last + 1, 1)) {
                Ok(()) => {
                    assert_eq!(all(&store).unwrap(), ids(1..=last + 1, 1), "{what}");
                    assert_eq!(store.state().last, id(last + 1, 1));
                }
                // A sync that failed.
                Err(Error::Poisoned) => {
                    assert!(
                        matches!(
                            result,
                            Err(Error::Io { op: "sync" | "stat" | "write" | "truncate", .. })
                        ),
                        "{what}"
                    );
                }
                Err(error) => panic!("{what}: {error}"),
            }
            drop((store, keyring));
            let (_keyring, store) =
                reopen(&disk.after_kill()).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(all(&store).unwrap().starts_with(&ids(1..=6, 1)), "{what}");
        }
    }
}
