//! What a command leaves behind that is interrupted, at every operation of its own.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nodeseal::UnlockKey;
use nodeseal::fs::{Fs, Loss, SimFs};
use nodeseal::swarm::{DekHeader, DekSlot, KeyFile};

/// Where the manager's folder is on a simulated disk, and where a command that makes another one puts
/// it.
pub(crate) const SOURCE: &str = "/d/swarm";
pub(crate) const TARGET: &str = "/d/new";

/// How much of a file is looked at to tell states apart, in bytes. Behind it there are only zeros.
const LOOKED_AT: usize = 1 << 20;

/// A manager's folder on a simulated disk.
pub(crate) fn load(dir: &Path) -> SimFs {
    let disk = SimFs::new();
    load_into(&disk, dir, Path::new(SOURCE));
    disk
}

fn load_into(disk: &SimFs, from: &Path, to: &Path) {
    disk.create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            load_into(disk, &path, &to);
        } else if path.is_file() {
            let mut bytes = fs::read(&path).unwrap();
            while bytes.ends_with(&[0; 1024]) {
                bytes.truncate(bytes.len() - 512);
            }
            disk.write_file(&to, &bytes).unwrap();
        }
    }
}

/// Puts a folder of a simulated disk in the place of a real one.
pub(crate) fn store(disk: &SimFs, from: &Path, dir: &Path) {
    if dir.exists() {
        fs::remove_dir_all(dir).unwrap();
    }
    // It may be empty.
    fs::create_dir_all(dir.join("raft/snap-v3-encrypted")).unwrap();
    for path in disk.paths().into_iter().filter(|path| path.starts_with(from)) {
        let bytes = disk.read_file(&path).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let to = dir.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fs::write(&to, &bytes[..end]).unwrap();
        let file = fs::File::options().write(true).open(&to).unwrap();
        file.set_len(u64::try_from(bytes.len()).unwrap()).unwrap();
    }
}

/// The files of a folder with what is in them.
pub(crate) fn files(disk: &SimFs, dir: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = disk.paths().into_iter().filter(|path| path.starts_with(dir));
    paths.map(|path| (path.clone(), read(disk, &path).1)).collect()
}

/// Length, and all but the zeros at the end.
fn read(disk: &SimFs, path: &Path) -> (u64, Vec<u8>) {
    // Neither counts as an operation of the command nor fails like one.
    let file = disk.after_kill().open_read(path).unwrap();
    let mut bytes = vec![0; LOOKED_AT];
    let read = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(read);
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    assert!(end < LOOKED_AT - 4096, "a state has to be told apart by all of it");
    bytes.truncate(end);
    (file.len().unwrap(), bytes)
}

pub(crate) struct State {
    pub(crate) disk: SimFs,
    pub(crate) name: String,
}

/// How finely states are told apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distinct {
    /// As dockerd does that finds them after a kill: by the key file's locks and DEKs and the names
    /// of segments and snapshots.
    Coarse,
    /// By the lengths of these files and which of their sectors are written too, and by what else is
    /// there; with what power cuts leave.
    Fine,
}

/// The distinct states that a command leaves when it is interrupted; the last is that of the command
/// that was not.
pub(crate) fn interrupted(
    begin: &SimFs,
    keys: &[&UnlockKey],
    distinct: Distinct,
    run: impl Fn(&SimFs),
) -> Vec<State> {
    let whole = begin.after_kill();
    run(&whole);
    let mut states = Vec::new();
    let mut seen = BTreeSet::new();
    for n in 0..=whole.operations() {
        let disk = begin.after_kill();
        disk.cut_at(n);
        run(&disk);
        let mut outcomes = vec![("killed", disk.after_kill())];
        if distinct == Distinct::Fine {
            outcomes.push(("dropped", disk.after_power_cut(Loss::Dropped, 0)));
            outcomes.push(("torn", disk.after_power_cut(Loss::Torn, n)));
            outcomes.push(("reordered", disk.after_power_cut(Loss::Reordered, n)));
        }
        for (what, disk) in outcomes {
            if seen.insert(signature(&disk, keys, distinct)) {
                states.push(State { disk, name: format!("operation {n}, {what}") });
            }
        }
    }
    states
}

/// What a change leaves that is killed when the key file has two DEKs.
pub(crate) fn half_done(begin: &SimFs, run: impl Fn(&SimFs)) -> SimFs {
    let cut = |n| {
        let disk = begin.after_kill();
        disk.cut_at(n);
        run(&disk);
        disk.after_kill()
    };
    let pending =
        |disk: &SimFs| key_file(disk, SOURCE).unwrap().dek(DekSlot::Pending) != DekHeader::Absent;
    (0..).map(cut).find(pending).unwrap()
}

/// Which of the keys opens a key file, none if it is not locked.
pub(crate) fn opened_by<'a>(file: &KeyFile, keys: &[&'a UnlockKey]) -> Option<&'a UnlockKey> {
    let mut opening = keys.iter().filter(|key| file.unlock(Some(key)).is_ok());
    let found = file.locked().then(|| *opening.next().unwrap());
    assert!(found.is_none() || opening.next().is_none(), "one key opens it");
    found
}

pub(crate) fn key_file(disk: &SimFs, dir: &str) -> Option<KeyFile> {
    let path = Path::new(dir).join("certificates/swarm-node.key");
    disk.read_file(&path).map(|text| KeyFile::parse(&text).unwrap())
}

/// A file's length and which of its sectors are not zero; nothing for one that Swarm passes over.
type Shape = Option<(u64, Vec<bool>)>;
type Signature = (Option<(Option<String>, bool)>, Vec<(PathBuf, Shape)>);

fn signature(disk: &SimFs, keys: &[&UnlockKey], distinct: Distinct) -> Signature {
    let locks = key_file(disk, SOURCE).map(|file| {
        let key = opened_by(&file, keys).map(|key| key.to_text().to_string());
        (key, file.dek(DekSlot::Pending) != DekHeader::Absent)
    });
    let shape = |path: &Path| {
        let (len, bytes) = read(disk, path);
        (len, bytes.chunks(512).map(|sector| sector.iter().any(|byte| *byte != 0)).collect())
    };
    let of_log = |path: &Path| path.extension().is_some_and(|end| end == "wal" || end == "snap");
    // What has another name, or lies beside, is not looked at.
    let looked_at = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy();
        let places = [SOURCE, TARGET].map(|dir| path.starts_with(dir));
        places.contains(&true) && (of_log(path) || name.starts_with("swarm-"))
    };
    let files = disk.paths().into_iter().filter_map(|path| match distinct {
        Distinct::Coarse if of_log(&path) && !path.starts_with(BESIDE) => Some((path, None)),
        Distinct::Coarse => None,
        Distinct::Fine => {
            let shape = looked_at(&path).then(|| shape(&path));
            Some((path, shape))
        }
    });
    (locks, files.collect())
}

/// Where a command makes a folder that does not have its name yet.
const BESIDE: &str = "/d/.new.nodeseal-tmp";

/// Whether a command made the other folder.
pub(crate) fn is_made(disk: &SimFs) -> bool {
    disk.paths().iter().any(|path| path.starts_with(TARGET))
}

pub(crate) fn shared(disk: &SimFs) -> Arc<dyn Fs> {
    Arc::new(disk.clone())
}
