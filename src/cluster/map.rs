//! An ordered map whose copies cost nothing: a B-tree of shared nodes. A change copies only the
//! nodes on its way that a copy of the map still shares.

use core::borrow::Borrow;
use std::sync::Arc;

use super::object::Referrer;
use crate::grant::{Folded, NodeId, SecretId, ServiceId, TaskId};

mod build;
mod node;
#[cfg(test)]
mod tests;

pub(crate) use build::Builder;
use node::{Entries, Node};

/// What a map is searched by.
pub(crate) trait Key: Ord {
    /// A number that never decreases from one key to a greater one: a search by it rarely has to
    /// look at the keys.
    fn hint(&self) -> u64;
}

pub(crate) struct Map<K, V> {
    root: Option<Arc<Node<K, V>>>,
    len: usize,
}

impl<K: Key + Clone, V: Clone> Map<K, V> {
    pub(crate) const fn new() -> Self {
        Self { root: None, len: 0 }
    }

    /// The map of `entries`, whose keys are strictly increasing.
    pub(crate) fn from_sorted(entries: Vec<(K, V)>) -> Self {
        let mut builder = Builder::for_about(entries.len());
        entries.into_iter().for_each(|(key, value)| builder.push(key, value));
        builder.finish()
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
        let mut node = self.root.as_deref()?;
        loop {
            match node {
                Node::Leaf(entries) => return entries.find(key).ok().map(|at| entries.at(at)),
                Node::Branch(children) => node = children.at(children.child(key)),
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
        let mut node = Arc::make_mut(self.root.as_mut()?);
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.find(key).ok()?;
                    return Some(entries.at_mut(at));
                }
                Node::Branch(children) => {
                    let at = children.child(key);
                    node = Arc::make_mut(children.at_mut(at));
                }
            }
        }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let root = self.root.get_or_insert_with(|| Arc::new(Node::Leaf(Entries::new(Vec::new()))));
        let (old, split) = root.insert(key, value);
        if let Some((key, right)) = split {
            let left = Arc::clone(root);
            *root = Arc::new(Node::Branch(Entries::new(vec![(key.clone(), left), (key, right)])));
        }
        self.len += usize::from(old.is_none());
        old
    }

    pub(crate) fn remove<Q: Key + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let root = self.root.as_mut()?;
        let old = root.remove(key)?;
        self.len -= 1;
        // A root with one child makes way for it.
        while let Some(only) = root.only_child() {
            *root = Arc::clone(only);
        }
        if self.len == 0 {
            self.root = None;
        }
        Some(old)
    }

    /// The entries in the order of their keys.
    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter { branches: Vec::new(), leaf: [].iter() };
        if let Some(root) = &self.root {
            iter.descend(root);
        }
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
        Self { root: self.root.clone(), len: self.len }
    }
}

type Children<'a, K, V> = core::slice::Iter<'a, (K, Arc<Node<K, V>>)>;

pub(crate) struct Iter<'a, K, V> {
    branches: Vec<Children<'a, K, V>>,
    leaf: core::slice::Iter<'a, (K, V)>,
}

impl<'a, K: Key, V> Iter<'a, K, V> {
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

impl<'a, K: Key, V> Iterator for Iter<'a, K, V> {
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

impl Key for (SecretId, u64) {
    fn hint(&self) -> u64 {
        self.0.hint()
    }
}

impl Key for Referrer {
    /// They are always compared whole.
    fn hint(&self) -> u64 {
        0
    }
}

macro_rules! ids {
    ($($name:ident)*) => {$(
        impl Key for $name {
            #[inline]
            fn hint(&self) -> u64 {
                self.prefix()
            }
        }
    )*};
}

ids! { SecretId ServiceId TaskId NodeId Folded }
