//! Every command that changes a manager's folder or makes another one, cut off at each operation of its
//! own: our reader opens what is there, with the key that was told, and dockerd starts from it with
//! everything.
//!
//! The states are made on a simulated disk, from a folder that a genuine dockerd wrote, and then put on
//! the real one. Ordinarily a few of those are taken that dockerd tells apart after a kill; with
//! `NODESEAL_LONG` in the environment all, with what power cuts leave. dockerd 20.10.24 has started
//! from each of these, in 15 minutes:
//!
//! | command | distinct states |
//! |---|---|
//! | rotate-unlock-key | 26 |
//! | rotate-unlock-key --keep-dek | 20 |
//! | rotate-dek | 29 |
//! | lock | 26 |
//! | autolock-off | 28 |
//! | finish-rotation | 30 |
//! | force-new-cluster | 16 |
//! | clean | 14 |
//! | salvage | 38 |
//! | export, then import | 11 |
//! | import | 29 |
//!
//! Needs Debian's `docker.io` and root; skips, and says so, where either is missing.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "live/cluster.rs"]
mod cluster;
#[path = "live/daemon.rs"]
mod daemon;
#[path = "live/search.rs"]
mod search;
#[path = "../../../tests/support/segment.rs"]
mod segment;
#[path = "live/states.rs"]
mod states;

use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use cluster::{Cluster, Content};
use daemon::Docker;
use nodeseal::fs::SimFs;
use nodeseal::swarm::{Change, Manager, Salvage, State, clean_in, export_in, import_in};
use nodeseal::{Error, Rekey, UnlockKey};
use states::{Distinct, SOURCE, TARGET};

/// What a command is begun with.
#[derive(Clone, Copy)]
enum Kind {
    Locked,
    Unlocked,
    /// One of two, the other lost.
    OneOfTwo,
}

/// A folder that dockerd wrote, of which every test takes a copy.
struct Start {
    disk: SimFs,
    key: Option<String>,
    content: Content,
}

impl Start {
    /// Made once.
    fn of(kind: Kind, docker: &Docker) -> &'static Self {
        static MADE: [OnceLock<Start>; 3] = [const { OnceLock::new() }; 3];
        MADE[kind as usize].get_or_init(|| {
            let cluster = match kind {
                Kind::Locked => Cluster::make(docker, true),
                Kind::Unlocked => Cluster::make(docker, false),
                Kind::OneOfTwo => {
                    let first = docker.daemon(1);
                    first.init(&["--autolock"]);
                    let second = docker.daemon(2);
                    second.join(&first);
                    second.ready();
                    Cluster::fill(first)
                }
            };
            let disk = states::load(&cluster.dir());
            Self { disk, key: cluster.key.clone(), content: cluster.content.clone() }
        })
    }
}

/// The unlock key so far, and the one that a command sets.
struct Keys {
    old: Option<UnlockKey>,
    new: UnlockKey,
}

type Run = fn(&SimFs, &Keys) -> Result<(), Error>;

/// A command.
struct Case {
    begins_with: Kind,
    /// The disk on which it runs, made of the one with the folder.
    before: fn(&SimFs, &Keys) -> SimFs,
    run: Run,
    /// Whether the folder stays as it is.
    keeps: bool,
    /// What is done to what an interrupted one left, before dockerd starts; and the folder from which
    /// it does.
    after: fn(&SimFs, &Keys) -> &'static str,
    /// How many states there are at least, however few are told apart; and how many are ordinarily
    /// taken.
    distinct: usize,
    few: usize,
}

impl Case {
    /// A change of a folder.
    const fn change(begins_with: Kind, run: Run) -> Self {
        let before = |disk: &SimFs, _: &Keys| disk.after_kill();
        let after = |_: &SimFs, _: &Keys| SOURCE;
        Self { begins_with, before, run, keeps: false, after, distinct: 4, few: 3 }
    }

