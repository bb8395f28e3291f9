//! Frames on their way to a segment.

use core::ops::Range;

use super::block::wide;
use super::frame::{Kind, MAX_RECORD, Size, parse};
use crate::error::{Error, Misuse, Result};

/// Room for a frame's head where its data stands before its length and CRC are known, in bytes:
/// length word, type, and then CRC and length as integers of fixed length.
pub(crate) const HEAD: usize = WORD_LEN + 2 + 2 * (1 + PADDED);
const WORD_LEN: usize = 8;
/// Length of an integer of fixed length, in bytes: room for 32 bits.
const PADDED: usize = 5;

/// Frames as they will stand in a segment, one after the other.
#[derive(Debug)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    chain: u32,
}

impl Frames {
    /// None yet; the chain has the value `chain` where they begin.
    pub(crate) const fn new(chain: u32) -> Self {
        Self { bytes: Vec::new(), chain }
    }

    /// As [`Frames::new`], in memory that was used before.
    #[cfg(feature = "swarm")]
    pub(crate) fn reuse(mut bytes: Vec<u8>, chain: u32) -> Self {
        bytes.clear();
        Self { bytes, chain }
    }

    /// Takes over bytes in which the data of frames stands already, for [`Frames::put_around`].
    pub(crate) const fn over(bytes: Vec<u8>, chain: u32) -> Self {
        Self { bytes, chain }
    }

    /// Makes a frame of data whose end stands among these bytes already, at `rest`: writes `start`
    /// before it, and before that the frame's head, which needs [`HEAD`] bytes of room. Gives where
    /// the frame stands. It must begin at a multiple of 8, and zeros must follow up to the next one;
    /// frames are made in their order, before others are put behind them.
    ///
    /// # Errors
    ///
    /// As [`Frames::put`]; [`Misuse::Buffer`] if there is no room.
    pub(crate) fn put_around(
        &mut self,
        kind: Kind,
        start: &[u8],
        rest: Range<usize>,
    ) -> Result<Range<usize>> {
        let before = rest.start.checked_sub(HEAD + start.len()).ok_or(Misuse::Buffer)?;
        let behind = rest.end.checked_next_multiple_of(8).ok_or(Misuse::Buffer)?;
        let aligned = before.is_multiple_of(8);
        let frame = self.bytes.get_mut(before..behind).filter(|_| aligned);
        let (head, data) = frame.and_then(<[u8]>::split_first_chunk_mut).ok_or(Misuse::Buffer)?;
        let len = start.len() + rest.len();
        let data = data.get_mut(..len).ok_or(Misuse::Buffer)?;
        data.split_at_mut(start.len()).0.copy_from_slice(start);
        let chain = crc32c::crc32c_append(self.chain, data);
        *head = head_of(kind, chain, len)?;
        self.chain = chain;
        Ok(before..behind)
    }

    /// Adds the record that opens a segment and states the chain's value.
    pub(crate) fn put_crc(&mut self) -> Result<()> {
        self.put_record(Kind::Crc, None).map(drop)
    }

    /// Adds a record whose data is `parts`, joined; gives where its frame stands among these bytes.
    ///
    /// # Errors
    ///
    /// [`Misuse::TooLarge`] for a record that no reader would take.
    pub(crate) fn put(&mut self, kind: Kind, parts: &[&[u8]]) -> Result<Range<usize>> {
        for part in parts {
            self.chain = crc32c::crc32c_append(self.chain, part);
        }
        self.put_record(kind, Some(parts))
    }

