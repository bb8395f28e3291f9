//! Every change, with the power cut or an error at each of its operations.
//!
//! Whatever the disk makes of it, what comes up opens with the old unlock key or the new one, and
//! once the change returned with the new one alone; nothing is lost; and a second run finishes.
//!
//! With `NODESEAL_LONG` in the environment more outcomes of each cut are looked at.

use std::io;

use super::*;
use crate::fs::Loss;

/// A change, its new unlock key if it has one, and the one that opens the folder afterwards.
struct Case {
    capture: &'static str,
    change: fn(&UnlockKey) -> Change<'_>,
    /// Whether the folder is locked with the new key afterwards; `None`: with none.
    new_key: Option<bool>,
    /// Whether the log ends in a write that did not finish.
    torn: bool,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Cut(u64),
    Fail(u64, io::ErrorKind),
}

fn long() -> bool {
    std::env::var_os("NODESEAL_LONG").is_some()
}

fn outcomes(disk: &SimFs) -> Vec<(String, SimFs)> {
    let seeds = if long() { 16 } else { 1 };
    let cuts = Loss::ALL.iter().flat_map(|loss| {
        let seeds = if matches!(loss, Loss::Dropped | Loss::Kept) { 1 } else { seeds };
        (0..seeds).map(move |seed| (format!("{loss:?} {seed}"), disk.after_power_cut(*loss, seed)))
    });
    cuts.chain([("killed".to_owned(), disk.after_kill())]).collect()
}

