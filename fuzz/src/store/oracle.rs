//! What may be read from a store's files, whatever was done to them.

use core::ops::ControlFlow;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::PathBuf;

use nodeseal::fs::SimFs;
use nodeseal::seal::{Era, LogId, State};
use nodeseal::store::{Accept, Change, Options, Verdict};
use nodeseal::{Error, ErrorKind, Result, Store};

use super::{Contents, Kind, Point, Scene, files, payload, place, push};

/// Everything that may be accepted.
pub const ALL: &[Accept] = &[Accept::Witness, Accept::Damage, Accept::Snapshot];

/// Files that were changed, and what holds for them.
pub struct Trial<'a> {
    pub scene: &'a Scene,
    pub contents: &'a Contents,
    /// Bytes were lost. Otherwise frames were forged by somebody who has no key: what an operator
    /// accepts then may be any of the entries that there ever were.
    pub lost_only: bool,
    /// Limits for reading, and where reading breaks off.
    pub limits: [u8; 4],
}

/// What an opened store gives.
#[derive(Debug, Clone, PartialEq, Eq)]
struct View {
    /// Its sequence is 0: opening may write a change of its own.
    state: State,
    meta: Option<Vec<u8>>,
    entries: Vec<LogId>,
}

impl Trial<'_> {
    /// Checks everything.
    pub fn run(&self) {
        let opens = self.plain();
        self.inspect(opens);
        self.rescue(&[Accept::Damage]);
        let left = self.rescue(ALL);
        self.look_only(opens, left.as_ref());
    }

    fn changed(&self) -> impl Iterator<Item = usize> {
        let files = self.scene.files.iter().zip(self.contents).enumerate();
        files.filter(|(_, (file, now))| now.as_ref() != Some(&file.bytes)).map(|(n, _)| n)
    }

    fn unchanged(&self, kind: Kind) -> bool {
        self.changed().all(|n| self.scene.files[n].kind != kind)
    }

    fn disk(&self) -> SimFs {
        self.scene.disk(self.contents)
    }

    fn open(&self, disk: &SimFs, options: Options<'_>) -> Result<Store> {
        let opened = Store::open(place(disk), &self.scene.keyring, options);
        if let Err(error) = &opened {
            assert!(is_lost(error), "{error:?}");
        }
        opened
    }

    fn options<'a>(&self, accept: &[Accept]) -> Options<'a> {
        accept.iter().fold(self.scene.options(), |options, one| options.accept(*one))
    }

    /// Without acceptance what opens is the store that was closed. Reports whether it opens.
    fn plain(&self) -> bool {
        let disk = self.disk();
        let opens = [(), ()].map(|()| {
            let opened = self.open(&disk, self.scene.options().verify(|_| {}));
            if let Ok(store) = &opened {
                self.is_closed(store);
                assert_eq!(store.state(), self.scene.closed().state, "nothing is written");
            }
            opened.is_ok()
        });
        assert_eq!(opens[0], opens[1]);
        assert!(opens[0] || self.changed().next().is_some(), "a whole store opens");
        opens[0]
    }

    fn is_closed(&self, store: &Store) {
        let closed = self.scene.closed();
        let view = self.view(store);
        assert_eq!(view.entries, closed.entries);
        assert_eq!((&view.state, &view.meta), (&unnumbered(&closed.state), &closed.meta));
        assert_eq!(snapshot(store).expect("verified"), closed.snapshot);
        assert!(store.damages().is_empty() && store.accepted().is_empty());
    }

    /// With acceptance: entries of the log as it was at the state that is told, or errors. The
    /// next opening gives the same, none removes a file, and the store can be used. Returns what was
    /// left at first.
    fn rescue(&self, accept: &[Accept]) -> Option<View> {
        let disk = self.disk();
        let mut before = names(&disk);
        let Ok(store) = self.open(&disk, self.options(accept).verify(|_| {})) else {
            self.may_refuse(accept);
            return None;
        };
        let left = self.view(&store);
        if self.lost_only {
            self.is_of_the_log(&store, &left);
        }
        drop(store);
        let mut expected = left.clone();
        for n in 0..3 {
            let store = self.open(&disk, self.options(accept)).expect("it opened before");
            assert_eq!(self.view(&store), expected, "opening {n}");
            let now = names(&disk);
            assert!(before.is_subset(&now), "{before:?} {now:?}");
            // The last ones begin a segment.
            for _ in 0..n * 3 {
                let last = LogId::new(expected.state.last.index + 1, Era::term(9));
                let mut change = Change::new();
                push(&mut change, last);
                store.apply(change).expect("it can be used");
                expected.entries.push(last);
                expected.state.last = last;
            }
            drop(store);
            // In use, segments go that hold nothing of the log any more.
            before = names(&disk);
        }
        let store = self.open(&disk, self.options(accept)).expect("it opened before");
        assert_eq!(self.view(&store), expected, "nothing is lost again");
        Some(left)
    }

    /// What is lost is not so much that nothing can be given.
    fn may_refuse(&self, accept: &[Accept]) {
        if !self.lost_only {
            return;
        }
        let segments = self.changed().filter(|n| self.scene.files[*n].kind == Kind::Segment);
        let damaged: Vec<usize> = segments.collect();
        let last = self.scene.segments().next_back().expect("a segment");
        // The last segment holds all that is not entries.
        let whole = damaged.len() <= 1 && !damaged.contains(&last);
        let others = accept.contains(&Accept::Witness) && accept.contains(&Accept::Snapshot);
        let others = others || (self.unchanged(Kind::Witness) && self.unchanged(Kind::Snapshot));
        assert!(!(whole && others), "one segment is damaged, {damaged:?}");
    }

    fn is_of_the_log(&self, store: &Store, found: &View) {
        let closed = self.scene.closed();
        let last = self.scene.segments().next_back().expect("a segment");
        // Opening may add a change that notes what was accepted.
        let sequence = store.state().sequence;
        let near = |point: &&Point| {
            [sequence, sequence - 1].contains(&point.state.sequence)
                && unnumbered(&point.state) == found.state
        };
        let mut points: Vec<&Point> = self.scene.history.iter().filter(near).collect();
        points.sort_by_key(|point| (point.meta == found.meta, point.state.sequence));
        let point = *points.last().expect("a state that there was");
        let accepted = store.accepted();
        let at_end = point == closed;
        assert!(at_end || accepted.contains(&Accept::Witness), "the log goes back");
        let mut expected = point.entries.iter();
        assert!(
            found.entries.iter().all(|id| expected.any(|other| other == id)),
            "{:?} of {:?}",
            found.entries,
            point.entries
        );
        let whole = found.entries.len() == point.entries.len();
        assert!(whole || accepted.contains(&Accept::Damage), "entries are missing");
        assert!(whole || !store.damages().is_empty());
        if found.meta != point.meta {
            assert!(found.meta.is_none() && accepted.contains(&Accept::Damage));
        }
        match snapshot(store) {
            Ok(snapshot) => assert_eq!(snapshot, point.snapshot),
            // Its header is in the log.
            Err(_) => assert!(!at_end || self.changed().any(|n| n >= last)),
        }
        if self.unchanged(Kind::Segment) {
            assert!(at_end && whole, "no entry was touched");
        }
        let mut segments = self.changed().filter(|n| self.scene.files[*n].kind == Kind::Segment);
        if let (Some(damaged), None) = (segments.next(), segments.next()) {
            let behind = self.scene.stored_behind(damaged);
            assert!(behind.iter().all(|id| !at_end || found.entries.contains(id)));
            assert!(at_end || damaged == last, "the end was not touched");
        }
        if self.changed().next().is_none() {
            assert_eq!(accepted, [], "nothing was needed");
        }
    }

    /// Read-only a store opens as it does otherwise, and nothing is written.
    fn look_only(&self, opens: bool, left: Option<&View>) {
        let disk = self.disk();
        let before = files(&disk);
        for _ in 0..2 {
            let options = self.scene.options().read_only().verify(|_| {});
            let plain = self.open(&disk, options);
            assert_eq!(plain.is_ok(), opens);
            plain.iter().for_each(|store| self.is_closed(store));
            let accepting = self.open(&disk, self.options(ALL).read_only().verify(|_| {}));
            assert_eq!(accepting.ok().map(|store| self.view(&store)).as_ref(), left);
        }
        assert_eq!(files(&disk), before, "nothing was written");
    }

    fn inspect(&self, opens: bool) {
        let disk = self.disk();
        let before = files(&disk);
        let keyring = &self.scene.keyring;
        for (keyring, accept) in [(None, &[][..]), (Some(keyring), &[]), (Some(keyring), ALL)] {
            let (options, mut frames) = (self.options(accept), 0);
            let found = Store::inspect(place(&disk), keyring, &options, |_| frames += 1);
            let found = found.expect("whatever is wrong is no error");
            assert_eq!(frames, found.files.iter().map(|file| file.frames).sum::<u64>());
            let files: BTreeSet<_> = found.files.iter().map(|file| &file.path).collect();
            assert_eq!(files.len(), found.files.len(), "each file once");
            assert!(before.iter().all(|(path, _)| files.contains(path)));
            if keyring.is_none() {
                assert!(found.refusal.is_none());
            } else if accept.is_empty() {
                assert!(!opens || found.refusal.is_none(), "{:?}", found.refusal);
                let well = |verdict: &Verdict| matches!(verdict, Verdict::Good | Verdict::Unused);
                let well = found.files.iter().all(|file| well(&file.verdict));
                assert!(opens || !well || found.refusal.is_some(), "nothing is found wrong");
            }
        }
        assert_eq!(files(&disk), before, "nothing was written");
    }

    /// Reads a store in two ways, which agree.
    fn view(&self, store: &Store) -> View {
        let state = store.state();
        let mut entries = Vec::new();
        for index in state.purged.index + 1..=state.last.index {
            match store.entry(index) {
                Ok(Some((id, plain))) => {
                    assert_eq!(plain.expose(), payload(id), "another entry");
                    assert_eq!(store.id_at(index), Some(id));
                    assert_eq!(id.index, index);
                    entries.push(id);
                }
                Ok(None) => panic!("entry {index} is not even lost"),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Key), "{error}");
                    assert!(!self.lost_only || matches!(error, Error::Damaged { .. }), "{error}");
                }
            }
        }
        assert_eq!(self.by_cursor(store), entries);
        let meta = store.meta("members").map(|value| value.expose().to_vec());
        View { state: unnumbered(&state), meta, entries }
    }

    fn by_cursor(&self, store: &Store) -> Vec<LogId> {
        let [entries, bytes, stop, from] = self.limits.map(u64::from);
        let (entries, bytes, stop) = (1 + entries % 7, 1 + bytes * 2, 1 + stop % 9);
        let state = store.state();
        let first = state.purged.index + 1;
        let mut found = Vec::new();
        // First a part, from amid the log; it ends like the whole.
        let amid = first + from % (state.last.index + 1 - first).max(1);
        for from in [amid, first] {
            found.clear();
            let mut next = from;
            while next <= state.last.index {
                let cursor = store.cursor(next..).expect("not purged");
                let mut cursor = cursor.limit_entries(entries).limit_bytes(bytes);
                let mut given = (0, 0);
                let read = cursor.read(|id, plain| {
                    assert_eq!(plain, payload(id));
                    found.push(id);
                    given = (given.0 + 1, given.1 + plain.len() as u64);
                    let flow = id.index % 9 == stop;
                    Ok::<_, Error>(if flow {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    })
                });
                assert!(given.0 <= entries && (given.1 <= bytes || given.0 == 1), "{given:?}");
                assert_eq!(cursor.position(), next + given.0);
                match read {
                    Ok(more) => {
                        next = cursor.position();
                        assert!(given.0 > 0 && more == (next <= state.last.index));
                    }
                    Err(_) => next = cursor.position() + 1,
                }
            }
        }
        found
    }
}

fn unnumbered(state: &State) -> State {
    State { sequence: 0, ..state.clone() }
}

fn names(disk: &SimFs) -> BTreeSet<PathBuf> {
    files(disk).into_iter().map(|(path, _)| path).collect()
}

fn snapshot(store: &Store) -> Result<Option<(LogId, Vec<u8>)>> {
    let Some(mut reader) = store.snapshot()? else { return Ok(None) };
    reader.verify()?;
    let mut content = Vec::new();
    reader.read_to_end(&mut content).map_err(Error::Stream)?;
    Ok(Some((reader.info().at, content)))
}

/// An error that says what is wrong with the files.
const fn is_lost(error: &Error) -> bool {
    matches!(
        error,
        Error::Missing(_)
            | Error::Damaged { .. }
            | Error::Unauthentic
            | Error::UnknownDek(_)
            | Error::RolledBack { .. }
            | Error::Unsupported { .. }
    )
}
