use std::collections::BTreeSet;

use super::*;

const A: &str = "/a";

/// A disk with a durable empty file, open.
fn with_file() -> (SimFs, Box<dyn File>) {
    let disk = SimFs::new();
    disk.write_file(Path::new(A), b"").unwrap();
    let file = disk.open_write(Path::new(A)).unwrap();
    (disk, file)
}

fn after(disk: &SimFs, loss: Loss, seed: u64) -> Vec<u8> {
    disk.after_power_cut(loss, seed).read_file(Path::new(A)).unwrap()
}

/// All that seeds make of the file.
fn outcomes(disk: &SimFs, loss: Loss) -> BTreeSet<Vec<u8>> {
    (0..400).map(|seed| after(disk, loss, seed)).collect()
}

#[test]
fn what_is_synced_survives_and_what_is_not_does_not() {
    let (disk, file) = with_file();
    file.write_all_at(b"synced", 0).unwrap();
    file.sync().unwrap();
    file.write_all_at(b"SYN and more", 0).unwrap();
    assert_eq!(disk.read_file(Path::new(A)).unwrap(), b"SYN and more");
    assert_eq!(after(&disk, Loss::Dropped, 0), b"synced");
    assert_eq!(after(&disk, Loss::Kept, 0), b"SYN and more");
    file.sync().unwrap();
    for loss in Loss::ALL {
        assert_eq!(after(&disk, *loss, 7), b"SYN and more");
    }
}

#[test]
fn a_name_needs_its_folder_and_bytes_need_their_file() {
    let disk = SimFs::new();
    let file = disk.create_new(Path::new("/a")).unwrap();
    file.write_all_at(b"bytes", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.after_power_cut(Loss::Dropped, 0).paths(), [] as [&Path; 0]);

    let disk = SimFs::new();
    let file = disk.create_new(Path::new("/a")).unwrap();
    file.write_all_at(b"bytes", 0).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(after(&disk, Loss::Dropped, 0), b"");
}

