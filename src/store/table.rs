//! The table: which segments before the last one count, and their chains.
//!
//! A segment begins with all of it, and what changes later is added. It is not sealed: its frames are in
//! the chain of the segment that they are in, which the state cell holds.

use std::collections::BTreeMap;

use super::chain::Chain;
use crate::error::{Error, Misuse, Result};

/// A segment's number in its name, and the chains of which its file has one: several while one file
/// takes another's place, none if it does not count any more.
pub(super) type Part = (u64, Vec<Chain>);

/// For each segment `number 8 · count 1 · chain 32 × count`.
pub(super) fn encode(parts: &[Part]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (number, chains) in parts {
        let count = u8::try_from(chains.len()).map_err(|_| Misuse::OutOfBounds("chains"))?;
        out.extend_from_slice(&number.to_le_bytes());
        out.push(count);
        out.extend_from_slice(chains.as_flattened());
    }
    Ok(out)
}

pub(super) fn decode(mut data: &[u8]) -> Result<Vec<Part>> {
    let damaged = || Error::damaged("a table of another form");
    let mut parts = Vec::new();
    while !data.is_empty() {
        let (number, rest) = data.split_first_chunk().ok_or_else(damaged)?;
        let (count, rest) = rest.split_first().ok_or_else(damaged)?;
        let (chains, rest) = rest.split_at_checked(32 * usize::from(*count)).ok_or_else(damaged)?;
        parts.push((u64::from_le_bytes(*number), chains.as_chunks().0.to_vec()));
        data = rest;
    }
    Ok(parts)
}

/// The segments that count.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<u64, Vec<Chain>>);

impl Table {
    pub(super) fn add(&mut self, parts: Vec<Part>) {
        for (number, chains) in parts {
            if chains.is_empty() {
                self.0.remove(&number);
            } else {
                self.0.insert(number, chains);
            }
        }
    }

    /// The chains that the segment `number` may have; `None` if it does not count.
    pub(super) fn get(&self, number: u64) -> Option<&Vec<Chain>> {
        self.0.get(&number)
    }

    /// How many segments count whose numbers are between these two.
    pub(super) fn between(&self, before: u64, behind: u64) -> u64 {
        let count = self.0.keys().filter(|number| before < **number && **number < behind).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written_or_not_at_all() {
        let parts = vec![(1, vec![[1; 32]]), (u64::MAX, vec![[2; 32], [3; 32]]), (7, vec![])];
        let bytes = encode(&parts).unwrap();
        assert_eq!(decode(&bytes).unwrap(), parts);
        let ends = [0, 41, 114, 123];
        for cut in 0..=bytes.len() {
            assert_eq!(decode(&bytes[..cut]).is_ok(), ends.contains(&cut), "{cut}");
        }
        assert!(encode(&[(1, vec![[0; 32]; 256])]).is_err());
    }

    #[test]
    fn what_is_added_later_counts() {
        let mut table = Table::default();
        table.add(vec![(1, vec![[1; 32]]), (2, vec![[2; 32]])]);
        table.add(vec![(1, vec![]), (2, vec![[2; 32], [4; 32]])]);
        assert_eq!(table.get(1), None);
        assert_eq!(table.get(2), Some(&vec![[2; 32], [4; 32]]));
        assert_eq!([table.between(0, 3), table.between(2, 9), table.between(1, 2)], [1, 0, 0]);
    }
}
