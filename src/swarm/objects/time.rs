use core::fmt;

use crate::error::{Error, Result};
use crate::wal::proto::Fields;

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;
/// Days in 400 years, after which the calendar repeats.
const ERA: i64 = 146_097;
const DAY: i64 = 86_400;
/// 0001-01-01T00:00:00Z and the first second of the year 10000, which RFC 3339 cannot write.
const YEARS: core::ops::Range<i64> = -62_135_596_800..253_402_300_800;

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
        if !YEARS.contains(&self.seconds) {
            return write!(f, "{}s", self.seconds);
        }
        let (year, month, day) = civil(self.seconds.div_euclid(DAY));
        let second = self.seconds.rem_euclid(DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanos > 0 {
            let digits = format!("{:09}", self.nanos);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is a year's last and months before it have
/// lengths that one formula gives.
const fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + EPOCH;
    let era = day.div_euclid(ERA);
    let day = day.rem_euclid(ERA);
    let year = (day - day / 1460 + day / 36_524 - day / (ERA - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (year + era * 400, month, day_of_month)
}

#[cfg(feature = "serde")]
impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seconds: i64, nanos: u32) -> String {
        Timestamp { seconds, nanos }.to_string()
    }

    #[test]
    fn the_text_is_dockers() {
        assert_eq!(text(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(text(-1, 999_999_999), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(text(951_782_400, 0), "2000-02-29T00:00:00Z");
        assert_eq!(text(4_107_542_399, 100), "2100-02-28T23:59:59.0000001Z");
        assert_eq!(text(4_107_542_400, 0), "2100-03-01T00:00:00Z");
        assert_eq!(text(1_700_000_000, 120_000_000), "2023-11-14T22:13:20.12Z");
        assert_eq!(text(YEARS.start, 0), "0001-01-01T00:00:00Z");
        assert_eq!(text(YEARS.end - 1, 0), "9999-12-31T23:59:59Z");
        assert_eq!(text(YEARS.end, 0), "253402300800s");
    }

    /// Counts the days one by one, with the calendar's rule spelled out.
    #[test]
    fn every_day_of_ten_thousand_years_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1, 1, 1);
        for number in YEARS.start / DAY..YEARS.end / DAY {
            assert_eq!(civil(number), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }
}
