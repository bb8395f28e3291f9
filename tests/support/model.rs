//! A model of what a store holds, and of the changes of it.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Read;

use nodeseal::seal::{Era, LogId};
use nodeseal::store::Change;
use nodeseal::{Error, Store};

/// Every era begins so: the bytes of an entry's frame are known by it on a disk.
pub(crate) const ERA: u64 = 0x4e53_4541_4c00_0000;
/// What is the same in every era, as it is stored.
pub(crate) const ERA_BYTES: [u8; 5] = [0x4c, 0x41, 0x45, 0x53, 0x4e];

/// The names under which metadata is saved.
pub(crate) const NAMES: [&str; 3] = ["members", "config", "a"];

/// What a store holds, payloads aside: they follow from index and era.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Model {
    pub(crate) entries: BTreeMap<u64, u64>,
    pub(crate) last: (u64, u64),
    pub(crate) purged: (u64, u64),
    pub(crate) committed: (u64, u64),
    pub(crate) vote: u64,
    pub(crate) meta: BTreeMap<String, u64>,
    /// The last entry that it covers, and its number.
    pub(crate) snapshot: Option<((u64, u64), u64)>,
}

/// One change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Op {
    pub(crate) truncate: Option<u64>,
    /// First index, how many, era.
    pub(crate) append: Option<(u64, u64, u64)>,
    pub(crate) committed: Option<u64>,
    /// With the snapshot's number.
    pub(crate) snapshot: Option<(u64, u64)>,
    pub(crate) purge: Option<u64>,
    pub(crate) vote: Option<u64>,
    /// Which name, and what is saved under it; 0 removes it.
    pub(crate) meta: Option<(u64, u64)>,
}

fn named(number: u64) -> &'static str {
    NAMES[usize::try_from(number).unwrap()]
}

pub(crate) fn payload(index: u64, era: u64) -> Vec<u8> {
    let seed = index.wrapping_mul(2_654_435_761) ^ era.wrapping_mul(40_503);
    // Most entries are small, one in 61 takes several blocks.
    let len = if seed.is_multiple_of(61) { 20_000 + seed % 50_000 } else { seed % 1_500 };
    fill(format!("entry {index} of era {era} "), len)
}

/// The content of a snapshot.
pub(crate) fn content(number: u64) -> Vec<u8> {
    fill(format!("number {number} of snapshots "), 50 + number * 7_919 % 90_000)
}

/// What is saved under a name.
fn value(number: u64) -> Vec<u8> {
    fill(format!("number {number} of values "), 50 * number)
}

fn fill(text: String, len: u64) -> Vec<u8> {
    text.into_bytes().into_iter().cycle().take(usize::try_from(len).unwrap()).collect()
}

/// Which number's content `bytes` are.
fn numbered(bytes: &[u8], content: fn(u64) -> Vec<u8>) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let number = text.split(' ').nth(1)?.parse().ok()?;
    (content(number) == bytes).then_some(number)
}

fn id((index, era): (u64, u64)) -> LogId {
    LogId::new(index, Era::term(era))
}

const fn pair(id: LogId) -> (u64, u64) {
    (id.index, id.era.get())
}

impl Model {
    fn id_at(&self, index: u64) -> (u64, u64) {
        if index == self.purged.0 { self.purged } else { (index, self.entries[&index]) }
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        if let Some(from) = op.truncate {
            self.last = self.id_at(from - 1);
            self.entries.split_off(&from);
        }
        if let Some((first, count, era)) = op.append {
            self.entries.extend((first..first + count).map(|index| (index, era)));
            self.last = (first + count - 1, era);
        }
        if let Some(index) = op.committed {
            self.committed = self.id_at(index);
        }
        if let Some((at, number)) = op.snapshot {
            self.snapshot = Some((self.id_at(at), number));
        }
        if let Some(index) = op.purge {
            self.purged = self.id_at(index);
            self.entries = self.entries.split_off(&(index + 1));
        }
        self.vote = op.vote.unwrap_or(self.vote);
        if let Some((name, value)) = op.meta {
            let name = named(name).to_owned();
            match value {
                0 => self.meta.remove(&name),
                _ => self.meta.insert(name, value),
            };
        }
    }

