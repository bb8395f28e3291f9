//! What a manager's folder tells, with or without the unlock key.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::{Fs, RealFs};
use crate::key::UnlockKey;
use crate::swarm::certificate;
use crate::swarm::finding::{Finding, FindingKind, Findings, Loss, at};
use crate::swarm::folder::Folder;
use crate::swarm::key_file::{DekHeader, DekSlot, KeyFile, KeyForm};
use crate::swarm::objects::ObjectKind;
use crate::swarm::replay::Objects;
use crate::swarm::state::{
    RaftFacts, Unwatched, Watch, compare_key, compare_unlock_key, gather_watched, read_key_file,
};

/// What [`inspect()`] found. Public facts only.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Inspection {
    /// What the key file tells; `None` when it cannot be read.
    pub key: Option<KeyFacts>,
    /// Why the keys could not be used, [`Error::KeyRequired`] included; `None` when they could, and
    /// log and snapshots were opened.
    #[cfg_attr(feature = "serde", serde(serialize_with = "error_text"))]
    pub locked_by: Option<Error>,
    /// What log and snapshots are like. Empty for a worker.
    pub raft: RaftFacts,
    /// How many objects there are of each kind; `None` without keys.
    pub objects: Option<BTreeMap<ObjectKind, usize>>,
    /// What was found, in the order in which it was. Without keys, damage that only they show is
    /// not among it.
    pub findings: Vec<Finding>,
}

/// What a key file tells without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct KeyFacts {
    /// The form of the TLS key.
    #[cfg_attr(feature = "serde", serde(serialize_with = "form_text"))]
    pub form: KeyForm,
    /// The unlock key is needed.
    pub locked: bool,
    /// Version of the unlock key, as the file says without proof.
    pub kek_version: Option<u64>,
    /// There is a DEK.
    pub has_dek: bool,
    /// There is a second DEK, to which a rotation leads.
    pub has_pending_dek: bool,
    /// The DEK is to be rotated.
    pub needs_rotation: bool,
}

impl KeyFacts {
    fn of(file: &KeyFile) -> Self {
        Self {
            form: file.form(),
            locked: file.locked(),
            kek_version: file.kek_version(),
            has_dek: file.dek(DekSlot::Current) != DekHeader::Absent,
            has_pending_dek: file.dek(DekSlot::Pending) != DekHeader::Absent,
            needs_rotation: file.needs_rotation(),
        }
    }
}

/// Finds out all that can be known of the folder that holds `certificates` and `raft`.
///
/// Without the unlock key of a locked folder that is everything but the entries' content: sealed
/// logs show their sizes, positions and algorithms. Nothing is changed.
///
/// # Errors
///
/// [`Error::Missing`] when the folder has neither key file nor log. [`Error::Io`] is what the
/// system says. A wrong key and damage are no errors here: see [`Inspection::locked_by`] and
/// [`Inspection::findings`].
pub fn inspect(dir: impl AsRef<Path>, key: Option<&UnlockKey>) -> Result<Inspection> {
    inspect_in(&RealFs::default(), dir.as_ref(), key)
}

/// As [`inspect`], through a given file system.
///
/// # Errors
///
/// As for [`inspect`].
pub fn inspect_in(fs: &dyn Fs, dir: &Path, key: Option<&UnlockKey>) -> Result<Inspection> {
    inspect_watched(fs, dir, key, &mut Unwatched)
}

/// As [`inspect_in`], with somebody who looks on.
pub(crate) fn inspect_watched(
    fs: &dyn Fs,
    dir: &Path,
    key: Option<&UnlockKey>,
    watch: &mut dyn Watch,
) -> Result<Inspection> {
    let folder = Folder::new(dir);
    let path = folder.key_file();
    let mut findings = Findings::default();
    let (file, keys) = match read_key_file(fs, &path) {
        Ok(file) => {
            report(&file, &path, &mut findings);
            let keys = file.unlock(key).map_err(|error| error.in_file(&path));
            (Some(file), keys)
        }
        Err(error @ (Error::Damaged { .. } | Error::Unsupported { .. } | Error::Missing(_))) => {
            (None, Err(error))
        }
        Err(error) => return Err(error),
    };
    if let Err(error) = &keys
        && !matches!(error, Error::KeyRequired | Error::WrongKey)
    {
        let text = format!("the key file cannot be used: {error}");
        findings.error(FindingKind::KeyFile, at(&path, None, None), text, None);
    }
    let mut objects = Objects::default();
    let opened = keys.as_ref().ok().filter(|keys| keys.current.is_some());
    let facts = file.as_ref().map(KeyFacts::of);
    let gathered = gather_watched(fs, &folder, opened, &mut objects, watch, &mut findings);
    let raft = match (gathered, &facts) {
        (Err(Error::Missing(log)), Some(facts)) => {
            // A worker has a key file without a DEK, and no log.
            if facts.has_dek {
                let text = "there is neither a log nor a snapshot";
                let loss = Loss::Entries { first: 1, last: None };
                findings.error(FindingKind::LogMissing, at(&log, None, None), text, Some(loss));
            }
            RaftFacts::default()
        }
        // The key file is what is missed first.
        (Err(Error::Missing(_)), None) => return Err(keys.err().unwrap_or(Error::Missing(path))),
        (other, _) => other?.into_facts(),
    };
    let tls_key = keys.as_ref().ok().map(|keys| &keys.tls_key);
    certificate::check(fs, &folder, tls_key, raft.member.as_ref(), &objects, &mut findings)?;
    if let Some(file) = file.filter(|_| !raft.segments.is_empty()) {
        compare_key(&file, &path, &raft, &objects, &mut findings);
        let key = key.filter(|_| opened.is_some());
        compare_unlock_key(&file, key, &path, &raft, &objects, &mut findings);
    }
    Ok(Inspection {
        key: facts,
        raft,
        objects: opened.is_some().then(|| objects.counts()),
        locked_by: keys.err(),
        findings: findings.finish(),
    })
}

fn report(file: &KeyFile, path: &Path, findings: &mut Findings) {
    let place = at(path, None, None);
    for finding in file.findings() {
        findings.warn(FindingKind::KeyFile, place.clone(), finding.to_string());
    }
    if !file.locked() {
        let text = "the key file is not locked: whoever reads it reads the whole state";
        findings.warn(FindingKind::NotLocked, place.clone(), text);
    }
    if file.needs_rotation() || file.dek(DekSlot::Pending) != DekHeader::Absent {
        let text = "a rotation of the DEK has begun and is not finished";
        findings.warn(FindingKind::RotationUnfinished, place, text);
    }
}

#[cfg(feature = "serde")]
fn error_text<S: serde::Serializer>(
    error: &Option<Error>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match error {
        Some(error) => serializer.collect_str(error),
        None => serializer.serialize_none(),
    }
}

#[cfg(feature = "serde")]
fn form_text<S: serde::Serializer>(form: &KeyForm, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match form {
        KeyForm::Pkcs8 => "pkcs8",
        KeyForm::EncryptedPkcs8 => "encrypted-pkcs8",
        KeyForm::Sec1 => "sec1",
        KeyForm::EncryptedSec1 => "encrypted-sec1",
    })
}
