//! A store's folder that was changed: nothing panics, and what opens is the store that was closed.
//!
//! Either the input is a segment, or it says how frames of genuine segments are swapped, repeated,
//! left out, altered or taken from an older copy, their CRCs made right again.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use nodeseal::fs::SimFs;
use nodeseal::keyring::Location;
use nodeseal::seal::{Era, LogId, State};
use nodeseal::store::{Change, Options};
use nodeseal::{Error, ErrorKind, Keyring, Result, Store};
use nodeseal_fuzz::fixed::keyring;
use nodeseal_fuzz::segment::{CRC, Writer, records};

type Frames = Vec<(u64, Vec<u8>)>;

/// A closed store.
struct Closed {
    disk: SimFs,
    segments: Vec<(PathBuf, Frames)>,
    view: View,
}

#[derive(Debug, PartialEq)]
struct View {
    state: State,
    meta: Option<Vec<u8>>,
    entries: Vec<LogId>,
}

static KEYRING: LazyLock<Keyring> = LazyLock::new(keyring);
/// The store, and a copy from before.
static STORES: LazyLock<[Closed; 2]> = LazyLock::new(|| {
    let disk = SimFs::new();
    let store = Store::create(place(&disk), &KEYRING, options()).expect("a new store");
    let entries = |range: std::ops::Range<u64>, term| {
        let mut change = Change::new();
        for index in range {
            let id = LogId::new(index, Era::term(term));
            change.push(id, |out| out.extend_from_slice(&payload(id))).expect("in order");
        }
        change
    };
    for n in 0..4 {
        let mut change = entries(n * 4 + 1..n * 4 + 5, 1);
        change.vote(&[n as u8]).put_meta("members", &[n as u8]);
        store.apply(change).expect("written");
    }
    let before = Closed::of(&disk, &store);
    let mut change = entries(14..18, 2);
    change.truncate(14).vote(b"later").put_meta("members", b"later");
    store.apply(change).expect("written");
    let mut change = Change::new();
    change.purge(LogId::new(2, Era::term(1)));
    store.apply(change).expect("written");
    [Closed::of(&disk, &store), before]
});

fn options<'a>() -> Options<'a> {
    Options::new("raft").segment_size(700).prepare_ahead(false)
}

fn place(disk: &SimFs) -> Location {
    Location::on(Arc::new(disk.clone()), "/raft")
}

fn payload(id: LogId) -> Vec<u8> {
    format!("entry {} of {} ", id.index, id.era.get())
        .repeat(1 + id.index as usize % 4)
        .into_bytes()
}

impl Closed {
    fn of(disk: &SimFs, store: &Store) -> Self {
        let disk = disk.after_kill();
        let paths =
            disk.paths().into_iter().filter(|path| path.extension() == Some("wal".as_ref()));
        let segments = paths.map(|path| {
            let bytes = disk.read_file(&path).expect("listed");
            (path, records(&bytes))
        });
        let segments = segments.collect();
        let view = View::of(store).expect("a whole store");
        Self { disk, segments, view }
    }
}

impl View {
    fn of(store: &Store) -> Result<Self> {
        let mut entries = Vec::new();
        store.read(.., |id, plain| {
            assert_eq!(plain, payload(id), "another entry");
            entries.push(id);
            Ok::<(), Error>(())
        })?;
        let meta = store.meta("members").map(|value| value.expose().to_vec());
        Ok(Self { state: store.state(), meta, entries })
    }
}

/// What `edits` make of the frames, four bytes each.
fn edit(frames: &mut Frames, older: &Frames, edits: &[u8]) {
    for edit in edits.chunks_exact(4) {
        let [kind, one, other, byte] = [0, 1, 2, 3].map(|n| usize::from(edit[n]));
        if frames.is_empty() {
            return;
        }
        let (one, count) = (one % frames.len(), frames.len());
        match kind % 7 {
            0 => frames.swap(one, other % count),
            1 => drop(frames.remove(one)),
            2 => frames.insert(other % count, frames[one].clone()),
            3 => frames.truncate(one + 1),
            4 if !frames[one].1.is_empty() => {
                let data = &mut frames[one].1;
                let at = other * 37 % data.len();
                data[at] ^= byte as u8;
            }
            5 if !older.is_empty() => frames[one] = older[other % older.len()].clone(),
            // The sealed part of another frame.
            6 if frames[one].1.len() > byte => {
                let from = frames[other % count].1.get(byte..).unwrap_or_default().to_vec();
                frames[one].1.truncate(byte);
                frames[one].1.extend(from);
            }
            _ => {}
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let [closed, older] = &*STORES;
    let [mode, which, rest @ ..] = data else { return };
    let disk = closed.disk.after_kill();
    let which = usize::from(*which) % closed.segments.len();
    let (path, frames) = &closed.segments[which];
    let bytes = if mode % 2 == 0 {
        rest.to_vec()
    } else {
        let mut frames = frames.clone();
        let older = older.segments.get(which).map_or_else(Vec::new, |(_, frames)| frames.clone());
        edit(&mut frames, &older, rest);
        let mut writer = Writer::default();
        frames.iter().for_each(|(kind, data)| {
            if *kind != CRC || data.is_empty() {
                writer.record(*kind, data);
            }
        });
        writer.end()
    };
    disk.write_file(Path::new(path), &bytes).expect("a file of the disk");
    let again = disk.after_kill();
    if let Ok(store) = Store::open(place(&disk), &KEYRING, options().verify(|_| {})) {
        assert_eq!(View::of(&store).expect("all of it was opened"), closed.view);
    }
    // What is left out may be missing; what is there is what was written.
    if let Ok(store) = Store::open(place(&again), &KEYRING, options().accept(nodeseal::store::Accept::Damage)) {
        assert_eq!(store.state(), closed.view.state);
        for id in &closed.view.entries {
            match store.entry(id.index) {
                Ok(Some((found, plain))) => {
                    assert_eq!((found, plain.expose()), (*id, &payload(*id)[..]))
                }
                Ok(None) => panic!("an entry that is not even lost"),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Key), "{error}");
                }
            }
        }
    }
});
