//! The binary encoding of what is replicated and delivered.
//!
//! Numbers are LEB128 of the shortest form, texts and byte strings stand after their length, lists
//! and maps after their count, an option is `0`, or `1` and its value; an enumeration is a tag and
//! the variant's fields. Maps are in the order of their keys. Every value has one form only: what
//! is read and written again has the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::secret::SecretBytes;

/// A value with one encoding.
pub(crate) trait Wire: Sized {
    fn put(&self, out: &mut SecretBytes);
    fn get(input: &mut Reader<'_>) -> Result<Self>;
}

/// The bytes of `value` after the format byte `version`, in memory that is wiped.
pub(crate) fn encode<T: Wire>(version: u8, value: &T, capacity: usize) -> SecretBytes {
    let mut out = SecretBytes::with_capacity(capacity);
    out.extend_from_slice(&[version]);
    value.put(&mut out);
    out
}

/// Reads what [`encode`] wrote; `what` names it in errors.
pub(crate) fn decode<T: Wire>(what: &'static str, version: u8, bytes: &[u8]) -> Result<T> {
    let (&found, rest) = bytes.split_first().ok_or(Error::damaged(what))?;
    if found != version {
        return Err(Error::unsupported(what, found));
    }
    let mut input = Reader { what, rest };
    let value = T::get(&mut input)?;
    if input.rest.is_empty() { Ok(value) } else { Err(input.damaged()) }
}

/// What is left to read.
pub(crate) struct Reader<'a> {
    /// What is read, for errors.
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn damaged(&self) -> Error {
        Error::damaged(self.what)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8> {
        let (&byte, rest) = self.rest.split_first().ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64> {
        let first = self.u8()?;
        if first < 0x80 {
            return Ok(first.into());
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && part > 1 {
                return Err(self.damaged());
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 { Err(self.damaged()) } else { Ok(value) };
            }
        }
        Err(self.damaged())
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(taken)
    }

    /// A count of things of at least `least` bytes each, which what is left has room for.
    pub(crate) fn count(&mut self, least: usize) -> Result<usize> {
        let count = usize::try_from(self.u64()?).map_err(|_| self.damaged())?;
        if count > self.rest.len() / least { Err(self.damaged()) } else { Ok(count) }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.count(1)?;
        self.take(len)
    }

    pub(crate) fn str(&mut self) -> Result<&'a str> {
        core::str::from_utf8(self.bytes()?).map_err(|_| self.damaged())
    }
}

#[inline]
pub(crate) fn put_u64(out: &mut SecretBytes, mut value: u64) {
    let mut bytes = [0; 10];
    let mut len = 0;
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        bytes[len] = if value == 0 { low } else { low | 0x80 };
        len += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&bytes[..len]);
}

pub(crate) fn put_len(out: &mut SecretBytes, len: usize) {
    put_u64(out, u64::try_from(len).unwrap_or(u64::MAX));
}

pub(crate) fn put_bytes(out: &mut SecretBytes, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Nothing, in no bytes.
impl Wire for () {
    fn put(&self, _: &mut SecretBytes) {}

    fn get(_: &mut Reader<'_>) -> Result<Self> {
        Ok(())
    }
}

impl Wire for u64 {
    fn put(&self, out: &mut SecretBytes) {
        put_u64(out, *self);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        input.u64()
    }
}

impl Wire for u32 {
    fn put(&self, out: &mut SecretBytes) {
        put_u64(out, (*self).into());
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        Self::try_from(input.u64()?).map_err(|_| input.damaged())
    }
}

impl Wire for bool {
    fn put(&self, out: &mut SecretBytes) {
        out.extend_from_slice(&[u8::from(*self)]);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        match input.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(input.damaged()),
        }
    }
}

impl Wire for String {
    fn put(&self, out: &mut SecretBytes) {
        put_bytes(out, self.as_bytes());
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        input.str().map(ToOwned::to_owned)
    }
}

impl Wire for Arc<str> {
    fn put(&self, out: &mut SecretBytes) {
        put_bytes(out, self.as_bytes());
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        input.str().map(Into::into)
    }
}

