use core::fmt;

use crate::calendar::write_rfc3339;
use crate::error::{Error, Result};
use crate::wal::proto::Fields;

/// A moment: seconds and nanoseconds since 1970, UTC.
///
/// Its text is what Docker prints: RFC 3339 with the fraction's trailing zeros left out.
///
/// ```
/// use nodeseal::swarm::Timestamp;
///
/// let moment = Timestamp { seconds: 951_782_400, nanos: 120_000_000 };
/// assert_eq!(moment.to_string(), "2000-02-29T00:00:00.12Z");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[expect(clippy::exhaustive_structs, reason = "a moment has no further parts")]
pub struct Timestamp {
    /// Whole seconds since 1970-01-01T00:00:00Z; negative before.
    pub seconds: i64,
    /// Nanoseconds that come on top, less than 10^9.
    pub nanos: u32,
}

impl Timestamp {
    pub(crate) fn parse(message: &[u8]) -> Result<Self> {
        let mut time = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => time.seconds = value.uint()?.cast_signed(),
                (2, value) => {
                    let nanos = u32::try_from(value.uint()?).ok().filter(|n| *n < 1_000_000_000);
                    time.nanos = nanos.ok_or(Error::damaged("nanoseconds of over a second"))?;
                }
                _ => {}
            }
        }
        Ok(time)
    }
}

impl fmt::Display for Timestamp {
    /// Moments outside the years 1 to 9999 are written as seconds: RFC 3339 has no form for them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_rfc3339(f, self.seconds, self.nanos)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
