//! An attacker who writes to the disk, and has what an earlier store of the same name and DEK, or
//! another store of the same node, left there.

use super::attacks::{Frame, forge, frames_of};
use super::*;
use crate::fs::{Fs, Loss};
use crate::wal::Kind as FrameKind;

const OTHER: &str = "a segment of another keyspace";

fn files(disk: &SimFs, dir: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = disk.paths().into_iter().filter(|path| path.starts_with(dir));
    paths.filter_map(|path| disk.read_file(&path).map(|bytes| (path, bytes))).collect()
}

fn clear(disk: &SimFs, dir: &str) {
    files(disk, dir).into_iter().for_each(|(path, _)| disk.remove(&path).unwrap());
}

fn put(disk: &SimFs, files: &[(PathBuf, Vec<u8>)]) {
    files.iter().for_each(|(path, bytes)| disk.write_file(path, bytes).unwrap());
}

/// The same entries in each life, of other content, in several segments; and a snapshot.
fn live(store: &Store, vote: &[u8]) {
    for n in 0..3 {
        store.apply(entries(n * 4 + 1..=n * 4 + 4, 1)).unwrap();
    }
    store.apply(change(|c| c.vote(vote).put_meta("members", vote))).unwrap();
    store.install(take_snapshot(store, id(6, 1), vote), Change::new()).unwrap();
}

type Files = Vec<(PathBuf, Vec<u8>)>;

/// A node that was reset and joined again with the same keys, and the files of both lives.
fn two_lives() -> (SimFs, Keyring, Files, Files) {
    let (disk, keyring, store) = fresh();
    live(&store, b"first");
    drop(store);
    let first = files(&disk, "/raft");
    clear(&disk, "/raft");
    // Neither is what there was replaced silently, nor need it be there to be given up.
    let refused = Store::create(place(&disk), &keyring, options());
    assert!(matches!(refused, Err(Error::Misuse(Misuse::KeyspaceRegistered(_)))));
    assert!(keyring.forget(NAME).unwrap());
    let store = Store::create(place(&disk), &keyring, options()).unwrap();
    live(&store, b"second");
    drop(store);
    let second = files(&disk, "/raft");
    (disk, keyring, first, second)
}

fn opened(disk: &SimFs, keyring: &Keyring) -> Result<Store> {
    Store::open(place(disk), keyring, options().verify(|_| {}))
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|ext| ext == "wal")
}

#[test]
fn nothing_of_an_earlier_life_opens_in_the_next() {
    let (disk, keyring, first, second) = two_lives();
    assert!(first.iter().filter(|(path, _)| is_segment(path)).count() > 1);
    // File by file, and all of them.
    for n in 0..=first.len() {
        clear(&disk, "/raft");
        put(&disk, &second);
        let (taken, what) = match first.get(n) {
            None => (&first[..], "all".to_owned()),
            Some((path, _)) => (&first[n..=n], path.display().to_string()),
        };
        // Each life has a snapshot of its own name.
        let in_use = taken.iter().any(|(path, _)| second.iter().any(|(other, _)| path == other));
        put(&disk, taken);
        let before = files(&disk, "/raft");
        match opened(&disk, &keyring) {
            Err(Error::Damaged { what: OTHER, place }) => {
                assert!(place.file.is_some_and(|path| is_segment(&path)), "{what}");
                assert!(files(&disk, "/raft") == before, "changed: {what}");
            }
            Err(error) => {
                assert!(what.ends_with("witness"), "{what}: {error}");
                assert!(matches!(error, Error::Unauthentic), "{what}: {error}");
            }
            Ok(store) => {
                assert!(!in_use || what.ends_with("lock"), "{what}");
                assert_eq!(store.state().vote, b"second");
            }
        }
    }
}

/// The ids are not sealed: an attacker writes the second one into the first life's segments, CRCs and
/// all.
#[test]
fn nothing_of_an_earlier_life_opens_under_the_id_of_the_next() {
    let (disk, keyring, first, second) = two_lives();
    let id = keyring.status().keyspaces[0].id;
    let renamed: Files = {
        put(&disk, &first);
        for (path, _) in first.iter().filter(|(path, _)| is_segment(path)) {
            let mut frames = frames_of(&disk, path);
            let owner = frames.iter_mut().find(|(kind, _)| *kind == FrameKind::Metadata).unwrap();
            let len = owner.1.len();
            owner.1[len - 16..].copy_from_slice(&id.to_bytes());
            forge(&disk, path, &frames);
        }
        files(&disk, "/raft")
    };
    for (n, (path, _)) in renamed.iter().enumerate().filter(|(_, (path, _))| is_segment(path)) {
        clear(&disk, "/raft");
        put(&disk, &second);
        put(&disk, &renamed[n..=n]);
        let error = opened(&disk, &keyring).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{}: {error}", path.display());
    }
    clear(&disk, "/raft");
    put(&disk, &renamed);
    assert!(matches!(opened(&disk, &keyring), Err(Error::Unauthentic)));
    // Also for an operator who accepts whatever can be accepted, no entry of it opens.
    let rescued = Store::open(place(&disk), &keyring, options().accept(Accept::Witness));
    assert!(matches!(rescued, Err(Error::Unauthentic)), "{rescued:?}");
}

