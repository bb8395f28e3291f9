//! Power cut, kill and error at every operation of all that makes or cleans a folder.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::{Fs, Loss, SimFs};
use crate::swarm::tests::capture::Capture;
use crate::swarm::{
    Salvage, State, attest_in, clean_in, export_in, import_in, leftovers_in, plan_export_in,
    plan_import_in, plan_redact_in, redact_in, verify_in,
};

const SOURCE: &str = "/d/swarm";
const TO: &str = "/d/new";

/// A small genuine folder on a simulated disk, its segment without the zeros at the end.
fn disk() -> SimFs {
    let capture = Capture::unpack("3-unlocked");
    let disk = SimFs::new();
    for part in ["", "certificates", "worker", "raft/wal-v3-encrypted"] {
        for entry in std::fs::read_dir(capture.dir().join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let mut bytes = std::fs::read(&path).unwrap();
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                bytes.truncate(used.next_multiple_of(8));
                let name = path.strip_prefix(capture.dir()).unwrap();
                disk.write_file(&Path::new(SOURCE).join(name), &bytes).unwrap();
            }
        }
    }
    // So that the folder is there although it is empty.
    disk.create_dir_all(&Path::new(SOURCE).join("raft/snap-v3-encrypted")).unwrap();
    disk
}

/// The same state in a snapshot, and a log without an entry.
fn with_snapshot() -> SimFs {
    let (from, to) = (disk(), SimFs::new());
    let salvage = Salvage::read_in(&from, Path::new(SOURCE), None).unwrap();
    salvage.write_in(&from, Path::new(TO)).unwrap();
    for (path, content) in files(&from, TO) {
        let name = path.strip_prefix(TO).unwrap();
        to.write_file(&Path::new(SOURCE).join(name), &content.unwrap()).unwrap();
    }
    to
}

/// What a state holds, payloads included.
fn content(state: &State) -> String {
    let secrets = state.objects.secrets.values();
    let payloads: Vec<_> = secrets.map(|one| crc32c::crc32c(one.payload.expose())).collect();
    format!("{:?} {payloads:?}", state.objects)
}

fn files(disk: &SimFs, under: &str) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let paths = disk.paths().into_iter().filter(|path| path.starts_with(under));
    paths.map(|path| (path.clone(), disk.read_file(&path))).collect()
}

type Make = fn(&SimFs) -> Result<()>;
type Check = fn(&SimFs) -> Result<()>;

