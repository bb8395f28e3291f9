//! An ordered map whose copies cost nothing: a B-tree of shared nodes. A change copies only the
//! nodes on its way that a copy of the map still shares.
//!
//! Keys are mostly ids in memory of their own. Beside each stands its *hint*, a number in the same
//! order, so that a search rarely has to look there.

use core::borrow::Borrow;
use core::mem;
use std::sync::Arc;

use super::object::Referrer;
use crate::grant::{NodeId, SecretId, ServiceId, TaskId};

/// Entries of a node, at most.
const FULL: usize = 32;

/// What a map is searched by.
pub(crate) trait Key: Ord {
    /// A number that never decreases from one key to a greater one.
    fn hint(&self) -> u64;
}

pub(crate) struct Map<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

#[derive(Clone)]
enum Node<K, V> {
    Leaf(Entries<K, V>),
    /// Children, each with a key that none of its entries is below; the first one's says nothing.
    Branch(Entries<K, Arc<Node<K, V>>>),
}

/// In the order of the keys, whose hints stand together.
#[derive(Clone)]
struct Entries<K, T> {
    hints: Vec<u64>,
    all: Vec<(K, T)>,
}

impl<K, T> Entries<K, T> {
    const fn new() -> Self {
        Self { hints: Vec::new(), all: Vec::new() }
    }

    /// Where `key` is, or where it belongs.
    fn find<Q: Key + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        let hint = key.hint();
        let from = self.hints.partition_point(|other| *other < hint);
        let same = self.hints.get(from..).unwrap_or_default();
        let same = same.iter().take_while(|other| **other == hint).count();
        let same = self.all.get(from..from + same).unwrap_or_default();
        match same.binary_search_by(|(other, _)| other.borrow().cmp(key)) {
            Ok(at) => Ok(from + at),
            Err(at) => Err(from + at),
        }
    }

    /// The child that `key` belongs to: the first one takes all that is below the second.
    fn child<Q: Key + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        let hint = key.hint();
        let (hints, all) = (self.hints.get(1..), self.all.get(1..));
        let (hints, all) = (hints.unwrap_or_default(), all.unwrap_or_default());
        let from = hints.partition_point(|other| *other < hint);
        let same = hints[from..].iter().take_while(|other| **other == hint).count();
        from + all[from..from + same].partition_point(|(other, _)| other.borrow() <= key)
    }

    fn insert(&mut self, at: usize, entry: (K, T))
    where
        K: Key,
    {
        self.hints.insert(at, entry.0.hint());
        self.all.insert(at, entry);
    }

    fn remove(&mut self, at: usize) -> T {
        self.hints.remove(at);
        self.all.remove(at).1
    }

    /// The right part of what is over-full.
    fn split(&mut self) -> Option<(K, Self)>
    where
        K: Clone,
    {
        if self.all.len() <= FULL {
            return None;
        }
        let half = self.all.len() / 2;
        let right = Self { hints: self.hints.split_off(half), all: self.all.split_off(half) };
        let key = right.all.first()?.0.clone();
        Some((key, right))
    }
}

impl<K: Key, T> From<Vec<(K, T)>> for Entries<K, T> {
    fn from(all: Vec<(K, T)>) -> Self {
        Self { hints: all.iter().map(|(key, _)| key.hint()).collect(), all }
    }
}

/// What an insertion splits off to the right.
type Split<K, V> = Option<(K, Arc<Node<K, V>>)>;

impl<K: Key + Clone, V: Clone> Map<K, V> {
    pub(crate) fn new() -> Self {
        Self { root: Arc::new(Node::Leaf(Entries::new())), len: 0 }
    }

    /// The map of `entries`, whose keys are strictly increasing.
    pub(crate) fn from_sorted(entries: Vec<(K, V)>) -> Self {
        debug_assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
        let len = entries.len();
        if len <= FULL {
            return Self { root: Arc::new(Node::Leaf(entries.into())), len };
        }
        let mut level: Vec<_> =
            chunks(entries).map(|(k, leaf)| (k, Node::Leaf(leaf.into()))).collect();
        while level.len() > 1 {
            let shared = level.into_iter().map(|(k, node)| (k, Arc::new(node))).collect();
            level = chunks(shared).map(|(k, all)| (k, Node::Branch(all.into()))).collect();
        }
        let root = level.pop().map_or(Node::Leaf(Entries::new()), |(_, node)| node);
        Self { root: Arc::new(root), len }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get<Q: Key + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    return entries.find(key).ok().map(|at| &entries.all[at].1);
                }
                Node::Branch(children) => node = &children.all[children.child(key)].1,
            }
        }
    }

    pub(crate) fn contains<Q: Key + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    pub(crate) fn get_mut<Q: Key + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let mut node = Arc::make_mut(&mut self.root);
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.find(key).ok()?;
                    return Some(&mut entries.all[at].1);
                }
                Node::Branch(children) => {
                    let at = children.child(key);
                    node = Arc::make_mut(&mut children.all[at].1);
                }
            }
        }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (old, split) = insert(&mut self.root, key, value);
        if let Some((key, right)) = split {
            let left = mem::replace(&mut self.root, Arc::new(Node::Leaf(Entries::new())));
            self.root = Arc::new(Node::Branch(vec![(key.clone(), left), (key, right)].into()));
        }
        self.len += usize::from(old.is_none());
        old
    }

    pub(crate) fn remove<Q: Key + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let old = remove(&mut self.root, key)?;
        self.len -= 1;
        // A root with one child makes way for it.
        while let Node::Branch(children) = &*self.root {
            match children.all.as_slice() {
                [] => self.root = Arc::new(Node::Leaf(Entries::new())),
                [(_, only)] => self.root = Arc::clone(only),
                _ => break,
            }
        }
        Some(old)
    }

    /// The entries in the order of their keys.
    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter { branches: Vec::new(), leaf: [].iter() };
        iter.descend(&self.root);
        iter
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Key + Clone, V: Clone> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        Self { root: Arc::clone(&self.root), len: self.len }
    }
}

