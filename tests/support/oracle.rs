//! What a store must hold: a file of the operations that were begun and acknowledged, kept apart
//! from the store.
//!
//! The operations have one order, and each is one change of the log. So an opened store must be
//! what the model is after some operation that is not before the last one acknowledged.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use nodeseal::secret::SecretKey;
use nodeseal::store::{Change, Options};
use nodeseal::{Error, Identity, Keyring, LockPolicy, Opened, Protector, Store, UnlockKey};

use crate::model::{ERA, Model, Op};

/// The operations that were begun and acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) ops: Vec<Op>,
    /// The number of an operation, from 1 on, and where the disk was when it was acknowledged.
    pub(crate) acks: Vec<(usize, u64)>,
}

/// The directory of a node, its key file and its store, and the oracle's file elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) dir: PathBuf,
    pub(crate) oracle: PathBuf,
}

impl Oracle {
    pub(crate) fn read(path: &Path) -> Self {
        let mut oracle = Self::default();
        for line in fs::read_to_string(path).unwrap_or_default().lines() {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("op", parts) => oracle.ops.push(Op::parse(parts)),
                ("ack", parts) => {
                    let (number, position) = parts.split_once(' ').unwrap();
                    oracle.acks.push((number.parse().unwrap(), position.parse().unwrap()));
                }
                _ => panic!("an unknown line: {line}"),
            }
        }
        oracle
    }

    /// The last operation that had been acknowledged when the disk was at `position`.
    pub(crate) fn acknowledged(&self, position: u64) -> usize {
        let before = self.acks.iter().filter(|(_, at)| *at <= position);
        before.map(|(number, _)| *number).max().unwrap_or_default()
    }

    /// The model after the first `count` operations.
    pub(crate) fn model(&self, count: usize) -> Model {
        let mut model = Model::default();
        self.ops.iter().take(count).for_each(|op| model.apply(op));
        model
    }

    /// After how many operations the model is what was found, if that is one not before
    /// `acknowledged`.
    pub(crate) fn reached(&self, acknowledged: usize, found: &Model) -> Result<usize, String> {
        let mut model = self.model(acknowledged);
        let mut at = acknowledged;
        loop {
            if model == *found {
                return Ok(at);
            }
            let Some(op) = self.ops.get(at) else { break };
            model.apply(op);
            at += 1;
        }
        let earlier = (0..acknowledged).rev().find(|count| self.model(*count) == *found);
        Err(match earlier {
            Some(count) => format!("{acknowledged} was acknowledged, the store is at {count}"),
            None => format!(
                "{acknowledged} was acknowledged, the store never was so: last {:?}, purged {:?}",
                found.last, found.purged
            ),
        })
    }
}

impl Node {
    fn options<'a>() -> Options<'a> {
        Options::new("raft").segment_size(32 << 10)
    }

    fn me() -> (Identity, UnlockKey) {
        let key = UnlockKey::from_key(SecretKey::init(|bytes| bytes.fill(3)));
        (Identity::new("prod", "m1").unwrap(), key)
    }

    pub(crate) fn create(&self) -> Result<(Keyring, Store), Error> {
        let (me, key) = Self::me();
        let keyring =
            Keyring::create(self.dir.join("keys"), &me, Protector::unlock_key(&key), &[])?;
        let store = Store::create(self.dir.join("raft"), &keyring, Self::options())?;
        Ok((keyring, store))
    }

    pub(crate) fn open(&self, verify: bool) -> Result<(Keyring, Store), String> {
        let (me, key) = Self::me();
        let opened = Keyring::open(self.dir.join("keys"), &me, LockPolicy::Locked);
        let keyring = match opened.map_err(|e| format!("key file: {e}"))? {
            Opened::Locked(locked) => locked.unlock(&key).map_err(|e| format!("key file: {e}"))?,
            Opened::Unlocked(_) => return Err("the key file is not locked".to_owned()),
        };
        let options = Self::options();
        let options = if verify { options.verify(|_| {}) } else { options };
        let store = Store::open(self.dir.join("raft"), &keyring, options);
        Ok((keyring, store.map_err(|e| format!("store: {e}"))?))
    }

    pub(crate) fn oracle(&self) -> Oracle {
        Oracle::read(&self.oracle)
    }

    pub(crate) fn appending(&self) -> File {
        OpenOptions::new().append(true).create(true).open(&self.oracle).unwrap()
    }

    /// Compares the store, opened twice, with the oracle, `acknowledged` being the last operation
    /// that must be there. Returns after which operation it is.
    pub(crate) fn check(&self, oracle: &Oracle, acknowledged: usize) -> Result<usize, String> {
        let mut reached = acknowledged;
        for time in ["first", "second"] {
            let (_keyring, store) = self
                .open(true)
                .map_err(|e| format!("{time} opening, after {acknowledged}: {e}"))?;
            let found = Model::of(&store).map_err(|e| format!("{time} opening: {e}"))?;
            // The second time nothing may have gone or come.
            reached =
                oracle.reached(reached, &found).map_err(|e| format!("{time} opening: {e}"))?;
        }
        Ok(reached)
    }

    /// The store takes another change, which is there when it is opened again.
    pub(crate) fn continues(&self, model: &Model) -> Result<(), String> {
        let append = Some((model.last.0 + 1, 2, model.last.1.max(ERA) + 1));
        let op = Op { append, vote: Some(model.vote + 1), ..Op::default() };
        let (keyring, store) = self.open(false)?;
        let change = model.change(&op, Change::new()).map_err(|e| format!("continuing: {e}"))?;
        store.apply(change).map_err(|e| format!("continuing: {e}"))?;
        drop((keyring, store));
        let mut expected = model.clone();
        expected.apply(&op);
        let (_keyring, store) = self.open(true)?;
        let found = Model::of(&store)?;
        if found == expected { Ok(()) } else { Err("the change made afterwards is lost".into()) }
    }

    /// Forgets the operations that did not take effect.
    pub(crate) fn forget_after(&self, oracle: &Oracle, reached: usize) {
        let lines: String = oracle.ops.iter().take(reached).map(Op::line).collect();
        let mut file = File::create(&self.oracle).unwrap();
        file.write_all(lines.as_bytes()).unwrap();
    }
}
