//! Deliveries come, change and go.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nodeseal::Error;
use nodeseal::delivery::{Deliveries, Missing, Options};
use rustix::fs::StatVfsMountFlags;

use crate::namespace::{As, in_namespaces};
use crate::support::{
    Events, Over, PAYLOAD, assert_empty, assign, contains, mounts, on_disk, task_id, tree,
    with_task,
};

#[test]
fn files_have_owner_and_mode_and_their_mount_its_flags() {
    in_namespaces("life::files_have_owner_and_mode_and_their_mount_its_flags", |who| {
        let dir = on_disk();
        let dir = dir.path().join("secrets");
        // In the user namespace there is only root.
        let (uid, gid) = if who == As::Root { (7, 8) } else { (0, 0) };
        let files = [
            ("db_password", 0, 0, 0o444, PAYLOAD),
            ("tls/key.pem", uid, gid, 0o440, b"-----BEGIN".as_slice()),
            ("run.sh", uid, 0, 0o777, b"#!/bin/sh\n"),
            ("nobody", 0, 0, 0, b"x"),
        ];
        let assigned = with_task(&files);
        let folder = Deliveries::open(&dir, Options::new()).unwrap();
        let delivery = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap();
        assert_eq!(delivery.path(), dir.join("t1"));
        for (target, uid, gid, mode, payload) in files {
            let path = delivery.path().join(target);
            let meta = fs::symlink_metadata(&path).unwrap();
            assert!(meta.is_file(), "{target}");
            assert_eq!(
                (meta.uid(), meta.gid(), meta.mode() & 0o7777),
                (uid, gid, mode),
                "{target}"
            );
            assert_eq!(fs::read(&path).unwrap(), payload);
        }
        // Nothing else is there, and its users pass.
        assert_eq!(tree(delivery.path()).len(), files.len() + 1);
        assert_eq!(fs::metadata(delivery.path()).unwrap().mode() & 0o7777, 0o755);
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o700);

        let lines = mounts(&dir);
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        let (mount, system) = line.split_once(" - ").unwrap();
        let options: Vec<&str> = mount.split(' ').nth(5).unwrap().split(',').collect();
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(options.contains(&flag), "{line}");
        }
        assert!(system.starts_with("tmpfs nodeseal "), "{line}");
        assert!(system.contains("size=4096k") && system.contains("nr_inodes="), "{line}");
        let missing = delivery.report().missing().to_vec();
        if system.contains("noswap") {
            assert_eq!(missing, []);
        } else {
            assert!(matches!(missing[..], [Missing::NoSwap { .. }]), "{missing:?}");
            assert!(missing[0].to_string().starts_with("noswap is not set"));
        }
        // The process's own mount of it, by which new versions come, has all flags but `ro`.
        let device = fs::metadata(delivery.path()).unwrap().dev();
        let handles = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
        let mut own = 0;
        for handle in handles.filter(|it| fs::metadata(it).is_ok_and(|it| it.dev() == device)) {
            let set = rustix::fs::statvfs(&handle).unwrap().f_flag;
            let kept =
                StatVfsMountFlags::NOSUID | StatVfsMountFlags::NODEV | StatVfsMountFlags::NOEXEC;
            assert!(set.contains(kept) && !set.contains(StatVfsMountFlags::RDONLY), "{set:?}");
            own += 1;
        }
        assert!(own > 0);
        let new = File::create(delivery.path().join("new")).unwrap_err();
        assert_eq!(new.kind(), io::ErrorKind::ReadOnlyFilesystem);
        let run = Command::new(delivery.path().join("run.sh")).status().unwrap_err();
        assert_eq!(run.kind(), io::ErrorKind::PermissionDenied);

        delivery.release().unwrap();
        assert_empty(&dir);
    });
}

/// A mount that others are told of is said to be no private one.
#[test]
fn a_folder_on_a_shared_mount_is_reported() {
    in_namespaces("life::a_folder_on_a_shared_mount_is_reported", |_| {
        let disk = on_disk();
        let mount = |args: &[&str]| {
            let done = Command::new("mount").args(args).arg(disk.path()).status().unwrap();
            assert!(done.success(), "{args:?}");
        };
        mount(&["--bind", disk.path().to_str().unwrap()]);
        let folder = Deliveries::open(disk.path().join("secrets"), Options::new()).unwrap();
        let assigned = with_task(&[("a", 0, 0, 0o444, PAYLOAD)]);
        let report = || {
            let delivery = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap();
            delivery.report().missing().contains(&Missing::Private)
        };
        assert!(!report());
        mount(&["--make-shared"]);
        assert!(report());
    });
}