/// Cuts a level into nodes with room for more.
fn chunks<K: Clone, T>(entries: Vec<(K, T)>) -> impl Iterator<Item = (K, Vec<(K, T)>)> {
    let mut entries = entries.into_iter().peekable();
    core::iter::from_fn(move || {
        let first = entries.peek()?.0.clone();
        Some((first, entries.by_ref().take(FULL - FULL / 4).collect()))
    })
}

fn insert<K: Key + Clone, V: Clone>(
    node: &mut Arc<Node<K, V>>,
    key: K,
    value: V,
) -> (Option<V>, Split<K, V>) {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => match entries.find(&key) {
            Ok(at) => (Some(mem::replace(&mut entries.all[at].1, value)), None),
            Err(at) => {
                entries.insert(at, (key, value));
                (None, entries.split().map(|(key, right)| (key, Arc::new(Node::Leaf(right)))))
            }
        },
        Node::Branch(children) => {
            let at = children.child(&key);
            let (old, below) = insert(&mut children.all[at].1, key, value);
            let Some(right) = below else { return (old, None) };
            children.insert(at + 1, right);
            (old, children.split().map(|(key, right)| (key, Arc::new(Node::Branch(right)))))
        }
    }
}

fn remove<K: Key + Clone + Borrow<Q>, V: Clone, Q: Key + ?Sized>(
    node: &mut Arc<Node<K, V>>,
    key: &Q,
) -> Option<V> {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => entries.find(key).ok().map(|at| entries.remove(at)),
        Node::Branch(children) => {
            let at = children.child(key);
            let old = remove(&mut children.all[at].1, key)?;
            // Nodes are not merged: one that became empty goes, others fill up again.
            if children.all[at].1.is_empty() {
                children.remove(at);
            }
            Some(old)
        }
    }
}

impl<K, V> Node<K, V> {
    const fn is_empty(&self) -> bool {
        match self {
            Self::Leaf(entries) => entries.all.is_empty(),
            Self::Branch(children) => children.all.is_empty(),
        }
    }
}

type Children<'a, K, V> = core::slice::Iter<'a, (K, Arc<Node<K, V>>)>;

pub(crate) struct Iter<'a, K, V> {
    branches: Vec<Children<'a, K, V>>,
    leaf: core::slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iter<'a, K, V> {
    fn descend(&mut self, mut node: &'a Node<K, V>) {
        loop {
            match node {
                Node::Leaf(entries) => {
                    self.leaf = entries.all.iter();
                    return;
                }
                Node::Branch(children) => {
                    let mut children = children.all.iter();
                    let Some((_, first)) = children.next() else { return };
                    self.branches.push(children);
                    node = first;
                }
            }
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                return Some((key, value));
            }
            match self.branches.last_mut()?.next() {
                Some((_, node)) => self.descend(node),
                None => drop(self.branches.pop()),
            }
        }
    }
}

impl Key for str {
    /// Its first eight bytes: ids are random, and differ in them.
    fn hint(&self) -> u64 {
        let mut first = [0; 8];
        let len = self.len().min(8);
        first[..len].copy_from_slice(&self.as_bytes()[..len]);
        u64::from_be_bytes(first)
    }
}

impl Key for Arc<str> {
    fn hint(&self) -> u64 {
        (**self).hint()
    }
}

impl Key for (SecretId, u64) {
    fn hint(&self) -> u64 {
        self.0.hint()
    }
}

impl Key for Referrer {
    fn hint(&self) -> u64 {
        self.kind.hint()
    }
}

macro_rules! ids {
    ($($name:ident)*) => {$(
        impl Key for $name {
            fn hint(&self) -> u64 {
                self.as_str().hint()
            }
        }
    )*};
}

ids! { SecretId ServiceId TaskId NodeId }

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Many keys have the same hint.
    impl Key for u16 {
        fn hint(&self) -> u64 {
            u64::from(*self / 7)
        }
    }

    fn same(map: &Map<u16, u32>, model: &BTreeMap<u16, u32>) {
        assert!(map.iter().eq(model.iter()) && map.len() == model.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// As the standard library's, and copies stay what they were.
        #[test]
        fn it_is_a_map(
            start in 0..3000_u16,
            steps in prop::collection::vec((any::<bool>(), 0..3000_u16, any::<u32>()), 0..3000),
        ) {
            let mut model: BTreeMap<_, _> = (0..start).map(|key| (key, 0)).collect();
            let mut map = Map::from_sorted(model.clone().into_iter().collect());
            let mut copies = Vec::new();
            for (at, (insert, key, value)) in steps.into_iter().enumerate() {
                if at % 500 == 0 {
                    copies.push((map.clone(), model.clone()));
                }
                if insert {
                    prop_assert_eq!(map.insert(key, value), model.insert(key, value));
                } else {
                    prop_assert_eq!(map.remove(&key), model.remove(&key));
                }
                prop_assert_eq!(map.get(&key), model.get(&key));
                if let Some(value) = map.get_mut(&(key / 2)) {
                    *value += u32::from(*value < u32::MAX);
                    let other = model.get_mut(&(key / 2)).unwrap();
                    *other += u32::from(*other < u32::MAX);
                }
            }
            same(&map, &model);
            copies.iter().for_each(|(map, model)| same(map, model));
            for key in model.keys() {
                map.remove(key);
            }
            prop_assert!(map.is_empty() && map.iter().next().is_none());
        }
    }
}
