use std::sync::Arc;

use super::node::{Entries, FULL, Node};
use super::{Key, Map};

/// Entries of a node that is built: it has room for more.
const FILL: usize = FULL - FULL / 4;

/// Builds a map of entries that come in the order of their keys.
pub(crate) struct Builder<K, V> {
    leaves: Vec<(K, Arc<Node<K, V>>)>,
    /// The last leaf.
    leaf: Vec<(K, V)>,
    /// How many entries are expected.
    room: usize,
    len: usize,
}

impl<K: Key + Clone, V: Clone> Builder<K, V> {
    /// For a map that will have about `len` entries.
    pub(crate) const fn for_about(len: usize) -> Self {
        Self { leaves: Vec::new(), leaf: Vec::new(), room: len, len: 0 }
    }

    /// The key that came last.
    pub(crate) fn last(&self) -> Option<&K> {
        self.leaf.last().map(|(key, _)| key)
    }

    /// Adds an entry, whose key is greater than the last one.
    pub(crate) fn push(&mut self, key: K, value: V) {
        debug_assert!(self.last().is_none_or(|last| *last < key));
        if self.leaf.len() == FILL {
            self.end_leaf();
        }
        if self.leaf.is_empty() {
            let left = self.room.saturating_sub(self.len);
            self.leaf.reserve_exact(left.clamp(1, FILL));
        }
        self.leaf.push((key, value));
        self.len += 1;
    }

    pub(crate) fn finish(mut self) -> Map<K, V> {
        self.end_leaf();
        let mut level = self.leaves;
        while level.len() > 1 {
            let mut nodes = level.into_iter();
            let mut above = Vec::with_capacity(nodes.len().div_ceil(FILL));
            loop {
                let children: Vec<_> = nodes.by_ref().take(FILL).collect();
                let Some(key) = children.first().map(|(key, _)| key.clone()) else { break };
                above.push((key, Arc::new(Node::Branch(Entries::new(children)))));
            }
            level = above;
        }
        Map { root: level.pop().map(|(_, node)| node), len: self.len }
    }

    fn end_leaf(&mut self) {
        let leaf = core::mem::take(&mut self.leaf);
        if let Some((key, _)) = leaf.first() {
            self.leaves.push((key.clone(), Arc::new(Node::Leaf(Entries::new(leaf)))));
        }
    }
}
