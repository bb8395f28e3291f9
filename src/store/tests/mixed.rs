//! A log is one history. Whoever has the disk and older copies of it, and no key, makes no other of them:
//! every row of theirs is authentic, at its own index, in its own era, after the same era.

use super::super::format::{self, RECORD};
use super::attacks::{Frame, forge, frames_of, last_segment, of_kind};
use super::*;
use crate::fs::{Fs, Loss};

fn write(store: &Store, first: u64, texts: &[&str]) {
    let mut change = Change::new();
    if store.state().last.index >= first {
        change.truncate(first);
    }
    for (index, text) in (first..).zip(texts) {
        change.push(id(index, 1), |out| out.extend_from_slice(text.as_bytes())).unwrap();
    }
    store.apply(change).unwrap();
}

/// The whole log as it is read.
fn history(disk: &SimFs) -> Result<Vec<String>> {
    let keyring = open_keyring(disk)?;
    let store = Store::open(place(disk), &keyring, options().verify(|_| {}))?;
    let mut texts = Vec::new();
    store.read(.., |_, plain| {
        texts.push(String::from_utf8(plain.to_vec()).unwrap());
        Ok::<(), Error>(())
    })?;
    Ok(texts)
}

fn refused(disk: &SimFs, what: &str) {
    match history(disk) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Damaged, "{what}: {error}"),
        Ok(texts) => panic!("{what}: it opens as {texts:?}"),
    }
}

fn copy(disk: &SimFs) -> SimFs {
    disk.after_power_cut(Loss::Kept, 0)
}

/// A closed log whose entries 4 to 6 were written twice in one era, in its last segment.
fn rewritten() -> SimFs {
    let (disk, keyring, store) = fresh();
    write(&store, 1, &["new 1", "new 2", "new 3", "old 4", "old 5", "old 6"]);
    write(&store, 4, &["new 4", "new 5", "new 6"]);
    drop((store, keyring));
    disk
}

/// By hand, from the bytes of the segment: `docs/design.md` has the table.
#[test]
fn the_chain_is_over_the_heads_that_the_design_names() {
    use sha2::{Digest, Sha256};

    let (disk, keyring, store) = fresh();
    for n in 1..30 {
        write(&store, n, &[&format!("entry {n} {}", "-".repeat(100))]);
    }
    store.apply(change(|c| c.put_meta("members", b"m1"))).unwrap();
    write(&store, 30, &["after the metadata", "and another"]);
    drop((store, keyring));
    let frames = frames_of(&disk, &last_segment(&disk));
    let name = last_segment(&disk).file_name().unwrap().to_str().unwrap().to_owned();
    let number = u64::from_str_radix(&name[..16], 16).unwrap();
    assert!(number > 2, "{name}");
    let mut bytes = [&b"nodeseal/v1/segment"[..], &number.to_le_bytes()].concat();
    let (mut kinds, mut sealed) = (std::collections::BTreeSet::new(), Vec::new());
    for (kind, data) in &frames {
        kinds.insert(kind.number());
        match kind.number() {
            4 => {}
            17 => sealed = data[16..].to_vec(),
            16 => bytes.extend([&[16], &data[..24], &data[49..65]].concat()),
            other => {
                let len = u64::try_from(data.len()).unwrap();
                bytes.push(u8::try_from(other).unwrap());
                bytes.extend([&len.to_le_bytes()[..], data].concat());
            }
        }
    }
    assert_eq!(Vec::from_iter(kinds), [1, 4, 16, 17, 18, 20]);
    let keyring = open_keyring(&disk).unwrap();
    let state = keyring.keyspace(NAME).unwrap().cells().open_state(&sealed).unwrap();
    let (_, extra) = format::without_extra(state).unwrap();
    assert_eq!(extra.chain[..], Sha256::digest(&bytes)[..]);
}

#[test]
fn a_row_that_was_replaced_in_its_era_is_not_put_back() {
    let disk = rewritten();
    assert!(history(&disk).unwrap().iter().all(|text| text.starts_with("new")));
    let path = last_segment(&disk);
    let mut frames = frames_of(&disk, &path);
    let rows = of_kind(&frames, RECORD);
    frames[rows[7]] = frames[rows[4]].clone();
    forge(&disk, &path, &frames);
    refused(&disk, "row 5 as it was first");
}

/// Two histories of one log, which was put back once: of ten short segments each.
fn branches() -> [SimFs; 2] {
    let (disk, keyring, store) = fresh();
    write(&store, 1, &["0"]);
    drop((store, keyring));
    ["a", "b"].map(|name| {
        let disk = copy(&disk);
        let (keyring, store) = reopen(&disk).unwrap();
        for n in 2..60 {
            write(&store, n, &[&format!("{name} {n} {}", "-".repeat(200))]);
        }
        drop((store, keyring));
        disk
    })
}

