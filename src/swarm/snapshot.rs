//! Snapshot files of a manager.
//!
//! # Format
//!
//! `<term>-<index>.snap`, 16 hexadecimal digits each; the reverse of the order in a segment's name.
//! The file is protobuf: 1 CRC-32C over field 2; 2 a raft snapshot: 1 the sealed record of the
//! whole store, 2 metadata {1 members, 2 index, 3 term}, in the clear.

mod form;
mod write;

use std::path::{Path, PathBuf};

use form::{BROKEN, checked, name_of, parts, sealed_at, stem};
use sha2::{Digest, Sha256};

use crate::error::{Error, Place, Result};
use crate::fs::{self, Fs};
use crate::secret::SecretBytes;
use crate::swarm::finding::{FindingKind, Findings, at};
use crate::swarm::log::{Keys, SnapshotPoint, Unopened, algorithm_name};
use crate::wal::BlockFile;
use crate::wal::proto::{Fields, Value};

pub(crate) use write::Draft;

/// The longest snapshot that is read, in bytes.
const MAX_SNAPSHOT: usize = 1 << 30;
/// How much is digested at once, in bytes.
const BLOCK: usize = 64 << 10;

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

    /// Uses what is sealed in a damaged file.
    fn take(
        &mut self,
        fs: &dyn Fs,
        name: String,
        path: PathBuf,
        (content, point): (SecretBytes, SnapshotPoint),
        text: &str,
        findings: &mut Findings,
    ) -> Result<()> {
        findings.error(FindingKind::SnapshotDamaged, at(&path, None, None), text, None);
        let size = fs.open_read(&path).and_then(|file| file.len());
        self.files.push(SnapshotFacts {
            name,
            size: size.map_err(|e| Error::io("stat", &path, e))?,
            term: Some(point.term),
            index: Some(point.index),
            algorithm: None,
            used: true,
        });
        self.whole.push(point.clone());
        self.loaded = Some(Loaded { point, path, content });
        Ok(())
    }

    /// The greatest index that any snapshot's name or content speaks of; the names of `but` do not
    /// count, unless the snapshot is whole.
    pub(crate) fn reach(&self, but: &[SnapshotPoint]) -> u64 {
        let names = self.files.iter().filter_map(|file| name_of(&file.name));
        let known = |at: &(u64, u64)| !but.iter().any(|point| (point.term, point.index) == *at);
        let names = names.filter(known).map(|(_, index)| index);
        names.chain(self.whole.iter().map(|point| point.index)).max().unwrap_or(0)
    }
}

/// Reads the snapshots in `dir`, and opens the newest that can be opened. With `set_aside` those
/// that Swarm set aside as damaged are looked at too, if what is sealed in them is whole.
///
/// # Errors
///
/// [`Error::Missing`] when there is no such folder, and what the system says. Damage is a finding.
pub(crate) fn scan(
    fs: &dyn Fs,
    dir: &Path,
    keys: Option<Keys<'_>>,
    set_aside: bool,
    findings: &mut Findings,
) -> Result<SnapshotScan> {
    let mut scan = SnapshotScan::default();
    let mut names = Vec::new();
    for file in fs.list(dir).map_err(|e| Error::io("list", dir, e))? {
        let wanted = |name: &&str| {
            name.ends_with(".snap") || set_aside && name.ends_with(&format!(".snap{BROKEN}"))
        };
        match file.to_str().filter(wanted) {
            Some(name) => names.push(name.to_owned()),
            None => scan.others.push(dir.join(&file)),
        }
    }
    // The order of Swarm: by name, which is by term and index; first what it would use.
    names.sort_unstable_by(|a, b| (stem(b), a.len()).cmp(&(stem(a), b.len())));
    let mut passed_over = None;
    for name in names {
        let path = dir.join(&name);
        if name.ends_with(BROKEN) {
            let keys = keys.filter(|_| scan.loaded.is_none());
            match keys.map(|keys| rescue(fs, &path, stem(&name), keys)).transpose()?.flatten() {
                Some((content, point)) => {
                    let text = "Swarm set the snapshot's file aside as damaged, but what is sealed \
                                in it is whole and used";
                    scan.take(fs, name, path, (content, point), text, findings)?;
                }
                None => scan.others.push(path),
            }
            continue;
        }
        let mut facts =
            SnapshotFacts { name, size: 0, term: None, index: None, algorithm: None, used: false };
        match read(fs, &path, &mut facts) {
            Ok((file, point)) => {
                check_name(&facts.name, &point, &path, findings);
                (facts.term, facts.index) = (Some(point.term), Some(point.index));
                if let Some(keys) = keys.filter(|_| scan.loaded.is_none()) {
                    match open(file, keys) {
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
                    scan.take(fs, facts.name, path, (content, point), &text, findings)?;
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
    let file = fs.open_read(path).map_err(|e| Error::io("open", path, e))?;
    let mut file = BlockFile::new(&*file, path)?;
    let (mut hash, mut block, mut at) = (Sha256::new(), vec![0; BLOCK], 0);
    while at < file.len() {
        let len = usize::try_from(file.len() - at).map_or(BLOCK, |rest| rest.min(BLOCK));
        block.resize(len, 0);
        file.read(at, &mut block)?;
        hash.update(&block);
        at = at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    }
    Ok(hash.finalize().first_chunk().copied().unwrap_or_default())
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
                (1, Value::Bytes(sealed)) => content = keys.open(sealed).ok().or(content),
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
        Ok((file, point)) => Ok(open(file, keys).ok().map(|content| (content, point))),
        Err(Error::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is sealed in a file whose CRC was right; it is opened where it stands.
fn open(file: SecretBytes, keys: Keys<'_>) -> Result<SecretBytes, Unopened> {
    let sealed = sealed_at(file.expose()).map_err(|_| Unopened::NotARecord)?;
    keys.open_in_place(file, &sealed)
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
