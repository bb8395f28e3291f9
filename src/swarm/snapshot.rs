//! Snapshot files of a manager.
//!
//! # Format
//!
//! `<term>-<index>.snap`, 16 hexadecimal digits each; the reverse of the order in a segment's name.
//! The file is protobuf: 1 CRC-32C over field 2; 2 a raft snapshot: 1 the sealed record of the
//! whole store, 2 metadata {1 members, 2 index, 3 term}, in the clear.

mod write;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Place, Result};
use crate::fs::{self, Fs};
use crate::secret::SecretBytes;
use crate::swarm::finding::{FindingKind, Findings, at};
use crate::swarm::log::{Keys, SnapshotPoint, Unopened, algorithm_name};
use crate::wal::pair;
use crate::wal::proto::{Fields, Value};

pub(crate) use write::Draft;

/// The longest snapshot that is read, in bytes.
const MAX_SNAPSHOT: usize = 1 << 30;

/// A snapshot file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SnapshotFacts {
    /// File name.
    pub name: String,
    /// Length of the file, in bytes.
    pub size: u64,
    /// Term of the last entry that is in it, by its content; `None` when it is damaged.
    pub term: Option<u64>,
    /// Index of the last entry that is in it, by its content; `None` when it is damaged.
    pub index: Option<u64>,
    /// How it is sealed, as its record states in the clear: `none`, `secretbox`, `fernet`,
    /// `unknown`, or `damaged` where there is no record; `None` when it is damaged.
    pub algorithm: Option<&'static str>,
    /// Whether it was opened and its objects are those that the log was applied to.
    pub used: bool,
}

/// The snapshot that the state starts from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) point: SnapshotPoint,
    pub(crate) path: PathBuf,
    /// What was sealed.
    pub(crate) content: SecretBytes,
}

/// What was found in the folder of snapshots.
#[derive(Debug, Default)]
pub(crate) struct SnapshotScan {
    /// The newest first.
    pub(crate) files: Vec<SnapshotFacts>,
    /// Term and index of those that are whole as far as their CRC tells.
    pub(crate) whole: Vec<SnapshotPoint>,
    pub(crate) loaded: Option<Loaded>,
    /// Files of the folder that are no snapshots.
    pub(crate) others: Vec<PathBuf>,
}

impl SnapshotScan {
    /// Index of the newest entry that is in the snapshot that is used; without keys, in the newest
    /// that is whole.
    pub(crate) fn base(&self, with_keys: bool) -> u64 {
        match &self.loaded {
            Some(loaded) => loaded.point.index,
            None if with_keys => 0,
            None => self.whole.first().map_or(0, |point| point.index),
        }
    }

    /// The greatest index that any snapshot's name or content speaks of.
    pub(crate) fn reach(&self) -> u64 {
        let names =
            self.files.iter().filter_map(|file| name_of(&file.name)).map(|(_, index)| index);
        names.chain(self.whole.iter().map(|point| point.index)).max().unwrap_or(0)
    }
}

