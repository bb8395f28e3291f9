//! Random lives of a node, with power cuts, errors and kills at random operations, against a
//! reference of what was sealed.

use std::collections::BTreeMap;
use std::io;

use proptest::prelude::*;

use super::*;
use crate::fs::Loss;
use crate::key::{DekId, Protection};

#[derive(Debug, Clone)]
enum Move {
    Seal,
    SealCell(u8),
    Overwrite,
    Reseal,
    ResealSome,
    Sweep,
    Rotate(Reason),
    /// Another unlock key, the same one under a newer version, or none.
    OtherKey(Rekey),
    SameKey,
    Off,
    Stale,
    Attach(u8),
    Detach(u8),
    Restart,
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    None,
    Cut { at: u64, loss: Loss, seed: u64 },
    Kill { at: u64 },
    Fail { at: u64 },
}

fn moves() -> impl Strategy<Value = Move> {
    let reason = prop_oneof![Just(Reason::Requested), Just(Reason::Age), Just(Reason::Leaked)];
    let rekey = prop_oneof![Just(Rekey::NewDek), Just(Rekey::KeepDek), Just(Rekey::Leaked)];
    prop_oneof![
        4 => Just(Move::Seal),
        1 => (0..3u8).prop_map(Move::SealCell),
        1 => Just(Move::Overwrite),
        2 => Just(Move::Reseal),
        1 => Just(Move::ResealSome),
        3 => Just(Move::Sweep),
        2 => reason.prop_map(Move::Rotate),
        1 => rekey.prop_map(Move::OtherKey),
        1 => Just(Move::SameKey),
        1 => Just(Move::Off),
        1 => Just(Move::Stale),
        1 => (0..3u8).prop_map(Move::Attach),
        1 => (0..3u8).prop_map(Move::Detach),
        1 => Just(Move::Restart),
    ]
}

fn troubles() -> impl Strategy<Value = Trouble> {
    // A write takes six operations, an opening some more.
    let at = 0..7u64;
    prop_oneof![
        6 => Just(Trouble::None),
        2 => (at.clone(), prop::sample::select(Loss::ALL), any::<u64>())
            .prop_map(|(at, loss, seed)| Trouble::Cut { at, loss, seed }),
        1 => at.clone().prop_map(|at| Trouble::Kill { at }),
        1 => at.prop_map(|at| Trouble::Fail { at }),
    ]
}

/// A node and what must be true of it.
struct Node {
    disk: SimFs,
    keyring: Option<Keyring>,
    /// The unlock keys that may be the file's: the last one, and what a call that failed wanted.
    keys: Vec<u8>,
    version: u64,
    last_key: u8,
    entries: Vec<Entry>,
    cells: BTreeMap<u8, Vec<u8>>,
    /// What each attachment is, or may be after a call that failed; empty for none.
    attached: BTreeMap<u8, Vec<Vec<u8>>>,
    next: u64,
}

impl Node {
    fn new() -> Self {
        let disk = SimFs::new();
        let protector = Protector::unlock_key(&key(1));
        let keyring = Keyring::create(place(&disk), &me(), protector, &[]).unwrap();
        Self {
            disk,
            keyring: Some(keyring),
            keys: vec![1],
            version: 0,
            last_key: 1,
            entries: Vec::new(),
            cells: BTreeMap::new(),
            attached: BTreeMap::new(),
            next: 1,
        }
    }

    fn keyring(&self) -> &Keyring {
        self.keyring.as_ref().unwrap()
    }

    fn ids(&self) -> Vec<DekId> {
        self.keyring().status().deks.iter().map(|dek| dek.id).collect()
    }

    fn run(&mut self, action: &Move) -> Result<()> {
        let keyring = self.keyring().clone();
        let log = raft(&keyring)?.log();
        match action {
            Move::Seal => {
                let (entry, in_flight) = seal(&log, self.next)?;
                self.next += 1;
                self.entries.push(entry);
                in_flight.durable();
            }
            Move::SealCell(row) => {
                let cell = raft(&keyring)?.cells().seal("t", &[*row], &[*row; 9])?;
                self.cells.insert(*row, cell.bytes().to_vec());
                cell.durable();
            }
            Move::Overwrite => {
                if let Some(entry) = self.entries.last_mut() {
                    let (new, in_flight) = seal(&log, entry.index)?;
                    *entry = new;
                    in_flight.durable();
                }
            }
            Move::Reseal | Move::ResealSome => {
                let skip = if matches!(action, Move::Reseal) { 0 } else { self.entries.len() / 2 };
                for entry in self.entries.iter_mut().skip(skip) {
                    let mut record = entry.record.clone();
                    if let Some(in_flight) = log.reseal(id(entry.index), TERM, &mut record)? {
                        entry.record = record;
                        in_flight.durable();
                    }
                }
                for (row, cell) in &mut self.cells {
                    if let Some(new) = raft(&keyring)?.cells().reseal("t", &[*row], cell)? {
                        *cell = new.bytes().to_vec();
                        new.durable();
                    }
                }
            }
            Move::Sweep => {
                let mut sweep = shown(&keyring)?;
                for sealed in self.entries.iter().map(|e| &e.record).chain(self.cells.values()) {
                    sweep.see(sealed)?;
                }
                sweep.finish()?;
            }
            Move::Rotate(reason) => keyring.rotate_dek(*reason).map(drop)?,
            Move::OtherKey(rekey) => {
                // The cluster's record changes whatever becomes of this node.
                self.version += 1;
                self.last_key = if self.last_key == 250 { 1 } else { self.last_key + 1 };
                self.keys.push(self.last_key);
                let record = LockRecord::locked(self.version, &key(self.last_key));
                keyring.reconcile_with(&record, *rekey)?;
                self.keys = vec![self.last_key];
                assert_eq!(keyring.reconcile(&record)?, Reconciled::Unchanged);
            }
            Move::SameKey => {
                self.version += 1;
                self.keys.push(self.last_key);
                keyring.reconcile(&LockRecord::locked(self.version, &key(self.last_key)))?;
                self.keys = vec![self.last_key];
            }
            Move::Off => {
                self.version += 1;
                keyring.reconcile(&LockRecord::off(self.version))?;
                assert!(matches!(
                    keyring.status().protection,
                    Protection::Clear | Protection::Unlocking
                ));
            }
            Move::Stale => {
                let applied = keyring.status().applied_version;
                if let Some(older) = applied.checked_sub(1) {
                    let stale = keyring.reconcile(&LockRecord::off(older))?;
                    assert_eq!(stale, Reconciled::Stale { applied });
                }
            }
            Move::Attach(n) => {
                let value = self.next.to_le_bytes().to_vec();
                self.next += 1;
                self.attached.entry(*n).or_insert_with(|| vec![Vec::new()]).push(value.clone());
                keyring.attach(&format!("a{n}"), &value)?;
                self.attached.insert(*n, vec![value]);
            }
            Move::Detach(n) => {
                self.attached.entry(*n).or_insert_with(|| vec![Vec::new()]).push(Vec::new());
                keyring.detach(&format!("a{n}"))?;
                self.attached.insert(*n, vec![Vec::new()]);
            }
            Move::Restart => {
                drop((log, keyring));
                self.reopen()?;
            }
        }
        Ok(())
    }

