//! What still opens of a folder.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::key::UnlockKey;
use crate::secret::SecretBytes;
use crate::swarm::certificate;
use crate::swarm::finding::{Finding, FindingKind, Findings, at};
use crate::swarm::folder::{Folder, names};
use crate::swarm::image::Image;
use crate::swarm::key_file::NodeKeys;
use crate::swarm::record::Cipher;
use crate::swarm::state::{Gathered, gather, read_key_file};

/// Log and snapshots, and what is wrong with them.
///
/// A snapshot that Swarm set aside is used if less is lost with it than without: not where the log
/// has gone on from an older one.
fn read_all(fs: &dyn Fs, dir: &Path, keys: &NodeKeys) -> Result<(Image, Gathered, Vec<Finding>)> {
    let read = |set_aside| {
        let folder = Folder { set_aside, ..Folder::new(dir) };
        let (mut image, mut findings) = (Image::default(), Findings::default());
        let found = gather(fs, &folder, Some(keys), &mut image, &mut findings)?;
        Ok::<_, Error>((image, found, findings.finish()))
    };
    let losses = |findings: &[Finding]| findings.iter().filter(|one| one.loss.is_some()).count();
    let plain = match read(false) {
        // There may be nothing else.
        Err(Error::Missing(_)) => return read(true),
        plain => plain?,
    };
    let broken = plain.1.snapshots.others.iter().any(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".snap.broken"))
    });
    let lost = losses(&plain.2);
    if lost == 0 || !broken {
        return Ok(plain);
    }
    // The store is held once.
    drop(plain);
    let more = read(true)?;
    if losses(&more.2) < lost { Ok(more) } else { read(false) }
}

/// The keys with which most opens, and all that opens.
pub(super) struct Opening {
    pub(super) keys: NodeKeys,
    /// Whether the folder is locked, and since which version.
    pub(super) locked: bool,
    pub(super) kek_version: u64,
    pub(super) cipher: Cipher,
    pub(super) image: Image,
    pub(super) found: Gathered,
    pub(super) findings: Vec<Finding>,
}

/// A key file that opens and has a DEK.
struct Candidate {
    path: PathBuf,
    keys: NodeKeys,
    locked: bool,
    kek_version: u64,
    cipher: Cipher,
}

/// Reads all with the node's key file, or with one that a crash left beside it and that opens more.
///
/// # Errors
///
/// Those of the node's key file, where no other can be used.
pub(super) fn read_best(
    fs: &dyn Fs,
    dir: &Path,
    folder: &Folder,
    key: Option<&UnlockKey>,
) -> Result<Opening> {
    let (candidates, unusable) = candidates(fs, folder, key)?;
    let (mut best, mut read) = (None, None);
    for (number, candidate) in candidates.iter().enumerate() {
        // The store is held once.
        drop(read.take());
        let (image, found, findings) = read_all(fs, dir, &candidate.keys)?;
        let lost = findings.iter().filter(|one| one.loss.is_some()).count();
        let uncertified = certificate::of_key(fs, folder, Some(&candidate.keys.tls_key))?.is_none();
        let rank = (image.counts().is_empty(), lost, uncertified);
        read = Some((number, image, found, findings));
        if best.is_none_or(|(least, _)| rank < least) {
            best = Some((rank, number));
        }
        if rank == (false, 0, false) {
            break;
        }
    }
    let number = best.map(|(_, number)| number);
    let chosen = number.and_then(|number| candidates.into_iter().nth(number));
    let Some(Candidate { path, keys, locked, kek_version, cipher }) = chosen else {
        return Err(unusable.unwrap_or_else(|| Error::Missing(folder.key_file())));
    };
    let (image, found, more) = match read {
        Some((of, image, found, more)) if Some(of) == number => (image, found, more),
        other => {
            drop(other);
            read_all(fs, dir, &keys)?
        }
    };
    let mut findings = Findings::default();
    if path != folder.key_file() {
        let why = match &unusable {
            Some(error) => format!("the key file cannot be used ({error})"),
            None => "the key file opens less".to_owned(),
        };
        let text = format!("{why}; this one is in its place");
        findings.warn(FindingKind::KeyFile, at(&path, None, None), text);
    }
    findings.extend(more);
    let findings = findings.finish();
    Ok(Opening { keys, locked, kek_version, cipher, image, found, findings })
}

/// The node's key file first, then those that a crash left, which nothing removes; and why the node's
/// cannot be used.
fn candidates(
    fs: &dyn Fs,
    folder: &Folder,
    key: Option<&UnlockKey>,
) -> Result<(Vec<Candidate>, Option<Error>)> {
    let own = folder.key_file();
    let (mut candidates, mut without_dek, mut unusable) = (Vec::new(), None, None);
    match candidate(fs, &own, key) {
        Ok(opened) if opened.keys.current.is_some() => candidates.push(opened),
        Ok(opened) => {
            unusable = Some(Error::damaged("the key file has no DEK").in_file(&own));
            without_dek = Some(opened);
        }
        Err(error @ (Error::Damaged { .. } | Error::Missing(_) | Error::Unsupported { .. })) => {
            unusable = Some(error);
        }
        Err(error) => return Err(error),
    }
    for name in names(fs, &folder.certificates)?.unwrap_or_default() {
        if !name.to_string_lossy().starts_with(".tmp-swarm-node.key") {
            continue;
        }
        let opened = candidate(fs, &folder.certificates.join(&name), key);
        let Some(mut left) = opened.ok().filter(|left| left.keys.current.is_some()) else {
            continue;
        };
        // Nothing but its DEKs may be newer than what the node's own says.
        if let Some(own) = candidates.first().filter(|one| one.path == own).or(without_dek.as_ref())
        {
            left.keys.tls_key = SecretBytes::from(own.keys.tls_key.expose());
            if own.locked || !left.locked {
                (left.locked, left.kek_version) = (own.locked, own.kek_version);
            }
        }
        candidates.push(left);
    }
    Ok((candidates, unusable))
}

fn candidate(fs: &dyn Fs, path: &Path, key: Option<&UnlockKey>) -> Result<Candidate> {
    let file = read_key_file(fs, path)?;
    let keys = file.unlock(key).map_err(|error| error.in_file(path))?;
    Ok(Candidate {
        path: path.to_owned(),
        keys,
        locked: file.locked(),
        kek_version: file.kek_version().unwrap_or(0),
        cipher: file.cipher(),
    })
}