    /// A command that makes another folder.
    const fn make(run: Run, after: fn(&SimFs, &Keys) -> &'static str) -> Self {
        let case = Self::change(Kind::Locked, run);
        Self { keeps: true, after, distinct: 2, few: 1, ..case }
    }

    fn test(&self) {
        let Some(docker) = Docker::find() else { return };
        let start = Start::of(self.begins_with, &docker);
        let old = start.key.as_deref().map(|text| UnlockKey::from_text(text).unwrap());
        let keys = Keys { old, new: UnlockKey::generate().unwrap() };
        let both: Vec<_> = keys.old.iter().chain([&keys.new]).collect();
        let states = self.states(&(self.before)(&start.disk, &keys), &keys, &both);
        let begun = Instant::now();
        let mut cluster = Cluster::with(docker.stopped(1), None, start.content.clone());
        for state in &states {
            println!("{}", state.name);
            let dir = (self.after)(&state.disk, &keys);
            states::store(&state.disk, Path::new(dir), &cluster.dir());
            let file = states::key_file(&state.disk, dir).unwrap();
            let opening = states::opened_by(&file, &both);
            let other = both.iter().find(|key| opening.is_some_and(|one| !one.ct_eq(key)));
            cluster.key = opening.map(|key| key.to_text().to_string());
            cluster.holds_all();
            cluster.start(other.map(|key| key.to_text()).as_ref().map(|text| &***text));
            // Quicker than to stop it, and the folder goes.
            cluster.daemon.kill();
        }
        println!("dockerd started from {} states in {} s", states.len(), begun.elapsed().as_secs());
    }

    /// The distinct states that it leaves, ordinarily a few of them: evenly, with the last.
    fn states(&self, begin: &SimFs, keys: &Keys, both: &[&UnlockKey]) -> Vec<states::State> {
        let long = std::env::var_os("NODESEAL_LONG").is_some();
        let distinct = if long { Distinct::Fine } else { Distinct::Coarse };
        let folder = states::files(begin, SOURCE);
        let found = states::interrupted(begin, both, distinct, |disk| {
            let _ = (self.run)(disk, keys);
            assert!(!self.keeps || states::files(disk, SOURCE) == folder);
        });
        println!("{} distinct states", found.len());
        assert!(found.len() >= self.distinct, "{}", found.len());
        let (all, few) = (found.len(), if long { found.len() } else { self.few });
        let taken = |at: usize| (at + 1) * few / all > at * few / all;
        let found = found.into_iter().enumerate();
        found.filter(|(at, _)| taken(*at)).map(|(_, state)| state).collect()
    }
}

fn change(disk: &SimFs, old: Option<&UnlockKey>, change: Change<'_>) -> Result<(), Error> {
    let manager = Manager::open_in(states::shared(disk), Path::new(SOURCE), old)?;
    manager.apply(change, &mut |_| {}).map(drop)
}

#[test]
fn rotate_unlock_key() {
    Case::change(Kind::Locked, |disk, keys| {
        let new = Change::RotateUnlockKey { new: &keys.new, rekey: Rekey::NewDek };
        change(disk, keys.old.as_ref(), new)
    })
    .test();
}

#[test]
fn rotate_unlock_key_keep_dek() {
    Case::change(Kind::Locked, |disk, keys| {
        let new = Change::RotateUnlockKey { new: &keys.new, rekey: Rekey::KeepDek };
        change(disk, keys.old.as_ref(), new)
    })
    .test();
}

#[test]
fn rotate_dek() {
    Case::change(Kind::Locked, |disk, keys| change(disk, keys.old.as_ref(), Change::RotateDek))
        .test();
}

#[test]
fn lock() {
    Case::change(Kind::Unlocked, |disk, keys| change(disk, None, Change::Lock { new: &keys.new }))
        .test();
}

#[test]
fn autolock_off() {
    Case::change(Kind::Locked, |disk, keys| change(disk, keys.old.as_ref(), Change::AutolockOff))
        .test();
}