/// A record of the first life in the place of the one of its index, era and era before.
#[test]
fn no_record_of_an_earlier_life_opens_in_the_next() {
    use super::super::format::RECORD;
    let (disk, keyring, first, second) = two_lives();
    let segment = |files: &Files| files.iter().find(|(path, _)| is_segment(path)).unwrap().clone();
    let record = |frames: &[Frame]| frames.iter().position(|(kind, _)| *kind == RECORD).unwrap();
    let (path, _) = segment(&first);
    put(&disk, &first);
    let old = frames_of(&disk, &path);
    put(&disk, &second);
    let mut new = frames_of(&disk, &path);
    let (from, to) = (record(&old), record(&new));
    assert_eq!(old[from].1[..24], new[to].1[..24], "the same place");
    new[to] = old[from].clone();
    forge(&disk, &path, &new);
    let error = opened(&disk, &keyring).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    let store = Store::open(place(&disk), &keyring, options().accept(Accept::Damage)).unwrap();
    let mut read = 0;
    let refused = store.read(1..=1, |_, _| {
        read += 1;
        Ok::<(), Error>(())
    });
    assert!(matches!(refused, Err(Error::Unauthentic | Error::Damaged { .. })) && read == 0);
}

#[test]
fn two_stores_whose_directories_were_exchanged_say_so() {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let names = ["one", "two"];
    let at = |name: &str| Location::on(Arc::new(disk.clone()), format!("/{name}"));
    let open = |name| {
        let options = Options::new(name).segment_size(SEGMENT).prepare_ahead(false);
        Store::open(at(name), &keyring, options)
    };
    for name in names {
        let options = Options::new(name).segment_size(SEGMENT).prepare_ahead(false);
        let store = Store::create(at(name), &keyring, options).unwrap();
        live(&store, name.as_bytes());
        // Neither is a second one of the name made or opened elsewhere.
        let elsewhere = Store::create(place(&disk), &keyring, Options::new(name));
        assert!(matches!(elsewhere, Err(Error::Misuse(Misuse::KeyspaceOpen(n))) if n == name));
        let elsewhere = Store::open(at("three"), &keyring, Options::new(name));
        assert!(matches!(elsewhere, Err(Error::Missing(_) | Error::Misuse(_))));
        let again = keyring.keyspace(name);
        assert!(matches!(again, Err(Error::Misuse(Misuse::KeyspaceOpen(n))) if n == name));
    }
    let all = names.map(|name| files(&disk, &format!("/{name}")));
    for (files, name) in all.iter().zip(["two", "one"]) {
        clear(&disk, &format!("/{name}"));
        for (path, bytes) in files {
            let path = Path::new("/").join(name).join(path.file_name().unwrap());
            disk.write_file(&path, bytes).unwrap();
        }
    }
    for name in names {
        let before = files(&disk, &format!("/{name}"));
        let Err(Error::Damaged { what: OTHER, place }) = open(name) else { panic!("{name}") };
        assert!(place.file.is_some_and(|path| path.starts_with(format!("/{name}"))));
        assert!(files(&disk, &format!("/{name}")) == before, "changed by an opening that failed");
        let mut verdicts = Vec::new();
        let inspected = Store::inspect(at(name), Some(&keyring), &Options::new(name), |frame| {
            verdicts.push(frame.verdict.clone());
        });
        assert!(verdicts.contains(&Verdict::Corrupted("of another keyspace")));
        assert!(matches!(inspected.unwrap().refusal, Some(Error::Damaged { what: OTHER, .. })));
    }
    // Each is where the other was, and opens under its own name.
    for (name, dir) in [("one", "two"), ("two", "one")] {
        let options = Options::new(name).segment_size(SEGMENT).prepare_ahead(false);
        let store = Store::open(at(dir), &keyring, options.verify(|_| {})).unwrap();
        assert_eq!(store.state().vote, name.as_bytes());
    }
}

