use core::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::wire::{self, Reader, Wire};
use crate::calendar::write_rfc3339;
use crate::error::Result;
use crate::secret::SecretBytes;

const SECOND: u64 = 1_000_000_000;

/// A moment: nanoseconds since 1970, UTC; up to the year 2554.
///
/// The state machine has no clock: moments come to it in commands. The text is what Docker prints.
///
/// ```
/// use nodeseal::grant::Time;
///
/// assert_eq!(Time::from_seconds(951_782_400).to_string(), "2000-02-29T00:00:00Z");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The moment `nanos` nanoseconds after 1970 began.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The moment `seconds` seconds after 1970 began.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(SECOND))
    }

    /// What the system's clock says.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / SECOND
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u32::try_from(self.0 % SECOND).unwrap_or_default();
        write_rfc3339(f, self.seconds().cast_signed(), nanos)
    }
}

impl Wire for Time {
    fn put(&self, out: &mut SecretBytes) {
        wire::put_u64(out, self.0);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        input.u64().map(Self)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
