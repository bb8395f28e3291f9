//! Tables, times and order as Docker's command has them.

use core::cmp::Ordering;
use core::fmt::Write as _;

use nodeseal::grant::Time;

/// Narrowest column, in characters, and what stands between two.
const MIN: usize = 10;
const PADDING: usize = 3;

/// Lines in columns; nothing is added behind the last one.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let widest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        (widest + PADDING).max(MIN)
    };
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = if column + 1 == N { 0 } else { width(column) };
            // Writing to a string does not fail.
            let _ = write!(text, "{cell:<width$}");
        }
        text.push('\n');
    }
    text
}

/// How long ago a moment was, in words.
pub(super) fn ago(moment: Time, now: Time) -> String {
    let seconds = now.nanos().saturating_sub(moment.nanos()) / 1_000_000_000;
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    let words = match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., 0..48) => format!("{hours} hours"),
        (.., 48..336) => format!("{} days", hours / 24),
        (.., 336..1440) => format!("{} weeks", hours / 24 / 7),
        (.., 1440..17_520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    };
    format!("{words} ago")
}

/// Names in the order in which people expect them: `s2` before `s10`.
pub(super) fn natural(one: &str, other: &str) -> Ordering {
    let (mut a, mut b) = (one, other);
    while let (Some(x), Some(y)) = (a.chars().next(), b.chars().next()) {
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let ((n, rest_a), (m, rest_b)) = (number(a), number(b));
            let (p, q) = (n.trim_start_matches('0'), m.trim_start_matches('0'));
            let order = p.len().cmp(&q.len()).then(p.cmp(q)).then(n.len().cmp(&m.len()));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (rest_a, rest_b);
        } else if x == y {
            (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]);
        } else {
            return x.cmp(&y);
        }
    }
    a.len().cmp(&b.len())
}

fn number(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_dockers() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let text = table(&[row(["ID", "NAME", "DRIVER"]), row(["a-long-one", "db", ""])]);
        assert_eq!(text, "ID           NAME      DRIVER\na-long-one   db        \n");
    }

    #[test]
    fn times_are_dockers() {
        let words =
            |seconds: u64| ago(Time::from_seconds(1000), Time::from_seconds(1000 + seconds));
        for (seconds, expected) in [
            (0, "Less than a second ago"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "About a minute ago"),
            (3599, "59 minutes ago"),
            (3600, "About an hour ago"),
            (5400, "2 hours ago"),
            (48 * 3600, "2 days ago"),
            (14 * 86_400, "2 weeks ago"),
            (60 * 86_400, "2 months ago"),
            (730 * 86_400, "2 years ago"),
        ] {
            assert_eq!(words(seconds), expected, "{seconds}");
        }
        assert_eq!(ago(Time::from_seconds(9), Time::from_seconds(1)), "Less than a second ago");
    }

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let mut names = ["s10", "s9", "a", "s9a", "s09", "b2", "s"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "b2", "s", "s9", "s9a", "s09", "s10"]);
    }
}
