use core::ops::Range;

use super::block::{BlockFile, wide};
use super::proto::Fields;
use crate::error::{Error, Result};
use crate::secret::SecretBytes;

/// Length of the length word, in bytes.
pub(crate) const WORD: u64 = 8;
/// The longest record that is read, in bytes. Swarm's requests end at 1.5 MiB.
pub(super) const MAX_RECORD: u64 = 128 * 1024 * 1024;
/// What a disk writes at once, in bytes: a torn frame has a sector that stayed zero.
const SECTOR: u64 = 512;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Metadata,
    Entry,
    State,
    Crc,
    Snapshot,
    /// A record of our own codec; etcd knows none of these.
    Own(u8),
    Other(u64),
}

impl Kind {
    const fn of(number: u64) -> Self {
        match number {
            1 => Self::Metadata,
            2 => Self::Entry,
            3 => Self::State,
            4 => Self::Crc,
            5 => Self::Snapshot,
            #[expect(clippy::cast_possible_truncation, reason = "it is below 32")]
            own @ 16..32 => Self::Own(own as u8),
            other => Self::Other(other),
        }
    }

    /// The number that stands in a record.
    pub(crate) const fn number(self) -> u64 {
        match self {
            Self::Metadata => 1,
            Self::Entry => 2,
            Self::State => 3,
            Self::Crc => 4,
            Self::Snapshot => 5,
            Self::Own(own) => own as u64,
            Self::Other(other) => other,
        }
    }
}

/// A frame as it stands, its CRC not yet looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// The CRC that the record states.
    pub(crate) crc: u32,
    /// Where the record's data is in the buffer; `None` when it has none.
    pub(crate) data: Option<Range<usize>>,
    /// Offset behind the padding.
    pub(crate) end: u64,
    /// The length word's top byte is not what the length demands.
    pub(crate) odd_word: bool,
}