impl Case {
    fn run(&self) {
        let folder = load(self.capture);
        if self.torn {
            tear(&folder);
        }
        let new = key(9);
        let after = match self.new_key {
            Some(true) => Some(&new),
            Some(false) => folder.key.as_ref(),
            None => None,
        };
        let whole = folder.disk.after_kill();
        let from = whole.operations();
        apply(&whole, folder.key.as_ref(), (self.change)(&new)).unwrap();
        let operations = whole.operations() - from;
        let unchanged = |n: u64| {
            let disk = folder.disk.after_kill();
            disk.cut_at(n);
            let _ = apply(&disk, folder.key.as_ref(), (self.change)(&new));
            let left = disk.after_kill();
            let same = |path: &PathBuf| left.read_file(path) == folder.disk.read_file(path);
            left.paths() == folder.disk.paths() && left.paths().iter().all(same)
        };
        // Up to there nothing is written.
        let (mut start, mut writes) = (0, operations);
        while writes - start > 1 {
            let middle = start.midpoint(writes);
            *(if unchanged(middle) { &mut start } else { &mut writes }) = middle;
        }
        assert!(operations - start > 20, "{operations} operations, {start} of them at first");
        for n in start..operations {
            let kind = if n % 2 == 0 { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            for fault in [Fault::Cut(n), Fault::Fail(n, kind)] {
                let disk = folder.disk.after_kill();
                match fault {
                    Fault::Cut(n) => disk.cut_at(n),
                    Fault::Fail(n, kind) => disk.fail_at(n, kind),
                }
                let done = apply(&disk, folder.key.as_ref(), (self.change)(&new));
                for (name, survivor) in outcomes(&disk) {
                    let name = format!("{} {fault:?} {name}", self.capture);
                    self.survives(&folder, &survivor, after, done.is_ok(), &name);
                }
            }
        }
    }

    /// The same change again, with the same key, is finished, or there is nothing left of it.
    fn repeated(&self, disk: &SimFs, opening: Option<&UnlockKey>, name: &str) {
        let new = key(9);
        let disk = disk.after_kill();
        match apply(&disk, opening, (self.change)(&new)) {
            Ok(_) | Err(Error::Misuse(_)) => {}
            Err(error) => panic!("{name}: {error}"),
        }
        let after = match self.new_key {
            Some(true) => Some(&new),
            Some(false) => opening,
            None => None,
        };
        assert!(secrets(&disk, after).is_ok(), "{name}: again");
        let _ = dek(&disk, after);
        self.agrees(&disk, after, name);
    }

    /// The cluster has the unlock key of the key file, or a newer one, which dockerd takes at its start.
    fn agrees(&self, disk: &SimFs, key: Option<&UnlockKey>, name: &str) {
        let (cluster, version, autolock) = cluster_key(disk, key);
        let path = Path::new(DIR).join("certificates/swarm-node.key");
        let file = KeyFile::parse(&disk.read_file(&path).unwrap()).unwrap();
        if version > file.kek_version().unwrap() {
            return;
        }
        let key = key.filter(|_| file.locked());
        let same =
            cluster.as_ref().map_or(key.is_none(), |one| key.is_some_and(|other| one.ct_eq(other)));
        assert!(same && autolock == key.is_some(), "{name}: the cluster has another key");
    }

    /// What is there opens and is whole, and a second run finishes.
    fn survives(
        &self,
        folder: &Folder,
        disk: &SimFs,
        after: Option<&UnlockKey>,
        done: bool,
        name: &str,
    ) {
        let with = |key: Option<&UnlockKey>| secrets(disk, key);
        let opening = match with(after) {
            Ok(found) => {
                assert!(found == folder.secrets, "{name}");
                after
            }
            Err(error) => {
                assert!(!done, "{name}: {error}");
                assert!(matches!(error, Error::WrongKey | Error::KeyRequired), "{name}: {error}");
                let found = with(folder.key.as_ref()).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert!(found == folder.secrets, "{name}");
                folder.key.as_ref()
            }
        };
        if !long() && !name.ends_with("killed") && !name.ends_with("Dropped 0") {
            return;
        }
        self.repeated(disk, opening, name);
        let again = apply(disk, opening, Change::FinishRotation);
        again.unwrap_or_else(|error| panic!("{name}: {error}"));
        self.agrees(disk, opening, name);
        // The membership is one or three, and the change is one that can be made again.
        let newer = key(10);
        let again = apply(disk, opening, (self.change)(&newer));
        match again {
            Ok(_) => {}
            Err(Error::Misuse(_)) => {}
            Err(error) => panic!("{name}: {error}"),
        }
        let last = [Some(&newer), opening, after, None];
        if let Some(key) = last.into_iter().find(|key| secrets(disk, *key).is_ok()) {
            self.agrees(disk, key, name);
        }
        let last = last.into_iter().find_map(|key| secrets(disk, key).ok());
        assert!(last.as_ref() == Some(&folder.secrets), "{name}");
        let path = Path::new(DIR).join("certificates/swarm-node.key");
        let file = KeyFile::parse(&disk.read_file(&path).unwrap()).unwrap();
        assert!(!file.needs_rotation(), "{name}");
    }
}

#[test]
fn a_change_of_the_unlock_key_outlives_any_cut() {
    Case {
        capture: "1-autolocked",
        change: |new| Change::RotateUnlockKey { new, rekey: Rekey::NewDek },
        new_key: Some(true),
        torn: false,
    }
    .run();
}

/// A copy of what did not finish is kept aside, half of it at times.
#[test]
fn a_change_without_a_new_dek_of_a_torn_log_outlives_any_cut() {
    Case {
        capture: "5-kek-rotated-killed",
        change: |new| Change::RotateUnlockKey { new, rekey: Rekey::KeepDek },
        new_key: Some(true),
        torn: true,
    }
    .run();
}

#[test]
fn a_change_of_the_dek_outlives_any_cut() {
    Case {
        capture: "4-dek-rotated",
        change: |_| Change::RotateDek,
        new_key: Some(false),
        torn: false,
    }
    .run();
}

#[test]
fn locking_outlives_any_cut() {
    Case {
        capture: "3-unlocked",
        change: |new| Change::Lock { new },
        new_key: Some(true),
        torn: false,
    }
    .run();
}

#[test]
fn autolock_off_outlives_any_cut() {
    Case { capture: "1-autolocked", change: |_| Change::AutolockOff, new_key: None, torn: false }
        .run();
}

#[test]
fn a_cut_membership_outlives_any_cut() {
    Case {
        capture: "three-managers-m1",
        change: |_| Change::ForceNewCluster,
        new_key: Some(false),
        torn: false,
    }
    .run();
}