#[test]
fn two_branches_are_not_mixed_row_by_row() {
    let [a, b] = branches();
    let path = last_segment(&a);
    let (mut mixed, of_b): (Vec<Frame>, Vec<Frame>) =
        (frames_of(&a, &path), segments(&b).iter().flat_map(|path| frames_of(&b, path)).collect());
    let row = of_kind(&mixed, RECORD)[1];
    let same = |other: &&Frame| other.0 == RECORD && other.1[..24] == mixed[row].1[..24];
    mixed[row] = of_b.iter().find(same).unwrap().clone();
    forge(&a, &path, &mixed);
    refused(&a, "one row of the other branch");
}

#[test]
fn two_branches_are_not_mixed_segment_by_segment() {
    let [a, b] = branches();
    // Frames differ in length by a byte or two, so that a few segments begin elsewhere.
    let both = segments(&b);
    let paths: Vec<_> = segments(&a).into_iter().filter(|path| both.contains(path)).collect();
    assert!(paths.len() > 2, "{paths:?}");
    for path in &paths[1..] {
        let mixed = copy(&a);
        mixed.write_file(path, &b.read_file(path).unwrap()).unwrap();
        refused(&mixed, "a segment of the other branch");
    }
}

#[test]
fn a_segment_in_which_all_was_replaced_is_not_put_back() {
    let (disk, keyring, store) = fresh();
    let long = |name: &str| format!("{name} {}", "-".repeat(900));
    write(&store, 1, &[&long("new 1")]);
    let mut older = Vec::new();
    for name in ["old", "new"] {
        for n in 2..8 {
            write(&store, n, &[&long(&format!("{name} {n}"))]);
        }
        older.push(copy(&disk));
    }
    drop((store, keyring));
    assert!(history(&disk).unwrap().iter().all(|text| text.starts_with("new")));
    let now = segments(&disk);
    let gone: Vec<_> = segments(&older[0]).into_iter().filter(|path| !now.contains(path)).collect();
    assert!(gone.len() > 1, "{gone:?} of {now:?}");
    for path in &gone {
        let mixed = copy(&disk);
        mixed.write_file(path, &older[0].read_file(path).unwrap()).unwrap();
        assert!(history(&mixed).unwrap().iter().all(|text| text.starts_with("new")), "{path:?}");
        assert!(!segments(&mixed).contains(path), "it is removed again");
    }
    // Under the name of one that counts, or beside it; or none at all.
    for path in &now[1..now.len() - 1] {
        let mixed = copy(&disk);
        mixed.write_file(path, &older[0].read_file(&gone[0]).unwrap()).unwrap();
        refused(&mixed, "another one's place");
        let mixed = copy(&disk);
        let name = path.file_name().unwrap().to_str().unwrap();
        let beside = path.with_file_name(format!("{}-{:016x}.wal", &name[..16], 0xffff));
        mixed.write_file(&beside, &older[0].read_file(&gone[0]).unwrap()).unwrap();
        refused(&mixed, "one number, two segments");
        let mixed = copy(&disk);
        mixed.remove(path).unwrap();
        refused(&mixed, "a segment that counts is gone");
    }
}

/// While a re-sealed segment takes its place either file counts; later the new one alone does.
#[test]
fn a_segment_of_before_a_rotation_is_not_put_back() {
    let (disk, keyring, store) = fresh();
    for n in 1..20 {
        write(&store, n, &[&format!("new {n} {}", "-".repeat(200))]);
    }
    let before = copy(&disk);
    keyring.rotate_dek(Reason::Requested).unwrap();
    rotate(&store);
    for n in 20..40 {
        write(&store, n, &[&format!("new {n} {}", "-".repeat(200))]);
    }
    drop((store, keyring));
    assert_eq!(history(&disk).unwrap().len(), 39);
    for path in segments(&before) {
        let mixed = copy(&disk);
        mixed.write_file(&path, &before.read_file(&path).unwrap()).unwrap();
        refused(&mixed, "a segment under the old DEK");
    }
}

/// What an operator accepts stays so until it was replaced: nothing makes it good in silence.
#[test]
fn an_exchanged_segment_that_was_accepted_is_not_whole_later() {
    let [a, b] = branches();
    let both = segments(&b);
    let path = segments(&a).into_iter().skip(1).find(|path| both.contains(path)).unwrap();
    a.write_file(&path, &b.read_file(&path).unwrap()).unwrap();
    let keyring = open_keyring(&a).unwrap();
    let store = Store::open(place(&a), &keyring, options().accept(Accept::Damage)).unwrap();
    assert_eq!(store.accepted(), [Accept::Damage]);
    assert_eq!(store.damages().len(), 1);
    let last = store.state().last.index;
    for n in last + 1..last + 40 {
        write(&store, n, &[&format!("more {n} {}", "-".repeat(200))]);
    }
    drop(store);
    drop(keyring);
    refused(&a, "without acceptance, after more segments");
}
