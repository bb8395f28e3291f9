//! An attacker who has the node's DEK of some earlier time, and a copy of the disk of that time, so
//! that they know the content key of the snapshot, which alone authenticates its chunks. The operator
//! says what was exposed; once that was dealt with to the end, the attacker writes to the disk.

use super::super::format::SNAPSHOT;
use super::attacks::{forge, frames_of, last_segment, of_kind};
use super::*;
use crate::fs::Loss;
use crate::key::{LockRecord, Protection, Rekey};
use crate::seal::tests::independent::{Node, Plan};

const STREAM: &str = "snapshot";
const CONTENT: &[u8] = b"admin = alice; allow = ssh";
const FORGED: &[u8] = b"admin = mallo; allow = all";

fn key(n: u8) -> UnlockKey {
    UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(n)))
}

/// Opens the key file with one of `keys`, or none.
fn unlocked(disk: &SimFs, keys: &[u8]) -> Keyring {
    let mut opened = Keyring::open(super::keys(disk), &me("m1"), LockPolicy::Any).unwrap();
    for n in keys {
        opened = match opened {
            Opened::Unlocked(keyring) => return keyring,
            Opened::Locked(locked) => match locked.unlock(&key(*n)) {
                Ok(keyring) => return keyring,
                Err(failed) => Opened::Locked(failed.locked),
            },
        };
    }
    panic!("no key fits")
}

/// A node with some entries and a snapshot.
fn node(protector: Protector) -> (SimFs, Keyring, Store) {
    let disk = SimFs::new();
    let keyring = Keyring::create(keys(&disk), &me("m1"), protector, &[]).unwrap();
    let store = Store::create(place(&disk), &keyring, options()).unwrap();
    for n in 0..4 {
        store.apply(entries(n * 3 + 1..=n * 3 + 3, 1)).unwrap();
    }
    store.install(take_snapshot(&store, id(6, 1), CONTENT), Change::new()).unwrap();
    (disk, keyring, store)
}

fn snapshot_files(disk: &SimFs) -> Vec<PathBuf> {
    let all = disk.paths().into_iter();
    all.filter(|path| path.extension().is_some_and(|ext| ext == "snap")).collect()
}

/// Replaces the last header of a snapshot in the last segment.
fn put_header(disk: &SimFs, header: Vec<u8>) {
    let path = last_segment(disk);
    let mut frames = frames_of(disk, &path);
    let last = *of_kind(&frames, SNAPSHOT).last().unwrap();
    frames[last].1 = header;
    forge(disk, &path, &frames);
}

/// What the attacker took away.
struct Thief {
    node: Node,
    content: [u8; 32],
    /// The header of the snapshot, and the name of its file.
    header: Vec<u8>,
    path: PathBuf,
}

impl Thief {
    /// Copies the disk, and reads it with a DEK that leaked.
    fn steal(disk: &SimFs, keyring: &Keyring) -> Self {
        let frames = frames_of(disk, &last_segment(disk));
        let header = frames[*of_kind(&frames, SNAPSHOT).last().unwrap()].1.clone();
        let [path] = &snapshot_files(disk)[..] else { panic!("one snapshot") };
        let stream = [&header[..], &disk.read_file(path).unwrap()[4096..]].concat();
        let status = keyring.status();
        let keyspace = status.keyspaces[0].id.to_bytes();
        let nodes = status.deks.into_iter().map(|dek| {
            let dek = *keyring.shared().find(dek.id).unwrap().secret().expose();
            let (cluster, node) = ("prod".to_owned(), "m1".to_owned());
            Node { dek, cluster, node, keyspace }
        });
        let opened = |node: Node| Some((node.open_stream(STREAM, &stream)?, node));
        let ((head, plain), node) = nodes.filter_map(opened).next().expect("a DEK that opens it");
        assert_eq!(plain, CONTENT);
        let content = *head.first_chunk().unwrap();
        Self { node, content, header, path: path.clone() }
    }

    /// The snapshot's file with another content, under the content key that they know.
    fn forged(&self) -> Vec<u8> {
        let (content, plain) = (self.content, FORGED);
        let plan = Plan { content, index: 6, era: 1, chunk_size: 64 << 10, meta: b"meta", plain };
        let mark = format!("nodeseal snapshot 1\n{NAME}\n").into_bytes();
        let room = vec![0; 4096 - mark.len()];
        [mark, room, self.node.stream(STREAM, &plan)[4096..].to_vec()].concat()
    }

