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
    /// A purge to an entry of another history, such as a leader's snapshot ends with.
    PurgeBeyond(u64),
    Vote(u8),
    Meta(u8),
    Snapshot(u8),
    RotateDek,
    ChangeUnlockKey,
    RotationSteps(u8),
    Restart,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Model {
    entries: Vec<LogId>,
    purged: LogId,
    vote: Vec<u8>,
    meta: Vec<u8>,
    snapshot: Vec<u8>,
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
            snapshot: read_snapshot(store).unwrap().map(|(_, bytes)| bytes).unwrap_or_default(),
        };
        assert_eq!(model.last(), state.last);
        model
    }

    /// What `op` makes of it, and the change that does so.
    fn after(&self, op: &Op, term: u64) -> (Self, Change) {
        let (mut next, mut change) = (self.clone(), Change::new());
        let first = self.purged.index + 1;
        match op {
            Op::Append(count) => {
                let from = self.last().index + 1;
                change = entries(from..from + count, term);
                next.entries.extend(ids(from..from + count, term));
            }
            Op::Truncate(n) => {
                let from = first + n % (u64::try_from(self.entries.len()).unwrap() + 1);
                change.truncate(from);
                next.entries.retain(|id| id.index < from);
            }
            Op::Purge(n) if !self.entries.is_empty() => {
                let at = usize::try_from(*n).unwrap() % self.entries.len();
                change.purge(self.entries[at]);
                next.purged = self.entries[at];
                next.entries.drain(..=at);
            }
            Op::PurgeBeyond(n) => {
                let id = LogId::new(first + n % (self.last().index + 4 - first), Era::term(term));
                change.purge(id);
                (next.purged, next.entries) = (id, Vec::new());
            }
            Op::Vote(n) => {
                change.vote(&[*n]);
                next.vote = vec![*n];
            }
            Op::Meta(n) => {
                change.put_meta("m", &[*n]);
                next.meta = vec![*n];
            }
            Op::Snapshot(n) => next.snapshot = vec![*n; 3],
            _ => {}
        }
        (next, change)
    }
}

fn do_it(keyring: &Keyring, store: &Store, op: &Op, change: Change, version: u64) -> Result<()> {
    match op {
        Op::RotateDek => keyring.rotate_dek(Reason::Requested),
        Op::ChangeUnlockKey => {
            // The same key again would change nothing: two take turns.
            keyring.reconcile(&LockRecord::locked(version, &key(version))).map(drop)
        }
        Op::RotationSteps(n) => {
            let mut rotation = store.rotation().budget(500);
            (0..*n).try_for_each(|_| rotation.step().map(drop))
        }
        Op::Snapshot(n) => {
            use std::io::Write;
            let mut writer = store.write_snapshot()?;
            writer.write_all(&[*n; 3]).map_err(Error::Stream)?;
            store.install(writer.finish(store.state().last, b"")?, change)
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
        2 => (0..50_u64).prop_map(Op::PurgeBeyond),
        1 => any::<u8>().prop_map(Op::Vote),
        1 => any::<u8>().prop_map(Op::Meta),
        1 => any::<u8>().prop_map(Op::Snapshot),
        1 => Just(Op::RotateDek),
        1 => Just(Op::ChangeUnlockKey),
        3 => (1..12_u8).prop_map(Op::RotationSteps),
        2 => Just(Op::Restart),
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
            let (next, change) = model.after(&op, u64::try_from(n).unwrap() + 1);
            version += u64::from(matches!(op, Op::ChangeUnlockKey));
            if let Some((at, _, _)) = crash {
                disk.cut_at(at);
            }
            let done = if matches!(op, Op::Restart) {
                Ok(())
            } else {
                do_it(&keyring, &store, &op, change, version)
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
                if matches!(op, Op::Restart) {
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
