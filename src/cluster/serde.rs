//! `Serialize` and `Deserialize` on top of the crate's own encoding, for engines that ask for them.

use core::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Cluster, Command, Outcome};
use crate::secret::SecretBytes;

struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = SecretBytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<SecretBytes, E> {
        Ok(bytes.into())
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<SecretBytes, E> {
        Ok(SecretBytes::from_vec(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SecretBytes, A::Error> {
        let mut bytes = SecretBytes::new();
        while let Some(byte) = seq.next_element()? {
            bytes.extend_from_slice(&[byte]);
        }
        Ok(bytes)
    }
}

macro_rules! as_bytes {
    ($($name:ident $expose:expr;)*) => {$(
        /// Its own encoding, as bytes.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let bytes = self.encode();
                serializer.serialize_bytes($expose(&bytes))
            }
        }

        /// From its own encoding, as bytes.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes = deserializer.deserialize_bytes(Bytes)?;
                Self::decode(bytes.expose()).map_err(D::Error::custom)
            }
        }
    )*};
}

as_bytes! {
    Command SecretBytes::expose;
    Cluster SecretBytes::expose;
    Outcome Vec::as_slice;
}
