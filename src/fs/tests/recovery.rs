//! [`replace`] under every fault, and careless ways to do it, which the simulation must catch.

use super::*;

const PATH: &str = "/node/keys";
const SEEDS: u64 = 24;

type Replace = fn(&dyn Fs, &Path, &[u8]) -> Result<()>;

#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    Cut,
    Fail(io::ErrorKind),
}

const FAULTS: [Fault; 4] = [
    Fault::Cut,
    Fault::Fail(io::ErrorKind::StorageFull),
    Fault::Fail(io::ErrorKind::Other),
    Fault::Fail(io::ErrorKind::PermissionDenied),
];

/// Several sectors, and not a whole number of them.
fn bytes(version: u8) -> Vec<u8> {
    vec![version; 1300 + usize::from(version) * 700]
}

fn disk(old: Option<&[u8]>) -> SimFs {
    let disk = SimFs::new();
    disk.create_dir_all(Path::new("/node")).unwrap();
    if let Some(old) = old {
        disk.write_file(Path::new(PATH), old).unwrap();
    }
    disk
}

/// Whether the file is the old or the new one in every outcome; the first where it is not.
fn check(replace: Replace, old: Option<Vec<u8>>) -> core::result::Result<(), String> {
    let path = Path::new(PATH);
    let calm = disk(old.as_deref());
    let start = calm.operations();
    replace(&calm, path, &bytes(2)).map_err(|e| e.to_string())?;
    let count = calm.operations() - start;
    let faulty = (0..count).flat_map(|n| FAULTS.map(|fault| (n, fault)));
    for (n, fault) in core::iter::once((count, Fault::None)).chain(faulty) {
        let disk = disk(old.as_deref());
        match fault {
            Fault::None => {}
            Fault::Cut => disk.cut_at(n),
            Fault::Fail(kind) => disk.fail_at(n, kind),
        }
        let replaced = replace(&disk, path, &bytes(2));
        let judge = |disk: &SimFs, when: &str| {
            let found = disk.read_file(path);
            let new = found.as_ref() == Some(&bytes(2));
            if new || (replaced.is_err() && found == old) {
                return Ok(());
            }
            let found = found.map(|bytes| bytes.len());
            Err(format!("{fault:?} at {n}, {replaced:?}, {when}: found {found:?}"))
        };
        judge(&disk, "seen at once")?;
        for loss in Loss::ALL {
            for seed in 0..SEEDS {
                let up = disk.after_power_cut(*loss, seed);
                judge(&up, &format!("{loss:?} {seed}"))?;
                // It goes on from there, whatever lies about.
                replace(&up, path, &bytes(3)).map_err(|e| e.to_string())?;
                if up.paths() != [path] || up.read_file(path) != Some(bytes(3)) {
                    return Err(format!("{fault:?} at {n}, {loss:?} {seed}: not replaced again"));
                }
            }
        }
        // A caller that tries again without a crash in between.
        if matches!(fault, Fault::Fail(_)) && replaced.is_err() {
            replace(&disk, path, &bytes(3)).map_err(|e| e.to_string())?;
            for loss in Loss::ALL {
                for seed in 0..SEEDS {
                    if disk.after_power_cut(*loss, seed).read_file(path) != Some(bytes(3)) {
                        return Err(format!("{fault:?} at {n}, retried, {loss:?} {seed}: lost"));
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_replaced_file_is_the_old_or_the_new_one_whole() {
    check(replace, Some(bytes(1))).unwrap();
    // Also where the new one is the shorter one, or empty.
    check(replace, Some(bytes(9))).unwrap();
    check(replace, Some(Vec::new())).unwrap();
}

#[test]
fn a_file_is_created_whole_or_not_at_all() {
    check(replace, None).unwrap();
}

#[test]
fn a_failed_replacement_leaves_no_room_taken() {
    let disk = disk(Some(&bytes(1)));
    let path = Path::new(PATH);
    // Remove, create, write, sync, rename.
    for n in 2..5 {
        disk.fail_at(n, io::ErrorKind::StorageFull);
        match replace(&disk, path, &bytes(2)) {
            Err(Error::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::StorageFull),
            other => panic!("{other:?}"),
        }
        assert_eq!(disk.paths(), [path]);
        assert_eq!(disk.read_file(path), Some(bytes(1)));
    }
}

/// [`replace`] without its errors' names, to leave one step out of it.
fn careless(fs: &dyn Fs, path: &Path, bytes: &[u8], skip: &str) -> Result<()> {
    let temp = temp_name(path);
    let step = |name: &str, step: &mut dyn FnMut() -> io::Result<()>| {
        if name == skip { Ok(()) } else { step().map_err(|e| Error::io("step", path, e)) }
    };
    remove_stale(fs, path)?;
    let mut file = None;
    step("create", &mut || fs.create_new(&temp).map(|created| file = Some(created)))?;
    let file = file.ok_or(Error::Poisoned)?;
    step("write", &mut || file.write_all_at(bytes, 0))?;
    step("sync", &mut || file.sync())?;
    step("rename", &mut || fs.rename(&temp, path))?;
    step("sync the folder", &mut || fs.sync_dir(folder(path)))
}

/// Where `check` found the first fault of a careless way.
fn caught(replace: Replace) -> String {
    check(replace, Some(bytes(1))).expect_err("the simulation does not catch it")
}

#[test]
fn nothing_else_is_wrong_with_the_careless_ones() {
    check(|fs, path, bytes| careless(fs, path, bytes, ""), Some(bytes(1))).unwrap();
}

#[test]
fn a_missing_sync_of_the_file_is_caught() {
    let fault = caught(|fs, path, bytes| careless(fs, path, bytes, "sync"));
    assert!(fault.ends_with("Ok(()), Dropped 0: found Some(0)"), "{fault}");
}

#[test]
fn a_missing_sync_of_the_folder_is_caught() {
    let fault = caught(|fs, path, bytes| careless(fs, path, bytes, "sync the folder"));
    assert!(fault.ends_with("Ok(()), Dropped 0: found Some(2000)"), "{fault}");
}

#[test]
fn removing_the_old_file_first_is_caught() {
    let fault = caught(|fs, path, bytes| {
        fs.remove(path).map_err(|e| Error::io("remove", path, e))?;
        replace(fs, path, bytes)
    });
    assert!(fault.contains("found None"), "{fault}");
}

#[test]
fn writing_in_place_is_caught() {
    caught(|fs, path, bytes| {
        let io = |e| Error::io("step", path, e);
        let file = fs.open_write(path).map_err(io)?;
        file.set_len(0).map_err(io)?;
        file.write_all_at(bytes, 0).map_err(io)?;
        file.sync().map_err(io)
    });
}

#[test]
fn a_sync_tried_again_is_caught() {
    let fault = caught(|fs, path, bytes| {
        let (temp, io) = (temp_name(path), |e| Error::io("step", path, e));
        remove_stale(fs, path)?;
        let file = fs.create_new(&temp).map_err(io)?;
        file.write_all_at(bytes, 0).map_err(io)?;
        file.sync().or_else(|_| file.sync()).map_err(io)?;
        fs.rename(&temp, path).map_err(io)?;
        fs.sync_dir(folder(path)).map_err(io)
    });
    assert!(fault.contains("Fail") && fault.contains("Dropped"), "{fault}");
}

#[test]
fn created_folders_are_durable_also_after_a_crash_amid() {
    let deep = Path::new("/a/b/c");
    let calm = SimFs::new();
    calm.create_dir_all(deep).unwrap();
    for n in 0..=calm.operations() {
        let disk = SimFs::new();
        disk.cut_at(n);
        let created = disk.create_dir_all(deep);
        assert_eq!(created.is_ok(), n == calm.operations());
        for loss in Loss::ALL {
            for seed in 0..SEEDS {
                let up = disk.after_power_cut(*loss, seed);
                assert!(created.is_err() || up.list(deep).is_ok());
            }
        }
    }
    // A killed process syncs no more, and the next one finds the folder there.
    for n in 0..calm.operations() {
        let disk = SimFs::new();
        disk.cut_at(n);
        disk.create_dir_all(deep).unwrap_err();
        let next = disk.after_kill();
        next.create_dir_all(deep).unwrap();
        assert!(next.after_power_cut(Loss::Dropped, 0).list(deep).is_ok());
    }
}

/// After a failed sync the names that it was for count as durable, whatever becomes of them.
#[test]
fn a_directory_whose_name_may_be_lost_is_created_again() {
    let deep = Path::new("/a/b/c");
    let calm = SimFs::new();
    calm.create_dir_all(deep).unwrap();
    for n in 0..calm.operations() {
        let disk = SimFs::new();
        disk.fail_at(n, io::ErrorKind::Other);
        let Err(_) = disk.create_dir_all(deep) else { panic!("operation {n} did not fail") };
        disk.create_dir_all(deep).unwrap();
        for loss in Loss::ALL {
            for seed in 0..SEEDS {
                disk.after_power_cut(*loss, seed).list(deep).unwrap_or_else(|e| panic!("{n}: {e}"));
            }
        }
    }
}

/// Nobody's folder to read, as `/` may be in a container.
#[test]
fn only_what_is_there_already_may_be_in_a_folder_that_cannot_be_synced() {
    let disk = SimFs::new();
    disk.create_dir_all(Path::new("/a")).unwrap();
    // Create, list, sync.
    disk.fail_at(2, io::ErrorKind::PermissionDenied);
    disk.create_dir_all(Path::new("/a")).unwrap();
    disk.fail_at(2, io::ErrorKind::Other);
    disk.create_dir_all(Path::new("/a")).unwrap_err();
    // Create, sync the name of what it is in, sync.
    disk.fail_at(1, io::ErrorKind::PermissionDenied);
    disk.create_dir_all(Path::new("/a/x")).unwrap();
    disk.fail_at(2, io::ErrorKind::PermissionDenied);
    disk.create_dir_all(Path::new("/a/b")).unwrap_err();
}
