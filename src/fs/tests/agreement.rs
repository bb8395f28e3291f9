//! What holds for the real file system holds for the simulated one.

use super::*;

/// Runs a test in an empty folder of each.
fn on_both(test: impl Fn(&dyn Fs, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    test(&RealFs, dir.path());
    let disk = SimFs::new();
    disk.create_dir_all(Path::new("/some/folder")).unwrap();
    test(&disk, Path::new("/some/folder"));
}

fn fails<T>(result: io::Result<T>, kind: io::ErrorKind) {
    match result {
        Ok(_) => panic!("it must fail as {kind:?}"),
        Err(e) => assert_eq!(e.kind(), kind),
    }
}

fn create(fs: &dyn Fs, path: &Path, bytes: &[u8]) {
    fs.create_new(path).unwrap().write_all_at(bytes, 0).unwrap();
}

#[test]
fn bytes_go_where_they_are_written() {
    on_both(|fs, dir| {
        let path = dir.join("a");
        let file = fs.create_new(&path).unwrap();
        assert!(file.is_empty().unwrap());
        file.write_all_at(b"tail", 600).unwrap();
        file.write_all_at(b"head", 0).unwrap();
        file.write_all_at(b"", 5000).unwrap();
        file.sync().unwrap();
        assert_eq!(file.len().unwrap(), 604);
        let mut expected = vec![0; 604];
        expected[..4].copy_from_slice(b"head");
        expected[600..].copy_from_slice(b"tail");
        assert_eq!(read(fs, &path, 1000).unwrap(), expected);

        let mut buf = [0xee; 8];
        assert_eq!(file.read_at(&mut buf, 600).unwrap(), 4);
        assert_eq!(&buf, b"tail\xee\xee\xee\xee");
        assert_eq!(file.read_at(&mut buf, 604).unwrap(), 0);
        assert_eq!(file.read_at(&mut buf, 10_000).unwrap(), 0);
        assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
        assert!(file.write_all_at(b"x", u64::MAX).is_err());
        assert!(file.set_len(u64::MAX).is_err());
    });
}

#[test]
fn what_was_cut_off_comes_back_as_zeros() {
    on_both(|fs, dir| {
        let file = fs.create_new(&dir.join("a")).unwrap();
        file.write_all_at(&[7; 1500], 0).unwrap();
        file.set_len(700).unwrap();
        assert_eq!(file.len().unwrap(), 700);
        file.set_len(1400).unwrap();
        let expected = [vec![7; 700], vec![0; 700]].concat();
        assert_eq!(read(fs, &dir.join("a"), 1400).unwrap(), expected);
    });
}

#[test]
fn handles_see_the_same_file() {
    on_both(|fs, dir| {
        let (a, b) = (dir.join("a"), dir.join("b"));
        create(fs, &a, b"old");
        let reader = fs.open_read(&a).unwrap();
        let writer = fs.open_write(&a).unwrap();
        writer.write_all_at(b"new", 0).unwrap();
        let mut buf = [0; 3];
        assert_eq!(reader.read_at(&mut buf, 0).unwrap(), 3);
        assert_eq!(&buf, b"new");
        assert!(reader.write_all_at(b"x", 0).is_err());
        assert!(reader.set_len(0).is_err());
        assert_eq!(writer.read_at(&mut buf, 0).unwrap(), 3);

        // Whatever becomes of the name.
        fs.rename(&a, &b).unwrap();
        writer.write_all_at(b"end", 0).unwrap();
        assert_eq!(read(fs, &b, 3).unwrap(), b"end");
        fs.remove(&b).unwrap();
        create(fs, &b, b"else");
        writer.sync().unwrap();
        assert_eq!(reader.read_at(&mut buf, 0).unwrap(), 3);
        assert_eq!(&buf, b"end");
        assert_eq!(read(fs, &b, 4).unwrap(), b"else");
    });
}

#[test]
fn names_are_taken_or_missing() {
    on_both(|fs, dir| {
        let (a, sub) = (dir.join("a"), dir.join("sub"));
        create(fs, &a, b"1");
        fs.create_dir(&sub).unwrap();
        fails(fs.create_new(&a), io::ErrorKind::AlreadyExists);
        fails(fs.create_new(&sub), io::ErrorKind::AlreadyExists);
        fails(fs.create_dir(&a), io::ErrorKind::AlreadyExists);
        fails(fs.create_dir(&sub), io::ErrorKind::AlreadyExists);
        fails(fs.create_dir(Path::new("/")), io::ErrorKind::AlreadyExists);
        assert_eq!(read(fs, &a, 1).unwrap(), b"1");

        for path in [dir.join("none"), dir.join("none/a")] {
            fails(fs.open_read(&path), io::ErrorKind::NotFound);
            fails(fs.open_write(&path), io::ErrorKind::NotFound);
            fails(fs.remove(&path), io::ErrorKind::NotFound);
            fails(fs.rename(&path, &path.with_file_name("b")), io::ErrorKind::NotFound);
            fails(fs.sync_dir(&path), io::ErrorKind::NotFound);
            fails(fs.list(&path), io::ErrorKind::NotFound);
        }
        fails(fs.create_new(&dir.join("none/a")), io::ErrorKind::NotFound);
        fails(fs.create_dir(&dir.join("none/a")), io::ErrorKind::NotFound);
        fails(fs.try_lock(&dir.join("none/a")), io::ErrorKind::NotFound);

        fails(fs.open_read(&sub), io::ErrorKind::IsADirectory);
        fails(fs.open_write(&sub), io::ErrorKind::IsADirectory);
        assert!(fs.remove(&sub).is_err());
        fails(fs.try_lock(&sub), io::ErrorKind::InvalidInput);
        fails(fs.list(&a), io::ErrorKind::NotADirectory);
        fails(fs.sync_dir(&a), io::ErrorKind::NotADirectory);
        fails(fs.open_read(&a.join("b")), io::ErrorKind::NotADirectory);
        fails(fs.create_new(&a.join("b")), io::ErrorKind::NotADirectory);
        fails(fs.create_dir_all(&a.join("b")), io::ErrorKind::NotADirectory);
        fails(fs.create_dir_all(&a), io::ErrorKind::NotADirectory);
    });
}

#[test]
fn a_rename_replaces() {
    on_both(|fs, dir| {
        let at = |name: &str| dir.join(name);
        create(fs, &at("a"), b"a");
        create(fs, &at("b"), b"b");
        fs.rename(&at("a"), &at("b")).unwrap();
        fs.rename(&at("b"), &at("b")).unwrap();
        assert_eq!(fs.list(dir).unwrap(), ["b"]);
        assert_eq!(read(fs, &at("b"), 1).unwrap(), b"a");

        fs.create_dir_all(&at("full/x")).unwrap();
        fs.create_dir(&at("empty")).unwrap();
        fails(fs.rename(&at("b"), &at("full")), io::ErrorKind::IsADirectory);
        fails(fs.rename(&at("full"), &at("b")), io::ErrorKind::NotADirectory);
        fails(fs.rename(&at("empty"), &at("full")), io::ErrorKind::DirectoryNotEmpty);
        fails(fs.rename(&at("b"), &at("full/b")), io::ErrorKind::CrossesDevices);
        create(fs, &at("full/x/c"), b"c");
        fs.rename(&at("full"), &at("empty")).unwrap();
        assert_eq!(read(fs, &at("empty/x/c"), 1).unwrap(), b"c");
        fails(fs.list(&at("full")), io::ErrorKind::NotFound);
    });
}

#[test]
fn files_alone_are_listed_in_order() {
    on_both(|fs, dir| {
        for name in ["b", "a.tmp", "C", "a"] {
            create(fs, &dir.join(name), b"");
        }
        fs.create_dir(&dir.join("aa")).unwrap();
        assert_eq!(fs.list(dir).unwrap(), ["C", "a", "a.tmp", "b"]);
        fs.remove(&dir.join("a")).unwrap();
        assert_eq!(fs.list(dir).unwrap(), ["C", "a.tmp", "b"]);
    });
}

#[test]
fn folders_are_created_once() {
    on_both(|fs, dir| {
        let deep = dir.join("x/y/z");
        fs.create_dir_all(&deep).unwrap();
        create(fs, &deep.join("f"), b"1");
        fs.create_dir_all(&deep).unwrap();
        fs.create_dir_all(&dir.join("x/./y")).unwrap();
        fs.sync_dir(&deep).unwrap();
        assert_eq!(fs.list(&deep).unwrap(), ["f"]);
        assert_eq!(read(fs, &dir.join("x/y/../y/z/f"), 1).unwrap(), b"1");
    });
}

#[test]
fn one_holds_the_lock() {
    on_both(|fs, dir| {
        let path = dir.join("keys.lock");
        let held = fs.try_lock(&path).unwrap().unwrap();
        assert!(fs.try_lock(&path).unwrap().is_none());
        let other = fs.try_lock(&dir.join("other.lock")).unwrap();
        assert!(other.is_some());
        drop(held);
        assert_eq!(fs.list(dir).unwrap(), ["keys.lock", "other.lock"]);
        let again = fs.try_lock(&path).unwrap();
        assert!(again.is_some());
        assert!(fs.try_lock(&path).unwrap().is_none());
    });
}

#[test]
fn a_replaced_file_has_the_new_bytes() {
    on_both(|fs, dir| {
        let path = dir.join("keys");
        // What a crash left behind does not stand in the way, even if it is longer.
        create(fs, &dir.join("keys.tmp"), &[7; 5000]);
        replace(fs, &path, b"first").unwrap();
        assert_eq!(fs.list(dir).unwrap(), ["keys"]);
        let before = fs.open_read(&path).unwrap();
        replace(fs, &path, b"second").unwrap();
        assert_eq!(read(fs, &path, 100).unwrap(), b"second");
        assert_eq!(before.len().unwrap(), 5);
        create(fs, &dir.join("keys.tmp"), b"stale");
        remove_stale(fs, &path).unwrap();
        remove_stale(fs, &path).unwrap();
        assert_eq!(fs.list(dir).unwrap(), ["keys"]);
    });
}

#[test]
fn only_an_empty_folder_is_removed() {
    on_both(|fs, dir| {
        let sub = dir.join("sub");
        fails(fs.remove_dir(&sub), io::ErrorKind::NotFound);
        fs.create_dir(&sub).unwrap();
        create(fs, &sub.join("a"), b"1");
        fails(fs.remove_dir(&sub), io::ErrorKind::DirectoryNotEmpty);
        fails(fs.remove_dir(&sub.join("a")), io::ErrorKind::NotADirectory);
        fs.remove(&sub.join("a")).unwrap();
        fs.remove_dir(&sub).unwrap();
        fails(fs.list(&sub), io::ErrorKind::NotFound);
    });
}
