//! The store on real file systems, on a disk that loses power or fails a write.
//!
//! A file that this process serves through FUSE is the backing file of a loop device; so every
//! write and flush of the kernel is known. By hand, as root: `tests/store_disk/README.md`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "store_disk/crash.rs"]
mod crash;
#[path = "store_disk/device.rs"]
mod device;
#[path = "store_disk/disk.rs"]
mod disk;
#[path = "store_disk/fuse.rs"]
mod fuse;
#[path = "support/model.rs"]
mod model;
#[path = "support/oracle.rs"]
mod oracle;
#[path = "support/workload.rs"]
mod workload;

use std::fs;
use std::path::Path;
use std::process::{Child, Output};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crash::Replay;
use device::{Device, FILE_SYSTEMS, FileSystem};
use oracle::{Node, Oracle};
use workload::{Draw, Workload};

/// The processes that do the work run as this test.
const WORK: &str = "a_power_cut_takes_nothing_that_was_acknowledged";
/// How long a process may take that makes a few hundred changes.
const PATIENCE: Duration = Duration::from_secs(300);

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// The file systems that this machine has, or of them those that are asked for.
fn systems() -> Vec<FileSystem> {
    if !device::usable() {
        return Vec::new();
    }
    let wanted = std::env::var("NODESEAL_DISK_SYSTEMS").unwrap_or_default();
    let wanted = |system: &FileSystem| {
        wanted.is_empty() || wanted.split(',').any(|name| name == system.name)
    };
    FILE_SYSTEMS.into_iter().filter(|system| wanted(system) && system.is_there()).collect()
}

/// A new device with a new store on it, everything so far durable.
fn begin(system: FileSystem, dir: &Path) -> (Device, Node) {
    let device = Device::new(system, dir).unwrap();
    let node = Node { dir: device.root.join("node"), oracle: dir.join("oracle") };
    fs::create_dir(&node.dir).unwrap();
    node.create().unwrap();
    device.sync();
    device.disk.lock().unwrap().record();
    (device, node)
}

fn finish(mut child: Child) -> Output {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

/// A workload for a node on the device.
fn workload(device: &Device, node: &Node, seed: u64, changes: u64) -> Workload {
    let (node, position) = (node.clone(), Some(device.position.clone()));
    Workload { node, position, seed, changes, appends: false }
}

/// Records a workload, cuts the power at `images` moments, and returns what was wrong.
fn crashes(system: FileSystem, seed: u64, images: u64, ignored: usize) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let (device, node) = begin(system, dir.path());
    let changes = number("NODESEAL_DISK_CHANGES", 400);
    let ended = finish(workload(&device, &node, seed, changes).start(WORK));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.is_empty(), "{}: {said}", ended.status);
    let oracle = node.oracle();
    let disk = Arc::clone(&device.disk);
    drop(device);
    let disk = disk.lock().unwrap();

    let mut draw = Draw(seed);
    let last = oracle.acks.iter().map(|(_, position)| *position).max().unwrap();
    let mut cuts: Vec<u64> = (0..images).map(|_| draw.below(last + 1)).collect();
    cuts.sort_unstable();
    let mut replay = Replay::new(&disk);
    let mut wrong = Vec::new();
    for cut in cuts {
        let blocks = replay.crash(usize::try_from(cut).unwrap(), ignored, &mut draw);
        blocks.save(&dir.path().join("image"), disk.size);
        let checked = check_image(system, dir.path(), &oracle, oracle.acknowledged(cut));
        if let Err(bad) = checked {
            wrong.push(format!("{}, seed {seed}, cut at {cut} of {last}: {bad}", system.name));
        }
    }
    wrong
}

/// Mounts the image in `dir` and compares the store in it with the oracle.
fn check_image(
    system: FileSystem,
    dir: &Path,
    oracle: &Oracle,
    acknowledged: usize,
) -> Result<(), String> {
    let at = dir.join("crashed");
    let mounted = system.mount(&dir.join("image"), &at).map_err(|e| format!("not mounted: {e}"))?;
    let node = Node { dir: at.join("node"), oracle: dir.join("oracle") };
    let checked = node.check(oracle, acknowledged);
    let checked = checked.and_then(|reached| node.continues(&oracle.model(reached)));
    drop(mounted);
    checked
}