#[test]
fn noswap_can_be_required() {
    in_namespaces("life::noswap_can_be_required", |who| {
        let dir = on_disk();
        let dir = dir.path().join("secrets");
        let assigned = with_task(&[("a", 0, 0, 0o444, PAYLOAD)]);
        let folder = Deliveries::open(&dir, Options::new().require_no_swap()).unwrap();
        match folder.deliver(&assigned.task(&task_id("t1")).unwrap()) {
            Ok(delivery) => {
                assert_eq!(who, As::Root);
                assert_eq!(delivery.report().missing(), []);
            }
            Err(error) => assert!(matches!(error, Error::Unsupported { what: "tmpfs", .. })),
        }
        assert_empty(&dir);
    });
}

#[test]
fn a_full_tmpfs_is_an_error_and_changes_nothing() {
    in_namespaces("life::a_full_tmpfs_is_an_error_and_changes_nothing", |_| {
        let dir = on_disk();
        let dir = dir.path().join("secrets");
        let page = [b'p'; 4096];
        let mut assigned = with_task(&[
            ("a", 0, 0, 0o444, &page),
            ("b", 0, 0, 0o444, &page),
            ("c", 0, 0, 0o444, &page),
        ]);
        let folder = Deliveries::open(&dir, Options::new().size_limit(8192)).unwrap();
        let refused = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap_err();
        let Error::Io { op: "write", source, .. } = refused else { panic!("{refused}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert_empty(&dir);

        // One page for a file, none for its next version beside the other one's.
        let files = |byte: u8| [[byte; 4096], [byte + 1; 4096]];
        let [a, b] = files(b'0');
        assign(&mut assigned, "t1", 2, &[("a", 0, 0, 0o444, &a)]);
        let mut delivery = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap();
        assign(&mut assigned, "t1", 3, &[("a", 0, 0, 0o444, &b), ("b", 0, 0, 0o444, &b)]);
        let refused = delivery.update(&assigned.task(&task_id("t1")).unwrap()).unwrap_err();
        assert!(matches!(refused, Error::Io { op: "write", .. }), "{refused}");
        let there = tree(delivery.path());
        assert_eq!(there, [(delivery.path().join("a"), Some(a.to_vec()))]);
        assign(&mut assigned, "t1", 4, &[("a", 0, 0, 0o444, &b)]);
        delivery.update(&assigned.task(&task_id("t1")).unwrap()).unwrap();
        assert_eq!(fs::read(delivery.path().join("a")).unwrap(), b);
        drop(delivery);
        assert_empty(&dir);
    });
}

#[test]
fn an_update_changes_what_is_other_and_takes_away_what_is_not_granted() {
    in_namespaces(
        "life::an_update_changes_what_is_other_and_takes_away_what_is_not_granted",
        |_| {
            let dir = on_disk();
            let dir = dir.path().join("secrets");
            let files = [
                ("same", 0, 0, 0o444, b"same".as_slice()),
                ("d/next", 0, 0, 0o444, b"version one"),
                ("mode", 0, 0, 0o444, b"mode"),
                ("e/f/gone", 0, 0, 0o400, b"gone"),
                ("d/gone", 0, 0, 0o400, b"gone"),
            ];
            let mut assigned = with_task(&files);
            let events = Arc::new(Events::default());
            let sink = Arc::clone(&events) as Arc<_>;
            let folder = Deliveries::open_audited(&dir, Options::new(), sink).unwrap();
            let mut delivery = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap();
            assert_eq!(
                events.take(),
                [
                    "deliver s0 same",
                    "deliver s1 d/next",
                    "deliver s2 mode",
                    "deliver s3 e/f/gone",
                    "deliver s4 d/gone"
                ]
            );
            let mut old = File::open(delivery.path().join("d/next")).unwrap();
            let mut revoked = File::open(delivery.path().join("d/gone")).unwrap();
            let inode = |name: &str| fs::metadata(delivery.path().join(name)).unwrap().ino();
            let (same, next) = (inode("same"), inode("d/next"));

            let files = [
                ("same", 0, 0, 0o444, b"same".as_slice()),
                ("d/next", 0, 0, 0o444, b"version two"),
                ("mode", 0, 0, 0o400, b"mode"),
            ];
            assign(&mut assigned, "t1", 2, &files);
            let changed = delivery.update(&assigned.task(&task_id("t1")).unwrap()).unwrap();
            let changed: Vec<&str> = changed.iter().map(|target| target.as_str()).collect();
            assert_eq!(changed, ["d/next", "mode"]);
            let inode = |name: &str| fs::metadata(delivery.path().join(name)).unwrap().ino();
            assert!(inode("same") == same && inode("d/next") != next);
            assert_eq!(fs::read(delivery.path().join("d/next")).unwrap(), b"version two");
            assert_eq!(tree(delivery.path()).len(), 4, "three files and a folder");

            // Who has the old version open keeps it; what was taken away is overwritten.
            let mut text = String::new();
            old.read_to_string(&mut text).unwrap();
            assert_eq!(text, "version one");
            let mut bytes = Vec::new();
            revoked.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, [0; 4]);
            let unchanged = delivery.update(&assigned.task(&task_id("t1")).unwrap()).unwrap();
            assert_eq!(unchanged, []);
            // The sink hears of versions, not of files: every one is another version now.
            assert_eq!(&events.take()[..2], ["deliver s1 d/next", "deliver s2 mode"]);

            let mut held = File::open(delivery.path().join("same")).unwrap();
            delivery.release().unwrap();
            assert_eq!(events.take().len(), 3);
            let mut bytes = Vec::new();
            held.rewind().unwrap();
            held.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, [0; 4], "released means overwritten");
            assert_empty(&dir);
        },
    );
}

