use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

/// A file in memory that counts the bytes that are read.
#[derive(Debug)]
struct Bytes(Vec<u8>, AtomicU64);

impl Bytes {
    fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec(), AtomicU64::new(0))
    }
}

impl File for Bytes {
    fn len(&self) -> io::Result<u64> {
        Ok(wide(self.0.len()))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|from| self.0.get(from..));
        let rest = rest.unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        self.1.fetch_add(wide(count), Ordering::Relaxed);
        Ok(count)
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What was read: the data of the records that are sound, where they stand, and how it ended.
struct Outcome {
    sound: Vec<(u64, Vec<u8>)>,
    damages: Vec<(u64, u64)>,
    end: u64,
    tail: Tail,
}

fn read(segment: &[u8], last: bool) -> Outcome {
    read_file(&Bytes::new(segment), last)
}

fn read_file(file: &Bytes, last: bool) -> Outcome {
    let segment = &file.0;
    let mut reader = SegmentReader::new(file, Path::new("x"), last, Some(0)).unwrap();
    let (mut sound, mut damages, mut reached) = (Vec::new(), Vec::new(), 0);
    loop {
        match reader.next().unwrap().expect("a segment ends with its tail") {
            Step::Record(record) => {
                assert!(record.offset >= reached);
                reached = record.offset + WORD;
                if record.check.is_sound() && record.kind != Kind::Crc {
                    sound.push((record.offset, reader.data().to_vec()));
                }
            }
            Step::ChainBroken { offset } => assert!(offset >= reached),
            Step::Damage { offset, end, .. } => {
                assert!(offset >= reached && end > offset);
                reached = end;
                damages.push((offset, end));
            }
            Step::End { offset, tail } => {
                assert!(offset >= reached && offset <= wide(segment.len()));
                assert!(reader.next().unwrap().is_none());
                return Outcome { sound, damages, end: offset, tail };
            }
        }
    }
}

/// A segment of these records, and where each stands.
fn segment(records: &[Vec<u8>]) -> (Vec<u8>, Vec<u64>) {
    let (mut out, mut chain, mut offsets) = (Vec::new(), 0, Vec::new());
    let mut put = |kind: u8, crc: u32, data: Option<&[u8]>| {
        let offset = wide(out.len());
        // Five bytes for the CRC, whatever it is.
        let mut record = vec![8, kind, 0x10];
        record.extend((0..4).map(|n| u8::try_from(crc >> (7 * n) & 0x7f).unwrap() | 0x80));
        record.push(u8::try_from(crc >> 28).unwrap());
        if let Some(data) = data {
            let len = data.len();
            record.extend([0x1a, u8::try_from(len & 0x7f).unwrap() | 0x80]);
            record.push(u8::try_from(len >> 7).unwrap());
            record.extend_from_slice(data);
        }
        let padding = record.len().next_multiple_of(8) - record.len();
        let top = if padding == 0 { 0 } else { 0x80 | wide(padding) };
        out.extend_from_slice(&(wide(record.len()) | top << 56).to_le_bytes());
        out.append(&mut record);
        out.resize(out.len() + padding, 0);
        offset
    };
    put(4, 0, None);
    for data in records {
        chain = crc32c::crc32c_append(chain, data);
        offsets.push(put(2, chain, Some(data)));
    }
    (out, offsets)
}

/// Data that is longer than a sector now and then, without runs of zeros that look torn.
fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let byte = 1..=255u8;
    proptest::collection::vec(proptest::collection::vec(byte, 1..1500), 4..12)
}

fn whole(records: &[Vec<u8>], offsets: &[u64]) -> Vec<(u64, Vec<u8>)> {
    offsets.iter().copied().zip(records.iter().cloned()).collect()
}

