//! What a change leaves behind that is interrupted, at every operation of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nodeseal::UnlockKey;
use nodeseal::fs::{Fs, Loss, SimFs};
use nodeseal::swarm::{Change, DekHeader, DekSlot, KeyFile, Manager};

const ROOT: &str = "/swarm";

/// A folder's key file, log and snapshots on a simulated disk.
pub(crate) fn load(dir: &Path) -> SimFs {
    let disk = SimFs::new();
    for part in ["certificates", "raft/wal-v3-encrypted", "raft/snap-v3-encrypted"] {
        let to = Path::new(ROOT).join(part);
        disk.create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(dir.join(part)).unwrap().map(Result::unwrap) {
            let mut bytes = std::fs::read(entry.path()).unwrap();
            while bytes.ends_with(&[0; 1024]) {
                bytes.truncate(bytes.len() - 512);
            }
            disk.write_file(&to.join(entry.file_name()), &bytes).unwrap();
        }
    }
    disk
}

/// Puts the files of a simulated disk into a folder in place of those there.
pub(crate) fn store(disk: &SimFs, dir: &Path) {
    for part in ["certificates", "raft/wal-v3-encrypted", "raft/snap-v3-encrypted"] {
        std::fs::remove_dir_all(dir.join(part)).unwrap();
        std::fs::create_dir_all(dir.join(part)).unwrap();
    }
    for path in disk.paths() {
        let bytes = disk.read_file(&path).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let to = dir.join(path.strip_prefix(ROOT).unwrap());
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(&to, &bytes[..end]).unwrap();
        let file = std::fs::File::options().write(true).open(&to).unwrap();
        file.set_len(u64::try_from(bytes.len()).unwrap()).unwrap();
    }
}

/// A state, and whether it opens with the new unlock key.
pub(crate) struct State {
    pub(crate) disk: SimFs,
    pub(crate) new_key: bool,
    pub(crate) name: String,
}

/// The distinct states that a change leaves when it is interrupted, as `all` or not as dockerd tells
/// them apart: by the key file's DEKs and the names of segments and snapshots.
pub(crate) fn interrupted(
    start: &SimFs,
    old: &UnlockKey,
    new: &UnlockKey,
    change: Change<'_>,
    all: bool,
) -> Vec<State> {
    let apply = |disk: &SimFs| {
        // The cut may come before it is open.
        let manager = Manager::open_in(Arc::new(disk.clone()), Path::new(ROOT), Some(old));
        let _ = manager.and_then(|manager| manager.apply(change, &mut |_| {}));
    };
    let whole = start.after_kill();
    apply(&whole);
    let mut states = BTreeMap::new();
    for n in 0..=whole.operations() {
        let disk = start.after_kill();
        disk.cut_at(n);
        apply(&disk);
        let mut outcomes = vec![("killed", disk.after_kill())];
        if all {
            outcomes.push(("dropped", disk.after_power_cut(Loss::Dropped, 0)));
            outcomes.push(("torn", disk.after_power_cut(Loss::Torn, n)));
            outcomes.push(("reordered", disk.after_power_cut(Loss::Reordered, n)));
        }
        for (what, disk) in outcomes {
            let signature = signature(&disk, old, new, all);
            let new_key = signature.0;
            let name = format!("operation {n}, {what}");
            states.entry(signature).or_insert(State { disk, new_key, name });
        }
    }
    states.into_values().collect()
}

type Signature = (bool, bool, Vec<(PathBuf, usize)>);

fn signature(disk: &SimFs, old: &UnlockKey, new: &UnlockKey, all: bool) -> Signature {
    let path = Path::new(ROOT).join("certificates/swarm-node.key");
    let file = KeyFile::parse(&disk.read_file(&path).unwrap()).unwrap();
    let new_key = file.unlock(Some(new)).is_ok();
    assert!(new_key != file.unlock(Some(old)).is_ok());
    let pending = file.dek(DekSlot::Pending) != DekHeader::Absent;
    let seen =
        |path: &PathBuf| all || path.extension().is_some_and(|end| end == "wal" || end == "snap");
    let len = |path: &PathBuf| if all { disk.read_file(path).unwrap().len() } else { 0 };
    let files = disk.paths().into_iter().filter(seen).map(|path| (path.clone(), len(&path)));
    (new_key, pending, files.collect())
}