/// Runs `make` with each of its operations cut off or failing: what it reads stays, and `TO` is
/// whole or not there. Then it is done all the same.
fn at_every_operation(begin: &SimFs, make: Make, check: Check) {
    let source = files(begin, SOURCE);
    let whole_or_none = |disk: &SimFs, what: &str| {
        assert!(files(disk, SOURCE) == source, "{what}: the source");
        match disk.list(Path::new(TO)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            _ => {
                check(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
                true
            }
        }
    };
    let mut at = 0;
    loop {
        let disk = begin.after_kill();
        disk.cut_at(at);
        if make(&disk).is_ok() {
            break;
        }
        for loss in [Loss::Dropped, Loss::Reordered] {
            let up = disk.after_power_cut(loss, at);
            let what = format!("operation {at}, {loss:?}");
            if !whole_or_none(&up, &what) && loss == Loss::Reordered {
                make(&up).unwrap_or_else(|error| panic!("{what}, again: {error}"));
                assert!(whole_or_none(&up, &what));
            }
        }
        let disk = begin.after_kill();
        disk.fail_at(at, io::ErrorKind::StorageFull);
        let what = format!("operation {at} fails");
        // Some failures are passed over, as of what is removed.
        let made = make(&disk);
        let there = whole_or_none(&disk, &what);
        assert!(there || made.is_err(), "{what}");
        at += 1;
    }
    assert!(at > 20, "only {at} operations");
}

fn reads(disk: &SimFs) -> Result<()> {
    let key = None;
    let one = State::read_in(disk, Path::new(TO), key)?;
    let other = State::read_in(disk, Path::new(SOURCE), key)?;
    assert!(one.is_complete(), "{:?}", one.findings);
    assert_eq!(content(&one), content(&other));
    Ok(())
}

#[test]
fn a_salvage_is_whole_or_not_there() {
    let make: Make = |disk| {
        let salvage = Salvage::read_in(disk, Path::new(SOURCE), None)?;
        salvage.write_in(disk, Path::new(TO)).map(drop)
    };
    at_every_operation(&disk(), make, reads);
    at_every_operation(&with_snapshot(), make, reads);
}

#[test]
fn a_redacted_copy_is_whole_or_not_there() {
    for begin in [disk(), with_snapshot()] {
        at_every_operation(
            &begin,
            |disk| redact_in(disk, Path::new(SOURCE), Path::new(TO), None).map(drop),
            |disk| {
                let state = State::read_in(disk, Path::new(TO), None)?;
                assert!(state.is_complete() && state.objects.secrets.len() == 2);
                Ok(())
            },
        );
    }
}

#[test]
fn an_export_and_an_import_are_whole_or_not_there() {
    fn shared(disk: &SimFs) -> Arc<dyn Fs> {
        Arc::new(disk.clone())
    }
    fn import(disk: &SimFs, from: &str, to: &str) -> Result<()> {
        import_in(&shared(disk), Path::new(from), Path::new(to), None).map(drop)
    }
    for begin in [disk(), with_snapshot()] {
        at_every_operation(
            &begin,
            |disk| export_in(&shared(disk), Path::new(SOURCE), Path::new(TO), None).map(drop),
            |disk| {
                let disk = disk.after_kill();
                import(&disk, TO, "/d/back")?;
                assert!(State::read_in(&disk, Path::new("/d/back"), None)?.is_complete());
                Ok(())
            },
        );
        export_in(&shared(&begin), Path::new(SOURCE), Path::new("/d/native"), None).unwrap();
        at_every_operation(&begin, |disk| import(disk, "/d/native", TO), reads);
    }
}

#[test]
fn a_clean_up_that_was_cut_short_can_be_ended() {
    let begin = disk();
    let left = ["certificates/.tmp-swarm-node.key1", "raft/wal/0.wal", "raft/snap/0.snap"];
    for name in left {
        begin.write_file(&Path::new(SOURCE).join(name), &[7; 3000]).unwrap();
    }
    let source = Path::new(SOURCE);
    let rest = |disk: &SimFs| -> Vec<_> {
        let left: Vec<_> = left.iter().map(|name| source.join(name)).collect();
        let mut files = files(disk, SOURCE);
        files.retain(|(path, _)| !left.contains(path));
        files
    };
    assert_eq!(leftovers_in(&begin, source, None).unwrap().len(), 3);
    let mut at = 0;
    loop {
        let disk = begin.after_kill();
        disk.cut_at(at);
        let done = clean_in(&disk, source, None);
        if done.is_ok() {
            assert!(left.iter().all(|name| disk.read_file(&source.join(name)).is_none()));
            break;
        }
        for loss in [Loss::Dropped, Loss::Reordered] {
            let up = disk.after_power_cut(loss, at);
            assert!(rest(&up) == rest(&begin), "operation {at}");
            clean_in(&up, source, None).unwrap();
            assert!(leftovers_in(&up, source, None).unwrap().is_empty());
            assert!(State::read_in(&up, source, None).unwrap().is_complete());
        }
        at += 1;
    }
    assert!(at > 10);
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let disk = disk();
    let source = Path::new(SOURCE);
    let wal = source.join("raft/wal-v3-encrypted/0000000000000000-0000000000000000.wal");
    let attestation = attest_in(&disk, source, None).unwrap();
    let held = disk.try_lock_open(&wal).unwrap().unwrap();
    let shared: Arc<dyn Fs> = Arc::new(disk.clone());
    let to = Path::new(TO);
    for refused in [
        Salvage::read_in(&disk, source, None).err(),
        redact_in(&disk, source, to, None).err(),
        export_in(&shared, source, to, None).err(),
        plan_redact_in(&disk, source, to, None).err(),
        plan_export_in(&disk, source, to, None).err(),
        clean_in(&disk, source, None).err(),
        attest_in(&disk, source, None).err(),
        verify_in(&disk, source, None, &attestation).err(),
    ] {
        assert!(matches!(refused, Some(Error::Busy(_))), "{refused:?}");
    }
    drop(held);
    // A salvage holds it until the new folder is there.
    let salvage = Salvage::read_in(&disk, source, None).unwrap();
    let busy = Salvage::read_in(&disk, source, None).unwrap_err();
    assert!(matches!(busy, Error::Busy(_)), "{busy}");
    salvage.write_in(&disk, to).unwrap();
    Salvage::read_in(&disk, source, None).unwrap();
    assert!(verify_in(&disk, source, None, &attestation).unwrap().is_intact());
}

/// What is planned is done, and planning changes nothing, wherever it is.
#[test]
fn a_plan_is_what_is_done_and_writes_nothing() {
    let disk = disk();
    let shared: Arc<dyn Fs> = Arc::new(disk.clone());
    let (source, to) = (Path::new(SOURCE), Path::new(TO));
    let (native, other) = (Path::new("/d/native"), Path::new("/d/other"));
    let unchanged = |what: &str, plan: &mut dyn FnMut()| {
        let before = files(&disk, "/");
        plan();
        assert!(files(&disk, "/") == before, "{what}");
    };
    let mut exported = None;
    unchanged("export", &mut || exported = Some(plan_export_in(&disk, source, native, None)));
    let done = export_in(&shared, source, native, None).unwrap();
    assert_eq!(exported.unwrap().unwrap(), done);

    let mut imported = None;
    unchanged("import", &mut || imported = Some(plan_import_in(&shared, native, to, None)));
    assert_eq!(imported.unwrap().unwrap(), import_in(&shared, native, to, None).unwrap());

    let mut redacted = None;
    unchanged("redact", &mut || redacted = Some(plan_redact_in(&disk, source, other, None)));
    assert_eq!(redacted.unwrap().unwrap(), redact_in(&disk, source, other, None).unwrap());

    unchanged("what is taken", &mut || {
        for refused in [
            plan_export_in(&disk, source, native, None).err(),
            plan_import_in(&shared, native, to, None).err(),
            plan_redact_in(&disk, source, other, None).err(),
        ] {
            assert!(matches!(refused, Some(Error::Exists(_))), "{refused:?}");
        }
    });
}
