//! Every kind of error that a key file gives, and that none of them tells a secret.

use std::io;

use super::*;
use crate::error::ErrorKind;

const PHRASE: &str = "correct horse";
const GUESS: &str = "incorrect horse";

fn open_locked(disk: &SimFs) -> Error {
    Keyring::open(place(disk), &me(), LockPolicy::Locked).unwrap_err()
}

/// Every error that a caller may see, each from the call that gives it.
fn all() -> Vec<(ErrorKind, Error)> {
    let (disk, keyring) = locked();
    keyring.add_passphrase(&passphrases::phrase(PHRASE), passphrases::cheap()).unwrap();
    let mut errors = vec![
        (ErrorKind::Busy, open_locked(&disk)),
        (
            ErrorKind::Busy,
            Keyring::create(place(&disk), &me(), Protector::none(), &[]).unwrap_err(),
        ),
        (ErrorKind::Missing, open_locked(&SimFs::new())),
        (ErrorKind::Missing, Keyring::inspect(place(&SimFs::new())).unwrap_err()),
    ];
    let conflict = keyring.reconcile(&LockRecord::locked(0, &key(2))).unwrap_err();
    errors.push((ErrorKind::Misuse, conflict));
    let entry = sealed(&keyring, 1);
    let (_, stranger) = locked();
    errors.push((ErrorKind::Key, entry.open(&stranger).unwrap_err()));

    disk.fail_at(1, io::ErrorKind::Other);
    errors.push((ErrorKind::Io, keyring.attach("x", PEM).unwrap_err()));
    errors.push((ErrorKind::Poisoned, keyring.attach("x", PEM).unwrap_err()));
    drop(keyring);
    disk.fail_at(0, io::ErrorKind::Other);
    errors.push((ErrorKind::Io, open_locked(&disk)));
    let exists = Keyring::create(place(&disk), &me(), Protector::none(), &[]).unwrap_err();
    errors.push((ErrorKind::Expectation, exists));
    errors.push((ErrorKind::Key, unlock(&disk, &key(2)).unwrap_err()));
    let Opened::Locked(file) = Keyring::open(place(&disk), &me(), LockPolicy::Locked).unwrap()
    else {
        panic!("not locked")
    };
    let failed = file.unlock_with_passphrase(&passphrases::phrase(GUESS)).unwrap_err();
    errors.push((ErrorKind::Key, failed.into()));

    let other = Identity::new("prod", "m2").unwrap();
    let other = Keyring::open(place(&disk), &other, LockPolicy::Locked).unwrap_err();
    errors.push((ErrorKind::Expectation, other));
    let (whole, lines) = (bytes(&disk), above(&disk));
    let altered = |text: String| {
        put(&disk, &checked(text.as_bytes()));
        unlock(&disk, &key(1)).unwrap_err()
    };
    errors.push((ErrorKind::Damaged, altered(lines.replacen("epoch 2", "epoch 3", 1))));
    errors.push((ErrorKind::Damaged, altered(lines.replacen("epoch 2", "epoch x", 1))));
    errors.push((ErrorKind::Unsupported, altered(lines.replacen("keys 1", "keys 9", 1))));
    put(&disk, &whole[1..]);
    errors.push((ErrorKind::Damaged, open_locked(&disk)));
    let clear = SimFs::new();
    drop(create(&clear, Protector::none()));
    errors.push((ErrorKind::Expectation, open_locked(&clear)));
    let text = key(1).to_text();
    errors.push((ErrorKind::Key, UnlockKey::from_text(&text[1..]).unwrap_err()));
    errors.push((ErrorKind::Key, UnlockKey::from_text(&text[..51]).unwrap_err()));
    errors
}

#[test]
fn every_kind_is_what_it_says() {
    for (n, (kind, error)) in all().iter().enumerate() {
        assert_eq!(error.kind(), *kind, "{n}: {error:?}");
    }
}

#[test]
fn variants_are_told_apart() {
    let errors: Vec<Error> = all().into_iter().map(|(_, error)| error).collect();
    macro_rules! among {
        ($($variant:pat),+ $(,)?) => {
            $(assert!(errors.iter().any(|e| matches!(e, $variant)), "{}", stringify!($variant));)+
        };
    }
    among!(
        Error::WrongKey,
        Error::UnknownDek(_),
        Error::KeyText(_),
        Error::Unauthentic,
        Error::Damaged { .. },
        Error::Unsupported { .. },
        Error::ExpectedLocked,
        Error::OtherIdentity { .. },
        Error::Missing(_),
        Error::Exists(_),
        Error::Busy(_),
        Error::Poisoned,
        Error::Io { op: "create", .. },
        Error::Io { op: "open", .. },
        Error::Misuse(Misuse::ConflictingLockRecord { version: 0 }),
    );
}

#[test]
fn no_error_tells_a_key() {
    let text = key(1).to_text();
    let (body, other) = (text["SWMKEY-1-".len()..].to_owned(), key(2).to_text());
    let pem = core::str::from_utf8(PEM).unwrap();
    let secrets = [&body[..20], &other[9..29], PHRASE, GUESS, pem];
    for (_, error) in all() {
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
        }
    }
}