#[test]
fn a_folder_takes_with_it_what_is_in_it() {
    let disk = SimFs::new();
    disk.create_dir(Path::new("/d")).unwrap();
    disk.create_new(Path::new("/d/f")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    assert!(disk.after_power_cut(Loss::Dropped, 0).list(Path::new("/d")).is_err());
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(disk.after_power_cut(Loss::Dropped, 0).paths(), [Path::new("/d/f")]);
}

#[test]
fn torn_writes_survive_as_a_prefix_of_sectors() {
    let (disk, file) = with_file();
    file.write_all_at(&[1; 700], 100).unwrap();
    file.write_all_at(&[2; 512], 0).unwrap();
    let first = |n: usize| [vec![0; 100], vec![1; n]].concat();
    let mut expected = BTreeSet::from([vec![], first(412), first(700)]);
    expected.insert([vec![2; 512], vec![1; 288]].concat());
    assert_eq!(outcomes(&disk, Loss::Torn), expected);
}

#[test]
fn reordered_sectors_survive_each_on_its_own() {
    let (disk, file) = with_file();
    disk.write_file(Path::new(A), &[9; 1024]).unwrap();
    file.write_all_at(&[1; 1024], 0).unwrap();
    let file = |a, b| [vec![a; 512], vec![b; 512]].concat();
    let expected = BTreeSet::from([file(9, 9), file(1, 9), file(9, 1), file(1, 1)]);
    assert_eq!(outcomes(&disk, Loss::Reordered), expected);
}

#[test]
fn a_reordered_length_may_come_without_its_bytes() {
    let (disk, file) = with_file();
    file.write_all_at(&[1; 512], 0).unwrap();
    assert_eq!(
        outcomes(&disk, Loss::Reordered),
        BTreeSet::from([vec![], vec![0; 512], vec![1; 512]])
    );
    let (disk, file) = with_file();
    disk.write_file(Path::new(A), &[1; 10]).unwrap();
    file.set_len(4).unwrap();
    assert_eq!(outcomes(&disk, Loss::Torn), BTreeSet::from([vec![1; 10], vec![1; 4]]));
}

#[test]
fn a_rename_is_atomic_under_every_loss() {
    let disk = SimFs::new();
    disk.write_file(Path::new("/a"), b"old").unwrap();
    disk.write_file(Path::new("/b"), b"new").unwrap();
    disk.rename(Path::new("/b"), Path::new("/a")).unwrap();
    let outcomes = |loss| -> BTreeSet<_> {
        let up = (0..100).map(|seed| disk.after_power_cut(loss, seed));
        up.map(|up| ["/a", "/b"].map(|path| up.read_file(Path::new(path)))).collect()
    };
    let before = [Some(b"old".to_vec()), Some(b"new".to_vec())];
    let done = [Some(b"new".to_vec()), None];
    assert_eq!(outcomes(Loss::Dropped), BTreeSet::from([before.clone()]));
    assert_eq!(outcomes(Loss::Kept), BTreeSet::from([done.clone()]));
    assert_eq!(outcomes(Loss::Torn), BTreeSet::from([before.clone(), done.clone()]));
    assert_eq!(outcomes(Loss::Reordered), BTreeSet::from([before, done]));
}

#[test]
fn a_durable_name_is_not_lost_to_a_rename_of_what_replaced_it() {
    let disk = SimFs::new();
    disk.write_file(Path::new("/a"), b"old").unwrap();
    disk.write_file(Path::new("/b"), b"new").unwrap();
    disk.rename(Path::new("/b"), Path::new("/a")).unwrap();
    disk.rename(Path::new("/a"), Path::new("/c")).unwrap();
    // The second rename may survive without the first.
    let mut kept = 0;
    for seed in 0..100 {
        let up = disk.after_power_cut(Loss::Reordered, seed);
        let [a, b, c] = ["/a", "/b", "/c"].map(|path| up.read_file(Path::new(path)));
        if b.is_some() {
            assert_eq!(a, Some(b"old".to_vec()));
            kept += usize::from(c.is_some());
        }
    }
    assert!(kept > 0);
}

#[test]
fn names_survive_in_order_or_each_on_its_own() {
    let disk = SimFs::new();
    disk.create_new(Path::new("/a")).unwrap();
    disk.create_new(Path::new("/b")).unwrap();
    let outcomes = |loss| -> BTreeSet<_> {
        (0..100).map(|seed| disk.after_power_cut(loss, seed).paths().len()).collect()
    };
    assert_eq!(outcomes(Loss::Torn), BTreeSet::from([0, 1, 2]));
    let b_alone = |seed| disk.after_power_cut(Loss::Reordered, seed).paths() == [Path::new("/b")];
    assert!((0..100).any(b_alone));
    let b_alone = |seed| disk.after_power_cut(Loss::Torn, seed).paths() == [Path::new("/b")];
    assert!(!(0..100).any(b_alone));
}

#[test]
fn after_a_failed_sync_a_later_one_does_not_help() {
    let (disk, file) = with_file();
    file.write_all_at(b"first", 0).unwrap();
    disk.fail_at(0, io::ErrorKind::Other);
    file.sync().unwrap_err();
    file.sync().unwrap();
    assert_eq!(disk.read_file(Path::new(A)).unwrap(), b"first");
    assert_eq!(after(&disk, Loss::Dropped, 0), b"");
    assert_eq!(after(&disk, Loss::Kept, 0), b"first");
    assert!(outcomes(&disk, Loss::Torn).contains(b"first".as_slice()));
    // What is written anew is durable by the next sync, and not undone by what came before.
    file.write_all_at(b"later", 0).unwrap();
    file.sync().unwrap();
    for loss in Loss::ALL {
        assert_eq!(outcomes(&disk, *loss), BTreeSet::from([b"later".to_vec()]));
    }

    let disk = SimFs::new();
    disk.create_new(Path::new(A)).unwrap();
    disk.fail_at(0, io::ErrorKind::Other);
    disk.sync_dir(Path::new("/")).unwrap_err();
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(disk.after_power_cut(Loss::Dropped, 0).paths().len(), 0);
}

#[test]
fn a_failed_write_may_be_done_in_part() {
    let mut lengths = BTreeSet::new();
    for skipped in 0..40 {
        let (disk, file) = with_file();
        for _ in 0..skipped {
            file.len().unwrap();
        }
        disk.fail_at(0, io::ErrorKind::StorageFull);
        let error = file.write_all_at(&[1; 3], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let found = disk.read_file(Path::new(A)).unwrap();
        assert!(found.iter().all(|byte| *byte == 1));
        lengths.insert(found.len());
        file.write_all_at(&[2; 3], 0).unwrap();
        assert_eq!(disk.read_file(Path::new(A)).unwrap(), [2; 3]);
    }
    assert_eq!(lengths, BTreeSet::from([0, 1, 2, 3]));
}

#[test]
fn faults_come_when_they_are_due() {
    let disk = SimFs::new();
    assert_eq!(disk.operations(), 0);
    disk.fail_at(1, io::ErrorKind::StorageFull);
    disk.fail_at(3, io::ErrorKind::Other);
    let made = ["/a", "/b", "/c", "/d"].map(|path| disk.create_new(Path::new(path)));
    let kinds = made.map(|made| made.err().map(|e| e.kind()));
    assert_eq!(kinds, [None, Some(io::ErrorKind::StorageFull), None, Some(io::ErrorKind::Other)]);
    assert_eq!(disk.paths(), [Path::new("/a"), Path::new("/c")]);
    assert_eq!(disk.operations(), 4);
}

#[test]
fn every_operation_counts_and_nothing_works_after_the_cut() {
    let (disk, file) = with_file();
    let lock = disk.try_lock(Path::new("/lock")).unwrap();
    disk.cut_at(0);
    file.write_all_at(b"cut amid", 0).unwrap_err();
    let cut = disk.read_file(Path::new(A)).unwrap();
    let start = disk.operations();
    let (a, b) = (Path::new(A), Path::new("/b"));
    let refused = [
        file.len().is_err(),
        file.read_at(&mut [0; 4], 0).is_err(),
        file.write_all_at(b"after the cut", 0).is_err(),
        file.set_len(0).is_err(),
        file.sync().is_err(),
        disk.create_new(b).is_err(),
        disk.open_read(a).is_err(),
        disk.open_write(a).is_err(),
        disk.rename(a, b).is_err(),
        disk.remove(a).is_err(),
        disk.sync_dir(Path::new("/")).is_err(),
        disk.create_dir(b).is_err(),
        disk.list(Path::new("/")).is_err(),
        disk.try_lock(b).is_err(),
    ];
    assert_eq!(refused, [true; 14]);
    assert_eq!(disk.operations() - start, 14);
    drop((lock, file));
    assert_eq!(disk.operations() - start, 14);
    assert_eq!(disk.read_file(a).unwrap(), cut);
    assert_eq!(after(&disk, Loss::Dropped, 0), b"");
    assert_eq!(after(&disk, Loss::Kept, 0), cut);
}

#[test]
fn what_comes_up_is_another_disk() {
    let (disk, file) = with_file();
    let _lock = disk.try_lock(Path::new("/lock")).unwrap().unwrap();
    disk.fail_at(0, io::ErrorKind::Other);
    for up in [disk.after_power_cut(Loss::Kept, 0), disk.after_kill()] {
        assert_eq!(up.operations(), 0);
        assert!(up.try_lock(Path::new("/lock")).unwrap().is_some());
        up.open_write(Path::new(A)).unwrap().write_all_at(b"up", 0).unwrap();
        assert_eq!(disk.read_file(Path::new(A)).unwrap(), b"");
    }
    file.sync().unwrap_err();
    // A clone is the same disk.
    let clone = disk.clone();
    file.write_all_at(b"down", 0).unwrap();
    assert_eq!(clone.read_file(Path::new(A)).unwrap(), b"down");
    assert!(clone.try_lock(Path::new("/lock")).unwrap().is_none());
}

#[test]
fn what_a_killed_process_did_not_sync_is_still_not_durable() {
    let (disk, file) = with_file();
    file.write_all_at(b"found", 0).unwrap();
    assert_eq!(after(&disk.after_power_cut(Loss::Kept, 0), Loss::Dropped, 0), b"found");
    let next = disk.after_kill();
    assert_eq!(next.read_file(Path::new(A)).unwrap(), b"found");
    assert_eq!(after(&next, Loss::Dropped, 0), b"");
    next.open_write(Path::new(A)).unwrap().sync().unwrap();
    assert_eq!(after(&next, Loss::Dropped, 0), b"found");
}

#[test]
fn a_file_put_there_is_durable_alone() {
    let disk = SimFs::new();
    disk.create_new(Path::new("/d")).unwrap();
    disk.write_file(Path::new("x/y"), b"1").unwrap();
    disk.write_file(Path::new("/x/y"), b"2").unwrap();
    assert_eq!(disk.paths(), [Path::new("/d"), Path::new("/x/y")]);
    let up = disk.after_power_cut(Loss::Dropped, 0);
    assert_eq!(up.paths(), [Path::new("/x/y")]);
    assert_eq!(up.read_file(Path::new("x/y")).unwrap(), b"2");
    disk.write_file(Path::new("/x"), b"").unwrap_err();
    disk.write_file(Path::new("/d/y"), b"").unwrap_err();
    assert_eq!(disk.read_file(Path::new("/x")), None);
    assert_eq!(disk.read_file(Path::new("/none")), None);
}

#[test]
fn what_is_on_the_disk_is_not_printed() {
    let (disk, file) = with_file();
    file.write_all_at(b"hunter2", 0).unwrap();
    let lock = disk.try_lock(Path::new("/lock")).unwrap();
    let text = format!("{disk:?} {file:?} {lock:?}");
    assert!(text.starts_with("SimFs(2 files, 3 operations) SimFile("), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("104, 117"), "{text}");
}
