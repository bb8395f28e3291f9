use core::fmt;
use core::str::FromStr;
use std::sync::Arc;

use super::wire::{self, Reader, Wire};
use crate::error::{Error, Misuse, Result};
use crate::secret::SecretBytes;

/// Longest target, in bytes: what a file system takes as one name.
const MAX_LEN: usize = 255;

/// Where a secret's file stands, below the directory of a task's secrets (`/run/secrets`).
///
/// A relative path of 1 to 255 bytes: names divided by `/`, none of them empty, `.` or `..`, without
/// control characters. Docker takes `../x` and absolute paths too and so writes where it is told;
/// here nothing leads out of the directory.
///
/// ```
/// use nodeseal::grant::Target;
///
/// assert_eq!(Target::new("tls/key.pem")?.components().collect::<Vec<_>>(), ["tls", "key.pem"]);
/// assert!(Target::new("../etc/passwd").is_err());
/// assert!(Target::new("/etc/passwd").is_err());
/// # Ok::<(), nodeseal::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(Arc<str>);

impl Target {
    /// The target at the path `path`.
    ///
    /// # Errors
    ///
    /// [`Misuse::Grant`] if it is not of the form above.
    pub fn new(path: &str) -> Result<Self> {
        match fault(path) {
            None => Ok(Self(path.into())),
            Some(fault) => Err(Misuse::Grant(fault).into()),
        }
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names on the path: folders, and last the file.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether both cannot be there: they are the same file, or one is a folder of the other.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        let (short, long) =
            if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        long.0.strip_prefix(&*short.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn fault(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("a target must not be empty")
    } else if path.len() > MAX_LEN {
        Some("a target has 255 bytes at most")
    } else if path.starts_with('/') {
        Some("a target must not be an absolute path")
    } else if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
        Some("a target must not have an empty name, `.` or `..` in it")
    } else if path.chars().any(char::is_control) {
        Some("a target must not have control characters in it")
    } else {
        None
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Wire for Target {
    fn put(&self, out: &mut SecretBytes) {
        self.0.put(out);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        let path = input.str()?;
        if fault(path).is_none() { Ok(Self(path.into())) } else { Err(input.damaged()) }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A file's permission bits, 0 to 0o777: no set-user-id, set-group-id or sticky bit.
///
/// The text is octal with a leading zero (`0440`, `0o440`). Docker reads `444` as a decimal number,
/// which is 0o674; here it is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mode(u16);

impl Mode {
    /// Everybody may read: Docker's default.
    pub const DEFAULT: Self = Self(0o444);

    /// The mode with these bits.
    ///
    /// # Errors
    ///
    /// [`Misuse::Grant`] for other bits than 0o777.
    pub fn new(bits: u32) -> Result<Self> {
        match u16::try_from(bits) {
            Ok(bits @ 0..=0o777) => Ok(Self(bits)),
            _ => Err(Misuse::Grant("a mode has no other bits than 0777").into()),
        }
    }

    /// Its bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0.into()
    }
}

impl Default for Mode {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let form = Misuse::Grant("a mode is octal with a leading zero, as in 0440");
        let digits = text.strip_prefix("0o").or(text.starts_with('0').then_some(text));
        let octal = |digits: &&str| digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
        match digits.filter(octal).map(|digits| u32::from_str_radix(digits, 8)) {
            Some(Ok(bits)) => Self::new(bits),
            _ => Err(form.into()),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mode({self})")
    }
}

impl Wire for Mode {
    fn put(&self, out: &mut SecretBytes) {
        wire::put_u64(out, self.0.into());
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        match u16::try_from(input.u64()?) {
            Ok(bits @ 0..=0o777) => Ok(Self(bits)),
            _ => Err(input.damaged()),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Mode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.bits())
    }
}

/// Reads a user's or group's number: decimal digits, as they stand in a reference. Docker takes any
/// text here, and fails when the container starts.
///
/// # Errors
///
/// [`Misuse::Grant`] for anything else, and for 2^32 - 1, which the kernel takes for "no change".
pub fn parse_owner(text: &str) -> Result<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(id) if digits && id != u32::MAX => Ok(id),
        _ => Err(Misuse::Grant("a uid or gid is a decimal number below 4294967295").into()),
    }
}