/// What no table lists is removed as left over, unless it is another store's.
#[test]
fn a_segment_of_another_store_is_not_removed_as_left_over() {
    let (disk, keyring, store) = fresh();
    live(&store, b"raft");
    let options = Options::new("other").segment_size(SEGMENT).prepare_ahead(false);
    let at = Location::on(Arc::new(disk.clone()), "/other");
    drop(Store::create(at, &keyring, options).unwrap());
    drop(store);
    let (_, segment) =
        files(&disk, "/other").into_iter().find(|(path, _)| is_segment(path)).unwrap();
    let theirs = Path::new("/raft/0000000000000000-0000000000000000.wal");
    disk.write_file(theirs, &segment).unwrap();
    let refused = opened(&disk, &keyring).unwrap_err();
    assert!(matches!(&refused, Error::Damaged { what: OTHER, .. }), "{refused}");
    assert!(disk.read_file(theirs).is_some());
    disk.remove(theirs).unwrap();
    opened(&disk, &keyring).unwrap();
}

#[test]
fn a_whole_store_that_was_not_noted_as_made_is_when_it_opens() {
    let base = SimFs::new();
    let create =
        |disk: &SimFs, keyring: &Keyring| Store::create(place(disk), keyring, options()).map(drop);
    new_clear(&base);
    let whole = {
        let disk = base.after_kill();
        let keyring = open_clear(&disk);
        let begun = disk.operations();
        create(&disk, &keyring).unwrap();
        disk.operations() - begun
    };
    // The last write of the key file fails.
    let mut found = 0;
    for n in 0..whole {
        let disk = base.after_kill();
        let keyring = open_clear(&disk);
        disk.fail_at(n, io::ErrorKind::Other);
        if create(&disk, &keyring).is_ok() {
            continue;
        }
        drop(keyring);
        let disk = disk.after_kill();
        let keyring = open_clear(&disk);
        let made = |keyring: &Keyring| keyring.status().keyspaces.first().is_some_and(|k| k.made);
        match Store::open(place(&disk), &keyring, options()) {
            Ok(store) => {
                found += 1;
                assert!(made(&keyring));
                drop(store);
                let again = Store::create(place(&disk), &keyring, options());
                assert!(matches!(again, Err(Error::Misuse(Misuse::KeyspaceRegistered(_)))));
            }
            Err(Error::Missing(_)) => {
                assert!(!made(&keyring));
                let unfinished = keyring.status().keyspaces.first().map(|k| k.id);
                if unfinished.is_some() {
                    assert!(matches!(keyring.keyspace(NAME), Err(Error::Misuse(_))));
                }
                drop(Store::create(place(&disk), &keyring, options()).unwrap());
                assert!(made(&keyring));
                assert_ne!(Some(keyring.status().keyspaces[0].id), unfinished, "a new id");
            }
            Err(error) => panic!("{n}: {error}"),
        }
    }
    assert!(found >= 3, "{found}");
}

fn new_clear(disk: &SimFs) {
    drop(Keyring::create(keys(disk), &me("m1"), Protector::none(), &[]).unwrap());
}

fn open_clear(disk: &SimFs) -> Keyring {
    match Keyring::open(keys(disk), &me("m1"), LockPolicy::Any).unwrap() {
        Opened::Unlocked(keyring) => keyring,
        Opened::Locked(_) => panic!("locked"),
    }
}

/// Twice, the power cut at any two operations: what the first attempt left keeps nobody from the third.
#[test]
fn a_creation_that_was_cut_short_twice_can_be_begun_again() {
    let base = SimFs::new();
    new_clear(&base);
    let cut_short = |base: &SimFs, cut: u64| {
        let disk = base.after_kill();
        let keyring = open_clear(&disk);
        disk.cut_at(cut);
        let created = match Store::open(place(&disk), &keyring, options()) {
            Err(Error::Missing(_)) => Store::create(place(&disk), &keyring, options()),
            opened => opened,
        };
        let done = created.is_ok();
        drop((created, keyring));
        (disk, done)
    };
    let mut runs = 0;
    for first in 0.. {
        let (disk, done) = cut_short(&base, first);
        for loss in [Loss::Dropped, Loss::Kept] {
            let up = disk.after_power_cut(loss, 0);
            for second in (first % 3..).step_by(3) {
                let (disk, done) = cut_short(&up, second);
                for loss in Loss::ALL {
                    let up = disk.after_power_cut(*loss, second);
                    let (up, done) = cut_short(&up, u64::MAX);
                    assert!(done, "{first} {second} {loss:?}");
                    let keyring = open_clear(&up);
                    let store = Store::open(place(&up), &keyring, options()).unwrap();
                    assert_eq!(all(&store).unwrap(), []);
                    store.apply(entries(1..=2, 1)).unwrap();
                    runs += 1;
                }
                if done {
                    break;
                }
            }
        }
        if done {
            break;
        }
    }
    assert!(runs > 1000, "{runs}");
}