impl Wire for SecretBytes {
    fn put(&self, out: &mut SecretBytes) {
        put_bytes(out, self.expose());
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        input.bytes().map(Into::into)
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn put(&self, out: &mut SecretBytes) {
        out.extend_from_slice(self);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        input.take(N)?.try_into().map_err(|_| input.damaged())
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut SecretBytes) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        bool::get(input)?.then(|| T::get(input)).transpose()
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    fn put(&self, out: &mut SecretBytes) {
        self.is_ok().put(out);
        match self {
            Ok(value) => value.put(out),
            Err(error) => error.put(out),
        }
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        Ok(if bool::get(input)? { Ok(T::get(input)?) } else { Err(E::get(input)?) })
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut SecretBytes) {
        put_len(out, self.len());
        self.iter().for_each(|value| value.put(out));
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        // The count alone is not trusted with memory: a value can be much larger than its bytes.
        (0..input.count(1)?).map(|_| T::get(input)).collect()
    }
}

impl<T: Wire> Wire for Arc<[T]> {
    fn put(&self, out: &mut SecretBytes) {
        put_len(out, self.len());
        self.iter().for_each(|value| value.put(out));
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        Vec::get(input).map(Into::into)
    }
}

impl<T: Wire> Wire for Arc<T> {
    fn put(&self, out: &mut SecretBytes) {
        (**self).put(out);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        T::get(input).map(Self::new)
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn put(&self, out: &mut SecretBytes) {
        put_len(out, self.len());
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        let mut map = Self::new();
        for _ in 0..input.count(1)? {
            let (key, value) = (K::get(input)?, V::get(input)?);
            if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(input.damaged());
            }
            map.insert(key, value);
        }
        Ok(map)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut SecretBytes) {
        self.0.put(out);
        self.1.put(out);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        Ok((A::get(input)?, B::get(input)?))
    }
}

/// Implements [`Wire`] for a struct: its fields in this order. Those behind `;` are not written, and
/// have their defaults when it is read.
macro_rules! record {
    ($name:ident { $($field:ident),* $(,)? $(; $($derived:ident),*)? }) => {
        impl $crate::grant::wire::Wire for $name {
            fn put(&self, out: &mut $crate::secret::SecretBytes) {
                $($crate::grant::wire::Wire::put(&self.$field, out);)*
            }

            fn get(input: &mut $crate::grant::wire::Reader<'_>) -> $crate::error::Result<Self> {
                Ok(Self {
                    $($field: $crate::grant::wire::Wire::get(input)?,)*
                    $($($derived: Default::default(),)*)?
                })
            }
        }
    };
}

/// Implements [`Wire`] for an enumeration: `tag => Variant`, with the names of its fields.
macro_rules! choice {
    ($name:ident {
        $($tag:literal => $variant:ident $({ $($field:ident),* $(,)? })? $(( $only:ident ))?),* $(,)?
    }) => {
        impl $crate::grant::wire::Wire for $name {
            fn put(&self, out: &mut $crate::secret::SecretBytes) {
                match self {
                    $(Self::$variant $({ $($field),* })? $(( $only ))? => {
                        out.extend_from_slice(&[$tag]);
                        $($($crate::grant::wire::Wire::put($field, out);)*)?
                        $($crate::grant::wire::Wire::put($only, out);)?
                    })*
                }
            }

            fn get(input: &mut $crate::grant::wire::Reader<'_>) -> $crate::error::Result<Self> {
                Ok(match input.u8()? {
                    $($tag => {
                        $($(let $field = $crate::grant::wire::Wire::get(input)?;)*)?
                        $(let $only = $crate::grant::wire::Wire::get(input)?;)?
                        Self::$variant $({ $($field),* })? $(( $only ))?
                    })*
                    _ => return Err(input.damaged()),
                })
            }
        }
    };
}

pub(crate) use {choice, record};

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8]) -> Result<u64> {
        decode("a number", 1, &[&[1], bytes].concat())
    }

    #[test]
    fn numbers_have_one_form() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::MAX >> 1, u64::MAX] {
            let bytes = encode(1, &value, 0);
            assert_eq!(number(&bytes.expose()[1..]).unwrap(), value);
        }
        let long = [0xff_u8; 9];
        for bytes in
            [&[][..], &[0x80], &[0x80, 0], &[0xff, 0], &[1, 1], &[&long[..], &[2]].concat()]
        {
            assert!(number(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_count_that_the_rest_has_no_room_for_is_refused_before_anything_is_allocated() {
        let huge = encode(1, &u64::MAX, 0);
        assert!(decode::<Vec<u64>>("a list", 1, huge.expose()).is_err());
        assert!(decode::<String>("a text", 1, huge.expose()).is_err());
    }

    #[test]
    fn a_map_has_one_order() {
        let map: BTreeMap<String, u64> = [("a".into(), 1), ("b".into(), 2)].into();
        let bytes = encode(1, &map, 0);
        assert_eq!(decode::<BTreeMap<String, u64>>("a map", 1, bytes.expose()).unwrap(), map);
        let turned = [1, 2, 1, b'b', 2, 1, b'a', 1];
        assert!(decode::<BTreeMap<String, u64>>("a map", 1, &turned).is_err());
        let twice = [1, 2, 1, b'a', 2, 1, b'a', 1];
        assert!(decode::<BTreeMap<String, u64>>("a map", 1, &twice).is_err());
    }
}
