//! Keyspaces, and what a sweep must be shown before a DEK goes: one store's rotation must not take what
//! another, or the caller's own data, is sealed under.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::ops::ControlFlow;
use std::sync::Arc;

use nodeseal::fs::{Loss, SimFs};
use nodeseal::keyring::Location;
use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD};
use nodeseal::store::{Change, Options, Step};
use nodeseal::{
    Error, Identity, Keyring, LockPolicy, Misuse, Opened, Protector, Reason, Result, Store, Sweep,
};

const ENTRIES: u64 = 6;

fn me() -> Identity {
    Identity::new("prod", "m1").unwrap()
}

fn at(disk: &SimFs, dir: &str) -> Location {
    Location::on(Arc::new(disk.clone()), format!("/{dir}"))
}

fn options<'a>(name: &str) -> Options<'a> {
    Options::new(name).segment_size(1024).prepare_ahead(false)
}

fn new_keyring(disk: &SimFs) -> Keyring {
    Keyring::create(at(disk, "keys"), &me(), Protector::none(), &[]).unwrap()
}

fn open_keyring(disk: &SimFs) -> Keyring {
    match Keyring::open(at(disk, "keys"), &me(), LockPolicy::Any).unwrap() {
        Opened::Unlocked(keyring) => keyring,
        Opened::Locked(_) => panic!("locked"),
    }
}

fn text(name: &str, index: u64) -> String {
    format!("{name} {index} ").repeat(20)
}

/// A store with entries in several segments.
fn store(disk: &SimFs, keyring: &Keyring, name: &str) -> Store {
    let store = Store::create(at(disk, name), keyring, options(name)).unwrap();
    for index in 1..=ENTRIES {
        let mut change = Change::new();
        let id = LogId::new(index, Era::term(1));
        change.push(id, |out| out.extend_from_slice(text(name, index).as_bytes())).unwrap();
        store.apply(change).unwrap();
    }
    store
}

fn open(disk: &SimFs, keyring: &Keyring, name: &str) -> Result<Store> {
    Store::open(at(disk, name), keyring, options(name).verify(|_| ()))
}

/// Every entry of a store opens.
fn is_whole(store: &Store, name: &str) {
    let mut next = 1;
    store
        .read(.., |id, entry| {
            assert_eq!((id.index, entry), (next, text(name, next).as_bytes()));
            next += 1;
            Ok::<(), Error>(())
        })
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(next, ENTRIES + 1, "{name}");
}

fn run(store: &Store, also: impl FnMut(&mut Sweep) -> Result<()> + Send + 'static) -> Result<bool> {
    let mut rotation = store.rotation().rate(u64::MAX).budget(600).also(also);
    rotation.run(|_| ControlFlow::Continue(()))
}

/// Nothing else than the store itself is shown, as by one who knows of no other.
fn run_alone(store: &Store) -> Result<bool> {
    store.rotation().rate(u64::MAX).run(|_| ControlFlow::Continue(()))
}

