//! What the log makes of corruption: of what was acknowledged an error, of what was not nothing.

use nodeseal::fs::Loss;
use nodeseal::{Error, ErrorKind, Reason};

use super::plain_log::{HEAD, SECTOR};
use super::*;

type Fault<'a> = (&'a str, &'a dyn Fn(&SimFs));

/// The file of [`start`], with every append and mark durable.
fn settled() -> SimFs {
    let disk = start().after_power_cut(Loss::Kept, 0);
    assert_eq!(view(&open(&disk).unwrap().1).unwrap(), started());
    disk.after_power_cut(Loss::Kept, 0)
}

/// Opens a log whose acknowledged part is corrupted: an error that changes nothing.
fn is_refused(disk: &SimFs, what: &str) {
    let before = bytes(disk);
    match open(disk) {
        Err(e) => assert_eq!(e.kind(), ErrorKind::Damaged, "{what}: {e}"),
        Ok((_, log)) => panic!("{what}: opened with {:?}", view(&log)),
    }
    assert_eq!(bytes(disk), before, "{what}");
}

#[test]
fn every_byte_of_what_was_acknowledged_counts() {
    let disk = settled();
    let whole = bytes(&disk);
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        write(&disk, &flipped);
        if at < HEAD {
            // The other mark says the same.
            assert_eq!(view(&open(&disk).unwrap().1).unwrap(), started(), "{at}");
        } else {
            is_refused(&disk, &format!("byte {at}"));
        }
    }
}

#[test]
fn every_sector_and_every_length_of_what_was_acknowledged_counts() {
    let disk = settled();
    let whole = bytes(&disk);
    for sector in (HEAD..whole.len()).step_by(SECTOR) {
        let mut zeroed = whole.clone();
        let end = whole.len().min(sector + SECTOR);
        zeroed[sector..end].fill(0);
        write(&disk, &zeroed);
        is_refused(&disk, &format!("sector {sector}"));
    }
    for len in 0..whole.len() {
        write(&disk, &whole[..len]);
        is_refused(&disk, &format!("{len} bytes"));
    }
    let mut unmarked = whole;
    unmarked[..HEAD].fill(0);
    write(&disk, &unmarked);
    is_refused(&disk, "no mark");
}

#[test]
fn whatever_is_left_of_an_append_that_was_not_acknowledged_does_not_count() {
    let base = start();
    let disk = base.after_kill();
    let (keyring, mut log) = open(&disk).unwrap();
    let begun = bytes(&disk).len();
    // Amid the sync: everything is written, nothing acknowledged.
    disk.cut_at(1);
    append(&mut log, 2, 6).unwrap_err();
    drop((log, keyring));
    let disk = disk.after_power_cut(Loss::Kept, 0);
    let whole = bytes(&disk);
    assert!(whole.len() > begun + 4 * SECTOR, "{begun} to {}", whole.len());
    let opens_without = |torn: &[u8], what: &str| {
        write(&disk, torn);
        let (_keyring, mut log) = open(&disk).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(view(&log).unwrap(), started(), "{what}");
        assert_eq!(bytes(&disk).len(), begun, "{what}");
        append(&mut log, 3, 1).unwrap();
    };
    for at in begun..whole.len() {
        let mut torn = whole.clone();
        torn[at] ^= 1;
        opens_without(&torn, &format!("byte {at}"));
        opens_without(&whole[..at], &format!("{at} bytes"));
    }
    let sectors = (begun / SECTOR)..whole.len().div_ceil(SECTOR);
    for sector in sectors.map(|sector| sector * SECTOR) {
        let mut torn = whole.clone();
        let end = whole.len().min(sector + SECTOR);
        torn[sector.max(begun)..end].fill(0);
        opens_without(&torn, &format!("sector {sector}"));
    }
    write(&disk, &whole);
    assert_eq!(view(&open(&disk).unwrap().1).unwrap().len(), 10);
}

/// What the page's table says it cannot tell, and no more than that.
#[test]
fn without_its_mark_the_last_append_alone_is_taken_for_one_that_was_not_acknowledged() {
    let disk = SimFs::new();
    let keyring = new_keyring(&disk);
    let mut log = create(&disk, &keyring).unwrap();
    let mut ends = Vec::new();
    for _ in 0..4 {
        append(&mut log, 1, 1).unwrap();
        ends.push(bytes(&disk).len());
    }
    drop((log, keyring));
    let lost = disk.after_power_cut(Loss::Dropped, 0);
    let kept = disk.after_power_cut(Loss::Kept, 0);
    let (without, with) = (bytes(&lost), bytes(&kept));
    let differ = (0..HEAD).filter(|at| without[*at] != with[*at]).map(|at| at / SECTOR);
    let mark = differ.max().unwrap() * SECTOR;
    let mut torn = with.clone();
    torn[mark..mark + SECTOR].fill(0);
    for (whole, what) in [(with, "marked"), (without, "its mark is lost"), (torn, "it is torn")] {
        write(&kept, &whole);
        assert_eq!(view(&open(&kept).unwrap().1).unwrap(), started(), "{what}");
        for (n, end) in ends.iter().enumerate() {
            let mut damaged = whole.clone();
            damaged[end - 1] ^= 1;
            write(&kept, &damaged);
            if n < 3 || what == "marked" {
                is_refused(&kept, &format!("append {n}, {what}"));
            } else {
                assert_eq!(view(&open(&kept).unwrap().1).unwrap(), started()[..3], "{what}");
            }
        }
    }
}

