//! The node's daemon ends, in order or not, and another one goes on.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::Path;
use std::time::Duration;

use nodeseal::delivery::{Deliveries, Options};

use crate::namespace::{child, in_namespaces, role};
use crate::support::{PAYLOAD, assert_empty, assign, mounts, on_disk, task_id, tree, with_task};

/// How often a process is killed, in each namespace.
const KILLS: u64 = 25;

#[test]
fn living_tasks_keep_their_files_over_a_restart() {
    in_namespaces("crash::living_tasks_keep_their_files_over_a_restart", |_| {
        let disk = on_disk();
        let dir = disk.path().join("secrets");
        let mut assigned = with_task(&[("a", 0, 0, 0o444, PAYLOAD)]);
        assign(&mut assigned, "t2", 1, &[("a", 0, 0, 0o444, PAYLOAD)]);
        let folder = Deliveries::open(&dir, Options::new()).unwrap();
        for task in ["t1", "t2"] {
            folder.deliver(&assigned.task(&task_id(task)).unwrap()).unwrap().detach();
        }
        drop((folder, assigned));
        // The tasks read on while nobody is there.
        let mut open = File::open(dir.join("t1/a")).unwrap();
        let mut ended = File::open(dir.join("t2/a")).unwrap();

        let folder = Deliveries::open(&dir, Options::new()).unwrap();
        let mut found = folder.recover([task_id("t1"), task_id("t3")]).unwrap();
        assert_eq!(found.removed, ["t2"]);
        assert_eq!(found.lost, [task_id("t3")]);
        assert!(found.failed.is_empty(), "{:?}", found.failed);
        let mut kept = found.kept.pop().unwrap();
        assert!(found.kept.is_empty() && *kept.task() == task_id("t1"));
        let mut text = Vec::new();
        open.read_to_end(&mut text).unwrap();
        assert_eq!(text, PAYLOAD);
        text.clear();
        ended.rewind().unwrap();
        ended.read_to_end(&mut text).unwrap();
        assert_eq!(text, [0; PAYLOAD.len()]);
        assert!(!dir.join("t2").exists());
        let lines = mounts(&dir);
        assert!(lines.len() == 1 && lines[0].contains(" ro,nosuid,nodev,noexec"), "{lines:?}");

        // The same again changes nothing; a new version comes.
        let mut assigned = with_task(&[("a", 0, 0, 0o444, PAYLOAD)]);
        assert_eq!(kept.update(&assigned.task(&task_id("t1")).unwrap()).unwrap(), []);
        assign(&mut assigned, "t1", 2, &[("a", 0, 0, 0o444, b"next")]);
        assert_eq!(kept.update(&assigned.task(&task_id("t1")).unwrap()).unwrap().len(), 1);
        assert_eq!(fs::read(dir.join("t1/a")).unwrap(), b"next");
        assert!(File::create(dir.join("t1/b")).is_err(), "read-only as before");
        kept.release().unwrap();
        assert_empty(&dir);
    });
}

#[test]
fn what_another_mounted_is_left_alone() {
    in_namespaces("crash::what_another_mounted_is_left_alone", |_| {
        let disk = on_disk();
        let dir = disk.path().join("secrets");
        drop(Deliveries::open(&dir, Options::new()).unwrap());
        fs::create_dir(dir.join("t1")).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "other"])
            .arg(dir.join("t1"))
            .status()
            .unwrap();
        assert!(mounted.success());
        File::create(dir.join("t1/file")).unwrap();
        let folder = Deliveries::open(&dir, Options::new()).unwrap();
        let found = folder.recover([]).unwrap();
        assert!(found.removed.is_empty() && found.failed.len() == 1);
        assert!(dir.join("t1/file").exists());
    });
}

/// A process that delivers, updates and releases is killed again and again. What has its name then is
/// whole; what lives on is kept, the rest goes.
#[test]
fn a_killed_process_leaves_whole_files_or_none() {
    const NAME: &str = "crash::a_killed_process_leaves_whole_files_or_none";
    if let Some(dir) = role() {
        deliver_for_ever(Path::new(&dir));
    }
    in_namespaces(NAME, |_| {
        let disk = on_disk();
        let dir = disk.path().join("secrets");
        let (mut seen, mut kept) = (0, 0);
        for round in 0..KILLS {
            let mut process = child(NAME, dir.to_str().unwrap()).spawn().unwrap();
            while !dir.join("nodeseal.lock").exists() {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_micros(15_000 + round * 1_700));
            process.kill().unwrap();
            process.wait().unwrap();

            let folder = Deliveries::open(&dir, Options::new()).unwrap();
            // The task of an even number runs on.
            let running = [0, 2].map(|n| task_id(&format!("t{n}")));
            for line in mounts(&dir) {
                let path = line.split(' ').nth(4).unwrap();
                seen += 1;
                whole(Path::new(path));
            }
            let found = folder.recover(running).unwrap();
            assert!(found.failed.is_empty(), "{:?}", found.failed);
            assert_eq!(found.kept.len() + found.lost.len(), 2);
            assert_eq!(mounts(&dir).len(), found.kept.len());
            for delivery in found.kept {
                kept += 1;
                whole(delivery.path());
                assert!(!delivery.path().join(".nodeseal").exists());
                delivery.release().unwrap();
            }
            assert_empty(&dir);
        }
        assert!(seen > 0 && kept > 0, "{seen} seen, {kept} kept: killed too early");
    });
}

/// Both files of one of the payloads, each of them whole.
fn whole(dir: &Path) {
    for (path, content) in tree(dir) {
        let Some(content) = content else { continue };
        // What a killed update left unfinished has no name yet; a killed release overwrote a part.
        if path.to_string_lossy().contains("/.nodeseal/") {
            continue;
        }
        assert_eq!(content.len(), 100_000, "{}", path.display());
        let left: Vec<u8> = content.into_iter().skip_while(|byte| *byte == 0).collect();
        assert!(left.iter().all(|byte| *byte == left[0]), "{}", path.display());
    }
}

fn deliver_for_ever(dir: &Path) -> ! {
    let payload = |n: u64| vec![b'a' + u8::try_from(n % 20).unwrap(); 100_000];
    let folder = Deliveries::open(dir, Options::new()).unwrap();
    let mut assigned = with_task(&[]);
    let mut version = 1;
    loop {
        let mut living = Vec::new();
        for n in 0..3 {
            let (task, content) = (format!("t{n}"), payload(n));
            version += 1;
            let files = [("a", 0, 0, 0o444, &content[..]), ("d/b", 0, 0, 0o400, &content[..])];
            assign(&mut assigned, &task, version, &files);
            living.push(folder.deliver(&assigned.task(&task_id(&task)).unwrap()).unwrap());
        }
        for (n, delivery) in (3..).zip(&mut living) {
            let content = payload(n);
            version += 1;
            let files = [("a", 0, 0, 0o444, &content[..]), ("d/b", 0, 0, 0o400, &content[..])];
            assign(&mut assigned, delivery.task().clone().as_str(), version, &files);
            delivery.update(&assigned.task(delivery.task()).unwrap()).unwrap();
        }
        for delivery in living {
            delivery.release().unwrap();
        }
    }
}
