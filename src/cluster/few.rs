//! A sorted map for few entries, in one block of memory.

use crate::error::Result;
use crate::grant::wire::{self, Reader, Wire};
use crate::secret::SecretBytes;

#[derive(Clone)]
pub(super) struct Few<K, V>(Vec<(K, V)>);

impl<K: Ord, V> Few<K, V> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn one(key: K, value: V) -> Self {
        Self(vec![(key, value)])
    }

    /// The map of `entries`, whose keys are strictly increasing.
    pub(super) fn from_sorted(entries: Vec<(K, V)>) -> Self {
        debug_assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
        Self(entries)
    }

    fn find(&self, key: &K) -> core::result::Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(key))
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.find(key).ok().map(|at| &mut self.0[at].1)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    pub(super) fn get_or_default(&mut self, key: &K) -> &mut V
    where
        K: Clone,
        V: Default,
    {
        let at = self.find(key).unwrap_or_else(|at| {
            self.0.insert(at, (key.clone(), V::default()));
            at
        });
        &mut self.0[at].1
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Ok(at) = self.find(key) {
            self.0.remove(at);
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(super) fn first(&self) -> Option<&K> {
        self.0.first().map(|(key, _)| key)
    }

    pub(super) fn last(&self) -> Option<&K> {
        self.0.last().map(|(key, _)| key)
    }
}

impl<K: Ord, V> Default for Few<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Wire + Ord, V: Wire> Wire for Few<K, V> {
    fn put(&self, out: &mut SecretBytes) {
        wire::put_len(out, self.0.len());
        for (key, value) in &self.0 {
            key.put(out);
            value.put(out);
        }
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        let mut few = Self(Vec::new());
        for left in (0..input.count(1)?).rev() {
            let entry = (K::get(input)?, V::get(input)?);
            if few.last().is_some_and(|last| *last >= entry.0) {
                return Err(input.damaged());
            }
            if few.0.is_empty() && left < 4 {
                few.0.reserve_exact(left + 1);
            }
            few.0.push(entry);
        }
        Ok(few)
    }
}
