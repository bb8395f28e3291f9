//! Names and links that lead elsewhere.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nodeseal::Error;
use nodeseal::delivery::{Deliveries, Options};
use nodeseal::grant::Target;

use crate::namespace::{As, child, in_namespaces, role};
use crate::support::{Over, PAYLOAD, assert_empty, assign, on_disk, task_id, with_task};

#[test]
fn names_that_lead_elsewhere_are_refused_and_leave_nothing() {
    for name in ["", "/", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "a/", "./a", "a\0b"] {
        assert!(Target::new(name).is_err(), "{name:?}");
    }
    in_namespaces("hostile::names_that_lead_elsewhere_are_refused_and_leave_nothing", |who| {
        let disk = on_disk();
        let dir = disk.path().join("secrets");
        let folder = Deliveries::open(&dir, Options::new()).unwrap();
        let refused = |targets: &[&str], uid: u32| {
            let files: Vec<_> =
                targets.iter().map(|target| (*target, uid, 0, 0o444, PAYLOAD)).collect();
            let assigned = with_task(&files);
            let refused = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap_err();
            assert_empty(&dir);
            refused
        };
        assert!(matches!(refused(&["a", "a"], 0), Error::Misuse(_)));
        assert!(matches!(refused(&[".nodeseal"], 0), Error::Misuse(_)));
        assert!(matches!(refused(&[".nodeseal/0"], 0), Error::Misuse(_)));
        let deep = ["d"; 40].join("/");
        assert!(matches!(refused(&[&deep], 0), Error::Misuse(_)));
        for targets in [["a", "a/b"], ["a/b", "a"]] {
            assert!(matches!(refused(&targets, 0), Error::Io { .. }));
        }
        if who == As::User {
            let refused = refused(&["a"], 7);
            assert!(matches!(refused, Error::Unsupported { .. }), "{refused}");
            assert!(refused.to_string().contains("uid 7"), "{refused}");
        }
        let mut assigned = with_task(&[]);
        assign(&mut assigned, "nodeseal.lock", 1, &[("a", 0, 0, 0o444, PAYLOAD)]);
        let refused = folder.deliver(&assigned.task(&task_id("nodeseal.lock")).unwrap());
        assert!(matches!(refused, Err(Error::Misuse(_))));
        assert_empty(&dir);
    });
}

/// Without the right to mount, the error says so; in place it works, for the process's own user.
#[test]
fn a_process_that_may_not_mount_is_told_so() {
    const NAME: &str = "hostile::a_process_that_may_not_mount_is_told_so";
    if let Some(dir) = role() {
        let dir = Path::new(&dir);
        let owner = fs::metadata(dir).unwrap();
        let (uid, gid) = (owner.uid(), owner.gid());
        let assigned = with_task(&[("a", uid, gid, 0o040, PAYLOAD)]);
        let secrets = assigned.task(&task_id("t1")).unwrap();
        let folder = Deliveries::open(dir.join("mounted"), Options::new()).unwrap();
        let refused = folder.deliver(&secrets).unwrap_err();
        let Error::Io { op: "mount a tmpfs for", source, .. } = refused else {
            panic!("{refused}")
        };
        assert_eq!(source.kind(), ErrorKind::PermissionDenied);
        assert_empty(&dir.join("mounted"));

        let folder = Deliveries::open(dir.join("placed"), Options::new().in_place()).unwrap();
        let delivery = folder.deliver(&secrets).unwrap();
        assert_eq!(fs::metadata(delivery.path().join("a")).unwrap().mode() & 0o7777, 0o040);
        // Overwritten although its mode lets not even its owner write.
        delivery.release().unwrap();
        assert_empty(&dir.join("placed"));
        let others = with_task(&[("a", 0, 0, 0o444, PAYLOAD)]);
        let refused = folder.deliver(&others.task(&task_id("t1")).unwrap()).unwrap_err();
        assert!(matches!(refused, Error::Io { op: "chown", .. }), "{refused}");
        assert_empty(&dir.join("placed"));
        return;
    }
    in_namespaces(NAME, |who| {
        if who == As::User {
            return;
        }
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        std::os::unix::fs::chown(memory.path(), Some(65534), Some(65534)).unwrap();
        let this = child(NAME, memory.path().to_str().unwrap());
        let nobody = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(this.get_program())
            .args(this.get_args())
            .envs(this.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .status();
        match nobody {
            // 126 and 127: setpriv cannot run it, for example because this user may not read it.
            Ok(status) if !matches!(status.code(), Some(126 | 127)) => assert!(status.success()),
            _ => println!("SKIPPED: the test cannot be run as another user here"),
        }
    });
}

#[test]
fn a_name_that_is_taken_is_refused() {
    in_namespaces("hostile::a_name_that_is_taken_is_refused", |_| {
        let disk = on_disk();
        let (dir, outside) = (disk.path().join("secrets"), disk.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        let assigned = with_task(&[("a", 0, 0, 0o444, PAYLOAD)]);
        let folder = Deliveries::open(&dir, Options::new()).unwrap();
        let delivery = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap();
        let again = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap_err();
        assert!(matches!(again, Error::Exists(_)), "{again}");
        assert_eq!(fs::read(delivery.path().join("a")).unwrap(), PAYLOAD, "the first one stays");
        drop(delivery);
        symlink(&outside, dir.join("t1")).unwrap();
        let through = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap_err();
        assert!(matches!(through, Error::Exists(_)), "{through}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        // What is no folder is not ours to remove.
        assert!(folder.recover([]).unwrap().removed.is_empty());
        assert!(dir.join("t1").is_symlink());
    });
}

/// In a folder that somebody else may write into, names are swapped for symbolic links all the while.
/// Whatever fails then, no file outside is written, read or removed.
#[test]
fn swapped_names_lead_nowhere() {
    in_namespaces("hostile::swapped_names_lead_nowhere", |_| {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let (dir, outside) = (memory.path().join("secrets"), memory.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fs::write(outside.join("key"), b"not to be touched").unwrap();
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
                assert_eq!(fs::read(outside.join("key")).unwrap(), b"not to be touched");
                assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
            }
        });
        assert!(fine >= 20 && refused >= 20, "{fine} fine, {refused} refused: no race");
        // Wiping follows no link either.
        let _ = fs::remove_dir_all(&real);
        symlink(&outside, &real).unwrap();
        fs::hard_link(outside.join("key"), delivery.path().join("hard")).unwrap();
        symlink(outside.join("key"), delivery.path().join("soft")).unwrap();
        delivery.release().unwrap();
        assert_empty(&dir);
        assert_eq!(fs::read(outside.join("key")).unwrap(), b"not to be touched");
    });
}
