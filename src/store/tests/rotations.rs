use super::*;

/// How often the files of a store name a DEK, read without the store.
fn named(disk: &SimFs, dek: crate::key::DekId) -> usize {
    let paths = disk.paths().into_iter().filter(|path| path.starts_with("/raft"));
    let bytes = dek.to_bytes();
    let count = |file: Vec<u8>| file.windows(8).filter(|w| *w == bytes).count();
    paths.filter_map(|path| disk.read_file(&path)).map(count).sum()
}

#[test]
fn everything_is_resealed_while_the_log_is_in_use() {
    let (disk, keyring, store) = fresh();
    for n in 0..20 {
        store.apply(entries(n * 3 + 1..=n * 3 + 3, 1)).unwrap();
    }
    let mut change = Change::new();
    change.put_meta("members", b"m1").vote(b"v");
    store.apply(change).unwrap();
    store.install(take_snapshot(&store, id(12, 1), b"state"), Change::new()).unwrap();
    let old = keyring.status().deks[0].id;
    keyring.rotate_dek(Reason::Requested).unwrap();
    assert!(named(&disk, old) > 60);

    // Less than a segment a step.
    let mut rotation = store.rotation().budget(900);
    let mut next = 61;
    let mut steps = Vec::new();
    loop {
        let step = rotation.step().unwrap();
        steps.push(step);
        if step == Step::Done {
            break;
        }
        // In use meanwhile: appended, truncated, purged, and the DEK rotated again.
        match steps.len() {
            1..=8 => {
                store.apply(entries(next..=next + 1, 1)).unwrap();
                next += 2;
            }
            9 => {
                let mut change = Change::new();
                change.truncate(next - 1);
                store.apply(change).unwrap();
                next -= 1;
                change = Change::new();
                change.purge(id(12, 1));
                store.apply(change).unwrap();
            }
            10 => drop(keyring.rotate_dek(Reason::Requested).unwrap()),
            _ => {}
        }
        assert_eq!(*all(&store).unwrap().last().unwrap(), id(next - 1, 1));
    }
    assert!(steps.contains(&Step::Dropped));
    assert_eq!(keyring.status().deks.len(), 1);
    assert_ne!(keyring.status().deks[0].id, old);
    assert_eq!(named(&disk, old), 0);
    assert!(store.stats().bytes_resealed > 0);
    drop((rotation, store, keyring));
    let (_keyring, store) = reopen(&disk).unwrap();
    assert_eq!(all(&store).unwrap(), ids(13..next, 1));
    assert_eq!(read_snapshot(&store).unwrap().unwrap().1, b"state");
    assert_eq!(store.meta("members").unwrap().expose(), b"m1");
}

#[test]
fn a_dek_stays_as_long_as_something_elsewhere_names_it() {
    let (_disk, keyring, store) = fresh();
    store.apply(entries(1..=3, 1)).unwrap();
    let cells = keyring.keyspace("mine").unwrap().cells();
    let cell = cells.seal("mine", b"row", b"value").unwrap();
    let bytes = Arc::new(Mutex::new(cell.bytes().to_vec()));
    keyring.rotate_dek(Reason::Requested).unwrap();
    let shown = Arc::clone(&bytes);
    let mut rotation = store.rotation().also(move |sweep| {
        sweep.see(&shown.lock().unwrap())?;
        sweep.shown("mine");
        Ok(())
    });
    for _ in 0..20 {
        assert!(!matches!(rotation.step().unwrap(), Step::Dropped | Step::Done));
    }
    cell.durable();
    for _ in 0..20 {
        assert!(!matches!(rotation.step().unwrap(), Step::Dropped | Step::Done));
    }
    let sealed = bytes.lock().unwrap().clone();
    let resealed = cells.reseal("mine", b"row", &sealed).unwrap().unwrap();
    *bytes.lock().unwrap() = resealed.bytes().to_vec();
    resealed.durable();
    while rotation.step().unwrap() != Step::Done {}
    assert_eq!(keyring.status().deks.len(), 1);
}

#[test]
fn a_rotation_that_was_interrupted_is_gone_on_with() {
    let (disk, keyring, store) = fresh();
    for n in 1..=40 {
        store.apply(entries(n..=n, 1)).unwrap();
    }
    let old = keyring.status().deks[0].id;
    keyring.rotate_dek(Reason::Requested).unwrap();
    let mut rotation = store.rotation().budget(900);
    for _ in 0..8 {
        assert!(matches!(rotation.step().unwrap(), Step::Resealed { .. }));
    }
    drop((rotation, store, keyring));
    let (keyring, store) = reopen(&disk).unwrap();
    rotate(&store);
    assert_eq!(keyring.status().deks.len(), 1);
    assert_eq!(named(&disk, old), 0);
    assert_eq!(all(&store).unwrap(), ids(1..=40, 1));
}