    /// The change that makes a store of `self` one of what follows after `op`.
    pub(crate) fn change(&self, op: &Op, mut change: Change) -> Result<Change, Error> {
        let mut next = self.clone();
        next.apply(op);
        if let Some(from) = op.truncate {
            change.truncate(from);
        }
        if let Some((first, count, era)) = op.append {
            for index in first..first + count {
                change.push(id((index, era)), |out| {
                    out.extend_from_slice(&payload(index, era));
                })?;
            }
        }
        if op.committed.is_some() {
            change.committed(id(next.committed));
        }
        if op.purge.is_some() {
            change.purge(id(next.purged));
        }
        if let Some(vote) = op.vote {
            change.vote(&vote.to_le_bytes());
        }
        if let Some((name, number)) = op.meta {
            let name = named(name);
            match number {
                0 => change.remove_meta(name),
                _ => change.put_meta(name, &value(number)),
            };
        }
        Ok(change)
    }

    /// Where the snapshot `op` is to stand.
    pub(crate) fn covered(&self, op: &Op) -> LogId {
        id(self.id_at(op.snapshot.unwrap().0))
    }

    /// Everything that a store holds, every byte of it compared with what was written.
    pub(crate) fn of(store: &Store) -> Result<Self, String> {
        let state = store.state();
        let mut found = Self {
            last: pair(state.last),
            purged: pair(state.purged),
            committed: pair(state.committed),
            ..Self::default()
        };
        if !state.vote.is_empty() {
            let vote = state.vote.as_slice().try_into();
            found.vote = u64::from_le_bytes(vote.map_err(|_| "a vote of another length")?);
        }
        let mut wrong = None;
        store
            .read(state.purged.index + 1.., |id, entry| {
                let (index, era) = pair(id);
                found.entries.insert(index, era);
                if entry != payload(index, era) {
                    wrong = Some(format!("entry {index} of era {era:x} has another content"));
                }
                Ok::<(), Error>(())
            })
            .map_err(|e| format!("reading: {e}"))?;
        for name in NAMES {
            if let Some(saved) = store.meta(name) {
                let number = numbered(saved.expose(), value);
                let number = number.ok_or_else(|| format!("metadata {name} is another"))?;
                found.meta.insert(name.to_owned(), number);
            }
        }
        if let Some(mut reader) = store.snapshot().map_err(|e| format!("snapshot: {e}"))? {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map_err(|e| format!("reading the snapshot: {e}"))?;
            let number = numbered(&bytes, content).ok_or("a snapshot of another content")?;
            found.snapshot = Some((pair(reader.info().at), number));
        }
        wrong.map_or(Ok(found), Err)
    }
}

impl Op {
    pub(crate) fn line(&self) -> String {
        let mut line = "op".to_owned();
        let mut put = |name: &str, values: &[u64]| {
            let values: Vec<String> = values.iter().map(u64::to_string).collect();
            write!(line, " {name}={}", values.join(",")).unwrap();
        };
        self.truncate.iter().for_each(|from| put("truncate", &[*from]));
        self.append.iter().for_each(|(first, count, era)| put("append", &[*first, *count, *era]));
        self.committed.iter().for_each(|index| put("committed", &[*index]));
        self.snapshot.iter().for_each(|(at, number)| put("snapshot", &[*at, *number]));
        self.purge.iter().for_each(|index| put("purge", &[*index]));
        self.vote.iter().for_each(|vote| put("vote", &[*vote]));
        self.meta.iter().for_each(|(name, value)| put("meta", &[*name, *value]));
        line.push('\n');
        line
    }

    pub(crate) fn parse(parts: &str) -> Self {
        let mut op = Self::default();
        for part in parts.split_whitespace() {
            let (name, values) = part.split_once('=').unwrap();
            let values: Vec<u64> = values.split(',').map(|value| value.parse().unwrap()).collect();
            match (name, &values[..]) {
                ("truncate", &[from]) => op.truncate = Some(from),
                ("append", &[first, count, era]) => op.append = Some((first, count, era)),
                ("committed", &[index]) => op.committed = Some(index),
                ("snapshot", &[at, number]) => op.snapshot = Some((at, number)),
                ("purge", &[index]) => op.purge = Some(index),
                ("vote", &[vote]) => op.vote = Some(vote),
                ("meta", &[name, value]) => op.meta = Some((name, value)),
                _ => panic!("an unknown operation: {part}"),
            }
        }
        op
    }
}
