//! Makes the stores, each change noted in a model of its own.

use std::io::Write as _;

use nodeseal::fs::SimFs;
use nodeseal::seal::{Era, LogId, State};
use nodeseal::store::{Change, Options, Step};
use nodeseal::{Keyring, Reason, Store};

use super::{File, Frames, Kind, Point, Scene, files, kind_of, open, place, push};
use crate::fixed::{KEYSPACE, keyring};
use crate::segment::records;

/// How a rotation had come along when a store was closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rotation {
    None,
    /// Some segments are under the old DEK, some under the new one.
    Halfway,
    Done,
}

/// All stores, always in this order: before, amid and after a rotation, in one segment, in many, and
/// behind a peer's snapshot.
#[must_use]
pub fn scenes() -> Vec<Scene> {
    vec![
        rotated(Rotation::None),
        rotated(Rotation::Halfway),
        rotated(Rotation::Done),
        one_segment(),
        many_segments(),
        behind_a_peers_snapshot(),
    ]
}

/// Three eras, a tail rewritten twice, a snapshot replaced by another, a part purged.
fn rotated(rotation: Rotation) -> Scene {
    let mut log = Log::new(5600);
    log.append(1..=8, 2, 1);
    log.committed(4);
    log.vote(b"term 1");
    log.meta(b"first");
    log.append(9..=14, 1, 1);
    log.append(11..=16, 1, 2);
    log.committed(12);
    log.install(6, None, b"the first state");
    log.keep_older();
    log.append(17..=20, 2, 2);
    log.append(19..=24, 1, 3);
    log.committed(22);
    log.install(12, Some(9), b"the second state, which replaced the first");
    log.vote(b"term 3");
    log.meta(b"second");
    log.append(25..=29, 1, 3);
    if rotation != Rotation::None {
        log.rotate(rotation);
        log.append(30..=33, 1, 3);
        log.append(33..=34, 1, 4);
        log.committed(31);
    }
    log.close()
}

/// As above, without snapshots or segments.
fn one_segment() -> Scene {
    let mut log = Log::new(64 << 10);
    log.meta(b"first");
    log.append(1..=4, 4, 1);
    log.committed(3);
    log.append(5..=12, 4, 1);
    log.committed(10);
    log.append(13..=16, 4, 1);
    log.keep_older();
    log.append(14..=17, 1, 2);
    log.vote(b"term 3");
    log.append(16..=19, 1, 3);
    log.committed(17);
    log.append(20..=22, 3, 3);
    log.close()
}

/// An entry or two in each segment, a segment or two replaced by others.
fn many_segments() -> Scene {
    let mut log = Log::new(512);
    log.append(1..=6, 1, 1);
    log.committed(5);
    log.append(7..=12, 2, 1);
    log.meta(b"first");
    log.keep_older();
    log.append(8..=13, 1, 2);
    log.committed(9);
    log.append(14..=16, 1, 2);
    log.append(12..=17, 2, 3);
    log.vote(b"term 3");
    log.committed(14);
    log.purge(2);
    log.close()
}

/// A follower that got a snapshot from beyond its end.
fn behind_a_peers_snapshot() -> Scene {
    let mut log = Log::new(5200);
    log.append(1..=6, 1, 1);
    log.committed(4);
    log.install(3, Some(2), b"the node's own");
    log.keep_older();
    log.meta(b"first");
    log.install_beyond(LogId::new(30, Era::term(2)), b"a peer's state");
    log.append(31..=36, 1, 2);
    log.append(35..=38, 2, 3);
    log.committed(36);
    log.install(33, None, b"the node's own again");
    log.append(39..=40, 1, 3);
    log.close()
}

/// A store that is written, and what it should hold.
struct Log {
    disk: SimFs,
    keyring: Keyring,
    segment_size: u64,
    store: Store,
    now: Point,
    history: Vec<Point>,
    older: Vec<Frames>,
}

impl Log {
    fn new(segment_size: u64) -> Self {
        let (disk, keyring) = (SimFs::new(), keyring());
        // A rotation would have to be shown it.
        keyring.forget(KEYSPACE).expect("it is not open");
        let store = Store::create(place(&disk), &keyring, options(segment_size));
        let store = store.expect("a new store");
        let state = State { sequence: 1, ..State::default() };
        let now = Point { state, meta: None, snapshot: None, entries: Vec::new() };
        let history = vec![now.clone()];
        Self { disk, keyring, segment_size, store, now, history, older: Vec::new() }
    }

    fn changed(&mut self) {
        self.now.state.sequence += 1;
        self.history.push(self.now.clone());
        self.own_changes();
    }

    /// The log may write down that a segment does not count any more, or is another file.
    fn own_changes(&mut self) {
        if self.store.state().sequence == self.now.state.sequence + 1 {
            self.now.state.sequence += 1;
            self.history.push(self.now.clone());
        }
        assert_eq!(self.store.state(), self.now.state, "a change does what it should");
    }

    fn apply(&mut self, change: Change) {
        self.store.apply(change).expect("written");
        self.changed();
    }