    /// Opens the file with a key that it may have, and looks at everything.
    fn reopen(&mut self) -> Result<()> {
        self.keyring = None;
        for n in self.keys.clone() {
            match open(&self.disk, &key(n)) {
                Err(Error::WrongKey) => {}
                Ok(keyring) => {
                    self.keyring = Some(keyring);
                    self.check();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        panic!("no key of {:?} opens the file", self.keys);
    }

    fn check(&mut self) {
        let keyring = self.keyring().clone();
        self.entries.iter().for_each(|entry| entry.open(&keyring).unwrap());
        for (row, cell) in &self.cells {
            let opened = raft(&keyring).unwrap().cells().open("t", &[*row], cell).unwrap();
            assert_eq!(opened.expose(), [*row; 9]);
        }
        for (n, values) in &mut self.attached {
            let found = keyring.attachment(&format!("a{n}"));
            let found = found.map_or(Vec::new(), |bytes| bytes.expose().to_vec());
            assert!(values.contains(&found));
            *values = vec![found];
        }
        self.rules();
    }

    /// What is true at every moment.
    fn rules(&self) {
        let (ids, status) = (self.ids(), self.keyring().status());
        let named = self.entries.iter().map(|entry| Log::dek_of(&entry.record).unwrap());
        assert!(named.into_iter().all(|id| ids.contains(&id)), "DEKs on disk are in the keyring");
        assert!(status.applied_version <= self.version);
        if status.protection == Protection::Locked {
            assert!(status.deks.iter().all(|dek| !dek.exposed));
            assert!(status.slots.iter().all(|slot| !slot.exposed));
        }
        let inspected = Keyring::inspect(place(&self.disk.after_kill())).unwrap();
        if !status.poisoned {
            assert_eq!(inspected.epoch, status.epoch);
            assert_eq!(inspected.is_locked(), status.protection != Protection::Clear);
        }
    }

    fn act(&mut self, action: &Move, trouble: Trouble) {
        match trouble {
            Trouble::None => {}
            Trouble::Cut { at, .. } => self.disk.cut_at(at),
            Trouble::Kill { at } | Trouble::Fail { at } => {
                self.disk.fail_at(at, io::ErrorKind::Other);
            }
        }
        let done = self.run(action);
        if let Err(error) = &done {
            assert!(
                !matches!(trouble, Trouble::None)
                    && matches!(error, Error::Io { .. } | Error::Poisoned),
                "{error:?}"
            );
        }
        match trouble {
            Trouble::None => return self.rules(),
            // The power cut comes whether or not the call had come to its end.
            Trouble::Cut { loss, seed, .. } => self.disk = self.disk.after_power_cut(loss, seed),
            Trouble::Fail { .. } if done.is_err() => {}
            // A fault that was not reached is over with the process.
            Trouble::Kill { .. } | Trouble::Fail { .. } => self.disk = self.disk.after_kill(),
        }
        self.reopen().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn everything_that_was_sealed_opens_after_any_life(
        life in prop::collection::vec((moves(), troubles()), 1..60),
    ) {
        let mut node = Node::new();
        for (action, trouble) in &life {
            node.act(action, *trouble);
        }
        // Left alone, it comes to rest: locked, with one DEK that nobody else has.
        node.disk = node.disk.after_kill();
        node.reopen().unwrap();
        // What leaked took the unlock key's slot with it.
        node.act(&Move::OtherKey(Rekey::NewDek), Trouble::None);
        for n in 0..3 {
            node.act(&Move::Attach(n), Trouble::None);
        }
        for _ in 0..4 {
            node.act(&Move::Reseal, Trouble::None);
            node.act(&Move::Sweep, Trouble::None);
        }
        let status = node.keyring().status();
        prop_assert_eq!((status.protection, status.deks.len()), (Protection::Locked, 1));
        node.act(&Move::Restart, Trouble::None);
    }
}