/// Of a rotation that was interrupted when the key file had two DEKs.
#[test]
fn finish_rotation() {
    Case {
        before: |disk, keys| {
            states::half_done(disk, |disk| {
                let _ = change(disk, keys.old.as_ref(), Change::RotateDek);
            })
        },
        ..Case::change(Kind::Locked, |disk, keys| {
            change(disk, keys.old.as_ref(), Change::FinishRotation)
        })
    }
    .test();
}

/// Where there are two members still dockerd would wait for the other one without end, and the command
/// runs again.
#[test]
fn force_new_cluster() {
    let run: Run = |disk, keys| change(disk, keys.old.as_ref(), Change::ForceNewCluster);
    Case {
        after: |disk, keys| {
            let state = State::read_in(disk, Path::new(SOURCE), keys.old.as_ref()).unwrap();
            if state.objects.members.len() > 1 {
                change(disk, keys.old.as_ref(), Change::ForceNewCluster).unwrap();
            }
            SOURCE
        },
        ..Case::change(Kind::OneOfTwo, run)
    }
    .test();
}

#[test]
fn clean() {
    Case {
        before: |disk, _| {
            let disk = disk.after_kill();
            for name in [
                "certificates/.tmp-swarm-node.key1",
                "raft/wal-v3-encrypted/0.tmp",
                "raft/wal-v3-encrypted/0000000000000000-0000000000000000.wal.broken",
                "raft/wal-v3/0000000000000000-0000000000000000.wal",
                "raft/snap-v3/0000000000000002-000000000000000a.snap",
            ] {
                disk.write_file(&Path::new(SOURCE).join(name), &[7; 3000]).unwrap();
            }
            disk
        },
        distinct: 3,
        few: 2,
        ..Case::change(Kind::Locked, |disk, keys| {
            clean_in(disk, Path::new(SOURCE), keys.old.as_ref()).map(drop)
        })
    }
    .test();
}

// Where these had not made the folder yet, they run again.

#[test]
fn salvage() {
    fn run(disk: &SimFs, keys: &Keys) -> Result<(), Error> {
        let salvage = Salvage::read_in(disk, Path::new(SOURCE), keys.old.as_ref())?;
        salvage.write_in(disk, Path::new(TARGET)).map(drop)
    }
    Case::make(run, |disk, keys| {
        if !states::is_made(disk) {
            run(disk, keys).unwrap();
        }
        TARGET
    })
    .test();
}

const NATIVE: &str = "/d/native";
const BACK: &str = "/d/back";

fn export_to(disk: &SimFs, to: &str, keys: &Keys) -> Result<(), Error> {
    let disk = states::shared(disk);
    export_in(&disk, Path::new(SOURCE), Path::new(to), keys.old.as_ref()).map(drop)
}

fn import_from(disk: &SimFs, from: &str, to: &str, keys: &Keys) -> Result<(), Error> {
    let disk = states::shared(disk);
    import_in(&disk, Path::new(from), Path::new(to), keys.old.as_ref()).map(drop)
}

#[test]
fn export() {
    let run: Run = |disk, keys| export_to(disk, TARGET, keys);
    Case::make(run, |disk, keys| {
        if !states::is_made(disk) {
            export_to(disk, TARGET, keys).unwrap();
        }
        import_from(disk, TARGET, BACK, keys).unwrap();
        BACK
    })
    .test();
}

#[test]
fn import() {
    let run: Run = |disk, keys| import_from(disk, NATIVE, TARGET, keys);
    let case = Case::make(run, |disk, keys| {
        if !states::is_made(disk) {
            import_from(disk, NATIVE, TARGET, keys).unwrap();
        }
        TARGET
    });
    Case {
        before: |disk, keys| {
            let disk = disk.after_kill();
            export_to(&disk, NATIVE, keys).unwrap();
            disk
        },
        ..case
    }
    .test();
}