    /// The entry at `index`.
    fn id(&self, index: u64) -> LogId {
        let found = self.now.entries.iter().find(|id| id.index == index);
        *found.expect("an entry of the log")
    }

    /// Appends entries, some with each change, in place of those that there are from the first on.
    fn append(&mut self, range: std::ops::RangeInclusive<u64>, with_each: usize, term: u64) {
        let (first, ids) = (*range.start(), range.map(|index| LogId::new(index, Era::term(term))));
        let ids: Vec<LogId> = ids.collect();
        for ids in ids.chunks(with_each) {
            let mut change = Change::new();
            if self.now.state.last.index >= first && ids[0].index == first {
                change.truncate(first);
                self.now.entries.retain(|id| id.index < first);
            }
            ids.iter().for_each(|id| push(&mut change, *id));
            self.now.entries.extend(ids);
            self.now.state.last = ids[ids.len() - 1];
            self.apply(change);
        }
    }

    fn committed(&mut self, index: u64) {
        let mut change = Change::new();
        self.now.state.committed = self.id(index);
        change.committed(self.now.state.committed);
        self.apply(change);
    }

    fn vote(&mut self, vote: &[u8]) {
        let mut change = Change::new();
        change.vote(vote);
        self.now.state.vote = vote.to_vec();
        self.apply(change);
    }

    fn meta(&mut self, value: &[u8]) {
        let mut change = Change::new();
        change.put_meta("members", value);
        self.now.meta = Some(value.to_vec());
        self.apply(change);
    }

    fn purge(&mut self, index: u64) {
        let mut change = Change::new();
        change.purge(self.id(index));
        self.purged(self.id(index));
        self.apply(change);
    }

    fn purged(&mut self, id: LogId) {
        self.now.state.purged = id;
        self.now.entries.retain(|other| other.index > id.index);
    }

    /// Installs a snapshot of what there is.
    fn install(&mut self, index: u64, purge: Option<u64>, content: &[u8]) {
        let at = self.id(index);
        let mut change = Change::new();
        if let Some(index) = purge {
            change.purge(self.id(index));
            self.purged(self.id(index));
        }
        self.install_with(at, content, change);
    }

    /// Installs a snapshot that covers more than there is.
    fn install_beyond(&mut self, at: LogId, content: &[u8]) {
        let mut change = Change::new();
        change.purge(at);
        self.purged(at);
        self.now.state.last = at;
        self.install_with(at, content, change);
    }

    fn install_with(&mut self, at: LogId, content: &[u8], change: Change) {
        let mut writer = self.store.write_snapshot().expect("a snapshot");
        writer.write_all(content).expect("written");
        let snapshot = writer.finish(at, b"meta").expect("a whole one");
        self.now.state.snapshot = Some(snapshot.info().id);
        if at.index > self.now.state.committed.index {
            self.now.state.committed = at;
        }
        self.now.snapshot = Some((at, content.to_vec()));
        self.store.install(snapshot, change).expect("installed");
        self.changed();
    }

    fn rotate(&mut self, until: Rotation) {
        self.keyring.rotate_dek(Reason::Requested).expect("a new DEK");
        // Each change of the keys is one of the log.
        self.changed();
        let mut rotation = self.store.rotation().budget(500);
        let store = self.store.clone();
        let enough = || match until {
            Rotation::None => true,
            Rotation::Halfway => store.stats().segments_resealed == 2,
            Rotation::Done => false,
        };
        // A DEK may be retiring already: then the one asked for is made in the write that drops it.
        while !enough() {
            match rotation.step().expect("a step") {
                Step::Done => break,
                Step::Dropped => self.changed(),
                _ => self.own_changes(),
            }
        }
        assert_eq!(self.keyring.status().deks.len() == 1, until == Rotation::Done);
    }

    /// Remembers the segments as they are.
    fn keep_older(&mut self) {
        let segments =
            files(&self.disk).into_iter().filter(|(path, _)| kind_of(path) == Kind::Segment);
        self.older = segments.map(|(_, bytes)| records(&bytes)).collect();
    }

    fn close(self) -> Scene {
        let Self { disk, keyring, segment_size, store, now, history, older } = self;
        drop(store);
        // Both places of the witness hold the end then, so that one of them is enough.
        drop(open(&disk, &keyring, options(segment_size)));
        let mut files: Vec<File> = files(&disk)
            .into_iter()
            .map(|(path, bytes)| {
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                File { kind: kind_of(&path), path, bytes, used }
            })
            .collect();
        let order = [Kind::Segment, Kind::Witness, Kind::Snapshot, Kind::Lock];
        files.sort_by_key(|file| order.iter().position(|kind| *kind == file.kind));
        let snapshots = files.iter().filter(|file| file.kind == Kind::Snapshot).count();
        assert_eq!(snapshots, usize::from(now.snapshot.is_some()), "one that was replaced goes");
        Scene { keyring, segment_size, files, history, older }
    }
}

fn options<'a>(segment_size: u64) -> Options<'a> {
    Options::new("raft").segment_size(segment_size).prepare_ahead(false)
}
