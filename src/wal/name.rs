use core::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::Fs;

/// A segment's name: `<sequence>-<first index>.wal`, both 16 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    /// Grows by one from segment to segment.
    pub(crate) sequence: u64,
    /// Index of the first entry that it can hold.
    pub(crate) first_index: u64,
}

impl SegmentName {
    /// Parses a file name; `None` when it is not a segment's.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (sequence, first_index) = pair(name.strip_suffix(".wal")?)?;
        Some(Self { sequence, first_index })
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.sequence, self.first_index)
    }
}

/// Parses `<hex>-<hex>` of 16 lower-case digits each.
pub(crate) fn pair(text: &str) -> Option<(u64, u64)> {
    let (left, right) = text.split_once('-')?;
    let number = |digits: &str| {
        let plain = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (digits.len() == 16 && plain).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
    };
    Some((number(left)?, number(right)?))
}

/// A segment in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) name: SegmentName,
    pub(crate) path: PathBuf,
}

/// The segments of a folder in the order of their sequence, and the names of its other files.
///
/// # Errors
///
/// [`Error::Missing`] when there is no such folder.
pub(crate) fn list(fs: &dyn Fs, dir: &Path) -> Result<(Vec<Segment>, Vec<PathBuf>)> {
    let mut segments = Vec::new();
    let mut others = Vec::new();
    for file in fs.list(dir).map_err(|e| Error::io("list", dir, e))? {
        let path = dir.join(&file);
        match file.to_str().and_then(SegmentName::parse) {
            Some(name) => segments.push(Segment { name, path }),
            None => others.push(path),
        }
    }
    segments.sort_by_key(|segment| segment.name);
    Ok((segments, others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_form() {
        let name = "0000000000000001-000000000000008c.wal";
        let parsed = SegmentName::parse(name).unwrap();
        assert_eq!(parsed, SegmentName { sequence: 1, first_index: 0x8c });
        assert_eq!(parsed.to_string(), name);
        for other in [
            "0.tmp",
            "0000000000000001-000000000000008C.wal",
            "+000000000000001-000000000000008c.wal",
            "0000000000000001-000000000000008c.wal.broken",
            "1-8c.wal",
            "0000000000000001.wal",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }
}