#[track_caller]
fn is_not_shown<T: std::fmt::Debug>(result: Result<T>, expected: &[&str]) {
    match result {
        Err(error @ Error::Misuse(Misuse::NotShown(_))) => {
            let text = error.to_string();
            assert!(text.contains("Rotation::also"), "{text}");
            let Error::Misuse(Misuse::NotShown(names)) = error else { unreachable!() };
            assert_eq!(names, expected);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_stores_rotation_takes_no_dek_that_another_needs() {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let (one, two) = (store(&disk, &keyring, "one"), store(&disk, &keyring, "two"));
    keyring.rotate_dek(Reason::Requested).unwrap();
    is_not_shown(run_alone(&one), &["two"]);
    assert_eq!(keyring.status().deks.len(), 2);
    is_whole(&two, "two");
    // As the error says. One is under the new DEK by now.
    let other = one.clone();
    assert!(run(&two, move |sweep| other.show(sweep)).unwrap());
    assert_eq!(keyring.status().deks.len(), 1);
    drop((one, two, keyring));
    let keyring = open_keyring(&disk);
    for name in ["one", "two"] {
        is_whole(&open(&disk, &keyring, name).unwrap(), name);
    }
}

/// One that is shut, and whose directory is not even there now, needs its DEK as well.
#[test]
fn a_store_that_is_shut_keeps_its_dek() {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let (one, two) = (store(&disk, &keyring, "one"), store(&disk, &keyring, "two"));
    drop(two);
    keyring.rotate_dek(Reason::Requested).unwrap();
    is_not_shown(run_alone(&one), &["two"]);
    let two = open(&disk, &keyring, "two").unwrap();
    is_whole(&two, "two");
    // A store of another keyring, of the same name, is not the one.
    let other_disk = SimFs::new();
    let other_keyring = new_keyring(&other_disk);
    let other = store(&other_disk, &other_keyring, "two");
    is_not_shown(run(&one, move |sweep| other.show(sweep)), &["two"]);
    // Nor does one that is read beside the writer know what that writes.
    let reader = Store::open(at(&disk, "two"), &keyring, options("two").read_only()).unwrap();
    is_not_shown(run(&one, move |sweep| reader.show(sweep)), &["two"]);
    is_whole(&two, "two");
    // Given up, it holds up nothing.
    drop(two);
    assert!(keyring.forget("two").unwrap());
    assert!(run_alone(&one).unwrap());
    assert!(matches!(open(&disk, &keyring, "two"), Err(Error::UnknownKeyspace(_))));
}

#[test]
fn a_rotation_takes_no_dek_that_the_callers_own_data_needs() {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let one = store(&disk, &keyring, "one");
    let mine = keyring.keyspace("mine").unwrap();
    let cells = mine.cells();
    let cell = cells.seal("table", b"row", b"value").unwrap();
    let bytes = cell.bytes().to_vec();
    cell.durable();
    keyring.rotate_dek(Reason::Requested).unwrap();
    is_not_shown(run_alone(&one), &["mine"]);
    assert_eq!(cells.open("table", b"row", &bytes).unwrap().expose(), b"value");
    // Shown as it is, it holds the DEK back; sealed again, it does not.
    let shown = bytes.clone();
    let mut rotation = one.rotation().also(move |sweep| {
        sweep.see(&shown)?;
        sweep.shown("mine");
        Ok(())
    });
    for _ in 0..10 {
        assert!(!matches!(rotation.step().unwrap(), Step::Dropped | Step::Done));
    }
    let again = cells.reseal("table", b"row", &bytes).unwrap().unwrap();
    let bytes = again.bytes().to_vec();
    again.durable();
    let shown = bytes.clone();
    let done = run(&one, move |sweep| {
        sweep.see(&shown)?;
        sweep.shown("mine");
        Ok(())
    });
    assert!(done.unwrap());
    assert_eq!(cells.open("table", b"row", &bytes).unwrap().expose(), b"value");
}

/// The power fails between any two writes of it all.
#[test]
fn no_power_cut_during_a_rotation_of_two_stores_loses_either() {
    let base = SimFs::new();
    let keyring = new_keyring(&base);
    drop((store(&base, &keyring, "one"), store(&base, &keyring, "two"), keyring));
    let rotate = |disk: &SimFs| -> Result<()> {
        let keyring = open_keyring(disk);
        let one = open(disk, &keyring, "one")?;
        let two = open(disk, &keyring, "two")?;
        keyring.rotate_dek(Reason::Requested)?;
        match run_alone(&one) {
            Err(Error::Misuse(Misuse::NotShown(_))) => {}
            other => {
                // Nothing but the fault that is tried may end it otherwise.
                other?;
                panic!("the DEK that the other store needs is gone");
            }
        }
        run(&two, move |sweep| one.show(sweep)).map(drop)
    };
    let calm = base.after_kill();
    let begun = calm.operations();
    rotate(&calm).unwrap();
    let operations = calm.operations() - begun;
    assert!(operations > 100, "{operations}");
    // The openings are the same in all, and another test's.
    let opening = {
        let disk = base.after_kill();
        let keyring = open_keyring(&disk);
        let _stores =
            (open(&disk, &keyring, "one").unwrap(), open(&disk, &keyring, "two").unwrap());
        disk.operations()
    };
    for cut in opening..operations {
        let disk = base.after_kill();
        disk.cut_at(cut);
        rotate(&disk).unwrap_err();
        for loss in [Loss::Dropped, Loss::Kept, Loss::Torn] {
            let up = disk.after_power_cut(loss, cut);
            let keyring = open_keyring(&up);
            let stores = ["one", "two"].map(|name| {
                let store = open(&up, &keyring, name)
                    .unwrap_or_else(|e| panic!("{name}, {cut}, {loss:?}: {e}"));
                is_whole(&store, name);
                store
            });
            if loss == Loss::Dropped {
                let [one, two] = stores;
                let _ = run_alone(&one);
                assert!(run(&two, move |sweep| one.show(sweep)).unwrap(), "{cut}");
                is_whole(&two, "two");
                assert_eq!(keyring.status().deks.len(), 1);
            }
        }
    }
}

/// What was sealed before a keyspace was forgotten does not open in the next of its name.
#[test]
fn a_forgotten_keyspace_opens_nothing_any_more() {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let mine = keyring.keyspace("mine").unwrap();
    let first = mine.id();
    let (log, id) = (mine.log(), LogId::new(1, Era::term(1)));
    let mut record = [&[0; RECORD_OVERHEAD][..], b"entry"].concat();
    log.seal_in_place(id, Era::NONE, &mut record).unwrap().durable();
    let cell = mine.cells().seal("t", b"r", b"cell").unwrap();
    let state = mine.cells().seal_state(&nodeseal::seal::State::default()).unwrap();
    let writer = mine.streams().create("s", std::io::Cursor::new(Vec::new())).unwrap();
    let (stream, sealed) = writer.finish(LogId::START, b"").unwrap();
    sealed.durable();
    // As long as any handle lives it is open.
    drop(mine);
    let forgotten = keyring.forget("mine");
    assert!(matches!(forgotten, Err(Error::Misuse(Misuse::KeyspaceOpen(name))) if name == "mine"));
    drop(log);
    assert!(keyring.forget("mine").unwrap());
    assert!(!keyring.forget("mine").unwrap());
    assert!(keyring.status().keyspaces.is_empty());

    let mine = keyring.keyspace("mine").unwrap();
    assert_ne!(mine.id(), first);
    let opened = [
        mine.log().open_in_place(id, Era::NONE, &mut record).map(drop),
        mine.cells().open("t", b"r", cell.bytes()).map(drop),
        mine.cells().open_state(state.bytes()).map(drop),
        mine.streams().open("s", std::io::Cursor::new(stream.into_inner())).map(drop),
    ];
    for (n, refused) in opened.into_iter().enumerate() {
        assert!(matches!(refused, Err(Error::Unauthentic)), "{n}: {refused:?}");
    }
}

#[test]
fn the_register_is_kept_and_has_room_for_256() {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let names: Vec<String> = (0..256).map(|n| format!("k{n:03}")).collect();
    // In any order.
    for name in names.iter().rev() {
        drop(keyring.keyspace(name).unwrap());
    }
    let refused = keyring.keyspace("one-more");
    let Err(Error::Misuse(Misuse::TooManyKeyspaces(listed))) = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(*listed, names);
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("k000, k001") && text.contains("Keyring::forget"), "{text}");
    let full = Store::create(at(&disk, "raft"), &keyring, options("raft"));
    assert!(matches!(full, Err(Error::Misuse(Misuse::TooManyKeyspaces(_)))));
    let before = keyring.status();
    // The ones that there are go on.
    keyring.keyspace("k007").unwrap();
    assert_eq!(keyring.status(), before);
    drop(keyring);
    let keyring = open_keyring(&disk);
    assert_eq!(keyring.status().keyspaces, before.keyspaces);
    keyring.forget("k255").unwrap();
    drop(store(&disk, &keyring, "raft"));
    for bad in ["", ".", "a b", "-a", &"x".repeat(65)] {
        assert!(matches!(keyring.keyspace(bad), Err(Error::Misuse(Misuse::Name("keyspace")))));
    }
}

#[test]
fn a_file_that_is_open_read_only_gives_the_keyspaces_that_it_has() {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    drop(keyring.keyspace("mine").unwrap());
    drop(store(&disk, &keyring, "raft"));
    drop(keyring);
    let Opened::Unlocked(keyring) =
        Keyring::open_read_only(at(&disk, "keys"), &me(), LockPolicy::Any).unwrap()
    else {
        panic!("locked")
    };
    let mine = keyring.keyspace("mine").unwrap();
    assert!(matches!(keyring.keyspace("other"), Err(Error::Misuse(Misuse::State(_)))));
    assert!(matches!(keyring.forget("raft"), Err(Error::Misuse(Misuse::State(_)))));
    assert_eq!(mine.id(), keyring.status().keyspaces[0].id);
    let read = Store::open(at(&disk, "raft"), &keyring, options("raft").read_only()).unwrap();
    is_whole(&read, "raft");
}

/// The volume of a store is not mounted: nothing takes its place, and what is on it opens later.
#[test]
fn a_store_whose_directory_is_empty_is_not_made_again() {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    drop(store(&disk, &keyring, "raft"));
    let opened = Store::open(at(&disk, "mnt"), &keyring, options("raft"));
    assert!(matches!(opened, Err(Error::Missing(_))), "{opened:?}");
    let made = Store::create(at(&disk, "mnt"), &keyring, options("raft"));
    let error = made.unwrap_err();
    assert!(matches!(&error, Error::Misuse(Misuse::KeyspaceRegistered(name)) if name == "raft"));
    assert!(error.to_string().contains("Keyring::forget"), "{error}");
    is_whole(&open(&disk, &keyring, "raft").unwrap(), "raft");
}

/// The key file is one from before the store was created.
#[test]
fn a_store_that_the_key_file_does_not_know_says_so() {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let file = std::path::Path::new("/keys/node.keys");
    let before = disk.read_file(file).unwrap();
    drop(store(&disk, &keyring, "raft"));
    drop(keyring);
    disk.write_file(file, &before).unwrap();
    let keyring = open_keyring(&disk);
    let files = |disk: &SimFs| {
        let paths = disk.paths().into_iter().filter(|path| path.starts_with("/raft"));
        paths.map(|path| (disk.read_file(&path), path)).collect::<Vec<_>>()
    };
    let whole = files(&disk);
    for options in [options("raft"), options("raft").read_only()] {
        let error = Store::open(at(&disk, "raft"), &keyring, options).unwrap_err();
        assert!(matches!(&error, Error::UnknownKeyspace(name) if name == "raft"), "{error}");
    }
    let exists = Store::create(at(&disk, "raft"), &keyring, options("raft"));
    assert!(matches!(exists, Err(Error::Exists(_))));
    assert!(files(&disk) == whole);
    assert!(keyring.status().keyspaces.is_empty());
}
