//! A change of the unlock key that stopped when the key file had the new one and the cluster not.

use super::*;
use crate::fs::Loss;

/// The folder as it is left, locked with `new`.
fn interrupted(name: &str, change: Change<'_>, new: &UnlockKey) -> Folder {
    let folder = load(name);
    for n in 1.. {
        let disk = folder.disk.after_kill();
        disk.fail_at(n, std::io::ErrorKind::Other);
        assert!(apply(&disk, folder.key.as_ref(), change).is_err(), "{n}");
        let left = disk.after_power_cut(Loss::Kept, 0);
        if locked(&left) && secrets(&left, Some(new)).is_ok() {
            let key = UnlockKey::from_key(new.secret().duplicate());
            let (cluster, ..) = cluster_key(&left, Some(&key));
            assert!(cluster.is_none_or(|one| !one.ct_eq(new)), "the cluster is behind");
            return Folder { disk: left, key: Some(key), secrets: folder.secrets };
        }
    }
    unreachable!()
}

fn locked(disk: &SimFs) -> bool {
    let path = Path::new(DIR).join("certificates/swarm-node.key");
    KeyFile::parse(&disk.read_file(&path).unwrap()).unwrap().locked()
}

#[track_caller]
fn is_settled(folder: &Folder, report: &Report) {
    let (cluster, version, autolock) = cluster_key(&folder.disk, folder.key.as_ref());
    let own = folder.key.as_ref().unwrap();
    assert!(cluster.unwrap().ct_eq(own) && autolock, "the cluster has the file's key");
    assert_eq!(version, report.kek_version);
    assert!(report.finishes_unlock_key);
    assert_eq!(secrets(&folder.disk, folder.key.as_ref()).unwrap(), folder.secrets);
}

fn is_found(folder: &Folder) -> bool {
    let found = crate::swarm::inspect_in(&folder.disk, Path::new(DIR), folder.key.as_ref());
    let state = State::read_in(&folder.disk, Path::new(DIR), folder.key.as_ref()).unwrap();
    let ahead = |one: &crate::swarm::Finding| one.kind == FindingKind::UnlockKeyAhead;
    let by_inspect = found.unwrap().findings.iter().any(ahead);
    assert_eq!(by_inspect, state.findings.iter().any(ahead));
    by_inspect
}

/// An unlock key beyond the log is forged: the node did not take the one that the cluster has.
#[test]
fn a_forged_version_does_not_bring_an_old_key_back() {
    let new = key(9);
    let folder = interrupted("1-autolocked", change(Some(Rekey::KeepDek), &new), &new);
    let path = Path::new(DIR).join("certificates/swarm-node.key");
    let text = String::from_utf8(folder.disk.read_file(&path).unwrap()).unwrap();
    let forged = text.replacen("kek-version: 21", "kek-version: 22", 1);
    assert_ne!(forged, text);
    folder.disk.write_file(&path, forged.as_bytes()).unwrap();
    let report = apply(&folder.disk, folder.key.as_ref(), Change::FinishRotation).unwrap();
    assert!(report.replaced.is_empty());
    let (cluster, ..) = cluster_key(&folder.disk, folder.key.as_ref());
    assert!(!cluster.unwrap().ct_eq(&new));
}

const NAMES: [(&str, Option<Rekey>); 4] = [
    ("1-autolocked", Some(Rekey::NewDek)),
    ("1-autolocked", Some(Rekey::KeepDek)),
    ("docker-26-2-snapshots", Some(Rekey::NewDek)),
    ("3-unlocked", None),
];

fn change(rekey: Option<Rekey>, new: &UnlockKey) -> Change<'_> {
    match rekey {
        Some(rekey) => Change::RotateUnlockKey { new, rekey },
        None => Change::Lock { new },
    }
}

#[test]
fn the_cluster_gets_the_unlock_key_too() {
    let new = key(9);
    for (name, rekey) in NAMES {
        let folder = interrupted(name, change(rekey, &new), &new);
        assert!(is_found(&folder), "{name}");
        let (_, report) = as_planned(&folder, Change::FinishRotation);
        assert!(!is_found(&folder), "{name}");
        is_settled(&folder, &report);
        // And nothing is left.
        let report = apply(&folder.disk, folder.key.as_ref(), Change::FinishRotation).unwrap();
        assert!(report.replaced.is_empty() && !report.finishes_unlock_key, "{name}");

        // A new DEK finishes it on its way.
        let folder = interrupted(name, change(rekey, &new), &new);
        let old = dek_so_far(&folder);
        let (_, report) = as_planned(&folder, Change::RotateDek);
        assert!(report.new_dek);
        is_settled(&folder, &report);
        assert!(opened_by(&folder.disk, &old).is_empty(), "{name}");
    }
}

#[test]
fn the_same_change_again_finishes_it() {
    let new = key(9);
    for (name, rekey) in NAMES {
        let folder = interrupted(name, change(rekey, &new), &new);
        let old = dek_so_far(&folder);
        let (_, report) = as_planned(&folder, change(rekey, &new));
        is_settled(&folder, &report);
        assert_eq!(report.new_dek, rekey != Some(Rekey::KeepDek), "{name}");
        assert_eq!(opened_by(&folder.disk, &old).is_empty(), report.new_dek, "{name}");
        let again = apply(&folder.disk, folder.key.as_ref(), change(rekey, &new));
        assert!(matches!(again, Err(Error::Misuse(_))), "{name}: it is done");
    }
    // Asked for more than before, it does more.
    let folder = interrupted("1-autolocked", change(Some(Rekey::KeepDek), &new), &new);
    let (_, report) = as_planned(&folder, change(Some(Rekey::NewDek), &new));
    assert!(report.new_dek);
    is_settled(&folder, &report);
}

/// The one of the key file so far.
fn dek_so_far(folder: &Folder) -> SecretKey {
    let path = Path::new(DIR).join("certificates/swarm-node.key");
    let file = KeyFile::parse(&folder.disk.read_file(&path).unwrap()).unwrap();
    file.unlock(folder.key.as_ref()).unwrap().current.unwrap()
}
