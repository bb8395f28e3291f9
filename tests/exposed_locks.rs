//! What an attacker gets with an old unlock key, an old key file or key set, or the cluster's log of
//! the time before it was locked: each test is an attack, made with what they have.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::path::Path;
use std::sync::Arc;

use nodeseal::fs::{Loss, SimFs};
use nodeseal::key::{Protection, Reconciled};
use nodeseal::keyring::{Exposed, Location};
use nodeseal::seal::{Era, LogId, RECORD_OVERHEAD};
use nodeseal::secret::{SecretBytes, SecretKey};
use nodeseal::{
    Costs, Error, Identity, Keyring, LockPolicy, LockRecord, Opened, Passphrase, Protector, Reason,
    Rekey, Result, UnlockKey,
};

const FILE: &str = "/keys/node.keys";

fn me() -> Identity {
    Identity::new("prod", "m1").unwrap()
}

fn place(disk: &SimFs) -> Location {
    Location::on(Arc::new(disk.clone()), Path::new("/keys"))
}

fn key(n: u8) -> UnlockKey {
    UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(n)))
}

fn passphrase() -> Passphrase {
    Passphrase::new(SecretBytes::from(&b"correct horse battery staple"[..])).unwrap()
}

/// With a keyspace from the beginning, so that every copy of the key file has its id.
fn create(disk: &SimFs, protector: Protector) -> Keyring {
    let keyring = Keyring::create(place(disk), &me(), protector, &[("tls", b"pem")]).unwrap();
    drop(keyring.keyspace("raft").unwrap());
    keyring
}

fn open(disk: &SimFs, key: &UnlockKey) -> Result<Keyring> {
    match Keyring::open(place(disk), &me(), LockPolicy::Any)? {
        Opened::Locked(locked) => Ok(locked.unlock(key)?),
        Opened::Unlocked(keyring) => Ok(keyring),
    }
}

/// A copy of the key file, as in a backup or in an attacker's hands.
fn copy(disk: &SimFs) -> SimFs {
    let copy = SimFs::new();
    copy.write_file(Path::new(FILE), &disk.read_file(Path::new(FILE)).unwrap()).unwrap();
    copy
}

fn seal(keyring: &Keyring, text: &[u8]) -> Vec<u8> {
    let mut record = [vec![0; RECORD_OVERHEAD], text.to_vec()].concat();
    let (log, id) = (keyring.keyspace("raft").unwrap().log(), LogId::new(1, Era::term(1)));
    log.seal_in_place(id, Era::NONE, &mut record).unwrap().durable();
    record
}

fn read(keyring: &Keyring, record: &[u8]) -> Result<Vec<u8>> {
    let mut record = record.to_vec();
    let id = LogId::new(1, Era::term(1));
    Ok(keyring.keyspace("raft")?.log().open_in_place(id, Era::NONE, &mut record)?.to_vec())
}

/// Nothing sealed is kept: every retiring DEK goes.
fn sweep(keyring: &Keyring) {
    let mut sweep = keyring.sweep().unwrap();
    sweep.shown("raft");
    sweep.finish().unwrap();
}

/// The defender makes `change` on a disk as `start` leaves it, once whole and once with the power cut at
/// each of its operations; after that the node starts again, with the first of `keys` that opens, and
/// does what it does at every start: it reconciles `record`. `look` gets what comes up.
fn with_crashes(
    start: impl Fn(&SimFs),
    keys: &[u8],
    record: &LockRecord,
    change: impl Fn(&Keyring) -> Result<()>,
    look: impl Fn(&SimFs, Keyring),
) {
    let opened = |disk: &SimFs| {
        let opened = keys.iter().find_map(|n| open(disk, &key(*n)).ok());
        opened.expect("no crash locks the owner out")
    };
    let calm = SimFs::new();
    start(&calm);
    let keyring = opened(&calm);
    let before = calm.operations();
    change(&keyring).unwrap();
    let operations = calm.operations() - before;
    assert!(operations >= 5, "it writes");
    look(&calm, keyring);
    for at in 0..operations {
        for loss in Loss::ALL {
            let disk = SimFs::new();
            start(&disk);
            let keyring = opened(&disk);
            disk.cut_at(at);
            change(&keyring).unwrap_err();
            let up = disk.after_power_cut(*loss, at);
            let keyring = opened(&up);
            keyring.reconcile(record).unwrap();
            look(&up, keyring);
        }
    }
}

