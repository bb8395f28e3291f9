//! What a disk does to files: bytes that are lost, never a frame that was forged.

use super::{Contents, Kind, Scene};
use crate::take;

/// Contiguous corruption of one file.
#[derive(Debug, Clone, Copy)]
pub struct Damage {
    kind: u8,
    file: u8,
    at: u16,
    len: u16,
    byte: u8,
}

impl Damage {
    /// How many bytes of input say one.
    pub const LEN: usize = 7;

    /// Takes one from the front of an input.
    pub fn take(data: &mut &[u8]) -> Option<Self> {
        if data.len() < Self::LEN {
            return None;
        }
        let [kind, file, byte] = take(data);
        let [at, len] = [take(data), take(data)].map(u16::from_le_bytes);
        Some(Self { kind, file, at, len, byte })
    }

    /// As it is written in an input.
    #[must_use]
    pub fn encode(kind: u8, file: u8, byte: u8, at: u16, len: u16) -> Vec<u8> {
        [&[kind, file, byte][..], &at.to_le_bytes(), &len.to_le_bytes()].concat()
    }

    /// Does it to a store's files.
    pub fn apply(&self, scene: &Scene, contents: &mut Contents) {
        let files: Vec<usize> =
            (0..contents.len()).filter(|n| scene.files[*n].kind != Kind::Lock).collect();
        let n = files[usize::from(self.file) % files.len()];
        let Some(bytes) = &mut contents[n] else { return };
        let used = scene.files[n].used.min(bytes.len());
        let at = usize::from(self.at) % (used + 1);
        let end = at.saturating_add(usize::from(self.len)).min(bytes.len());
        match self.kind % 6 {
            0 => bytes[at..end].fill(self.byte),
            1 => bytes[at..end].fill(0),
            2 => bytes[at..end].iter_mut().zip(noise(self.byte)).for_each(|(b, n)| *b ^= n),
            3 => bytes[at..end].iter_mut().zip(noise(self.byte)).for_each(|(b, n)| *b = n),
            4 => bytes.truncate(at),
            _ => contents[n] = None,
        }
    }
}

/// Bytes without an order, always the same ones for a seed.
fn noise(seed: u8) -> impl Iterator<Item = u8> {
    let mut state = u32::from(seed) | 0x5eed_0000;
    core::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    })
}