    /// Puts the forged file in the place of every snapshot there is, and in that of the stolen one;
    /// then the stolen header, too. Returns what the node reads of its snapshot each time.
    fn attack(&self, disk: &SimFs, keys: &[u8]) -> Vec<Result<Vec<u8>>> {
        let disk = disk.after_kill();
        let mut found = Vec::new();
        let mut look = |disk: &SimFs| {
            let disk = disk.after_kill();
            let keyring = unlocked(&disk, keys);
            let opened = Store::open(place(&disk), &keyring, options().verify(|_| {}));
            found.push(opened.and_then(|store| Ok(read_snapshot(&store)?.unwrap().1)));
        };
        for path in snapshot_files(&disk).iter().chain([&self.path]) {
            disk.write_file(path, &self.forged()).unwrap();
        }
        look(&disk);
        put_header(&disk, self.header.clone());
        look(&disk);
        found
    }

    /// Checks that nothing that they can write opens with another content.
    fn fails(&self, disk: &SimFs, keys: &[u8], what: &str) {
        for (n, read) in self.attack(disk, keys).into_iter().enumerate() {
            assert!(
                read.is_err(),
                "{what}, {n}: {:?}",
                read.map(|t| String::from_utf8(t).unwrap())
            );
        }
    }
}

/// The defender's part: the unlock key is replaced, and everything under a DEK that goes.
fn dealt_with(disk: &SimFs, keyring: &Keyring, store: &Store, record: &LockRecord) {
    keyring.reconcile_with(record, Rekey::Leaked).unwrap();
    assert_eq!(keyring.status().protection, Protection::Locking);
    rotate(store);
    let status = keyring.status();
    assert_eq!((status.protection, status.deks.len()), (Protection::Locked, 1));
    assert_eq!(read_snapshot(store).unwrap(), Some((id(6, 1), CONTENT.to_vec())));
    assert_eq!(snapshot_files(disk).len(), 1);
}

#[test]
fn a_snapshot_is_not_forged_after_its_dek_leaked() {
    let (disk, keyring, store) = node(Protector::unlock_key(&key(1)));
    let thief = Thief::steal(&disk, &keyring);
    dealt_with(&disk, &keyring, &store, &LockRecord::locked(1, &key(2)));
    drop((store, keyring));
    thief.fails(&disk, &[2], "leaked");
}

#[test]
fn a_snapshot_is_not_forged_with_a_dek_of_the_time_before_the_lock() {
    // Sealed again in the clear, or not.
    for rotations in 0..2 {
        let (disk, keyring, store) = node(Protector::none());
        let thief = Thief::steal(&disk, &keyring);
        for _ in 0..rotations {
            keyring.rotate_dek(Reason::Age).unwrap();
            rotate(&store);
        }
        keyring.reconcile(&LockRecord::locked(1, &key(2))).unwrap();
        rotate(&store);
        let status = keyring.status();
        assert_eq!((status.protection, status.deks.len()), (Protection::Locked, 1));
        drop((store, keyring));
        thief.fails(&disk, &[2], "locked");
    }
}

/// What leaked is of an earlier DEK, which went before the leak was known: its content key had come
/// under the next one, which therefore counts as exposed too.
#[test]
fn a_snapshot_is_not_forged_with_a_dek_that_went_before_the_leak_was_known() {
    let (disk, keyring, store) = node(Protector::unlock_key(&key(1)));
    let thief = Thief::steal(&disk, &keyring);
    keyring.rotate_dek(Reason::Age).unwrap();
    rotate(&store);
    assert_eq!(
        snapshot_files(&disk),
        std::slice::from_ref(&thief.path),
        "its header alone was sealed again"
    );
    dealt_with(&disk, &keyring, &store, &LockRecord::locked(1, &key(2)));
    drop((store, keyring));
    thief.fails(&disk, &[2], "a DEK of before");
}

