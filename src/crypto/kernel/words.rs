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

/// The words that block 0 starts from.
#[inline(always)]
pub(super) fn start(key: &[u8; 32], suffix: &[u8; 8]) -> [u32; 16] {
    let [n0, n1] = split(u64::from_le_bytes(*suffix));
    with_input(key, [n0, n1, 0, 0])
}

#[inline(always)]
fn with_input(key: &[u8; 32], [n0, n1, n2, n3]: [u32; 4]) -> [u32; 16] {
    let [x0, x1, x2, x3] = CONSTANTS;
    let [k0, k1, k2, k3, k4, k5, k6, k7] = key_words(key);
    [x0, k0, k1, k2, k3, x1, n0, n1, n2, n3, x2, k4, k5, k6, k7, x3]
}

/// `(y + z) <<< left`
#[inline(always)]
const fn turned(y: u32, z: u32, left: u32) -> u32 {
    y.wrapping_add(z).rotate_left(left)
}

#[inline(always)]
fn quarter(x: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    x[b] ^= turned(x[a], x[d], 7);
    x[c] ^= turned(x[b], x[a], 9);
    x[d] ^= turned(x[c], x[b], 13);
    x[a] ^= turned(x[d], x[c], 18);
}

/// What the blocks of one stream have in common whose counters have the same high word.
///
/// They differ in word 8, the counter's low word. In the first double round it gets into words 12 and 0 of
/// its column, not into the other columns; and of the rows neither into that of words 5, 6, 7 and 4 nor into
/// the sums that are turned into words 11, 8 and 12: 21 of the 32 sums are made and turned only once.
pub(super) struct Common {
    /// The words at the beginning, the counter's low one zero.
    pub(super) input: [u32; 16],
    /// The words after the first double round, as far as they are done.
    pub(super) x: [u32; 16],
    /// Word 4 between columns and rows.
    pub(super) column4: u32,
    /// What the rows bring to words 8 and 12 first.
    pub(super) row8: u32,
    pub(super) row12: u32,
}

impl Common {
    /// For as many blocks as the low word counts.
    pub(super) const END: u64 = 1 << 32;

    /// For the blocks below [`Common::END`].
    #[inline(always)]
    pub(super) fn new(key: &[u8; 32], suffix: &[u8; 8]) -> Self {
        Self::from(start(key, suffix))
    }

    /// For those that start from `input`.
    #[inline(always)]
    pub(super) fn from(input: [u32; 16]) -> Self {
        let mut x = input;
        x[4] ^= turned(x[0], x[12], 7);
        x[8] ^= turned(x[4], x[0], 9);
        quarter(&mut x, [5, 9, 13, 1]);
        quarter(&mut x, [10, 14, 2, 6]);
        quarter(&mut x, [15, 3, 7, 11]);
        let column4 = x[4];
        quarter(&mut x, [5, 6, 7, 4]);
        x[11] ^= turned(x[10], x[9], 7);
        let (row8, row12) = (turned(x[11], x[10], 9), turned(x[15], x[14], 7));
        Self { input, x, column4, row8, row12 }
    }
}

/// A block while its rounds run beside those of other blocks in vectors.
pub(super) struct Block {
    start: [u32; 16],
    x: [u32; 16],
}

impl Block {
    /// The block that starts from these words.
    #[inline(always)]
    pub(super) const fn from(start: [u32; 16]) -> Self {
        Self { start, x: start }
    }

    /// One of ten.
    #[inline(always)]
    pub(super) fn double_round(&mut self) {
        let x = &mut self.x;
        quarter(x, [0, 4, 8, 12]);
        quarter(x, [5, 9, 13, 1]);
        quarter(x, [10, 14, 2, 6]);
        quarter(x, [15, 3, 7, 11]);
        quarter(x, [0, 1, 2, 3]);
        quarter(x, [5, 6, 7, 4]);
        quarter(x, [10, 11, 8, 9]);
        quarter(x, [15, 12, 13, 14]);
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
    let mut block = Block::from(with_input(key, words));
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