proptest! {
    #[test]
    fn what_was_written_is_read(records in records(), zeros in 0..3000usize, last: bool) {
        let (mut bytes, offsets) = segment(&records);
        let end = wide(bytes.len());
        bytes.resize(bytes.len() + zeros, 0);
        let outcome = read(&bytes, last);
        if zeros % 8 == 0 || zeros > 8 {
            prop_assert_eq!(outcome.tail, Tail::Clean);
        }
        prop_assert_eq!(outcome.end, end);
        prop_assert_eq!(outcome.sound, whole(&records, &offsets));
    }

    /// Damage costs the record that it is in, the one behind it at most, and no other.
    #[test]
    fn one_altered_byte_costs_two_records_at_most(
        records in records(),
        at in any::<prop::sample::Index>(),
        by in 1..=255u8,
        last: bool,
    ) {
        let (mut bytes, offsets) = segment(&records);
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        let outcome = read(&bytes, last);
        let whole = whole(&records, &offsets);
        // Nothing is read that was not written. Its CRC does not cover a record's type: the CRC
        // record at the start, which has no data, may pass for another.
        for record in &outcome.sound {
            let written = whole.contains(record) || (at == 9 && record.1.is_empty());
            prop_assert!(written, "at {at}: {record:?}");
        }
        let hit = offsets.iter().rposition(|offset| *offset <= wide(at));
        for (number, record) in whole.iter().enumerate() {
            let near = hit.map_or(number < 1, |hit| number == hit || number == hit + 1);
            // With fewer than two frames left nothing vouches for the last one.
            let vouched = number + 1 < whole.len() || hit.is_some_and(|hit| hit + 2 < number);
            if !near && vouched {
                prop_assert!(outcome.sound.contains(record), "at {at}: record {number}");
            }
        }
    }

    #[test]
    fn a_cut_costs_what_is_cut_off(
        records in records(),
        at in any::<prop::sample::Index>(),
        last: bool,
    ) {
        let (bytes, offsets) = segment(&records);
        let cut = at.index(bytes.len());
        let outcome = read(&bytes[..cut], last);
        let frames: Vec<u64> = [0].into_iter().chain(offsets.iter().copied()).collect();
        let between = frames.contains(&wide(cut));
        let begun = frames.iter().rev().find(|offset| **offset < wide(cut)).copied();
        let whole: Vec<_> = whole(&records, &offsets)
            .into_iter()
            .zip(offsets.iter().skip(1).copied().chain([wide(bytes.len())]))
            .filter(|(_, end)| *end <= wide(cut))
            .map(|(record, _)| record)
            .collect();
        prop_assert_eq!(outcome.sound, whole);
        prop_assert!(outcome.damages.is_empty());
        match outcome.tail {
            Tail::Clean => prop_assert!(between),
            Tail::Torn(_) => prop_assert!(last && begun == Some(outcome.end)),
            Tail::Damaged(_) => prop_assert!(!last && begun == Some(outcome.end)),
            Tail::Garbage { .. } => prop_assert!(false, "garbage"),
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(
        words in proptest::collection::vec(
            prop_oneof![
                Just(0u64),
                0..64u64,
                (0..64u64).prop_map(|n| n | (0x80 | (n.wrapping_neg() % 8)) << 56),
                any::<u64>(),
                Just(u64::from_le_bytes([8, 2, 0x10, 0, 0x1a, 2, 1, 1])),
            ],
            0..400,
        ),
        cut in 0..8usize,
        last: bool,
    ) {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(bytes.len().saturating_sub(cut));
        read(&bytes, last);
    }
}

#[test]
fn the_chain_goes_on_from_segment_to_segment() {
    let data = [vec![1, 2], vec![3]];
    let (bytes, _) = segment(&data);
    let file = Bytes::new(&bytes);
    let end_of = |chain| {
        let mut reader = SegmentReader::new(&file, Path::new("x"), true, chain).unwrap();
        let mut broken = false;
        while let Some(step) = reader.next().unwrap() {
            broken |= matches!(step, Step::ChainBroken { offset: 0 });
        }
        (reader.chain(), broken)
    };
    let end = crc32c::crc32c(&[1, 2, 3]);
    assert_eq!(end_of(Some(0)), (Some(end), false));
    assert_eq!(end_of(None), (Some(end), false));
    // The segment's CRC record says 0.
    assert_eq!(end_of(Some(5)), (Some(end), true));
}

/// Pairs of frames that vouch for each other, each followed by one that is as long as it can be and
/// has a wrong CRC: reading goes on behind each.
#[test]
fn forged_resumptions_take_linear_time() {
    let len = 2 << 20;
    let mut bytes = vec![0; len];
    let mut at = 0;
    while at + 512 < len {
        let (pair, _) = segment(&[vec![1], vec![2]]);
        bytes[at..at + pair.len()].copy_from_slice(&pair);
        at += pair.len();
        let frame = (len - at - 8 - 16) / 8 * 8;
        bytes[at..at + 8].copy_from_slice(&wide(frame).to_le_bytes());
        let mut record = vec![8, 2, 0x10, 7, 0x1a];
        let mut rest = frame - 9;
        for _ in 0..3 {
            record.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        record.push(u8::try_from(rest).unwrap());
        bytes[at + 8..at + 8 + record.len()].copy_from_slice(&record);
        at += 24;
    }
    // What follows each of the long ones is no frame.
    bytes[len - 16..].fill(0xff);
    let file = Bytes::new(&bytes);
    let outcome = read_file(&file, false);
    assert!(outcome.damages.len() > 1);
    assert!(file.1.load(Ordering::Relaxed) < 20 * wide(len));
}

/// Frames that all claim to be as long as they can, so that each must be looked at.
#[test]
fn a_forged_segment_takes_linear_time() {
    let len = 4 << 20;
    let mut bytes = vec![0; len];
    for at in (8..len - 16).step_by(8) {
        let record = wide((len - at - 8) / 8 * 8);
        bytes[at..at + 8].copy_from_slice(&record.to_le_bytes());
    }
    bytes[0] = 1;
    let file = Bytes::new(&bytes);
    read_file(&file, true);
    assert!(file.1.load(Ordering::Relaxed) < 20 * wide(len));
}

/// The first 21 bytes of an entry with `len` bytes of data.
fn head(crc: u32, len: usize) -> Vec<u8> {
    let low = |n: u32| u8::try_from(n & 0x7f).unwrap() | 0x80;
    let size = u32::try_from(len).unwrap();
    let mut record = vec![8, 2, 0x10];
    record.extend((0..4).map(|n| low(crc >> (7 * n))));
    record.extend([u8::try_from(crc >> 28).unwrap(), 0x1a]);
    record.extend((0..3).map(|n| low(size >> (7 * n))));
    record.push(u8::try_from(size >> 21).unwrap());
    assert_eq!((record.len() + len) % 8, 0);
    [&wide(record.len() + len).to_le_bytes()[..], &record].concat()
}

/// Short frames with a wrong CRC, each before a frame that is as long as it can be. In the short
/// one lies a pair that vouches for each other, and the second of the pair ends in the long one:
/// reading goes on there, and the long one was read for nothing.
#[test]
fn forged_successors_take_linear_time() {
    let len = 512 << 10;
    let mut bytes = Vec::new();
    while bytes.len() + 256 < len {
        let long = head(9, len - 16 - bytes.len() - 93);
        let second = [&[1; 3], &long[..], &[1; 3]].concat();
        let short = head(9, 3 + 24 + 24);
        let first = [&head(7, 3)[..], &[1; 3]].concat();
        bytes.extend([&short[..], &[1; 3], &first].concat());
        bytes.extend(head(crc32c::crc32c_append(7, &second), second.len()));
        bytes.extend(second);
    }
    bytes.resize(len, 0xff);
    let file = Bytes::new(&bytes);
    assert!(read_file(&file, false).damages.len() > 1);
    assert!(file.1.load(Ordering::Relaxed) < 20 * wide(len));
}