#[test]
fn a_reader_sees_the_old_version_or_the_new_one_whole() {
    in_namespaces("life::a_reader_sees_the_old_version_or_the_new_one_whole", |_| {
        let dir = on_disk();
        let dir = dir.path().join("secrets");
        let (one, other) = (vec![b'1'; 200_000], vec![b'2'; 100_000]);
        let mut assigned = with_task(&[("a", 0, 0, 0o444, &one)]);
        let folder = Deliveries::open(&dir, Options::new()).unwrap();
        let mut delivery = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap();
        let path = delivery.path().join("a");
        let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let read = fs::read(&path).unwrap();
                    assert!(read == one || read == other, "{} bytes", read.len());
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
            let _over = Over(&done);
            let mut version = 1;
            while !reader.is_finished() && (version < 200 || reads.load(Ordering::Relaxed) < 200) {
                version += 1;
                let payload = if version % 2 == 0 { &other } else { &one };
                assign(&mut assigned, "t1", version, &[("a", 0, 0, 0o444, payload)]);
                delivery.update(&assigned.task(&task_id("t1")).unwrap()).unwrap();
            }
        });
    });
}

#[test]
fn what_cannot_be_recorded_is_not_delivered() {
    in_namespaces("life::what_cannot_be_recorded_is_not_delivered", |_| {
        let dir = on_disk();
        let dir = dir.path().join("secrets");
        let mut assigned = with_task(&[("a", 0, 0, 0o444, PAYLOAD)]);
        let events = Arc::new(Events::default());
        let sink = Arc::clone(&events) as Arc<_>;
        let folder = Deliveries::open_audited(&dir, Options::new(), sink).unwrap();
        events.refuse(true);
        let refused = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap_err();
        assert!(matches!(refused, Error::Poisoned));
        assert_empty(&dir);
        events.refuse(false);
        let mut delivery = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap();
        events.refuse(true);
        assign(&mut assigned, "t1", 2, &[("a", 0, 0, 0o444, b"next")]);
        assert!(delivery.update(&assigned.task(&task_id("t1")).unwrap()).is_err());
        assert_eq!(fs::read(delivery.path().join("a")).unwrap(), PAYLOAD);
        // Taking away does not wait for anybody.
        assert!(matches!(delivery.release(), Err(Error::Poisoned)));
        assert_empty(&dir);
    });
}

