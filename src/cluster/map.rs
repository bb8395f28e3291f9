//! An ordered map whose copies cost nothing: a B-tree of shared nodes. A change copies only the
//! nodes on its way that a copy of the map still shares.

use core::borrow::Borrow;
use core::mem;
use std::sync::Arc;

/// Entries of a node, at most.
const FULL: usize = 32;

pub(crate) struct Map<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

#[derive(Clone)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    /// Children, each with a key that none of its entries is below; the first one's says nothing.
    Branch(Vec<(K, Arc<Node<K, V>>)>),
}

/// What an insertion splits off to the right.
type Split<K, V> = Option<(K, Arc<Node<K, V>>)>;

impl<K: Ord + Clone, V: Clone> Map<K, V> {
    pub(crate) fn new() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }

    /// The map of `entries`, whose keys are strictly increasing.
    pub(crate) fn from_sorted(entries: Vec<(K, V)>) -> Self {
        debug_assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
        let len = entries.len();
        let mut level: Vec<_> = chunks(entries).map(|(k, leaf)| (k, Node::Leaf(leaf))).collect();
        while level.len() > 1 {
            let shared = level.into_iter().map(|(k, node)| (k, Arc::new(node))).collect();
            level = chunks(shared).map(|(k, children)| (k, Node::Branch(children))).collect();
        }
        let root = level.pop().map_or(Node::Leaf(Vec::new()), |(_, node)| node);
        Self { root: Arc::new(root), len }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => return find(entries, key).ok().map(|at| &entries[at].1),
                Node::Branch(children) => node = &children[child(children, key)].1,
            }
        }
    }

    pub(crate) fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let mut node = Arc::make_mut(&mut self.root);
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = find(entries, key).ok()?;
                    return Some(&mut entries[at].1);
                }
                Node::Branch(children) => {
                    let at = child(children, key);
                    node = Arc::make_mut(&mut children[at].1);
                }
            }
        }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (old, split) = insert(&mut self.root, key, value);
        if let Some((key, right)) = split {
            let left = mem::replace(&mut self.root, Arc::new(Node::Leaf(Vec::new())));
            self.root = Arc::new(Node::Branch(vec![(key.clone(), left), (key, right)]));
        }
        self.len += usize::from(old.is_none());
        old
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let old = remove(&mut self.root, key)?;
        self.len -= 1;
        // A root with one child makes way for it.
        while let Node::Branch(children) = &*self.root {
            match children.as_slice() {
                [] => self.root = Arc::new(Node::Leaf(Vec::new())),
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

impl<K: Ord + Clone, V: Clone> Default for Map<K, V> {
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

fn find<K: Borrow<Q>, V, Q: Ord + ?Sized>(entries: &[(K, V)], key: &Q) -> Result<usize, usize> {
    entries.binary_search_by(|(other, _)| other.borrow().cmp(key))
}

/// The child that `key` belongs to.
fn child<K: Borrow<Q>, T, Q: Ord + ?Sized>(children: &[(K, T)], key: &Q) -> usize {
    // The first child takes all that is below the second, so its own key is not asked.
    children.get(1..).unwrap_or_default().partition_point(|(other, _)| other.borrow() <= key)
}

fn insert<K: Ord + Clone, V: Clone>(
    node: &mut Arc<Node<K, V>>,
    key: K,
    value: V,
) -> (Option<V>, Split<K, V>) {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => match find(entries, &key) {
            Ok(at) => (Some(mem::replace(&mut entries[at].1, value)), None),
            Err(at) => {
                entries.insert(at, (key, value));
                (None, split(entries).map(|(key, right)| (key, Arc::new(Node::Leaf(right)))))
            }
        },
        Node::Branch(children) => {
            let at = child(children, &key);
            let (old, below) = insert(&mut children[at].1, key, value);
            let Some(right) = below else { return (old, None) };
            children.insert(at + 1, right);
            (old, split(children).map(|(key, right)| (key, Arc::new(Node::Branch(right)))))
        }
    }
}

/// The right part of a node that is over-full.
fn split<K: Clone, T>(entries: &mut Vec<(K, T)>) -> Option<(K, Vec<(K, T)>)> {
    if entries.len() <= FULL {
        return None;
    }
    let right = entries.split_off(entries.len() / 2);
    let key = right.first()?.0.clone();
    Some((key, right))
}

fn remove<K: Ord + Clone + Borrow<Q>, V: Clone, Q: Ord + ?Sized>(
    node: &mut Arc<Node<K, V>>,
    key: &Q,
) -> Option<V> {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => find(entries, key).ok().map(|at| entries.remove(at).1),
        Node::Branch(children) => {
            let at = child(children, key);
            let old = remove(&mut children[at].1, key)?;
            // Nodes are not merged: one that became empty goes, others fill up again.
            if children[at].1.is_empty() {
                children.remove(at);
            }
            Some(old)
        }
    }
}

impl<K, V> Node<K, V> {
    const fn is_empty(&self) -> bool {
        match self {
            Self::Leaf(entries) => entries.is_empty(),
            Self::Branch(children) => children.is_empty(),
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
                    self.leaf = entries.iter();
                    return;
                }
                Node::Branch(children) => {
                    let mut children = children.iter();
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

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
