use core::borrow::Borrow;
use core::mem;
use std::sync::Arc;

use super::Key;

/// Entries of a node, at most.
pub(super) const FULL: usize = 32;

#[derive(Clone)]
pub(super) enum Node<K, V> {
    Leaf(Entries<K, V>),
    /// Children, each with a key that none of its entries is below; the first one's says nothing.
    Branch(Entries<K, Arc<Node<K, V>>>),
}

/// In the order of the keys. A search goes through the hints, which stand together, and looks at the
/// keys themselves only where these are equal.
#[derive(Clone)]
pub(super) struct Entries<K, T> {
    hints: [u64; FULL],
    all: Vec<(K, T)>,
}

/// What an insertion splits off to the right.
pub(super) type Split<K, V> = Option<(K, Arc<Node<K, V>>)>;

impl<K: Key + Clone, V: Clone> Node<K, V> {
    const fn is_empty(&self) -> bool {
        match self {
            Self::Leaf(entries) => entries.all.is_empty(),
            Self::Branch(children) => children.all.is_empty(),
        }
    }

    /// The child of a branch that has no other.
    pub(super) const fn only_child(&self) -> Option<&Arc<Self>> {
        match self {
            Self::Branch(children) => match children.all.as_slice() {
                [(_, only)] => Some(only),
                _ => None,
            },
            Self::Leaf(_) => None,
        }
    }

    pub(super) fn insert(self: &mut Arc<Self>, key: K, value: V) -> (Option<V>, Split<K, V>) {
        match Arc::make_mut(self) {
            Self::Leaf(entries) => match entries.find(&key) {
                Ok(at) => (Some(mem::replace(entries.at_mut(at), value)), None),
                Err(at) => {
                    let split = entries.insert(at, (key, value));
                    (None, split.map(|(key, right)| (key, Arc::new(Self::Leaf(right)))))
                }
            },
            Self::Branch(children) => {
                let at = children.child(&key);
                let (old, below) = children.at_mut(at).insert(key, value);
                let split = below.and_then(|right| children.insert(at + 1, right));
                (old, split.map(|(key, right)| (key, Arc::new(Self::Branch(right)))))
            }
        }
    }

    pub(super) fn remove<Q: Key + ?Sized>(self: &mut Arc<Self>, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match Arc::make_mut(self) {
            Self::Leaf(entries) => entries.find(key).ok().map(|at| entries.remove(at)),
            Self::Branch(children) => {
                let at = children.child(key);
                let old = children.at_mut(at).remove(key)?;
                // Nodes are not merged: one that became empty goes, others fill up again.
                if children.at(at).is_empty() {
                    children.remove(at);
                }
                Some(old)
            }
        }
    }
}

impl<K: Key, T> Entries<K, T> {
    /// At most [`FULL`] of them.
    pub(super) fn new(all: Vec<(K, T)>) -> Self {
        let mut hints = [0; FULL];
        hints.iter_mut().zip(&all).for_each(|(hint, (key, _))| *hint = key.hint());
        Self { hints, all }
    }

    pub(super) fn at(&self, at: usize) -> &T {
        &self.all[at].1
    }

    pub(super) fn at_mut(&mut self, at: usize) -> &mut T {
        &mut self.all[at].1
    }

    pub(super) fn iter(&self) -> core::slice::Iter<'_, (K, T)> {
        self.all.iter()
    }

    /// Where `key` is, or where it belongs.
    pub(super) fn find<Q: Key + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        let (from, same) = self.alike(0, key.hint());
        match same.binary_search_by(|(other, _)| other.borrow().cmp(key)) {
            Ok(at) => Ok(from + at),
            Err(at) => Err(from + at),
        }
    }

    /// The child that `key` belongs to: the first one takes all that is below the second.
    pub(super) fn child<Q: Key + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        let (from, same) = self.alike(1, key.hint());
        from - 1 + same.partition_point(|(other, _)| other.borrow() <= key)
    }

    /// The entries of this hint from `first` on, and where they begin or would stand.
    fn alike(&self, first: usize, hint: u64) -> (usize, &[(K, T)]) {
        let hints = self.hints.get(first..self.all.len()).unwrap_or_default();
        let from = hints.partition_point(|other| *other < hint);
        let same = hints[from..].iter().take_while(|other| **other == hint).count();
        let from = first + from;
        (from, self.all.get(from..from + same).unwrap_or_default())
    }

    /// Puts an entry where it belongs; gives the right part of a node that has no room for it.
    fn insert(&mut self, at: usize, entry: (K, T)) -> Option<(K, Self)>
    where
        K: Clone,
    {
        if self.all.len() < FULL {
            self.put(at, entry);
            return None;
        }
        let half = FULL / 2;
        let mut right = Self::new(self.all.split_off(half));
        match at.checked_sub(half) {
            Some(at @ 1..) => right.put(at, entry),
            _ => self.put(at, entry),
        }
        let key = right.all.first()?.0.clone();
        Some((key, right))
    }

    fn put(&mut self, at: usize, entry: (K, T)) {
        let len = self.all.len();
        if len == self.all.capacity() {
            // Doubled, but not beyond what a node ever holds.
            self.all.reserve_exact(len.max(2).min(FULL - len));
        }
        self.hints.copy_within(at..len, at + 1);
        self.hints[at] = entry.0.hint();
        self.all.insert(at, entry);
    }

    fn remove(&mut self, at: usize) -> T {
        self.hints.copy_within(at + 1..self.all.len(), at);
        self.all.remove(at).1
    }
}
