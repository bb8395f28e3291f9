//! Somebody else who may write into the folder changes names all the while.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nodeseal::delivery::{Deliveries, Options};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::namespace::in_namespaces;
use crate::support::{Over, PAYLOAD, assert_empty, assign, task_id, with_task};

/// Names are swapped for symbolic links. Whatever fails then, no file outside is written, read or removed.
#[test]
fn swapped_names_lead_nowhere() {
    in_namespaces("races::swapped_names_lead_nowhere", |_| {
        let (memory, key) = outside();
        let (dir, outside) = (memory.path().join("secrets"), memory.path().join("outside"));
        let mut assigned = with_task(&[("d/key", 0, 0, 0o400, PAYLOAD)]);
        let folder = Deliveries::open(&dir, Options::new().in_place()).unwrap();
        let mut delivery = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap();
        let (real, away) = (delivery.path().join("d"), memory.path().join("away"));
        let done = AtomicBool::new(false);
        let (mut fine, mut refused) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    #[expect(clippy::disallowed_methods, reason = "an attacker's")]
                    let moved = fs::rename(&real, &away);
                    if moved.is_ok() {
                        let _ = symlink(&outside, &real);
                        // Long enough to be met, wherever the threads run.
                        std::thread::sleep(Duration::from_micros(50));
                        let _ = fs::remove_file(&real);
                        // A folder may have been made meanwhile.
                        let _ = fs::remove_dir_all(&real);
                        #[expect(clippy::disallowed_methods, reason = "an attacker's")]
                        let _ = fs::rename(&away, &real);
                    }
                    std::thread::sleep(Duration::from_micros(50));
                }
            });
            let _over = Over(&done);
            let mut version = 1;
            while version < 500 || ((fine < 20 || refused < 20) && version < 100_000) {
                version += 1;
                let payload = format!("payload {version}");
                let files = [("d/key", 0, 0, 0o400, payload.as_bytes())];
                assign(&mut assigned, "t1", version, &files);
                match delivery.update(&assigned.task(&task_id("t1")).unwrap()) {
                    Ok(_) => fine += 1,
                    Err(_) => refused += 1,
                }
                untouched(&key);
            }
        });
        assert!(fine >= 20 && refused >= 20, "{fine} fine, {refused} refused: no race");
        // Wiping follows no link either.
        let _ = fs::remove_dir_all(&real);
        symlink(&outside, &real).unwrap();
        fs::hard_link(&key, delivery.path().join("hard")).unwrap();
        symlink(&key, delivery.path().join("soft")).unwrap();
        delivery.release().unwrap();
        assert_empty(&dir);
        untouched(&key);
    });
}

/// As [`swapped_names_lead_nowhere`], for what is overwritten and removed: between the look at a name
/// and its opening a link may take its place.
#[test]
fn swapped_names_lead_nowhere_when_they_are_removed() {
    in_namespaces("races::swapped_names_lead_nowhere_when_they_are_removed", |_| {
        let (memory, key) = outside();
        let dir = memory.path().join("secrets");
        let mut assigned = with_task(&[("stays", 0, 0, 0o400, PAYLOAD)]);
        let folder = Deliveries::open(&dir, Options::new().in_place()).unwrap();
        let mut delivery = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap();
        let task = delivery.path().to_owned();
        let done = AtomicBool::new(false);
        let swapped = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for (name, to) in [("file", key.as_path()), ("folder", key.parent().unwrap())] {
                let (real, link) = (task.join(name), memory.path().join(name));
                let (done, swapped) = (&done, &swapped);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        // What it was exchanged for.
                        let _ = fs::remove_file(&link);
                        let _ = fs::remove_dir_all(&link);
                        let _ = symlink(to, &link);
                        for _ in 0..8 {
                            // Between one call and the next of whoever looks at the name.
                            let done = renameat_with(CWD, &real, CWD, &link, RenameFlags::EXCHANGE);
                            swapped.fetch_add(u64::from(done.is_ok()), Ordering::Relaxed);
                        }
                    }
                });
            }
            let _over = Over(&done);
            let mut version = 1;
            while version < 4000 || (swapped.load(Ordering::Relaxed) < 200 && version < 100_000) {
                version += 2;
                let stays = ("stays", 0, 0, 0o400, PAYLOAD);
                let more = [stays, ("file", 0, 0, 0o600, PAYLOAD), ("folder/a", 0, 0, 0o600, b"x")];
                for files in [&more[..], &more[..1]] {
                    assign(&mut assigned, "t1", version, files);
                    // Fails or not, as the race goes.
                    let _ = delivery.update(&assigned.task(&task_id("t1")).unwrap());
                }
                untouched(&key);
            }
        });
        assert!(swapped.load(Ordering::Relaxed) >= 200, "no race");
        delivery.release().unwrap();
        untouched(&key);
    });
}

/// Links put where a file is about to be written, before it has its name.
#[test]
fn nothing_is_written_through_a_name_that_was_there_first() {
    in_namespaces("races::nothing_is_written_through_a_name_that_was_there_first", |_| {
        let (memory, key) = outside();
        let dir = memory.path().join("secrets");
        let mut assigned = with_task(&[("a", 0, 0, 0o400, PAYLOAD)]);
        let folder = Deliveries::open(&dir, Options::new().in_place()).unwrap();
        let mut delivery = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap();
        let staging = delivery.path().join(".nodeseal");
        let done = AtomicBool::new(false);
        let mut refused = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = fs::hard_link(&key, staging.join("0"));
                    let _ = symlink(&key, staging.join("1"));
                }
            });
            let _over = Over(&done);
            let mut version = 1;
            while version < 2000 || (refused < 20 && version < 100_000) {
                version += 1;
                let payload = format!("payload {version}");
                let file = |name| (name, 0, 0, 0o400, payload.as_bytes());
                assign(&mut assigned, "t1", version, &[file("a"), file("b")]);
                let updated = delivery.update(&assigned.task(&task_id("t1")).unwrap());
                refused += u32::from(updated.is_err());
                untouched(&key);
            }
        });
        assert!(refused >= 20, "{refused} refused: no race");
        delivery.release().unwrap();
        untouched(&key);
    });
}

/// Memory in which `outside/key` is not ours.
fn outside() -> (tempfile::TempDir, PathBuf) {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let key = memory.path().join("outside/key");
    fs::create_dir(key.parent().unwrap()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fs::write(&key, b"not to be touched").unwrap();
    (memory, key)
}

#[track_caller]
fn untouched(key: &Path) {
    assert_eq!(fs::read(key).unwrap(), b"not to be touched");
    assert_eq!(fs::read_dir(key.parent().unwrap()).unwrap().count(), 1);
}
