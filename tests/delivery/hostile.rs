//! Names and links that lead elsewhere.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use nodeseal::Error;
use nodeseal::delivery::{Deliveries, Options};
use nodeseal::grant::Target;

use crate::namespace::{As, child, in_namespaces, role};
use crate::support::{PAYLOAD, assert_empty, assign, on_disk, task_id, with_task};

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
        let found = folder.recover([]).unwrap();
        assert!(found.removed.is_empty() && found.failed.is_empty(), "{:?}", found.failed);
        assert!(dir.join("t1").is_symlink());
    });
}

/// A symbolic link to a file that is just as it should be is not that file.
#[test]
fn a_link_in_a_files_place_is_replaced() {
    in_namespaces("hostile::a_link_in_a_files_place_is_replaced", |_| {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let (dir, outside) = (memory.path().join("secrets"), memory.path().join("outside"));
        let assigned = with_task(&[("a", 0, 0, 0o400, PAYLOAD)]);
        let folder = Deliveries::open(&dir, Options::new().in_place()).unwrap();
        let mut delivery = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap();
        let file = delivery.path().join("a");
        #[expect(clippy::disallowed_methods, reason = "an attacker's")]
        fs::rename(&file, &outside).unwrap();
        symlink(&outside, &file).unwrap();
        assert_eq!(delivery.update(&assigned.task(&task_id("t1")).unwrap()).unwrap().len(), 1);
        assert!(fs::symlink_metadata(&file).unwrap().is_file());
        assert_eq!(fs::read(&outside).unwrap(), PAYLOAD, "not ours any more");
        delivery.release().unwrap();
        assert_empty(&dir);
    });
}
