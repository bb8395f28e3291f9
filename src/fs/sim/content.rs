use std::collections::BTreeMap;

use super::journal::State;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;
const SECTOR_U64: u64 = 512;

/// A file's bytes. Sectors that were never written are not stored and read as zeros, so that a
/// preallocated file costs nothing.
#[derive(Clone, Default)]
pub(super) struct Content {
    len: u64,
    sectors: BTreeMap<u64, Box<[u8; SECTOR]>>,
}

#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Write {
    Bytes { offset: u64, bytes: Vec<u8> },
    Len(u64),
}

impl Content {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut content = Self::default();
        content.apply(&Write::Bytes { offset: 0, bytes: bytes.to_vec() }, &mut || true);
        content
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> usize {
        let available = self.len.saturating_sub(offset);
        let wanted = usize::try_from(available).map_or(buf.len(), |n| n.min(buf.len()));
        let mut rest = buf.split_at_mut(wanted).0;
        let mut at = offset;
        while !rest.is_empty() {
            let (sector, start) = place(at);
            let (piece, tail) = rest.split_at_mut(rest.len().min(SECTOR - start));
            match self.sectors.get(&sector) {
                Some(bytes) => piece.copy_from_slice(&bytes[start..start + piece.len()]),
                None => piece.fill(0),
            }
            at += wide(piece.len());
            rest = tail;
        }
        wanted
    }

    fn set_len(&mut self, len: u64) {
        let (last, kept) = place(len);
        self.sectors.retain(|sector, _| *sector < last || (*sector == last && kept > 0));
        if let Some(bytes) = self.sectors.get_mut(&last) {
            bytes[kept..].fill(0);
        }
        self.len = len;
    }
}

impl State for Content {
    type Change = Write;

    fn units(change: &Write) -> u64 {
        match change {
            Write::Bytes { offset, bytes } => {
                let end = offset + wide(bytes.len());
                end.div_ceil(SECTOR_U64) - offset / SECTOR_U64 + 1
            }
            Write::Len(_) => 1,
        }
    }

    /// A unit is a sector, and then the length, which may survive without the bytes.
    fn apply(&mut self, change: &Write, keep: &mut dyn FnMut() -> bool) {
        let (offset, bytes) = match change {
            Write::Bytes { offset, bytes } => (*offset, bytes),
            Write::Len(len) => {
                if keep() {
                    self.set_len(*len);
                }
                return;
            }
        };
        let mut at = offset;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (sector, start) = place(at);
            let (piece, tail) = rest.split_at(rest.len().min(SECTOR - start));
            let end = at + wide(piece.len());
            if keep() {
                let bytes = self.sectors.entry(sector).or_insert_with(|| Box::new([0; SECTOR]));
                bytes[start..start + piece.len()].copy_from_slice(piece);
                self.len = self.len.max(end);
            }
            at = end;
            rest = tail;
        }
        if keep() {
            self.len = self.len.max(at);
        }
    }
}

/// The sector that holds `offset`, and where in it.
fn place(offset: u64) -> (u64, usize) {
    let start = usize::try_from(offset % SECTOR_U64).unwrap_or_default();
    (offset / SECTOR_U64, start)
}

pub(super) fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(content: &Content) -> Vec<u8> {
        let mut bytes = vec![0xee; usize::try_from(content.len()).unwrap()];
        assert_eq!(content.read_at(&mut bytes, 0), bytes.len());
        bytes
    }

    #[test]
    fn a_preallocated_file_is_not_stored() {
        let mut content = Content::default();
        content.apply(&Write::Len(u64::MAX), &mut || true);
        assert_eq!(content.len(), u64::MAX);
        assert!(content.sectors.is_empty());
    }

    #[test]
    fn every_unit_is_asked_for() {
        for (offset, len, sectors) in [(0, 1, 1), (0, 512, 1), (511, 2, 2), (512, 513, 2)] {
            let change = Write::Bytes { offset, bytes: vec![7; len] };
            let mut asked = 0;
            Content::default().apply(&change, &mut || {
                asked += 1;
                true
            });
            assert_eq!(asked, sectors + 1);
            assert_eq!(Content::units(&change), asked);
        }
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_vector(
            changes in prop::collection::vec(
                prop_oneof![
                    (0..2000_u64, prop::collection::vec(1..=u8::MAX, 1..1500))
                        .prop_map(|(offset, bytes)| Write::Bytes { offset, bytes }),
                    (0..3000_u64).prop_map(Write::Len),
                ],
                0..12,
            ),
            from in 0..4000_usize,
        ) {
            let mut content = Content::default();
            let mut model = Vec::new();
            for change in &changes {
                content.apply(change, &mut || true);
                match change {
                    Write::Bytes { offset, bytes } => {
                        let offset = usize::try_from(*offset).unwrap();
                        model.resize(model.len().max(offset + bytes.len()), 0);
                        model[offset..offset + bytes.len()].copy_from_slice(bytes);
                    }
                    Write::Len(len) => model.resize(usize::try_from(*len).unwrap(), 0),
                }
            }
            prop_assert_eq!(all(&content), model.clone());
            let mut tail = vec![0; 4000];
            let n = content.read_at(&mut tail, wide(from));
            prop_assert_eq!(&tail[..n], &model[from.min(model.len())..]);
        }
    }
}