/// What stands at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Raw {
    /// A zero word or the end of the file.
    End,
    /// A length word or a record that runs over the end of the file.
    Short(&'static str),
    /// Bytes that are no record.
    Bad(&'static str),
    /// A record.
    Frame(Frame),
}

/// Reads what stands at `offset` into `body`.
///
/// # Errors
///
/// What the system says. Damage is not an error here.
pub(crate) fn read_raw(
    file: &mut BlockFile<'_>,
    offset: u64,
    body: &mut SecretBytes,
) -> Result<Raw> {
    // Not `clear`, which wipes all the memory that the longest record so far has taken.
    body.resize(0);
    let rest = file.len().saturating_sub(offset);
    if rest == 0 {
        return Ok(Raw::End);
    }
    if rest < WORD {
        return Ok(Raw::Short("a length word that is cut off"));
    }
    let mut word = [0; 8];
    file.read(offset, &mut word)?;
    let word = u64::from_le_bytes(word);
    if word == 0 {
        return Ok(Raw::End);
    }
    let size = Size::of(word);
    // `size` is at most 2^56 + 7, `rest` at least the word.
    if size.frame() > rest - WORD {
        return Ok(Raw::Short("a record that runs over the end of the file"));
    }
    if size.record > MAX_RECORD {
        return Ok(Raw::Bad("a record longer than any that is written"));
    }
    let end = offset + WORD + size.frame();
    let (Ok(whole), Ok(record)) = (usize::try_from(size.frame()), usize::try_from(size.record))
    else {
        return Ok(Raw::Bad("a record longer than this machine can hold"));
    };
    body.resize(whole);
    file.read(offset + WORD, body.expose_mut())?;
    let record = body.expose().get(..record).unwrap_or_default();
    Ok(match parse(record) {
        Ok((kind, crc, data)) => Raw::Frame(Frame { kind, crc, data, end, odd_word: size.odd }),
        Err(_) => Raw::Bad("a frame that holds no record"),
    })
}

/// What a length word says.
pub(super) struct Size {
    record: u64,
    padding: u64,
    odd: bool,
}

impl Size {
    /// The padding follows from the length; whether the word says the same is only noted.
    const fn of(word: u64) -> Self {
        let record = word & ((1 << 56) - 1);
        let padding = record.wrapping_neg() % 8;
        let top = if padding == 0 { 0 } else { 0x80 | padding };
        Self { record, padding, odd: word >> 56 != top }
    }

    const fn frame(&self) -> u64 {
        self.record + self.padding
    }

    /// The word for a record of `len` bytes, and the padding behind it.
    pub(super) const fn for_record(len: u64) -> (u64, u64) {
        let padding = len.wrapping_neg() % 8;
        let top = if padding == 0 { 0 } else { 0x80 | padding };
        (top << 56 | len, padding)
    }
}

/// Whether a frame can start with this word: cheap, so that a scan passes quickly over what is not.
pub(crate) const fn plausible(word: u64, rest: u64) -> bool {
    let size = Size::of(word);
    // Type and CRC take four bytes at least.
    !size.odd && size.record >= 4 && size.record <= MAX_RECORD && size.frame() <= rest
}

pub(super) fn parse(record: &[u8]) -> Result<(Kind, u32, Option<Range<usize>>)> {
    let (mut kind, mut crc, mut data) = (None, None, None);
    for field in Fields::of(record) {
        match field? {
            (1, value) => kind = Some(Kind::of(value.uint()?)),
            (2, value) => {
                let value = u32::try_from(value.uint()?);
                crc = Some(value.map_err(|_| Error::damaged("a CRC of more than 32 bits"))?);
            }
            (3, value) => {
                let bytes = value.bytes()?;
                // Where a part of a slice stands in it, by addresses.
                let from = bytes.as_ptr().addr().saturating_sub(record.as_ptr().addr());
                data = Some(from..from.saturating_add(bytes.len()));
            }
            _ => {}
        }
    }
    match (kind, crc) {
        (Some(kind), Some(crc)) => Ok((kind, crc, data)),
        _ => Err(Error::damaged("a record without a type or a CRC")),
    }
}

/// Whether a frame looks as if the disk had not finished it: a whole sector of it is zero.
///
/// `body` is all behind the length word, padding included; `offset` is the frame's.
pub(crate) fn torn(offset: u64, body: &[u8]) -> bool {
    let mut at = offset.saturating_add(WORD);
    let mut rest = body;
    while !rest.is_empty() {
        let room = usize::try_from(SECTOR - at % SECTOR).unwrap_or(usize::MAX);
        let (chunk, later) = rest.split_at(room.min(rest.len()));
        if chunk.iter().all(|byte| *byte == 0) {
            return true;
        }
        at = at.saturating_add(wide(chunk.len()));
        rest = later;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_padding_follows_from_the_length() {
        for (word, frame, odd) in [
            (0x0000_0000_0000_0010, 16, false),
            (0x8500_0000_0000_0003, 8, false),
            (0x0000_0000_0000_0003, 8, true),
            (0x8400_0000_0000_0003, 8, true),
            (0xc500_0000_0000_0003, 8, true),
        ] {
            let size = Size::of(word);
            assert_eq!((size.frame(), size.odd), (frame, odd), "{word:x}");
        }
    }

    #[test]
    fn a_record_needs_type_and_crc() {
        let record = [0x08, 2, 0x10, 5, 0x1a, 2, 7, 8];
        assert_eq!(parse(&record).unwrap(), (Kind::Entry, 5, Some(6..8)));
        assert!(parse(&record[..2]).is_err());
        assert!(parse(&record[2..]).is_err());
        assert!(parse(&record[..7]).is_err());
    }

    #[test]
    fn a_zero_sector_is_a_torn_write() {
        let mut body = vec![1; 1024];
        assert!(!torn(0, &body));
        // Sectors begin at multiples of 512 of the file, not of the body.
        body[8..520].fill(0);
        assert!(!torn(0, &body));
        body[504..1016].fill(0);
        assert!(torn(0, &body));
        // The last chunk may be short.
        let mut body = vec![1; 600];
        body[504..].fill(0);
        assert!(torn(0, &body));
    }
}