/// The attacker has the old unlock key and the key file of then; the node applied the record of the new
/// key before the operator said that the old one leaked.
#[test]
fn a_leak_said_after_the_record_was_applied_ends_what_the_old_key_reads() {
    let record = LockRecord::locked(1, &key(2));
    let disk = SimFs::new();
    let keyring = create(&disk, Protector::unlock_key(&key(1)));
    let stolen = copy(&disk);
    keyring.reconcile_with(&record, Rekey::KeepDek).unwrap();
    let said = keyring.reconcile_with(&record, Rekey::Leaked).unwrap();
    assert_eq!(said, Reconciled::Applied);
    let sealed = seal(&keyring, b"after the leak");
    let attacker = open(&stolen, &key(1)).unwrap();
    assert!(matches!(read(&attacker, &sealed), Err(Error::UnknownDek(_))));
    assert_eq!(keyring.status().protection, Protection::Locking);
}

/// The same with the leak in the record, whatever the call that applies it says and wherever it is cut.
#[test]
fn a_leak_in_the_record_ends_what_the_old_key_reads_on_every_node() {
    let applied = LockRecord::locked(1, &key(2));
    let leaked = applied.with_key(&key(3)).unwrap().with_leak();
    let dir = SimFs::new();
    drop(create(&dir, Protector::unlock_key(&key(1))));
    with_crashes(
        |disk| {
            disk.write_file(Path::new(FILE), &dir.read_file(Path::new(FILE)).unwrap()).unwrap();
            let keyring = open(disk, &key(1)).unwrap();
            keyring.reconcile_with(&applied, Rekey::KeepDek).unwrap();
        },
        &[3, 2],
        &leaked,
        |keyring| keyring.reconcile_with(&leaked, Rekey::KeepDek).map(drop),
        |_, keyring| {
            let sealed = seal(&keyring, b"after the leak");
            let attacker = open(&copy(&dir), &key(1)).unwrap();
            assert!(matches!(read(&attacker, &sealed), Err(Error::UnknownDek(_))));
            let status = keyring.status();
            assert!(status.deks[1].exposed && status.leak == 2);
            assert_eq!(status.protection, Protection::Locking);
            assert_eq!(keyring.reconcile(&leaked).unwrap(), Reconciled::Unchanged, "once");
        },
    );
}

/// A node that was away sees only a record that came later.
#[test]
fn a_node_that_was_away_says_what_leaked() {
    let disk = SimFs::new();
    let keyring = create(&disk, Protector::unlock_key(&key(1)));
    let leaked = LockRecord::locked(0, &key(1)).with_key(&key(2)).unwrap().with_leak();
    let later = leaked.with_key(&key(3)).unwrap();
    keyring.reconcile(&later).unwrap();
    let status = keyring.status();
    assert_eq!(status.protection, Protection::Locking);
    assert!(status.deks[1].exposed && !status.deks[0].exposed);
    assert_eq!(status.attachments, [("tls".to_owned(), true)]);
    // A node that joins after it has nothing that leaked.
    let keyring = create(&SimFs::new(), Protector::lock_record(&later));
    assert_eq!(keyring.reconcile(&later).unwrap(), Reconciled::Unchanged);
    assert_eq!(keyring.status().protection, Protection::Locked);
}

/// An attacker need not do anything: the reply that carried the new key is lost.
#[test]
fn a_new_key_that_its_operator_never_got_locks_nobody_out() {
    let (old, lost) = (LockRecord::locked(0, &key(1)), UnlockKey::generate().unwrap());
    let record = old.with_pending(&lost).unwrap();
    let start = |disk: &SimFs| drop(create(disk, Protector::unlock_key(&key(1))));
    let apply = |keyring: &Keyring| keyring.reconcile(&record).map(drop);
    with_crashes(start, &[1], &record, apply, |disk, keyring| {
        assert!(keyring.status().pending_unlock_key);
        drop(keyring);
        let keyring = open(disk, &key(1)).unwrap();
        // Nobody can type it, so nobody can confirm it.
        assert!(!record.is_pending_for(&key(1)) && record.is_for(&key(1)));
        keyring.reconcile(&record.withdraw().unwrap()).unwrap();
        assert!(!keyring.status().pending_unlock_key);
        drop(keyring);
        assert!(matches!(open(disk, &lost), Err(Error::WrongKey)));
        open(disk, &key(1)).unwrap();
    });
}