#[test]
fn what_was_altered_and_given_the_right_crc_is_not_left_out() {
    let disk = settled();
    let whole = bytes(&disk);
    let length =
        |at: usize| usize::try_from(u64::from_le_bytes(whole[at..at + 8].try_into().unwrap()));
    let mut begin = HEAD;
    let mut altered = 0;
    while begin < whole.len() {
        let end = begin + 12 + length(begin + 4).unwrap();
        for at in begin + 12..end {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            let crc = crc32c::crc32c(&bytes[begin + 4..end]);
            bytes[begin..begin + 4].copy_from_slice(&crc.to_le_bytes());
            write(&disk, &bytes);
            let error = open(&disk).map(drop).expect_err("it was altered");
            assert_ne!(error.kind(), ErrorKind::Io, "{at}");
            altered += 1;
        }
        begin = end;
    }
    assert!(altered > 1000, "{altered}");
}

#[test]
fn an_older_key_file_is_refused_and_takes_nothing_with_it() {
    let disk = settled();
    let key_file = Path::new("/keys/node.keys");
    let older = disk.read_file(key_file).unwrap();
    let (keyring, mut log) = open(&disk).unwrap();
    keyring.rotate_dek(Reason::Requested).unwrap();
    append(&mut log, 2, 1).unwrap();
    drop((log, keyring));
    // The power cut takes the mark, which alone would show that the append was acknowledged.
    let disk = disk.after_power_cut(Loss::Dropped, 0);
    let newer = disk.read_file(key_file).unwrap();
    let before = bytes(&disk);
    disk.write_file(key_file, &older).unwrap();
    let error = open(&disk).map(drop).unwrap_err();
    assert!(matches!(error, Error::UnknownDek(_) | Error::RolledBack { .. }), "{error}");
    assert_eq!(bytes(&disk), before);
    disk.write_file(key_file, &newer).unwrap();
    assert_eq!(view(&open(&disk).unwrap().1).unwrap().len(), 5);
}

#[test]
fn what_is_corrupted_under_an_open_log_is_neither_left_out_nor_written_again() {
    let disk = settled();
    let (keyring, mut log) = open(&disk).unwrap();
    let whole = bytes(&disk);
    for at in (HEAD..whole.len()).step_by(97) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        write(&disk, &damaged);
        let errors = [view(&log).map(drop), log.sealed(|_| Ok(())), log.reseal()];
        for error in errors.map(Result::unwrap_err) {
            assert_eq!(error.kind(), ErrorKind::Damaged, "{at}: {error}");
        }
        assert_eq!(bytes(&disk), damaged, "{at}");
    }
    write(&disk, &whole);
    end_rotation(&keyring, &mut log).unwrap();
    assert_eq!(view(&log).unwrap(), started());
}

#[test]
fn a_log_that_is_gone_is_not_an_empty_one() {
    let disk = settled();
    let (keyring, log) = open(&disk).unwrap();
    let path = Path::new(FILE);
    assert!(matches!(PlainLog::open(shared(&disk), path, &keyring), Err(Error::Busy(_))));
    assert!(matches!(create(&disk, &keyring), Err(Error::Busy(_))));
    drop(log);
    assert!(matches!(create(&disk, &keyring), Err(Error::Exists(_))));
    drop(keyring);
    disk.remove(path).unwrap();
    for _ in 0..2 {
        assert!(matches!(open(&disk), Err(Error::Missing(gone)) if gone == path));
        assert!(!disk.paths().contains(&path.to_owned()));
    }
}

#[test]
fn no_append_is_acknowledged_into_a_file_that_has_lost_its_name() {
    let (dir, path, aside) = (Path::new("/raft"), Path::new(FILE), Path::new("/raft/aside"));
    let faults: [Fault<'_>; 5] = [
        ("removed", &|disk| disk.remove(path).unwrap()),
        ("renamed", &|disk| disk.rename(path, aside).unwrap()),
        ("directory renamed", &|disk| disk.rename(dir, Path::new("/elsewhere")).unwrap()),
        ("another in its place", &|disk| {
            let copy = bytes(disk);
            disk.rename(path, aside).unwrap();
            disk.create_new(path).unwrap().write_all_at(&copy, 0).unwrap();
        }),
        ("an empty one in its place", &|disk| {
            disk.rename(path, aside).unwrap();
            drop(disk.create_new(path).unwrap());
        }),
    ];
    for (what, fault) in faults {
        let disk = settled();
        let (_keyring, mut log) = open(&disk).unwrap();
        append(&mut log, 2, 1).unwrap();
        fault(&disk);
        append(&mut log, 2, 1).expect_err(what);
        assert!(matches!(append(&mut log, 2, 1), Err(Error::Poisoned)), "{what}");
        assert_eq!(log.state().last.index, 5, "{what}");
    }
}
