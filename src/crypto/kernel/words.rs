//! Salsa20's matrix in words, and one block of it on ordinary integers.

/// "expand 32-byte k"
pub(super) const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// The words of a key.
#[inline(always)]
pub(super) fn key_words(key: &[u8; 32]) -> [u32; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// The low and the high word.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low word is meant")]
pub(super) const fn split(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

/// A block while its rounds run beside those of other blocks in vectors.
pub(super) struct Block {
    start: [u32; 16],
    x: [u32; 16],
}

impl Block {
    /// Block 0.
    #[inline(always)]
    pub(super) fn new(key: &[u8; 32], suffix: &[u8; 8]) -> Self {
        let [n0, n1] = split(u64::from_le_bytes(*suffix));
        Self::with_input(key, [n0, n1, 0, 0])
    }

    #[inline(always)]
    fn with_input(key: &[u8; 32], [n0, n1, n2, n3]: [u32; 4]) -> Self {
        let [x0, x1, x2, x3] = CONSTANTS;
        let [k0, k1, k2, k3, k4, k5, k6, k7] = key_words(key);
        let start = [x0, k0, k1, k2, k3, x1, n0, n1, n2, n3, x2, k4, k5, k6, k7, x3];
        Self { start, x: start }
    }

    #[inline(always)]
    fn quarter(&mut self, a: usize, b: usize, c: usize, d: usize) {
        let x = &mut self.x;
        x[b] ^= x[a].wrapping_add(x[d]).rotate_left(7);
        x[c] ^= x[b].wrapping_add(x[a]).rotate_left(9);
        x[d] ^= x[c].wrapping_add(x[b]).rotate_left(13);
        x[a] ^= x[d].wrapping_add(x[c]).rotate_left(18);
    }

    /// One of ten.
    #[inline(always)]
    pub(super) fn double_round(&mut self) {
        self.quarter(0, 4, 8, 12);
        self.quarter(5, 9, 13, 1);
        self.quarter(10, 14, 2, 6);
        self.quarter(15, 3, 7, 11);
        self.quarter(0, 1, 2, 3);
        self.quarter(5, 6, 7, 4);
        self.quarter(10, 11, 8, 9);
        self.quarter(15, 12, 13, 14);
    }

    /// The block's bytes.
    #[inline(always)]
    pub(super) fn finish(self, out: &mut [u8; 64]) {
        let words = self.x.iter().zip(&self.start);
        for (out, (x, start)) in out.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *out = x.wrapping_add(*start).to_le_bytes();
        }
    }
}

/// `HSalsa20(key, input)`: what the rounds leave at the places of constants and input.
#[inline(always)]
pub(super) fn derive(key: &[u8; 32], input: &[u8; 16], out: &mut [u8; 32]) {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(input.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let mut block = Block::with_input(key, words);
    for _ in 0..10 {
        block.double_round();
    }
    let places = [0, 5, 10, 15, 6, 7, 8, 9];
    for (bytes, place) in out.as_chunks_mut::<4>().0.iter_mut().zip(places) {
        *bytes = block.x[place].to_le_bytes();
    }
}

/// XORs `stream` into `data`, as far as both go.
#[inline(always)]
pub(super) fn xor(data: &mut [u8], stream: &[u8]) {
    for (byte, stream) in data.iter_mut().zip(stream) {
        *byte ^= stream;
    }
}

/// XORs a block into the beginning of `data`, as far as both go.
#[inline(always)]
pub(super) fn xor_block(data: &mut [u8], block: &[u8; 64]) {
    let ([half, other], _) = block.as_chunks::<32>() else { return };
    if let Some(data) = data.first_chunk_mut() {
        xor_whole(data, block);
    } else if let Some((data, rest)) = data.split_first_chunk_mut() {
        xor_whole(data, half);
        xor(rest, other);
    } else {
        xor(data, half);
    }
}

/// XORs `stream` into `data`.
#[inline(always)]
pub(super) fn xor_whole<const N: usize>(data: &mut [u8; N], stream: &[u8; N]) {
    // In a copy: where the two might overlap, it would be done byte after byte.
    let mut sum = *data;
    for (byte, stream) in sum.iter_mut().zip(stream) {
        *byte ^= stream;
    }
    *data = sum;
}
