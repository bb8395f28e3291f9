use core::fmt;
use std::sync::Arc;

use super::wire::{Reader, Wire};
use crate::error::{Error, Misuse, Result};
use crate::secret::SecretBytes;

/// Longest id, in bytes.
const MAX_LEN: usize = 64;

fn valid(text: &str) -> bool {
    text.len() <= MAX_LEN
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// 1 to 64 characters of `[A-Za-z0-9._-]`, the first a letter or a digit: an id is always
        /// fit for a file's name. Clones share its memory.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id from its text.
            ///
            /// # Errors
            ///
            /// [`Misuse::Id`] if it is not of the form above.
            pub fn new(text: &str) -> Result<Self> {
                if valid(text) { Ok(Self(text.into())) } else { Err(Misuse::Id($what).into()) }
            }

            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl core::str::FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl Wire for $name {
            fn put(&self, out: &mut SecretBytes) {
                self.0.put(out);
            }

            fn get(input: &mut Reader<'_>) -> Result<Self> {
                let text = input.str()?;
                if valid(text) { Ok(Self(text.into())) } else { Err(input.damaged()) }
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// Names a secret, for good: its name may be used again after its removal, its id not.
    SecretId, "secret id";
    /// Names a service.
    ServiceId, "service id";
    /// Names a task: one running instance of a service.
    TaskId, "task id";
    /// Names a node.
    NodeId, "node id";
}