#[test]
fn what_a_copy_leaves_out_is_gone_in_a_state_that_is_durable() {
    // Before the copy of an entry that goes, and after.
    for (before, steps) in (0..30).flat_map(|before| [0, 1, 3, 30].map(|steps| (before, steps))) {
        let (disk, keyring, store) = fresh();
        for n in 0..8 {
            store.apply(entries(n * 3 + 1..=n * 3 + 3, 1)).unwrap();
        }
        keyring.rotate_dek(Reason::Requested).unwrap();
        let mut rotation = store.rotation().budget(300);
        for _ in 0..=before {
            rotation.step().unwrap();
        }
        let mut change = Change::new();
        // No segment is without entries after it, for that would be made durable apart.
        change.truncate(24);
        let pending = store.write(change).unwrap();
        for _ in 0..steps {
            rotation.step().unwrap();
        }
        drop(pending);
        let disk = disk.after_power_cut(crate::fs::Loss::Dropped, 0);
        let (_keyring, store) = reopen(&disk).unwrap_or_else(|e| panic!("{before} {steps}: {e}"));
        let found = all(&store).unwrap();
        let allowed = [ids(1..=23, 1), ids(1..=24, 1)];
        assert!(allowed.contains(&found), "{before} {steps}: {found:?}");
    }
}

#[test]
fn a_step_is_bounded_and_tells_what_is_left() {
    let (_disk, keyring, store) = fresh();
    for n in 0..10 {
        store.apply(entries(n * 8 + 1..=n * 8 + 8, 1)).unwrap();
    }
    let old = keyring.status().deks[0].id;
    keyring.rotate_dek(Reason::Requested).unwrap();
    let budget = 1000;
    let mut rotation = store.rotation().budget(budget);
    let (mut resealed, mut before, mut counted) = (0, u64::MAX, 0);
    loop {
        let len = |index| u64::from(store.inner.index().get(index).unwrap().len);
        let step = rotation.step().unwrap();
        match step {
            Step::Resealed { entries, left } => {
                let lens: u64 = (resealed + 1..=resealed + entries).map(len).sum();
                assert!(entries == 1 || lens <= budget, "{entries} entries of {lens} bytes");
                resealed += entries;
                assert!(left <= before && left == 80 - resealed, "{left} after {resealed}");
                assert_eq!(store.stats().entries_to_reseal, left);
                before = left;
            }
            Step::Counted => counted += 1,
            Step::Dropped => {}
            Step::Done => break,
            Step::Waiting => panic!("nothing is on its way"),
            Step::Rewritten { .. } => panic!("nothing was exposed"),
        }
    }
    assert_eq!(resealed, 80);
    assert!(counted > 20, "{counted} steps of counting");
    let stats = store.stats();
    let of = |dek| stats.deks[&dek];
    let new = keyring.status().deks[0].id;
    assert_eq!((of(old).records_sealed, of(old).records_opened), (80, 80));
    assert_eq!((of(new).records_sealed, of(new).records_opened), (80, 0));
    assert_eq!(of(new).bytes_sealed, of(old).bytes_opened);
    assert_eq!(stats.bytes_resealed, of(new).bytes_sealed);
}

#[test]
fn it_runs_at_a_rate_and_can_be_broken_off() {
    use core::ops::ControlFlow;
    let (_disk, keyring, store) = fresh();
    for n in 0..10 {
        store.apply(entries(n * 8 + 1..=n * 8 + 8, 1)).unwrap();
    }
    keyring.rotate_dek(Reason::Requested).unwrap();
    let mut steps = 0;
    let mut rotation = store.rotation().budget(1000).rate(u64::MAX);
    let done = rotation.run(|_| {
        steps += 1;
        if steps == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(!done.unwrap() && steps == 5);
    assert!(rotation.run(|_| ControlFlow::Continue(())).unwrap());
    assert_eq!(keyring.status().deks.len(), 1);
    let second = core::time::Duration::from_secs(1);
    assert_eq!(rotation::pause(256 << 10, 1 << 20), second / 4);
    assert_eq!(rotation::pause(1, 0), second);
}