/// The defender crashes anywhere, starts again and goes on.
#[test]
fn no_crash_of_the_defender_leaves_a_snapshot_that_can_be_forged() {
    let (disk, keyring, store) = node(Protector::unlock_key(&key(1)));
    let thief = Thief::steal(&disk, &keyring);
    drop((store, keyring));
    let base = disk.after_kill();
    let record = LockRecord::locked(1, &key(2));
    let deal = |keyring: &Keyring, store: &Store| {
        keyring.reconcile_with(&record, Rekey::Leaked)?;
        let mut rotation = store.rotation().budget(1000);
        while rotation.step()? != Step::Done {}
        Ok::<(), Error>(())
    };
    let started = |disk: &SimFs| {
        let keyring = unlocked(disk, &[2, 1]);
        let store = Store::open(place(disk), &keyring, options())?;
        Ok::<_, Error>((keyring, store))
    };
    let (calm, mut cuts) = (base.after_kill(), 0);
    let (keyring, store) = started(&calm).unwrap();
    let opening = calm.operations();
    deal(&keyring, &store).unwrap();
    for at in opening..calm.operations() {
        let disk = base.after_kill();
        let (keyring, store) = started(&disk).unwrap();
        disk.cut_at(at - opening);
        deal(&keyring, &store).unwrap_err();
        drop((store, keyring));
        let up =
            disk.after_power_cut(Loss::ALL[usize::try_from(at).unwrap() % Loss::ALL.len()], at);
        let (keyring, store) = started(&up).unwrap_or_else(|e| panic!("cut at {at}: {e}"));
        assert_eq!(read_snapshot(&store).unwrap(), Some((id(6, 1), CONTENT.to_vec())), "{at}");
        if keyring.status().kek_version == 0 {
            keyring.reconcile_with(&record, Rekey::Leaked).unwrap();
        }
        rotate(&store);
        let status = keyring.status();
        assert_eq!((status.protection, status.deks.len()), (Protection::Locked, 1), "cut at {at}");
        drop((store, keyring));
        thief.fails(&up, &[2], &format!("cut at {at}"));
        cuts += 1;
    }
    assert!(cuts > 40, "{cuts}");
}

/// Before the snapshot is copied its header is the attacker's to seal, but the state is not.
#[test]
fn a_header_does_not_say_that_the_snapshot_covers_something_else() {
    let (disk, keyring, store) = node(Protector::unlock_key(&key(1)));
    let thief = Thief::steal(&disk, &keyring);
    keyring.rotate_dek(Reason::Leaked).unwrap();
    store.apply(entries(13..=13, 1)).unwrap();
    drop((store, keyring));
    for (index, opens) in [(6, true), (5, false), (7, false)] {
        let (content, plain) = (thief.content, CONTENT);
        let plan = Plan { content, index, era: 1, chunk_size: 64 << 10, meta: b"meta", plain };
        let disk = disk.after_kill();
        put_header(&disk, thief.node.stream_header(STREAM, plan.head()));
        let keyring = unlocked(&disk, &[1]);
        let opened = Store::open(place(&disk), &keyring, options().verify(|_| {}));
        assert!(matches!(opened, Err(Error::Damaged { .. })), "{index}: the chain is another");
        // Also where an operator accepts that.
        let options = options().accept(Accept::Damage).verify(|_| {});
        let opened = Store::open(place(&disk), &keyring, options);
        let refused = matches!(opened, Err(Error::Damaged { .. }));
        assert_eq!((opened.is_ok(), refused), (opens, !opens), "{index}");
    }
}

/// A snapshot of several chunks, whose DEK leaked.
fn leaked(len: usize) -> (SimFs, Keyring, Store, Vec<u8>) {
    let (disk, keyring, store) = fresh();
    store.apply(entries(1..=9, 1)).unwrap();
    let state: Vec<u8> = (0..=255).cycle().take(len).collect();
    store.install(take_snapshot(&store, id(6, 1), &state), Change::new()).unwrap();
    keyring.rotate_dek(Reason::Leaked).unwrap();
    (disk, keyring, store, state)
}

const CHUNK: u64 = 64 << 10;

