//! Segments taken apart and put together again, written apart from the library's own reader.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::fs::{self, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub(crate) const METADATA: u8 = 1;
pub(crate) const ENTRY: u8 = 2;
pub(crate) const STATE: u8 = 3;
pub(crate) const CRC: u8 = 4;

/// A frame of a segment.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    /// All of the frame, length word and padding included.
    pub(crate) range: Range<u64>,
    pub(crate) crc: u32,
    pub(crate) data: Vec<u8>,
}

impl Frame {
    /// Index of an entry.
    pub(crate) fn index(&self) -> u64 {
        assert_eq!(self.kind, ENTRY);
        let (mut index, mut at) = (0, 0);
        while at < self.data.len() {
            let tag = self.data[at];
            let (value, next) = varint(&self.data, at + 1);
            at = next;
            match tag {
                0x18 => index = value,
                0x22 => at += usize::try_from(value).unwrap(),
                _ => {}
            }
        }
        index
    }
}

pub(crate) fn varint(bytes: &[u8], mut at: usize) -> (u64, usize) {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[at];
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return (value, at);
        }
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
}

/// The only segment of a log.
pub(crate) fn only(dir: &Path) -> PathBuf {
    dir.join("raft/wal-v3-encrypted/0000000000000000-0000000000000000.wal")
}

/// The frames of an undamaged segment.
pub(crate) fn frames(path: &Path) -> Vec<Frame> {
    let file = fs::File::open(path).unwrap();
    let mut frames = Vec::new();
    let mut at = 0;
    loop {
        let mut word = [0; 8];
        if file.read_at(&mut word, at).unwrap() < 8 {
            break;
        }
        let word = u64::from_le_bytes(word);
        if word == 0 {
            break;
        }
        let len = word & ((1 << 56) - 1);
        let mut record = vec![0; usize::try_from(len).unwrap()];
        file.read_exact_at(&mut record, at + 8).unwrap();
        let end = at + 8 + len.next_multiple_of(8);
        let (crc, next) = varint(&record, 3);
        let data = match record.get(next) {
            Some(0x1a) => record[varint(&record, next + 1).1..].to_vec(),
            _ => Vec::new(),
        };
        let crc = u32::try_from(crc).unwrap();
        frames.push(Frame { kind: record[1], range: at..end, crc, data });
        at = end;
    }
    frames
}

/// A segment with these frames, its chain going on from `chain`; gives the chain's end.
pub(crate) fn encode(frames: &[Frame], mut chain: u32) -> (Vec<u8>, u32) {
    let mut segment = Vec::new();
    for frame in frames {
        if frame.kind != CRC {
            chain = crc32c::crc32c_append(chain, &frame.data);
        }
        let mut record = vec![0x08, frame.kind, 0x10];
        put_varint(&mut record, u64::from(chain));
        if frame.kind != CRC {
            record.push(0x1a);
            put_varint(&mut record, u64::try_from(frame.data.len()).unwrap());
            record.extend_from_slice(&frame.data);
        }
        let len = u64::try_from(record.len()).unwrap();
        let padding = len.next_multiple_of(8) - len;
        let top = if padding == 0 { 0 } else { 0x80 | padding };
        segment.extend_from_slice(&(len | top << 56).to_le_bytes());
        segment.extend_from_slice(&record);
        segment.resize(segment.len().next_multiple_of(8), 0);
    }
    (segment, chain)
}

/// Replaces a file's content.
pub(crate) fn replace(path: &Path, content: &[u8]) {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path).unwrap();
    file.write_all_at(content, 0).unwrap();
}

/// Overwrites a part of a file.
pub(crate) fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

/// Overwrites a part of a file with zeros.
pub(crate) fn zero(path: &Path, range: Range<u64>) {
    overwrite(path, range.start, &vec![0; usize::try_from(range.end - range.start).unwrap()]);
}

/// Flips one bit.
pub(crate) fn flip(path: &Path, at: u64) {
    let mut byte = [0];
    fs::File::open(path).unwrap().read_exact_at(&mut byte, at).unwrap();
    overwrite(path, at, &[byte[0] ^ 0x10]);
}

/// Cuts a file off.
pub(crate) fn cut(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}