/// The attacker has the key set of before the leak, and in it the auth of the unlock key's slot.
#[test]
fn the_holder_of_an_old_key_set_forges_until_the_unlock_key_changes_and_the_status_says_so() {
    let disk = SimFs::new();
    let keyring = create(&disk, Protector::unlock_key(&key(1)));
    keyring.add_passphrase(&passphrase(), Costs::FLOOR).unwrap();
    // What the key set holds of the slot is what a lock record holds of the key.
    let card = LockRecord::locked(7, &key(1)).encode();
    let forge = |operator: &UnlockKey| {
        let forged = SimFs::new();
        let card = LockRecord::decode(card.expose()).unwrap();
        drop(create(&forged, Protector::lock_record(&card)));
        open(&forged, operator).map(drop)
    };
    keyring.rotate_dek(Reason::Leaked).unwrap();
    keyring.attach("tls", b"another").unwrap();
    sweep(&keyring);
    let left = |keyring: &Keyring| (keyring.status().protection, keyring.status().exposed());
    let exposed = vec![Exposed::UnlockKey, Exposed::Passphrases(1)];
    assert_eq!(left(&keyring), (Protection::Locking, exposed));
    forge(&key(1)).unwrap();

    // Restarted with the passphrase, then with a new unlock key, in two steps; no crash forgets it.
    drop(keyring);
    let Opened::Locked(file) = Keyring::open(place(&disk), &me(), LockPolicy::Locked).unwrap()
    else {
        panic!("not locked")
    };
    let keyring = file.unlock_with_passphrase(&passphrase()).unwrap();
    assert_eq!(left(&keyring), (Protection::Locking, vec![Exposed::UnlockKey]));
    drop(keyring);
    let whole = disk.read_file(Path::new(FILE)).unwrap();
    let pending = LockRecord::locked(0, &key(1)).with_pending(&key(2)).unwrap();
    let confirmed = pending.confirm().unwrap();
    let start = |disk: &SimFs| {
        disk.write_file(Path::new(FILE), &whole).unwrap();
        open(disk, &key(1)).unwrap().reconcile(&pending).unwrap();
    };
    let confirm = |keyring: &Keyring| keyring.reconcile(&confirmed).map(drop);
    with_crashes(start, &[2], &confirmed, confirm, |disk, keyring| {
        // The DEK of the time between was under the slot that was exposed.
        assert_eq!(keyring.status().protection, Protection::Locking);
        keyring.attach("tls", b"a third").unwrap();
        sweep(&keyring);
        assert_eq!(left(&keyring), (Protection::Locked, Vec::new()));
        drop(keyring);
        assert!(matches!(open(disk, &key(1)), Err(Error::WrongKey)));
    });
    assert!(matches!(forge(&key(2)), Err(Error::WrongKey)));
}