/// Reads the snapshots in `dir`, and opens the newest that can be opened.
///
/// # Errors
///
/// [`Error::Missing`] when there is no such folder, and what the system says. Damage is a finding.
pub(crate) fn scan(
    fs: &dyn Fs,
    dir: &Path,
    keys: Option<Keys<'_>>,
    findings: &mut Findings,
) -> Result<SnapshotScan> {
    let mut scan = SnapshotScan::default();
    let mut names = Vec::new();
    for file in fs.list(dir).map_err(|e| Error::io("list", dir, e))? {
        match file.to_str().filter(|name| name.ends_with(".snap")) {
            Some(name) => names.push(name.to_owned()),
            None => scan.others.push(dir.join(&file)),
        }
    }
    // The order of Swarm: by name, which is by term and index.
    names.sort_unstable_by(|a, b| b.cmp(a));
    let mut passed_over = None;
    for name in names {
        let path = dir.join(&name);
        let mut facts =
            SnapshotFacts { name, size: 0, term: None, index: None, algorithm: None, used: false };
        match read(fs, &path, &mut facts) {
            Ok((file, point)) => {
                check_name(&facts.name, &point, &path, findings);
                (facts.term, facts.index) = (Some(point.term), Some(point.index));
                if let Some(keys) = keys.filter(|_| scan.loaded.is_none()) {
                    match open(&file, keys) {
                        Ok(content) => {
                            facts.used = true;
                            scan.loaded =
                                Some(Loaded { point: point.clone(), path: path.clone(), content });
                        }
                        Err(reason) => {
                            unopened(reason, &path, point.index, findings);
                            passed_over.get_or_insert(path);
                        }
                    }
                }
                scan.whole.push(point);
            }
            Err(Error::Damaged { what, .. }) => {
                if let Some(keys) = keys.filter(|_| scan.loaded.is_none())
                    && let Some((content, point)) = rescue(fs, &path, &facts.name, keys)?
                {
                    let text = format!(
                        "the snapshot's file is damaged ({what}), but what is sealed in it is whole \
                         and used; Swarm would set it aside"
                    );
                    findings.error(FindingKind::SnapshotDamaged, at(&path, None, None), text, None);
                    (facts.term, facts.index) = (Some(point.term), Some(point.index));
                    facts.used = true;
                    scan.whole.push(point.clone());
                    scan.loaded = Some(Loaded { point, path, content });
                    scan.files.push(facts);
                    continue;
                }
                let text = format!("the snapshot is damaged: {what}");
                findings.error(FindingKind::SnapshotDamaged, at(&path, None, None), text, None);
                if scan.loaded.is_none() {
                    passed_over.get_or_insert(path);
                }
            }
            Err(other) => return Err(other),
        }
        scan.files.push(facts);
    }
    if let Some(path) = passed_over.filter(|_| keys.is_some()) {
        let text = match &scan.loaded {
            Some(loaded) => format!(
                "this snapshot cannot be used; the state starts from the older one up to entry {}",
                loaded.point.index
            ),
            None => "this snapshot cannot be used, and there is no older one: the state starts \
                     from nothing but the log"
                .to_owned(),
        };
        findings.error(FindingKind::SnapshotFallback, at(&path, None, None), text, None);
    }
    Ok(scan)
}

/// The start of SHA-256 over a file.
///
/// # Errors
///
/// What the system says.
pub(crate) fn digest(fs: &dyn Fs, path: &Path) -> Result<[u8; 16]> {
    let file = SecretBytes::from_vec(fs::read(fs, path, MAX_SNAPSHOT)?);
    Ok(Sha256::digest(file.expose()).first_chunk().copied().unwrap_or_default())
}

fn name_of(name: &str) -> Option<(u64, u64)> {
    pair(name.strip_suffix(".snap")?)
}

fn read(
    fs: &dyn Fs,
    path: &Path,
    facts: &mut SnapshotFacts,
) -> Result<(SecretBytes, SnapshotPoint)> {
    let file = SecretBytes::from_vec(fs::read(fs, path, MAX_SNAPSHOT)?);
    facts.size = u64::try_from(file.len()).unwrap_or(u64::MAX);
    let point = {
        let snapshot = checked(file.expose())?;
        let (sealed, metadata) = parts(snapshot)?;
        facts.algorithm = Some(algorithm_name(sealed));
        SnapshotPoint::parse_metadata(metadata)?
    };
    if point.index == 0 || point.index == u64::MAX {
        return Err(Error::damaged("an impossible index"));
    }
    Ok((file, point))
}