    fn put_record(&mut self, kind: Kind, data: Option<&[&[u8]]>) -> Result<Range<usize>> {
        let mut head = Varints::default();
        head.tagged(0x08, kind.number());
        head.tagged(0x10, u64::from(self.chain));
        let len: usize = data.map_or(0, |parts| parts.iter().map(|part| part.len()).sum());
        if data.is_some() {
            head.tagged(0x1a, wide(len));
        }
        let record = checked(head.as_bytes().len() + len)?;
        let start = self.bytes.len();
        let (word, padding) = Size::for_record(record);
        self.bytes.extend_from_slice(&word.to_le_bytes());
        self.bytes.extend_from_slice(head.as_bytes());
        for part in data.unwrap_or_default() {
            self.bytes.extend_from_slice(part);
        }
        let padding = usize::try_from(padding).unwrap_or(0);
        self.bytes.resize(self.bytes.len() + padding, 0);
        Ok(start..self.bytes.len())
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The chain's value behind them.
    pub(crate) const fn chain(&self) -> u32 {
        self.chain
    }
}

/// The length of a record that a reader takes.
fn checked(len: usize) -> Result<u64> {
    let (actual, limit) = (wide(len), MAX_RECORD);
    if actual > limit {
        return Err(Misuse::TooLarge { what: "a frame", actual, limit }.into());
    }
    Ok(actual)
}

/// The head of a frame whose data has `len` bytes.
fn head_of(kind: Kind, crc: u32, len: usize) -> Result<[u8; HEAD]> {
    let (word, _) = Size::for_record(checked(HEAD - WORD_LEN + len)?);
    let [w0, w1, w2, w3, w4, w5, w6, w7] = word.to_le_bytes();
    // The types that are written so are below 128.
    let [kind, ..] = kind.number().to_le_bytes();
    let [c0, c1, c2, c3, c4] = padded(crc);
    let [l0, l1, l2, l3, l4] = padded(u32::try_from(len).unwrap_or(u32::MAX));
    Ok([
        w0, w1, w2, w3, w4, w5, w6, w7, 0x08, kind, 0x10, c0, c1, c2, c3, c4, 0x1a, l0, l1, l2, l3,
        l4,
    ])
}

/// An integer in five bytes, whatever its value.
fn padded(value: u32) -> [u8; PADDED] {
    let part = |n: u32| (value >> (7 * n)).to_le_bytes()[0] & 0x7f;
    [part(0) | 0x80, part(1) | 0x80, part(2) | 0x80, part(3) | 0x80, part(4)]
}

/// The start of a record: type, CRC and the length of its data take at most 18 bytes.
#[derive(Default)]
struct Varints {
    bytes: [u8; 24],
    len: usize,
}

impl Varints {
    fn tagged(&mut self, tag: u8, value: u64) {
        self.byte(tag);
        let mut rest = value;
        while rest >= 0x80 {
            self.byte(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.byte(rest.to_le_bytes()[0]);
    }

    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Takes the frame that begins `bytes` apart: its kind, and where its data stands in them. Its CRC
/// is not looked at.
///
/// # Errors
///
/// [`Error::Damaged`] if no frame of exactly this length stands there.
pub(crate) fn take_frame(bytes: &[u8]) -> Result<(Kind, Range<usize>)> {
    let damaged = || Error::damaged("no frame where one was written");
    let (word, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    let word = u64::from_le_bytes(*word);
    let len = word & ((1 << 56) - 1);
    if Size::for_record(len).0 != word {
        return Err(damaged());
    }
    let record = usize::try_from(len).ok().and_then(|len| rest.get(..len)).ok_or_else(damaged)?;
    let (kind, _, data) = parse(record)?;
    let data = data.unwrap_or(0..0);
    let word = bytes.len() - rest.len();
    Ok((kind, word + data.start..word + data.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_whole_or_not_at_all() {
        let mut frames = Frames::new(0);
        frames.put(Kind::Own(16), &[b"some data"]).unwrap();
        let whole = frames.bytes();
        for cut in 0..whole.len() - 7 {
            assert!(take_frame(&whole[..cut]).is_err(), "{cut}");
        }
        let mut odd = whole.to_vec();
        odd[7] ^= 1;
        assert!(take_frame(&odd).is_err());
    }

    #[test]
    fn a_frame_around_its_data_is_read_as_any_other() {
        let mut chain = 9;
        for len in [0, 1, 7, 8, 100, 200, 70_000] {
            let content = vec![0xa5; len];
            let mut bytes = vec![0; HEAD + 3];
            bytes.extend_from_slice(&content);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            let mut frames = Frames::over(bytes, chain);
            let rest = HEAD + 3..HEAD + 3 + len;
            let around = frames.put_around(Kind::Own(16), &[1, 2, 3], rest).unwrap();
            assert_eq!(around, 0..frames.bytes().len());
            let mut copied = Frames::new(chain);
            copied.put(Kind::Own(16), &[&[1, 2, 3], &content]).unwrap();
            let [one, other] = [&frames, &copied].map(|frames| {
                let (kind, data) = take_frame(frames.bytes()).unwrap();
                (kind, frames.bytes()[data].to_vec(), frames.chain())
            });
            assert_eq!(one, other, "{len}");
            chain = frames.chain();
        }
    }

    #[test]
    fn a_frame_needs_room_around_its_data() {
        let mut frames = Frames::over(vec![0; HEAD + 10], 0);
        for rest in [HEAD..HEAD + 1, HEAD + 1..HEAD + 11, HEAD + 3..HEAD + 4] {
            let refused = frames.put_around(Kind::Own(16), &[1], rest);
            assert!(matches!(refused, Err(Error::Misuse(Misuse::Buffer))));
        }
        frames.put_around(Kind::Own(16), &[1], HEAD + 1..HEAD + 2).unwrap();
    }
}
