use super::*;
use crate::audit::Action;
use crate::fs::{Loss, SimFs};
use crate::grant::{SecretId, Time};

fn key() -> AuditKey {
    AuditKey::from_bytes(&[7; 32]).unwrap()
}

fn log() -> PathBuf {
    PathBuf::from("/audit.log")
}

fn event(n: u64) -> Event {
    let mut event = Event::new(Action::SecretCreated, Time::from_seconds(951_782_400 + n));
    event.index = Some(n);
    event.by = format!("ops {n}");
    event.secret = Some(SecretId::new(&format!("s{n}")).unwrap());
    event
}

fn create(disk: &SimFs) -> FileSink {
    FileSink::create_on(Arc::new(disk.clone()), log(), &key()).unwrap()
}

fn open(disk: &SimFs) -> Result<FileSink> {
    FileSink::open_on(Arc::new(disk.clone()), log(), &key(), None)
}

fn check(disk: &SimFs, anchor: Option<&Anchor>) -> Result<read::Found> {
    let marked = End::read(disk, &log(), &key().for_end())?;
    read::check(disk, &log(), &key().for_lines(), &marked, anchor)
}

/// A disk with a file of `lines` lines.
fn with_lines(lines: u64) -> SimFs {
    let disk = SimFs::new();
    let sink = create(&disk);
    (1..=lines).for_each(|n| sink.record(&event(n)).unwrap());
    disk
}

fn bytes(disk: &SimFs, path: &Path) -> Vec<u8> {
    fs::read(disk, path, 1 << 20).unwrap()
}

