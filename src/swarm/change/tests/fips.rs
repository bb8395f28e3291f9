//! A node in FIPS mode seals with fernet, and reads nothing else.

use super::*;
use crate::fs::Fs;
use crate::swarm::log::Entry;
use crate::swarm::record::{Algorithm, Cipher, Record};
use crate::swarm::{DekHeader, DekSlot, Salvage, export_in, import_in, redact_in};
use crate::wal::{self, Kind, SegmentReader, Step};

/// A capture's folder as a node in FIPS mode would have it.
fn load_fips(name: &str) -> Folder {
    let folder = load(name);
    let mut manager = open(&folder.disk, folder.key.as_ref()).unwrap();
    manager.state.cipher = Cipher::Fernet;
    manager.apply(Change::RotateDek, &mut |_| {}).unwrap();
    folder
}

/// How all that is sealed in a folder is sealed.
fn algorithms(disk: &SimFs, dir: &Path) -> Vec<Algorithm> {
    let mut found = Vec::new();
    let text = disk.read_file(&dir.join("certificates/swarm-node.key")).unwrap();
    let file = KeyFile::parse(&text).unwrap();
    for slot in [DekSlot::Current, DekSlot::Pending] {
        match file.dek(slot) {
            DekHeader::Record(Algorithm::None) | DekHeader::Absent => {}
            DekHeader::Record(algorithm) => found.push(algorithm),
            other => panic!("{other:?}"),
        }
    }
    for segment in wal::list(disk, &dir.join("raft/wal-v3-encrypted")).unwrap().0 {
        let file = disk.open_read(&segment.path).unwrap();
        let mut reader = SegmentReader::new(&*file, &segment.path, true, None).unwrap();
        while let Some(step) = reader.next().unwrap() {
            if matches!(step, Step::Record(record) if record.kind == Kind::Entry) {
                let entry = Entry::parse(reader.data()).unwrap();
                found.push(Record::parse(entry.data).unwrap().algorithm);
            }
        }
    }
    found
}

/// All is fernet, and nothing is lost.
fn check(folder: &Folder, dir: &str, key: Option<&UnlockKey>) {
    let dir = Path::new(dir);
    let found = algorithms(&folder.disk, dir);
    assert!(found.iter().all(|one| *one == Algorithm::Fernet), "{found:?}");
    let state = State::read_in(&folder.disk, dir, key).unwrap();
    assert!(state.is_complete(), "{:?}", state.findings);
    assert_eq!(state.raft.snapshots[0].algorithm, Some("fernet"));
    let secrets = state.objects.secrets.into_values();
    let secrets: BTreeMap<_, _> =
        secrets.map(|one| (one.facts.name, one.payload.expose().to_vec())).collect();
    assert_eq!(secrets, folder.secrets);
}

#[test]
fn what_was_sealed_with_fernet_is_sealed_with_it_again() {
    for name in ["1-autolocked", "2-snapshots"] {
        let folder = load_fips(name);
        check(&folder, DIR, folder.key.as_ref());
        let (one, other) = (key(9), key(10));
        let rotate = |new| Change::RotateUnlockKey { new, rekey: Rekey::NewDek };
        folder.check(rotate(&one), Some(&one));
        check(&folder, DIR, Some(&one));
        // In the clear only what is sealed tells.
        let folder = Folder { key: Some(one), ..folder };
        folder.check(Change::AutolockOff, None);
        check(&folder, DIR, None);
        let folder = Folder { key: None, ..folder };
        folder.check(Change::Lock { new: &other }, Some(&other));
        check(&folder, DIR, Some(&other));
    }
    let folder = load_fips("three-managers-m1");
    folder.check(Change::ForceNewCluster, folder.key.as_ref());
    check(&folder, DIR, folder.key.as_ref());
    assert!(algorithms(&folder.disk, Path::new(DIR)).len() > 2, "the removals are entries");
}

#[test]
fn other_folders_made_of_it_are_sealed_with_it_too() {
    let folder = load_fips("1-autolocked");
    let (disk, key) = (&folder.disk, folder.key.as_ref());
    let at = Path::new;
    Salvage::read_in(disk, at(DIR), key).unwrap().write_in(disk, at("/saved")).unwrap();
    check(&folder, "/saved", key);
    let shared: Arc<dyn Fs> = Arc::new(disk.clone());
    export_in(&shared, at(DIR), at("/native"), key).unwrap();
    import_in(&shared, at("/native"), at("/back"), key).unwrap();
    check(&folder, "/back", key);
    // Under a DEK that stands in the clear it does not matter.
    let done = redact_in(disk, at(DIR), at("/redacted"), key).unwrap();
    assert_eq!((done.replaced, done.left_out), (0, 0));
}