/// The thief has a copy of the unlocked key file, and the disk of any later time: the log's entry that
/// locked the cluster is under the DEK of the copy.
#[cfg(feature = "cluster")]
#[test]
fn the_first_lock_is_not_the_last_change_that_hygiene_asks_for() {
    use nodeseal::cluster::{Cluster, Command, KeyReport, Labels, Request, UnlockKeyTask};
    use nodeseal::grant::{NodeId, Time};

    let mut cluster = Cluster::new();
    let apply = |cluster: &mut Cluster, request: Request| {
        let command = Command { at: Time::default(), by: "ops".to_owned(), request };
        cluster.apply(cluster.applied() + 1, command).result.unwrap();
    };
    let node = NodeId::new("m1").unwrap();
    let put = Request::PutNode { node: node.clone(), labels: Labels::new(), public_key: None };
    apply(&mut cluster, put);
    let report = |cluster: &mut Cluster, keyring: &Keyring| {
        let report = KeyReport::from(&keyring.status());
        apply(cluster, Request::ReportKeys { node: node.clone(), report });
    };
    let set = |cluster: &mut Cluster, record: LockRecord| {
        apply(cluster, Request::SetLock { record: Arc::new(record), rotation: false });
    };

    let disk = SimFs::new();
    let keyring = create(&disk, Protector::none());
    report(&mut cluster, &keyring);
    let stolen = copy(&disk);
    let first = LockRecord::retrievable(1, &key(1));
    let entry = seal(&keyring, first.encode().expose());
    set(&mut cluster, LockRecord::decode(first.encode().expose()).unwrap());
    keyring.reconcile(&first).unwrap();
    report(&mut cluster, &keyring);
    assert_eq!(cluster.unlock_key_task(), None, "it would come under the same DEKs");
    keyring.attach("tls", b"another").unwrap();
    sweep(&keyring);
    report(&mut cluster, &keyring);
    assert_eq!(keyring.status().protection, Protection::Locked);

    let thief = open(&stolen, &key(9)).unwrap();
    let found = LockRecord::decode(&read(&thief, &entry).unwrap()).unwrap();
    let found = found.unlock_key().unwrap();
    open(&copy(&disk), found).unwrap();
    assert_eq!(cluster.unlock_key_task(), Some(UnlockKeyTask::Change), "which is why it asks");

    let pending = first.with_pending(&key(2)).unwrap();
    let entry = seal(&keyring, pending.encode().expose());
    set(&mut cluster, LockRecord::decode(pending.encode().expose()).unwrap());
    assert!(matches!(read(&thief, &entry), Err(Error::UnknownDek(_))));
    keyring.reconcile(&pending).unwrap();
    report(&mut cluster, &keyring);
    assert_eq!(cluster.unlock_key_task(), Some(UnlockKeyTask::Confirm));
    assert!(matches!(cluster.confirm_unlock_key(&key(1)), Err(Error::WrongKey)));
    let confirm = cluster.confirm_unlock_key(&key(2)).unwrap();
    apply(&mut cluster, confirm);
    keyring.reconcile(cluster.lock_record().unwrap()).unwrap();
    sweep(&keyring);
    report(&mut cluster, &keyring);
    assert_eq!(cluster.unlock_key_task(), None);
    drop(keyring);
    assert!(matches!(open(&disk, found), Err(Error::WrongKey)));
    assert_eq!(open(&disk, &key(2)).unwrap().status().protection, Protection::Locked);
}

/// One who can flip a bit of the record, or an accident that does: no such record reaches a key file.
#[test]
fn a_lock_record_with_a_flipped_bit_locks_nobody_out() {
    for record in [
        LockRecord::locked(1, &key(2)),
        LockRecord::locked(0, &key(2)).with_pending(&key(3)).unwrap(),
    ] {
        let whole = record.encode();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.expose().to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let decoded = LockRecord::decode(&flipped);
            assert!(
                matches!(decoded, Err(Error::Damaged { .. } | Error::Unsupported { .. })),
                "bit {bit}"
            );
        }
    }
}

#[test]
fn no_version_leaves_no_room_for_the_next() {
    let disk = SimFs::new();
    let keyring = create(&disk, Protector::unlock_key(&key(1)));
    for version in [u64::MAX, u64::MAX - 1, 1 << 33] {
        let refused = keyring.reconcile(&LockRecord::locked(version, &key(2)));
        assert!(matches!(refused, Err(Error::Misuse(_))), "{version}: {refused:?}");
    }
    keyring.reconcile(&LockRecord::locked(1 << 32, &key(2))).unwrap();
    let far = LockRecord::locked(u64::MAX, &key(2)).encode();
    assert!(matches!(LockRecord::decode(far.expose()), Err(Error::Damaged { .. })));
    let joins = Keyring::create(
        place(&SimFs::new()),
        &me(),
        Protector::lock_record(&LockRecord::locked(u64::MAX, &key(2))),
        &[],
    );
    assert!(matches!(joins, Err(Error::Misuse(_))));
    drop(keyring);
    open(&disk, &key(2)).unwrap();
}
