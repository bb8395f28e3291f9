//! The log on a real file system that is full, and in processes that are killed.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use nodeseal::fs::RealFs;
use nodeseal::{Error, Reason};

use super::*;

fn real() -> Arc<dyn Fs> {
    Arc::new(RealFs::default())
}

/// Keys and log in directories of their own; created where there are no keys.
fn at(dir: &Path) -> Result<(Keyring, PlainLog)> {
    let (keys, file) = (dir.join("keys"), dir.join("raft/log"));
    if keys.exists() {
        let keyring = open_keyring(&keys)?;
        let log = PlainLog::open(real(), &file, &keyring)?;
        return Ok((keyring, log));
    }
    let keyring = Keyring::create(&keys, &me(), Protector::none(), &[])?;
    real().create_dir_all(&dir.join("raft")).map_err(Error::Stream)?;
    let log = PlainLog::create(real(), &file, &keyring)?;
    Ok((keyring, log))
}

fn is_full<T>(result: Result<T>) -> bool {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::FileTooLarge];
    matches!(result, Err(Error::Io { source, .. }) if full.contains(&source.kind()))
}

/// Appends until the disk is full.
fn fill(log: &mut PlainLog) -> usize {
    for _ in 0..10_000 {
        let last = log.state().last;
        let appended = append(log, 1, 1);
        if appended.is_ok() {
            continue;
        }
        assert!(is_full(appended));
        assert_eq!(log.state().last, last);
        assert!(matches!(append(log, 1, 1), Err(Error::Poisoned)));
        return usize::try_from(last.index).unwrap();
    }
    panic!("the disk does not fill up");
}

/// The names beside the log, and its bytes.
fn found(dir: &Path) -> (Vec<OsString>, Vec<u8>) {
    let dir = dir.join("raft");
    (real().list(&dir).unwrap(), std::fs::read(dir.join("log")).unwrap())
}

/// Of appends that filled the disk, all but the last were acknowledged, and that one counts or not.
fn holds(log: &PlainLog, acknowledged: usize) {
    let found = view(log).unwrap().len();
    assert!([acknowledged, acknowledged + 1].contains(&found), "{found} of {acknowledged}");
}

#[test]
fn a_full_disk_takes_nothing_that_was_acknowledged() {
    let name = "real::a_full_disk_takes_nothing_that_was_acknowledged";
    namespace::in_namespaces(name, |_| {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let disk = dir.join("raft");
        real().create_dir(&disk).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=512k", "none"]).arg(&disk);
        assert!(mount.status().unwrap().success());
        let ballast = real().create_new(&disk.join("ballast")).unwrap();
        ballast.write_all_at(&[1; 300 << 10], 0).unwrap();

        let (keyring, mut log) = at(dir).unwrap();
        let acknowledged = fill(&mut log);
        assert!(acknowledged > 50, "{acknowledged}");
        drop((log, keyring));
        // Opening needs room for a copy. Without it, it fails, and takes none.
        let before = found(dir);
        assert_eq!(before.0, ["ballast", "log", "log.lock"]);
        for _ in 0..2 {
            assert!(is_full(at(dir)));
            assert!(found(dir) == before);
        }
        real().remove(&disk.join("ballast")).unwrap();
        drop(ballast);
        let (keyring, mut log) = at(dir).unwrap();
        holds(&log, acknowledged);
        append(&mut log, 2, 1).unwrap();
        drop((log, keyring));
        let (_keyring, log) = at(dir).unwrap();
        holds(&log, acknowledged + 1);
    });
}

/// Needs no privileges: the kernel writes up to the limit of the process, and no further.
#[test]
fn a_write_that_was_done_in_part_does_not_count() {
    let name = "real::a_write_that_was_done_in_part_does_not_count";
    if let Some(dir) = namespace::role() {
        let (_keyring, mut log) = at(Path::new(&dir)).unwrap();
        let acknowledged = fill(&mut log);
        eprintln!("acknowledged {acknowledged}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    drop(at(dir.path()).unwrap());
    let child = namespace::child(name, dir.path().to_str().unwrap());
    // In blocks of 512 bytes. The signal is ignored, so that the write returns an error.
    let script = "trap '' XFSZ; ulimit -f 100 && exec \"$@\"";
    let limited = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(child.get_program())
        .args(child.get_args())
        .envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&limited.stderr).into_owned();
    assert!(limited.status.success(), "{said}");
    let acknowledged = said.lines().find_map(|line| line.strip_prefix("acknowledged "));
    let acknowledged: usize = acknowledged.unwrap().parse().unwrap();
    assert!(acknowledged > 20, "{acknowledged}");
    assert_eq!(found(dir.path()).1.len() % 512, 0, "the write was cut at the limit");
    let (_keyring, log) = at(dir.path()).unwrap();
    assert_eq!(view(&log).unwrap().len(), acknowledged);
}

#[test]
fn a_log_that_is_moved_away_acknowledges_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (here, there) = (dir.join("raft"), dir.join("elsewhere"));
    let (keyring, mut log) = at(dir).unwrap();
    append(&mut log, 1, 1).unwrap();
    real().rename(&here, &there).unwrap();
    assert!(matches!(append(&mut log, 1, 1), Err(Error::Missing(_))));
    real().rename(&there, &here).unwrap();
    assert!(matches!(append(&mut log, 1, 1), Err(Error::Poisoned)));
    drop((log, keyring));
    let (_keyring, mut log) = at(dir).unwrap();
    holds(&log, 1);
    std::fs::remove_dir_all(&here).unwrap();
    assert!(matches!(append(&mut log, 2, 1), Err(Error::Missing(_))));
}

#[test]
fn what_was_acknowledged_outlives_the_process() {
    let name = "real::what_was_acknowledged_outlives_the_process";
    if let Some(dir) = namespace::role() {
        let (keyring, mut log) = at(Path::new(&dir)).unwrap();
        let era = log.state().last.era.get() + 1;
        loop {
            append(&mut log, era, 1).unwrap();
            let last = log.state().last.index;
            eprintln!("acknowledged {last}");
            if last.is_multiple_of(20) {
                keyring.rotate_dek(Reason::Requested).unwrap();
                end_rotation(&keyring, &mut log).unwrap();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    drop(at(dir.path()).unwrap());
    let mut acknowledged = 0;
    for round in 0..12_u64 {
        let mut child = namespace::child(name, dir.path().to_str().unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // Running; now somewhere in the next entries.
        let mut said: Vec<String> = lines.by_ref().take(5).map(io::Result::unwrap).collect();
        std::thread::sleep(Duration::from_millis(round * 5));
        child.kill().unwrap();
        said.extend(lines.map_while(io::Result::ok));
        child.wait().unwrap();
        let numbers = said.iter().filter_map(|line| line.strip_prefix("acknowledged "));
        let before = acknowledged;
        acknowledged = numbers.filter_map(|n| n.parse().ok()).max().unwrap_or(acknowledged);
        assert!(acknowledged > before, "the child did nothing: {said:?}");
        let (_keyring, log) = at(dir.path()).unwrap();
        holds(&log, acknowledged);
    }
}
