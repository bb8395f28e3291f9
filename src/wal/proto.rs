//! The protobuf wire format, as far as segments and Swarm's messages need it: reading, without copying.

#[cfg(feature = "swarm")]
use core::ops::Range;

use crate::error::{Error, Result};

/// One field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The value as an integer.
    pub(crate) fn uint(self) -> Result<u64> {
        match self {
            Self::Varint(v) | Self::Fixed64(v) => Ok(v),
            Self::Fixed32(v) => Ok(u64::from(v)),
            Self::Bytes(_) => Err(Error::damaged("a protobuf field of another type")),
        }
    }

    /// The value as bytes or an embedded message.
    pub(crate) fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Error::damaged("a protobuf field of another type")),
        }
    }

    /// The value as text.
    #[cfg(feature = "swarm")]
    pub(crate) fn text(self) -> Result<&'a str> {
        core::str::from_utf8(self.bytes()?)
            .map_err(|_| Error::damaged("a protobuf string is not UTF-8"))
    }
}

/// The fields of a message in the order in which they stand: number and value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) const fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let (taken, rest) = usize::try_from(len)
            .ok()
            .and_then(|len| self.0.split_at_checked(len))
            .ok_or(Error::damaged("a protobuf field runs over the end of its message"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for (n, byte) in self.0.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            if n == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * n);
            if byte & 0x80 == 0 {
                self.0 = &self.0[n + 1..];
                return Ok(value);
            }
        }
        Err(Error::damaged("a protobuf integer that does not end"))
    }

    fn field(&mut self) -> Result<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || number >= 1 << 29 {
            return Err(Error::damaged("a protobuf field number out of range"));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(self.take(8)?);
                Value::Fixed64(u64::from_le_bytes(bytes))
            }
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(self.take(4)?);
                Value::Fixed32(u32::from_le_bytes(bytes))
            }
            _ => return Err(Error::damaged("a protobuf wire type that is not used here")),
        };
        Ok((number, value))
    }
}

/// Where `part`, a field's value, stands in the message that it was read from.
#[cfg(feature = "swarm")]
pub(crate) fn place_of(part: &[u8], message: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(message.as_ptr().addr())?;
    let end = start.checked_add(part.len()).filter(|end| *end <= message.len())?;
    Some(start..end)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    /// Gives the next field; after an error, nothing.
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}