/// The raft snapshot in a file whose CRC is right.
fn checked(file: &[u8]) -> Result<&[u8]> {
    let (mut crc, mut data) = (0, None);
    for field in Fields::of(file) {
        match field? {
            (1, value) => crc = value.uint()?,
            (2, value) => data = Some(value.bytes()?),
            _ => {}
        }
    }
    let data = data.filter(|data| !data.is_empty());
    let data = data.ok_or(Error::damaged("there is nothing in it"))?;
    if u64::from(crc32c::crc32c(data)) != crc {
        return Err(Error::damaged("its CRC is wrong"));
    }
    Ok(data)
}

/// The sealed record and the metadata of a raft snapshot.
fn parts(snapshot: &[u8]) -> Result<(&[u8], &[u8])> {
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

/// What is sealed in a file whose CRC or frame is damaged, if it opens: then it is as it was written.
/// Its place is the name's, unless its own says the same and who votes.
fn rescue(
    fs: &dyn Fs,
    path: &Path,
    name: &str,
    keys: Keys<'_>,
) -> Result<Option<(SecretBytes, SnapshotPoint)>> {
    let file = match fs::read(fs, path, MAX_SNAPSHOT) {
        Ok(file) => SecretBytes::from_vec(file),
        Err(Error::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some((term, index)) = name_of(name).filter(|(_, index)| (1..u64::MAX).contains(index))
    else {
        return Ok(None);
    };
    let (mut content, mut point) = (None, None);
    // As far as it can be taken apart.
    for field in Fields::of(file.expose()).map_while(Result::ok) {
        let (2, Value::Bytes(raft)) = field else { continue };
        for field in Fields::of(raft).map_while(Result::ok) {
            match field {
                (1, Value::Bytes(sealed)) => content = keys.open(sealed).ok(),
                (2, Value::Bytes(metadata)) => point = SnapshotPoint::parse_metadata(metadata).ok(),
                _ => {}
            }
        }
    }
    let point = point.filter(|point| (point.term, point.index) == (term, index));
    let point = point.unwrap_or(SnapshotPoint { index, term, voters: Vec::new() });
    Ok(content.map(|(content, _)| (content, point)))
}

/// The content of a snapshot's file and where it stands; `None` if it is damaged or does not open.
///
/// # Errors
///
/// What the system says.
pub(crate) fn open_file(
    fs: &dyn Fs,
    path: &Path,
    keys: Keys<'_>,
) -> Result<Option<(SecretBytes, SnapshotPoint)>> {
    let mut facts = SnapshotFacts {
        name: String::new(),
        size: 0,
        term: None,
        index: None,
        algorithm: None,
        used: false,
    };
    match read(fs, path, &mut facts) {
        Ok((file, point)) => Ok(open(&file, keys).ok().map(|content| (content, point))),
        Err(Error::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(file: &SecretBytes, keys: Keys<'_>) -> Result<SecretBytes, Unopened> {
    let sealed = checked(file.expose()).and_then(parts).map_err(|_| Unopened::NotARecord)?.0;
    keys.open(sealed).map(|(content, _)| content)
}

fn unopened(reason: Unopened, path: &Path, index: u64, findings: &mut Findings) {
    let text = match reason {
        Unopened::NoKeyOpens => {
            "no key of the key file opens the snapshot, although its CRC is right: it was altered \
             on purpose, or sealed under another key"
        }
        Unopened::Plaintext => "the snapshot is not sealed, which no manager writes",
        Unopened::NotARecord => "the snapshot's content is not a sealed record",
        Unopened::UnknownAlgorithm => "the snapshot is sealed with an unknown algorithm",
    };
    let place = at(path, None, Some(index));
    findings.error(FindingKind::SnapshotUnopened, place, text, None);
}

fn check_name(name: &str, point: &SnapshotPoint, path: &Path, findings: &mut Findings) {
    if name_of(name) != Some((point.term, point.index)) {
        let text = format!("its content is of term {} and index {}", point.term, point.index);
        let place = Place { index: Some(point.index), ..at(path, None, None) };
        findings.warn(FindingKind::SnapshotName, place, text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
