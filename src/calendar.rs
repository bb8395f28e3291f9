//! Moments as text: RFC 3339, as Docker prints it.

use core::fmt;

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;
/// Days in 400 years, after which the calendar repeats.
const ERA: i64 = 146_097;
const DAY: i64 = 86_400;
/// 0001-01-01T00:00:00Z and the first second of the year 10000, which RFC 3339 cannot write.
const YEARS: core::ops::Range<i64> = -62_135_596_800..253_402_300_800;

/// Writes a moment, seconds since 1970 and nanoseconds on top, without the fraction's trailing
/// zeros. Moments outside the years 1 to 9999 are written as seconds: RFC 3339 has no form for them.
pub(crate) fn write_rfc3339(f: &mut fmt::Formatter<'_>, seconds: i64, nanos: u32) -> fmt::Result {
    if !YEARS.contains(&seconds) {
        return write!(f, "{seconds}s");
    }
    let (year, month, day) = civil(seconds.div_euclid(DAY));
    let second = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
    if nanos > 0 {
        let digits = format!("{nanos:09}");
        write!(f, ".{}", digits.trim_end_matches('0'))?;
    }
    f.write_str("Z")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seconds: i64, nanos: u32) -> String {
        struct Moment(i64, u32);
        impl fmt::Display for Moment {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_rfc3339(f, self.0, self.1)
            }
        }
        Moment(seconds, nanos).to_string()
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
