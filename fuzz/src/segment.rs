//! Segments of etcd's log, written and taken apart a second time.

use crate::swarm::{Value, fields, put_bytes, put_uint};

pub const METADATA: u64 = 1;
pub const ENTRY: u64 = 2;
pub const STATE: u64 = 3;
pub const CRC: u64 = 4;
pub const SNAPSHOT: u64 = 5;

/// Writes records, each with the CRC that continues the chain.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    chain: u32,
    segment: Vec<u8>,
}

impl Writer {
    /// A record; one of type CRC states the chain and has no data.
    pub fn record(&mut self, kind: u64, data: &[u8]) {
        let mut record = Vec::new();
        put_uint(&mut record, 1, kind);
        if kind == CRC {
            put_uint(&mut record, 2, self.chain.into());
        } else {
            self.chain = crc32c::crc32c_append(self.chain, data);
            put_uint(&mut record, 2, self.chain.into());
            put_bytes(&mut record, 3, data);
        }
        self.frame(&record);
    }

    fn frame(&mut self, record: &[u8]) {
        let len = record.len() as u64;
        let padding = len.wrapping_neg() % 8;
        let top = if padding == 0 { 0 } else { 0x80 | padding };
        self.segment.extend((len | top << 56).to_le_bytes());
        self.segment.extend(record);
        self.segment.resize(self.segment.len().next_multiple_of(8), 0);
    }

    /// The segment, ended; the next one goes on with the chain.
    pub fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.segment)
    }
}

/// Type and data of the records up to the first bytes that are none.
#[must_use]
pub fn records(segment: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut rest = segment;
    let mut records = Vec::new();
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let len = u64::from_le_bytes(*word) & ((1 << 56) - 1);
        let frame = usize::try_from(len.next_multiple_of(8)).expect("64-bit");
        let Some((frame, after)) = after.split_at_checked(frame) else { break };
        let record = &frame[..usize::try_from(len).expect("64-bit")];
        let Some(record) = parse(record) else { break };
        records.push(record);
        rest = after;
    }
    records
}

fn parse(record: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (mut kind, mut data) = (None, &[][..]);
    for field in fields(record)? {
        match field {
            (1, Value::Uint(value)) => kind = Some(value),
            (3, Value::Bytes(value)) => data = value,
            _ => {}
        }
    }
    Some((kind?, data.to_vec()))
}

/// The same records with a chain that is right, and nothing behind them; and how many there are.
pub fn repaired(writer: &mut Writer, segment: &[u8]) -> (Vec<u8>, u64) {
    let records = records(segment);
    records.iter().for_each(|(kind, data)| writer.record(*kind, data));
    (writer.end(), records.len() as u64)
}
