//! Which files in the directory are surely the store's own.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::fs::Fs;
use crate::wal::{self, Segment, SegmentName};

/// What every temporary name begins with.
const PREFIX: &str = "store.";

/// The name of the copy of the last segment that an opening makes.
pub(super) const SETTLING_COPY: &str = "store.settle.tmp";

/// The number behind every temporary name that is taken in the directory.
pub(super) fn first_free(fs: &dyn Fs, dir: &Path) -> Result<u64> {
    let number = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(".tmp")?;
        name.parse::<u64>().ok()?.checked_add(1)
    };
    Ok(wal::list(fs, dir)?.1.iter().filter_map(number).max().unwrap_or(0))
}

/// The `n`th temporary name.
pub(super) fn temp(n: u64) -> String {
    format!("{PREFIX}{n}.tmp")
}

/// Reports whether a file has a name under which a store makes files.
pub(super) fn is_temp(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let middle = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(".tmp"));
    middle.is_some_and(|middle| {
        matches!(middle, "next" | "settle" | "witness")
            || (!middle.is_empty() && middle.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// What is added to a segment's name while its name is made durable.
const SETTLING: &str = ".settle";

/// The name that a segment has for a moment while its own is made durable.
pub(super) fn settling(segment: &Path) -> PathBuf {
    let mut name = segment.as_os_str().to_owned();
    name.push(SETTLING);
    PathBuf::from(name)
}

/// The name that a segment has once it is settled.
pub(super) fn settled(segment: &Path) -> Option<PathBuf> {
    let name = segment.file_name()?.to_str()?.strip_suffix(SETTLING)?;
    SegmentName::parse(name).map(|_| segment.with_file_name(name))
}

/// The segments in the directory in their order, also one that an opening was interrupted at.
///
/// # Errors
///
/// [`Error::Missing`](crate::Error::Missing) if there is no such directory.
pub(super) fn segments(fs: &dyn Fs, dir: &Path) -> Result<Vec<Segment>> {
    let (mut segments, others) = wal::list(fs, dir)?;
    for path in others {
        let name = settled(&path);
        let name = name.as_ref().and_then(|path| path.file_name()?.to_str());
        let Some(name) = name.and_then(SegmentName::parse) else { continue };
        if segments.iter().all(|segment| segment.name != name) {
            segments.push(Segment { name, path });
        }
    }
    segments.sort_by_key(|segment| segment.name);
    Ok(segments)
}

/// Reports whether a file has a snapshot's name: 32 hexadecimal digits and `.snap`.
pub(super) fn is_snapshot(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let id = name.strip_suffix(".snap").unwrap_or_default();
    id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_stores_own_are_its_own() {
        for (name, own) in [
            ("store.17.tmp", true),
            ("store.next.tmp", true),
            (SETTLING_COPY, true),
            ("store.witness.tmp", true),
            ("17.tmp", false),
            ("mine.tmp", false),
            ("store..tmp", false),
            ("store.mine.tmp", false),
            ("store.1 .tmp", false),
        ] {
            assert_eq!(is_temp(Path::new(name)), own, "{name}");
        }
        assert_eq!(temp(3), "store.3.tmp");
        assert!(is_temp(Path::new(&temp(u64::MAX))));
        assert!(is_snapshot(Path::new("/a/0123456789abcdef0123456789abcdef.snap")));
        for name in ["backup.snap", "0123456789ABCDEF0123456789abcdef.snap", ".snap"] {
            assert!(!is_snapshot(Path::new(name)), "{name}");
        }
    }
}