#[test]
fn a_poisoned_keyring_refuses_all_but_opening() {
    let (disk, keyring) = locked();
    let entry = sealed(&keyring, 1);
    let log = raft(&keyring).unwrap().log();
    let swept = shown(&keyring).unwrap();
    let mut old = sealed(&keyring, 2);
    let stream =
        raft(&keyring).unwrap().streams().create("s", io::Cursor::new(Vec::new())).unwrap();
    let (stream, in_flight) = stream.finish(LogId::START, b"").unwrap();
    in_flight.durable();
    let mut header = *stream.get_ref().first_chunk().unwrap();
    keyring.rotate_dek(Reason::Requested).unwrap();
    let before = keyring.status();
    disk.fail_at(2, io::ErrorKind::Other);
    assert!(matches!(keyring.rotate_dek(Reason::Leaked), Err(Error::Io { op: "write", .. })));

    let other = keyring.clone();
    let calls = [
        other.rotate_dek(Reason::Leaked).map(drop),
        other.rotate_dek(Reason::Requested).map(drop),
        other.reconcile(&LockRecord::locked(0, &key(1))).map(drop),
        other.reconcile(&LockRecord::locked(1, &key(2))).map(drop),
        other.sweep().map(drop),
        swept.finish().map(drop),
        other.attach("tls", PEM),
        other.attach("x", PEM),
        other.detach("x").map(drop),
        other.detach("tls").map(drop),
        other.add_passphrase(&passphrases::phrase(PHRASE), passphrases::cheap()),
        other.remove_passphrases(),
        seal(&log, 3).map(drop),
        log.reseal(id(2), TERM, &mut old.record).map(drop),
        raft(&other).unwrap().cells().seal("t", b"r", b"v").map(drop),
        raft(&other).unwrap().streams().reseal_header("s", &mut header).map(drop),
    ];
    for (n, refused) in calls.into_iter().enumerate() {
        assert!(matches!(refused, Err(Error::Poisoned)), "{n}: {refused:?}");
    }
    let mut after = keyring.status();
    assert!(core::mem::take(&mut after.poisoned));
    assert_eq!(after, before);
    entry.open(&keyring).unwrap();
    old.open(&other).unwrap();
    assert_eq!(keyring.attachment("tls").unwrap().expose(), PEM);

    // The file is locked until the last handle goes; opened anew, it goes on.
    drop((keyring, other));
    assert!(matches!(open_locked(&disk), Error::Busy(_)));
    drop(log);
    let keyring = unlock(&disk, &key(1)).unwrap();
    assert!(!keyring.status().poisoned);
    keyring.rotate_dek(Reason::Leaked).unwrap();
    entry.open(&keyring).unwrap();
}

#[test]
fn a_destroyed_key_file_is_gone_for_every_handle() {
    let (disk, keyring) = locked();
    let log = raft(&keyring).unwrap().log();
    let whole = bytes(&disk);
    let other = keyring.clone();
    keyring.destroy().unwrap();
    assert!(matches!(seal(&log, 1), Err(Error::Poisoned)));
    assert!(matches!(other.rotate_dek(Reason::Requested), Err(Error::Poisoned)));
    assert!(matches!(other.destroy(), Err(Error::Poisoned)));
    assert!(matches!(open_locked(&disk), Error::Missing(_)));
    assert_eq!(disk.paths(), [Path::new("/keys/node.keys.lock")]);
    // Whatever a power cut makes of it, the file does not come back with its keys.
    for loss in crate::fs::Loss::ALL {
        let up = disk.after_power_cut(*loss, 1);
        assert_eq!(up.read_file(Path::new(FILE)), None);
    }
    // A locked one can be destroyed without its key, and another made.
    let keyring = create(&disk, Protector::unlock_key(&key(1)));
    assert_ne!(bytes(&disk), whole);
    drop(keyring);
    let Opened::Locked(file) = Keyring::open(place(&disk), &me(), LockPolicy::Locked).unwrap()
    else {
        panic!("not locked")
    };
    file.destroy().unwrap();
    create(&disk, Protector::none());
}

/// Whoever accounts for unlocks sees the failed ones too, and what cannot be recorded does not
/// happen.
#[test]
fn unlocks_are_reported_before_they_happen() {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::audit::{Action, Event, Sink};

    #[derive(Default)]
    struct Events {
        seen: Mutex<Vec<Event>>,
        full: AtomicBool,
    }
    impl Sink for Events {
        fn record(&self, event: &Event) -> Result<()> {
            self.seen.lock().map_err(|_| Error::Poisoned)?.push(event.clone());
            if self.full.load(Ordering::Relaxed) { Err(Error::Poisoned) } else { Ok(()) }
        }
    }

    let disk = SimFs::new();
    let (key, other) = (UnlockKey::generate().unwrap(), UnlockKey::generate().unwrap());
    let at = || Location::on(Arc::new(disk.clone()), "/keys");
    let me = Identity::new("prod", "m1").unwrap();
    drop(Keyring::create(at(), &me, Protector::unlock_key(&key), &[]).unwrap());
    let Opened::Locked(locked) = Keyring::open(at(), &me, LockPolicy::Locked).unwrap() else {
        panic!("locked")
    };
    let sink = Arc::new(Events::default());
    let failed = locked.audited(Arc::clone(&sink) as Arc<dyn Sink>).unlock(&other).unwrap_err();
    sink.full.store(true, Ordering::Relaxed);
    let unrecorded = failed.locked.unlock(&key).unwrap_err();
    assert!(matches!(unrecorded.error, Error::Poisoned));
    sink.full.store(false, Ordering::Relaxed);
    assert!(unrecorded.locked.unlock(&key).is_ok());

    let seen = sink.seen.lock().unwrap();
    let actions: Vec<_> = seen.iter().map(|event| event.action).collect();
    let (unlocked, failed) = (Action::Unlocked, Action::UnlockFailed);
    assert_eq!(actions, [failed, unlocked, failed, unlocked]);
    assert_eq!(seen[0].detail.as_deref(), Some("wrong key"));
    assert_eq!(seen[0].node.as_ref().map(|node| node.as_str()), Some("m1"));
}