#[test]
#[ignore = "by hand: takes minutes, as root, with FUSE and loop devices"]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    if Workload::run_here() || device::in_namespace(WORK) {
        return;
    }
    let images = number("NODESEAL_DISK_IMAGES", 40);
    let mut all_wrong = Vec::new();
    for system in systems() {
        let recordings = number("NODESEAL_DISK_RECORDINGS", 5);
        let seeds = 0..recordings;
        let wrong: Vec<String> = seeds.flat_map(|seed| crashes(system, seed, images, 0)).collect();
        eprintln!("{}: {} images, {} bad", system.name, recordings * images, wrong.len());
        all_wrong.extend(wrong);
    }
    assert!(all_wrong.is_empty(), "{all_wrong:#?}");
}

/// Else the test above shows nothing.
#[test]
#[ignore = "by hand: takes minutes, as root, with FUSE and loop devices"]
fn flushes_that_are_ignored_are_found_out() {
    if device::in_namespace("flushes_that_are_ignored_are_found_out") {
        return;
    }
    for system in systems() {
        let wrong = crashes(system, 100, number("NODESEAL_DISK_IMAGES", 40), 5);
        let lost = wrong.iter().filter(|bad| !bad.contains("not mounted")).count();
        eprintln!("{}: five flushes ignored, {lost} bad", system.name);
        assert!(lost > 0, "{wrong:#?}");
    }
}

/// Lets one write of entries fail under a workload. What is wrong afterwards is found by `check`.
fn with_failed_writes(check: fn(Device, &Node, &Path, u64) -> Result<(), String>) {
    let runs = number("NODESEAL_DISK_RUNS", 40);
    let mut wrong = Vec::new();
    for system in systems().into_iter().filter(|system| system.name != "btrfs") {
        let mut failed = 0;
        let before = wrong.len();
        for seed in 0..runs {
            let dir = tempfile::tempdir().unwrap();
            let (device, node) = begin(system, dir.path());
            device.disk.lock().unwrap().fail_after = Some(10 + Draw(seed).below(150));
            let mut workload = workload(&device, &node, seed, 600);
            workload.appends = seed.is_multiple_of(2);
            let ended = finish(workload.start(WORK));
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
            failed += u64::from(device.disk.lock().unwrap().failed);
            if let Err(bad) = check(device, &node, dir.path(), seed) {
                wrong.push(format!("{}, seed {seed}: {bad}", system.name));
            }
        }
        let lost = wrong.len() - before;
        eprintln!("{}: {runs} runs, {failed} with a failed write, {lost} bad", system.name);
        assert!(failed > runs / 2, "the fault was seldom met");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
#[ignore = "by hand: takes minutes, as root, with FUSE and loop devices"]
fn one_write_that_fails_takes_nothing_that_was_acknowledged() {
    if device::in_namespace("one_write_that_fails_takes_nothing_that_was_acknowledged") {
        return;
    }
    with_failed_writes(|mut device, node, _, _| {
        device.unmount();
        device.mount()?;
        let oracle = node.oracle();
        node.check(&oracle, oracle.acknowledged(u64::MAX)).map(drop)
    });
}

/// The kernel still holds what it could not write, and counts it as written: an opened store must
/// not rely on it.
#[test]
#[ignore = "by hand: takes minutes, as root, with FUSE and loop devices"]
fn what_is_opened_after_a_failed_write_outlives_a_power_cut() {
    if device::in_namespace("what_is_opened_after_a_failed_write_outlives_a_power_cut") {
        return;
    }
    with_failed_writes(|device, node, dir, seed| {
        let oracle = node.oracle();
        let acknowledged = oracle.acknowledged(u64::MAX);
        let reached = node.check(&oracle, acknowledged).or_else(|error| {
            // The kernel may report the failure only now, once.
            let late = error.contains("os error 5");
            if late { node.check(&oracle, acknowledged) } else { Err(error) }
        })?;
        node.forget_after(&oracle, reached);
        let ended = finish(workload(&device, node, seed, 60).start(WORK));
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let oracle = node.oracle();
        let (system, disk) = (device.system, Arc::clone(&device.disk));
        {
            // Before the file system is unmounted, which writes everything out.
            let disk = disk.lock().unwrap();
            let mut replay = Replay::new(&disk);
            replay.crash(disk.events.len(), 0, &mut Draw(seed)).save(&dir.join("image"), disk.size);
        }
        drop(device);
        check_image(system, dir, &oracle, oracle.acknowledged(u64::MAX).max(reached))
    });
}
