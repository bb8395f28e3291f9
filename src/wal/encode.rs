//! The protobuf wire format, writing.

use super::block::wide;
use super::proto::Value;
use crate::secret::SecretBytes;

/// A message that is being written, its fields in the order of the calls. Wiped in the end: what is
/// sealed afterwards stands here in plaintext.
#[derive(Debug, Default)]
pub(crate) struct Message(SecretBytes);

impl Message {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// With room for `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(SecretBytes::with_capacity(capacity))
    }

    /// An integer, also if it is zero.
    pub(crate) fn uint(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field) << 3);
        self.varint(value);
    }

    /// Bytes, text or an embedded message, also if it is empty.
    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.head(field, value.len());
        self.0.extend_from_slice(value);
    }

    /// A field as it was read.
    pub(crate) fn value(&mut self, field: u64, value: Value<'_>) {
        match value {
            Value::Varint(value) => {
                self.varint(field << 3);
                self.varint(value);
            }
            Value::Fixed64(value) => {
                self.varint(field << 3 | 1);
                self.raw(&value.to_le_bytes());
            }
            Value::Bytes(value) => {
                self.value_head(field, value.len());
                self.raw(value);
            }
            Value::Fixed32(value) => {
                self.varint(field << 3 | 5);
                self.raw(&value.to_le_bytes());
            }
        }
    }

    /// The start of a field of `len` bytes, which the next calls write.
    pub(crate) fn head(&mut self, field: u32, len: usize) {
        self.value_head(field.into(), len);
    }

    /// As [`Message::head`], of a field as it was read.
    pub(crate) fn value_head(&mut self, field: u64, len: usize) {
        self.varint(field << 3 | 2);
        self.varint(wide(len));
    }

    /// As many bytes of one value.
    pub(crate) fn fill(&mut self, byte: u8, len: usize) {
        let start = self.0.len();
        self.0.resize(start + len);
        self.0.expose_mut().get_mut(start..).unwrap_or_default().fill(byte);
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn varint(&mut self, value: u64) {
        let mut rest = value;
        while rest >= 0x80 {
            self.0.extend_from_slice(&[rest.to_le_bytes()[0] | 0x80]);
            rest >>= 7;
        }
        self.0.extend_from_slice(&[rest.to_le_bytes()[0]]);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.expose()
    }

    pub(crate) fn into_secret(self) -> SecretBytes {
        self.0
    }

    /// The bytes of a message that holds no secret.
    pub(crate) fn into_public(self) -> Vec<u8> {
        self.0.into_vec()
    }
}

/// How many bytes a field of `len` bytes takes, tag and length included.
pub(crate) fn field_len(field: u32, len: usize) -> usize {
    varint_len(u64::from(field) << 3 | 2) + varint_len(wide(len)) + len
}

/// How many bytes a field takes as it was read, but with `len` bytes where it has bytes.
pub(crate) fn value_len(field: u64, value: Value<'_>, len: usize) -> usize {
    varint_len(field << 3)
        + match value {
            Value::Varint(value) => varint_len(value),
            Value::Fixed64(_) => 8,
            Value::Bytes(_) => varint_len(wide(len)) + len,
            Value::Fixed32(_) => 4,
        }
}

/// How many bytes an integer takes.
fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros();
    usize::try_from(bits.div_ceil(7)).unwrap_or(10)
}

#[cfg(test)]
mod tests {
    use super::super::proto::Fields;
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let values = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        for value in values {
            let mut message = Message::new();
            message.uint(3, value);
            assert_eq!(message.len(), 1 + varint_len(value));
            message.bytes(200, &value.to_be_bytes());
            assert_eq!(message.len(), 1 + varint_len(value) + field_len(200, 8));
            let fields: Vec<_> = Fields::of(message.as_bytes()).map(Result::unwrap).collect();
            assert_eq!((fields[0].0, fields[0].1.uint().unwrap()), (3, value));
            assert_eq!(
                (fields[1].0, fields[1].1.bytes().unwrap()),
                (200, &value.to_be_bytes()[..])
            );
        }
        let all = b"\x08\x96\x01\x11\x01\x02\x03\x04\x05\x06\x07\x08\x1a\x01x\x25\x01\x02\x03\x04";
        let mut copy = Message::new();
        Fields::of(all).map(Result::unwrap).for_each(|(field, value)| copy.value(field, value));
        assert_eq!(copy.as_bytes(), all);

        let mut message = Message::with_capacity(8);
        message.head(1, 2);
        message.raw(b"ab");
        assert_eq!(message.into_public(), b"\x0a\x02ab");
    }
}