#[test]
fn a_folder_that_is_not_in_memory_is_refused_unless_told_otherwise() {
    in_namespaces("life::a_folder_that_is_not_in_memory_is_refused_unless_told_otherwise", |_| {
        let disk = on_disk();
        let dir = disk.path().join("secrets");
        let refused = Deliveries::open(&dir, Options::new().in_place()).unwrap_err();
        assert!(matches!(refused, Error::NotInMemory(path) if path == dir));
        let assigned = with_task(&[("d/a", 0, 0, 0o400, PAYLOAD)]);
        let deliver = |dir: &Path, options: Options| {
            let folder = Deliveries::open(dir, options).unwrap();
            let delivery = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap();
            assert_eq!(fs::read(delivery.path().join("d/a")).unwrap(), PAYLOAD);
            assert_eq!(mounts(dir), Vec::<String>::new());
            let missing = delivery.report().missing().to_vec();
            drop(delivery);
            assert_empty(dir);
            missing
        };
        let missing = deliver(&dir, Options::new().in_place().allow_disk());
        assert!(missing.contains(&Missing::Memory) && missing.contains(&Missing::OwnMount));
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let missing = deliver(&memory.path().join("s"), Options::new().in_place());
        assert!(!missing.contains(&Missing::Memory) && missing.contains(&Missing::Flag("ro")));
        assert!(missing.iter().any(|missing| matches!(missing, Missing::NoSwap { .. })));
    });
}

#[test]
fn a_folder_has_one_owner_and_holds_nothing_else() {
    in_namespaces("life::a_folder_has_one_owner_and_holds_nothing_else", |who| {
        let disk = on_disk();
        let dir = disk.path().join("secrets");
        let folder = Deliveries::open(&dir, Options::new()).unwrap();
        assert!(matches!(Deliveries::open(&dir, Options::new()), Err(Error::Busy(_))));
        drop(folder);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(Deliveries::open(&dir, Options::new()), Err(Error::Misuse(_))));
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        // A link to it is not it; and a stranger's folder is not ours, whoever gave it to us.
        let link = disk.path().join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        assert!(matches!(Deliveries::open(&link, Options::new()), Err(Error::Io { .. })));
        if who == As::Root {
            std::os::unix::fs::chown(&dir, Some(7), None).unwrap();
            assert!(matches!(Deliveries::open(&dir, Options::new()), Err(Error::Misuse(_))));
        }
        let home = disk.path().join("home");
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        fs::create_dir(home.join("letters")).unwrap();
        assert!(matches!(Deliveries::open(&home, Options::new()), Err(Error::Misuse(_))));
        assert!(home.join("letters").exists());
    });
}

/// The disk below the folder is searched, to the last block of it where the machine has loop devices.
#[test]
fn no_byte_of_a_payload_is_on_the_disk_afterwards() {
    in_namespaces("life::no_byte_of_a_payload_is_on_the_disk_afterwards", |_| {
        let disk = on_disk();
        let (image, mount) = (disk.path().join("image"), disk.path().join("mount"));
        fs::create_dir(&mount).unwrap();
        File::create(&image).unwrap().set_len(8 << 20).unwrap();
        let run = |program: &str, args: &[&std::ffi::OsStr]| {
            Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
        };
        let (i, m) = (image.as_os_str(), mount.as_os_str());
        let looped = run("mkfs.ext4", &["-q".as_ref(), i])
            && run("mount", &["-o".as_ref(), "loop".as_ref(), i, m]);
        if !looped {
            println!("no loop device here: the folder's files alone are searched");
        }
        let dir = mount.join("secrets");
        let long = PAYLOAD.repeat(4000);
        let mut assigned = with_task(&[("a", 0, 0, 0o444, PAYLOAD), ("d/b", 0, 0, 0o400, &long)]);
        let folder = Deliveries::open(&dir, Options::new()).unwrap();
        let mut delivery = folder.deliver(&assigned.task(&task_id("t1")).unwrap()).unwrap();
        assign(&mut assigned, "t1", 2, &[("a", 0, 0, 0o444, &long), ("d/b", 0, 0, 0o400, PAYLOAD)]);
        delivery.update(&assigned.task(&task_id("t1")).unwrap()).unwrap();
        delivery.release().unwrap();
        assert_empty(&dir);
        drop(folder);
        // A file that is written to this disk is found, so that the search means something.
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fs::write(mount.join("written"), b"found by the search").unwrap();
        let files: Vec<u8> =
            tree(&mount).into_iter().filter_map(|(_, file)| file).flatten().collect();
        if looped {
            assert!(run("umount", &[m]));
        }
        let searched = if looped { fs::read(&image).unwrap() } else { files };
        assert!(contains(&searched, b"found by the search"));
        assert!(!contains(&searched, PAYLOAD));
    });
}