#[test]
fn a_segment_that_is_rolled_keeps_the_header_under_the_dek_that_was_exposed() {
    let (disk, keyring, store, state) = leaked(100);
    let old = keyring.status().deks[1].id;
    for n in 10..40 {
        store.apply(entries(n..=n, 1)).unwrap();
    }
    let header = |disk: &SimFs| {
        let frames = frames_of(disk, &last_segment(disk));
        let header = frames[*of_kind(&frames, SNAPSHOT).last().unwrap()].1.clone();
        Streams::dek_of(&header).unwrap()
    };
    assert!(segments(&disk).len() > 4);
    assert_eq!(header(&disk), old);
    let mut sweep = keyring.sweep().unwrap();
    store.show(&mut sweep).unwrap();
    assert_eq!(sweep.finish().unwrap().iter().map(|(dek, _)| *dek).collect::<Vec<_>>(), [old]);
    assert_eq!(keyring.status().protection, Protection::Locking);
    drop((store, keyring));
    let (keyring, store) = reopen(&disk).unwrap();
    assert_eq!(read_snapshot(&store).unwrap(), Some((id(6, 1), state)));
    rotate(&store);
    assert_eq!(header(&disk), keyring.status().deks[0].id);
    assert_eq!(keyring.status().deks.len(), 1);
}

#[test]
fn a_snapshot_whose_dek_was_not_exposed_keeps_its_file() {
    let (disk, keyring, store) = node(Protector::unlock_key(&key(1)));
    let (id, files) = (store.state().snapshot, snapshot_files(&disk));
    keyring.reconcile(&LockRecord::locked(1, &key(2))).unwrap();
    rotate(&store);
    assert_eq!(keyring.status().deks.len(), 1);
    assert_eq!((store.state().snapshot, snapshot_files(&disk)), (id, files));
    assert_eq!(store.stats().snapshots_rewritten, 0);
}

/// All DEKs of a file that is not locked are exposed: a copy would be no better.
#[test]
fn a_snapshot_is_not_copied_in_the_clear() {
    let (_disk, keyring, store) = node(Protector::none());
    let id = store.state().snapshot;
    keyring.rotate_dek(Reason::Age).unwrap();
    rotate(&store);
    assert_eq!((keyring.status().deks.len(), store.state().snapshot), (1, id));
}

#[test]
fn a_copy_is_made_in_steps_beside_appends_and_readers() {
    use std::io::Read;
    let (disk, keyring, store, state) = leaked(300_000);
    let of = u64::try_from(state.len()).unwrap();
    let mut reader = store.snapshot().unwrap().unwrap();
    let mut rotation = store.rotation().budget(2 * CHUNK);
    let (mut next, mut done) = (10, 0);
    while store.stats().snapshots_rewritten == 0 {
        let Step::Rewritten { bytes, left } = rotation.step().unwrap() else {
            panic!("copied first")
        };
        assert!(bytes <= 2 * CHUNK);
        done += bytes;
        assert_eq!(done + left, 2 * of);
        store.apply(entries(next..=next, 1)).unwrap();
        next += 1;
        assert_eq!(read_snapshot(&store).unwrap(), Some((id(6, 1), state.clone())));
    }
    assert_eq!(done, 2 * of);
    let old = reader.info().clone();
    assert_ne!(store.state().snapshot, Some(old.id));
    assert_eq!(snapshot_files(&disk), [store.inner.snapshot_path(store.state().snapshot.unwrap())]);
    rotate(&store);
    assert_eq!(keyring.status().deks.len(), 1);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == state, "who had the old one reads on");
    let info = store.snapshot().unwrap().unwrap().info().clone();
    assert_eq!((info.at, info.len, &info.meta), (old.at, old.len, &old.meta));
    assert_eq!(store.snapshot_at(), Some(id(6, 1)));
    assert_eq!(all(&store).unwrap(), ids(1..next, 1));
}

#[test]
fn a_copy_that_was_broken_off_is_begun_again() {
    let (disk, keyring, store, state) = leaked(300_000);
    let temps = |disk: &SimFs| disk.paths().iter().filter(|path| names::is_temp(path)).count();
    for steps in [1, 4, 6, 9] {
        let mut rotation = store.rotation().budget(CHUNK);
        for _ in 0..steps {
            assert!(matches!(rotation.step().unwrap(), Step::Rewritten { bytes: 1.., .. }));
        }
        assert_eq!(temps(&disk), 1);
        drop(rotation);
        assert_eq!(temps(&disk), 0);
    }
    let mut rotation = store.rotation().budget(CHUNK);
    rotation.step().unwrap();
    let disk = disk.after_kill();
    drop((rotation, store, keyring));
    let (keyring, store) = reopen(&disk).unwrap();
    assert_eq!((temps(&disk), keyring.status().deks.len()), (0, 2));
    rotate(&store);
    assert_eq!(keyring.status().deks.len(), 1);
    assert_eq!(read_snapshot(&store).unwrap(), Some((id(6, 1), state)));
}

