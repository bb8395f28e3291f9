//! The form of a snapshot's file and of its name.

use core::ops::Range;

use crate::error::{Error, Result};
use crate::wal::pair;
use crate::wal::proto::{Fields, place_of};

/// What Swarm adds to the name of a file that it sets aside.
pub(super) const BROKEN: &str = ".broken";

/// The name before Swarm set the file aside.
pub(super) fn stem(name: &str) -> &str {
    name.strip_suffix(BROKEN).unwrap_or(name)
}

pub(super) fn name_of(name: &str) -> Option<(u64, u64)> {
    pair(name.strip_suffix(".snap")?)
}

/// The CRC and the raft snapshot in a file.
fn frame(file: &[u8]) -> Result<(u64, Option<&[u8]>)> {
    let (mut crc, mut data) = (0, None);
    for field in Fields::of(file) {
        match field? {
            (1, value) => crc = value.uint()?,
            (2, value) => data = Some(value.bytes()?),
            _ => {}
        }
    }
    Ok((crc, data))
}

/// The raft snapshot in a file whose CRC is right.
pub(super) fn checked(file: &[u8]) -> Result<&[u8]> {
    let (crc, data) = frame(file)?;
    let data = data.filter(|data| !data.is_empty());
    let data = data.ok_or(Error::damaged("there is nothing in it"))?;
    if u64::from(crc32c::crc32c(data)) != crc {
        return Err(Error::damaged("its CRC is wrong"));
    }
    Ok(data)
}

/// The sealed record and the metadata of a raft snapshot.
pub(super) fn parts(snapshot: &[u8]) -> Result<(&[u8], &[u8])> {
    let (mut sealed, mut metadata) = (&[][..], &[][..]);
    for field in Fields::of(snapshot) {
        match field? {
            (1, value) => sealed = value.bytes()?,
            (2, value) => metadata = value.bytes()?,
            _ => {}
        }
    }
    Ok((sealed, metadata))
}

/// Where the sealed record of a file stands in it.
pub(super) fn sealed_at(file: &[u8]) -> Result<Range<usize>> {
    let (_, data) = frame(file)?;
    let sealed = parts(data.unwrap_or_default())?.0;
    place_of(sealed, file).ok_or_else(|| Error::damaged("a record outside its file"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::swarm::log::SnapshotPoint;

    /// Sealed record `s`, metadata of term 3 and index 7.
    fn file() -> Vec<u8> {
        let data = [0x0a, 1, b's', 0x12, 6, 0x0a, 0, 0x10, 7, 0x18, 3];
        let mut file = vec![0x08];
        let mut crc = crc32c::crc32c(&data);
        while crc >= 0x80 {
            file.push(u8::try_from(crc & 0x7f).unwrap() | 0x80);
            crc >>= 7;
        }
        file.push(u8::try_from(crc).unwrap());
        file.extend([0x12, u8::try_from(data.len()).unwrap()]);
        file.extend(data);
        file
    }

    #[test]
    fn a_snapshot_file_is_taken_apart() {
        let file = file();
        let (sealed, metadata) = parts(checked(&file).unwrap()).unwrap();
        assert_eq!(sealed, b"s");
        let point = SnapshotPoint::parse_metadata(metadata).unwrap();
        assert_eq!((point.term, point.index), (3, 7));
        assert_eq!(name_of("0000000000000003-0000000000000007.snap"), Some((3, 7)));
        assert_eq!(name_of("0000000000000003-0000000000000007.snap.broken"), None);
    }

    #[test]
    fn an_altered_byte_is_damage() {
        for at in 0..file().len() {
            for bit in 0..8 {
                let mut file = file();
                file[at] ^= 1 << bit;
                assert!(matches!(checked(&file), Err(Error::Damaged { .. })), "{at} {bit}");
            }
        }
        assert!(checked(b"").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parts(&bytes);
            prop_assert!(checked(&bytes).is_err());
        }
    }
}
