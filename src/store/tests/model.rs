//! Random changes, rotations, crashes and restarts against plain vectors.

use proptest::prelude::*;

use super::*;
use crate::fs::Loss;
use crate::key::LockRecord;

#[derive(Debug, Clone)]
enum Op {
    Append(u64),
    Truncate(u64),
    Purge(u64),
    /// Notes some more entries as committed.
    Commit(u64),
    /// A snapshot elsewhere goes beyond the log.
    Restart(u64),
    /// A leader's snapshot that ends with an entry of another history.
    Received(u64),
    Vote(u8),
    Meta(u8),
    Snapshot(u8),
    RotateDek,
    /// The DEK leaked, and with it the snapshot's content key.
    Leak,
    ChangeUnlockKey,
    RotationSteps(u8),
    Reopen,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Model {
    entries: Vec<LogId>,
    purged: LogId,
    vote: Vec<u8>,
    meta: Vec<u8>,
    committed: LogId,
    snapshot: Option<(LogId, Vec<u8>)>,
}

impl Model {
    fn last(&self) -> LogId {
        self.entries.last().copied().unwrap_or(self.purged)
    }

    fn of(store: &Store) -> Self {
        let state = store.state();
        let meta = store.meta("m").map(|value| value.expose().to_vec());
        let model = Self {
            entries: all(store).unwrap(),
            purged: state.purged,
            vote: state.vote,
            meta: meta.unwrap_or_default(),
            committed: state.committed,
            snapshot: read_snapshot(store).unwrap(),
        };
        assert_eq!(model.snapshot.as_ref().map(|(at, _)| *at), store.snapshot_at());
        assert_eq!(model.last(), state.last);
        model
    }

    /// What `op` makes of it, and the change that does so, with the snapshot that it installs.
    fn after(&self, op: &Op, term: u64) -> (Self, Change, Option<(LogId, Vec<u8>)>) {
        let (mut next, mut change) = (self.clone(), Change::new());
        let first = self.purged.index + 1;
        let mut installed = None;
        match op {
            Op::Append(count) => {
                let from = self.last().index + 1;
                change = entries(from..from + count, term);
                next.entries.extend(ids(from..from + count, term));
            }
            Op::Commit(n) => {
                let open = self.entries.iter().filter(|id| id.index > self.committed.index);
                if let Some(id) = open.take(usize::try_from(*n).unwrap() + 1).last() {
                    change.committed(*id);
                    next.committed = *id;
                }
            }
            Op::Truncate(n) => {
                let from = first.max(self.committed.index + 1);
                let from = from + n % (self.last().index + 2 - from);
                change.truncate(from);
                next.entries.retain(|id| id.index < from);
            }
            Op::Purge(n) if !self.entries.is_empty() => {
                let at = usize::try_from(*n).unwrap() % self.entries.len();
                let id = self.entries[at];
                if self.snapshot.as_ref().is_some_and(|(at, _)| id.index > at.index) {
                    installed = Some((id, vec![1; 3]));
                } else if self.snapshot.is_none() {
                    change.committed(id);
                }
                change.purge(id);
                next.purged = id;
                next.entries.drain(..=at);
            }
            Op::Received(n) => {
                let first = self.snapshot.as_ref().map_or(first, |(at, _)| first.max(at.index + 1));
                let first = first.max(self.committed.index + 1);
                let id = LogId::new(first + n % 4, Era::term(term));
                installed = Some((id, vec![2; 3]));
                change.purge(id);
                (next.purged, next.entries) = (id, Vec::new());
            }
            Op::Restart(n) if self.snapshot.is_none() => {
                let id = LogId::new(self.last().index + 1 + n % 4, Era::term(term));
                change.restart_after(id);
                (next.purged, next.entries) = (id, Vec::new());
            }
            Op::Snapshot(n) => installed = Some((self.last(), vec![*n; 3])),
            Op::Vote(n) => {
                change.vote(&[*n]);
                next.vote = vec![*n];
            }
            Op::Meta(n) => {
                change.put_meta("m", &[*n]);
                next.meta = vec![*n];
            }
            _ => {}
        }
        if next.purged.index > next.committed.index {
            next.committed = next.purged;
        }
        next.snapshot = installed.clone().or(next.snapshot);
        // A snapshot covers nothing that is not committed.
        if let Some((at, _)) = &next.snapshot
            && at.index > next.committed.index
            && next.entries.contains(at)
        {
            next.committed = *at;
        }
        (next, change, installed)
    }
}

fn do_it(
    keyring: &Keyring,
    store: &Store,
    op: &Op,
    (change, installed): (Change, Option<(LogId, Vec<u8>)>),
    version: u64,
) -> Result<()> {
    if let Some((at, content)) = installed {
        use std::io::Write;
        let mut writer = store.write_snapshot()?;
        writer.write_all(&content).map_err(Error::Stream)?;
        return store.install(writer.finish(at, b"")?, change);
    }
    match op {
        Op::RotateDek => keyring.rotate_dek(Reason::Requested).map(drop),
        Op::Leak => keyring.rotate_dek(Reason::Leaked).map(drop),
        Op::ChangeUnlockKey => {
            // The same key again would change nothing: two take turns.
            keyring.reconcile(&LockRecord::locked(version, &key(version))).map(drop)
        }
        Op::RotationSteps(n) => {
            let mut rotation = store.rotation().budget(500);
            (0..*n).try_for_each(|_| rotation.step().map(drop))
        }
        _ => store.apply(change),
    }
}

fn key(version: u64) -> UnlockKey {
    if version.is_multiple_of(2) {
        unlock_key()
    } else {
        UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(9)))
    }
}