/// The line at which a check fails.
fn bad_line(disk: &SimFs) -> u64 {
    match check(disk, None) {
        Err(Error::Damaged { place, .. }) => place.index.unwrap(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("not found out"),
    }
}

#[test]
fn a_line_is_json_with_the_fields_in_their_order() {
    let disk = SimFs::new();
    let sink = create(&disk);
    let mut odd = event(9);
    odd.by = "a \"name\"\\\n\u{1b}[1mé".to_owned();
    sink.record(&odd).unwrap();
    let text = String::from_utf8(bytes(&disk, &log())).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(parsed["n"], 1);
    assert_eq!(parsed["by"], odd.by);
    assert_eq!(parsed["index"], 9);
    assert!(!text.contains('\u{1b}'));
    let head =
        "{\"n\":1,\"time\":\"2000-02-29T00:00:09Z\",\"action\":\"secret.create\",\"index\":9,";
    assert!(text.starts_with(head), "{text}");
    // The documented code over the documented bytes.
    let (body, chain) = text.trim_end().split_once(",\"chain\":\"").unwrap();
    let code = crate::crypto::hmac::code(&key().for_lines(), &[&[0; 32], body.as_bytes()]);
    let hex: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(chain, format!("{hex}\"}}"));
}

#[test]
fn it_goes_on_after_a_restart() {
    let disk = with_lines(3);
    let sink = open(&disk).unwrap();
    assert_eq!((sink.anchor().lines(), sink.last_index()), (3, Some(3)));
    let more = [event(5), event(4)];
    sink.record_all(&more).unwrap();
    assert_eq!(sink.last_index(), Some(5));
    assert!(matches!(open(&disk), Err(Error::Busy(_))));
    let anchor = sink.anchor();
    drop(sink);
    assert_eq!(check(&disk, Some(&anchor)).unwrap().at, anchor);
    assert_eq!(Anchor::from_bytes(&anchor.to_bytes()).unwrap(), anchor);
    assert!(FileSink::create_on(Arc::new(disk.clone()), log(), &key()).is_err());
    let other = AuditKey::generate().unwrap();
    assert!(FileSink::open_on(Arc::new(disk), log(), &other, None).is_err());
}

#[test]
fn every_byte_that_is_altered_shows_and_in_which_line() {
    let disk = with_lines(4);
    let whole = bytes(&disk, &log());
    let mut line = 1;
    for (at, byte) in whole.iter().enumerate() {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        disk.write_file(&log(), &altered).unwrap();
        assert_eq!(bad_line(&disk), line, "byte {at}");
        line += u64::from(*byte == b'\n');
    }
}

#[test]
fn lines_that_are_removed_moved_added_or_cut_show() {
    let disk = with_lines(5);
    let whole = bytes(&disk, &log());
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let put = |order: &[usize]| {
        let bytes: Vec<u8> = order.iter().flat_map(|n| lines[*n]).copied().collect();
        disk.write_file(&log(), &bytes).unwrap();
        bad_line(&disk)
    };
    assert_eq!(put(&[0, 2, 3, 4]), 2, "removed");
    assert_eq!(put(&[1, 2, 3, 4]), 1, "the first one removed");
    assert_eq!(put(&[0, 1, 3, 2, 4]), 3, "moved");
    assert_eq!(put(&[0, 1, 1, 2, 3, 4]), 3, "twice");
    assert_eq!(put(&[0, 1, 2, 3]), 5, "the last one cut");
    assert_eq!(put(&[]), 1, "all of them cut");
    for len in 0..whole.len() {
        disk.write_file(&log(), &whole[..len]).unwrap();
        let left = whole[..len].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(bad_line(&disk), u64::try_from(left).unwrap() + 1, "cut to {len}");
    }
    // Behind the end, what is no line counts as a write that did not finish, and is no evidence.
    let added = [&whole[..], b"{\"n\":6,\"time\":\"2000"].concat();
    disk.write_file(&log(), &added).unwrap();
    assert_eq!(check(&disk, None).unwrap().unfinished, 19);
    drop(open(&disk).unwrap());
    assert_eq!(bytes(&disk, &log()), whole);
}

#[test]
fn what_is_put_back_with_its_end_mark_shows_by_the_anchor() {
    let disk = with_lines(2);
    let mark = end::path(&log());
    let old = [log(), mark.clone()].map(|path| (path.clone(), bytes(&disk, &path)));
    let sink = open(&disk).unwrap();
    sink.record(&event(3)).unwrap();
    let anchor = sink.anchor();
    drop(sink);
    // The end mark alone, or the file alone.
    let new = [log(), mark].map(|path| (path.clone(), bytes(&disk, &path)));
    disk.write_file(&old[0].0, &old[0].1).unwrap();
    assert_eq!(bad_line(&disk), 3);
    disk.write_file(&old[1].0, &old[1].1).unwrap();
    assert!(check(&disk, None).is_ok(), "this is what the anchor is for");
    assert!(matches!(
        check(&disk, Some(&anchor)),
        Err(Error::RolledBack { what: "audit file", found: 2, expected: 3 })
    ));
    disk.write_file(&new[0].0, &new[0].1).unwrap();
    assert_eq!(check(&disk, Some(&anchor)).unwrap().at, anchor, "an older mark alone is no harm");
    // Another file of the same key, as long.
    let other = SimFs::new();
    let sink = create(&other);
    (4..=6).for_each(|n| sink.record(&event(n)).unwrap());
    assert!(matches!(check(&other, Some(&anchor)), Err(Error::Damaged { .. })));
    let at_end = disk.remove(&end::path(&log()));
    at_end.unwrap();
    assert!(matches!(check(&disk, None), Err(Error::Missing(_))));
    let whole = [&b"{\"n\":"[..], &[b'9'; 2 << 20]].concat();
    drop(with_lines(0));
    disk.write_file(&log(), &whole).unwrap();
    drop(End::create(&disk, &log(), key().for_end(), &Anchor::START).unwrap());
    assert_eq!(check(&disk, None).unwrap().unfinished, whole.len() as u64);
}

/// At every operation of a life, the power goes: what was recorded is there, and it goes on.
#[test]
fn what_was_recorded_survives_a_power_cut() {
    let life = |disk: &SimFs| {
        let mut recorded = 0;
        let run = |recorded: &mut u64| -> Result<()> {
            let fs: Arc<dyn Fs> = Arc::new(disk.clone());
            let sink = FileSink::create_on(Arc::clone(&fs), log(), &key())?;
            sink.record(&event(1))?;
            *recorded = 1;
            sink.record_all(&[event(2), event(3), event(4)])?;
            *recorded = 4;
            drop(sink);
            let sink = FileSink::open_on(fs, log(), &key(), None)?;
            sink.record(&event(5))?;
            *recorded = 5;
            Ok(())
        };
        let _ = run(&mut recorded);
        recorded
    };
    let whole = SimFs::new();
    assert_eq!(life(&whole), 5);
    for at in 0..=whole.operations() {
        for fails in [false, true] {
            let disk = SimFs::new();
            if fails {
                disk.fail_at(at, std::io::ErrorKind::Other)
            } else {
                disk.cut_at(at)
            }
            let recorded = life(&disk);
            for loss in Loss::ALL {
                for seed in 0..4 {
                    let disk = disk.after_power_cut(*loss, seed);
                    let sink = match open(&disk) {
                        Ok(sink) => sink,
                        // Its creation did not come to an end.
                        Err(Error::Missing(_)) if recorded == 0 => create(&disk),
                        Err(error) => panic!("at {at}, {loss:?}, {recorded} recorded: {error}"),
                    };
                    let lines = sink.anchor().lines();
                    assert!(lines >= recorded, "at {at}, {loss:?}: {lines} of {recorded}");
                    sink.record(&event(6)).unwrap();
                    drop(sink);
                    let found = check(&disk, None).unwrap();
                    assert_eq!((found.at.lines, found.unfinished), (lines + 1, 0));
                }
            }
        }
    }
}

#[test]
fn after_a_failed_write_nothing_more_is_taken() {
    let disk = SimFs::new();
    let sink = create(&disk);
    disk.fail_at(0, std::io::ErrorKind::StorageFull);
    assert!(matches!(sink.record(&event(1)), Err(Error::Io { .. })));
    assert!(matches!(sink.record(&event(1)), Err(Error::Poisoned)));
    drop(sink);
    open(&disk).unwrap().record(&event(1)).unwrap();
}
