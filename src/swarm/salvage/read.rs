//! What still opens of a folder.

use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::key::UnlockKey;
use crate::swarm::finding::{Finding, FindingKind, Findings, at};
use crate::swarm::folder::{Folder, names};
use crate::swarm::image::Image;
use crate::swarm::key_file::{KeyFile, NodeKeys};
use crate::swarm::state::{Gathered, gather, read_key_file};

/// Log and snapshots, and what is wrong with them.
///
/// A snapshot that Swarm set aside is used if less is lost with it than without: not where the log
/// has gone on from an older one.
pub(super) fn read_all(
    fs: &dyn Fs,
    dir: &Path,
    keys: &NodeKeys,
) -> Result<(Image, Gathered, Vec<Finding>)> {
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

/// The key file, or what can stand in for it.
pub(super) fn key_file(
    fs: &dyn Fs,
    folder: &Folder,
    key: Option<&UnlockKey>,
    findings: &mut Findings,
) -> Result<(KeyFile, NodeKeys)> {
    let read = |path: &Path| {
        let file = read_key_file(fs, path)?;
        let keys = file.unlock(key).map_err(|error| error.in_file(path))?;
        Ok((file, keys))
    };
    let path = folder.key_file();
    let error = match read(&path) {
        Err(error @ (Error::Damaged { .. } | Error::Missing(_) | Error::Unsupported { .. })) => {
            error
        }
        other => return other,
    };
    for name in names(fs, &folder.certificates)?.unwrap_or_default() {
        let path = folder.certificates.join(&name);
        let left = name.to_string_lossy().starts_with(".tmp-swarm-node.key");
        let opened = if left { read(&path) } else { continue };
        if let Ok((file, keys)) = opened
            && keys.current.is_some()
        {
            let text = format!("the key file cannot be used ({error}); this one is in its place");
            findings.warn(FindingKind::KeyFile, at(&path, None, None), text);
            return Ok((file, keys));
        }
    }
    Err(error)
}