#[test]
fn a_copy_gives_way_to_a_snapshot_that_is_installed_meanwhile() {
    // At each step, the last of which finds the copy read back.
    for steps in 0..10 {
        let (disk, keyring, store, _) = leaked(300_000);
        let mut rotation = store.rotation().budget(CHUNK);
        for _ in 0..steps {
            assert!(matches!(rotation.step().unwrap(), Step::Rewritten { bytes: 1.., .. }));
        }
        let newer = take_snapshot(&store, id(8, 1), b"newer");
        let installed = newer.info().id;
        store.install(newer, Change::new()).unwrap();
        while rotation.step().unwrap() != Step::Done {}
        assert_eq!(keyring.status().deks.len(), 1, "{steps}");
        assert_eq!(store.stats().snapshots_rewritten, 0, "{steps}");
        assert_eq!(store.state().snapshot, Some(installed), "its content key is its own");
        assert_eq!(snapshot_files(&disk), [store.inner.snapshot_path(installed)]);
        assert_eq!(read_snapshot(&store).unwrap(), Some((id(8, 1), b"newer".to_vec())));
    }
}

/// Between the look at what is installed and the change that installs the copy.
#[test]
fn a_copy_takes_the_place_of_nothing_but_what_it_is_of() {
    let (_disk, _keyring, store, _) = leaked(100);
    let old = store.state().snapshot;
    let copy = take_snapshot(&store, id(6, 1), b"copy");
    store.install(take_snapshot(&store, id(6, 1), b"of the same entry"), Change::new()).unwrap();
    let now = store.state();
    let refused = store.put_in_place(copy, Change::new(), old);
    assert!(matches!(refused, Err(Error::Misuse(_))));
    assert_eq!(store.state(), now);
    let copy = take_snapshot(&store, id(6, 1), b"copy");
    store.put_in_place(copy, Change::new(), now.snapshot).unwrap();
    assert_eq!(read_snapshot(&store).unwrap().unwrap().1, b"copy");
}

/// Its header, not yet on the disk, is under a DEK that leaks before it gets there.
#[test]
fn a_snapshot_that_was_ended_before_the_leak_is_copied_too() {
    let (disk, keyring, store) = node(Protector::unlock_key(&key(1)));
    let ended = take_snapshot(&store, id(6, 1), CONTENT);
    keyring.reconcile_with(&LockRecord::locked(1, &key(2)), Rekey::Leaked).unwrap();
    let mut rotation = store.rotation();
    let mut step = rotation.step().unwrap();
    while step != Step::Waiting {
        step = rotation.step().unwrap();
    }
    store.install(ended, Change::new()).unwrap();
    // With the DEK that leaked it opens.
    let thief = Thief::steal(&disk, &keyring);
    while rotation.step().unwrap() != Step::Done {}
    assert_eq!(keyring.status().protection, Protection::Locked);
    assert_eq!(store.stats().snapshots_rewritten, 2);
    drop((rotation, store, keyring));
    thief.fails(&disk, &[2], "ended before");
}

/// The last segment is left, and goes, while its store is shown to a sweep.
#[test]
fn a_header_that_moves_on_while_it_is_looked_for_is_seen() {
    let (disk, keyring, store) = fresh();
    store.apply(entries(1..=9, 1)).unwrap();
    store.install(take_snapshot(&store, id(9, 1), CONTENT), change(|c| c.purge(id(9, 1)))).unwrap();
    keyring.rotate_dek(Reason::Leaked).unwrap();
    let (mut sweep, before) = (keyring.sweep().unwrap(), segments(&disk));
    let mut count = rotation::Count::new(&store.inner);
    for n in 10..20 {
        store.apply(entries(n..=n, 1)).unwrap();
    }
    assert!(segments(&disk).iter().all(|path| !before.contains(path)), "{before:?}");
    while count.go_on(&store.inner, u64::MAX, &mut sweep).unwrap() {}
    count.finish(&store.inner, &mut sweep).unwrap();
    sweep.shown(NAME);
    assert_eq!(sweep.finish().unwrap().len(), 1, "the header names it");
    drop((store, keyring));
    let (_keyring, store) = reopen(&disk).unwrap();
    assert_eq!(read_snapshot(&store).unwrap(), Some((id(9, 1), CONTENT.to_vec())));
}