fn open_any(disk: &SimFs) -> (Keyring, Store) {
    let mut locked = match Keyring::open(keys(disk), &me("m1"), LockPolicy::Locked).unwrap() {
        Opened::Locked(locked) => locked,
        Opened::Unlocked(_) => panic!("not locked"),
    };
    for version in 0..2 {
        locked = match locked.unlock(&key(version)) {
            Ok(keyring) => {
                let store = Store::open(place(disk), &keyring, options()).unwrap();
                return (keyring, store);
            }
            Err(failed) => failed.locked,
        };
    }
    panic!("no key fits")
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..6_u64).prop_map(Op::Append),
        2 => (0..50_u64).prop_map(Op::Truncate),
        2 => (0..50_u64).prop_map(Op::Purge),
        2 => (0..3_u64).prop_map(Op::Commit),
        1 => (0..50_u64).prop_map(Op::Received),
        1 => (0..50_u64).prop_map(Op::Restart),
        1 => any::<u8>().prop_map(Op::Vote),
        1 => any::<u8>().prop_map(Op::Meta),
        1 => any::<u8>().prop_map(Op::Snapshot),
        1 => Just(Op::RotateDek),
        1 => Just(Op::Leak),
        1 => Just(Op::ChangeUnlockKey),
        3 => (1..12_u8).prop_map(Op::RotationSteps),
        2 => Just(Op::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn it_behaves_as_vectors_do(
        ops in prop::collection::vec((op(), prop::option::weighted(0.25, (0..40_u64, 0..4_usize, any::<u64>()))), 1..30),
    ) {
        let (mut disk, mut keyring, mut store) = fresh();
        let mut model = Model::default();
        let mut version = 0;
        for (n, (op, crash)) in ops.into_iter().enumerate() {
            let (next, change, installed) = model.after(&op, u64::try_from(n).unwrap() + 1);
            version += u64::from(matches!(op, Op::ChangeUnlockKey));
            if let Some((at, _, _)) = crash {
                disk.cut_at(at);
            }
            let done = if matches!(op, Op::Reopen) {
                Ok(())
            } else {
                do_it(&keyring, &store, &op, (change, installed), version)
            };
            if let Some((_, loss, seed)) = crash {
                drop((keyring, store));
                disk = disk.after_power_cut(Loss::ALL[loss], seed);
                (keyring, store) = open_any(&disk);
                let found = Model::of(&store);
                prop_assert!(
                    found == next || (done.is_err() && found == model),
                    "{:?} {:?}: {:?}", op, done, found
                );
                model = found;
            } else {
                prop_assert!(done.is_ok(), "{:?}: {:?}", op, done);
                if matches!(op, Op::Reopen) {
                    drop((keyring, store));
                    disk = disk.after_kill();
                    (keyring, store) = open_any(&disk);
                }
                prop_assert_eq!(&Model::of(&store), &next);
                model = next;
            }
        }
        rotate(&store);
        prop_assert_eq!(keyring.status().deks.len(), 1);
        prop_assert_eq!(&Model::of(&store), &model);
        drop((keyring, store));
        let (_keyring, store) = open_any(&disk);
        prop_assert_eq!(&Model::of(&store), &model);
    }
}
