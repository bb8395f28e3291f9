use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use std::sync::Arc;

use super::wire::{self, Reader, Wire};
use crate::error::{Error, Misuse, Result};
use crate::secret::SecretBytes;

/// Longest id, in bytes.
const MAX_LEN: usize = 64;
/// Longest id that is kept in place.
const SHORT: usize = 30;

/// An id's text. A short one, such as those that Swarm makes, is kept in place: comparing ids then
/// follows no pointer, and a copy takes no memory of its own.
#[derive(Clone, PartialEq, Eq)]
enum Text {
    /// The length, and the characters with zeros behind.
    Short(u8, [u8; SHORT]),
    Long(Arc<str>),
}

impl Text {
    fn new(text: &[u8]) -> Option<Self> {
        if text.len() > MAX_LEN || !text.first().is_some_and(u8::is_ascii_alphanumeric) {
            return None;
        }
        let mut short = [0; SHORT];
        let (Some(place), Ok(len)) = (short.get_mut(..text.len()), u8::try_from(text.len())) else {
            let text = core::str::from_utf8(text).ok().filter(|text| text.bytes().all(is_valid))?;
            return Some(Self::Long(text.into()));
        };
        place.copy_from_slice(text);
        // Of a fixed length, so that many are checked at a time. Zeros are those behind.
        let valid = short.iter().fold(true, |valid, b| valid & (is_valid(*b) | (*b == 0)));
        let zeros: usize = short.iter().map(|b| usize::from(*b == 0)).sum();
        (valid && zeros == SHORT - text.len()).then_some(Self::Short(len, short))
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Short(..) => core::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Self::Long(text) => text,
        }
    }

    #[cfg(feature = "cluster")]
    #[inline]
    fn prefix(&self) -> u64 {
        let bytes = match self {
            // The zeros behind count as well.
            Self::Short(_, bytes) => bytes,
            Self::Long(text) => text.as_bytes(),
        };
        bytes.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Short(_, bytes) => state.write(bytes),
            Self::Long(text) => state.write(text.as_bytes()),
        }
    }
}

impl Ord for Text {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            // No id has a zero in it.
            (Self::Short(_, a), Self::Short(_, b)) => a.cmp(b),
            _ => self.as_bytes().cmp(other.as_bytes()),
        }
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether `text` has the form of an id, which all names have.
pub(crate) fn is_name(text: &str) -> bool {
    Text::new(text.as_bytes()).is_some()
}

const fn is_valid(b: u8) -> bool {
    // No branches: see `Text::new`.
    b.is_ascii_digit() | (b | 0x20).is_ascii_lowercase() | (b == b'.') | (b == b'_') | (b == b'-')
}

/// An object's name as names are compared: without its case.
#[cfg(feature = "cluster")]
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Folded(Text);

#[cfg(feature = "cluster")]
impl Folded {
    /// `None` for what no object is named.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let mut folded = [0; MAX_LEN];
        let folded = folded.get_mut(..name.len())?;
        folded.copy_from_slice(name.as_bytes());
        folded.make_ascii_lowercase();
        Text::new(folded).map(Self)
    }

    pub(crate) fn prefix(&self) -> u64 {
        self.0.prefix()
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// 1 to 64 characters of `[A-Za-z0-9._-]`, the first a letter or a digit: an id is always
        /// fit for a file's name. Clones are cheap.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Text);

        impl $name {
            /// The id from its text.
            ///
            /// # Errors
            ///
            /// [`Misuse::Name`] if it is not of the form above.
            pub fn new(text: &str) -> Result<Self> {
                Text::new(text.as_bytes()).map(Self).ok_or_else(|| Misuse::Name($what).into())
            }

            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Its first eight characters as a number, which is in the order of the ids.
            #[cfg(feature = "cluster")]
            #[inline]
            pub(crate) fn prefix(&self) -> u64 {
                self.0.prefix()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.as_str())
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
                wire::put_bytes(out, self.0.as_bytes());
            }

            fn get(input: &mut Reader<'_>) -> Result<Self> {
                Text::new(input.bytes()?).map(Self).ok_or_else(|| input.damaged())
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.as_str())
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
